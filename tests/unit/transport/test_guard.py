"""The guard: hosts, origins, tokens and client addresses."""

from typing import Any

import httpx
import pytest

from ccxt_mcp.settings import Settings
from tests.cluster.replicas import served
from tests.unit.transport.toy import Toy, call, running, toy_client

TOKEN = "a-token-that-is-long-enough"
OPS = "another-token-for-the-operators"
CALLERS: dict[str, Any] = {
    "desk": {"token": TOKEN, "scopes": ["read"]},
    "ops": {"token": OPS, "scopes": ["read", "ops"]},
}


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


async def post(client: httpx.AsyncClient, **headers: str) -> httpx.Response:
    return await client.post(
        "/mcp", json=call("echo", "x"), headers={"Mcp-Session-Id": "a", **headers}
    )


@pytest.mark.parametrize("host", ["localhost", "localhost:3000", "127.0.0.1:80", "[::1]:3000"])
async def test_loopback_names_are_served(host: str) -> None:
    async with toy_client() as (_, client):
        assert (await post(client, Host=host)).status_code == 200


@pytest.mark.parametrize(
    "host",
    [
        "evil.example",
        "localhost.evil.example",
        "192.0.2.1:3000",
        "",
        "localhost:80@evil.example",
        "[::1]evil.example",
        "[::1",
        "localhost:http",
    ],
)
async def test_a_foreign_host_is_refused(host: str) -> None:
    async with toy_client() as (_, client):
        response = await post(client, Host=host)
        assert response.status_code in (400, 421)
        assert "Host" in response.json()["error"]["message"]


@pytest.mark.parametrize(
    ("origin", "status"),
    [
        ("http://localhost:5173", 200),
        ("http://127.0.0.1:3000", 200),
        ("https://app.example", 200),
        ("https://app.example:8443", 403),
        ("https://evil.example", 403),
        ("http://localhost.evil.example", 403),
        ("null", 403),
        ("", 403),
        ("http://[::1", 403),
        ("http://[x]", 403),
        ("http://[::1]evil.example", 403),
        ("http://localhost:x@evil.example", 403),
        ("http://localhost#@evil.example", 403),
    ],
)
async def test_origins_are_loopback_or_listed(origin: str, status: int) -> None:
    """A broken bracket was once a 500, and a loopback name as the user of a foreign host passed."""
    async with toy_client(allowed_origins=["https://app.example"]) as (_, client):
        response = await post(client, Origin=origin)
        assert response.status_code == status
        if status == 403:
            assert "allowed_origins" in response.json()["error"]["message"]


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ((b"host", b"localhost"), (b"host", b"evil.example")),
        ((b"origin", b"https://evil.example"), (b"origin", b"http://localhost")),
        ((b"mcp-session-id", b"a"), (b"mcp-session-id", b"b")),
        ((b"mcp-protocol-version", b"2025-06-18"), (b"mcp-protocol-version", b"2026-07-28")),
        ((b"authorization", b"Bearer x"), (b"authorization", b"Bearer y")),
    ],
)
async def test_a_header_that_decides_is_taken_once(
    first: tuple[bytes, bytes], second: tuple[bytes, bytes]
) -> None:
    """With two protocol versions this endpoint read the last and the SDK the first: the call was
    served without a session and outside its lane."""
    async with toy_client() as (_, client):
        headers = [(b"Content-Type", b"application/json"), first, second]
        response = await client.post("/mcp", content=b"{}", headers=headers)
        assert response.status_code == 400
        assert f"{first[0].decode()} is given twice" in response.json()["error"]["message"]


async def test_a_listed_page_may_ask_first_without_a_token() -> None:
    async with toy_client(allowed_origins=["https://app.example"], tokens=CALLERS) as (_, client):
        response = await client.options(
            "/mcp",
            headers={
                "Origin": "https://app.example",
                "Access-Control-Request-Method": "POST",
                "Access-Control-Request-Headers": "content-type,mcp-session-id",
            },
        )
        assert response.status_code == 200
        assert response.headers["access-control-allow-origin"] == "https://app.example"


