"""The seam between a call's steps and whoever listens."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import suppress

import pytest
from opentelemetry import trace

from ccxt_mcp.errors import Code, Failure
from ccxt_mcp.telemetry import RECORDER, Silence, Step, apart, name_span, timed
from tests.tracing import Spans


class Listener(Silence):
    """Keeps the steps that it is told."""

    def __init__(self) -> None:
        self.steps: list[tuple[Step, str | None, str]] = []

    def step(self, step: Step, exchange: str | None, seconds: float, outcome: str) -> None:
        assert seconds >= 0
        self.steps.append((step, exchange, outcome))


@pytest.fixture
def listener() -> Iterator[Listener]:
    token = RECORDER.set(found := Listener())
    yield found
    RECORDER.reset(token)


def test_a_step_is_told_with_what_became_of_it(listener: Listener) -> None:
    with timed(Step.LANE):
        pass
    with pytest.raises(Failure), timed(Step.LIMIT, "paper"):
        raise Failure(Code.RATE_LIMITED, "full")
    with pytest.raises(asyncio.CancelledError), timed(Step.KEY, "paper"):
        raise asyncio.CancelledError
    with pytest.raises(KeyError), timed(Step.MARKETS, "paper"):
        raise KeyError("secret")
    with suppress(KeyError), timed(Step.REQUEST, "paper") as step:
        step.failed(Code.TIMEOUT)
        raise KeyError("secret")
    assert listener.steps == [
        (Step.LANE, None, "ok"),
        (Step.LIMIT, "paper", "rate_limited"),
        (Step.KEY, "paper", "cancelled"),
        (Step.MARKETS, "paper", "internal"),
        (Step.REQUEST, "paper", "timeout"),
    ]


def test_nobody_has_to_listen() -> None:
    with timed(Step.LANE) as step:
        step.note(status=200)


def test_a_span_is_opened_only_under_one_that_is_recorded(spans: Spans) -> None:
    """Without the condition each background request would be a trace of its own."""
    with timed(Step.REQUEST, "paper"):
        assert not trace.get_current_span().is_recording()
    assert not spans.all()


def test_a_steps_span_hangs_under_the_calls_and_says_only_codes(spans: Spans) -> None:
    with (
        trace.get_tracer("test").start_as_current_span("call") as call,
        suppress(ValueError),
        timed(Step.REQUEST, "paper") as step,
    ):
        step.note(status=418)
        with timed(Step.LIMIT, "paper"):
            pass
        raise ValueError("the key is hunter2")
    (request,), (limit,) = spans.named("request"), spans.named("limit")
    assert request.parent is not None
    assert limit.parent is not None
    assert request.parent.span_id == call.get_span_context().span_id
    assert limit.parent.span_id == request.context.span_id
    assert request.attributes == {
        "ccxt_mcp.exchange": "paper",
        "ccxt_mcp.status": 418,
        "error.type": "internal",
    }
    assert request.status.status_code is trace.StatusCode.ERROR
    assert request.status.description is None
    assert not request.events
    assert limit.status.status_code is trace.StatusCode.UNSET


async def test_work_apart_is_told_to_the_same_listener_and_is_in_no_trace(
    listener: Listener, spans: Spans
) -> None:
    """With a plain `Context()` the requests of background loads would be counted by nobody; with
    the caller's context they would be children of a call that has long ended."""

    async def load() -> bool:
        with timed(Step.REQUEST, "paper"):
            return trace.get_current_span().is_recording()

    with trace.get_tracer("test").start_as_current_span("call"):
        task = asyncio.get_running_loop().create_task(load(), context=apart())
        assert not await task
    assert listener.steps == [(Step.REQUEST, "paper", "ok")]
    assert [span.name for span in spans.all()] == ["call"]


def test_the_span_of_an_unknown_tool_loses_the_name_that_was_sent(spans: Spans) -> None:
    with trace.get_tracer("test").start_as_current_span("tools/call hunter2") as span:
        span.set_attribute("gen_ai.tool.name", "hunter2")
        name_span("unknown")
    (found,) = spans.all()
    assert found.name == "tools/call unknown"
    assert found.attributes == {"gen_ai.tool.name": "unknown"}
