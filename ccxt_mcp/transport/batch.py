"""JSON-RPC batches: arrays of messages in one POST, which revision 2025-03-26 has and no other.

Owns: who may send one, what is in it, and the one answer to it: an array of the replies, or a
stream of them where one of its requests had more to say. Refuses: batches of other revisions, empty
and overlong ones, ``initialize`` in one, and to begin what is left of one whose answer is long
enough: a few bytes of requests could ask for any amount of memory otherwise.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager, nullcontext
from contextvars import ContextVar
from typing import Any

from ccxt_mcp.errors import Code, Failure
from ccxt_mcp.transport.refusal import Refusal, encode
from ccxt_mcp.transport.responder import Responder
from ccxt_mcp.transport.wire import Message, envelope

__all__ = [
    "BATCHING",
    "BUDGET",
    "MAX_ANSWER",
    "MAX_BATCH",
    "Budget",
    "Entry",
    "Turn",
    "entries",
    "refuse",
    "requests_in",
    "serve",
]

BATCHING = "2025-03-26"
"""The one revision that has batches."""

MAX_BATCH = 100
"""Messages of one batch."""

MAX_ANSWER = 1_048_576
"""Bytes of a batch's replies, after which nothing more of it is begun."""

Entry = Message | Refusal
"""One message of a batch, or why it is none."""

Turn = AbstractAsyncContextManager[None]
"""Entered when it is a request's turn; left when its reply is made. Raises ``Failure`` where it is
not to begin."""


class Budget:
    """How much the answer to one batch may still grow. Mutable: ``left`` (falls)."""

    __slots__ = ("left",)

    def __init__(self) -> None:
        self.left = MAX_ANSWER

    def check(self) -> None:
        """For whatever is about to begin; what has begun is answered, whatever its size.

        Raises:
            Failure: ``overloaded``, where the answer is long enough.
        """
        if self.left <= 0:
            raise Failure(
                Code.OVERLOADED,
                f"the answers to this batch are {MAX_ANSWER} bytes or more already, and this"
                " request was not begun",
                hint="Send it again, by itself or in a smaller batch.",
            )


BUDGET: ContextVar[Budget | None] = ContextVar("ccxt_mcp_batch_budget", default=None)
"""That of the batch whose request is being served; a call asks it when it is its turn."""


def entries(decoded: list[Any], size: int) -> list[Entry]:
    """What is in a batch of ``size`` bytes.

    Raises:
        Refusal: 400, where the batch as a whole cannot be served.
    """
    if not decoded:
        raise Refusal(400, "The body is an empty array: send a JSON-RPC message")
    if len(decoded) > MAX_BATCH:
        raise Refusal(
            400, f"The array has {len(decoded)} messages: send at most {MAX_BATCH} at once"
        )
    found: list[Entry] = []
    for each in decoded:
        try:
            message = envelope(each, size)
        except Refusal as refusal:
            found.append(refusal)
            continue
        if message.method == "initialize":
            raise Refusal(
                400, "`initialize` is in the array: send it by itself", request_id=message.id
            )
        found.append(message)
    return found


def requests_in(batch: list[Entry]) -> int:
    """How many of its messages are requests."""
    return sum(isinstance(entry, Message) and entry.is_request for entry in batch)


def refuse(spoken: str | None) -> Refusal:
    """The answer to a batch of a client that speaks another revision."""
    speaks = "without `initialize` none is negotiated" if spoken is None else f"this is {spoken}"
    return Refusal(
        400,
        f"The body is an array: JSON-RPC batches belong to protocol version {BATCHING}, and"
        f" {speaks}. Send one message per POST",
    )


async def serve(
    batch: list[Entry],
    responder: Responder,
    answer: Callable[[Message, Turn], Awaitable[bytes | None]],
    notify: Callable[[Message], Awaitable[None]],
) -> bool:
    """Carry out a batch that owes an answer, and send that.

    Args:
        answer: serves one request in its turn, and can be told while it waits for that that it is
            not wanted any more; None where nobody wants its reply.
        notify: acts on a notification or an answer of the client's.

    Returns:
        Whether there was anybody to answer.
    """
    replies: list[bytes] = []
    answered = False
    budget = Budget()
    # Calls stand in their session's lane. All else goes one by one here, so that no more than two
    # replies are made beyond what the budget allows.
    others = asyncio.Lock()

    @asynccontextmanager
    async def turn(message: Message) -> AsyncIterator[None]:
        async with nullcontext() if message.method == "tools/call" else others:
            budget.check()
            yield

    async def one(message: Message) -> None:
        nonlocal answered
        # Of this task alone, and of what the request does in it.
        BUDGET.set(budget)
        try:
            reply = await answer(message, turn(message))
        except Failure as failure:
            reply = _not_begun(message, failure)
        if reply is not None:
            answered = True
            budget.left -= len(reply)
            replies.append(reply)
            if responder.as_stream:
                await hand_over()

    async def hand_over() -> None:
        # All but the last: that one ends the stream.
        while len(replies) > 1:
            await responder.emit(replies.pop(0))

    async with asyncio.TaskGroup() as group:
        # In their order: nothing before a lane awaits, so calls stand in it as they do here.
        for entry in batch:
            if isinstance(entry, Refusal):
                answered = True
                replies.append(encode(entry.body()))
            elif entry.is_request:
                group.create_task(one(entry))
                # A list is answered without a pause: a hundred of them would be one, for everybody.
                await asyncio.sleep(0)
            else:
                await asyncio.sleep(0)
                await notify(entry)
    if not answered:
        return False
    if responder.as_stream:
        await hand_over()
        await responder.finish(replies[0])
    else:
        await responder.finish(b"[" + b",".join(replies) + b"]")
    return True


def _not_begun(message: Message, failure: Failure) -> bytes:
    words = f"{failure.message[:1].upper()}{failure.message[1:]}. {failure.hint}"
    return encode(Refusal(429, words, failure=failure, request_id=message.id).body())