@pytest.mark.parametrize(
    "headers",
    [{}, bearer("wrong"), bearer(""), {"Authorization": f"Basic {TOKEN}"}, bearer(TOKEN + "x")],
)
@pytest.mark.parametrize("path", ["/mcp", "/health", "/nothing"])
async def test_without_a_known_token_every_checked_route_is_closed(
    headers: dict[str, str], path: str
) -> None:
    async with toy_client(tokens=CALLERS) as (_, client):
        response = await client.get(path, headers=headers)
        assert response.status_code == 401
        assert response.headers["www-authenticate"].startswith("Bearer")
        assert TOKEN not in response.text


async def test_probes_are_open_and_tell_nothing() -> None:
    async with toy_client(tokens=CALLERS) as (_, client):
        for path, body in (("/live", {"status": "live"}), ("/ready", {"status": "ready"})):
            response = await client.get(path, headers={"Host": "10.1.2.3"})
            assert response.json() == body


async def test_a_server_that_has_not_started_is_not_ready() -> None:
    app = served(Settings(), Toy().server())
    async with httpx.AsyncClient(
        transport=httpx.ASGITransport(app), base_url="http://localhost"
    ) as client:
        assert (await client.get("/ready")).status_code == 503
        assert (await client.get("/live")).status_code == 200


async def test_tokens_separate_sessions_of_the_same_name_and_only_ops_sees_the_list() -> None:
    async with toy_client(tokens=CALLERS) as (_, client):
        assert (await post(client, **bearer(TOKEN))).status_code == 200
        assert (await post(client, **bearer(OPS))).status_code == 200
        assert (await client.get("/health", headers=bearer(TOKEN))).json() == {"status": "healthy"}
        seen = (await client.get("/health", headers=bearer(OPS))).json()
        assert seen["activeSessions"] == 2
        assert {item["principal"] for item in seen["sessions"]} == {"desk", "ops"}
        ended = await client.delete("/mcp", headers={"Mcp-Session-Id": "a", **bearer(TOKEN)})
        assert ended.status_code == 204
        left = (await client.get("/health", headers=bearer(OPS))).json()["sessions"]
        assert [item["principal"] for item in left] == ["ops"]


@pytest.mark.parametrize("query", ["limit=0", "limit=x", "limit=99999", "offset=-1"])
async def test_a_bad_page_of_health_is_refused(query: str) -> None:
    async with toy_client() as (_, client):
        response = await client.get(f"/health?{query}")
        assert response.status_code == 400
        assert "integer" in response.json()["error"]


@pytest.mark.parametrize(
    ("proxies", "forwarded", "expected"),
    [
        ([], "203.0.113.9", "127.0.0.1"),
        (["127.0.0.1"], "203.0.113.9", "203.0.113.9"),
        (["127.0.0.0/8"], "198.51.100.1, 203.0.113.9", "203.0.113.9"),
        (["127.0.0.1", "203.0.113.9"], "198.51.100.1, 203.0.113.9", "198.51.100.1"),
        (["127.0.0.1"], "garbage", "127.0.0.1"),
        (["127.0.0.1"], "203.0.113.9:4711", "203.0.113.9"),
        (["127.0.0.1"], "[2001:db8::1]:4711", "2001:db8::1"),
        (["127.0.0.1", "203.0.113.9"], "198.51.100.1, ::ffff:203.0.113.9", "198.51.100.1"),
    ],
)
async def test_proxy_headers_are_believed_from_trusted_proxies_alone(
    proxies: list[str], forwarded: str, expected: str
) -> None:
    settings = Settings.model_validate(
        {
            "trusted_proxies": proxies,
            "tokens": {"ops": {"token": OPS, "scopes": ["read", "ops"]}},
        }
    )
    async with running(served(settings, Toy().server()), **bearer(OPS)) as client:
        await post(client, **{"X-Forwarded-For": forwarded})
        (shown,) = (await client.get("/health")).json()["sessions"]
        assert shown["clientIp"] == expected


async def test_a_loopback_server_behind_a_proxy_shows_its_sessions_to_loopback_only() -> None:
    async with toy_client(trusted_proxies=["127.0.0.1"]) as (_, client):
        outside = await client.get("/health", headers={"X-Forwarded-For": "203.0.113.9"})
        assert outside.json() == {"status": "healthy"}
        assert "sessions" in (await client.get("/health")).json()
