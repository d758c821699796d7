"""A call's turn among all replicas: for how long it waits for it, whatever happens meanwhile."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from ccxt_mcp.errors import Code, Failure
from ccxt_mcp.transport import shared_lane
from ccxt_mcp.transport.shared_lane import in_turn

WAIT_MAX = 30.0


async def test_a_session_that_is_opened_again_does_not_let_its_call_wait_twice_as_long(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Its record was gone when its turn came. Given the same patience again, a call would wait for
    twice the time that was promised."""
    clock = SimpleNamespace(now=1000.0)
    clock.perf_counter = lambda: clock.now
    monkeypatch.setattr(shared_lane, "time", clock)
    asked: list[float] = []

    async def take(name: str, *, patience: float, **_: Any) -> None:
        asked.append(patience)
        if len(asked) == 2:
            raise TimeoutError
        clock.now += 20

    async def reopen(session: Any) -> bool:
        clock.now += 4
        return True

    directory: Any = SimpleNamespace(
        cluster=SimpleNamespace(leases=SimpleNamespace(take=take)), reopen=reopen, ttl=60.0
    )
    session: Any = SimpleNamespace(part=SimpleNamespace(name="session", early=None))
    refused: list[BaseException] = []

    async def work() -> None:
        raise AssertionError("not its turn")

    with pytest.raises(Failure) as caught:
        await in_turn(
            directory, session, work, arrived=clock.now, wait_max=WAIT_MAX, refused=refused.append
        )
    assert caught.value.code is Code.OVERLOADED
    assert refused == [caught.value]
    assert asked == [WAIT_MAX, WAIT_MAX - 24]
