"""Requests of the server to the client of a session (sampling, elicitation, roots, ping).

Owns: which of them wait, their ids, and leading each answer to the call that asked. Refuses: how a
request gets to the client (the caller says), and answers to what was not asked here: a session has
a table of its own, so that no answer reaches another session's call.

Ids begin with what is drawn for each table: an answer to another session's question, or to one that
a process before this asked in the same session, is known for what it is. Where several replicas
serve a session, they say who asked.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any

from mcp.shared.dispatcher import CallOptions, ProgressFnT
from mcp.shared.exceptions import MCPError
from mcp_types import CONNECTION_CLOSED, INTERNAL_ERROR, REQUEST_TIMEOUT, RequestId

from ccxt_mcp.transport.refusal import encode

__all__ = ["MAX_ASKED", "Asking", "asker"]

logger = logging.getLogger(__name__)

MAX_ASKED = 32
"""Questions of one session that may wait for answers; a person sees them one after the other."""


def asker(request_id: object) -> str | None:
    """The replica that asked a question with this id; None for what is no such id."""
    if not isinstance(request_id, str) or not request_id.startswith("ask-"):
        return None
    node, _, _ = request_id.removeprefix("ask-").rpartition("~")
    return node or None


@dataclass(slots=True)
class _Question:
    answer: asyncio.Future[dict[str, Any]]
    on_progress: ProgressFnT | None


class Asking:
    """The questions of one session, or of a replica's part of one.

    Args:
        node: the replica, where there are several.

    Mutable: ``_waiting``, empty when no call asks; ``_asked`` (rises); ``_ended`` (never unset).
    """

    __slots__ = ("_asked", "_ended", "_tag", "_waiting")

    def __init__(self, node: str | None = None) -> None:
        self._waiting: dict[RequestId, _Question] = {}
        self._asked = 0
        self._tag = ("" if node is None else node + "~") + secrets.token_hex(4)
        self._ended: str | None = None

    def __len__(self) -> int:
        return len(self._waiting)

    async def ask(
        self,
        send: Callable[[bytes], Awaitable[None]],
        leave: Callable[[bytes], None],
        method: str,
        params: Mapping[str, Any] | None,
        opts: CallOptions | None = None,
    ) -> dict[str, Any]:
        """Ask the client and wait for its answer, for as long as the caller does.

        Args:
            send: sends one message to the client.
            leave: the same without waiting: a cancelled call cannot wait for its last word.

        Raises:
            MCPError: the client's own error; ``REQUEST_TIMEOUT`` after ``opts["timeout"]`` seconds;
                ``CONNECTION_CLOSED`` where the session ends; ``INTERNAL_ERROR`` where too many
                questions wait.
        """
        opts = opts or {}
        if (ended := self._why_ended()) is not None:
            raise MCPError(CONNECTION_CLOSED, ended)
        if len(self._waiting) >= MAX_ASKED:
            raise MCPError(
                INTERNAL_ERROR, f"{MAX_ASKED} requests to this client wait for their answers"
            )
        self._asked += 1
        request_id = f"ask-{self._tag}-{self._asked}"
        request: dict[str, Any] = {"jsonrpc": "2.0", "id": request_id, "method": method}
        on_progress = opts.get("on_progress")
        if on_progress is not None:
            meta = {**((params or {}).get("_meta") or {}), "progressToken": request_id}
            params = {**(params or {}), "_meta": meta}
        if params is not None:
            request["params"] = params
        answer: asyncio.Future[dict[str, Any]] = asyncio.get_running_loop().create_future()
        self._waiting[request_id] = _Question(answer, on_progress)

        def withdrawn(reason: str) -> bytes:
            told = {"requestId": request_id, "reason": reason}
            return encode({"jsonrpc": "2.0", "method": "notifications/cancelled", "params": told})

        cancels = opts.get("cancel_on_abandon", True)
        try:
            await send(encode(request))
            try:
                # Only the answer is timed: a slow connection is not the client's slowness.
                async with asyncio.timeout(opts.get("timeout")):
                    return await answer
            except TimeoutError:
                if cancels:
                    await send(withdrawn("no answer in time"))
                message = f"The client did not answer {method!r} within {opts['timeout']}s"
                raise MCPError(REQUEST_TIMEOUT, message) from None
        except asyncio.CancelledError:
            if cancels:
                leave(withdrawn("the call that asked has ended"))
            raise
        except MCPError as error:
            if cancels and self._why_ended() is not None:
                leave(withdrawn(error.message))
            raise
        finally:
            del self._waiting[request_id]
            if answer.done() and not answer.cancelled():
                # Looked at, since an answer may come in the moment in which the call is cancelled.
                answer.exception()

    def answered(self, request_id: RequestId | None, answer: Mapping[str, Any]) -> None:
        """A client's JSON-RPC response; one that nobody waits for (any more) is dropped."""
        question = None if request_id is None else self._waiting.get(request_id)
        if question is None or question.answer.done():
            return
        result, error = answer.get("result"), answer.get("error")
        if isinstance(result, dict):
            question.answer.set_result(result)
            return
        code, message = INTERNAL_ERROR, "The client's answer is neither a result nor an error"
        data = None
        if isinstance(error, dict):
            data = error.get("data")
            if isinstance(error.get("code"), int) and isinstance(error.get("message"), str):
                code, message = error["code"], error["message"]
        question.answer.set_exception(MCPError(code, message, data))

    async def progressed(self, params: Mapping[str, Any] | None) -> None:
        """A client's progress on a question, told to whoever asked."""
        params = params or {}
        match params:
            case {"progressToken": str() as token, "progress": int() | float() as progress}:
                question = self._waiting.get(token)
                if question is None or question.on_progress is None:
                    return
                total, message = params.get("total"), params.get("message")
                try:
                    await question.on_progress(
                        float(progress),
                        float(total) if isinstance(total, int | float) else None,
                        message if isinstance(message, str) else None,
                    )
                except Exception:
                    logger.exception("what listens to a client's progress failed")

    def _why_ended(self) -> str | None:
        return self._ended

    def end(self, reason: str) -> None:
        """No answer will come any more, and nothing is asked from here on."""
        self._ended = reason
        for question in self._waiting.values():
            if not question.answer.done():
                question.answer.set_exception(MCPError(CONNECTION_CLOSED, reason))
