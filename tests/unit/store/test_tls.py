"""The way to the store through TLS: an authority of one's own, and nobody else's word."""

from __future__ import annotations

import asyncio
import logging
import secrets
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from ccxt_mcp.errors import ConfigurationError, Failure
from ccxt_mcp.store.opening import store_at
from ccxt_mcp.store.protocol import Claim
from tests.certificates import Authority, Certificate
from tests.redis_server import RedisServer, running_redis
from tests.unit.store.world import opened, until

HOST = "127.0.0.1"
TIMEOUT = 2.0


class Secured:
    """A server with a port for TLS beside its plain one."""

    def __init__(self, server: RedisServer, port: int, authority: Authority) -> None:
        self.server = server
        self.port = port
        self.authority = authority

    def url(self, **options: object) -> str:
        chosen = {"ssl_ca_certs": self.authority.path, **options}
        words = "&".join(f"{key}={value}" for key, value in chosen.items() if value is not None)
        return f"rediss://{HOST}:{self.port}/0?{words}"


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority"), "own")


@pytest.fixture(scope="module")
def secured(
    redis_there: None, authority: Authority, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Secured]:
    """A server that asks its clients for no certificate."""
    certificate = authority.issue("server", HOST)
    with _running(
        tmp_path_factory.mktemp("tls"), authority, certificate, "--tls-auth-clients", "no"
    ) as secured:
        yield secured


def _free_port() -> int:
    while True:
        with socket.socket() as probe:
            probe.bind((HOST, 0))
            port: int = probe.getsockname()[1]
        # A node of a cluster takes the port 10,000 above as well.
        if port < 55_000:
            return port


def options(port: int, authority: Authority, certificate: Certificate) -> tuple[str, ...]:
    """Of a server that serves TLS at this port."""
    return (
        *("--tls-port", str(port), "--tls-ca-cert-file", str(authority.path)),
        *("--tls-cert-file", str(certificate.path), "--tls-key-file", str(certificate.key)),
    )


@contextmanager
def _running(
    directory: Path, authority: Authority, certificate: Certificate, *more: str
) -> Iterator[Secured]:
    port = _free_port()
    tls = options(port, authority, certificate)
    try:
        with running_redis(directory, *tls, *more) as server:
            yield Secured(server, port, authority)
    except RuntimeError as error:
        if "TLS" not in str(error) and "tls-" not in str(error):
            raise
        pytest.skip("this server was built without TLS")


async def works(url: str) -> None:
    """Round trips and mail."""
    async with opened(url, secrets.token_hex(6), TIMEOUT, 1) as (store,):
        heard: list[str] = []
        await store.mail.listen("a", heard.append)
        claimed = await store.leases.claim("lane", "t", node="a", length=6)
        assert claimed.state is Claim.YOUNG
        assert await store.mail.tell("a", "hello")
        await until(lambda: heard[-1:] == ["hello"])


async def refused(url: str, words: str, caplog: pytest.LogCaptureFixture) -> None:
    """Neither round trips nor mail; the log says why."""
    caplog.set_level(logging.DEBUG, "ccxt_mcp.store")
    caplog.clear()
    async with opened(url, secrets.token_hex(6), TIMEOUT, 1) as (store,):
        heard: list[str] = []
        listening = asyncio.create_task(store.mail.listen("a", heard.append))
        with pytest.raises(Failure, match="store"):
            await store.leases.claim("lane", "t", node="a", length=6)
        with pytest.raises(Failure):
            await store.mail.tell("a", "hello")
        await until(lambda: "mail of the store is lost" in caplog.text)
        assert heard == []
        assert not listening.done()
        listening.cancel()
    assert words in caplog.text


async def test_a_server_with_a_certificate_of_ones_own_authority_is_used(
    secured: Secured,
) -> None:
    await works(secured.url())
    with secured.server.client() as client:
        # What was said went that way.
        assert client.info("stats")["total_connections_received"] > 2


