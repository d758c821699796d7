"""What other tests are told about CCXT's source is what is in it."""

from __future__ import annotations

import ast
import inspect

import ccxt.async_support
import pytest

from ccxt_mcp.exchanges.catalog import catalog
from tests.unit.exchanges.source import FOLDER, methods, parsed, says


def test_methods_are_those_of_the_class() -> None:
    """All that come from the file; where our own hardening stands in one's place, its name."""
    for exchange in catalog().exchanges:
        cls = getattr(ccxt.async_support, exchange)
        file = str(FOLDER / f"{exchange}.py")
        own = {name: each for name, each in vars(cls).items() if inspect.isfunction(each)}
        from_file = {each.__name__ for each in own.values() if each.__code__.co_filename == file}
        assert from_file <= methods(exchange).keys() <= own.keys(), exchange


@pytest.mark.parametrize("exchange", ["hibachi", "kraken"])
def test_a_method_is_the_whole_of_it_and_nothing_else(exchange: str) -> None:
    tree = ast.parse((FOLDER / f"{exchange}.py").read_text("utf-8"))
    whole = next(node for node in tree.body if isinstance(node, ast.ClassDef))
    expected = {
        node.name: ast.dump(node)
        for node in whole.body
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef))
    }
    parts = methods(exchange).items()
    found = {
        name: "".join(map(ast.dump, ast.iter_child_nodes(parsed(code)))) for name, code in parts
    }
    assert found == expected


def test_a_string_is_not_a_name_or_a_part() -> None:
    assert says("    a = 'word'", "word")
    assert not says("    word = 'words'", "word")
