"""Whether an exchange's address can be reached at all, and if not, why.

Owns: one keyless request to the root of the address that CCXT knows, over the profile's own session
(so its proxy, its trust and its `base_url`), and what kind of trouble an error of the HTTP client
is. Refuses: judging what was answered (an exchange may well have nothing at its root), and words
for people.
"""

from __future__ import annotations

import errno
import socket
import ssl
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from enum import StrEnum
from typing import Any

import aiohttp
import yarl

from ccxt_mcp.exchanges.clocks import Reading, reading_of
from ccxt_mcp.exchanges.http import RoutedSession

__all__ = ["Reached", "Trouble", "address_of", "probe", "trouble_of"]


class Trouble(StrEnum):
    """Why no answer came, named by its remedy."""

    NO_SUCH_NAME = "no_such_name"
    REFUSED = "refused"
    UNREACHABLE = "unreachable"
    PROXY = "proxy"
    UNTRUSTED = "untrusted"
    EXPIRED = "expired"
    WRONG_HOST = "wrong_host"
    NO_TLS = "no_tls"
    TIMEOUT = "timeout"
    DROPPED = "dropped"


@dataclass(frozen=True, slots=True)
class Reached:
    """What came of the request.

    Attributes:
        host: where it went, ``host:port``.
        trouble: why nothing was answered; ``None`` if something was.
        seconds: from the start to the answer or the trouble.
        status: the answer's HTTP status.
        clock: the exchange's clock by the answer's ``Date`` header, if it has one.
    """

    host: str
    trouble: Trouble | None
    seconds: float
    status: int | None = None
    clock: Reading | None = None


async def probe(
    session: RoutedSession, address: str, *, base_url: str | None, timeout: float
) -> Reached:
    """Ask for the root of an address. Raises nothing of the HTTP client's.

    Args:
        address: the exchange's own; ``base_url`` stands in its place when it is given.
        timeout: seconds.
    """
    url = yarl.URL(address)
    target = yarl.URL(base_url) if base_url is not None else url
    host = f"{target.host}:{target.port}"
    wall, begun = time.time(), time.monotonic()
    try:
        async with session.get(
            url.origin() / "",
            data=None,
            headers={},
            timeout=aiohttp.ClientTimeout(total=timeout),
            proxy=None,
        ) as response:
            took = time.monotonic() - begun
            clock = _clock(response.headers.get("Date"), wall, took)
            return Reached(host, None, took, response.status, clock)
    except (TimeoutError, aiohttp.ClientError, OSError) as error:
        return Reached(host, trouble_of(error), time.monotonic() - begun)


def address_of(instance: Any) -> str:
    """The address of an exchange's API, as CCXT has it: the first of several."""
    found = next(_texts(instance.urls.get("api")), "")
    return str(instance.implode_hostname(found))


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for each in value.values():
            yield from _texts(each)


def trouble_of(error: BaseException) -> Trouble:
    """The kind of an error of the HTTP client, by the first row that fits."""
    if isinstance(error, TimeoutError):
        return Trouble.TIMEOUT
    if isinstance(error, aiohttp.ClientProxyConnectionError | aiohttp.ClientHttpProxyError):
        return Trouble.PROXY
    if isinstance(error, aiohttp.ClientConnectorCertificateError):
        return _of_certificate(error.certificate_error)
    if isinstance(error, aiohttp.ClientSSLError | ssl.SSLError):
        return Trouble.NO_TLS
    cause = error.os_error if isinstance(error, aiohttp.ClientConnectorError) else error
    if isinstance(error, aiohttp.ClientConnectorDNSError) or isinstance(cause, socket.gaierror):
        return Trouble.NO_SUCH_NAME
    if isinstance(error, aiohttp.ClientConnectorError) or not isinstance(
        error, aiohttp.ClientError
    ):
        number = cause.errno if isinstance(cause, OSError) else None
        return Trouble.REFUSED if number == errno.ECONNREFUSED else Trouble.UNREACHABLE
    return Trouble.DROPPED


_HAS_EXPIRED = 10
_OTHER_HOST = (62, 64)
"""OpenSSL's ``X509_V_ERR_…``: certificate has expired, hostname mismatch, address mismatch."""


def _of_certificate(error: BaseException) -> Trouble:
    code = getattr(error, "verify_code", None)
    if code == _HAS_EXPIRED:
        return Trouble.EXPIRED
    return Trouble.WRONG_HOST if code in _OTHER_HOST else Trouble.UNTRUSTED


def _clock(date: str | None, wall: float, took: float) -> Reading | None:
    try:
        theirs = parsedate_to_datetime(date or "").timestamp()
    except ValueError:
        return None
    return reading_of(wall, took * 1000, round(theirs * 1000))
