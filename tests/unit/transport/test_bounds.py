"""The lists of all replicas' sessions, and which of them a session is in."""

from __future__ import annotations

import time
from types import SimpleNamespace
from typing import Any

from ccxt_mcp.cluster.node import Node
from ccxt_mcp.store.memory import MemoryStore
from ccxt_mcp.transport.bounds import Bounds
from ccxt_mcp.transport.session import Kind
from ccxt_mcp.transport.session_record import Facts
from tests.unit.store.world import until


async def test_a_session_that_came_back_from_another_address_counts_for_that_one_only() -> None:
    """It was opened again while its end was on the way to the lists. Counted for the address that
    it had before, it would take the room of others there, or be ended to make some."""
    store = MemoryStore(time.monotonic)
    node = Node(store, "a")
    reach: Any = SimpleNamespace(node=node, on=lambda *_: None)
    nothing: Any = None
    bounds = Bounds(reach, nothing, nothing, counted=60.0, max_sessions=9, max_per_client=9)
    facts = Facts(Kind.NAMED, "someone", "name", "10.0.0.2", 0.0, "2025-03-26")
    await store.records.open("record", facts.encoded(), node="a", ttl=60.0)
    bounds.leave("record", "10.0.0.1", named=True)
    await until(lambda: "0 under way" in repr(node))
    counts = {
        address: (await store.roster.page(f"clients/{address}", offset=0, limit=9))[0]
        for address in ("10.0.0.1", "10.0.0.2")
    }
    assert counts == {"10.0.0.1": 0, "10.0.0.2": 1}
