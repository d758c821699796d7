"""What replicas ask of their common store.

Owns: the words of the protocol and what each promises. Refuses: how it is kept (``memory``,
``redis``), and what the names and values mean: sessions, keys and exchanges are other rooms'.

Every method is one round trip and atomic. All time is the store's own; lengths are seconds, and no
caller's clock is ever compared with another's. Whatever is kept expires by itself. Names are any
text; all that belongs to one name lies on one node of a Redis Cluster, names do not.

Any method may raise ``Failure`` (``store_unavailable``, with ``retry_after``): the store cannot be
reached, is too slow, read-only or full. What was asked may then have been done or not; each method
may be called again with the same arguments.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import NamedTuple, Protocol

from ccxt_mcp.mechanisms.ledger import Rules

__all__ = [
    "LATENCIES",
    "LATENCY",
    "MARK_LIFE",
    "PATIENCE",
    "Act",
    "Budgets",
    "Claim",
    "Claimed",
    "Consulted",
    "Do",
    "Known",
    "Leases",
    "Logs",
    "Mail",
    "Nodes",
    "Opened",
    "Record",
    "Records",
    "Roster",
    "Spent",
    "Store",
    "Values",
]


LATENCY = "latencyMs"
"""The counter that is no sum: its last ``LATENCIES`` values are kept."""
LATENCIES = 64
MARK_LIFE = 86_400.0
"""Seconds for which a lease's mark is remembered after its last use."""


class Claim(StrEnum):
    """What became of a claim on a lease."""

    GRANTED = "granted"
    WAITING = "waiting"
    """Others hold it or are before; the claim stands in line as long as it is repeated."""
    MISSING = "missing"
    """The record that has to be there is not."""
    YOUNG = "young"
    """The store was empty a moment ago: a lease given then may still be held. Ask again later."""


@dataclass(frozen=True, slots=True)
class Claimed:
    """The answer to a claim.

    Attributes:
        state: what became of it.
        left: seconds that the lease holds from when this was asked; 0 unless granted.
        mark: the number kept with the lease as it was before this claim; 0 at first.
        version: of the record of the same name; 0 without one.
        wait: seconds after which to ask again, where it was not granted.
    """

    state: Claim
    left: float = 0.0
    mark: int = 0
    version: int = 0
    wait: float = 0.0


class Leases(Protocol):
    """Mutual exclusion with a line, and a number that only rises.

    A lease has at most one holder, a token; it ends when released or when its length has passed
    without ``renew``. Tokens are unique for each claim. On release the first in line whose claim is
    still alive gets it at once, for as long as that claim would have lived, and its node is told by
    ``mail``: ``granted <name> <token>`` (words divided by one blank; names hold none). It repeats
    the claim then, to have it for a whole length. Messages can be lost, so who waits repeats the
    claim anyway, which is the same claim as long as the token is.

    A store that was found empty grants nothing for one ``length``: whoever held a lease that was
    forgotten has noticed by then. Claims stand in line meanwhile.

    A record of the same name lives at least as long as its lease is held or its claims are in line.
    """

    async def claim(
        self,
        name: str,
        token: str,
        *,
        node: str,
        length: float,
        reserve: int = 0,
        ahead: int = 0,
        record: bool = False,
        ttl: float = 0.0,
    ) -> Claimed:
        """Take the lease, or stand in line; repeated, the same claim, and the holder's is renewed.
        Where the record is missing the token neither holds nor waits any more.

        Args:
            node: who is told when it is granted later; noted as having parts of the record.
            length: seconds of the lease. A claim in line is dropped if not repeated as long.
            reserve: raises the mark to this when granted, before the caller uses numbers.
            ahead: raises it at least so far above what it was before this claim.
            record: whether a record of this name has to be there; its life becomes ``ttl``.
        """

    async def renew(self, name: str, token: str, *, length: float) -> bool:
        """Hold it for ``length`` more from now; False where it is not held by this token."""

    async def release(
        self,
        name: str,
        token: str,
        *,
        length: float,
        mark: int | None = None,
        tally: Mapping[str, float] | None = None,
    ) -> None:
        """Give it up, or leave the line; without effect where the token has neither.

        Args:
            length: seconds for the next holder's lease.
            mark: the number really used, which replaces what was reserved by the same claim.
            tally: added to the counters of the record of that name, if there is one;
                ``LATENCY`` is kept as one of its last latencies instead.
        """


