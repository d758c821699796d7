"""What the fuzz sends: hypothesis strategies for requests to the endpoint, well-formed and broken.

Owns: the grammar of bodies, headers, paths and departures, and the secret that is planted in them.
Refuses: sending (``fuzz_world.py``, ``fuzz_wire.py``) and judging (``fuzz_checks.py``).

Generated texts contain no ASCII letters outside the fixed lists, so that no case can name one of
CCXT's exchanges: what leaves this process goes to the simulated one.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

from hypothesis import strategies as st

from ccxt_mcp.simulation import DemoAccount
from ccxt_mcp.tools.server import TOOLS

__all__ = ["MINTED", "PLANTED", "Case", "Raw", "cases", "groups", "set_accounts", "written"]

PLANTED = "Zq7xPLANTED0KeyA1b2C3d4E5f6G7h8I9j0K1l2M"
"""What a user pastes in the wrong place; no answer and no log line may repeat it."""
MINTED = "@minted-"
"""Session ids of this form stand for one of the server's own, which only the run can know."""
MODERN = "2026-07-28"


class Raw(str):
    """JSON, or what is put in its place, as it goes into the body."""

    __slots__ = ()


@dataclass(frozen=True, slots=True, repr=False)
class Case:
    """One request. ``leaves``: seconds until the client hangs up, None for one that waits;
    ``early``: it hangs up before its body ends."""

    method: str
    path: str
    headers: tuple[tuple[str, bytes], ...]
    body: bytes
    pieces: int = 1
    leaves: float | None = None
    early: bool = False

    def __repr__(self) -> str:
        body = self.body.lstrip(b" ")
        shown = body if len(body) < 800 else body[:500] + b"..." + body[-200:]
        headers = tuple((name, value[:200]) for name, value in self.headers)
        return (
            f"Case({self.method} {self.path[:80]} {headers} {shown!r} of {len(self.body)} bytes in"
            f" {self.pieces}, leaves={self.leaves}, early={self.early})"
        )

    @property
    def endless(self) -> bool:
        """Whether a stream in answer lasts until its client leaves."""
        return self.method == "GET" or b"subscriptions/listen" in self.body


@cache
def _upto(last: int) -> st.SearchStrategy[int]:
    """Strategies are made once: that costs more than drawing from them."""
    return st.integers(0, last)


def _rarely(draw: st.DrawFn, one_in: int) -> bool:
    """One time in so many. The number that decides is none of those that hypothesis is fond of."""
    return draw(_upto(one_in - 1)) == one_in // 2 + 1


def _pick(draw: st.DrawFn, options: Sequence[Any]) -> Any:
    return options[draw(_upto(len(options) - 1))]


@st.composite
def _mostly(
    draw: st.DrawFn, good: st.SearchStrategy[Any], odd: st.SearchStrategy[Any], n: int
) -> Any:
    """What is right, but one time in ``n``; ``one_of`` would give both the same weight."""
    return draw(odd if _rarely(draw, n) else good)


