"""Which endpoints a unified method of CCXT's can reach, read from CCXT's own source.

Owns: the walk through the source of an exchange's class: from a method through every method of the
same instance that it mentions, to the generated endpoints. Every branch counts, so the answer is
"what could be", whatever the parameters. Refuses: running any of it, and judging what an endpoint
does (``methods.py`` holds those decisions).

Used when tables are made and by tests, never while serving.
"""

from __future__ import annotations

import ast
import inspect
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

__all__ = ["Endpoint", "endpoints", "is_signed"]

# The tables that every call is given, and the wire, at which each path ends.
_NOT_FOLLOWED = {"load_markets", "load_time_difference"}
_WIRE = {"request", "fetch2", "fetch", "sign", "handle_errors", "load_proxy_and_agent"}


@dataclass(frozen=True, slots=True, order=True)
class Endpoint:
    """One address of an exchange, in CCXT's words. ``direct`` for a request without one."""

    api: tuple[str, ...]
    method: str
    path: str

    def __str__(self) -> str:
        return f"{self.method} {'.'.join(self.api)}/{self.path}"


DIRECT = Endpoint(("?",), "?", "?")
"""A request that names its address at run time."""


def endpoints(cls: type[Any], start: str) -> frozenset[Endpoint]:
    """Every endpoint that ``start`` of CCXT's class could ask.

    To be used before any instance of the class is made: constructors replace the endpoints.
    """
    found: set[Endpoint] = set()
    seen: set[tuple[str, type[Any] | None]] = set()
    todo: list[tuple[str, type[Any] | None]] = [(start, None)]
    while todo:
        step = todo.pop()
        if step in seen:
            continue
        seen.add(step)
        name, above = step
        lineage = cls.__mro__ if above is None else cls.__mro__[cls.__mro__.index(above) + 1 :]
        owner = next((each for each in lineage if name in vars(each)), None)
        if owner is None:
            continue
        value = vars(owner)[name]
        if type(value).__name__ == "Entry":
            api = value.api
            parts = (api,) if isinstance(api, str) else tuple(map(str, api))
            found.add(Endpoint(parts, value.method, value.path))
        elif name in _WIRE:
            found.add(DIRECT)
        elif name in _methods(owner):
            own, inherited, spoken = _mentions(owner, name)
            todo += [(each, None) for each in own - _NOT_FOLLOWED]
            todo += [(each, owner) for each in inherited]
            todo += [(each, None) for each in spoken if hasattr(cls, each)]
        elif (
            inspect.isfunction(value)
            and value.__name__ in _methods(owner)
            and value.__name__ != name
        ):
            todo.append((value.__name__, above))
    return frozenset(found)


def is_signed(instance: Any, endpoint: Endpoint) -> bool:
    """Whether a request cannot be made without keys, by trying to sign it with none."""
    try:
        instance.sign(endpoint.path, list(endpoint.api), endpoint.method, {})
    except Exception:
        # CCXT's own refusal, or whatever a missing key leads to in the code that would use it.
        return True
    return False


@cache
def _classes(file: str) -> dict[str, dict[str, ast.AST]]:
    tree = ast.parse(Path(file).read_text("utf-8"))
    return {
        node.name: {
            each.name: each
            for each in node.body
            if isinstance(each, ast.FunctionDef | ast.AsyncFunctionDef)
        }
        for node in tree.body
        if isinstance(node, ast.ClassDef)
    }


@cache
def _methods(cls: Any) -> dict[str, ast.AST]:
    try:
        return _classes(inspect.getfile(cls)).get(cls.__name__, {})
    except TypeError:
        return {}


@cache
def _mentions(cls: Any, name: str) -> tuple[frozenset[str], frozenset[str], frozenset[str]]:
    """Attributes of ``self``, of ``super()``, and the texts where names are looked up by text."""
    own, inherited, texts, by_text = set(), set(), set(), False
    for node in ast.walk(_methods(cls)[name]):
        if isinstance(node, ast.Attribute):
            if isinstance(node.value, ast.Name) and node.value.id == "self":
                own.add(node.attr)
                by_text |= node.attr.startswith("fetch_paginated_call")
            elif isinstance(node.value, ast.Call) and isinstance(node.value.func, ast.Name):
                inherited |= {node.attr} if node.value.func.id == "super" else set()
        elif isinstance(node, ast.Name) and node.id == "getattr":
            by_text = True
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            texts.add(node.value)
    return frozenset(own), frozenset(inherited), frozenset(texts if by_text else ())
