"""What a tool is: its words for the model that reads them, its types, its body.

Owns: the declaration and its wire form in ``tools/list``. Refuses: running it (``boundary.py``).
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from ccxt_mcp.calls.bounds import Answer
from ccxt_mcp.calls.pipeline import Call
from ccxt_mcp.calls.policy import Effect
from ccxt_mcp.model import Scope, Toolset
from ccxt_mcp.tools.arguments import Arguments, schema

__all__ = ["ANSWERED_BY", "FRESHNESS", "Tool", "result_schema"]

ANSWERED_BY = {"type": "string", "description": "Profile that answered."}
"""Schema of the `exchange` of a result."""

FRESHNESS: dict[str, Any] = {
    "fetchedAt": {"type": "integer", "description": "When the exchange was asked, ms."},
    "cached": {"type": "boolean", "description": "Asked for an earlier call."},
}
"""Properties that every result about a market has in its schema."""

_ANNOTATIONS = {
    # The hints about destruction and repetition mean something only where this one is false.
    Effect.READ: {"readOnlyHint": True, "openWorldHint": True},
    Effect.WRITE: {
        "readOnlyHint": False,
        "destructiveHint": True,
        "idempotentHint": False,
        "openWorldHint": True,
    },
}


@dataclass(frozen=True, slots=True)
class Tool:
    """One tool.

    Attributes:
        name: as clients call it.
        title: for people.
        description: when to use it, and when another tool is the right one.
        arguments: the model of its arguments.
        output: JSON Schema (2020-12) of its structured result.
        run: the body; raises ``Failure`` only.
        scope: what the caller's token must allow.
        effect: the most that a call may do at an exchange. A read ends at once when it is
            cancelled; a write always runs to its end.
        toolset: the set it is served with; None with each.
    """

    name: str
    title: str
    description: str
    arguments: type[Arguments]
    output: dict[str, Any]
    run: Callable[[Call, Any], Awaitable[Answer]]
    scope: Scope = Scope.READ
    effect: Effect = Effect.READ
    toolset: Toolset | None = None

    def wire(self) -> dict[str, Any]:
        """The tool as an entry of ``tools/list``, where ``listing.py`` shortens its output."""
        return {
            "name": self.name,
            "title": self.title,
            "description": self.description,
            "inputSchema": schema(self.arguments),
            "outputSchema": self.output,
            "annotations": _ANNOTATIONS[self.effect],
        }


def result_schema(required: tuple[str, ...], **properties: dict[str, Any]) -> dict[str, Any]:
    """The schema of a tool's result object."""
    return {"type": "object", "properties": properties, "required": list(required)}
