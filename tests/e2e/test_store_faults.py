"""A short, seeded run of what `make soak` does to the store for minutes."""

from __future__ import annotations

import pytest

from benchmarks.store_faults import run
from benchmarks.store_server import NOT_FOUND, StoreServer


@pytest.mark.skipif(not StoreServer.found(), reason=NOT_FOUND)
async def test_with_a_faulty_store_calls_are_served_or_refused_as_documented_and_it_recovers() -> (
    None
):
    """Everything that is not served is retryable, no two calls of a session overlap, and no nonce
    is out of order."""
    seen = await run(("slow", "cut", "read-only"), lasting=1.5, sessions=6, replicas=2)
    assert seen.violations() == []
    served = {spell.fault.name: spell.during["ok"] + spell.after["ok"] for spell in seen.spells}
    assert all(served.values()), served
    meanwhile = seen.spells[-1].during
    assert meanwhile["503"] > 0
    assert meanwhile["store_unavailable"] > 0
