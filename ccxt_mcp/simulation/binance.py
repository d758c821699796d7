"""The Binance spot dialect over a venue: what happens to a request before it is answered.

Owns the order of things (parameters, weight, limit, signature, answer) and the wording of refusals.
Refuses trading state (the venue's), sockets and faults (the server's) and the answers themselves
(`binance_public`, `binance_private`). Source: Binance spot API documentation, "General API
information" and "Request security".
"""

from __future__ import annotations

from collections.abc import Callable

import orjson

from ccxt_mcp.simulation.binance_checks import (
    Params,
    Rejected,
    authenticate,
    check_once,
    check_read,
    parse_params,
)
from ccxt_mcp.simulation.binance_private import PrivateAnswers
from ccxt_mcp.simulation.binance_public import PublicAnswers
from ccxt_mcp.simulation.binance_routes import ROUTES, Route
from ccxt_mcp.simulation.dialect import WireAnswer, WireRequest
from ccxt_mcp.simulation.limits import Bans, Verdict, WeightLimit
from ccxt_mcp.simulation.orders import Account
from ccxt_mcp.simulation.venue import Venue

__all__ = ["DEFAULT_RATE_LIMIT", "BinanceDialect"]

DEFAULT_RATE_LIMIT = 6_000

_FAMILIES = ("/api/", "/fapi/", "/dapi/", "/sapi/")


class BinanceDialect:
    """`venue` in Binance's words.

    `rate_limit` is the request weight per minute and address, for each family of paths (`/api/`,
    `/fapi/`, ...) on its own; None counts without refusing. More than `ban_after` refusals within a
    minute (None: never) ban the address from all families for `ban_ms`, doubled each time.
    """

    def __init__(
        self,
        venue: Venue,
        *,
        rate_limit: int | None = DEFAULT_RATE_LIMIT,
        ban_after: int | None = 20,
        ban_ms: int = 120_000,
    ) -> None:
        self._venue = venue
        self.bans = Bans(ban_after, ban_ms)
        self.limits = {family: WeightLimit(rate_limit, bans=self.bans) for family in _FAMILIES}
        public, private = PublicAnswers(venue, rate_limit), PrivateAnswers(venue)
        self._public: dict[str, Callable[[Params], bytes]] = {
            r.name: getattr(public, r.handler) for r in ROUTES.values() if not r.signed
        }
        self._private: dict[str, Callable[[Account, Params], bytes]] = {
            r.name: getattr(private, r.handler) for r in ROUTES.values() if r.signed
        }

    @property
    def name(self) -> str:
        return "binance"

    @property
    def prefixes(self) -> tuple[str, ...]:
        return _FAMILIES

    def route(self, request: WireRequest) -> str | None:
        found = ROUTES.get((request.method, request.path))
        return None if found is None else found.name

    def api_key(self, request: WireRequest) -> str | None:
        return request.headers.get("X-MBX-APIKEY")

    def failure(self, status: int) -> WireAnswer:
        if status in (418, 429):
            body = Rejected(-1003, "Too many requests; simulated.").body
            return WireAnswer(status, body, {"Retry-After": "1"})
        if status == 401:
            text = "Invalid API-key, IP, or permissions for action."
            return WireAnswer(status, Rejected(-2015, text).body)
        if status == 504:
            text = "Timeout waiting for response from backend server."
            return WireAnswer(status, Rejected(-1007, f"{text} Send status unknown.").body)
        if status in (502, 503):
            # Said by what stands before Binance, so without a code.
            return WireAnswer(status, b'{"msg":"Service Unavailable."}')
        if status >= 500:
            text = "An unknown error occurred while processing the request."
            return WireAnswer(status, Rejected(-1000, text).body)
        return WireAnswer(status, Rejected(-1000, "Simulated failure.").body)

    def arrive(self, request: WireRequest) -> Callable[[], WireAnswer]:
        return lambda: self.answer(request)

    def answer(self, request: WireRequest) -> WireAnswer:
        """Check and answer at once."""
        route = ROUTES.get((request.method, request.path))
        now = self._venue.now()
        family = next(f for f in _FAMILIES if request.path.startswith(f))
        if route is None:
            return WireAnswer(404, _not_found(request.path, now))
        params = parse_params(request.query, request.body)
        weight = route.weigh(params)
        verdict = self.limits[family].spend(request.peer, weight, now)
        headers = _used(family, verdict)
        if verdict.wait:
            return self._throttled(family, verdict, headers)
        try:
            body = self._decide(route, request, params, now)
        except Rejected as refusal:
            return _refusal(refusal, headers)
        return WireAnswer(200, body, headers)

    def _decide(self, route: Route, request: WireRequest, params: Params, now: int) -> bytes:
        check_once(request.query, request.body, params)
        if route.signed:
            owner = authenticate(
                self._venue.accounts,
                self.api_key(request),
                request.query,
                request.body,
                params,
                now,
            )
            if route.params is not None:
                check_read(params, route.params, signed=True)
            return self._private[route.name](owner, params)
        if route.params is not None:
            check_read(params, route.params, signed=False)
        return self._public[route.name](params)

    def _throttled(self, family: str, verdict: Verdict, headers: dict[str, str]) -> WireAnswer:
        headers["Retry-After"] = str(verdict.wait)
        if verdict.banned_until is not None:
            text = f"Way too much request weight used; IP banned until {verdict.banned_until}."
            return _refusal(Rejected(-1003, text, 418), headers)
        limit = self.limits[family].limit
        text = f"Too much request weight used; current limit is {limit} request weight per 1 MINUTE"
        return _refusal(Rejected(-1003, text + ".", 429), headers)


def _refusal(refusal: Rejected, headers: dict[str, str]) -> WireAnswer:
    return WireAnswer(refusal.status, refusal.body, headers, error=str(refusal.code))


def _used(family: str, verdict: Verdict) -> dict[str, str]:
    used = str(verdict.used)
    if family == "/sapi/":
        return {"X-SAPI-USED-IP-WEIGHT-1M": used}
    return {"X-MBX-USED-WEIGHT": used, "X-MBX-USED-WEIGHT-1M": used}


def _not_found(path: str, now: int) -> bytes:
    return orjson.dumps(
        {
            "timestamp": now,
            "status": 404,
            "error": "Not Found",
            "message": "No message available",
            "path": path,
        }
    )
