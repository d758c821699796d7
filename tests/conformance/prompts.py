"""The prompts of the conformance fixture, by the names that the public suite asks for."""

from collections.abc import Callable
from typing import Any

import mcp_types as types
from mcp.server.context import ServerRequestContext
from mcp.shared.exceptions import MCPError

from tests.conformance import asking, contents

__all__ = ["PROMPTS", "get_prompt"]


def _argument(name: str, description: str) -> types.PromptArgument:
    return types.PromptArgument(name=name, description=description, required=True)


PROMPTS = [
    types.Prompt(name="test_simple_prompt", description="Without arguments"),
    types.Prompt(
        name="test_prompt_with_arguments",
        description="With two arguments",
        arguments=[_argument("arg1", "The first one"), _argument("arg2", "The second one")],
    ),
    types.Prompt(
        name="test_prompt_with_embedded_resource",
        description="With a resource in it",
        arguments=[_argument("resourceUri", "URI of the resource to embed")],
    ),
    types.Prompt(name="test_prompt_with_image", description="With an image in it"),
    types.Prompt(name="test_input_required_result_prompt", description="Asks before it answers"),
]


def _embedded(arguments: dict[str, str]) -> list[types.ContentBlock]:
    resource = types.TextResourceContents(
        uri=arguments["resourceUri"],
        mime_type="text/plain",
        text="Embedded resource content for testing.",
    )
    return [
        types.EmbeddedResource(resource=resource),
        contents.text("Please process the embedded resource above."),
    ]


def _with_arguments(arguments: dict[str, str]) -> list[types.ContentBlock]:
    first, second = arguments["arg1"], arguments["arg2"]
    return [contents.text(f"Prompt with arguments: arg1='{first}', arg2='{second}'")]


_MESSAGES: dict[str, Callable[[dict[str, str]], list[types.ContentBlock]]] = {
    "test_simple_prompt": lambda _: [contents.text("This is a simple prompt for testing.")],
    "test_prompt_with_arguments": _with_arguments,
    "test_prompt_with_embedded_resource": _embedded,
    "test_prompt_with_image": lambda _: [
        contents.IMAGE,
        contents.text("Please analyze the image above."),
    ],
}


async def get_prompt(
    ctx: ServerRequestContext[Any, Any], params: types.GetPromptRequestParams
) -> types.GetPromptResult | types.InputRequiredResult:
    """One prompt's messages.

    Raises:
        MCPError: there is no such prompt, or an argument of it is missing.
    """
    if params.name == "test_input_required_result_prompt":
        answer = asking.answer_of(params, "user_context")
        if not isinstance(answer, types.ElicitResult):
            form = asking.string_form("context")
            question = asking.elicitation("What context should the prompt use?", form)
            return asking.ask({"user_context": question})
        return _prompt(
            [contents.text(f"Use this context: {(answer.content or {}).get('context')}")]
        )
    try:
        return _prompt(_MESSAGES[params.name](params.arguments or {}))
    except KeyError as missing:
        raise MCPError(types.INVALID_PARAMS, f"Unknown or missing: {missing}") from None


def _prompt(parts: list[types.ContentBlock]) -> types.GetPromptResult:
    return types.GetPromptResult(
        messages=[types.PromptMessage(role="user", content=part) for part in parts]
    )