@dataclass(frozen=True, slots=True)
class Record:
    """A record with what was counted for it.

    Attributes:
        data: as written last.
        version: rises with each write, and is above that of any earlier record of the name.
        age: seconds since it was opened.
        idle: seconds since it was last used: opened, written, touched, or its lease claimed,
            renewed or released.
        tally: counters.
        latencies: the last ``LATENCIES`` in milliseconds, in no order.
        held: whether its lease is held.
        nodes: those that have asked for it, and may have parts of it.
    """

    data: bytes
    version: int
    age: float = 0.0
    idle: float = 0.0
    tally: Mapping[str, float] = field(default_factory=dict)
    latencies: tuple[float, ...] = ()
    held: bool = False
    nodes: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Opened:
    """The record that is there after ``open``, and whether it was made by that."""

    record: Record
    made: bool


class Records(Protocol):
    """Small documents that live as long as they are used."""

    async def open(self, name: str, data: bytes, *, node: str, ttl: float) -> Opened:
        """Make a record, or find the one that is there. The node is noted as having parts of it.
        A record that was there is seen as it was before."""

    async def read(self, name: str, *, node: str | None = None) -> Record | None:
        """The record; ``node`` is noted as having parts of it."""

    async def write(self, name: str, data: bytes, *, ttl: float) -> int | None:
        """Replace its data; the new version, None where there is no record (any more)."""

    async def touch(self, names: Sequence[str], *, ttl: float) -> list[bool]:
        """Let them live for ``ttl`` from now; which of them are still there. Atomic for each."""

    async def remove(self, name: str) -> frozenset[str] | None:
        """End it; the nodes that may have parts of it, None where there is none. Its lease stays
        with its holder: who makes a record of that name again stands in the same line."""


class Roster(Protocol):
    """Who is there, within a bound: members of a list, each for as long as it is touched."""

    async def join(
        self, roster: str, member: str, *, ttl: float, most: int
    ) -> tuple[bool, str | None]:
        """Become a member, or stay one; False at the bound, with the member whose time ends first:
        the one longest untouched, where all have the same ``ttl``."""

    async def touch(self, roster: str, members: Sequence[str], *, ttl: float) -> None:
        """Let those of them that are members stay it for ``ttl`` from now."""

    async def leave(self, roster: str, member: str) -> None:
        """Be a member no more."""

    async def page(self, roster: str, *, offset: int, limit: int) -> tuple[int, list[str]]:
        """How many there are, and some, in the order in which they joined."""


@dataclass(frozen=True, slots=True)
class Consulted:
    """What a cache said.

    Attributes:
        value: the value; None where the caller has to wait or to fetch it.
        age: seconds since whoever fetched it had begun to.
        mine: whether the caller is the one to fetch it, and to ``deposit`` what came of that.
    """

    value: bytes | None
    age: float = 0.0
    mine: bool = False


class Values(Protocol):
    """Values fetched by one for all."""

    async def consult(
        self, name: str, token: str, *, node: str, max_age: float, patience: float
    ) -> Consulted:
        """A value at most ``max_age`` seconds old, or the duty to fetch it, or neither: somebody
        else fetches it since less than ``max_age``. The waiting node hears ``deposited <name>`` by
        mail when that ends; a fetcher that has not ended after ``patience`` seconds is given up,
        of which nobody is told: the next to ask has the duty. One that asks again with its token
        has it still, and ``patience`` begins anew."""

    async def deposit(self, name: str, token: str, value: bytes | None, *, ttl: float) -> None:
        """What the fetching came to, None for a failure; ignored where the duty has passed on.
        The value's age counts from the ``consult`` that gave the duty."""

    async def discard(self, name: str) -> None:
        """Forget the value, and ignore what is being fetched: those who wait are told."""


PATIENCE = 1.0
"""Seconds for which a place in line for a budget is kept without being asked for again."""


class Do(StrEnum):
    """What may be done to a budget."""

    TAKE = "t"
    """Charge ``amount`` if it fits behind those in line, or stand in line, with another amount than
    before perhaps. Again is no second."""
    SPARE = "p"
    """As ``TAKE``, for nobody yet: only where it fits with nobody in line; never in line itself."""
    HOLD = "h"
    """This charge of ``amount`` counts in full anew, from now: its request has yet to be sent, or
    is sent only now."""
    SETTLE = "s"
    """The request of this charge was answered."""
    REFUND = "r"
    """The request of this charge was never sent; who stands in line with it leaves."""
    OBSERVE = "o"
    """The venue counts ``amount`` in its longest window."""
    EXHAUST = "e"
    """The bucket is full, whatever was counted."""
    BLOCK = "b"
    """Grant nothing for ``amount`` seconds from now; never shortens."""
    BAN = "n"
    """The same, for all budgets of the place."""
    STRIKES = "k"
    """So many refusals in a row were heard; 0 once the venue answers again."""


