"""Shared polling: what it costs, who is told, and what is left of it."""

import asyncio
import logging
from collections.abc import Callable
from contextvars import ContextVar

import pytest

from ccxt_mcp.errors import Code, Failure
from ccxt_mcp.mechanisms.polling import LONGEST_PAUSE, Over, Polling, Topic, Watch
from tests.unit.mechanisms.virtual_time import run

INTERVAL = 5.0


class Source:
    """Something that changes when the test says so."""

    def __init__(self) -> None:
        self.value = b"a"
        self.failure: BaseException | None = None
        self.asked: list[float] = []
        self.hanging = False
        self.cancelled = 0

    async def __call__(self) -> bytes:
        self.asked.append(asyncio.get_running_loop().time() - 1000.0)
        if self.hanging:
            try:
                await asyncio.get_running_loop().create_future()
            except asyncio.CancelledError:
                self.cancelled += 1
                raise
        if self.failure is not None:
            raise self.failure
        return self.value

    @property
    def topic(self) -> Topic:
        return Topic("k", INTERVAL, self)


class Counted:
    """Counts what it is told."""

    def __init__(self) -> None:
        self.times = 0

    def __call__(self) -> None:
        self.times += 1


def unavailable(retry_after: float | None = None) -> Failure:
    return Failure(Code.EXCHANGE_UNAVAILABLE, "down", retry_after=retry_after)


async def watching(
    polling: Polling, source: Source, changed: Callable[[], None] = lambda: None
) -> Watch:
    watch = polling.watch(source.topic, changed)
    await watch.first()
    return watch


async def nothing_left(polling: Polling) -> None:
    """Pollers go at once, their tasks within a step or two of the loop."""
    assert len(polling) == 0
    for _ in range(3):
        await asyncio.sleep(0)
    assert not polling._tasks
    assert asyncio.all_tasks() == {asyncio.current_task()}


def test_many_watchers_cost_one_question_an_interval() -> None:
    async def main() -> None:
        polling, source, told = Polling(), Source(), Counted()
        watches = await asyncio.gather(*(watching(polling, source, told) for _ in range(100)))
        assert source.asked == [0.0]
        for value in (b"b", b"c", b"d"):
            source.value = value
            await asyncio.sleep(INTERVAL + 0.1)
        assert source.asked == [0.0, 5.0, 10.0, 15.0]
        assert told.times == 300
        assert len(polling) == len(polling._tasks) == 1
        for watch in watches:
            watch.stop()
        await nothing_left(polling)

    run(main())


def test_thousands_of_watchers_are_told_in_turns_with_others() -> None:
    """Told in one go, they would hold up everything else that the event loop does."""

    async def main() -> None:
        polling, source, told = Polling(), Source(), Counted()
        watches = [await watching(polling, source, told) for _ in range(1200)]
        told_before: list[int] = []
        others: list[asyncio.Task[None]] = []

        async def other() -> None:
            while told.times < 1198:
                told_before.append(told.times)
                await asyncio.sleep(0)

        def leave() -> None:
            told()
            watches[-1].stop()
            others.append(asyncio.create_task(other()))

        watches[0].changed = leave
        source.value = b"b"
        await asyncio.sleep(INTERVAL + 1)
        assert told.times == 1199
        assert told_before == [500, 1000]
        for watch in watches:
            watch.stop()

    run(main())


def test_only_a_change_is_told() -> None:
    async def main() -> None:
        polling, source, told = Polling(), Source(), Counted()
        watch = await watching(polling, source, told)
        await asyncio.sleep(9.5 * INTERVAL)
        assert len(source.asked) == 10
        assert told.times == 0
        source.value = b"b"
        await asyncio.sleep(10 * INTERVAL)
        assert told.times == 1
        watch.stop()

    run(main())


