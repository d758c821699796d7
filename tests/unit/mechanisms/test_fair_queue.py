"""Who is next, among flows."""

from __future__ import annotations

import random
from collections import Counter

from hypothesis import given, settings
from hypothesis import strategies as st

from ccxt_mcp.mechanisms.fair_queue import FairQueue


def drained(queue: FairQueue[str]) -> list[str]:
    order = []
    while (head := queue.head()) is not None:
        order.append(head[1])
        queue.pop()
    return order


def test_a_flow_is_served_in_order_of_arrival() -> None:
    queue: FairQueue[str] = FairQueue()
    for name in "abc":
        queue.push("one", 1.0, name)
    assert drained(queue) == ["a", "b", "c"]
    assert len(queue) == 0


def test_a_flow_that_comes_late_is_not_behind_all_of_one_that_asks_for_much() -> None:
    queue: FairQueue[str] = FairQueue()
    for number in range(50):
        queue.push("greedy", 1.0, f"g{number}")
    queue.push("modest", 1.0, "m")
    assert "m" in drained(queue)[:2]


def test_an_entry_taken_out_leaves_no_trace() -> None:
    """Before: a session that cancelled its calls was served last for the rest of its life."""
    queue: FairQueue[str] = FairQueue()
    queue.push("other", 1.0, "first")
    gone = "gone"
    for _ in range(100):
        queue.push("impatient", 10.0, gone)
        assert queue.remove("impatient", gone)
    assert not queue.remove("impatient", gone)
    queue.push("impatient", 10.0, "i")
    queue.push("other", 1.0, "second")
    assert drained(queue) == ["first", "i", "second"]
    assert queue.cost == 0.0


def test_an_unserved_head_keeps_its_flows_turn() -> None:
    queue: FairQueue[str] = FairQueue()
    queue.push("a", 5.0, "a1")
    queue.push("a", 5.0, "a2")
    queue.push("b", 5.0, "b1")
    queue.pop(served=False)
    assert sorted(drained(queue)[:2]) == ["a2", "b1"]


def test_what_is_ahead_is_what_would_be_served_before() -> None:
    queue: FairQueue[str] = FairQueue()
    for name in "ab":
        for number in range(3):
            queue.push(name, 2.0, f"{name}{number}")
    assert queue.ahead("new") == 4.0
    assert queue.ahead("a") == 6.0 + 6.0
    queue.push("new", 1.0, "n")
    before = drained(queue)
    assert before.index("n") == 2


def test_the_memory_is_bounded_by_those_who_wait() -> None:
    queue: FairQueue[str] = FairQueue()
    queue.push("stays", 1.0, "stays")
    for number in range(5_000):
        queue.push(number, 1.0, "x")
        queue.remove(number, "x")
    assert len(queue._flows) < 200
    assert len(queue._order) < 500


@settings(max_examples=200, deadline=None)
@given(
    loads=st.lists(
        st.lists(st.sampled_from([1.0, 2.0, 6.0, 20.0, 80.0]), min_size=1, max_size=40),
        min_size=2,
        max_size=6,
    )
)
def test_while_two_flows_wait_they_differ_by_at_most_one_entry_of_each(
    loads: list[list[float]],
) -> None:
    queue: FairQueue[tuple[int, float]] = FairQueue()
    for flow, costs in enumerate(loads):
        for cost in costs:
            queue.push(flow, cost, (flow, cost))
    left = [list(costs) for costs in loads]
    served: Counter[int] = Counter()
    biggest = [max(costs) for costs in loads]
    while (head := queue.head()) is not None:
        flow, cost = head[1]
        assert cost == left[flow].pop(0)
        queue.pop()
        served[flow] += int(cost)
        waiting = [each for each in range(len(loads)) if left[each]]
        for one in waiting:
            for other in waiting:
                assert served[one] - served[other] <= biggest[one] + biggest[other]


def test_a_dear_entry_does_not_cost_its_flow_more_than_the_most_that_counts() -> None:
    """Before: who had asked for 80 units among sixty who ask for 2 was next served after 40 rounds
    of all the others, and refused long before."""
    queue: FairQueue[str] = FairQueue()
    queue.bound(6.0)
    queue.push("dear", 80.0, "d1")
    queue.push("dear", 80.0, "d2")
    for number in range(60):
        for turn in range(10):
            queue.push(number, 2.0, f"{number}-{turn}")
    assert queue.ahead("dear") == 160.0 + 60 * 7 * 2
    assert drained(queue).index("d2") == 1 + 60 * 3


def test_who_was_put_back_among_few_is_not_kept_back_among_many() -> None:
    """Before: what had been dear while two waited was still held against its flow among sixty."""
    queue: FairQueue[str] = FairQueue()
    queue.bound(100.0)
    queue.push("dear", 80.0, "d1")
    queue.push("other", 2.0, "o")
    queue.pop()
    queue.push("dear", 2.0, "d2")
    for number in range(60):
        for turn in range(10):
            queue.push(number, 2.0, f"{number}-{turn}")
    queue.bound(3.0)
    assert drained(queue).index("d2") <= 1 + 60 * 2


def test_who_is_first_is_who_is_served_next() -> None:
    """Asked for several at once, the queue says the order in which it would serve them."""
    dice = random.Random(8)
    for _ in range(50):
        queue: FairQueue[int] = FairQueue()
        for number in range(dice.randrange(1, 40)):
            queue.push(f"f{dice.randrange(6)}", dice.choice((1.0, 2.0, 5.0)), number)
            queue.bound(6.0)
            if dice.random() < 0.2:
                queue.pop()
        wanted = dice.randrange(1, 20)
        first = queue.first(wanted)
        assert len(first) == min(wanted, len(queue))
        for entry in first:
            assert queue.head() == entry
            queue.pop()


def test_an_entry_is_served_although_another_came_before_it_meanwhile() -> None:
    queue: FairQueue[str] = FairQueue()
    for item in ("a1", "a2", "a3"):
        queue.push("a", 1.0, item)
    queue.pop()
    (_, chosen), *_ = queue.first(2)
    queue.push("b", 1.0, "b1")
    queue.push("c", 1.0, "c1")
    queue.serve("b", "b1")
    assert chosen == "a2"
    queue.serve("a", "a2")
    assert (len(queue), queue.cost, queue.active) == (2, 2.0, 2)
    order = []
    while (head := queue.head()) is not None:
        order.append(head[1])
        queue.pop()
    assert order == ["c1", "a3"]
    assert (len(queue), queue.cost, queue.active) == (0, 0.0, 0)