_TEXT = st.text(
    "0123 -_./:*\"'\\{}[]<>&%$\n\t\0\x7f\u00e9\u00df\u4e2d\u202e\ufeff\U0001f4b8", max_size=12
)
_NUMBERS = st.sampled_from(
    (
        0,
        -1,
        1,
        2,
        7,
        500,
        1001,
        2**31,
        2**53 + 1,
        2**63,
        2**64 - 1,
        2**64,
        -(2**64),
        10**30,
        0.5,
        1e300,
    )
)
_BROKEN = st.sampled_from(
    tuple(
        map(
            Raw,
            (
                *(
                    "NaN",
                    "-Infinity",
                    "1e999",
                    "-0",
                    "01",
                    "1.",
                    "9" * 400,
                    "9" * 5000,
                    "0." + "1" * 99,
                ),
                *('"\\ud800"', '"\\udfff\\ud800"', '"\\u0000"', '"\0"', '"\\x"', '"', "'a'", "tru"),
                *("[" * 300 + "]" * 300, "[" * 3000 + "]" * 3000, '{"a":' * 200 + "1" + "}" * 200),
                *('{"a":1,"a":2}', '{"\\ud800":1}', '{"__proto__":{}}', "", ",", "/**/", "\ufeff1"),
            ),
        )
    )
)
_SCALARS = st.one_of(
    st.sampled_from((None, True, False, "", "a", "x" * 5000, "__class__", "../../etc")),
    _NUMBERS,
    _TEXT,
    _BROKEN,
)
_PASTED = st.one_of(_SCALARS, _SCALARS, st.just(PLANTED))
"""Where a secret may stand: not in ids, tokens and names, which are there to be repeated."""
_VALUES = st.one_of(
    _PASTED,
    st.lists(_PASTED, max_size=3),
    st.dictionaries(st.sampled_from(("", "a", "name", "_meta", PLANTED)), _PASTED, max_size=2),
)
_GOOD_IDS = st.sampled_from(
    (*range(1, 9), "a", "1", "", 0, -5, 2**53, 2**63, 2**64 - 1, "\u00e9\U0001f4b8", "x" * 500)
)
_IDS = _mostly(_GOOD_IDS, _SCALARS, 12)
_WORKFLOWS = _mostly(st.sampled_from(tuple(f"flow-{n}" for n in range(12))), _SCALARS, 4)
_METHODS = (
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
    if not valid and _rarely(draw, 10):
        return draw(_VALUES)
    required = schema.get("required", ())
    out: dict[str, Any] = {}
    chosen = draw(_upto(2 ** len(schema["properties"]) - 1))
    for place, (name, spec) in enumerate(schema["properties"].items()):
        if name not in required and not chosen >> place & 1:
            continue
        if name == "account":
            out[name] = _pick(draw, (*_ACCOUNTS, "mian"))
        elif spec.get("type") == "boolean":
            out[name] = bool(draw(_upto(1)))
        else:
            out[name] = _pick(draw, _KNOWN.get(name) or _by_schema(spec))
    if not valid:
        for _ in range(draw(st.integers(1, 2))):
            name = _pick(draw, (*schema["properties"], "apiKey", "", "__proto__", PLANTED))
            out[name] = draw(_VALUES)
    return out


def _call(draw: st.DrawFn) -> dict[str, Any]:
    """Parameters of ``tools/call``."""
    tool = _pick(draw, TOOLS)
    valid = not _rarely(draw, 4)
    params: dict[str, Any] = {
        "name": tool.name,
        "arguments": _arguments(draw, tool.wire()["inputSchema"], valid=valid),
    }
    if not valid:
        match draw(_upto(9)):
            case 3:
                params["name"] = draw(_SCALARS)
            case 4:
                del params["arguments"]
            case 5:
                del params["name"]
            case 6:
                params[_pick(draw, ("task", "x", "inputResponses", "requestState"))] = draw(_VALUES)
    return params


def _params(draw: st.DrawFn, method: str) -> Any:
    if method == "tools/call":
        return _call(draw)
    if _rarely(draw, 6):
        return draw(_VALUES)
    match method:
        case "initialize":
            return {
                "protocolVersion": _pick(draw, ("2025-11-25", "2024-11-05", MODERN, "x", 7)),
                "capabilities": _pick(draw, ({}, {}, {"roots": {}}, None, [])),
                "clientInfo": _pick(draw, ({"name": "fuzz", "version": "1"}, {"name": 7}, None)),
            }
        case "notifications/cancelled":
            return {"requestId": draw(_IDS), "reason": draw(_SCALARS)}
        case "subscriptions/listen":
            return {"notifications": _pick(draw, ({"toolsListChanged": True}, {}, []))}
        case "logging/setLevel":
            return {"level": _pick(draw, ("debug", "error", "x", 7))}
        case "notifications/progress":
            return {"progressToken": draw(_IDS), "progress": draw(_SCALARS)}
    return _pick(draw, ({}, None, {"cursor": "x"}, {"uri": "x://y"}, {"name": "x"}))


def _meta(draw: st.DrawFn, *, modern: bool) -> Any:
    meta: dict[str, Any] = {}
    if modern:
        meta = {
            "io.modelcontextprotocol/protocolVersion": MODERN,
            "io.modelcontextprotocol/clientInfo": {"name": "fuzz", "version": "1"},
            "io.modelcontextprotocol/clientCapabilities": {},
        }
    match draw(_upto(16)):
        case 4:
            meta["progressToken"] = draw(_IDS)
        case 5 | 6 | 7:
            meta["ccxt-mcp/workflow"] = draw(_WORKFLOWS)
        case 8:
            meta["traceparent"] = draw(_SCALARS)
        case 9 if modern:
            meta[_pick(draw, tuple(meta))] = draw(_SCALARS)
        case 10:
            return draw(_VALUES)
    return meta


def _message(draw: st.DrawFn, *, method: str, modern: bool) -> dict[str, Any]:
    """One JSON-RPC message, most of the time with all that it needs."""
    message: dict[str, Any] = {"jsonrpc": "2.0"}
    if not method.startswith("notifications/") or _rarely(draw, 8):
        message["id"] = draw(_IDS)
    message["method"] = method
    params = _params(draw, method)
    if isinstance(params, dict) and (modern or _rarely(draw, 6)):
        params = {**params, "_meta": _meta(draw, modern=modern)}
    if params is not None or bool(draw(_upto(1))):
        message["params"] = params
    match draw(_upto(60)):
        case 7:
            message.pop(_pick(draw, tuple(message)))
        case 8:
            message[_pick(draw, (*message, "result", "error", "extra"))] = draw(_SCALARS)
        case 9:
            message["jsonrpc"] = _pick(draw, ("1.0", 2.0, "2", None))
        case 10:
            return {"jsonrpc": "2.0", "id": draw(_IDS), "result": draw(_VALUES)}
        case 11:
            return {"jsonrpc": "2.0", "id": draw(_IDS), "error": draw(_VALUES)}
    return message


def written(value: Any) -> str:
    """JSON of a value, with ``Raw`` parts as they are."""
    if isinstance(value, Raw):
        return str(value)
    if isinstance(value, dict):
        return "{" + ",".join(f"{json.dumps(k)}:{written(v)}" for k, v in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ",".join(map(written, value)) + "]"
    return json.dumps(value, ensure_ascii=False)


def _body(draw: st.DrawFn, *, method: str, modern: bool) -> bytes:
    text = written(_message(draw, method=method, modern=modern))
    match draw(_upto(99)):
        case 11:
            return text.encode()[: draw(st.integers(0, len(text)))]
        case 12:
            raw: bytes = draw(st.binary(max_size=40))
            return raw
        case 13:
            return f"[{text},{text}]".encode()
        case 14:
            return text.encode(_pick(draw, ("utf-16", "utf-8-sig", "utf-32", "utf-16-le")))
        case 15:
            at = draw(st.integers(0, len(text)))
            return text[:at].encode() + draw(st.binary(min_size=1, max_size=3)) + text[at:].encode()
        case 16:
            return text.replace('"id"', '"id":77,"id"', 1).encode()
        case 17:
            more: bytes = _pick(draw, (b" \n", b"x", b"\0", text.encode()))
            return text.encode() + more
        case 18:
            return b" " * 70_000 + text.encode()
        case 19:
            return written(draw(_VALUES)).encode()
    return text.encode()


_JSON = b"application/json"
_BOTH = b"application/json, text/event-stream"
_ODD = st.binary(max_size=20).map(lambda raw: bytes(b for b in raw if b >= 32 and b != 127))
_TYPES = st.sampled_from(
    (b"application/json; charset=utf-8", b"APPLICATION/JSON", b"text/plain", b"", b"application/x")
)
_ACCEPTS = st.sampled_from(
    (_JSON, b"text/event-stream", b"*/*", b"", b"text/html", b"application/json;q=0, */*;q=0")
)
_LIVE = st.sampled_from(
    (*(f"{MINTED}{n % 3}" for n in range(6)), *(f"named-{n}" for n in range(6)))
)
_SESSIONS = _mostly(
    _LIVE,
    st.sampled_from(
        ("ccxtmcp-" + "0" * 32, "x" * 129, "x" * 10_240, "a b", "", "\u00e9", "a/b", "..")
    ),
    12,
).map(lambda name: name.encode("latin-1"))
_VERSIONS = st.sampled_from(
    (
        *[b"2025-11-25", b"2025-06-18", b"2025-03-26"] * 3,
        b"2024-11-05",
        b"2027-01-01",
        b"",
        b"x",
        b"\xff",
    )
)
_ORIGINS = st.sampled_from(
    (
        b"http://localhost:3000",
        b"http://evil.example",
        b"null",
        b"",
        b"http://127.0.0.1",
        b"\xff://",
    )
)
_HOSTS = st.sampled_from(
    (b"127.0.0.1:3000", b"[::1]:1", b"evil.example", b"", b"localhost:x", b"a@b")
)
_EXTRA = st.sampled_from(
    (
        ("authorization", f"Bearer {PLANTED}".encode()),
        ("authorization", b"\xff"),
        ("x-forwarded-for", b"9.9.9.9, x, " + b"1," * 500),
        ("cookie", f"key={PLANTED}".encode()),
        ("last-event-id", b"1"),
        ("mcp-protocol-version", b"2025-11-25"),
        ("mcp-session-id", b"named-1"),
        ("content-type", _JSON),
        ("mcp-method", b"tools/call"),
        ("mcp-name", b"=?base64?////?="),
        ("mcp-name", b"get_ticker"),
        ("mcp-param-x", b"1"),
        ("content-encoding", b"gzip"),
        ("expect", b"100-continue"),
        ("traceparent", b"00-" + b"0" * 32 + b"-" + b"0" * 16 + b"-00"),
    )
)
_PATHS = (
    *("/mcp/", "/health", "/health?limit=2", "/health?limit=x", "/health?offset=-1", "/live", "/"),
    *("/ready", "/health?limit=%ff&limit=1", "/%6dcp", "/mcp%00", "/mcp/../x", "//mcp", "/%ff"),
    *("/mcp?x=1", "/MCP", "/.git/config", "/" + "a" * 3000, "/health/", "/live?x=%", "/%2e%2e"),
)
_VERBS = ("GET", "DELETE", "PUT", "OPTIONS", "HEAD", "PATCH", "TRACE")


def _headers(
    draw: st.DrawFn, method: str, name: Any, *, modern: bool
) -> tuple[tuple[str, bytes], ...]:
    """The request's headers: right for its era, with some of them wrong now and then."""
    headers: list[tuple[str, bytes]] = [
        ("host", draw(_HOSTS) if _rarely(draw, 25) else b"localhost:3000"),
        ("content-type", draw(_TYPES) if _rarely(draw, 25) else _JSON),
    ]
    if modern:
        headers.append(("accept", draw(_ACCEPTS) if _rarely(draw, 25) else _BOTH))
        headers.append(
            ("mcp-protocol-version", draw(_VERSIONS) if _rarely(draw, 25) else MODERN.encode())
        )
        headers.append(("mcp-method", draw(_ODD) if _rarely(draw, 25) else method.encode()))
        if isinstance(name, str) and name.isascii() and name.isprintable():
            headers.append(("mcp-name", draw(_ODD) if _rarely(draw, 25) else name.encode()))
    else:
        if bool(draw(_upto(1))):
            headers.append(("accept", draw(_ACCEPTS) if _rarely(draw, 5) else _BOTH))
        if _rarely(draw, 5):
            headers.append(("mcp-protocol-version", draw(_VERSIONS)))
        if not _rarely(draw, 20) and method != "initialize":
            headers.append(("mcp-session-id", draw(_SESSIONS)))
    if _rarely(draw, 25):
        headers.append(("origin", draw(_ORIGINS)))
    if _rarely(draw, 8):
        headers.append(draw(_EXTRA))
    if _rarely(draw, 25) and len(headers) > 1:
        del headers[draw(st.integers(0, len(headers) - 1))]
    return tuple(headers)


@st.composite
def cases(draw: st.DrawFn) -> Case:
    """One request to the endpoint."""
    modern = draw(_upto(2)) == 0
    method = "tools/call" if bool(draw(_upto(1))) else _pick(draw, _METHODS)
    body = _body(draw, method=method, modern=modern)
    name: Any = None
    if modern and method == "tools/call":
        try:
            name = json.loads(body)["params"]["name"]
        except (ValueError, RecursionError, LookupError, TypeError):
            name = "get_ticker"
    headers = _headers(draw, method, name, modern=modern)
    verb, path, leaves, early = "POST", "/mcp", None, False
    match draw(_upto(60)):
        case 11 | 12:
            verb = _pick(draw, _VERBS)
        case 13:
            verb, path = _pick(draw, _VERBS), _pick(draw, _PATHS)
        case 14:
            path = _pick(draw, _PATHS)
        case 15 | 16 | 17 | 18:
            leaves = _pick(draw, (0.0, 0.001, 0.003, 0.03))
        case 19 | 20:
            early = True
        case 21 | 22:
            verb = _pick(draw, ("GET", "GET", "DELETE"))
    pieces = _pick(draw, (1, 1, 1, 2, 7))
    return Case(verb, path, headers, body, pieces, leaves, early)


groups = st.lists(cases(), min_size=1, max_size=6)
"""Requests that are under way at the same time."""