def test_the_last_to_leave_ends_the_question_that_is_under_way() -> None:
    """Left alone, it would hold its slot and its request for nobody."""

    async def main() -> None:
        polling, source = Polling(), Source()
        first, second = await watching(polling, source), await watching(polling, source)
        source.hanging = True
        await asyncio.sleep(2 * INTERVAL)
        first.stop()
        first.stop()
        await asyncio.sleep(0)
        assert source.cancelled == 0
        second.stop()
        await nothing_left(polling)
        assert source.cancelled == 1

    run(main())


@pytest.mark.parametrize("outcome", [b"b", unavailable(), RuntimeError("late")])
def test_a_question_that_cannot_be_cancelled_is_the_last_one(outcome: bytes | Exception) -> None:
    """The cancellation is used up then: the poller would go on asking, for nobody and for ever, and
    the server's end would wait for it."""

    async def main() -> None:
        polling, source = Polling(), Source()
        watch = await watching(polling, source)

        async def stubborn() -> bytes:
            try:
                return await source()
            except asyncio.CancelledError:
                if isinstance(outcome, Exception):
                    raise outcome from None
                return outcome

        watch.stop()
        source.hanging = True
        again = polling.watch(Topic("k", INTERVAL, stubborn), lambda: None)
        again.start()
        await asyncio.sleep(1)
        again.stop()
        await nothing_left(polling)

    run(main())


def test_a_watcher_that_pauses_hears_of_a_change_made_meanwhile_once() -> None:
    """It would be lost otherwise: a client whose stream was cut for a second would never hear of
    its order's end."""

    async def main() -> None:
        polling, source, told = Polling(), Source(), Counted()
        watch = await watching(polling, source, told)
        watch.stop()
        source.value = b"b"
        await asyncio.sleep(100 * INTERVAL)
        assert len(source.asked) == 1
        watch.start()
        await asyncio.sleep(2 * INTERVAL)
        assert told.times == 1
        watch.stop()
        watch.start()
        await asyncio.sleep(2 * INTERVAL)
        assert told.times == 1
        watch.stop()
        await nothing_left(polling)

    run(main())


def test_who_joins_late_is_told_of_what_changes_from_then_on() -> None:
    async def main() -> None:
        polling, source, told = Polling(), Source(), Counted()
        early = await watching(polling, source)
        source.value = b"b"
        await asyncio.sleep(2.5 * INTERVAL)
        late = await watching(polling, source, told)
        assert told.times == 0
        assert len(source.asked) == 3
        source.value = b"a"
        await asyncio.sleep(INTERVAL)
        assert told.times == 1
        early.stop()
        late.stop()

    run(main())


def test_what_fails_is_asked_less_and_less_often_and_keeps_its_watchers() -> None:
    """Asked on at its interval, an exchange that is down would get the load of all subscriptions at
    once, and one that says "too many requests" would hear more of them."""

    async def main() -> None:
        polling, source, told = Polling(), Source(), Counted()
        watch = await watching(polling, source, told)
        source.failure = unavailable()
        await asyncio.sleep(300)
        pauses = [b - a for a, b in zip(source.asked, source.asked[1:], strict=False)]
        assert pauses == [5, 10, 20, 40, LONGEST_PAUSE, LONGEST_PAUSE, LONGEST_PAUSE]
        assert told.times == 0
        source.failure, source.value = None, b"b"
        await asyncio.sleep(LONGEST_PAUSE + 2 * INTERVAL)
        assert told.times == 1
        assert source.asked[-1] - source.asked[-2] == INTERVAL
        watch.stop()
        await nothing_left(polling)

    run(main())


def test_an_exchange_that_says_when_is_not_asked_before() -> None:
    async def main() -> None:
        polling, source = Polling(), Source()
        watch = await watching(polling, source)
        source.failure = unavailable(retry_after=600.0)
        await asyncio.sleep(600)
        assert source.asked == [0.0, 5.0]
        watch.stop()

    run(main())


