"""The one place where a call's outcome becomes wire format.

Owns: finding the tool, the scope check, typed arguments, the deadline around the body, the form of
a success and of a failure in MCP, and one log line per call. Plain HTTP takes the outcome itself
(``run``). Refuses: sessions and transports (they come before), exchanges (they come after).

A failure is a *tool result* with ``isError``: its text carries code, message and hint, and its
``_meta["ccxt-mcp/failure"]`` the same as an object. It has no ``structuredContent``: the widespread
older TypeScript SDK checks that against the output schema even on errors, and throws.
"""

from __future__ import annotations

import logging
import re
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import Any, TypeVar

from ccxt_mcp.calls.bounds import serialise
from ccxt_mcp.calls.pipeline import Call, Calls
from ccxt_mcp.calls.policy import Effect
from ccxt_mcp.calls.progress import Progress
from ccxt_mcp.errors import Code, Failure
from ccxt_mcp.mechanisms.finishing import finishing
from ccxt_mcp.model import CALLER, Caller
from ccxt_mcp.telemetry import OK, RECORDER, name_span
from ccxt_mcp.tools.arguments import did_you_mean, looks_secret, parse, schema, shown_name
from ccxt_mcp.tools.listing import listing
from ccxt_mcp.tools.tool import Tool

__all__ = ["FAILURE_META", "Boundary", "failure_result", "failure_text"]

FAILURE_META = "ccxt-mcp/failure"
"""Key of the failure object in a result's ``_meta``."""

_CONCEALED = "(not repeated: it looks like a credential)"

_log = logging.getLogger("ccxt_mcp.calls")

_T = TypeVar("_T")


def failure_text(failure: Failure) -> str:
    """``code: message. Hint: …``, the text that a person or a model reads."""
    message = failure.message.rstrip()
    if not message.endswith((".", "!", "?")):
        message += "."
    hint = f" Hint: {failure.hint}" if failure.hint else ""
    return f"{failure.code.value}: {message}{hint}"


def failure_result(failure: Failure) -> dict[str, Any]:
    """The failure as the result of ``tools/call``."""
    return {
        "content": [{"type": "text", "text": failure_text(failure)}],
        "isError": True,
        "resultType": "complete",
        "_meta": {FAILURE_META: failure.as_dict()},
    }


