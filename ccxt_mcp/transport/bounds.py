"""How many sessions there are at all replicas, and who makes room where there are too many.

Owns: the lists of all sessions, of each client's, and of those of both that have a name, which are
those that can make room. Refuses: to end a session that is in use, or that was minted: its client
could not open it again.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping

from ccxt_mcp.errors import Failure
from ccxt_mcp.transport.parts import Parts
from ccxt_mcp.transport.reach import Reach
from ccxt_mcp.transport.refusal import Refusal
from ccxt_mcp.transport.registry import no_room
from ccxt_mcp.transport.session import Kind, Session
from ccxt_mcp.transport.session_record import Facts, unavailable

__all__ = ["ROSTER", "Bounds"]

ROSTER = "sessions"
"""The list of all sessions, of which others are parts: of a client's, and of those with a name."""

_TRIES = 8
"""Sessions that are looked at to make room for one."""
_NO_BOUND = 1 << 30

End = Callable[[str, str | None, bool], Awaitable[bool]]


class Bounds:
    """The lists, as one replica reads and writes them.

    Args:
        reach: the other replicas.
        parts: this one's.
        end: ends a session by its record's name, its client's address and whether it has a name.
        counted: seconds that a session counts for after it was last told of.
        max_sessions, max_per_client: bounds, common to all replicas.
    """

    def __init__(
        self,
        reach: Reach,
        parts: Parts,
        end: End,
        *,
        counted: float,
        max_sessions: int,
        max_per_client: int,
    ) -> None:
        self._reach = reach
        self._node = reach.node
        self._store = reach.node.store
        self._parts = parts
        self._end = end
        self._counted = counted
        self._max_sessions = max_sessions
        self._max_per_client = max_per_client
        reach.on("used", self._used)

    def leave(self, name: str, client_ip: str | None, *, named: bool) -> None:
        """A session has ended; nobody waits for the lists to hear of it."""
        self._node.later(self._leave(name, client_ip, named=named))

    def count(self, name: str) -> None:
        """A session with a name is there that may be in no list; nobody waits for them to hear."""
        self._node.later(self._count(name))

    async def touch(self, used: Mapping[str, Session]) -> None:
        """These, by their records' names, are there and were used.

        Raises:
            Failure: ``store_unavailable``.
        """
        rosters: dict[str, list[str]] = {}
        for name, session in used.items():
            for roster in _rosters(session.client_ip, named=session.kind is not Kind.MINTED):
                rosters.setdefault(roster, []).append(name)
        for roster, members in rosters.items():
            await self._store.roster.touch(roster, members, ttl=self._counted)

    async def join(self, name: str, client_ip: str | None, *, named: bool) -> None:
        """Count a session, making room where that has to be and can be.

        Raises:
            Refusal: 503; the record, if there is one, has been removed.
        """
        joined: list[str] = []
        try:
            for roster, most, full in (
                (ROSTER, self._max_sessions, f"all {self._max_sessions} sessions are in use"),
                (
                    _of_client(client_ip),
                    self._max_per_client,
                    f"all {self._max_per_client} sessions of one client address are in use",
                ),
            ):
                if not await self._room_in(roster, name, most):
                    raise no_room(full)
                joined.append(roster)
                if named:
                    await self._store.roster.join(
                        _named(roster), name, ttl=self._counted, most=_NO_BOUND
                    )
                    joined.append(_named(roster))
        except (Failure, Refusal) as error:
            for roster in joined:
                self._node.later(self._store.roster.leave(roster, name))
            if named:
                self._node.later(self._ending(name, client_ip))
            if isinstance(error, Failure):
                raise unavailable(error) from error
            raise

    async def _room_in(self, roster: str, name: str, most: int) -> bool:
        for _ in range(_TRIES):
            if (await self._store.roster.join(roster, name, ttl=self._counted, most=most))[0]:
                return True
            # Nobody joins a list of which nobody may be a member, and hears who is idle longest.
            _, idlest = await self._store.roster.join(
                _named(roster), name, ttl=self._counted, most=0
            )
            if idlest is None:
                return False
            await self._make_room(roster, idlest)
        return False

    async def _make_room(self, roster: str, name: str) -> None:
        """End a named session, which opens by itself when its client comes back, unless it is in
        use: then it is not the longest idle."""
        record = await self._store.records.read(name)
        if record is None:
            for each in (roster, _named(roster)):
                await self._store.roster.leave(each, name)
            return
        facts = Facts.decoded(record.data)
        if record.held or name in await self._in_use(record.nodes, name):
            await self._store.roster.touch(_named(roster), [name], ttl=self._counted)
            return
        await self._end(name, facts.client_ip, True)
        # This list too, where the session has come from another address since.
        for each in (roster, _named(roster)):
            await self._store.roster.leave(each, name)
        await self._count(name)

    async def _leave(self, name: str, client_ip: str | None, *, named: bool) -> None:
        lists, roster = _rosters(client_ip, named=named), self._store.roster
        await asyncio.gather(*(roster.leave(each, name) for each in lists))
        if named:
            # Opened again, and perhaps counted, before it left the lists.
            await self._count(name)

    async def _count(self, name: str) -> None:
        record = await self._store.records.read(name)
        if record is not None:
            # Whose client it is by now: it may have come back from another address.
            for each in _rosters(Facts.decoded(record.data).client_ip, named=True):
                await self._store.roster.join(each, name, ttl=self._counted, most=_NO_BOUND)

    async def _in_use(self, nodes: Iterable[str], name: str) -> set[str]:
        here = self._parts.part(name)
        if here is not None and here.requests:
            return {name}
        answers = await self._reach.ask(nodes, "used", name)
        return {name} if "yes" in answers.values() else set()

    async def _ending(self, name: str, client_ip: str | None) -> None:
        await self._end(name, client_ip, True)

    def _used(self, name: str) -> str:
        session = self._parts.part(name)
        return "yes" if session is not None and session.requests else "no"


def _of_client(client_ip: str | None) -> str:
    return f"clients/{client_ip or '-'}"


def _named(roster: str) -> str:
    return f"{roster}/named"


def _rosters(client_ip: str | None, *, named: bool) -> list[str]:
    lists = [ROSTER, _of_client(client_ip)]
    return [*lists, *map(_named, lists)] if named else lists
