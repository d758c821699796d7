"""The one way out of a profile: what is kept from CCXT's and aiohttp's habits, on real sockets."""

from __future__ import annotations

import asyncio
import datetime
import gzip
import ipaddress
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
import pytest
import yarl
from aiohttp import web

from ccxt_mcp.errors import Code, ConfigurationError, Failure
from ccxt_mcp.exchanges import http
from ccxt_mcp.exchanges.failures import Wire
from ccxt_mcp.exchanges.gateway import Gateway
from ccxt_mcp.exchanges.http import WIRE, RoutedSession, open_session, trust_store, trusting
from ccxt_mcp.settings import ExchangeProfile

Handler = Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]
TIMEOUT = aiohttp.ClientTimeout(total=5)


@asynccontextmanager
async def serving(handler: Handler, tls: ssl.SSLContext | None = None) -> AsyncIterator[str]:
    runner = web.ServerRunner(web.Server(handler, access_log=None))
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0, ssl_context=tls)
    await site.start()
    host, port = runner.addresses[0][:2]
    try:
        yield f"{'https' if tls else 'http'}://{host}:{port}"
    finally:
        await runner.cleanup()


async def send(session: RoutedSession, url: str, method: str = "get") -> tuple[int, str]:
    request = getattr(session, method)(
        yarl.URL(url, encoded=True), data=None, headers={}, timeout=TIMEOUT, proxy=None
    )
    async with asyncio.timeout(5), request as response:
        return response.status, await response.text()


async def test_only_the_origin_is_replaced() -> None:
    """The signed query arrives byte for byte."""

    async def echo(request: web.BaseRequest) -> web.Response:
        return web.Response(text=f"{request.method} {request.raw_path}")

    async with serving(echo) as base_url:
        session = open_session(base_url=base_url + "/", proxy=None, tls=None)
        query = "symbols=%5B%22A%22%5D&x=a+b%20c&signature=ab"
        for method in ("get", "post", "put", "delete", "patch"):
            answer = await send(session, f"https://api.example.com/api/v3/x?{query}", method)
            assert answer == (200, f"{method.upper()} /api/v3/x?{query}")
        assert (session.requests, session.connections, session.handshakes) == (5, 1, 0)
        assert session.open_connections == 1
        await session.close()
        assert session.open_connections == 0


async def test_what_is_sent_is_noted_in_the_calls_record() -> None:
    async def fine(_: web.BaseRequest) -> web.Response:
        return web.Response()

    async with serving(fine) as base_url:
        session = open_session(base_url=base_url, proxy=None, tls=None)
        record = Wire()
        token = WIRE.set(record)
        await send(session, "https://api.example.com/")
        WIRE.reset(token)
        await send(session, "https://api.example.com/")
        assert (record.sent, session.requests) == (1, 2)
        await session.close()


async def test_a_cookie_is_not_carried_to_the_next_request() -> None:
    """Before: account b's request carried the session cookie that a's answer had set."""
    seen: list[str | None] = []

    async def baker(request: web.BaseRequest) -> web.Response:
        seen.append(request.headers.get("Cookie"))
        response = web.Response()
        response.set_cookie("account", "a")
        return response

    async with serving(baker) as base_url:
        session = open_session(base_url=base_url, proxy=None, tls=None)
        await send(session, "https://api.example.com/")
        await send(session, "https://api.example.com/")
        await session.close()
    assert seen == [None, None]


@pytest.mark.parametrize("method", ["get", "put", "delete"])
async def test_a_request_is_never_sent_twice(method: str) -> None:
    """Before: a kept-alive connection dropped, aiohttp sent again; Deribit's orders are GET."""
    paths: list[str] = []

    async def dropping(request: web.BaseRequest) -> web.Response:
        paths.append(request.path)
        if request.path == "/order":
            assert request.transport is not None
            request.transport.abort()
        return web.Response()

    async with serving(dropping) as base_url:
        naive = aiohttp.ClientSession()
        async with naive.request(method, base_url + "/first") as response:
            await response.read()
        with pytest.raises(aiohttp.ClientConnectionError):
            await naive.request(method, base_url + "/order")
        await naive.close()
        assert paths.count("/order") == 2

        paths.clear()
        session = open_session(base_url=base_url, proxy=None, tls=None)
        await send(session, "https://api.example.com/first", method)
        with pytest.raises(aiohttp.ClientConnectionError):
            await send(session, "https://api.example.com/order", method)
        await session.close()
        assert paths == ["/first", "/order"]


