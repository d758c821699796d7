"""Answers that must not be believed, and those that must."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from ccxt_mcp.exchanges.loading import load_class
from ccxt_mcp.exchanges.shapes import EMPTY, SHAPES, TEXTS
from ccxt_mcp.exchanges.truth import (
    NOTHING_DECLARED,
    Expected,
    Untrue,
    answers_of,
    check_answer,
    check_status,
    entry_of,
)


def parse(body: str) -> Any:
    """As CCXT does: objects and lists, from the first character on."""
    try:
        return json.loads(body) if body[:1] in ("{", "[") else None
    except ValueError:
        return None


def check(
    body: str, endpoint: str = "privateGetAccount", *, exchange: str = "binance", status: int = 200
) -> None:
    cls = load_class(exchange)
    name, _, asked = endpoint.partition(" type=")
    entry = entry_of(cls, name)
    params = {"type": asked} if asked else {}
    expected = answers_of(cls).expected(entry.path, entry.api, entry.method, params)
    check_answer(expected, entry.method, status, body, parse(body))


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ("", "the answer is empty"),
        ("<html>Down for maintenance</html>", "the answer is a web page, not JSON"),
        ('{"balances":[{"asset":"BTC"', "the answer is incomplete or foreign, not JSON"),
        ("ok", "the answer is incomplete or foreign, not JSON"),
        ('{"price":NaN}', "the answer is incomplete or foreign, not JSON"),
        (" {}", "the answer is JSON that CCXT cannot read"),
        ("17", "the answer is a number where an object or a list is due"),
        ('"maintenance"', "the answer is a text where an object or a list is due"),
        ("null", "the answer is null where an object or a list is due"),
    ],
)
def test_what_ccxt_cannot_read_is_refused_for_every_exchange(body: str, words: str) -> None:
    """Before: CCXT returned the text, and a balance read from it was an empty balance."""
    reading = None if "NaN" in body else parse(body)
    for expected in (None, NOTHING_DECLARED.expected("balance", ["private"], "GET", {})):
        with pytest.raises(Untrue, match=words):
            check_answer(expected, "GET", 200, body, reading)


@pytest.mark.parametrize("body", ['"c0ffee"', "true", "null", "17"])
def test_a_write_may_be_confirmed_by_a_single_value(body: str) -> None:
    """coinbaseexchange confirms a cancellation by the order's id as a JSON string."""
    check_answer(None, "DELETE", 200, body, None)
    check_answer(None, "POST", 200, body, None)
    with pytest.raises(Untrue, match="not JSON"):
        check_answer(None, "POST", 200, body[:-1] + "<", None)


