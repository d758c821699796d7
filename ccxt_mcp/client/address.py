"""Where the server is, and with which right it is asked: URL, token, connections.

Owns: what can be a URL and a token. Refuses: requests (``wire.py``), and to repeat a secret.
"""

from __future__ import annotations

import httpx

__all__ = ["TIMEOUT", "authorization", "base_of", "http_client"]

_CONNECTING = 10.0
"""Seconds for a connection; how long an answer may take is the deadline's affair."""
TIMEOUT = httpx.Timeout(None, connect=_CONNECTING)
_KEPT = 30.0
"""Seconds for which an idle connection is kept; the server closes it after 75 s."""
_LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})


def base_of(url: str) -> str:
    """The server's base URL, of that or of the URL of its ``/mcp``.

    Raises:
        ValueError: it is not an http or https URL. What stands before an ``@`` may be a password
            and is not repeated.
    """
    shown = repr(url if "@" not in url else "…@" + url.rpartition("@")[2])
    try:
        parsed = httpx.URL(url)
    except httpx.InvalidURL:
        raise ValueError(f"{shown} is not a URL") from None
    if parsed.scheme not in ("http", "https") or not parsed.host:
        raise ValueError(f"{shown} is not the URL of a server: http://HOST:PORT or https://HOST")
    if "?" in url or "#" in url or "@" in url:
        raise ValueError("the server's URL has no user, query or fragment; a token is `token=`")
    if parsed.port is not None and not 0 < parsed.port < 65_536:
        raise ValueError(f"{shown} names no port: an integer from 1 to 65535")
    return url.rstrip("/").removesuffix("/mcp").rstrip("/")


def authorization(token: str | None) -> dict[str, str]:
    """The header of a token; none without one.

    Raises:
        ValueError: it cannot be one. Sent nevertheless it would stand in the words of whatever
            refused the header.
    """
    if token is None:
        return {}
    if not token or not token.isascii() or not token.isprintable() or " " in token:
        raise ValueError("a token is not empty and has no blanks and no special characters")
    return {"authorization": f"Bearer {token}"}


def http_client(url: str, connections: int) -> httpx.AsyncClient:
    """A client with room for so many requests at once. Loopback is never behind a proxy."""
    return httpx.AsyncClient(
        timeout=TIMEOUT,
        limits=httpx.Limits(
            max_connections=connections,
            max_keepalive_connections=connections,
            keepalive_expiry=_KEPT,
        ),
        trust_env=httpx.URL(url).host not in _LOOPBACK,
    )
