"""The table of sessions: identity, bounds and ends."""

import gc

import pytest

from ccxt_mcp.model import ANONYMOUS, Principal, Scope
from ccxt_mcp.transport.refusal import Refusal
from ccxt_mcp.transport.registry import Registry

ALICE = Principal("alice", frozenset({Scope.READ}))
BOB = Principal("bob", frozenset({Scope.READ}))


def registry(
    *,
    max_sessions: int = 10,
    max_per_client: int = 10,
    idle_timeout: float = 1800,
    adopt_named: bool = True,
) -> Registry:
    return Registry(
        max_sessions=max_sessions,
        max_per_client=max_per_client,
        idle_timeout=idle_timeout,
        adopt_named=adopt_named,
        lane_limit=4,
        lane_wait_max=60.0,
    )


def test_a_name_opens_a_session_on_first_use_and_finds_it_again() -> None:
    table = registry()
    first = table.find_or_open(ANONYMOUS, "workflow-a", "127.0.0.1")
    assert table.find_or_open(ANONYMOUS, "workflow-a", "127.0.0.1") is first
    assert len(table) == 1


def test_a_guessed_id_reaches_nobody_elses_session() -> None:
    table = registry()
    minted = table.mint(ALICE, None)
    named = table.find_or_open(ALICE, "desk", None)
    assert table.find_or_open(BOB, "desk", None) is not named
    with pytest.raises(Refusal) as refused:
        table.find(BOB, minted.id)
    assert refused.value.status == 404


def test_a_minted_id_that_is_gone_is_not_adopted_as_a_name() -> None:
    table = registry()
    session = table.mint(ANONYMOUS, None)
    table.close(session)
    table.close(session)
    with pytest.raises(Refusal) as refused:
        table.find_or_open(ANONYMOUS, session.id, None)
    assert refused.value.status == 404
    assert len(table) == 0


@pytest.mark.parametrize("name", ["", "two words", "a" * 129, "a" * 10_000, "ü", "a/b", "a\x00"])
def test_an_id_of_a_wrong_form_is_refused_with_the_form(name: str) -> None:
    with pytest.raises(Refusal) as refused:
        registry().find_or_open(ANONYMOUS, name, None)
    assert refused.value.status == 400
    assert "1 to 128 characters" in refused.value.message


def test_names_are_not_adopted_where_that_is_switched_off() -> None:
    with pytest.raises(Refusal) as refused:
        registry(adopt_named=False).find_or_open(ANONYMOUS, "workflow-a", None)
    assert refused.value.status == 404


def test_at_the_cap_the_longest_idle_named_session_makes_room() -> None:
    table = registry(max_sessions=3)
    minted = table.mint(ANONYMOUS, None)
    oldest = table.find_or_open(ANONYMOUS, "a", None)
    table.find_or_open(ANONYMOUS, "b", None)
    table.touch(oldest)
    table.mint(ANONYMOUS, None)
    assert table.find(ANONYMOUS, "a") is oldest
    assert table.find(ANONYMOUS, minted.id) is minted
    with pytest.raises(Refusal):
        table.find(ANONYMOUS, "b")


def test_a_session_in_use_is_never_evicted_and_a_full_table_refuses() -> None:
    table = registry(max_sessions=1)
    table.find_or_open(ANONYMOUS, "a", None).requests += 1
    with pytest.raises(Refusal) as refused:
        table.mint(ANONYMOUS, None)
    assert refused.value.status == 503
    assert dict(refused.value.headers)[b"retry-after"]


def test_one_client_address_cannot_take_all_sessions() -> None:
    table = registry(max_per_client=2)
    table.mint(ANONYMOUS, "10.0.0.1")
    table.mint(ANONYMOUS, "10.0.0.1")
    with pytest.raises(Refusal) as refused:
        table.mint(ANONYMOUS, "10.0.0.1")
    assert refused.value.status == 503
    table.mint(ANONYMOUS, "10.0.0.2")


def test_idle_sessions_end_and_busy_ones_stay() -> None:
    table = registry(idle_timeout=0)
    table.find_or_open(ANONYMOUS, "idle", None)
    table.find_or_open(ANONYMOUS, "busy", None).requests += 1
    assert table.expire() == 1
    assert [s["sessionId"] for s in table.describe(10, 0)] == ["busy"]


def test_a_minted_id_is_shown_as_a_hash_only_and_a_name_in_full() -> None:
    table = registry()
    minted = table.mint(ANONYMOUS, "127.0.0.1")
    table.find_or_open(ANONYMOUS, "workflow-a", "127.0.0.1")
    shown = [session["sessionId"] for session in table.describe(10, 0)]
    assert "workflow-a" in shown
    assert minted.id not in repr(table.describe(10, 0))
    assert table.describe(1, 1) == table.describe(10, 0)[1:2]


async def test_a_name_that_is_opened_again_waits_for_what_its_last_session_still_runs() -> None:
    """With a lane of its own, an order sent after DELETE overtakes the one that is on its way."""
    table = registry()
    first = table.find_or_open(ANONYMOUS, "w", None)
    await first.lane.acquire(1)
    table.close(first)
    again = table.find_or_open(ANONYMOUS, "w", None)
    assert again is not first
    assert again.lane.busy
    table.close(again)
    once_more = table.find_or_open(ANONYMOUS, "w", None)
    assert once_more.lane is first.lane
    other = table.find_or_open(ANONYMOUS, "v", None)
    assert not other.lane.busy


async def test_a_lane_that_is_free_is_not_kept_for_a_name() -> None:
    table = registry()
    first = table.find_or_open(ANONYMOUS, "w", None)
    table.close(first)
    assert table.find_or_open(ANONYMOUS, "w", None).lane is not first.lane
    busy = table.find_or_open(ANONYMOUS, "v", None)
    await busy.lane.acquire(1)
    table.close(busy)
    del busy
    gc.collect()
    assert len(table._lanes) == 0
