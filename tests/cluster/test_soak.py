"""A short version of the soak of replicas (`make soak`): real processes on a real store."""

from __future__ import annotations

import pytest

from benchmarks.replicas import soak
from benchmarks.store_server import NOT_FOUND, server_binary


@pytest.mark.cluster
@pytest.mark.skipif(server_binary() is None, reason=NOT_FOUND)
async def test_replicas_that_are_killed_and_restarted_lose_no_session() -> None:
    """Two replicas under eight sessions of all kinds, one is killed; then each is restarted under
    the client helper."""
    seen = await soak(2, workflows=8, replicas=2, every=1, rolling=2, seed=8)
    assert seen.wrong == []
    assert seen.kills >= 1
    assert seen.outcomes["ok"] > 0
    assert seen.rolled["restarts"] == 2
