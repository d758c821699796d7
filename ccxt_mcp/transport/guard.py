"""The first room of every HTTP request: where does it come from, and who is calling?

Owns: the Host and Origin checks (against DNS rebinding and foreign web pages), bearer tokens, and
the client's address behind trusted proxies. Refuses: whoever fails them, before any body is read.
``/live`` and ``/ready`` pass unchecked: they tell nothing.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache

from starlette.types import ASGIApp, Receive, Scope, Send

from ccxt_mcp.callers import Tokens
from ccxt_mcp.errors import Code, Failure
from ccxt_mcp.model import ANONYMOUS, Principal
from ccxt_mcp.telemetry import Recorder, Silence
from ccxt_mcp.transport.refusal import Refusal

__all__ = ["Guard", "Peer", "is_loopback", "peer_of"]

_OPEN_PATHS = frozenset({"/live", "/ready"})
_LOOPBACK_NAMES = ("localhost", "127.0.0.1", "[::1]")
_AUTHORITY = re.compile(r"(\[[0-9a-f:.]+\]|[a-z0-9._~%-]+)(?::[0-9]*)?", re.ASCII)
"""``name`` or ``name:port``, as a Host header and an Origin carry it; no user, no path."""
_SINGLE = frozenset(
    {
        b"host",
        b"origin",
        b"authorization",
        b"content-type",
        b"mcp-session-id",
        b"mcp-protocol-version",
        b"last-event-id",
    }
)
"""Headers that decide a request's way: two of one would let two readers see two requests."""
_PEER = "ccxt_mcp.peer"
_REMEMBERED = 256
"""How many Host and Origin values that passed are remembered; a bound against header floods."""

Network = ipaddress.IPv4Network | ipaddress.IPv6Network


@dataclass(frozen=True, slots=True)
class Peer:
    """Who sent a request, as the guard found out."""

    principal: Principal
    client_ip: str | None


def peer_of(scope: Scope) -> Peer:
    """The peer that the guard put into a request's scope."""
    peer = scope[_PEER]
    assert isinstance(peer, Peer)
    return peer


def is_loopback(address: str | None) -> bool:
    """Whether an IP address is of this machine's loopback."""
    if address is None:
        return False
    try:
        return ipaddress.ip_address(address).is_loopback
    except ValueError:
        return False


