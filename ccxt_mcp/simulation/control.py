"""The control surface under `/_sim`, for tests and benchmarks in other processes.

Owns its paths and their checks. Refuses to show secrets. Not exposed by any real venue, and exempt
from latency, faults and counters.
"""

from __future__ import annotations

from typing import Any, Protocol

import orjson

from ccxt_mcp.simulation.counters import Counters
from ccxt_mcp.simulation.dialect import Dialect, WireAnswer, WireRequest
from ccxt_mcp.simulation.faults import FaultPlan, fault_from_json
from ccxt_mcp.simulation.venue import Venue

__all__ = ["PREFIX", "Controlled", "control"]

PREFIX = "/_sim/"


class Controlled(Protocol):
    """What can be steered."""

    @property
    def venue(self) -> Venue: ...

    @property
    def counters(self) -> Counters: ...

    @property
    def faults(self) -> FaultPlan: ...

    @property
    def dialects(self) -> tuple[Dialect, ...]: ...

    def set_latency(self, ms: float, jitter_ms: float = 0.0) -> None: ...


def control(sim: Controlled, request: WireRequest) -> WireAnswer:
    """Answer one control request: 400 with `{"error": ...}` for a bad one, 404 for a bad path.

    - `GET counters`, `POST counters/reset`
    - `GET faults`, `POST faults` (a fault), `DELETE faults`, `DELETE faults/<id>`
    - `POST latency` `{"ms": 30, "jitter_ms": 5}`
    - `POST clock` `{"offset_ms": -5000}`
    - `GET accounts`
    - `GET bans`, `DELETE bans` (lifts them all)
    """
    try:
        return _control(sim, request.method, request.path.removeprefix(PREFIX), request.body)
    except ValueError as error:
        return _json({"error": str(error)}, 400)


def _control(sim: Controlled, method: str, path: str, body: bytes) -> WireAnswer:
    match method, path.split("/"):
        case "GET", ["counters"]:
            return _json(sim.counters.snapshot().as_dict())
        case "POST", ["counters", "reset"]:
            sim.counters.reset()
            return _json({"reset": True})
        case "GET", ["faults"]:
            return _json(sim.faults.describe())
        case "POST", ["faults"]:
            return _json({"id": sim.faults.add(fault_from_json(_decoded(body)))}, 201)
        case "DELETE", ["faults"]:
            return _json({"cleared": sim.faults.clear()})
        case "DELETE", ["faults", fault_id]:
            if not (fault_id.isascii() and fault_id.isdigit()):
                raise ValueError(f"a fault's id is a number, not {fault_id!r}")
            return _json({"cleared": sim.faults.clear(int(fault_id))})
        case "POST", ["latency"]:
            given = _numbers(body, "ms", "jitter_ms")
            if "ms" not in given:
                raise ValueError("latency needs 'ms'")
            sim.set_latency(given["ms"], given.get("jitter_ms", 0.0))
            return _json(given)
        case "POST", ["clock"]:
            given = _numbers(body, "offset_ms")
            if "offset_ms" not in given:
                raise ValueError("clock needs 'offset_ms'")
            sim.venue.set_clock_offset(int(given["offset_ms"]))
            return _json(given)
        case "GET", ["accounts"]:
            found = sim.venue.accounts.values()
            return _json([{"name": a.name, "api_key": a.api_key} for a in found])
        case "GET", ["bans"]:
            return _json(_bans(sim))
        case "DELETE", ["bans"]:
            lifted = len(_bans(sim))
            for dialect in sim.dialects:
                dialect.bans.forget()
            return _json({"lifted": lifted})
        case _:
            return _json({"error": f"no such control: {method} {PREFIX}{path}"}, 404)


def _bans(sim: Controlled) -> list[dict[str, Any]]:
    now = sim.venue.now()
    return [
        {"dialect": dialect.name, "address": address, "until": until, "left_ms": until - now}
        for dialect in sim.dialects
        for address, until in dialect.bans.active(now).items()
    ]


def _decoded(body: bytes) -> Any:
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise ValueError(f"the body is not JSON: {error}") from None


def _numbers(body: bytes, *known: str) -> dict[str, float]:
    value = _decoded(body)
    if not isinstance(value, dict):
        raise ValueError("the body must be a JSON object")
    for name, given in value.items():
        if name not in known:
            raise ValueError(f"unknown field {name!r}; known: {', '.join(known)}")
        if isinstance(given, bool) or not isinstance(given, int | float):
            raise ValueError(f"field {name!r} must be a number")
    return value


def _json(value: object, status: int = 200) -> WireAnswer:
    return WireAnswer(status, orjson.dumps(value))
