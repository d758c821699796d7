"""The tools of the conformance fixture, by the names that the public suite calls.

Owns: what each tool does. Refuses: the protocol, which is the product's transport's and the SDK's.
"""

import asyncio
import json
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

import mcp_types as types
from mcp.server.connection import allowed_log_levels
from mcp.server.context import ServerRequestContext
from mcp.server.subscriptions import PromptsListChanged, SubscriptionBus, ToolsListChanged
from mcp.shared.exceptions import MCPError

from tests.conformance import asking, contents
from tests.conformance.asking import answer_of, ask

__all__ = ["Answer", "Fixture", "fixtures"]

Context = ServerRequestContext[Any, Any]
Params = types.CallToolRequestParams
Answer = types.CallToolResult | types.InputRequiredResult
_PAUSE = 0.05
"""Seconds between the notifications of one call, as the suite asks for."""


@dataclass(frozen=True)
class Fixture:
    """One tool: what is listed of it, and what it does."""

    listed: types.Tool
    run: Callable[[Context, Params], Awaitable[Answer]]


def said(*parts: types.ContentBlock | str, failed: bool = False) -> types.CallToolResult:
    content = [contents.text(part) if isinstance(part, str) else part for part in parts]
    return types.CallToolResult(content=content, is_error=failed)


def _fixed(*parts: types.ContentBlock | str, failed: bool = False) -> Any:
    async def run(ctx: Context, params: Params) -> Answer:
        return said(*parts, failed=failed)

    return run


async def _log(ctx: Context, words: str) -> None:
    """A log message on the call's stream, where the protocol version and the caller allow it."""
    if "info" in allowed_log_levels(ctx.protocol_version, ctx.meta):
        message = types.LoggingMessageNotificationParams(level="info", data=words)
        await ctx.session.send_notification(
            types.LoggingMessageNotification(params=message), related_request_id=ctx.request_id
        )


async def _logging(ctx: Context, params: Params) -> Answer:
    await _log(ctx, "Tool execution started")
    await asyncio.sleep(_PAUSE)
    await _log(ctx, "Tool processing data")
    await asyncio.sleep(_PAUSE)
    await _log(ctx, "Tool execution completed")
    return said("Logged three times")


async def _progress(ctx: Context, params: Params) -> Answer:
    for done in (0, 50, 100):
        await ctx.session.report_progress(done, 100, f"{done} of 100")
        if done < 100:
            await asyncio.sleep(_PAUSE)
    return said("Three steps were reported")


async def _sampling(ctx: Context, params: Params) -> Answer:
    answer = await asking.sample(ctx, str((params.arguments or {}).get("prompt", "")))
    content = answer.content
    return said(f"LLM response: {content.text if content.type == 'text' else content.type}")


async def _elicitation(ctx: Context, params: Params) -> Answer:
    form = asking.string_form("username", "email")
    form["properties"]["username"]["description"] = "User's response"
    form["properties"]["email"]["description"] = "User's email address"
    answer = await asking.elicit(ctx, str((params.arguments or {}).get("message", "")), form)
    return said(f"User response: action={answer.action}, content={json.dumps(answer.content)}")


def _form(message: str, properties: dict[str, Any]) -> Any:
    async def run(ctx: Context, params: Params) -> Answer:
        schema = {"type": "object", "properties": properties, "required": []}
        answer = await asking.elicit(ctx, message, schema)
        told = f"action={answer.action}, content={json.dumps(answer.content)}"
        return said(f"Elicitation completed: {told}")

    return run


_DEFAULTS = {
    "name": {"type": "string", "default": "John Doe"},
    "age": {"type": "integer", "default": 30},
    "score": {"type": "number", "default": 95.5},
    "status": {"type": "string", "enum": ["active", "inactive", "pending"], "default": "active"},
    "verified": {"type": "boolean", "default": True},
}
_OPTIONS = ["option1", "option2", "option3"]
_TITLED = [
    {"const": f"value{n}", "title": f"{nth} Option"}
    for n, nth in ((1, "First"), (2, "Second"), (3, "Third"))
]
_ENUMS = {
    "untitledSingle": {"type": "string", "enum": _OPTIONS},
    "titledSingle": {"type": "string", "oneOf": _TITLED},
    "legacyEnum": {
        "type": "string",
        "enum": ["opt1", "opt2", "opt3"],
        "enumNames": ["Option One", "Option Two", "Option Three"],
    },
    "untitledMulti": {"type": "array", "items": {"type": "string", "enum": _OPTIONS}},
    "titledMulti": {"type": "array", "items": {"anyOf": _TITLED}},
}


