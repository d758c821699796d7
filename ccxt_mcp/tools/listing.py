"""The list of tools as it stands in front of every model that uses the server: nothing said twice.

Owns: what of the tools' declarations goes into ``tools/list``. Refuses: leaving out anything of a
tool's own words and arguments; the OpenAPI document has the schemas whole.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from mcp.shared.inbound import X_MCP_HEADER_KEY

from ccxt_mcp.tools.tool import Tool

__all__ = ["listing", "with_headers"]


def with_headers(whole: dict[str, Any], mirrored: Mapping[str, str]) -> dict[str, Any]:
    """A tool's input schema that has clients repeat some arguments in headers, where it has them.

    Args:
        whole: the schema without; it is not changed.
        mirrored: argument → the header's name after ``Mcp-Param-``.
    """
    found = {name: token for name, token in mirrored.items() if name in whole["properties"]}
    if not found:
        return whole
    marked = {
        name: {**spec, X_MCP_HEADER_KEY: found[name]} if name in found else spec
        for name, spec in whole["properties"].items()
    }
    return {**whole, "properties": marked}


def listing(tools: Iterable[Tool], inputs: Mapping[str, Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The entries of ``tools/list``, in order; ``inputs`` are the tools' input schemas by name.

    Every model that uses the server has all of it in front of it, so it says how to ask, and of an
    answer names and types. What the fields mean says the OpenAPI document (``docs/TOOLS.md`` too),
    their units and the form of decimals the server's instructions. How long a text may be is left
    out as well: one that is too long is refused with the bound.
    """
    return [
        {
            **tool.wire(),
            "inputSchema": _without(_LENGTHS, inputs[tool.name]),
            "outputSchema": _without(_WORDS, tool.output),
        }
        for tool in tools
    ]


_LENGTHS = frozenset({"minLength", "maxLength"})
_WORDS = frozenset({"description", "pattern"})


def _without(keywords: frozenset[str], whole: Mapping[str, Any]) -> dict[str, Any]:
    """The schema without some of JSON Schema's keywords; names of properties are no keywords."""
    out: dict[str, Any] = {}
    for key, value in whole.items():
        if key in keywords or (key == "required" and not value):
            continue
        if key == "properties":
            value = {name: _without(keywords, spec) for name, spec in value.items()}
        elif isinstance(value, Mapping):
            value = _without(keywords, value)
        out[key] = value
    return out