async def test_a_server_with_anothers_certificate_is_refused(
    secured: Secured, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    await refused(secured.url(ssl_ca_certs=None), "CERTIFICATE_VERIFY_FAILED", caplog)
    stranger = Authority(tmp_path, "stranger")
    await refused(secured.url(ssl_ca_certs=stranger.path), "CERTIFICATE_VERIFY_FAILED", caplog)


async def test_a_server_with_the_certificate_of_another_host_is_refused(
    redis_there: None, authority: Authority, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    certificate = authority.issue("elsewhere", "store.example", "10.0.0.1")
    with _running(tmp_path, authority, certificate, "--tls-auth-clients", "no") as elsewhere:
        await refused(elsewhere.url(), "IP address mismatch", caplog)
        await works(elsewhere.url(ssl_check_hostname="false"))


async def test_nothing_is_said_in_the_clear_where_tls_was_asked_for(secured: Secured) -> None:
    """To a server without TLS a password would go to whoever listens there."""
    said = bytearray()
    ended = asyncio.Event()

    async def hear(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        said.extend(await reader.read(4096))
        writer.write(b"+OK\r\n")
        writer.close()
        ended.set()

    async with await asyncio.start_server(hear, HOST, 0) as listener:
        port = listener.sockets[0].getsockname()[1]
        url = secured.url().replace(f"{HOST}:{secured.port}", f"someone:s3cr3t@{HOST}:{port}")
        async with opened(url, secrets.token_hex(6), TIMEOUT, 1) as (store,):
            with pytest.raises(Failure):
                await store.ping()
        await asyncio.wait_for(ended.wait(), 10)
    # A handshake, and nothing else.
    assert said[:2] == b"\x16\x03"
    assert b"s3cr3t" not in said


async def test_a_server_that_wants_to_know_its_clients_is_shown_a_certificate(
    redis_there: None, authority: Authority, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    certificate = authority.issue("server-of-friends", HOST)
    friend = authority.issue("friend")
    with _running(tmp_path, authority, certificate, "--tls-auth-clients", "yes") as secured:
        await works(secured.url(ssl_certfile=friend.path, ssl_keyfile=friend.key))
        await refused(secured.url(), "", caplog)
        stranger = Authority(tmp_path, "stranger").issue("stranger-friend")
        url = secured.url(ssl_certfile=stranger.path, ssl_keyfile=stranger.key)
        await refused(url, "", caplog)


@pytest.mark.servers
async def test_the_nodes_of_a_cluster_are_reached_through_tls(
    redis_there: None, authority: Authority, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    certificate = authority.issue("node", HOST)
    enabled = ("--tls-auth-clients", "no", "--cluster-enabled", "yes", "--tls-cluster", "yes")
    with _running(tmp_path, authority, certificate, *enabled) as secured:
        with secured.server.client() as client:
            client.execute_command("CLUSTER", "ADDSLOTS", *range(16384))

            def well() -> bool:
                return b"cluster_state:ok" in client.execute_command("CLUSTER", "INFO")

            await until(well)
        url = secured.url().replace("rediss:", "rediss+cluster:").replace("/0?", "?")
        await works(url)
        stranger = Authority(tmp_path, "stranger")
        await refused(
            url.replace(str(authority.path), str(stranger.path)), "CERTIFICATE_VERIFY", caplog
        )


@pytest.mark.servers
async def test_sentinels_and_what_they_point_to_are_reached_through_tls(
    redis_there: None, authority: Authority, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    certificate = authority.issue("watched", HOST)
    (tmp_path / "server").mkdir()
    (tmp_path / "sentinel").mkdir()
    both = ("--tls-auth-clients", "no", "--tls-replication", "yes")
    with _running(tmp_path / "server", authority, certificate, *both) as secured:
        config = tmp_path / "sentinel" / "sentinel.conf"
        config.write_text(f"sentinel monitor main {HOST} {secured.port} 1\n")
        port = _free_port()
        tls = (*options(port, authority, certificate), *both)
        with running_redis(config.parent, *tls, sentinel=config):
            way = f"rediss+sentinel://{HOST}:{port}/main?ssl_ca_certs="
            await works(f"{way}{authority.path}")
            stranger = Authority(tmp_path, "stranger")
            await refused(f"{way}{stranger.path}", "CERTIFICATE_VERIFY", caplog)


@pytest.mark.parametrize("key", ["ssl_ca_certs", "ssl_certfile", "ssl_keyfile"])
def test_a_file_that_is_not_there_is_said_at_the_start(key: str, tmp_path: Path) -> None:
    """It was a store that cannot be reached, for ever."""
    with pytest.raises(ConfigurationError, match=f"store_url: `{key}`"):
        store_at(f"rediss://h?{key}={tmp_path}/none", prefix="p", timeout=1)
