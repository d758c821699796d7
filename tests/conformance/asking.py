"""Questions to the client's side: how the conformance fixture asks, in either era.

Owns: requests on the back channel (2025-11-25) and ``InputRequiredResult`` (2026-07-28). Refuses:
tools (``tools.py``).
"""

from typing import Any

import mcp_types as types
from mcp.server.context import ServerRequestContext
from mcp.shared.exceptions import MCPError
from mcp.shared.message import ServerMessageMetadata

__all__ = [
    "answer_of",
    "ask",
    "elicit",
    "elicitation",
    "require_sampling",
    "roots",
    "sample",
    "sampling",
    "string_form",
]

Context = ServerRequestContext[Any, Any]
Params = types.CallToolRequestParams | types.GetPromptRequestParams


def elicitation(message: str, schema: dict[str, Any]) -> types.ElicitRequest:
    params = types.ElicitRequestFormParams(message=message, requested_schema=schema)
    return types.ElicitRequest(params=params)


def sampling(prompt: str, max_tokens: int) -> types.CreateMessageRequest:
    said = types.SamplingMessage(role="user", content=types.TextContent(text=prompt))
    return types.CreateMessageRequest(
        params=types.CreateMessageRequestParams(messages=[said], max_tokens=max_tokens)
    )


def roots() -> types.ListRootsRequest:
    return types.ListRootsRequest(params=types.RequestParams())


def string_form(*names: str) -> dict[str, Any]:
    """The schema of a form of required strings."""
    return {
        "type": "object",
        "properties": {name: {"type": "string"} for name in names},
        "required": list(names),
    }


async def elicit(ctx: Context, message: str, schema: dict[str, Any]) -> types.ElicitResult:
    """Ask the user, on the stream of the call's own answer.

    Raises:
        MCPError: the client did not declare that its user can be asked.
    """
    declared = ctx.session.client_capabilities
    if declared is None or declared.elicitation is None:
        raise MCPError(types.INVALID_REQUEST, "The client does not support elicitation")
    return await ctx.session.send_request(
        elicitation(message, schema), types.ElicitResult, metadata=_on_own_stream(ctx)
    )


async def sample(ctx: Context, prompt: str) -> types.CreateMessageResult:
    """Ask the client's model, on the stream of the call's own answer.

    Raises:
        MCPError: the client did not declare that its model can be asked.
    """
    declared = ctx.session.client_capabilities
    if declared is None or declared.sampling is None:
        raise MCPError(types.INVALID_REQUEST, "The client does not support sampling")
    return await ctx.session.send_request(
        sampling(prompt, 100), types.CreateMessageResult, metadata=_on_own_stream(ctx)
    )


def _on_own_stream(ctx: Context) -> ServerMessageMetadata:
    return ServerMessageMetadata(related_request_id=ctx.request_id)


def require_sampling(ctx: Context) -> None:
    """Refuse a client that did not declare a model.

    Raises:
        MCPError: as 2026-07-28 has it for a missing capability.
    """
    declared = ctx.session.client_capabilities
    if declared is None or declared.sampling is None:
        raise MCPError(
            types.MISSING_REQUIRED_CLIENT_CAPABILITY,
            "This tool asks the client's model: declare `sampling`",
            data={"requiredCapabilities": {"sampling": {}}},
        )


def ask(
    questions: dict[str, types.InputRequest], state: str | None = None
) -> types.InputRequiredResult:
    """The answer that asks back; ``state`` is sealed on its way out."""
    return types.InputRequiredResult(input_requests=questions, request_state=state)


def answer_of(params: Params, question: str) -> types.InputResponse | None:
    """What the client answered; None where it has not."""
    return (params.input_responses or {}).get(question)
