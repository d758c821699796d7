"""A replica among the others: what it hears, and what it says without waiting."""

from __future__ import annotations

import asyncio
import logging

import pytest

from ccxt_mcp.cluster.node import Node
from ccxt_mcp.errors import Code, Failure
from ccxt_mcp.store.memory import MemoryStore
from tests.unit.store.world import until


async def pair() -> tuple[Node, Node]:
    store = MemoryStore()
    nodes = Node(store, "a"), Node(store, "b")
    for node in nodes:
        await node.start()
    return nodes


async def test_a_message_reaches_the_handler_of_its_first_word() -> None:
    a, b = await pair()
    heard: list[tuple[str, str]] = []
    b.on("one", lambda rest: heard.append(("one", rest)))
    b.on("two", lambda rest: heard.append(("two", rest)))
    for message in ("one x y", "unknown z", "two", "one w"):
        a.tell("b", message)
    await until(lambda: len(heard) == 3)
    assert heard == [("one", "x y"), ("two", ""), ("one", "w")]


async def test_a_node_hears_at_once_what_it_tells_itself() -> None:
    a, _ = await pair()
    heard: list[str] = []
    a.on("one", heard.append)
    a.tell("a", "one x")
    assert heard == ["x"]


async def test_a_handler_that_fails_keeps_nobody_from_hearing(
    caplog: pytest.LogCaptureFixture,
) -> None:
    a, b = await pair()
    heard: list[str] = []

    def fail(rest: str) -> None:
        raise RuntimeError("broken")

    def miss() -> None:
        raise RuntimeError("broken too")

    b.on("bad", fail)
    b.on("good", heard.append)
    b.on_missed(miss)
    b.on_missed(lambda: heard.append("missed"))
    a.tell("b", "bad x")
    assert isinstance(b.store, MemoryStore)
    b.store.mail.missed()
    a.tell("b", "good y")
    await until(lambda: "y" in heard)
    assert heard == ["missed", "y"]
    assert caplog.text.count("Traceback") == 2


async def test_a_store_that_is_away_is_no_error_of_what_nobody_waits_for(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.DEBUG, "ccxt_mcp.cluster")
    a, _ = await pair()

    async def away() -> None:
        raise Failure(Code.STORE_UNAVAILABLE, "away")

    assert isinstance(a.store, MemoryStore)
    a.store.trouble = away
    a.tell("b", "one")
    await until(lambda: "not said" in caplog.text)
    assert not [each for each in caplog.records if each.levelno > logging.DEBUG]


async def test_stopping_lets_arrive_what_was_said_last() -> None:
    a, b = await pair()
    heard: list[str] = []
    b.on("bye", heard.append)

    async def slow() -> None:
        await asyncio.sleep(0.02)

    assert isinstance(a.store, MemoryStore)
    a.store.trouble = slow
    a.tell("b", "bye now")
    await a.stop()
    await until(lambda: heard == ["now"])
    a.store.trouble = None
    assert not await b.store.mail.tell("a", "anybody?")


async def test_stopping_does_not_wait_for_a_store_that_hangs(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("ccxt_mcp.cluster.node._TO_END", 0.05)
    a, _ = await pair()
    assert isinstance(a.store, MemoryStore)
    a.store.trouble = asyncio.Event().wait  # type: ignore[assignment]
    a.tell("b", "bye")
    async with asyncio.timeout(5):
        await a.stop()
    assert repr(a) == "<Node a 0 under way>"