async def _reconnection(ctx: Context, params: Params) -> Answer:
    """Sends its client away in the middle: the answer is to be fetched with Last-Event-ID."""
    if ctx.close_sse_stream is not None:
        await ctx.close_sse_stream()
    await asyncio.sleep(2 * _PAUSE)
    return said("Answered after the stream was closed")


async def _missing_capability(ctx: Context, params: Params) -> Answer:
    asking.require_sampling(ctx)
    return said("The client has a model")


def _content(answer: types.InputResponse | None) -> dict[str, Any]:
    """The form that a user filled in and accepted; empty for anything else."""
    if isinstance(answer, types.ElicitResult) and answer.action == "accept":
        return dict(answer.content or {})
    return {}


async def _mrtr_elicitation(ctx: Context, params: Params) -> Answer:
    name = _content(answer_of(params, "user_name")).get("name")
    if not isinstance(name, str):
        form = asking.string_form("name")
        return ask({"user_name": asking.elicitation("What is your name?", form)})
    return said(f"Hello, {name}!")


async def _mrtr_sampling(ctx: Context, params: Params) -> Answer:
    answer = answer_of(params, "capital_question")
    if not isinstance(answer, types.CreateMessageResult):
        return ask({"capital_question": asking.sampling("What is the capital of France?", 100)})
    content = answer.content
    return said(content if isinstance(content, types.TextContent) else "No text was answered")


async def _mrtr_roots(ctx: Context, params: Params) -> Answer:
    answer = answer_of(params, "client_roots")
    if not isinstance(answer, types.ListRootsResult):
        return ask({"client_roots": asking.roots()})
    return said("Roots: " + ", ".join(str(root.uri) for root in answer.roots))


async def _mrtr_state(ctx: Context, params: Params) -> Answer:
    """The state comes back unsealed; one that was tampered with never comes this far."""
    if params.request_state is None or answer_of(params, "confirm") is None:
        form = {"type": "object", "properties": {"ok": {"type": "boolean"}}, "required": ["ok"]}
        return ask({"confirm": asking.elicitation("Please confirm", form)}, "confirming")
    if params.request_state != "confirming":
        raise MCPError(types.INVALID_PARAMS, "This is not the state of this question")
    return said("state-ok")


async def _mrtr_several(ctx: Context, params: Params) -> Answer:
    questions: dict[str, types.InputRequest] = {
        "user_name": asking.elicitation("What is your name?", asking.string_form("name")),
        "greeting": asking.sampling("Generate a greeting", 50),
        "client_roots": asking.roots(),
    }
    if params.request_state is None or any(answer_of(params, key) is None for key in questions):
        return ask(questions, "several")
    return said("Every question was answered")


async def _mrtr_rounds(ctx: Context, params: Params) -> Answer:
    state = json.loads(params.request_state or "{}")
    for step, field, question in (
        ("step1", "name", "Step 1: What is your name?"),
        ("step2", "color", "Step 2: What is your favorite color?"),
    ):
        if field in state:
            continue
        answer = _content(answer_of(params, step)).get(field)
        if answer is None:
            form = asking.string_form(field)
            return ask({step: asking.elicitation(question, form)}, json.dumps(state))
        state[field] = answer
    return said(f"{state['name']} likes {state['color']}")


async def _mrtr_capabilities(ctx: Context, params: Params) -> Answer:
    """Asks only what the client said that it can answer."""
    if params.input_responses:
        return said("Answered: " + ", ".join(sorted(params.input_responses)))
    declared = ctx.session.client_capabilities or types.ClientCapabilities()
    questions: dict[str, types.InputRequest] = {}
    if declared.elicitation is not None:
        form = asking.string_form("name")
        questions["user_name"] = asking.elicitation("What is your name?", form)
    if declared.sampling is not None:
        questions["greeting"] = asking.sampling("Generate a greeting", 50)
    if declared.roots is not None:
        questions["client_roots"] = asking.roots()
    return ask(questions) if questions else said("There is nothing that the client can answer")


