"""HTTP to one exchange: one connection pool, one TLS context, one way out.

Owns: the aiohttp session of an exchange profile, its trust and its proxy, and ``RoutedSession``,
which stands where CCXT expects a session. Refuses: cookies, redirects, resending, the environment's
proxies, queues of its own.

- Cookies: a shared jar would carry one account's cookie into another account's request.
- Redirects are not followed. A redirect would be sent with the API key's headers to whoever the
  answer names, and with a signature made for another address. No exchange of CCXT depends on one.
- aiohttp resends GET, PUT and DELETE when a kept-alive connection drops. Some exchanges place
  orders by GET (Deribit), so the venue would see two.
- ``trust_env`` stays off: besides proxies it reads ``~/.netrc`` and would add its passwords to
  requests. The proxy comes from the profile alone. ``SSL_CERT_FILE`` is honoured, here.
- aiohttp's pool of 100 connections would queue inside CCXT's 10 s; how much may be under way at
  once is decided above, where refusing is possible.
"""

from __future__ import annotations

import asyncio
import importlib
import os
import ssl
from collections.abc import Mapping
from contextvars import ContextVar
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import aiohttp
import certifi
import yarl

from ccxt_mcp.cluster.holding import check_held
from ccxt_mcp.errors import Code, ConfigurationError, Failure
from ccxt_mcp.exchanges.failures import Wire

__all__ = [
    "MAX_ANSWER",
    "WIRE",
    "AnswerTooLarge",
    "RoutedSession",
    "open_session",
    "trust_store",
    "trusting",
]

WIRE: ContextVar[Wire | None] = ContextVar("ccxt_mcp_wire", default=None)
"""What the call in progress has sent and read; ``None`` outside a lease."""

MAX_ANSWER = 64 * 1024 * 1024
"""Bytes of one answer's body, decompressed. The largest known is a fifth of it (12 MB: all markets
of Binance); without a bound one answer could take all of the server's memory."""

_NO_HEADERS: Mapping[str, str] = {}


def trust_store(ca_file: Path | None) -> str:
    """The PEM file to trust: the profile's, else ``SSL_CERT_FILE``, else certifi's."""
    if ca_file is not None:
        return str(ca_file)
    return os.environ.get("SSL_CERT_FILE") or certifi.where()


async def trusting(ca_file: str) -> ssl.SSLContext:
    """A TLS context for a PEM file. Made in a thread: parsing takes 20 ms of CPU.

    Raises ``ConfigurationError`` if the file cannot be read or holds no certificate.
    """
    try:
        return await asyncio.to_thread(ssl.create_default_context, cafile=ca_file)
    except (OSError, ssl.SSLError) as error:
        raise ConfigurationError(
            f"the certificate file {ca_file} cannot be used ({type(error).__name__}); it has to be"
            " a readable PEM file: see `ca_file` and SSL_CERT_FILE"
        ) from None


class AnswerTooLarge(aiohttp.ClientPayloadError):
    """An answer's body exceeds ``MAX_ANSWER``."""


class _BoundedResponse(aiohttp.ClientResponse):
    """A response that is read up to ``MAX_ANSWER`` only, whatever it says of its length."""

    async def read(self) -> bytes:
        if self._body is None:
            pieces: list[bytes] = []
            size = self.content_length or 0
            try:
                if size <= MAX_ANSWER:
                    size = 0
                    async for piece in self.content.iter_any():
                        pieces.append(piece)
                        size += len(piece)
                        if size > MAX_ANSWER:
                            break
                if size > MAX_ANSWER:
                    raise AnswerTooLarge(f"more than {MAX_ANSWER} bytes")
            except BaseException:
                # Not to be kept alive: the rest is still to come.
                self.close()
                raise
            self._body = b"".join(pieces)
        return await super().read()


