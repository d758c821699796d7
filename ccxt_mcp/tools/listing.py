"""The list of tools as it stands in front of every model that uses the server: nothing said twice.

Owns: what of the tools' declarations goes into ``tools/list``. Refuses: leaving out anything of a
tool's own words and arguments; the OpenAPI document has the output schemas whole.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from ccxt_mcp.tools.tool import Tool

__all__ = ["listing"]


def listing(tools: Iterable[Tool]) -> list[dict[str, Any]]:
    """The entries of ``tools/list``, in order.

    Many results have the same fields (``truncated``, an order's ``price``). What a field of a
    result means is said where it first comes in the list, and not again. The pattern of a decimal
    string is said in the server's instructions.
    """
    said: set[tuple[str, str]] = set()
    return [{**tool.wire(), "outputSchema": _brief(tool.output, "", said)} for tool in tools]


def _brief(schema: Mapping[str, Any], name: str, said: set[tuple[str, str]]) -> dict[str, Any]:
    """The schema of the field ``name`` without what is in ``said``, which it adds to."""
    out: dict[str, Any] = {}
    for key, value in schema.items():
        if key == "description":
            if (name, value) in said:
                continue
            said.add((name, value))
        elif key == "pattern" or (key == "required" and not value):
            continue
        elif key == "properties":
            value = {each: _brief(spec, each, said) for each, spec in value.items()}
        elif isinstance(value, Mapping):
            value = _brief(value, name, said)
        out[key] = value
    return out