@pytest.mark.parametrize("way", ["declared", "chunked", "compressed"])
async def test_a_body_beyond_the_bound_is_not_read(
    monkeypatch: pytest.MonkeyPatch, way: str
) -> None:
    """Before: one answer could take all memory; a few kilobytes, once unpacked, too. The connection
    is not used again, since the rest is still to come on it."""
    monkeypatch.setattr(http, "MAX_ANSWER", 1_000_000)
    sizes = iter([1_000_000, 50_000_000, 10])

    async def large(_: web.BaseRequest) -> web.Response:
        body = b" " * next(sizes)
        if way == "compressed":
            return web.Response(body=gzip.compress(body), headers={"Content-Encoding": "gzip"})
        response = web.Response(body=body)
        if way == "chunked":
            response.enable_chunked_encoding()
        return response

    async with serving(large) as base_url:
        session = open_session(base_url=base_url, proxy=None, tls=None)
        assert len((await send(session, "https://api.example.com/"))[1]) == 1_000_000
        with pytest.raises(http.AnswerTooLarge):
            await send(session, "https://api.example.com/")
        assert len((await send(session, "https://api.example.com/"))[1]) == 10
        assert session.connections == 2
        await session.close()


async def test_what_could_not_be_connected_to_counts_as_not_sent() -> None:
    """Before: a refused connection looked like a request without an answer; for an order, the
    difference between "not sent" and "may have happened"."""

    async def dropping(request: web.BaseRequest) -> web.Response:
        assert request.transport is not None
        request.transport.abort()
        return web.Response()

    records = []
    async with serving(dropping) as base_url:
        addresses = [base_url, "http://127.0.0.1:1"]
        for address in addresses:
            session = open_session(base_url=address, proxy=None, tls=None)
            record = Wire()
            token = WIRE.set(record)
            with pytest.raises(aiohttp.ClientConnectionError):
                await send(session, "https://api.example.com/", "post")
            WIRE.reset(token)
            records.append((record.sent, record.answered, session.requests))
            await session.close()
    assert records == [(1, 0, 1), (0, 0, 1)]


async def test_a_redirect_is_not_followed() -> None:
    """Before: the request, with its API key header, went to whatever host the answer named."""
    visited: list[str] = []

    async def elsewhere(request: web.BaseRequest) -> web.Response:
        visited.append(request.path)
        return web.Response(status=302, headers={"Location": "/stolen"})

    async with serving(elsewhere) as base_url:
        session = open_session(base_url=base_url, proxy=None, tls=None)
        assert (await send(session, "https://api.example.com/"))[0] == 302
        await session.close()
    assert visited == ["/"]


async def test_the_environments_proxy_is_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    async def fine(_: web.BaseRequest) -> web.Response:
        return web.Response(text="direct")

    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    async with serving(fine) as base_url:
        session = open_session(base_url=base_url, proxy=None, tls=None)
        assert await send(session, "https://api.example.com/") == (200, "direct")
        await session.close()


async def test_a_profiles_proxy_is_used() -> None:
    async def proxy(request: web.BaseRequest) -> web.Response:
        return web.Response(text=f"proxied {request.raw_path}")

    async with serving(proxy) as address:
        session = open_session(base_url="http://venue.invalid", proxy=address, tls=None)
        answer = await send(session, "https://api.example.com/x")
        assert answer == (200, "proxied http://venue.invalid/x")
        await session.close()


def test_trust_comes_from_the_profile_then_the_environment_then_certifi(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", "/etc/company.pem")
    assert trust_store(Path("/own.pem")) == "/own.pem"
    assert trust_store(None) == "/etc/company.pem"
    monkeypatch.delenv("SSL_CERT_FILE")
    assert trust_store(None).endswith("cacert.pem")


async def test_a_certificate_file_that_cannot_be_used_is_named(tmp_path: Path) -> None:
    bad = tmp_path / "bad.pem"
    bad.write_text("not a certificate")
    for path in (bad, tmp_path / "missing.pem"):
        with pytest.raises(ConfigurationError, match=path.name):
            await trusting(str(path))


@pytest.fixture
def certificate(tmp_path: Path) -> Path:
    """A certificate for 127.0.0.1 that signs itself, with its key in the same file."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "venue")])
    now = datetime.datetime.now(datetime.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(
            x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), False
        )
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), True)
        .sign(key, hashes.SHA256())
    )
    path = tmp_path / "venue.pem"
    path.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
        + made.public_bytes(serialization.Encoding.PEM)
    )
    return path


async def test_a_private_authority_is_trusted_by_its_file_and_nobody_else(
    certificate: Path,
) -> None:
    """And all calls of a profile share one handshake."""
    tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    tls.load_cert_chain(certificate)

    async def venue(_: web.BaseRequest) -> web.Response:
        return web.json_response({"serverTime": 1})

    async with serving(venue, tls) as base_url:
        session = open_session(base_url=base_url, proxy=None, tls=await trusting(str(certificate)))
        for _ in range(3):
            assert (await send(session, "https://api.example.com/"))[0] == 200
        assert (session.requests, session.connections, session.handshakes) == (3, 1, 1)
        await session.close()

        profile = ExchangeProfile(name="paper", exchange="binance", base_url=base_url)
        gateway = Gateway({"paper": profile})
        with pytest.raises(Failure, match="not trusted") as caught:
            async with asyncio.timeout(20), gateway.public("paper"):
                raise AssertionError
        assert caught.value.code is Code.EXCHANGE_UNAVAILABLE
        assert "ca_file" in caught.value.hint
        await gateway.close()
