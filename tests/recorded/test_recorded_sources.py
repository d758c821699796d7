"""Where recorded answers come from: each says it in words that can be looked up."""

from __future__ import annotations

import importlib
import inspect
import re
from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import pytest

from tests.recorded.page import kind_of
from tests.recorded.tape import EXCHANGES, FOLDER, tape_of


@pytest.mark.parametrize("exchange", EXCHANGES)
def test_every_recorded_answer_names_its_source_and_is_small(exchange: str) -> None:
    """CCXT's repository at a commit, a comment of a version of CCXT's, or an example that stands
    in the exchange's own documentation: nothing "written after" one, which nobody can look up."""
    tape = tape_of(exchange)
    assert set(tape.source_of.values()) == set(tape.sources)
    for text in tape.sources.values():
        assert kind_of(text)
    assert (FOLDER / f"{exchange}.json").stat().st_size < 40_000


_NUMBER = re.compile(r"-?[0-9]+(?:[.][0-9]+)?(?:[eE][+-]?[0-9]+)?")


def _leaves(value: Any) -> Iterator[str]:
    if isinstance(value, (dict, list)):
        for each in value.values() if isinstance(value, dict) else value:
            yield from _leaves(each)
    elif value is not None and not isinstance(value, bool):
        yield str(value)


def _comments(exchange: str, method: str) -> str:
    module = importlib.import_module(f"ccxt.async_support.{exchange}")
    source = inspect.getsource(getattr(getattr(module, exchange), method))
    return "\n".join(line for line in source.splitlines() if line.strip().startswith("#"))


@pytest.mark.parametrize("exchange", EXCHANGES)
def test_an_answer_said_to_be_quoted_stands_in_the_comments_that_it_names(exchange: str) -> None:
    """Else a sample from memory passes for CCXT's. What says that it was adapted is excused."""
    tape, found = tape_of(exchange), []
    for answer in tape.answers:
        text = tape.sources[tape.source_of[answer.name]]
        if kind_of(text) != "comment" or "; adapted: " in text:
            continue
        method = text.partition("in the comments of ")[2].split(" ")[0].rstrip(";")
        comments = _comments(exchange, method)
        numbers = {Decimal(each) for each in _NUMBER.findall(comments)}
        found += [
            f"{answer.name}: {leaf}"
            for leaf in _leaves(answer.body)
            if leaf not in comments and not (_NUMBER.fullmatch(leaf) and Decimal(leaf) in numbers)
        ]
    assert found == []
