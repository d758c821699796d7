"""Any JSON becomes typed arguments or one refusal that names every violation, in our words."""

from __future__ import annotations

from functools import cache
from typing import Annotated, Any

import jsonschema
import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import Field

from ccxt_mcp.errors import Code, Failure
from ccxt_mcp.tools.arguments import Arguments, Exchange, Since, Symbol, parse, schema
from ccxt_mcp.tools.boundary import failure_result, failure_text
from ccxt_mcp.tools.server import TOOLS

SECRET = "vmPUZE6mv9SD5VNHk4HlWFsOr6aKE2zvsw0MuIgwCIPy6utIco14y7Ju91duEh8A"


class Sample(Arguments):
    """One argument of each kind."""

    symbol: Symbol
    exchange: Exchange | None = None
    limit: Annotated[int, Field(ge=1, le=1000)] = 20
    names: Annotated[list[str], Field(max_length=3)] = []  # noqa: RUF012 - pydantic copies it
    flag: bool = False
    since: Since | None = None


def refused(arguments: Any) -> Failure:
    """The refusal of these arguments."""
    with pytest.raises(Failure) as caught:
        parse(Sample, "sample", arguments)
    assert caught.value.code is Code.INVALID_ARGUMENT
    return caught.value


def test_a_number_or_an_array_may_come_as_a_json_string() -> None:
    """Clients and models send `"5"` and `"[\\"a\\"]"`; both mean what they say."""
    typed = parse(Sample, "sample", {"symbol": "A/B", "limit": "5", "names": '["x", "y"]'})
    assert (typed.limit, typed.names) == (5, ["x", "y"])
    assert parse(Sample, "sample", {"symbol": "A/B", "limit": 7.0}).limit == 7


@pytest.mark.parametrize(
    ("sent", "names"),
    [
        ("BTC/USDT", ["BTC/USDT"]),
        ("BTC/USDT, ETH/USDT", ["BTC/USDT", "ETH/USDT"]),
        (" a ,, b, ", ["a", "b"]),
        ('"a"', ["a"]),
        ("1INCH", ["1INCH"]),
        ("5", ["5"]),
        ("", []),
    ],
)
def test_a_list_may_come_as_one_name_or_as_names_with_commas(sent: str, names: list[str]) -> None:
    """Forms of workflow engines have a text field; before, what was typed there was refused."""
    assert parse(Sample, "sample", {"symbol": "A/B", "names": sent}).names == names


def test_null_for_an_optional_argument_means_its_default() -> None:
    """Workflow engines send every parameter, with null for those not filled in."""
    typed = parse(Sample, "sample", {"symbol": "A/B", "limit": None, "exchange": None})
    assert typed == parse(Sample, "sample", {"symbol": "A/B"})


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({}, ["`symbol` is required"]),
        ({"symbol": None}, ["`symbol` must be a string, not null"]),
        ({"symbol": ""}, ["`symbol` must not be empty"]),
        ({"symbol": "x" * 65}, ["`symbol` must have at most 64 characters"]),
        ({"symbol": "A/B", "limit": 0}, ["`limit` must be from 1 to 1000, not 0"]),
        ({"symbol": "A/B", "limit": -1}, ["from 1 to 1000, not -1"]),
        ({"symbol": "A/B", "limit": 10**9}, ["not 1000000000"]),
        ({"symbol": "A/B", "limit": 10**400}, ["`limit` must be"]),
        ({"symbol": "A/B", "limit": True}, ["`limit` must be an integer, not true"]),
        ({"symbol": "A/B", "limit": 1.5}, ["`limit` must be an integer, not 1.5"]),
        ({"symbol": "A/B", "limit": "1.5"}, ["`limit` must be an integer, not 1.5"]),
        ({"symbol": "A/B", "limit": "five"}, ['`limit` must be an integer, not "five"']),
        ({"symbol": "A/B", "limit": [1]}, ["`limit` must be an integer, not an array"]),
        ({"symbol": "A/B", "flag": "true"}, ['`flag` must be true or false, not "true"']),
        ({"symbol": "A/B", "flag": 1}, ["`flag` must be true or false, not 1"]),
        ({"symbol": 5}, ["`symbol` must be a string, not 5"]),
        ({"symbol": {"a": 1}}, ["`symbol` must be a string, not an object"]),
        ({"symbol": "A/B", "names": "[x"}, ['`names` must be an array, not "[x"']),
        ({"symbol": "A/B", "names": '{"x": 1}'}, ["`names` must be an array, not"]),
        ({"symbol": "A/B", "names": "a,b,c,d"}, ["`names` must have at most 3 entries"]),
        ({"symbol": "A/B", "names": 5}, ["`names` must be an array, not 5"]),
        ({"symbol": "A/B", "names": ["a"] * 4}, ["`names` must have at most 3 entries"]),
        ({"symbol": "A/B", "names": [1]}, ["`names.0` must be a string, not 1"]),
        ({"symbol": "A/B", "symbl": "x"}, ["`symbl` is not an argument", "`symbol`?"]),
        ({"symbol": "A/B", "since": "yesterday"}, ["`since` must be a time", "ISO 8601"]),
        ({"symbol": "A/B", "since": -1}, ["`since` must be a time"]),
        ({"symbol": "A/B", "since": True}, ["`since` must be a time"]),
        ({"symbol": "A/B", "since": 1795000000}, ["`since`", "1795000000", "seconds by 1000"]),
        ({"symbol": "A/B", "since": "20260131"}, ["`since`", "ISO 8601", "before 1974"]),
        ({"limit": 0, "flag": 3, "x": 1}, ["`symbol`", "`limit`", "`flag`", "`x`"]),
        ([], ["`arguments` of sample must be an object, not an array"]),
        ("symbol", ["must be an object, not a string"]),
        (5, ["must be an object, not a number"]),
    ],
)
def test_every_violation_is_named_with_what_is_allowed(arguments: Any, words: list[str]) -> None:
    """Wrong type, out of range, missing, misspelt: one refusal names all of it."""
    failure = refused(arguments)
    for word in words:
        assert word in failure.message


