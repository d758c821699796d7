"""Ten exchanges' answers: CCXT's own classes, our checks, leases and projections, over HTTP."""

from __future__ import annotations

import json
import re
from collections.abc import AsyncIterator, Callable
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import pytest_asyncio
from mcp.client import Client

from ccxt_mcp.errors import Code, Failure
from ccxt_mcp.exchanges.catalog import snake_case
from ccxt_mcp.tools.boundary import FAILURE_META
from ccxt_mcp.tools.server import TOOLS
from tests.recorded.asking import METHODS, NOT_ASKED, PUBLIC, TOOL, answered, method_of
from tests.recorded.page import table
from tests.recorded.replay import Answer
from tests.recorded.tape import EXCHANGES, Call, Tape, tape_of
from tests.recorded.world import Recorded, recorded

PAGE = Path(__file__).parents[2] / "docs" / "EXCHANGES.md"
on_one_loop = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module", params=EXCHANGES)
async def world(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Recorded]:
    """A server over an exchange's recorded answers, its markets loaded once for all tests."""
    tape = tape_of(request.param)
    async with recorded(tape, tmp_path_factory.mktemp(tape.exchange)) as made:
        async with made.gateway.public(tape.exchange):
            """Market tables."""
        yield made


_PLAIN = re.compile(r"-?[0-9]+([.][0-9]+)?")


def _agree(shown: Any, raw: Any) -> bool:
    """Whether a value is the exchange's own: of numbers the value, of other texts every sign."""
    if isinstance(shown, float):
        return shown == float(raw)
    try:
        number = Decimal(str(raw))
    except InvalidOperation:
        return str(shown) == str(raw)
    return Decimal(str(shown)) == number


def _differences(name: str, call: Call, tape: Tape, method: str, rows: Any) -> list[str]:
    shown = answered(method, call.says, tape.raw, rows)
    found = []
    for place, where in call.says.items():
        try:
            value = shown(place)
        except (LookupError, StopIteration):
            found.append(f"{name}: nothing at {place}")
            continue
        if not _agree(value, tape.raw(where)):
            found.append(f"{name}: {place} is {value!r}, {where} {tape.raw(where)!r}")
    return found


async def _fetched(world: Recorded, method: str, call: Call) -> Any:
    name = world.tape.exchange
    if method in PUBLIC:
        leasing = world.gateway.public(name)
    else:
        leasing = world.gateway.private(world.accounts.all()[0])
    async with leasing as lease:
        return await lease.call(snake_case(method), *call.args, params=call.params)


@on_one_loop
async def test_every_recorded_answer_passes_the_checks_and_says_what_it_said(
    world: Recorded,
) -> None:
    """An answer of the exchange's own documentation that our checks refuse is an exchange that
    nobody can use; a value that comes through changed is a wrong price or amount."""
    tape, found = world.tape, []
    for method, call in tape.calls.items():
        try:
            result = await _fetched(world, method, call)
        except Failure as failure:
            found.append(f"{method}: {failure.code} {failure.message}")
            continue
        found += _differences(method, call, tape, method, result)
    assert found == []
    assert world.replay.unexpected == []
    assert set(world.replay.served) == {answer.name for answer in tape.answers}


_SAYS_WHICH = {
    *("symbol", "symbols", "instId", "pair", "currency_pair", "contract", "contract_code"),
    *("product_id", "product_ids", "coin", "orderId", "ordId", "txid", "oid"),
}
"""Fields of requests by which exchanges know what is meant."""


@on_one_loop
async def test_no_recorded_answer_is_given_about_another_market_or_order(world: Recorded) -> None:
    """Else Bitcoin's price is replayed for a question about another coin, and CCXT, which puts the
    symbol asked for on what comes, makes it look like a row under the wrong name."""
    for method, call in world.tape.calls.items():
        await _fetched(world, method, call)
    held = {answer.name: {*answer.asks, *answer.about} for answer in world.tape.answers}
    asked = zip(world.replay.served, world.replay.asked, strict=True)
    loose = {(name, key) for name, fields in asked for key in _SAYS_WHICH & {*fields} - held[name]}
    assert loose == set()


@on_one_loop
async def test_every_tool_shows_the_recorded_values(world: Recorded) -> None:
    """Through the SDK's client: schema, projection and text of each tool that has a recording."""
    tape, found, shown = world.tape, [], set()
    exchange = tape.exchange
    async with Client(world.server) as client:
        for tool in TOOLS:
            asked = TOOL.get(tool.name)
            method = None if asked is None else method_of(exchange, asked.question)
            call = None if method is None else tape.calls.get(method)
            if asked is None or method is None or call is None:
                continue
            outcome: Any = await client.call_tool(
                tool.name, asked.arguments(exchange, tool.name, call)
            )
            if outcome.is_error:
                found.append(f"{tool.name}: {outcome.content[0].text}")
                continue
            data = outcome.structured_content
            wrong = jsonschema.Draft202012Validator(tool.output).iter_errors(data)
            found += [f"{tool.name}: {each.json_path}: {each.message}" for each in wrong]
            if json.loads(outcome.content[0].text) != data:
                found.append(f"{tool.name}: its text says something else than its structure")
            found += [f"{tool.name}: {each}" for each in data.get("failed", ())]
            rows = data[asked.rows] if asked.rows else data
            found += _differences(tool.name, call, tape, method, rows)
            if tool.name not in _OF_THE_MARKET:
                found += [f"{tool.name}: {text}" for text in _inexact(rows)]
            shown.add(tool.name)
    # Outside of the client's context, which would wrap a failure in groups without its words.
    assert (found, world.replay.unexpected) == ([], [])
    assert shown >= _OF_THE_MARKET - {"get_trades", "get_funding_rates", "batch_get_tickers"}


