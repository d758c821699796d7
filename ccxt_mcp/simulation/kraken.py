"""The Kraken spot dialect over a venue: what happens to a request before it is answered.

Owns the order of things (lockout, key, signature, counter, nonce, answer), the limits and the
envelope. Refuses trading state and the last nonces (the venue's), sockets and faults (the server's)
and the answers themselves (`kraken_public`, `kraken_private`). Sources: Kraken REST documentation,
"Authentication", "Spot REST Rate Limits" and "Errors".
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import orjson

from ccxt_mcp.simulation.dialect import WireAnswer, WireRequest
from ccxt_mcp.simulation.kraken_checks import (
    INVALID_NONCE,
    Params,
    Rejected,
    authenticate,
    nonce_of,
    parse_params,
)
from ccxt_mcp.simulation.kraken_names import Names
from ccxt_mcp.simulation.kraken_private import PrivateAnswers
from ccxt_mcp.simulation.kraken_public import PublicAnswers
from ccxt_mcp.simulation.kraken_routes import ROUTES, Route
from ccxt_mcp.simulation.limits import Bans, CallCounter
from ccxt_mcp.simulation.orders import Account
from ccxt_mcp.simulation.venue import Venue

__all__ = ["STARTER_TIER", "KrakenDialect", "KrakenLimits"]

_JSON = "application/json"
_RATE_LIMIT = "EAPI:Rate limit exceeded"
_TOO_MANY = "EGeneral:Too many requests"
_LOCKOUT = "EGeneral:Temporary lockout"
_FAILURES = {
    418: _LOCKOUT,
    429: _TOO_MANY,
    500: "EGeneral:Internal error",
    503: "EService:Unavailable",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class KrakenLimits:
    """Kraken's limits, by default those of its starter tier.

    `counter` is the most that the calls of one key may add up to, of which `decay` is taken back
    per second. Public calls have such a counter per address (`public_burst`, `public_rate`). None
    turns a counter off. More than `ban_after` violations within a minute (an exceeded limit, a bad
    key, signature or nonce) lock the address out for `ban_ms`, doubled each time; None: never.
    """

    counter: float | None = 15
    decay: float = 0.33
    public_burst: float | None = 15
    public_rate: float = 1.0
    ban_after: int | None = 20
    ban_ms: int = 900_000


STARTER_TIER = KrakenLimits()
_UNLIMITED = KrakenLimits(counter=None, public_burst=None, ban_after=None)


class KrakenDialect:
    """`venue` in Kraken's words.

    `limits` None turns all of them off. With `on_arrival` keys, signatures, limits and nonces are
    checked in the order in which requests arrive, whatever latency follows; otherwise in the order
    in which they are answered. A nonce is spent by being accepted, whatever happens to the answer.
    """

    def __init__(
        self, venue: Venue, *, limits: KrakenLimits | None = None, on_arrival: bool = True
    ) -> None:
        self._venue = venue
        self._on_arrival = on_arrival
        limits = _UNLIMITED if limits is None else limits
        self.bans = Bans(limits.ban_after, limits.ban_ms)
        self.counters = CallCounter(limits.counter, limits.decay)
        self.public_counters = CallCounter(limits.public_burst, limits.public_rate)
        names = Names(venue.markets.values())
        public, private = PublicAnswers(venue, names), PrivateAnswers(venue, names)
        self._public: dict[str, Callable[[Params], bytes]] = {
            r.handler: getattr(public, r.handler) for r in ROUTES.values() if not r.signed
        }
        self._private: dict[str, Callable[[Account, Params], bytes]] = {
            r.handler: getattr(private, r.handler) for r in ROUTES.values() if r.signed
        }

    @property
    def name(self) -> str:
        return "kraken"

    @property
    def prefixes(self) -> tuple[str, ...]:
        return ("/0/",)

    def route(self, request: WireRequest) -> str | None:
        found = ROUTES.get((request.method, request.path))
        return None if found is None else found.name

    def api_key(self, request: WireRequest) -> str | None:
        return request.headers.get("API-Key")

    def failure(self, status: int) -> WireAnswer:
        if status in _FAILURES or status < 500:
            return _refusal(_FAILURES.get(status, "EGeneral:Invalid arguments"), status)
        # Said by what stands before Kraken.
        return WireAnswer(status, b"error code: %d" % status, content_type="text/plain")

    def arrive(self, request: WireRequest) -> Callable[[], WireAnswer]:
        if not self._on_arrival:
            return lambda: self.answer(request)
        return self._admitted(request)

    def answer(self, request: WireRequest) -> WireAnswer:
        """Check and answer at once."""
        return self._admitted(request)()

    def _admitted(self, request: WireRequest) -> Callable[[], WireAnswer]:
        """Everything that is checked; what is left is to make the answer."""
        now = self._venue.now()
        if self.bans.until(request.peer, now) is not None:
            return lambda: _refusal(_LOCKOUT)
        route = ROUTES.get((request.method, request.path))
        if route is None:
            return lambda: _refusal("EGeneral:Unknown method")
        try:
            owner = self._admit(route, request, now)
        except Rejected as refusal:
            text = refusal.text
            if self.bans.violated(request.peer, now) is not None:
                text = _LOCKOUT
            return lambda: _refusal(text)
        return lambda: self._made(route, request, owner)

    def _admit(self, route: Route, request: WireRequest, now: int) -> Account | None:
        if not route.signed:
            if not self.public_counters.spend(request.peer, route.cost, now):
                raise Rejected(_TOO_MANY)
            return None
        sign = request.headers.get("API-Sign")
        key, path = self.api_key(request), request.path
        owner = authenticate(self._venue.accounts, key, sign, path, request.body)
        if not self.counters.spend(owner.api_key, route.cost, now):
            raise Rejected(_RATE_LIMIT)
        if not owner.accept_nonce(nonce_of(request.body)):
            raise Rejected(INVALID_NONCE)
        return owner

    def _made(self, route: Route, request: WireRequest, owner: Account | None) -> WireAnswer:
        try:
            params = parse_params(request.query, request.body)
            if owner is None:
                result = self._public[route.handler](params)
            else:
                result = self._private[route.handler](owner, params)
        except Rejected as refusal:
            return _refusal(refusal.text)
        return WireAnswer(200, b'{"error":[],"result":%s}' % result, content_type=_JSON)


def _refusal(text: str, status: int = 200) -> WireAnswer:
    return WireAnswer(status, orjson.dumps({"error": [text]}), content_type=_JSON, error=text)