@pytest.mark.parametrize(
    ("since", "millis"),
    [
        (1_700_000_000_000, 1_700_000_000_000),
        ("1700000000000", 1_700_000_000_000),
        ("2023-11-14T22:13:20Z", 1_700_000_000_000),
        ("2023-11-14T23:13:20+01:00", 1_700_000_000_000),
        ("2023-11-14 22:13:20", 1_700_000_000_000),
        ("2023-11-14", 1_699_920_000_000),
    ],
)
def test_a_time_is_iso_or_milliseconds(since: Any, millis: int) -> None:
    """Without a zone a time is UTC, whatever the server's clock is set to."""
    assert parse(Sample, "sample", {"symbol": "A/B", "since": since}).since == millis


@pytest.mark.parametrize(
    "arguments",
    [
        {"symbol": "A/B", "apiKey": SECRET},
        {"symbol": "A/B", "limit": SECRET},
        {"symbol": "A/B", SECRET: 1},
        {"symbol": "A/B", "exchange": {"secret": SECRET}},
        {"symbol": "A/B", "since": SECRET},
        {"symbol": [SECRET]},
        {"symbol": SECRET + SECRET},
    ],
)
def test_a_pasted_credential_is_never_repeated(arguments: dict[str, Any]) -> None:
    """Wherever a key was pasted, the refusal does not carry it on into logs and transcripts."""
    assert SECRET[:20] not in orjson.dumps(failure_result(refused(arguments))).decode()


def test_a_credential_argument_is_answered_with_where_credentials_belong() -> None:
    """Users of servers that take keys as arguments are told how it works here."""
    failure = refused({"symbol": "A/B", "apiKey": "x", "secret": "y"})
    assert "configured on the server" in failure.hint


def test_a_thousand_violations_make_a_short_text() -> None:
    """The first ones are named, the rest counted."""
    failure = refused({"symbol": "A/B", **{f"x{index}": 1 for index in range(1_000)}})
    assert "and 980 more" in failure.message
    assert len(failure.message) < 2_000


def test_long_and_unprintable_values_are_shortened() -> None:
    """A text stays one short line, whatever was sent."""
    text = failure_text(refused({"symbol": "A/B", "limit": "a b\n" * 500, "q\n" * 300: 1}))
    assert "\n" not in text
    assert len(text) < 600


@pytest.mark.parametrize("tool", TOOLS, ids=lambda tool: tool.name)
def test_the_schema_of_a_tool_is_plain_and_closed(tool: Any) -> None:
    """Flat properties with one type and a description each: what simple clients can render."""
    made = schema(tool.arguments)
    jsonschema.Draft202012Validator.check_schema(made)
    assert made["additionalProperties"] is False
    text = orjson.dumps(made).decode()
    assert "$ref" not in text
    assert "anyOf" not in text
    for spec in made["properties"].values():
        assert spec["type"] in ("string", "integer", "number", "boolean", "array", "object")
        assert spec["description"]


ANYTHING = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(), st.just(SECRET)),
    lambda inner: st.one_of(st.lists(inner), st.dictionaries(st.text(), inner)),
    max_leaves=5,
)


@cache
def arguments_of(model: type[Arguments]) -> st.SearchStrategy[Any]:
    """Made once: most of the time of a fuzz is otherwise spent on making it anew."""
    names = st.one_of(st.sampled_from([*model.model_fields, "apiKey"]), st.text())
    return st.one_of(ANYTHING, st.dictionaries(names, ANYTHING))


@pytest.mark.parametrize("tool", TOOLS, ids=lambda tool: tool.name)
@settings(deadline=None, max_examples=30)
@given(data=st.data())
def test_any_json_is_admitted_or_refused_in_words(tool: Any, data: st.DataObject) -> None:
    """Fuzz: never another exception; what is admitted has the declared types."""
    arguments = data.draw(arguments_of(tool.arguments))
    outcome: Any
    try:
        outcome = parse(tool.arguments, tool.name, arguments)
    except Failure as failure:
        outcome = failure
    if isinstance(outcome, Failure):
        assert outcome.code is Code.INVALID_ARGUMENT
        assert SECRET not in failure_text(outcome)
        assert "input_value" not in failure_text(outcome)
    else:
        assert isinstance(outcome, tool.arguments)