class Boundary:
    """The tools of one server, ready to be listed and called.

    Args:
        calls: runs the bodies.
        tools: in the order in which they are listed; names are unique.

    Those of a set that the settings leave to other replicas are known by name, and that is all.
    """

    def __init__(self, calls: Calls, tools: Iterable[Tool]) -> None:
        self._calls = calls
        served, every = calls.settings.toolsets, tuple(tools)
        self._tools: Mapping[str, Tool] = {
            tool.name: tool for tool in every if tool.toolset is None or tool.toolset in served
        }
        self._elsewhere = {tool.name for tool in every} - self._tools.keys()
        self._names = tuple(self._tools)
        self.listing: dict[str, Any] = {
            "tools": listing(self._tools.values()),
            "resultType": "complete",
        }
        """The result of ``tools/list``; made once, never changed."""
        self.documented: list[dict[str, Any]] = [tool.wire() for tool in self._tools.values()]
        """The same entries with whole output schemas, for documents that no model has to read."""

    def input_schema(self, name: str) -> Mapping[str, Any] | None:
        """A tool's input schema, or None for an unknown name."""
        tool = self._tools.get(name)
        return None if tool is None else schema(tool.arguments)

    async def call(
        self, name: str, arguments: Any, progress: Progress | None = None
    ) -> dict[str, Any]:
        """Run a tool; every outcome but a cancellation is a result of ``tools/call``."""
        try:
            data, text = await self.run(name, arguments, progress)
        except Failure as failure:
            return failure_result(failure)
        return {
            "content": [{"type": "text", "text": text}],
            "structuredContent": data,
            "resultType": "complete",
        }

    async def run(
        self, name: str, arguments: Any, progress: Progress | None = None
    ) -> tuple[dict[str, Any], str]:
        """Run a tool: its structured result, and that as JSON.

        A cancellation ends a read at once. It takes effect on a write only when that has ended: an
        order that is cut on its way may have arrived.

        Raises:
            Failure: whatever went wrong, for the caller's eyes.
        """
        tool = self._tools.get(name)
        work = self._run(tool, name, arguments, progress)
        if tool is not None and tool.effect is Effect.WRITE:
            return await finishing(work)
        return await work

    async def prepare(
        self, name: str, arguments: Any, work: Callable[[Call, Any], Awaitable[_T]]
    ) -> _T:
        """Do what comes before a tool's own work: its scope, its arguments and its deadline hold,
        but nothing is counted as a call of it.

        Args:
            name: the tool's.
            arguments: as for the tool.
            work: takes the call and the typed arguments.

        Raises:
            Failure: whatever went wrong, for the caller's eyes.
        """
        tool = self._tools.get(name)
        if tool is None:
            raise self._unknown(name)

        async def checked(call: Call) -> _T:
            _check_scope(tool, CALLER.get())
            return await work(call, parse(tool.arguments, name, arguments))

        try:
            return await self._calls.run(self._calls.begin(name, tool.effect), checked)
        except Failure as failure:
            _conceal(failure, arguments)
            raise

    async def _run(
        self, tool: Tool | None, name: str, arguments: Any, progress: Progress | None
    ) -> tuple[dict[str, Any], str]:
        started = time.perf_counter()
        caller = CALLER.get()
        if tool is None:
            call = self._calls.begin("tools/call")
        else:
            call = self._calls.begin(name, tool.effect, progress)
        outcome = Code.CANCELLED.value

        async def work(call: Call) -> tuple[dict[str, Any], str]:
            if tool is None:
                name_span("unknown")
                raise self._unknown(name)
            _check_scope(tool, caller)
            typed = parse(tool.arguments, name, arguments)
            return serialise(await tool.run(call, typed))

        try:
            result = await self._calls.run(call, work)
            outcome = OK
            return result
        except Failure as failure:
            if failure.exchange is None:
                failure.exchange = call.exchange
            if failure.operation is None and failure.code is Code.BAD_RESPONSE:
                failure.operation = call.operation
            outcome = failure.code.value
            _conceal(failure, arguments)
            raise
        finally:
            elapsed = time.perf_counter() - started
            RECORDER.get().call(name, call.exchange, outcome, elapsed)
            if _log.isEnabledFor(logging.INFO):
                named = shown_name(name) if tool is None else name
                fields = _line(call, caller, named, elapsed * 1000, outcome)
                _log.info("call", extra={"fields": fields})

    def serves(self, *names: str) -> bool:
        """Whether all of these tools can be called here."""
        return all(name in self._tools for name in names)

    def _unknown(self, name: str) -> Failure:
        if name in self._elsewhere:
            served = ", ".join(self._calls.settings.toolsets)
            return Failure(
                Code.UNKNOWN_TOOL,
                f"`{name}` is not served by this node, whose tool sets are: {served}.",
                hint="Lead calls by their tool (header `Mcp-Name`) to a node that serves it, or"
                f" widen `toolsets` in this one's configuration. Tools: {', '.join(self._names)}.",
            )
        return Failure(
            Code.UNKNOWN_TOOL,
            f"`{shown_name(name)}` is not a tool{did_you_mean(name, self._names)}.",
            hint=f"Tools: {', '.join(self._names)}.",
        )


def _conceal(failure: Failure, arguments: Any) -> None:
    """Take out of the failure what looks like a credential in the arguments.

    The rooms below name what they did not find (``no account "x"``), which is right unless somebody
    pasted a key there. They may have cut it or changed its case.
    """
    pasted = [
        value[:16]
        for value in _leaves(arguments, 3)
        if isinstance(value, str) and looks_secret(value)
    ]
    for start in pasted:
        run = re.compile(re.escape(start) + r"[A-Za-z0-9+/=_\-.]*…?", re.IGNORECASE)
        failure.message = run.sub(_CONCEALED, failure.message)
        failure.hint = run.sub(_CONCEALED, failure.hint)
        failure.details = None


def _leaves(value: Any, depth: int) -> Iterable[Any]:
    """The values in arguments, also in those that are objects or arrays."""
    if depth and isinstance(value, Mapping | list):
        for each in value.values() if isinstance(value, Mapping) else value:
            yield from _leaves(each, depth - 1)
    else:
        yield value


def _check_scope(tool: Tool, caller: Caller) -> None:
    if tool.scope not in caller.principal.scopes:
        raise Failure(
            Code.PERMISSION_DENIED,
            f"{tool.name} needs the scope `{tool.scope.value}`, which the caller's token lacks.",
            hint=f"Add `{tool.scope.value}` to the token's scopes in the server's configuration.",
        )


def _line(call: Call, caller: Caller, name: str, elapsed: float, outcome: str) -> dict[str, Any]:
    """The fields of a call's log line; ``-`` where there is nothing to say. Times are in ms."""
    return {
        "session": caller.session,
        "caller": caller.principal.name or "-",
        "tool": name,
        "exchange": call.exchange or "-",
        "account": call.account or "-",
        "ms": round(elapsed, 1),
        "queued_ms": round(caller.queued_ms, 1),
        "outcome": outcome,
    }
