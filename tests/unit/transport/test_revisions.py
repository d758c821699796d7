"""Which revisions of the protocol are spoken, and what is answered to the others."""

import pytest
from mcp_types.version import HANDSHAKE_PROTOCOL_VERSIONS, KNOWN_PROTOCOL_VERSIONS

from tests.unit.transport.toy import INITIALIZE, call, toy_client


@pytest.mark.parametrize("version", HANDSHAKE_PROTOCOL_VERSIONS)
async def test_every_revision_with_a_handshake_is_negotiated(version: str) -> None:
    async with toy_client() as (_, client):
        params = {**INITIALIZE["params"], "protocolVersion": version}
        opened = await client.post("/mcp", json={**INITIALIZE, "params": params})
        assert opened.json()["result"]["protocolVersion"] == version
        headers = {"Mcp-Session-Id": opened.headers["mcp-session-id"]}
        for said in ({}, {"MCP-Protocol-Version": version}):
            answer = await client.post("/mcp", json=call("echo", "x"), headers=headers | said)
            assert answer.json()["result"]["structuredContent"] == {"value": "x"}


@pytest.mark.parametrize("asked", ["2099-01-01", "1.0", "2026-07-28"])
async def test_whoever_asks_for_another_is_offered_the_latest_with_a_handshake(asked: str) -> None:
    async with toy_client() as (_, client):
        params = {**INITIALIZE["params"], "protocolVersion": asked}
        answer = await client.post("/mcp", json={**INITIALIZE, "params": params})
        assert answer.json()["result"]["protocolVersion"] == HANDSHAKE_PROTOCOL_VERSIONS[-1]


@pytest.mark.parametrize("method", ["POST", "GET", "DELETE"])
@pytest.mark.parametrize("version", ["2099-01-01", "latest", ""])
async def test_a_header_of_an_unknown_revision_is_refused_with_those_that_there_are(
    method: str, version: str
) -> None:
    """The specification: 400. It was 405 for GET and DELETE, and a word about `_meta` for POST."""
    async with toy_client() as (_, client):
        opened = await client.post("/mcp", json=INITIALIZE)
        headers = {
            "Mcp-Session-Id": opened.headers["mcp-session-id"],
            "MCP-Protocol-Version": version,
        }
        body = call("echo") if method == "POST" else None
        answer = await client.request(method, "/mcp", json=body, headers=headers)
        assert answer.status_code == 400
        message = answer.json()["error"]["message"]
        assert all(known in message for known in KNOWN_PROTOCOL_VERSIONS)


async def test_a_header_that_differs_from_what_was_negotiated_changes_nothing() -> None:
    """Clients should repeat the negotiated one; many send a constant."""
    async with toy_client() as (_, client):
        opened = await client.post("/mcp", json=INITIALIZE)
        headers = {"Mcp-Session-Id": opened.headers["mcp-session-id"]}
        said = headers | {"MCP-Protocol-Version": "2025-03-26"}
        answer = await client.post("/mcp", json=call("echo", "x"), headers=said)
        assert answer.json()["result"]["structuredContent"] == {"value": "x"}
        batch = await client.post("/mcp", json=[call("echo", "x")], headers=said)
        assert batch.status_code == 400
        shown = (await client.get("/health")).json()["sessions"]
        assert shown[0]["protocolVersion"] == "2025-11-25"