class Act(NamedTuple):
    """One thing to do to a budget: what, with which charge, how much."""

    do: Do
    charge: str = ""
    amount: float = 0.0


class Known(NamedTuple):
    """What somebody remembers of a budget, for a store that has forgotten it.

    Attributes:
        born: of the answer that it is from.
        counted: units that counted then.
        age: seconds since.
        blocked: seconds for which nothing was to be granted, from now.
    """

    born: str
    counted: float
    age: float
    blocked: float


@dataclass(frozen=True, slots=True)
class Spent:
    """How a budget is after what was done.

    Attributes:
        granted: how many of the charges were taken, the first that were asked for.
        wait: seconds after which the next may fit, if no answer comes before; 0 where all were
            taken.
        outlook: seconds until the next will fit, as far as one can tell.
        blocked: seconds for which nothing is granted at all.
        counted: units that count now, of the longest window.
        pace: seconds per unit at which the bucket drains now.
        strikes: refusals in a row.
        born: when this budget began to be counted; another text each time it does.
        room: units that would be granted now; 0 where anybody stands in line.
    """

    granted: int
    wait: float
    outlook: float
    blocked: float
    counted: float
    pace: float
    strikes: int
    born: str
    room: float


class Budgets(Protocol):
    """Rate limits by the arithmetic of ``mechanisms.ledger``.

    A charge is open from being taken until it is settled, and closes by itself ``rules.transit``
    later. A place is what a venue bans as a whole; its parts are counted each for itself.

    Who is refused stands in line for ``PATIENCE`` seconds after each time of asking, and what is
    ahead of it in line is kept free for those: what costs much gets its turn among many who want
    little, and replicas are served in the order in which they came.
    """

    async def apply(
        self,
        place: str,
        part: str,
        rules: Rules,
        acts: Sequence[Act],
        known: Known | None = None,
    ) -> Spent:
        """Do all of this, in this order; after a charge that does not fit no other is taken.

        Args:
            known: believed where the store knows the budget since later than that.
        """


class Logs(Protocol):
    """Short histories that many read on, each from where it was."""

    async def append(self, log: str, entry: bytes, *, most: int, size: int, ttl: float) -> int:
        """Add an entry and keep at most ``most`` and ``size`` bytes; its number, which rises, with
        gaps."""

    async def after(self, log: str, number: int) -> tuple[list[tuple[int, bytes]], bool]:
        """All entries after a number (0: from the first on); and whether none between was dropped.
        Of a log that has expired since, all were."""

    async def drop(self, log: str) -> None:
        """Forget it."""


class Mail(Protocol):
    """Short messages between nodes: at most once, in order, to those who listen."""

    async def listen(self, node: str, heard: Callable[[str], None]) -> None:
        """From now on call ``heard`` with each message to this node, in the order in which they
        came; and with an empty one when messages may have been missed."""

    async def unlisten(self, node: str) -> None:
        """Call nothing for this node any more."""

    async def tell(self, node: str, message: str) -> bool:
        """Send to one node; whether anybody listened."""


class Nodes(Protocol):
    """Which replicas are alive."""

    async def beat(self, node: str, info: bytes, *, ttl: float) -> None:
        """This node lives, and says this of itself."""

    async def all(self) -> dict[str, bytes]:
        """The nodes that live, by id, and what each says."""

    async def gone(self, node: str) -> None:
        """This node lives no more."""


class Store(Protocol):
    """One store with its parts."""

    @property
    def leases(self) -> Leases: ...
    @property
    def records(self) -> Records: ...
    @property
    def roster(self) -> Roster: ...
    @property
    def values(self) -> Values: ...
    @property
    def budgets(self) -> Budgets: ...
    @property
    def logs(self) -> Logs: ...
    @property
    def mail(self) -> Mail: ...
    @property
    def nodes(self) -> Nodes: ...

    async def open(self) -> None:
        """Make ready to connect. Does not raise where the store is away: ``ping`` tells."""

    async def close(self) -> None:
        """Give back what is held; nothing may be asked any more."""

    async def ping(self) -> float:
        """Seconds that a round trip takes now."""

    async def evicts(self) -> str | None:
        """The server's own word for how it forgets things when it is full, as ``volatile-lru``.
        None where it refuses instead, as it should, or does not tell."""
