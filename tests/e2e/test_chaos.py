"""Short, seeded chaos: what `make soak` does for minutes, for a few seconds."""

import pytest

from benchmarks.chaos import chaos


@pytest.mark.parametrize("seed", [1, 2])
async def test_sessions_in_disorder_keep_their_order_and_leave_nothing_behind(seed: int) -> None:
    """Disconnects, cancellations, repeated ids, DELETE, streams, faults at the venue. In each
    session the calls that ran did so one at a time and as they arrived; every answer bears the mark
    of its request; then no task, lane, slot, stream, lease or limiter place is held."""
    seen = await chaos(sessions=21, calls=15, seed=seed)
    assert seen.wrong == []
    assert seen.calls["ok"] > 100
    # What the run is for has really happened.
    assert seen.deeds["passed a running call"] > 0
    assert seen.deeds["delete"] > 0
    assert seen.calls["cancelled"] > 0
    assert seen.calls["left by reset"] + seen.calls["left by close"] > 10