class RoutedSession:
    """What CCXT gets for a session: ``get``, ``post``, … of one exchange profile.

    CCXT signs and classifies errors by the address it knows; only here, just before sending, the
    origin becomes ``base_url``. Every request of the profile passes here, so this is also where
    requests are counted. Mutable state: the counters, changed on the event loop only.
    """

    def __init__(
        self, connector: aiohttp.BaseConnector, *, base_url: str | None, proxy: str | None
    ) -> None:
        self._root = None if base_url is None else base_url.rstrip("/")
        self._secure = self._root is None or self._root.startswith("https:")
        self._proxy = proxy
        self.requests = 0
        self.connections = 0
        self.handshakes = 0
        trace = aiohttp.TraceConfig()
        trace.on_connection_create_end.append(self._connected)
        trace.on_request_headers_sent.append(self._leaving)
        self._session = aiohttp.ClientSession(
            connector=connector,
            cookie_jar=aiohttp.DummyCookieJar(),
            trust_env=False,
            trace_configs=[trace],
            response_class=_BoundedResponse,
        )
        # No public switch; a test drops a kept-alive connection and counts what the venue sees.
        self._session._retry_connection = False

    @property
    def headers(self) -> Mapping[str, str]:
        """CCXT merges a session's default headers into every request; there are none."""
        return _NO_HEADERS

    @property
    def open_connections(self) -> int:
        """Connections in use or kept alive."""
        connector: Any = self._session.connector
        if connector is None or connector.closed:
            return 0
        # aiohttp has no public count; a missing attribute must not break a health page.
        idle = getattr(connector, "_conns", {}).values()
        return len(getattr(connector, "_acquired", ())) + sum(len(each) for each in idle)

    def get(self, url: yarl.URL, **kwargs: Any) -> Any:
        return self._send("GET", url, **kwargs)

    def post(self, url: yarl.URL, **kwargs: Any) -> Any:
        return self._send("POST", url, **kwargs)

    def put(self, url: yarl.URL, **kwargs: Any) -> Any:
        return self._send("PUT", url, **kwargs)

    def delete(self, url: yarl.URL, **kwargs: Any) -> Any:
        return self._send("DELETE", url, **kwargs)

    def patch(self, url: yarl.URL, **kwargs: Any) -> Any:
        return self._send("PATCH", url, **kwargs)

    def head(self, url: yarl.URL, **kwargs: Any) -> Any:
        return self._send("HEAD", url, **kwargs)

    def _send(
        self, method: str, url: yarl.URL, *, data: Any, headers: Any, timeout: Any, proxy: Any
    ) -> Any:
        _check_path(url.raw_path)
        self.requests += 1
        if self._root is not None:
            # Already percent-encoded and signed in this form: it must not be encoded again.
            url = yarl.URL(f"{self._root}{url.raw_path_qs}", encoded=True)
        return self._session.request(
            method,
            url,
            data=data,
            headers=headers,
            timeout=timeout,
            proxy=self._proxy or proxy,
            allow_redirects=False,
        )

    async def _connected(self, *_: Any) -> None:
        self.connections += 1
        self.handshakes += self._secure

    async def _leaving(self, *_: Any) -> None:
        # aiohttp's next step writes the bytes. Whose turn may be another replica's ends here.
        check_held()
        # Not before: what could not even be connected to has certainly not been carried out.
        wire = WIRE.get()
        if wire is not None:
            wire.sent += 1

    async def close(self) -> None:
        """Close every connection. Requests under way fail."""
        await self._session.close()


def _check_path(path: str) -> None:
    """Refuse a path that leads somewhere else than it says: signed as a question, it could be an
    order. CCXT puts values into paths as they are; what callers may write is checked before
    (``tools/arguments.py``), and this is for what nobody thought of."""
    if "/." not in path and "%" not in path:
        return
    plain = unquote(unquote(path)).replace("\\", "/")
    if not {".", ".."}.isdisjoint(plain.split("/")):
        raise Failure(
            Code.INVALID_ARGUMENT,
            "an argument would have made this a request of another endpoint; nothing was sent",
        )


def open_session(
    *, base_url: str | None, proxy: str | None, tls: ssl.SSLContext | None
) -> RoutedSession:
    """A session for one profile; needs a running event loop. ``tls`` may be ``None`` for http."""
    is_socks = proxy is not None and urlsplit(proxy).scheme.startswith("socks")
    if proxy is not None and is_socks:
        return RoutedSession(_socks(proxy, tls), base_url=base_url, proxy=None)
    return RoutedSession(_direct(tls), base_url=base_url, proxy=proxy)


def _direct(tls: ssl.SSLContext | None) -> aiohttp.TCPConnector:
    return aiohttp.TCPConnector(limit=0, ssl=tls if tls is not None else True, ttl_dns_cache=60)


def _socks(proxy: str, tls: ssl.SSLContext | None) -> aiohttp.BaseConnector:
    try:
        # An optional package, imported by name so that its absence is no type error.
        kind = importlib.import_module("aiohttp_socks").ProxyConnector
    except ImportError:
        raise ConfigurationError(
            "a SOCKS proxy needs the package aiohttp-socks: install it beside ccxt-mcp"
        ) from None
    # SOCKS5h: names are resolved by the proxy, as its user expects.
    remote = proxy.replace("socks5h://", "socks5://")
    connector: aiohttp.BaseConnector = kind.from_url(
        remote, ssl=tls, limit=0, rdns=proxy.startswith("socks5h://")
    )
    return connector
