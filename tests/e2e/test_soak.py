"""A short, seeded soak: what `make soak` does for minutes, for a few seconds."""

import sys

import pytest

from benchmarks.soak import soak


@pytest.mark.skipif(sys.platform == "win32", reason="counts file descriptors")
async def test_mixed_load_with_faults_leaves_nothing_behind() -> None:
    """No unforeseen outcome, no traceback in the log; files, tasks and memory as before."""
    report = await soak(seconds=4, workflows=8, seed=3)
    assert report.violations() == []
    # It has really run; how far it comes in the time is the machine's.
    assert report.outcomes["ok"] > 10
    assert report.faults.total() > 2
