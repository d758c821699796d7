"""Short, seeded chaos: what `make soak` does for minutes, for a few seconds."""

import sys

import pytest

from benchmarks.chaos import chaos
from benchmarks.flood import PER_SESSION, flood
from benchmarks.stopping import stopping


async def test_sessions_in_disorder_keep_their_order_and_leave_nothing_behind() -> None:
    """Disconnects, cancellations, repeated ids, DELETE, streams, faults at the venue. In each
    session the calls that ran did so one at a time and as they arrived; every answer bears the mark
    of its request; then no task, lane, slot, stream, lease or limiter place is held."""
    seen = await chaos(sessions=21, calls=15, seed=1)
    assert seen.wrong == []
    assert seen.calls["ok"] > 20
    # What the run is for has really happened.
    assert seen.deeds["passed a running call"] > 0
    assert seen.deeds["delete"] > 0
    assert seen.calls["cancelled"] > 0
    assert seen.calls["left by reset"] + seen.calls["left by close"] > 5


async def test_a_flood_of_one_session_gets_refusals_and_does_not_reach_the_others() -> None:
    """What one session has beyond its line (64) is refused at once; of slots it has one."""
    seen = await flood("session", 200, 10, 0.2, apart=False, latency_ms=20)
    assert seen.wrong == []
    assert seen.seen.flood["overloaded"] > 100
    assert seen.seen.flood["ok"] >= 65


async def test_a_flood_of_many_sessions_leaves_the_others_their_slot_within_a_turn() -> None:
    """More sessions than slots: between an other's asking and its slot nobody had two."""
    seen = await flood(
        "sessions", 250, 10, 0.2, apart=False, latency_ms=20, max_calls=16, call_queue_max=100
    )
    assert seen.wrong == []
    # They really had to wait for slots.
    assert seen.flows > 250 / PER_SESSION / 4
    assert any(grant.turn > grant.before for grant in seen.slots)


@pytest.mark.skipif(sys.platform == "win32", reason="sends SIGTERM")
async def test_sigterm_under_load_loses_no_accepted_call() -> None:
    """Both eras, calls that run and wait, open streams: all answered, later ones refused."""
    seen = await stopping(9, latency_ms=400)
    assert seen.wrong == []
    assert seen.under_way == 27
    assert seen.streams["ended"] == 6
