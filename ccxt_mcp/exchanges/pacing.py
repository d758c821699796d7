"""How one exchange instance's requests are paced: turn, limits, request, answer.

Owns: the order of what a request waits for (its key's turn, the key's limits, the address's), what
of it is given back if it is not sent after all, and what an answer says about limits. Refuses: the
limits (``limits``) and the order of nonces (``nonces``).

One ``Pacing`` per profile, or per account of it; it has no state but what those share.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Mapping
from contextvars import ContextVar, Token
from email.utils import parsedate_to_datetime
from types import TracebackType
from typing import Any, Protocol

from ccxt_mcp.errors import Failure
from ccxt_mcp.exchanges.budgets import Pool, is_public, joined
from ccxt_mcp.exchanges.failures import code_of_request
from ccxt_mcp.exchanges.limits import AnyLimiter, Limits, Place
from ccxt_mcp.mechanisms.deadline import DEADLINE
from ccxt_mcp.model import CALLER
from ccxt_mcp.telemetry import Step, timed

__all__ = ["Pacing"]

_LONGEST_WAIT = 60.0
"""Seconds that a request waits for a limit if nobody set a deadline."""
_TO_ANSWER = 1.0
"""Seconds of a call that are left to the request itself."""
_FIRST_BACK_OFF, _LONGEST_BACK_OFF = 2.0, 60.0
_BAN = 120.0
"""Seconds after a 418 that does not say for how long: Binance's shortest ban."""
_LONGEST_BLOCK = 3 * 86_400.0
_REFUSALS = frozenset(("RateLimitExceeded", "DDoSProtection"))
_RETRY_AFTER = "retry-after"


class _Lane(Protocol):
    @property
    def common(self) -> bool: ...
    @property
    def busy(self) -> bool: ...
    def turn(self) -> Any: ...
    def next(self, proposed: int) -> int: ...


_REQUEST: ContextVar[_Request | None] = ContextVar("ccxt_mcp_request", default=None)
"""The request that the task at hand has under way. CCXT tells of an answer without saying of what,
and an instance can have several requests at once (some methods gather)."""


class Pacing:
    """Paces requests.

    Args:
        limits: the authority.
        place: where the requests count.
        exchange: the profile's name, for refusals.
        key_id: a name for the account's key; ``None`` for public instances.
        lane: the order of the key's requests, where the exchange demands one.
        waits: ``False`` sends at once and only counts (``rate_limit = "off"``).
    """

    __slots__ = ("_exchange", "_key_id", "_lane", "_limits", "_place", "_waits")

    def __init__(
        self,
        limits: Limits,
        place: Place,
        *,
        exchange: str,
        key_id: str | None = None,
        lane: _Lane | None = None,
        waits: bool = True,
    ) -> None:
        self._limits = limits
        self._place = place
        self._exchange = exchange
        self._key_id = key_id
        self._lane = lane
        self._waits = waits

    def __repr__(self) -> str:
        kind = "public" if self._key_id is None else "keyed"
        return f"<Pacing {self._exchange} {kind}{'' if self._waits else ' off'}>"

    def request(self, api: Any, path: str, method: str, cost: float) -> _Request:
        """``async with`` around one request, from before its signature to its answer.

        Args:
            api: CCXT's name of the API, a text or a list of texts.
            path: CCXT's path of the endpoint.
            method: the HTTP method.
            cost: CCXT's cost of the endpoint.

        Raises ``Failure``: ``rate_limited`` at once if the request cannot be sent in time for the
        call's deadline, ``overloaded`` if too many wait. It has not been sent then.
        """
        return _Request(self, api, path, method, cost)

    def answered(self, status: int, headers: Mapping[str, str] | None) -> None:
        """An answer was read: its charge begins to age, and what it says of limits is heeded."""
        request = _REQUEST.get()
        if request is not None and request.pacing is self:
            request.answered(status, headers or {})

    def refused(self, error: BaseException, status: int) -> float | None:
        """CCXT made an error of an answer. Seconds to wait, if it means that a limit was hit."""
        request = _REQUEST.get()
        if request is None or request.pacing is not self:
            return None
        return request.refused(error, status)

    def nonce(self, proposed: int) -> int:
        """A nonce of the key, at least ``proposed``."""
        return proposed if self._lane is None else self._lane.next(proposed)


