"""docs/TOOLS.md and the running list of tools are the same thing."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from ccxt_mcp.calls.bounds import MAX_BYTES
from ccxt_mcp.tools.arguments import parse, schema
from ccxt_mcp.tools.server import TOOLS
from ccxt_mcp.tools.tool import Tool

PAGE = (Path(__file__).parents[2] / "docs" / "TOOLS.md").read_text(encoding="utf-8")
SECTIONS = {
    match[1]: match[2]
    for match in re.finditer(r"^### `(\w+)`\n(.*?)(?=^##|\Z)", PAGE, re.DOTALL | re.MULTILINE)
}
ROW = re.compile(r"^\| `(\w+)` \| (.*?) \| (.*?) \| (.*?) \|$", re.MULTILINE)

each_tool = pytest.mark.parametrize("tool", TOOLS, ids=lambda tool: tool.name)


def test_every_tool_has_its_section_in_the_order_of_the_list() -> None:
    """None is missing, none is left over."""
    assert list(SECTIONS) == [tool.name for tool in TOOLS]


@each_tool
def test_every_argument_is_documented_as_it_is(tool: Tool) -> None:
    """Name, type with bounds, default and description of each argument, both ways."""
    documented = {name: rest for name, *rest in ROW.findall(SECTIONS[tool.name])}
    properties = schema(tool.arguments)["properties"]
    assert list(documented) == list(properties)
    for name, spec in properties.items():
        kind, default, words = documented[name]
        assert kind.startswith(spec["type"])
        for bound in ("minimum", "maximum"):
            if bound in spec:
                assert str(spec[bound]) in kind
        for choice in spec.get("enum", ()):
            assert choice in kind
        required = name in schema(tool.arguments).get("required", ())
        assert default == ("required" if required else _default(spec))
        assert words == spec["description"]


def _default(spec: dict[str, Any]) -> str:
    return f"`{json.dumps(spec['default'])}`" if "default" in spec else ""


@each_tool
def test_the_description_is_the_one_that_clients_get(tool: Tool) -> None:
    """The page says what the model reads."""
    assert tool.description in SECTIONS[tool.name]


@each_tool
def test_the_example_call_and_its_result_are_valid(tool: Tool) -> None:
    """The example's arguments are accepted, and its result fits the output schema."""
    arguments, result = (
        json.loads(block)
        for block in re.findall(r"```json\n(.*?)\n```", SECTIONS[tool.name], re.DOTALL)
    )
    parse(tool.arguments, tool.name, arguments)
    jsonschema.validate(result, tool.output, cls=jsonschema.Draft202012Validator)


def test_the_size_limit_on_the_page_is_the_real_one() -> None:
    """A documented number that nothing holds is soon wrong."""
    assert f"{MAX_BYTES:,} bytes" in PAGE
