"""The fixture that the public suite drives, driven by the SDK's own client: needs no Node.js."""

import asyncio
from typing import Any, Literal

import mcp_types as types
import pytest
from mcp.client import Client, ClientRequestContext
from pydantic import FileUrl

from tests.conformance.contents import RESOURCES
from tests.conformance.fixture import fixture_server
from tests.conformance.prompts import PROMPTS

Mode = Literal["legacy", "auto"]
BACK_CHANNEL = {
    "test_sampling": "LLM response: Paris",
    "test_elicitation": "User response: action=accept",
    "test_elicitation_sep1034_defaults": "Elicitation completed: action=accept",
    "test_elicitation_sep1330_enums": "Elicitation completed: action=accept",
}
"""Tools that ask by a request of their own, which the newer era does not have."""
INPUT_REQUIRED = {
    "test_streaming_elicitation": "Hello, Ada!",
    "test_input_required_result_elicitation": "Hello, Ada!",
    "test_input_required_result_sampling": "Paris",
    "test_input_required_result_list_roots": "Roots: file:///test/root",
    "test_input_required_result_request_state": "state-ok",
    "test_input_required_result_multiple_inputs": "Every question was answered",
    "test_input_required_result_multi_round": "Ada likes green",
    "test_input_required_result_tampered_state": "state-ok",
    "test_input_required_result_capabilities": "Answered: client_roots, greeting, user_name",
}
"""Tools that ask by their answer, which the older era does not have."""
REPLIES = {
    "test_simple_text": "This is a simple text response for testing.",
    "test_multiple_content_types": "Multiple content types test:",
    "test_error_handling": "This tool intentionally returns an error for testing",
    "test_tool_with_logging": "Logged three times",
    "test_logging_tool": "Logged three times",
    "test_tool_with_progress": "Three steps were reported",
    "test_missing_capability": "The client has a model",
    "test_trigger_tool_change": "The list of tools changed",
    "test_trigger_prompt_change": "The list of prompts changed",
    "test_custom_header": "It matched",
    "json_schema_2020_12_tool": "Valid",
    "test_reconnection": "Answered after the stream was closed",
}
OTHER_KINDS = {
    "test_image_content": "image",
    "test_audio_content": "audio",
    "test_embedded_resource": "resource",
}
ARGUMENTS: dict[str, dict[str, Any]] = {
    "test_sampling": {"prompt": "The capital of France?"},
    "test_elicitation": {"message": "Who are you?"},
    "test_custom_header": {"region": "eu-central"},
    "json_schema_2020_12_tool": {"name": "Ada", "email": "ada@example.org"},
}


async def sampled(
    context: ClientRequestContext, params: types.CreateMessageRequestParams
) -> types.CreateMessageResult:
    return types.CreateMessageResult(
        role="assistant", content=types.TextContent(text="Paris"), model="test"
    )


async def filled_in(
    context: ClientRequestContext, params: types.ElicitRequestParams
) -> types.ElicitResult:
    assert isinstance(params, types.ElicitRequestFormParams)
    answers: dict[str, str | int | float | bool | list[str] | None] = {
        "name": "Ada",
        "color": "green",
        "ok": True,
        "username": "ada",
        "email": "ada@example.org",
        "context": "a test",
    }
    asked = params.requested_schema.get("required", [])
    return types.ElicitResult(action="accept", content={key: answers[key] for key in asked})


async def rooted(context: ClientRequestContext) -> types.ListRootsResult:
    return types.ListRootsResult(roots=[types.Root(uri=FileUrl("file:///test/root"))])


def client(url: str, mode: Mode, **more: Any) -> Client:
    return Client(
        url,
        mode=mode,
        sampling_callback=sampled,
        elicitation_callback=filled_in,
        list_roots_callback=rooted,
        **more,
    )


async def answer(connected: Client, tool: str) -> types.CallToolResult:
    return await connected.call_tool(tool, ARGUMENTS.get(tool, {}))


def words(result: types.CallToolResult) -> str:
    return result.content[0].text  # type: ignore[union-attr]


@pytest.mark.parametrize("mode", ["legacy", "auto"])
async def test_every_tool_of_the_era_answers_the_sdks_client(mode: Mode) -> None:
    replies = REPLIES if mode == "legacy" else REPLIES | INPUT_REQUIRED
    async with asyncio.timeout(30), fixture_server() as url, client(url, mode) as connected:
        listed = {tool.name for tool in (await connected.list_tools()).tools}
        assert listed == {*REPLIES, *OTHER_KINDS, *BACK_CHANNEL, *INPUT_REQUIRED}
        for tool, reply in replies.items():
            result = await answer(connected, tool)
            assert (words(result), result.is_error) == (reply, tool == "test_error_handling")
        for tool, kind in OTHER_KINDS.items():
            assert (await answer(connected, tool)).content[0].type == kind


async def test_the_tools_that_ask_the_clients_side_are_answered_by_it() -> None:
    async with asyncio.timeout(30), fixture_server() as url, client(url, "legacy") as connected:
        for tool, begin in BACK_CHANNEL.items():
            assert words(await answer(connected, tool)).startswith(begin), tool


@pytest.mark.parametrize("mode", ["legacy", "auto"])
async def test_progress_and_permitted_log_messages_arrive_before_the_answer(mode: Mode) -> None:
    reported: list[float] = []
    logged: list[Any] = []

    async def report(progress: float, total: float | None, message: str | None) -> None:
        reported.append(progress)

    async def log(params: types.LoggingMessageNotificationParams) -> None:
        logged.append(params.data)

    async with asyncio.timeout(30), fixture_server() as url:
        async with client(url, mode, logging_callback=log, log_level="info") as connected:
            await connected.call_tool("test_tool_with_progress", {}, progress_callback=report)
            await connected.call_tool("test_tool_with_logging", {})
        assert reported == [0, 50, 100]
        started = ["Tool execution started", "Tool processing data", "Tool execution completed"]
        assert logged == started
        if mode == "auto":
            async with client(url, mode, logging_callback=log) as connected:
                await connected.call_tool("test_tool_with_logging", {})
            assert logged == started, "nobody asked for log messages"


@pytest.mark.parametrize("mode", ["legacy", "auto"])
async def test_every_resource_and_prompt_is_there(mode: Mode) -> None:
    arguments = {"arg1": "one", "arg2": "two", "resourceUri": "test://example-resource"}
    async with asyncio.timeout(30), fixture_server() as url, client(url, mode) as connected:
        uris = [resource.uri for resource in (await connected.list_resources()).resources]
        assert uris == [resource.uri for resource in RESOURCES]
        for uri in (*uris, "test://template/123/data"):
            assert (await connected.read_resource(uri)).contents[0].uri == uri
        for prompt in PROMPTS:
            wanted = {each.name: arguments[each.name] for each in prompt.arguments or []}
            if mode == "auto" or prompt.name != "test_input_required_result_prompt":
                assert (await connected.get_prompt(prompt.name, wanted)).messages
