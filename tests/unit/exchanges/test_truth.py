"""Answers that must not be believed, and those that must."""

from __future__ import annotations

import json

import pytest

from ccxt_mcp.exchanges.truth import Untrue, check_answer, check_result, check_status

API = "https://api.binance.com/api/v3"


def check(
    body: str, path: str = "account", *, exchange: str = "binance", status: int = 200
) -> None:
    try:
        parsed = json.loads(body) if body[:1] in ("{", "[") else None
    except ValueError:
        parsed = None
    check_answer(exchange, "GET", f"{API}/{path}?timestamp=1", status, body, parsed)


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ("", "the answer is empty"),
        ("<html>Down for maintenance</html>", "the answer is a web page, not JSON"),
        ('{"balances":[{"asset":"BTC"', "the answer is incomplete or foreign, not JSON"),
        ("ok", "the answer is incomplete or foreign, not JSON"),
    ],
)
def test_what_is_not_json_is_refused_for_every_exchange(body: str, words: str) -> None:
    """Before: CCXT returned the text, and a balance read from it was an empty balance."""
    with pytest.raises(Untrue, match=words):
        check(body, exchange="kraken")


@pytest.mark.parametrize(
    ("path", "body", "words"),
    [
        (
            "openOrders",
            "{}",
            "the answer to GET api/v3/openOrders is an object where a list is due",
        ),
        ("account", "{}", "the answer to GET api/v3/account lacks 'balances'"),
        ("account", '{"balances":{}}', "'balances' to GET api/v3/account is an object"),
        ("account", '{"balances":null}', "'balances' to GET api/v3/account is null"),
        ("account", "[]", "the answer to GET api/v3/account is a list where an object is due"),
        ("depth", '{"bids":[]}', "lacks 'asks'"),
        ("klines", '{"code":0}', "is an object where a list is due"),
        ("ticker/24hr", '{"price":"1"}', "lacks 'symbol'"),
        ("ticker/24hr", '[{"symbol":"A"},{}]', "lacks 'symbol'"),
        ("ticker/24hr", "7", "is null where an object is due"),
    ],
)
def test_a_container_of_the_wrong_shape_is_refused(path: str, body: str, words: str) -> None:
    """Before: `{}` for open orders was read as "no open orders"."""
    with pytest.raises(Untrue, match=words):
        check(body, path)


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("openOrders", "[]"),
        ("account", '{"balances":[],"uid":null}'),
        ("depth", '{"bids":[],"asks":[]}'),
        ("ticker/24hr", '{"symbol":"BTCUSDT","lastPrice":null}'),
        ("somethingNew", "{}"),
        ("somethingNew", "17"),
        ("somethingNew", '"text"'),
    ],
)
def test_legitimately_empty_answers_and_null_fields_pass(path: str, body: str) -> None:
    check(body, path)


def test_no_content_needs_no_body() -> None:
    check("", status=204)


def test_errors_are_left_to_ccxt_to_classify() -> None:
    check("<html>", status=503)
    check_status(503)


def test_a_redirect_is_refused() -> None:
    with pytest.raises(Untrue, match="redirects elsewhere"):
        check_status(302)


def test_a_result_that_says_nothing_is_refused() -> None:
    with pytest.raises(Untrue):
        check_result(None)
    check_result([])
