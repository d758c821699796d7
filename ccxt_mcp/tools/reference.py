"""The part of ``docs/TOOLS.md`` that follows from the code: descriptions and tables of arguments.

``python -m ccxt_mcp.tools.reference docs/TOOLS.md`` puts it into the page. Owns: the form of these
parts. Refuses: the rest of a section (examples, notes), which people write and this leaves alone.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from ccxt_mcp.tools.arguments import schema
from ccxt_mcp.tools.tool import Tool

__all__ = ["head", "renewed"]


def head(tool: Tool) -> str:
    """The first part of a tool's section: its heading, description and arguments."""
    lines = [f"### `{tool.name}`", "", tool.description, ""]
    spec = schema(tool.arguments)
    if not spec["properties"]:
        return "\n".join([*lines, "It takes no arguments.", ""])
    lines += ["| Argument | Type | Default | Meaning |", "|---|---|---|---|"]
    for name, each in spec["properties"].items():
        required = name in spec.get("required", ())
        default = "required" if required else _default(each)
        lines.append(f"| `{name}` | {_kind(each)} | {default} | {each['description']} |")
    return "\n".join([*lines, ""])


def renewed(page: str, tools: Iterable[Tool]) -> str:
    """The page with the heads of these tools as they are now.

    Raises:
        ValueError: a tool has no section with an example.
    """
    for tool in tools:
        old = re.compile(
            rf"^### `{tool.name}`\n.*?(?=^Example arguments)", re.DOTALL | re.MULTILINE
        )
        new = head(tool) + "\n"
        page, found = old.subn(new.replace("\\", r"\\"), page, count=1)
        if not found:
            raise ValueError(f"{tool.name} has no section with an example")
    return page


def _default(spec: Mapping[str, Any]) -> str:
    return f"`{json.dumps(spec['default'])}`" if "default" in spec else ""


def _kind(spec: Mapping[str, Any]) -> str:
    kind = str(spec.get("type", "any"))
    if "enum" in spec:
        return f"{kind}: {', '.join(map(str, spec['enum']))}"
    if kind == "array":
        kind += f" of {_kind(spec['items'])}"
    bounds = [spec.get(f"min{what}") for what in ("imum", "Items")]
    low = next((bound for bound in bounds if bound is not None), None)
    high = spec.get("maximum", spec.get("maxItems"))
    if low is not None and high is not None:
        return f"{kind}, {low} to {high}"
    if "maxLength" in spec:
        return f"{kind}, at most {spec['maxLength']} characters"
    return kind


if __name__ == "__main__":
    from ccxt_mcp.tools.server import TOOLS

    path = Path(sys.argv[1])
    path.write_text(renewed(path.read_text(encoding="utf-8"), TOOLS), encoding="utf-8")