class _Request:
    """One request's way.

    ``_held`` are its charges; ``_told`` is how long the answer's headers say to wait, ``_wait`` how
    long is waited because of it.
    """

    __slots__ = (
        *("_api", "_cost", "_held", "_method", "_path", "_step", "_token", "_told", "_turn"),
        "_wait",
        "pacing",
    )

    def __init__(self, pacing: Pacing, api: Any, path: str, method: str, cost: float) -> None:
        self.pacing = pacing
        self._api = api
        self._path = path
        self._method = method
        self._cost = cost
        self._held: list[tuple[Pool, AnyLimiter, Any]] = []
        self._turn: Any = None
        self._token: Token[_Request | None] | None = None
        self._told: float | None = None
        self._wait: float | None = None
        self._step = timed(Step.REQUEST, pacing._exchange)

    async def __aenter__(self) -> _Request:
        pacing = self.pacing
        keyed = pacing._key_id is not None
        try:
            if pacing._lane is not None and not is_public(joined(self._api)):
                await self._queue(pacing._lane)
            while True:
                for pool in pacing._place.pools(self._api, self._method, self._path, keyed=keyed):
                    await self._charge(pool)
                if self._turn is not None and pacing._lane is not None and pacing._lane.common:
                    # Last of all: other replicas wait for it as long as this one has it.
                    with timed(Step.KEY, pacing._exchange):
                        await self._turn.ready()
                if not pacing._waits or not any(each.blocked for _, each, _ in self._held):
                    break
                # A ban came after the first grant, or in the same loop step: once more, behind it.
                for _, limiter, charge in self._held:
                    limiter.refund(charge)
                self._held.clear()
        except BaseException as error:
            for _, limiter, charge in self._held:
                limiter.refund(charge)
            if self._turn is not None:
                await self._turn.__aexit__(None, None, None)
            if isinstance(error, Failure) and error.exchange is None:
                error.exchange = pacing._exchange
            raise
        for _, limiter, charge in self._held:
            limiter.sent(charge)
        self._token = _REQUEST.set(self)
        self._step.__enter__()
        self._step.note(api=joined(self._api), path=self._path, method=self._method)
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if error is not None:
            self._step.failed(code_of_request(error))
        self._step.__exit__(kind, error, traceback)
        if self._token is not None:
            _REQUEST.reset(self._token)
        if error is None:
            # Answered, in whichever process. Otherwise the request may still be on its way.
            self._settle()
            for _, limiter, _ in self._held:
                limiter.forgive()
        if self._turn is not None:
            await self._turn.__aexit__(kind, error, traceback)

    async def _queue(self, lane: _Lane) -> None:
        turn = lane.turn()
        if lane.busy:
            with timed(Step.KEY, self.pacing._exchange):
                await turn.__aenter__()
        else:
            await turn.__aenter__()
        self._turn = turn

    async def _charge(self, pool: Pool) -> None:
        cost = pool.cost(self._path, self._cost)
        if cost <= 0:
            return
        pacing = self.pacing
        counted = pacing._place, pool, self._path, pacing._key_id
        if not pacing._waits:
            counter = pacing._limits.counter(*counted)
            self._held.append((pool, counter, counter.force(cost)))
            return
        limiter = pacing._limits.limiter(*counted)
        charge: Any = limiter.take(cost)
        if charge is None:
            with timed(Step.LIMIT, pacing._exchange):
                charge = await limiter.queue(cost, CALLER.get().flow, _latest())
        self._held.append((pool, limiter, charge))

    def _settle(self) -> None:
        for _, limiter, charge in self._held:
            limiter.settle(charge)

    def answered(self, status: int, headers: Mapping[str, str]) -> None:
        """Heed an answer."""
        self._step.note(status=status)
        self._settle()
        waits = self.pacing._place.budget.waits
        for name, value in headers.items():
            name = name.lower()
            for pool, limiter, _ in self._held:
                if name in pool.used and (used := _number(value)) is not None:
                    limiter.observe_used(used)
            if name == _RETRY_AFTER or name in waits:
                told = _seconds(value, waits.get(name, "s"))
                self._told = max(self._told or 0.0, told or 0.0) or None
        if status == 418:
            self._ban(_BAN if self._told is None else self._told)
        elif status == 429:
            self._block([limiter for _, limiter, _ in self._held])

    def refused(self, error: BaseException, status: int) -> float | None:
        """Heed an error that CCXT made of an answer; seconds to wait, if any."""
        if self._wait is not None:
            return self._wait
        for ban in self.pacing._place.budget.bans:
            if ban.status == status and ban.words in str(error).lower():
                return self._ban(ban.seconds)
        if not _REFUSALS.isdisjoint(each.__name__ for each in type(error).__mro__):
            # Said in a body, of one limit of several: where keys are counted, the key's.
            keys = [limiter for pool, limiter, _ in self._held if pool.per == "key"]
            return self._block(keys or [limiter for _, limiter, _ in self._held])
        return None

    def _ban(self, wait: float) -> float:
        self._wait = wait
        if self.pacing._waits:
            now = asyncio.get_running_loop().time()
            self.pacing._limits.ban(self.pacing._place, now + wait)
        return wait

    def _block(self, limiters: list[AnyLimiter]) -> float | None:
        wait = self._wait = self._told
        if self.pacing._waits:
            now = asyncio.get_running_loop().time()
            for limiter in limiters:
                if wait is None:
                    self._wait = limiter.back_off(_FIRST_BACK_OFF, _LONGEST_BACK_OFF)
                else:
                    limiter.block_until(now + wait)
        return self._wait


def _latest() -> float:
    """When a request has to be sent to be of use."""
    now = asyncio.get_running_loop().time()
    deadline = DEADLINE.get()
    if deadline is None:
        return now + _LONGEST_WAIT
    return deadline - min(_TO_ANSWER, 0.2 * max(0.0, deadline - now))


def _number(text: str) -> float | None:
    try:
        value = float(text)
    except ValueError:
        return None
    return value if math.isfinite(value) else None


def _seconds(text: str, unit: str) -> float | None:
    """How long a header tells to wait; ``None`` if it cannot be read."""
    value = _number(text)
    if value is None:
        try:
            value = parsedate_to_datetime(text).timestamp()
        except (ValueError, OverflowError):
            return None
        unit = "epoch-s"
    if unit.endswith("ms"):
        value /= 1000
    if unit.startswith("epoch"):
        value -= time.time()
    return min(max(value, 0.0), _LONGEST_BLOCK)
