"""A short, seeded storm: what `make soak` does with a thousand calls in both eras."""

import sys

import pytest

from benchmarks.pool import storm


@pytest.mark.skipif(sys.platform == "win32", reason="kills the server, counts file descriptors")
async def test_a_pool_through_faults_restarts_and_callers_who_leave() -> None:
    """Every call is answered or fails with a code; no session, task or connection is left."""
    seen = await storm(60, size=6, callers=12, seed=3)
    assert seen.wrong == []
    assert seen.outcomes["ok"] > 10
    assert seen.outcomes["left"] > 5
    assert len(seen.restarts) == 2
    assert seen.faults > 0