@pytest.mark.parametrize(
    ("exchange", "endpoint", "body", "words"),
    [
        ("binance", "privateGetOpenOrders", "{}", "GET openOrders is an object where a list is"),
        ("binance", "privateGetOpenOrders", "[null]", r"has in '\[\]' null where an object is due"),
        ("binance", "privateGetOpenOrders", '[{"symbol":"A"}]', r"lacks '\[\].orderId'"),
        ("binance", "privateGetAccount", "{}", "the answer to GET account lacks 'balances'"),
        ("binance", "privateGetAccount", '{"balances":{}}', "has in 'balances' an object where a"),
        ("binance", "privateGetAccount", '{"balances":null}', "has in 'balances' null where a"),
        ("binance", "privateGetAccount", '{"balances":[1]}', r"in 'balances\[\]' a number where"),
        ("binance", "privateGetAccount", "[]", "GET account is a list where an object is due"),
        ("binance", "publicGetDepth", '{"bids":[]}', "lacks 'asks'"),
        ("binance", "publicGetDepth", '{"bids":[1],"asks":[]}', r"in 'bids\[\]' a number where a"),
        ("binance", "publicGetKlines", '{"code":0}', "is an object where a list is due"),
        ("binance", "publicGetTicker24hr", '{"price":"1"}', "lacks 'symbol'"),
        ("binance", "publicGetTicker24hr", '[{"symbol":"A"},{}]', r"lacks '\[\].symbol'"),
        ("binance", "fapiPrivateV3GetPositionRisk", "{}", "positionRisk is an object where a list"),
        ("binanceus", "privateGetOpenOrders", "{}", "is an object where a list is due"),
        ("kraken", "privatePostOpenOrders", '{"error":[],"result":{}}', "lacks 'result.open'"),
        ("kraken", "privatePostOpenOrders", '{"error":[]}', "lacks 'result'"),
        (
            "kraken",
            "privatePostOpenOrders",
            '{"error":[],"result":{"open":{"OABC":1}}}',
            r"has in 'result.open.\*' a number where an object is due$",
        ),
        ("kraken", "publicGetTicker", '{"error":[],"result":{}}', "has nothing in 'result'"),
        ("kraken", "privatePostBalanceEx", '{"error":[],"result":[]}', "'result' a list where an"),
        ("okx", "privateGetAccountBalance", '{"code":"0","data":[]}', "has nothing in 'data'"),
        ("okx", "privateGetTradeOrdersPending", '{"code":"0","data":{}}', "'data' an object where"),
        ("bybit", "privateGetV5OrderRealtime", '{"retCode":0,"result":{}}', "lacks 'result.list'"),
        ("bybiteu", "privateGetV5OrderRealtime", '{"retCode":0}', "lacks 'result'"),
        ("gate", "privateSpotGetOpenOrders", '[{"total":1}]', r"lacks '\[\].orders'"),
        (
            "bitget",
            "privateMixGetV2MixOrderOrdersPending",
            '{"code":"00000","data":[]}',
            "has in 'data' a list where an object is due",
        ),
        ("htx", "spotPublicGetMarketDepth", '{"status":"ok","tick":{}}', "lacks 'tick.bids'"),
        (
            "coinbase",
            "v3PrivateGetBrokerageOrdersHistoricalOrderId",
            "{}",
            "to GET brokerage/orders/historical/{order_id} lacks 'order'",
        ),
        ("hyperliquid", "publicPostInfo type=openOrders", "{}", "POST info type=openOrders is an"),
        ("hyperliquid", "publicPostInfo type=clearinghouseState", "[]", "is a list where an o"),
    ],
)  # fmt: skip
def test_a_container_of_the_wrong_shape_is_refused(
    exchange: str, endpoint: str, body: str, words: str
) -> None:
    """Before: `{}` for open orders was read as "no open orders", on each of these."""
    with pytest.raises(Untrue, match=words):
        check(body, endpoint, exchange=exchange)


@pytest.mark.parametrize(
    ("exchange", "endpoint", "body"),
    [
        ("binance", "privateGetOpenOrders", "[]"),
        ("binance", "privateGetAccount", '{"balances":[],"uid":null}'),
        ("binance", "publicGetDepth", '{"bids":[],"asks":[]}'),
        ("binance", "publicGetTicker24hr", '{"symbol":"BTCUSDT","lastPrice":null}'),
        ("binance", "sapiGetAssetTradeFee", "{}"),
        ("kraken", "privatePostOpenOrders", '{"error":[],"result":{"open":{}}}'),
        ("kraken", "privatePostBalanceEx", '{"error":[],"result":{}}'),
        ("kraken", "publicGetOHLC", '{"error":[],"result":{"XXBTZUSD":[],"last":0}}'),
        ("okx", "privateGetAccountBalance", '{"code":"0","data":[{"details":[]}],"msg":""}'),
        ("bybit", "privateGetV5OrderRealtime", '{"retCode":0,"result":{"list":[]}}'),
        ("kucoin", "privateGetHfOrdersActive", '{"code":"200000","data":null}'),
        ("kucoin", "privateGetHfOrdersActive", '{"code":"200000","data":[{"id":"1"}]}'),
        ("kucoin", "privateGetHfOrdersActive", '{"code":"200000","data":{"items":[]}}'),
        (
            "bitget",
            "privateMixGetV2MixOrderOrdersPending",
            '{"code":"00000","data":{"entrustedList":null,"endId":null}}',
        ),
        ("hyperliquid", "publicPostInfo type=perpDexs", "[null]"),
        ("hyperliquid", "publicPostInfo type=somethingNew", "{}"),
    ],
)
def test_legitimately_empty_answers_and_null_fields_pass(
    exchange: str, endpoint: str, body: str
) -> None:
    check(body, endpoint, exchange=exchange)


def leanest(shape: Any) -> Any:
    """The least answer that fits a shape."""
    if isinstance(shape, dict):
        out = {key: leanest(each) for key, each in shape.items() if key[-1] not in "*+?"}
        return {**out, "some": leanest(shape["+"])} if "+" in shape else out
    if isinstance(shape, list):
        return [leanest(shape[0])] if len(shape) > 1 else []
    if isinstance(shape, tuple):
        return leanest(shape[0])
    return None if shape in (None, object) else shape()


