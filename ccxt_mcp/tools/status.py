"""What this server is and how it is doing, as far as its caller may know.

Owns: ``server_status``. Refuses: asking an exchange, and anything about other callers: their
sessions, their calls and their leases are shown on ``/health`` to those who may see them.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

from ccxt_mcp import __version__
from ccxt_mcp.calls.bounds import MAX_BYTES, Answer
from ccxt_mcp.calls.pipeline import Call
from ccxt_mcp.calls.policy import LONG_TAIL_FRESH, OWN_TOOLS
from ccxt_mcp.exchanges.catalog import catalog
from ccxt_mcp.model import CALLER
from ccxt_mcp.tools.arguments import Arguments
from ccxt_mcp.tools.tool import Tool, result_schema

__all__ = ["STATUS_TOOLS"]

_MOST = 50
"""Exchanges and limits shown; more are hardly ever in memory."""


class _Nothing(Arguments):
    pass


async def _server_status(call: Call, _: _Nothing) -> Answer:
    caller, settings = CALLER.get(), call.settings
    data: dict[str, Any] = {
        "server": {
            "name": "ccxt-mcp",
            "version": __version__,
            "ccxtVersion": catalog().ccxt_version,
            "startedAt": round(call.started * 1000),
            "uptimeSeconds": max(0, round(time.time() - call.started)),
        },
        "limits": {
            "toolTimeoutMs": round(settings.tool_timeout * 1000),
            "ccxtTimeoutMs": round(settings.ccxt_timeout * 1000),
            "laneQueueMax": settings.lane_queue_max,
            "laneWaitMaxMs": round(settings.lane_wait_max * 1000),
            "maxCalls": settings.max_calls,
            "callQueueMax": settings.call_queue_max,
            "maxResultBytes": MAX_BYTES,
        },
        "freshMs": {
            **{each.name: round(each.fresh * 1000) for each in OWN_TOOLS if each.fresh},
            "other": round(LONG_TAIL_FRESH * 1000),
        },
        "caller": {
            "scopes": sorted(scope.value for scope in caller.principal.scopes),
            "session": caller.session,
            "accounts": sorted(account.name for account in call.accounts.all())[: _MOST * 4],
        },
        "exchanges": [
            _exchange(name, state) for name, state in list(call.gateway.snapshot().items())[:_MOST]
        ],
    }
    if caller.principal.name:
        data["caller"]["token"] = caller.principal.name
    if caller.usage is not None:
        data["session"] = dict(caller.usage())
    return Answer(data)


def _exchange(name: str, state: Mapping[str, Any]) -> dict[str, Any]:
    limits = {
        each: {"used": now["used"], "limit": now["limit"], "blockedMs": now["blockedMs"]}
        for each, now in list(state["limits"].items())[:_MOST]
    }
    row: dict[str, Any] = {
        "name": name,
        "exchange": state["exchange"],
        "loaded": state["markets"] is not None,
        "loading": state["loading"],
        "limits": limits,
        "blockedMs": max((now["blockedMs"] for now in limits.values()), default=0),
    }
    for key in ("markets", "marketsAgeSeconds", "marketsFailure"):
        if state.get(key) is not None:
            row[key] = state[key]
    return row


_COUNTS = {"type": "object", "additionalProperties": {"type": "integer"}}

STATUS_TOOLS = (
    Tool(
        name="server_status",
        title="This server",
        description=(
            "This server's version, limits and freshness, what you may do, what your session has "
            "done, and the state of exchanges in use. Asks no exchange. For what an exchange can "
            "do use get_exchange_info."
        ),
        arguments=_Nothing,
        output=result_schema(
            ("server", "limits", "freshMs", "caller", "exchanges"),
            server={"type": "object"},
            limits=_COUNTS,
            freshMs={**_COUNTS, "description": "Oldest market data given without asking, in ms."},
            caller={"type": "object"},
            session={"type": "object", "description": "Your own; missing without a session."},
            exchanges={
                "type": "array",
                "items": {"type": "object"},
                "description": "blockedMs: nothing is sent before; limits: used of limit now.",
            },
        ),
        run=_server_status,
    ),
)
"""In the order in which they are listed."""