class Guard:
    """ASGI middleware around every route.

    Args:
        tokens: when any are configured, every checked route needs one.
        allowed_hosts: ``name`` (any port) or ``name:port``. Empty means: this machine's loopback
            names when no tokens are required, and any name when they are, since a page that
            rebinds DNS has no token.
        allowed_origins: ``scheme://name[:port]`` of web pages that may call; a port of ``*`` is
            any. Loopback pages and pages of this server's own host are allowed as well.
        trusted_proxies: addresses or networks whose ``X-Forwarded-For`` is believed.
        plain: below this path, refusals have the form of plain HTTP.
        recorder: told of refusals.
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        tokens: Tokens,
        allowed_hosts: Sequence[str] = (),
        allowed_origins: Sequence[str] = (),
        trusted_proxies: Sequence[str] = (),
        plain: str | None = None,
        recorder: Recorder | None = None,
    ) -> None:
        self._app = app
        self._plain = plain
        self._tokens = tokens
        self._recorder = recorder or Silence()
        self._any_host = not allowed_hosts and tokens.required
        self._hosts = frozenset(
            _host_key(host) for host in (allowed_hosts or ()) or _LOOPBACK_NAMES
        ) | frozenset(_LOOPBACK_NAMES)
        self._origins = frozenset(origin.lower().rstrip("/") for origin in allowed_origins)
        self._proxies: tuple[Network, ...] = tuple(
            ipaddress.ip_network(proxy, strict=False) for proxy in trusted_proxies
        )
        self._known_good: set[tuple[bytes, bytes | None]] = set()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["path"] in _OPEN_PATHS:
            await self._app(scope, receive, send)
            return
        try:
            scope[_PEER] = self._admit(scope)
        except Refusal as refusal:
            self._recorder.refused(refusal.status)
            plain = self._plain is not None and scope["path"].startswith(self._plain)
            await refusal.send(send, plain=plain)
            return
        await self._app(scope, receive, send)

    def _admit(self, scope: Scope) -> Peer:
        single: dict[bytes, bytes] = {}
        forwarded: list[bytes] = []
        for name, value in scope["headers"]:
            if name in _SINGLE:
                if name in single:
                    raise Refusal(400, f"The header {name.decode()} is given twice: send it once")
                single[name] = value
            elif name == b"x-forwarded-for":
                forwarded.append(value)
        host, origin = single.get(b"host", b""), single.get(b"origin")
        if (host, origin) not in self._known_good:
            self._check_host(host.decode("latin-1"))
            if origin is not None:
                self._check_origin(origin.decode("latin-1"), host.decode("latin-1"))
            if len(self._known_good) < _REMEMBERED:
                self._known_good.add((host, origin))
        principal = self._authenticate(single.get(b"authorization"))
        return Peer(principal, self._client_ip(scope, forwarded))

    def _check_host(self, host: str) -> None:
        name = _name_of(host.lower())
        if name is None:
            raise Refusal(400, "The Host header is missing or malformed")
        if self._any_host or name in self._hosts or host.lower() in self._hosts:
            return
        raise Refusal(
            421,
            f"Host {_shown(host)} is not served here; add it to `allowed_hosts` if it should be",
        )

    def _check_origin(self, origin: str, host: str) -> None:
        lowered = origin.lower()
        scheme, _, authority = lowered.partition("://")
        name = _name_of(authority)
        if name is not None and (
            lowered in self._origins
            or f"{scheme}://{name}:*" in self._origins
            or (
                scheme in ("http", "https")
                and (name in _LOOPBACK_NAMES or authority == host.lower())
            )
        ):
            return
        raise Refusal(
            403,
            f"Origin {_shown(origin)} is not allowed; add it to `allowed_origins` if this page"
            " should call the server",
        )

    def _authenticate(self, authorization: bytes | None) -> Principal:
        if not self._tokens.required:
            return ANONYMOUS
        header = None if authorization is None else authorization.decode("latin-1")
        principal = self._tokens.authenticate(header)
        if principal is not None:
            return principal
        if header is None:
            message = "This server needs a token: send `Authorization: Bearer <token>`"
            challenge = b"Bearer"
        else:
            message = "The token is not known here: send `Authorization: Bearer <token>`"
            challenge = b'Bearer error="invalid_token"'
        failure = Failure(
            Code.PERMISSION_DENIED,
            message,
            hint="Tokens are configured in the server's `[tokens.NAME]` tables.",
        )
        raise Refusal(401, message, headers=[(b"www-authenticate", challenge)], failure=failure)

    def _client_ip(self, scope: Scope, forwarded: Iterable[bytes]) -> str | None:
        client = scope.get("client")
        address = None if client is None else _bare_address(str(client[0])) or str(client[0])
        if not self._proxies or not self._is_trusted(address):
            return address
        hops = b",".join(forwarded).decode("latin-1").split(",")
        for hop in reversed(hops):
            candidate = _bare_address(hop.strip())
            if candidate is None:
                return address
            address = candidate
            if not self._is_trusted(address):
                return address
        return address

    def _is_trusted(self, address: str | None) -> bool:
        if address is None:
            return False
        try:
            parsed = ipaddress.ip_address(address)
        except ValueError:
            return False
        return any(parsed in network for network in self._proxies)


def _name_of(authority: str) -> str | None:
    """The name of ``name:port`` in lower case; None for what is neither."""
    match = _AUTHORITY.fullmatch(authority)
    return None if match is None else match[1]


def _host_key(host: str) -> str:
    lowered = host.lower()
    return lowered.removesuffix(":*")


@lru_cache(maxsize=1024)
def _bare_address(hop: str) -> str | None:
    """The address of a hop without its port; an IPv4 one also where IPv6 carries it."""
    text = hop[1:].partition("]")[0] if hop.startswith("[") else hop
    if text.count(":") == 1:
        text = text.partition(":")[0]
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return None
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return str(mapped or address)


def _shown(value: str) -> str:
    return repr(value if len(value) <= 80 else value[:77] + "...")
