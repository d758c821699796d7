"""Bodies of the fuzz: JSON-RPC messages of both eras, well-formed and broken.

Owns: methods, parameters, arguments by the tools' own schemas, and the damage done to the text.
Refuses: headers and paths (``fuzz_cases.py``).
"""

from __future__ import annotations

import json
from typing import Any

from hypothesis import strategies as st

from benchmarks.fuzz_values import (
    IDS,
    MODERN,
    PLANTED,
    SCALARS,
    VALUES,
    WORKFLOWS,
    Raw,
    pick,
    rarely,
    upto,
)
from ccxt_mcp.simulation import DemoAccount
from ccxt_mcp.tools.server import TOOLS

__all__ = ["METHODS", "body", "set_accounts"]

METHODS = (
    *["initialize"] * 3,
    *("initialize", "ping", "tools/list", "tools/call", "server/discover", "logging/setLevel"),
    *("resources/list", "resources/read", "resources/templates/list", "resources/subscribe"),
    *("prompts/list", "prompts/get", "completion/complete", "subscriptions/listen", "tasks/get"),
    *("notifications/initialized", "notifications/cancelled", "notifications/progress"),
    *("notifications/roots/list_changed", "notifications/x", "sampling/createMessage", "", "x"),
    *("tools/call ", "TOOLS/CALL", "rpc.discover", "__init__"),
)

_ACCOUNTS: list[str] = ["main"]
_KNOWN: dict[str, tuple[Any, ...]] = {
    "symbol": ("BTC/USDT", "BTC/USDT", "ETH/USDT", "NO/PE", "btc/usdt", "BTC/USDT:USDT"),
    "exchange": ("paper", "paper", "papr", "1"),
    "timeframe": ("1m", "1h", "7m"),
    "since": ("2026-01-31T00:00:00Z", 1_700_000_000_000, "20260131", 1_700_000_000, "1969-01-01"),
    "type": ("spot", "swap", "sport"),
    "search": ("BTC", "bin", ""),
    "quote": ("USDT", "usdt"),
    "limit": (1, 5, 20, "5", 0),
    "offset": (0, 1, 3),
}


def set_accounts(accounts: tuple[DemoAccount, ...]) -> None:
    """The names that exist, before the first case is drawn."""
    _ACCOUNTS[:] = [account.name for account in accounts]


def _by_schema(spec: dict[str, Any]) -> tuple[Any, ...]:
    """Values for an argument of which no more is known than its schema."""
    if "enum" in spec:
        return tuple(spec["enum"])
    values = {"integer": (1, 2), "number": (0.5, 1), "array": ([], ["1"]), "object": ({},)}
    return values.get(spec.get("type", ""), ("1", "0.5"))


def _arguments(draw: st.DrawFn, schema: dict[str, Any], *, valid: bool) -> Any:
    """Arguments of a tool, by its own schema; mutated where they need not be valid."""
    if not valid and rarely(draw, 10):
        return draw(VALUES)
    required = schema.get("required", ())
    out: dict[str, Any] = {}
    chosen = draw(upto(2 ** len(schema["properties"]) - 1))
    for place, (name, spec) in enumerate(schema["properties"].items()):
        if name not in required and not chosen >> place & 1:
            continue
        if name == "account":
            out[name] = pick(draw, (*_ACCOUNTS, "mian"))
        elif spec.get("type") == "boolean":
            out[name] = bool(draw(upto(1)))
        else:
            out[name] = pick(draw, _KNOWN.get(name) or _by_schema(spec))
    if not valid:
        for _ in range(draw(st.integers(1, 2))):
            name = pick(draw, (*schema["properties"], "apiKey", "", "__proto__", PLANTED))
            out[name] = draw(VALUES)
    return out


def _call(draw: st.DrawFn) -> dict[str, Any]:
    """Parameters of ``tools/call``."""
    tool = pick(draw, TOOLS)
    valid = not rarely(draw, 4)
    params: dict[str, Any] = {
        "name": tool.name,
        "arguments": _arguments(draw, tool.wire()["inputSchema"], valid=valid),
    }
    if not valid:
        match draw(upto(9)):
            case 3:
                params["name"] = draw(SCALARS)
            case 4:
                del params["arguments"]
            case 5:
                del params["name"]
            case 6:
                params[pick(draw, ("task", "x", "inputResponses", "requestState"))] = draw(VALUES)
    return params