_OF_THE_MARKET = {
    *("get_ticker", "batch_get_tickers", "get_orderbook", "get_ohlcv", "get_trades"),
    "get_funding_rates",
}
_AMOUNTS = {"amount", "filled", "price", "average", "cost", "free", "used", "total", "debt"}


def _inexact(value: Any) -> list[str]:
    """Amounts of an account's that are no exact decimal text."""
    if isinstance(value, list):
        return [text for each in value for text in _inexact(each)]
    if not isinstance(value, dict):
        return []
    return [
        f"{key} is {each!r}"
        for key, each in value.items()
        if key in _AMOUNTS and not (isinstance(each, str) and _PLAIN.fullmatch(each))
    ]


@on_one_loop
async def test_every_market_is_one_that_the_exchange_listed(world: Recorded) -> None:
    """Each has the exchange's own name, as in the recorded answers, and its currencies."""
    tape, exchange = world.tape, world.tape.exchange
    texts = json.dumps([answer.body for answer in tape.answers]).casefold()
    async with Client(world.server) as client:
        outcome: Any = await client.call_tool("get_markets", {"limit": 200, "active": False})
        async with world.gateway.public(exchange) as lease:
            listed = lease.markets()
        markets = outcome.structured_content["markets"]
        assert {market["symbol"] for market in markets} == set(listed)
        for market in markets:
            # Hyperliquid's own names are places in a list.
            name = market["id"] if exchange != "hyperliquid" else market["base"]
            assert f'"{name}"'.casefold() in texts, market["symbol"]


def _truncated(answer: Answer) -> str:
    text = json.dumps(answer.body)
    return text[: len(text) * 2 // 3]


def _other_kind(answer: Answer) -> str:
    return "[]" if isinstance(answer.body, dict) else "{}"


def _hollow(answer: Answer) -> str:
    """The envelope with another kind of content, or with none where it has only one."""
    if not isinstance(answer.body, dict):
        return "[null]"
    other = {
        key: ({} if isinstance(value, list) else [] if isinstance(value, dict) else value)
        for key, value in answer.body.items()
    }
    return json.dumps(other if other != answer.body else {})


WRONG: dict[str, Callable[[Answer], str]] = {
    "truncated": _truncated,
    "of another kind": _other_kind,
    "hollow": _hollow,
}


@on_one_loop
async def test_a_malformed_variant_of_each_answer_is_a_bad_response(world: Recorded) -> None:
    """Cut off, a list for an object, an envelope with the wrong content: none may be read as "no
    orders" or "no balance"."""
    tape, found = world.tape, []
    whole = world.replay.spoil
    for method, call in tape.calls.items():
        sources = {where.partition(":")[0] for where in call.says.values()}
        for kind, spoil in WRONG.items():
            world.replay.spoil = _spoiling(spoil, sources)
            try:
                result = await _fetched(world, method, call)
            except Failure as failure:
                # Without the field that says "success", CCXT itself calls some envelopes an error.
                own = failure.code is Code.EXCHANGE_ERROR and kind == "of another kind"
                if failure.code is not Code.BAD_RESPONSE and not own:
                    found.append(f"{method} {kind}: {failure.code} {failure.message}")
            else:
                found.append(f"{method} {kind}: {str(result)[:60]}")
            finally:
                world.replay.spoil = whole
    assert found == []


def _spoiling(spoil: Callable[[Answer], str], names: set[str]) -> Callable[[Answer], str]:
    return lambda answer: spoil(answer) if answer.name in names else json.dumps(answer.body)


@on_one_loop
async def test_a_tool_says_bad_response_for_a_truncated_answer(world: Recorded) -> None:
    """The same as clients see it."""
    whole = world.replay.spoil
    world.replay.spoil = _truncated
    try:
        async with Client(world.server) as client:
            symbol = world.tape.calls["fetchOrderBook"].args[0]
            arguments = {"symbol": symbol, "maxAgeMs": 0}
            outcome: Any = await client.call_tool("get_orderbook", arguments)
    finally:
        world.replay.spoil = whole
    assert outcome.is_error
    assert outcome.meta[FAILURE_META]["code"] == "bad_response"


def test_every_tool_and_every_question_is_recorded_or_named_as_missing() -> None:
    """Nothing is left out in silence: neither a tool, nor a method of an exchange."""
    unnamed = {tool.name for tool in TOOLS} - TOOL.keys() - NOT_ASKED.keys()
    assert unnamed == set(), "add it to TOOL or NOT_ASKED in tests/recorded/asking.py"
    found = []
    for exchange in EXCHANGES:
        tape = tape_of(exchange)
        offered = {method_of(exchange, question) for question in METHODS} - {None}
        recorded_ones, missing = {*tape.calls}, {*tape.missing}
        wrong: dict[str, set[Any]] = {
            "neither recorded nor missing": offered - recorded_ones - missing,
            "not asked": (recorded_ones | missing) - offered,
            "recorded and missing": recorded_ones & missing,
            "says nothing": {name for name, call in tape.calls.items() if not call.says},
        }
        found += [f"{exchange} {each}: {why}" for why, which in wrong.items() for each in which]
    assert found == []


def test_the_page_says_what_is_recorded() -> None:
    """docs/EXCHANGES.md, renewed by ``python -m tests.recorded.page``."""
    assert "\n".join(table()) in PAGE.read_text("utf-8")