def fuller(shape: Any) -> Any:
    """An answer that fits, with a row in every list."""
    if isinstance(shape, dict):
        names = {key: "some" if key in ("*", "+") else key.rstrip("?") for key in shape}
        return {names[key]: fuller(each) for key, each in shape.items()}
    if isinstance(shape, list):
        return [fuller(shape[0])] if shape else []
    if isinstance(shape, tuple):
        return fuller(shape[-1])
    return None if shape in (None, object) else shape()


def wrong(shape: Any) -> Iterator[Any]:
    """Answers that break a shape at one place each, wherever it says something."""
    if isinstance(shape, dict):
        yield []
        whole = fuller(shape)
        for key, inner in shape.items():
            name = "some" if key in ("*", "+") else key.rstrip("?")
            yield from ({**whole, name: each} for each in wrong(inner))
            if key[-1] not in "*?":
                yield {k: v for k, v in whole.items() if k != name}
    elif isinstance(shape, list):
        yield {}
        yield from ([each] for each in (wrong(shape[0]) if shape else ()))
        if len(shape) > 1:
            yield []
    elif isinstance(shape, tuple):
        yield "neither"
    elif shape is not object:
        yield 1 if shape is str else "x"


def fits(shape: Any, answer: Any) -> bool:
    try:
        check_answer(Expected("x", shape), "GET", 200, json.dumps(answer), answer)
    except Untrue:
        return False
    return True


@pytest.mark.parametrize("exchange", SHAPES)
def test_each_row_tells_right_from_wrong(exchange: str) -> None:
    """The leanest and a full answer pass; with a list for an object, a field less, or the like, at
    any place that the row speaks of, they do not."""
    for endpoint, shape in SHAPES[exchange].items():
        assert fits(shape, leanest(shape)), endpoint
        assert fits(shape, fuller(shape)), endpoint
        for answer in wrong(shape):
            assert not fits(shape, answer), (endpoint, answer)


@pytest.mark.parametrize("exchange", sorted({*SHAPES, *TEXTS, *EMPTY}))
def test_every_endpoint_in_the_table_is_one_of_ccxts(exchange: str) -> None:
    declared = answers_of(load_class(exchange))
    named = {*SHAPES.get(exchange, ()), *TEXTS.get(exchange, ()), *EMPTY.get(exchange, ())}
    assert len(declared.rows) == len(named - {"*"})


@pytest.mark.parametrize("exchange", TEXTS)
def test_declared_texts_pass(exchange: str) -> None:
    """Before: gemini's currencies, read out of a web page, were asked for ten times in vain."""
    for endpoint in TEXTS[exchange]:
        if endpoint == "*":
            check(' {"result":true}', "publicGetTicker", exchange=exchange)
        else:
            for body in ("", "<html>", "pong", "17"):
                check(body, endpoint, exchange=exchange)


@pytest.mark.parametrize("exchange", EMPTY)
def test_a_body_may_be_missing_where_that_is_declared_but_not_be_foreign(exchange: str) -> None:
    """bitget says nothing at all of the candles of a market that was just listed."""
    for endpoint in EMPTY[exchange]:
        check("", endpoint, exchange=exchange)
        for body in ("<html>", '{"code":"00000","data":[['):
            with pytest.raises(Untrue, match="not JSON"):
                check(body, endpoint, exchange=exchange)
    with pytest.raises(Untrue, match="not JSON"):
        check("<html>", "publicSpotGetV2SpotMarketTickers", exchange="bitget")


def test_an_exchange_with_a_text_is_held_to_json_elsewhere() -> None:
    with pytest.raises(Untrue, match="a web page"):
        check("<html>", "publicGetV1Symbols", exchange="gemini")


def test_no_content_needs_no_body() -> None:
    check("", status=204)


def test_errors_are_left_to_ccxt_to_classify() -> None:
    check("<html>", status=503)
    check_status(503)


def test_a_redirect_is_refused() -> None:
    with pytest.raises(Untrue, match="redirects elsewhere"):
        check_status(302)


def test_a_class_of_which_an_instance_was_made_elsewhere_keeps_its_declarations() -> None:
    """CCXT's constructor replaces the descriptors of its endpoints by functions on the class: a
    program that had made an instance of its own could not use this package any more."""
    cls = type("binance", (load_class("binance"),), {})
    before = answers_of(cls)
    cls({})
    for name in ("privateGetAccount", "privateGetOpenOrders"):
        setattr(cls, name, getattr(cls, name))
    assert answers_of(cls) == before
