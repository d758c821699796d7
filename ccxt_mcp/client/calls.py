"""What calls are: their form in ``gather``, their order there, and which of them only read.

Owns: the list of the server's tools as far as this side needs it. Refuses: sending anything itself.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Protocol, TypeAlias

from ccxt_mcp.client.failures import CallFailed, Fate, failed

__all__ = ["Asked", "Catalogue", "in_order"]

Asked: TypeAlias = str | tuple[str] | tuple[str, Mapping[str, Any]]
"""A call for ``gather``: ``("get_ticker", {"symbol": "BTC/USDT"})``, or a tool's name alone."""

Ask: TypeAlias = Callable[[str, Mapping[str, Any]], Awaitable[dict[str, Any]]]
"""(method, params) → the result of a request."""

_MOST_PAGES = 100


class Catalogue:
    """The tools of one server; asked for once, by whoever needs them first.

    Mutable: ``tools``, set once; ``_asking`` lets others wait meanwhile.
    """

    def __init__(self) -> None:
        self.tools: list[dict[str, Any]] | None = None
        self._asking = asyncio.Lock()

    def reads(self, tool: str) -> bool:
        """Whether a tool is known to change nothing. An unknown one may be an order."""
        for entry in self.tools or ():
            if entry.get("name") == tool:
                annotations = entry.get("annotations")
                return isinstance(annotations, Mapping) and annotations.get("readOnlyHint") is True
        return False

    async def ask(self, ask: Ask) -> list[dict[str, Any]]:
        """The tools, from the server the first time.

        Raises:
            CallFailed: the list could not be read.
        """
        if self.tools is None:
            async with self._asking:
                if self.tools is None:
                    self.tools = await _listed(ask)
        return self.tools


async def _listed(ask: Ask) -> list[dict[str, Any]]:
    tools: list[dict[str, Any]] = []
    params: dict[str, Any] = {}
    for _ in range(_MOST_PAGES):
        page = await ask("tools/list", params)
        listed = page.get("tools")
        if not isinstance(listed, list):
            break
        tools += [entry for entry in listed if isinstance(entry, dict)]
        cursor = page.get("nextCursor")
        if not isinstance(cursor, str):
            return tools
        params = {"cursor": cursor}
    raise failed("unexpected_answer", "the list of tools is none", Fate.NOT_STARTED)


class _Calls(Protocol):
    async def call(
        self, tool: str, arguments: Mapping[str, Any] | None = None, /
    ) -> dict[str, Any]: ...


async def in_order(where: _Calls, calls: Sequence[Asked], *, return_exceptions: bool) -> list[Any]:
    """Make all calls, and return their outcomes in their order.

    Raises:
        CallFailed: the first failure, once all have ended.
        TypeError: one of them is no call; then none is made.
    """
    split = list(map(_split, calls))
    tasks = [asyncio.create_task(where.call(tool, arguments)) for tool, arguments in split]
    outcomes = await asyncio.gather(*tasks, return_exceptions=True)
    for outcome in outcomes:
        expected = isinstance(outcome, CallFailed) and return_exceptions
        if isinstance(outcome, BaseException) and not expected:
            raise outcome
    return outcomes


def _split(call: Asked) -> tuple[str, Mapping[str, Any] | None]:
    match call:
        case str(tool) | (str(tool),):
            return tool, None
        case (str(tool), Mapping() | None as arguments):
            return tool, arguments
        case _:
            raise TypeError(f"not a call: {call!r}; it is (tool, arguments) or a tool's name")