_NO_INPUT: dict[str, Any] = {"type": "object"}
_IN_HEADER = {
    "type": "object",
    "properties": {
        "region": {
            "type": "string",
            "description": "Sent in a header as well",
            "x-mcp-header": "Region",
        }
    },
}
_SIMPLE = "This is a simple text response for testing."
_SEVERAL: Any = ("Multiple content types test:", contents.IMAGE, contents.MIXED)
_FAILED = "This tool intentionally returns an error for testing"

_Row = tuple[str, str, Callable[[Context, Params], Awaitable[Answer]], dict[str, Any]]
_MRTR = "test_input_required_result_"
_TABLE: tuple[_Row, ...] = (
    # The suite calls the first one of the list without arguments.
    ("test_simple_text", "Answers a text", _fixed(_SIMPLE), _NO_INPUT),
    ("test_image_content", "Answers an image", _fixed(contents.IMAGE), _NO_INPUT),
    ("test_audio_content", "Answers a sound", _fixed(contents.AUDIO), _NO_INPUT),
    ("test_embedded_resource", "Answers a resource", _fixed(contents.EMBEDDED), _NO_INPUT),
    ("test_multiple_content_types", "Answers three contents", _fixed(*_SEVERAL), _NO_INPUT),
    ("test_error_handling", "Fails", _fixed(_FAILED, failed=True), _NO_INPUT),
    ("test_tool_with_logging", "Logs while it runs", _logging, _NO_INPUT),
    ("test_logging_tool", "Logs while it runs", _logging, _NO_INPUT),
    ("test_tool_with_progress", "Reports progress", _progress, _NO_INPUT),
    ("test_sampling", "Asks the client's model", _sampling, asking.string_form("prompt")),
    ("test_elicitation", "Asks the user", _elicitation, asking.string_form("message")),
    ("test_elicitation_sep1034_defaults", "Has defaults", _form("Review", _DEFAULTS), _NO_INPUT),
    ("test_elicitation_sep1330_enums", "Has choices", _form("Choose", _ENUMS), _NO_INPUT),
    ("test_reconnection", "Closes its stream before the answer", _reconnection, _NO_INPUT),
    ("test_missing_capability", "Needs a client with a model", _missing_capability, _NO_INPUT),
    ("test_streaming_elicitation", "Asks in its answer", _mrtr_elicitation, _NO_INPUT),
    ("test_custom_header", "Has an argument in a header", _fixed("It matched"), _IN_HEADER),
    ("json_schema_2020_12_tool", "Any schema", _fixed("Valid"), contents.JSON_SCHEMA_2020_12),
    (_MRTR + "elicitation", "Asks for a name", _mrtr_elicitation, _NO_INPUT),
    (_MRTR + "sampling", "Asks for a capital", _mrtr_sampling, _NO_INPUT),
    (_MRTR + "list_roots", "Asks for roots", _mrtr_roots, _NO_INPUT),
    (_MRTR + "request_state", "Asks with a state", _mrtr_state, _NO_INPUT),
    (_MRTR + "multiple_inputs", "Asks three things at once", _mrtr_several, _NO_INPUT),
    (_MRTR + "multi_round", "Asks one thing after the other", _mrtr_rounds, _NO_INPUT),
    (_MRTR + "tampered_state", "Asks with a state", _mrtr_state, _NO_INPUT),
    (_MRTR + "capabilities", "Asks what can be answered", _mrtr_capabilities, _NO_INPUT),
)


def fixtures(bus: SubscriptionBus) -> dict[str, Fixture]:
    """Every tool by its name; the two that change a list tell it to ``bus``."""

    async def tools_changed(ctx: Context, params: Params) -> Answer:
        await bus.publish(ToolsListChanged())
        return said("The list of tools changed")

    async def prompts_changed(ctx: Context, params: Params) -> Answer:
        await bus.publish(PromptsListChanged())
        return said("The list of prompts changed")

    return {
        name: Fixture(types.Tool(name=name, description=told, input_schema=schema), run)
        for name, told, run, schema in (
            *_TABLE,
            ("test_trigger_tool_change", "Changes the tools", tools_changed, _NO_INPUT),
            (
                "test_trigger_prompt_change",
                "Changes the prompts",
                prompts_changed,
                _NO_INPUT,
            ),
        )
    }
