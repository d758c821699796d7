"""The stream that tables travel in: what JSON cannot say, what is damaged, what is collected."""

from __future__ import annotations

import gc
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ccxt_mcp.exchanges.ingestion import Ingestion, Unreadable
from ccxt_mcp.exchanges.snapshots import END, HEAD, TABLE, Unsendable, fills, frame, write
from ccxt_mcp.exchanges.tables import Tables
from tests.unit.exchanges.test_tables import carried, frames

SCALARS = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False)
    | st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.tuples(inner, inner)
        | st.dictionaries(st.text(max_size=4) | st.integers(), inner, max_size=4)
    ),
    max_leaves=12,
)


def tables(**attributes: Any) -> Tables:
    return Tables(attributes, {}, (), 1.0, "test", 1)


def typed(value: Any) -> Any:
    """A value with the types of all its parts: 1 is not 1.0 and not True."""
    if isinstance(value, dict):
        return [(typed(key), typed(each)) for key, each in value.items()]
    if isinstance(value, (list, tuple)):
        return type(value), [typed(each) for each in value]
    return type(value), repr(value)


@given(st.dictionaries(st.sampled_from(["a", "markets", "symbols", "currencies"]), VALUES))
def test_plain_data_arrives_as_it_was(attributes: dict[str, Any]) -> None:
    made = carried(tables(**attributes)).attributes
    assert made.keys() == attributes.keys()
    for name, value in attributes.items():
        assert typed(made[name]) == typed(value)


def test_one_object_arrives_as_one() -> None:
    market = {"symbol": "A/B", "id": "ab", "info": {"x": [1]}}
    made = carried(
        tables(
            markets_by_id={"ab": [market, {**market, "info": {"x": [2]}}]},
            other={"deep": [{"er": market}]},
            markets={"A/B": market},
            symbols=["A/B"],
        )
    ).attributes
    market = made["markets"]["A/B"]
    assert made["markets_by_id"]["ab"][0] is market
    assert made["other"]["deep"][0]["er"] is market
    # Another market under the same symbol stays another one.
    assert made["markets_by_id"]["ab"][1]["info"] == {"x": [2]}
    assert made["symbols"][0] is next(iter(made["markets"]))


def test_the_raw_market_is_replaced_only_by_one_that_fills_it_in() -> None:
    assert fills({"a": None, "b": {"c": 1}}, {"a": 5, "b": {"c": 1, "d": 2}, "e": 0})
    assert not fills({"a": 1}, {"a": 2})
    assert not fills({"a": 1}, {})
    assert not fills({"a": 1}, {"a": True})
    assert not fills({"a": [None]}, {"a": [1]})


@pytest.mark.parametrize("value", [object(), {1, 2}, b"x", {"a": {"b": object()}}])
def test_what_is_no_plain_data_is_named(value: Any) -> None:
    with pytest.raises(Unsendable, match=r"^attributes\.odd.* holds a value of the type "):
        list(write(tables(odd={"key": value}), "f"))


def test_slices_are_small() -> None:
    markets = {f"S{n}/B": {"symbol": f"S{n}/B", "info": {"x": "y" * 500}} for n in range(2000)}
    sizes = [len(body) for _, body in frames(tables(markets=markets))]
    assert max(sizes) < 100_000
    assert len(sizes) > 10


def test_the_collector_never_walks_tables() -> None:
    """Before: each exchange of 3,600 markets added 20 ms to every full collection."""
    markets = {f"S{n}/B": {"symbol": f"S{n}/B", "info": {"x": [{"y": [n]}]}} for n in range(100)}
    made = carried(tables(markets=markets, by={"S1": [markets["S1/B"]]})).attributes
    market = made["markets"]["S1/B"]
    inner = (market, market["info"], market["info"]["x"], market["info"]["x"][0]["y"])
    assert not any(map(gc.is_tracked, inner))
    assert made["by"]["S1"][0] is market
    # Still an ordinary dict, for whoever should change it against the rule.
    market["new"] = [1]
    assert market["info"]["x"][0]["y"] == [1]


def test_a_text_that_occurs_often_is_one_object() -> None:
    """Before: a quarter of a table's memory was texts such as TRADING and 0.01000000, by the
    thousand."""
    markets = {f"S{n}/B": {"symbol": f"S{n}/B", "info": {"x": ["0.01" + "0" * 6]}} for n in (1, 2)}
    made = carried(tables(markets=markets, symbols=sorted(markets))).attributes
    one, two = made["markets"].values()
    assert one["info"]["x"][0] is two["info"]["x"][0]
    assert one["symbol"] is made["symbols"][0]


def feed(*given: tuple[bytes, Any]) -> Ingestion:
    ingestion = Ingestion("f", "test")
    for kind, body in given:
        ingestion.feed(kind, body if isinstance(body, bytes) else orjson.dumps(body))
    return ingestion


def test_a_stream_that_is_not_whole_is_refused() -> None:
    whole = list(frames(tables(markets={"A/B": {"symbol": "A/B"}}, symbols=["A/B"])))
    assert feed(*whole).tables is not None
    assert feed(*whole[:-1]).tables is None
    for damaged in (
        [whole[0], *whole[2:]],
        [whole[0], whole[0], *whole[1:]],
        whole[1:],
        [*whole, whole[-1]],
        [whole[0], (TABLE, whole[1][1].replace(b"A/B", b"A/C")), *whole[2:]],
        [whole[0], (TABLE, whole[1][1][:-3]), *whole[2:]],
        [whole[0], (TABLE, {"at": ["elsewhere", "x"], "kind": "value"}), *whole[2:]],
        [*whole[:-1], (END, {})],
        [*whole[:-1], (b"?", {})],
    ):
        with pytest.raises(Unreadable):
            feed(*damaged)


def test_another_exchanges_stream_is_refused() -> None:
    with pytest.raises(Unreadable, match="for something else"):
        feed((HEAD, frame(HEAD, {"format": 1, "fingerprint": "g", "fetchedAt": 1})[5:]))
    with pytest.raises(Unreadable, match="for something else"):
        feed((HEAD, {"format": 0, "fingerprint": "f", "fetchedAt": 1}))


def test_a_passing_option_is_not_carried() -> None:
    """A clock offset of an earlier run would be wrong, and somebody else's to know."""
    given = Tables({}, {"timeDifference": 5, "kept": 1}, ("gone",), 1.0, "test", 1)
    made = carried(given)
    assert (made.options, made.gone) == ({"kept": 1}, ("gone",))
