"""The arithmetic of rate limits, in made-up time."""

from __future__ import annotations

from collections import deque
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ccxt_mcp.mechanisms.ledger import SLOTS, Charge, Ledger, Rules, Window

MINUTE = Rules(98.0, 1500.0, (Window(5940.0, 60.0),))


def spend(ledger: Ledger, cost: float, now: float) -> Charge:
    """One request, answered at once."""
    ledger.advance(now)
    charge = ledger.take(cost)
    ledger.sent(charge, now)
    ledger.settle(charge, now)
    return charge


def test_an_idle_ledger_refills_to_its_burst() -> None:
    """Before, with CCXT's bucket: a request waited a second after three idle ones."""
    ledger = Ledger(Rules(1.0, 3.0), 0.0)
    for _ in range(3):
        assert ledger.fits(1.0)
        spend(ledger, 1.0, 0.0)
    assert not ledger.fits(1.0)
    assert ledger.delay(0.0, 1.0, 0.0) == pytest.approx(1.0)
    ledger.advance(60.0)
    assert ledger.idle
    assert ledger.fits(3.0)


def test_what_costs_more_than_the_burst_passes_when_all_of_it_is_free() -> None:
    ledger, now, looks = Ledger(Rules(1.0, 3.0, (Window(20.0, 10.0),)), 0.0), 0.0, 0
    assert ledger.fits(50.0)
    spend(ledger, 50.0, 0.0)
    while not ledger.fits(1.0):
        now += ledger.next_look(1.0, now)
        ledger.advance(now)
        looks += 1
    assert 48.0 <= now <= 60.0
    assert looks <= 3


def test_a_charge_drains_from_its_answer_on_not_from_its_sending() -> None:
    """Before: two requests, sent a second apart and both delayed by the network, met at a venue
    that takes one a second."""
    ledger = Ledger(Rules(1.0, 1.0, transit=10.0), 0.0)
    charge = ledger.take(1.0)
    ledger.sent(charge, 0.0)
    ledger.advance(5.0)
    assert not ledger.fits(1.0)
    ledger.settle(charge, 5.0)
    ledger.advance(5.9)
    assert not ledger.fits(1.0)
    ledger.advance(6.0)
    assert ledger.fits(1.0)


def test_a_request_that_is_never_answered_counts_as_arrived_after_its_transit() -> None:
    ledger = Ledger(Rules(1.0, 1.0, transit=2.0), 0.0)
    ledger.sent(ledger.take(1.0), 0.0)
    assert ledger.next_look(1.0, 0.0) == pytest.approx(2.0)
    ledger.advance(2.0)
    assert not ledger.fits(1.0)
    ledger.advance(3.0)
    assert ledger.fits(1.0)
    assert ledger.idle


def test_a_refund_leaves_no_trace() -> None:
    ledger = Ledger(MINUTE, 0.0)
    charge = ledger.take(500.0)
    ledger.refund(charge)
    ledger.refund(charge)
    ledger.settle(charge, 0.0)
    ledger.advance(0.0)
    assert ledger.idle


def test_a_venues_higher_count_lowers_what_is_left_and_a_lower_one_changes_nothing() -> None:
    ledger = Ledger(MINUTE, 0.0)
    spend(ledger, 100.0, 0.0)
    ledger.observe(5900.0, 1.0)
    assert ledger.counted == pytest.approx(5900.0)
    assert not ledger.fits(41.0)
    ledger.observe(3.0, 2.0)
    assert ledger.counted == pytest.approx(5900.0)
    ledger.advance(61.0)
    assert ledger.idle


def test_a_burst_is_followed_by_a_slower_pace_instead_of_a_pause() -> None:
    """Before: after a burst of 1,500 the window was full at 45 s, and all stood until 60 s."""
    ledger = Ledger(MINUTE, 0.0)
    spend(ledger, 1500.0, 0.0)
    now, gaps, last = 0.0, [], 0.0
    while now < 120.0:
        now += 0.01
        ledger.advance(now)
        if ledger.fits(2.0):
            spend(ledger, 2.0, now)
            gaps.append(now - last)
            last = now
    assert max(gaps) < 1.0
    assert sum(2.0 for _ in gaps) > 0.95 * 6000 * 2 - 1500


