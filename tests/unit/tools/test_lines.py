"""The lines of calls: at once where it is quiet or matters, together where there are many."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from contextvars import ContextVar
from types import SimpleNamespace
from typing import Any, cast

import pytest

from ccxt_mcp.calls.pipeline import Call
from ccxt_mcp.calls.policy import Effect
from ccxt_mcp.errors import Code
from ccxt_mcp.model import Caller
from ccxt_mcp.product import assemble
from ccxt_mcp.settings import load_settings
from ccxt_mcp.telemetry import OK
from ccxt_mcp.tools import lines as module
from ccxt_mcp.tools.lines import Lines


@pytest.fixture(autouse=True)
def never_of_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    """Lines wait until a test lets them go."""
    monkeypatch.setattr(module, "PAUSE", 3600.0)


@pytest.fixture
def add() -> Callable[..., None]:
    """Ends a call of this tool."""
    lines = Lines()

    def ended(tool: str, outcome: str = OK, effect: Effect = Effect.READ) -> None:
        call = SimpleNamespace(exchange="paper", account=None, effect=effect)
        lines.add(cast(Call, call), Caller(session="wf"), tool, 1.25, outcome)

    ended.__dict__["lines"] = lines
    return ended


def written(call_lines: list[dict[str, Any]]) -> list[str]:
    return [line["tool"] for line in call_lines]


async def test_the_first_line_is_written_at_once_and_the_next_wait(
    add: Callable[..., None], call_lines: list[dict[str, Any]]
) -> None:
    for tool in "abc":
        add(tool)
    assert written(call_lines) == ["a"]
    add.__dict__["lines"].finish()
    assert written(call_lines) == ["a", "b", "c"]


async def test_lines_wait_a_moment_and_no_longer(
    add: Callable[..., None], call_lines: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "PAUSE", 0.001)
    for tool in "abc":
        add(tool)
    async with asyncio.timeout(5):
        while len(call_lines) < 3:
            await asyncio.sleep(0.001)
        # Quiet again: no timer is left, and the next one does not wait.
        while add.__dict__["lines"]._timer is not None:
            await asyncio.sleep(0.001)
    add("d")
    assert written(call_lines) == ["a", "b", "c", "d"]
    add.__dict__["lines"].finish()


@pytest.mark.parametrize(
    ("outcome", "effect"),
    [(Code.TIMEOUT.value, Effect.READ), (Code.CANCELLED.value, Effect.READ), (OK, Effect.WRITE)],
)
async def test_what_matters_waits_for_nothing_and_keeps_the_order(
    add: Callable[..., None], call_lines: list[dict[str, Any]], outcome: str, effect: Effect
) -> None:
    """After a crash, the lines about failures and writes are those that somebody looks for."""
    for tool in "abc":
        add(tool)
    add("d", outcome, effect)
    assert written(call_lines) == ["a", "b", "c", "d"]
    add.__dict__["lines"].finish()


async def test_few_lines_wait_at_once(
    add: Callable[..., None], call_lines: list[dict[str, Any]]
) -> None:
    for number in range(1000):
        add(str(number))
    assert len(call_lines) > 1000 - module._MOST
    add.__dict__["lines"].finish()
    assert written(call_lines) == [str(number) for number in range(1000)]


async def test_a_line_that_waited_has_the_time_and_the_context_of_its_call(
    add: Callable[..., None], caplog: pytest.LogCaptureFixture
) -> None:
    """Log handlers look up the trace of a line in its context."""
    caplog.set_level(logging.INFO, "ccxt_mcp.calls")
    whose: ContextVar[str] = ContextVar("whose", default="nobody's")
    seen: list[tuple[str, str]] = []

    class Look(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            seen.append((record.__dict__["fields"]["tool"], whose.get()))

    logger, look = logging.getLogger("ccxt_mcp.calls"), Look()
    logger.addHandler(look)
    try:
        add("a")
        token = whose.set("b's")
        add("b")
        whose.reset(token)
        ended = time.time()
        while time.time() < ended + 0.002:
            pass
        add.__dict__["lines"].finish()
    finally:
        logger.removeHandler(look)
    assert seen == [("a", "nobody's"), ("b", "b's")]
    first, late = caplog.records
    assert late.created <= ended
    assert late.msecs == int(late.created % 1 * 1000)
    between = late.relativeCreated - first.relativeCreated
    assert between == pytest.approx((late.created - first.created) * 1000, abs=0.01)


async def test_the_end_of_the_server_leaves_no_line_behind(
    call_lines: list[dict[str, Any]],
) -> None:
    product = assemble(load_settings(None, {}), environ={}, keep_on_disk=False)
    async with product.server.lifespan(product.server):
        for _ in range(3):
            await product.boundary.call("list_accounts", {})
        assert len(call_lines) == 1
    assert written(call_lines) == ["list_accounts"] * 3
