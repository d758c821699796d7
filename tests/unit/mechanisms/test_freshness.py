"""A value is never given out beyond its bound, whatever the clocks do, and little of it is kept."""

from hypothesis import given
from hypothesis import strategies as st

from ccxt_mcp.mechanisms.freshness import Entry, FreshCache, Reading

START = Reading(1000.0, 1_800_000_000.0)


def after(steady: float, wall: float) -> Reading:
    return Reading(START.steady + steady, START.wall + wall)


def kept(cache: FreshCache[str], key: str, at: Reading = START, size: int = 1) -> None:
    cache.put(key, Entry(key, at, size))


def test_a_value_is_given_out_up_to_its_bound_and_not_beyond() -> None:
    cache: FreshCache[str] = FreshCache(entries=9, size=99)
    kept(cache, "a")
    assert cache.get("a", 1.0, after(1.0, 1.0)) is not None
    assert cache.get("a", 1.0, after(1.001, 1.001)) is None
    assert cache.get("a", 2.0, after(1.001, 1.001)) is not None


def test_a_machine_that_slept_has_old_values() -> None:
    """A laptop's steady clock stands still while its lid is shut: a price of yesterday was 0.2 s
    old."""
    cache: FreshCache[str] = FreshCache(entries=9, size=99)
    kept(cache, "a")
    assert cache.get("a", 1.0, after(0.2, 40_000.0)) is None


def test_a_clock_that_is_set_back_makes_nothing_young_again() -> None:
    """By the wall clock alone the value would be good for another hour."""
    cache: FreshCache[str] = FreshCache(entries=9, size=99)
    kept(cache, "a")
    assert cache.get("a", 1.0, after(2.0, -3600.0)) is None
    assert cache.get("a", 1.0, after(0.5, -3600.0)) is not None


@given(
    st.lists(st.tuples(st.floats(0, 5), st.floats(-1e6, 1e6)), max_size=20),
    st.floats(0.001, 10),
)
def test_no_jump_of_the_wall_clock_hides_an_age(
    steps: list[tuple[float, float]], bound: float
) -> None:
    cache: FreshCache[str] = FreshCache(entries=9, size=99)
    kept(cache, "a")
    steady = wall = 0.0
    for seconds, jump in steps:
        steady += seconds
        wall += seconds + jump
        if cache.get("a", bound, after(steady, wall)) is not None:
            assert steady <= bound


def test_a_late_answer_does_not_replace_a_younger_one() -> None:
    cache: FreshCache[str] = FreshCache(entries=9, size=99)
    cache.put("a", Entry("young", after(1, 1), 1))
    cache.put("a", Entry("late", START, 1))
    found = cache.get("a", 9.0, after(2, 2))
    assert found is not None
    assert found.value == "young"


@given(st.lists(st.tuples(st.integers(0, 20), st.integers(0, 60)), max_size=60))
def test_neither_the_number_nor_the_size_is_ever_exceeded(puts: list[tuple[int, int]]) -> None:
    cache: FreshCache[str] = FreshCache(entries=5, size=100)
    for key, size in puts:
        kept(cache, str(key), size=size)
        assert len(cache) <= 5
        assert cache.size == sum(entry.size for entry in cache._entries.values()) <= 100
        assert all(entry.size <= 25 for entry in cache._entries.values())


def test_what_is_used_stays_and_what_is_not_makes_room() -> None:
    cache: FreshCache[str] = FreshCache(entries=2, size=99)
    kept(cache, "a")
    kept(cache, "b")
    cache.get("a", 1.0, START)
    kept(cache, "c")
    assert cache.get("a", 1.0, START) is not None
    assert cache.get("b", 1.0, START) is None