def test_a_windows_memory_is_bounded() -> None:
    ledger = Ledger(Rules(1e6, 1e6, (Window(1e9, 60.0),)), 0.0)
    for step in range(20_000):
        spend(ledger, 1.0, step * 0.01)
    assert max(len(past.slots) for past in ledger._pasts) <= SLOTS + 2
    assert len(ledger._sent) <= 2


def test_rules_that_cannot_be_are_refused() -> None:
    with pytest.raises(ValueError, match="positive"):
        Rules(0.0, 1.0)
    with pytest.raises(ValueError, match="positive"):
        Window(1.0, 0.0)


STEPS = st.lists(
    st.tuples(
        st.floats(0.0, 3.0),  # pause before
        st.sampled_from([1.0, 2.0, 5.0, 17.0, 40.0]),  # cost
        st.floats(0.0, 1.9),  # seconds until the venue counts it
        st.floats(0.0, 8.0),  # seconds more until its answer is here
        st.sampled_from(["answered", "abandoned", "refunded"]),
    ),
    max_size=120,
)


@settings(max_examples=300, deadline=None)
@given(steps=STEPS, offset=st.floats(0.0, 10.0))
def test_no_window_of_the_venue_is_ever_exceeded(steps: list[Any], offset: float) -> None:
    """Whatever the latencies: neither in any ten seconds, nor in those of the venue's clock, nor
    does a counter of the venue's that drains ever pass the burst."""
    rules = Rules(10.0, 20.0, (Window(60.0, 10.0),), transit=2.0)
    ledger, now = Ledger(rules, 0.0), 0.0
    answers: list[tuple[float, Charge]] = []
    seen: list[tuple[float, float]] = []
    for pause, cost, there, back, end in steps:
        until = now + pause
        while True:
            due = min((e for e in answers if e[0] <= until), key=lambda e: e[0], default=None)
            if due is None:
                break
            answers.remove(due)
            ledger.advance(due[0])
            ledger.settle(due[1], due[0])
        now = until
        ledger.advance(now)
        if not ledger.fits(cost):
            continue
        charge = ledger.take(cost)
        if end == "refunded":
            ledger.refund(charge)
            continue
        ledger.sent(charge, now)
        if end == "answered":
            answers.append((now + there + back, charge))
        seen.append((now + there, cost))
    _check_venue(seen, rules, offset)


def _check_venue(seen: list[tuple[float, float]], rules: Rules, offset: float) -> None:
    limit, seconds = rules.windows[0].limit, rules.windows[0].seconds
    recent: deque[tuple[float, float]] = deque()
    aligned: dict[int, float] = {}
    level = last = 0.0
    for at, cost in sorted(seen):
        recent.append((at, cost))
        while recent[0][0] <= at - seconds:
            recent.popleft()
        assert sum(each for _, each in recent) <= max(limit, cost) + 1e-6
        window = int((at + offset) // seconds)
        aligned[window] = aligned.get(window, 0.0) + cost
        level = max(0.0, level - (at - last) * rules.rate) + cost
        last = at
        # What costs more than the burst was let through when all was free.
        assert level <= max(rules.burst, 40.0) + 1e-6
    assert all(each <= limit + 1e-6 for each in aligned.values())


def test_an_unanswered_charge_ages_from_when_it_fell_due_not_from_when_somebody_looked() -> None:
    """A burst that was never answered, and then silence: the next caller waited a whole window."""
    ledger = Ledger(Rules(1.0, 5.0, (Window(5.0, 60.0),)), 0.0)
    for _ in range(5):
        ledger.sent(ledger.take(1.0), 0.0)
    ledger.advance(600.0)
    assert ledger.fits(5.0)
    assert ledger.used == 0.0