def _params(draw: st.DrawFn, method: str) -> Any:
    if method == "tools/call":
        return _call(draw)
    if rarely(draw, 6):
        return draw(VALUES)
    match method:
        case "initialize":
            return {
                "protocolVersion": pick(draw, ("2025-11-25", "2024-11-05", MODERN, "x", 7)),
                "capabilities": pick(draw, ({}, {}, {"roots": {}}, None, [])),
                "clientInfo": pick(draw, ({"name": "fuzz", "version": "1"}, {"name": 7}, None)),
            }
        case "notifications/cancelled":
            return {"requestId": draw(IDS), "reason": draw(SCALARS)}
        case "subscriptions/listen":
            return {"notifications": pick(draw, ({"toolsListChanged": True}, {}, []))}
        case "logging/setLevel":
            return {"level": pick(draw, ("debug", "error", "x", 7))}
        case "notifications/progress":
            return {"progressToken": draw(IDS), "progress": draw(SCALARS)}
    return pick(draw, ({}, None, {"cursor": "x"}, {"uri": "x://y"}, {"name": "x"}))


def _meta(draw: st.DrawFn, *, modern: bool) -> Any:
    meta: dict[str, Any] = {}
    if modern:
        meta = {
            "io.modelcontextprotocol/protocolVersion": MODERN,
            "io.modelcontextprotocol/clientInfo": {"name": "fuzz", "version": "1"},
            "io.modelcontextprotocol/clientCapabilities": {},
        }
    match draw(upto(16)):
        case 4:
            meta["progressToken"] = draw(IDS)
        case 5 | 6 | 7:
            meta["ccxt-mcp/workflow"] = draw(WORKFLOWS)
        case 8:
            meta["traceparent"] = draw(SCALARS)
        case 9 if modern:
            meta[pick(draw, tuple(meta))] = draw(SCALARS)
        case 10:
            return draw(VALUES)
    return meta


def _message(draw: st.DrawFn, *, method: str, modern: bool) -> dict[str, Any]:
    """One JSON-RPC message, most of the time with all that it needs."""
    message: dict[str, Any] = {"jsonrpc": "2.0"}
    if not method.startswith("notifications/") or rarely(draw, 8):
        message["id"] = draw(IDS)
    message["method"] = method
    params = _params(draw, method)
    if isinstance(params, dict) and (modern or rarely(draw, 6)):
        params = {**params, "_meta": _meta(draw, modern=modern)}
    if params is not None or bool(draw(upto(1))):
        message["params"] = params
    match draw(upto(60)):
        case 7:
            message.pop(pick(draw, tuple(message)))
        case 8:
            message[pick(draw, (*message, "result", "error", "extra"))] = draw(SCALARS)
        case 9:
            message["jsonrpc"] = pick(draw, ("1.0", 2.0, "2", None))
        case 10:
            return {"jsonrpc": "2.0", "id": draw(IDS), "result": draw(VALUES)}
        case 11:
            return {"jsonrpc": "2.0", "id": draw(IDS), "error": draw(VALUES)}
    return message


def _written(value: Any) -> str:
    """JSON of a value, with ``Raw`` parts as they are."""
    if isinstance(value, Raw):
        return str(value)
    if isinstance(value, dict):
        return "{" + ",".join(f"{json.dumps(k)}:{_written(v)}" for k, v in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ",".join(map(_written, value)) + "]"
    return json.dumps(value, ensure_ascii=False)


def body(draw: st.DrawFn, *, method: str, modern: bool) -> bytes:
    text = _written(_message(draw, method=method, modern=modern))
    match draw(upto(99)):
        case 11:
            return text.encode()[: draw(st.integers(0, len(text)))]
        case 12:
            raw: bytes = draw(st.binary(max_size=40))
            return raw
        case 13:
            return f"[{text},{text}]".encode()
        case 14:
            return text.encode(pick(draw, ("utf-16", "utf-8-sig", "utf-32", "utf-16-le")))
        case 15:
            at = draw(st.integers(0, len(text)))
            return text[:at].encode() + draw(st.binary(min_size=1, max_size=3)) + text[at:].encode()
        case 16:
            return text.replace('"id"', '"id":77,"id"', 1).encode()
        case 17:
            more: bytes = pick(draw, (b" \n", b"x", b"\0", text.encode()))
            return text.encode() + more
        case 18:
            return b" " * 70_000 + text.encode()
        case 19:
            return _written(draw(VALUES)).encode()
    return text.encode()
