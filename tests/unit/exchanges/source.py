"""Reading CCXT's own source, for tests that recompute our tables from it.

Owns: a method as text, and answers about it from its syntax. Refuses: keeping trees. Those of all
104 classes take twelve seconds to make and 400 MB to keep, for every process of tests and each of
its garbage collections; so only what has the words in it at all is parsed.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from functools import cache
from itertools import pairwise
from pathlib import Path

import ccxt.async_support

from ccxt_mcp.exchanges.catalog import catalog

FOLDER = Path(ccxt.async_support.__file__).parent
_METHOD = re.compile(r"^    (?:async )?def (\w+)\(", re.MULTILINE)


@cache
def methods(exchange: str) -> dict[str, str]:
    """The source of each method that an exchange's own class defines; of its bases' none."""
    text = (FOLDER / f"{exchange}.py").read_text("utf-8")
    found = [(each[1], each.start()) for each in _METHOD.finditer(text)]
    ends = pairwise([*(start for _, start in found), len(text)])
    return {name: text[start:end] for (name, _), (start, end) in zip(found, ends, strict=True)}


def parsed(code: str) -> ast.AST:
    """The syntax of a method, which is indented as in its class."""
    return ast.parse(f"class _:\n{code}").body[0]


@cache
def lineage(exchange: str) -> tuple[str, ...]:
    """The exchange and the exchanges whose classes it extends."""
    cls = getattr(ccxt.async_support, exchange)
    return tuple(c.__name__ for c in cls.__mro__ if c.__name__ in catalog().exchanges)


def inherited(exchange: str, method: str) -> str | None:
    """The definition of a method that an instance of the exchange would use."""
    return next((m[method] for name in lineage(exchange) if method in (m := methods(name))), None)


def calls(code: str, method: str) -> bool:
    """Whether a piece of code calls ``self.<method>()``."""
    return method in code and any(
        isinstance(each, ast.Call)
        and isinstance(each.func, ast.Attribute)
        and each.func.attr == method
        and isinstance(each.func.value, ast.Name)
        and each.func.value.id == "self"
        for each in ast.walk(parsed(code))
    )


def callers(exchange: str, method: str) -> set[str]:
    """Names of the methods, own and inherited, that call ``self.<method>()``."""
    return {
        name
        for each in reversed(lineage(exchange))
        for name, code in methods(each).items()
        if calls(code, method)
    }


def says(code: str, text: str) -> bool:
    """Whether a piece of code has this string in it."""
    return text in code and any(
        isinstance(each, ast.Constant) and each.value == text for each in ast.walk(parsed(code))
    )


def written(code: str, of: str) -> Iterator[str]:
    """Keys that a piece of code sets: ``self.<of>['key'] = …``."""
    if f".{of}[" not in code:
        return
    for each in ast.walk(parsed(code)):
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
