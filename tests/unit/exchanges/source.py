"""Reading CCXT's own source, for tests that recompute our tables from it."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import ccxt.async_support

from ccxt_mcp.exchanges.catalog import catalog

FOLDER = Path(ccxt.async_support.__file__).parent


@cache
def methods(exchange: str) -> dict[str, ast.AST]:
    """The methods that an exchange's own class defines, by name; its bases' are not among them."""
    tree = ast.parse((FOLDER / f"{exchange}.py").read_text("utf-8"))
    found = next(
        node for node in tree.body if isinstance(node, ast.ClassDef) and node.name == exchange
    )
    return {
        node.name: node
        for node in found.body
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef))
    }


@cache
def lineage(exchange: str) -> tuple[str, ...]:
    """The exchange and the exchanges whose classes it extends."""
    cls = getattr(ccxt.async_support, exchange)
    return tuple(c.__name__ for c in cls.__mro__ if c.__name__ in catalog().exchanges)


def inherited(exchange: str, method: str) -> ast.AST | None:
    """The definition of a method that an instance of the exchange would use."""
    return next((m[method] for name in lineage(exchange) if method in (m := methods(name))), None)


def calls(node: ast.AST, method: str) -> bool:
    """Whether a piece of code calls ``self.<method>()``."""
    return any(
        isinstance(each, ast.Call)
        and isinstance(each.func, ast.Attribute)
        and each.func.attr == method
        and isinstance(each.func.value, ast.Name)
        and each.func.value.id == "self"
        for each in ast.walk(node)
    )


def callers(exchange: str, method: str) -> set[str]:
    """Names of the methods, own and inherited, that call ``self.<method>()``."""
    return {
        name
        for each in reversed(lineage(exchange))
        for name, node in methods(each).items()
        if calls(node, method)
    }


def texts(node: ast.AST) -> set[str]:
    """Every string in a piece of code."""
    return {
        each.value
        for each in ast.walk(node)
        if isinstance(each, ast.Constant) and isinstance(each.value, str)
    }


def written(node: ast.AST, of: str) -> Iterator[str]:
    """Keys that a piece of code sets: ``self.<of>['key'] = …``."""
    for each in ast.walk(node):
        if not isinstance(each, ast.Assign):
            continue
        for target in each.targets:
            if (
                isinstance(target, ast.Subscript)
                and isinstance(target.value, ast.Attribute)
                and target.value.attr == of
                and isinstance(target.slice, ast.Constant)
                and isinstance(target.slice.value, str)
            ):
                yield target.slice.value
