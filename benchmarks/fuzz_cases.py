"""What the fuzz sends: hypothesis strategies for requests to the endpoint, well-formed and broken.

Owns: headers, paths, departures, and which of them come together. Refuses: bodies
(``fuzz_bodies.py``), sending (``fuzz_world.py``, ``fuzz_wire.py``) and judging
(``fuzz_checks.py``).
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from hypothesis import strategies as st

from benchmarks.fuzz_bodies import METHODS, body
from benchmarks.fuzz_values import MODERN, PLANTED, mostly, pick, rarely, upto

__all__ = ["MINTED", "Case", "cases", "groups"]

MINTED = "@minted-"
"""Session ids of this form stand for one of the server's own, which only the run can know."""


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
_SESSIONS = mostly(
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
        ("host", draw(_HOSTS) if rarely(draw, 25) else b"localhost:3000"),
        ("content-type", draw(_TYPES) if rarely(draw, 25) else _JSON),
    ]
    if modern:
        headers.append(("accept", draw(_ACCEPTS) if rarely(draw, 25) else _BOTH))
        headers.append(
            ("mcp-protocol-version", draw(_VERSIONS) if rarely(draw, 25) else MODERN.encode())
        )
        headers.append(("mcp-method", draw(_ODD) if rarely(draw, 25) else method.encode()))
        if isinstance(name, str) and name.isascii() and name.isprintable():
            headers.append(("mcp-name", draw(_ODD) if rarely(draw, 25) else name.encode()))
    else:
        if bool(draw(upto(1))):
            headers.append(("accept", draw(_ACCEPTS) if rarely(draw, 5) else _BOTH))
        if rarely(draw, 5):
            headers.append(("mcp-protocol-version", draw(_VERSIONS)))
        if not rarely(draw, 20) and method != "initialize":
            headers.append(("mcp-session-id", draw(_SESSIONS)))
    if rarely(draw, 25):
        headers.append(("origin", draw(_ORIGINS)))
    if rarely(draw, 8):
        headers.append(draw(_EXTRA))
    if rarely(draw, 25) and len(headers) > 1:
        del headers[draw(st.integers(0, len(headers) - 1))]
    return tuple(headers)


@st.composite
def cases(draw: st.DrawFn) -> Case:
    """One request to the endpoint."""
    modern = draw(upto(2)) == 0
    method = "tools/call" if bool(draw(upto(1))) else pick(draw, METHODS)
    text = body(draw, method=method, modern=modern)
    name: Any = None
    if modern and method == "tools/call":
        try:
            name = json.loads(text)["params"]["name"]
        except (ValueError, RecursionError, LookupError, TypeError):
            name = "get_ticker"
    headers = _headers(draw, method, name, modern=modern)
    verb, path, leaves, early = "POST", "/mcp", None, False
    match draw(upto(60)):
        case 11 | 12:
            verb = pick(draw, _VERBS)
        case 13:
            verb, path = pick(draw, _VERBS), pick(draw, _PATHS)
        case 14:
            path = pick(draw, _PATHS)
        case 15 | 16 | 17 | 18:
            leaves = pick(draw, (0.0, 0.001, 0.003, 0.03))
        case 19 | 20:
            early = True
        case 21 | 22:
            verb = pick(draw, ("GET", "GET", "DELETE"))
    pieces = pick(draw, (1, 1, 1, 2, 7))
    return Case(verb, path, headers, text, pieces, leaves, early)


groups = st.lists(cases(), min_size=1, max_size=6)
"""Requests that are under way at the same time."""