@pytest.mark.parametrize("fault", [RuntimeError("a fault"), asyncio.CancelledError()])
def test_a_fault_of_ours_ends_no_poller(
    caplog: pytest.LogCaptureFixture, fault: BaseException
) -> None:
    """Its watchers would believe for ever that nothing changes. A cancellation is one, too, if it
    is not the poller's: what it waits for is shared with others, and can be ended by them."""

    async def main() -> None:
        polling, source, told = Polling(), Source(), Counted()
        watch = await watching(polling, source, told)
        source.failure = fault
        await asyncio.sleep(2 * INTERVAL)
        source.failure, source.value = None, b"b"
        await asyncio.sleep(LONGEST_PAUSE)
        assert told.times == 1
        watch.stop()

    with caplog.at_level(logging.ERROR):
        run(main())
    assert "a poll failed unexpectedly" in caplog.text


def test_who_cannot_even_begin_is_told_why_and_leaves_nothing() -> None:
    async def main() -> None:
        polling, source = Polling(), Source()
        source.failure = unavailable()
        outcomes = await asyncio.gather(
            *(watching(polling, source) for _ in range(3)), return_exceptions=True
        )
        assert len({id(each) for each in outcomes}) == 3
        assert all(isinstance(each, Failure) and each.message == "down" for each in outcomes)
        assert len(source.asked) == 1
        await nothing_left(polling)

    run(main())


def test_who_joins_a_failing_poller_that_never_answered_need_not_wait_out_its_pause() -> None:
    async def main() -> None:
        polling, source = Polling(), Source()
        before = await watching(polling, source)
        before.stop()
        source.failure = unavailable()
        before.start()
        await asyncio.sleep(300)
        asked = len(source.asked)
        with pytest.raises(Failure, match="down"):
            await watching(polling, source)
        assert len(source.asked) == asked
        assert len(polling) == 1
        before.stop()
        await nothing_left(polling)

    run(main())


def test_a_subscriber_that_leaves_before_the_first_answer_leaves_nothing() -> None:
    async def main() -> None:
        polling, source = Polling(), Source()
        source.hanging = True
        joining = asyncio.create_task(watching(polling, source))
        await asyncio.sleep(1)
        joining.cancel()
        await asyncio.wait([joining])
        await nothing_left(polling)
        assert source.cancelled == 1

    run(main())


def test_what_may_not_be_seen_any_more_is_said_once_and_ends() -> None:
    async def main() -> None:
        polling, source, told = Polling(), Source(), Counted()
        watch = await watching(polling, source, told)
        source.failure = Over(Failure(Code.PERMISSION_DENIED, "no"))
        await asyncio.sleep(INTERVAL)
        assert watch.over
        assert told.times == 1
        await nothing_left(polling)
        watch.start()
        await nothing_left(polling)
        with pytest.raises(Failure, match="no"):
            await watching(polling, source, told)
        assert told.times == 1
        await nothing_left(polling)

    run(main())


def test_a_poller_keeps_nothing_of_the_request_that_started_it() -> None:
    """A task copies the context of whoever makes it: the first subscriber's session would live as
    long as the last one's subscription, and a poll for all would be made in its name."""

    variable = ContextVar("variable", default="nobody")

    async def main() -> None:
        polling, seen = Polling(), []

        async def ask() -> bytes:
            seen.append(variable.get())
            return b"a"

        async def subscriber() -> Watch:
            variable.set("somebody")
            watch = polling.watch(Topic("k", INTERVAL, ask), lambda: None)
            await watch.first()
            return watch

        watch = await asyncio.create_task(subscriber())
        await asyncio.sleep(1.5 * INTERVAL)
        assert seen == ["nobody", "nobody"]
        watch.stop()

    run(main())


def test_closing_ends_all_and_waits_for_it() -> None:
    async def main() -> None:
        polling, source = Polling(), Source()
        await watching(polling, source)
        source.hanging = True
        await asyncio.sleep(INTERVAL)
        await polling.close()
        assert source.cancelled == 1
        await nothing_left(polling)
        await polling.close()

    run(main())
