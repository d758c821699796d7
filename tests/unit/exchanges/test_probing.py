"""Where an exchange is, and what an error on the way there is."""

from __future__ import annotations

import socket
import ssl
from typing import Any

import aiohttp
import pytest
import yarl
from aiohttp.client_reqrep import ConnectionKey

from ccxt_mcp.exchanges.catalog import catalog
from ccxt_mcp.exchanges.probing import Trouble, address_of, trouble_of
from ccxt_mcp.exchanges.prototypes import build_prototype
from ccxt_mcp.settings import ExchangeProfile

KEY = ConnectionKey("h", 443, True, True, None, None, None)


def certificate(code: int) -> aiohttp.ClientConnectorCertificateError:
    cause = ssl.SSLCertVerificationError("no")
    cause.verify_code = code
    return aiohttp.ClientConnectorCertificateError(KEY, cause)


@pytest.mark.parametrize(
    ("error", "trouble"),
    [
        (TimeoutError(), Trouble.TIMEOUT),
        (aiohttp.ConnectionTimeoutError(), Trouble.TIMEOUT),
        (aiohttp.ClientProxyConnectionError(KEY, ConnectionRefusedError(111, "")), Trouble.PROXY),
        (certificate(18), Trouble.UNTRUSTED),
        (certificate(20), Trouble.UNTRUSTED),
        (certificate(10), Trouble.EXPIRED),
        (certificate(62), Trouble.WRONG_HOST),
        (aiohttp.ClientConnectorSSLError(KEY, ssl.SSLError("record layer")), Trouble.NO_TLS),
        (aiohttp.ClientConnectorDNSError(KEY, OSError(None, "")), Trouble.NO_SUCH_NAME),
        (aiohttp.ClientConnectorError(KEY, socket.gaierror(-2, "")), Trouble.NO_SUCH_NAME),
        (aiohttp.ClientConnectorError(KEY, ConnectionRefusedError(111, "")), Trouble.REFUSED),
        (aiohttp.ClientConnectorError(KEY, OSError(113, "No route")), Trouble.UNREACHABLE),
        (OSError(101, "Network is unreachable"), Trouble.UNREACHABLE),
        (aiohttp.ServerDisconnectedError(), Trouble.DROPPED),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else value.value,
)
def test_each_error_is_the_trouble_that_its_remedy_is_for(error: Any, trouble: Trouble) -> None:
    assert trouble_of(error) is trouble


def test_every_exchange_has_an_address_that_can_be_asked() -> None:
    """CCXT writes them as text or in nested tables, some with the host's name to be put in."""
    for name in catalog().exchanges:
        prototype = build_prototype(ExchangeProfile(name=name, exchange=name), 1000)
        url = yarl.URL(address_of(prototype))
        assert url.scheme in ("http", "https"), name
        assert url.host, name
        assert "{" not in url.host, name
