"""Taking the shared state out of CCXT's function signatures.

Owns: the replacement of every mutable default argument in CCXT's exchange classes by one that
refuses to change. Refuses: any other change to CCXT.

A Python default argument exists once per process. 27 REST functions of CCXT write into their
``params: dict = {}``, so one caller's order parameters, or an authentication answer, become the
next caller's, across instances, accounts and threads. (First reported upstream as issue 3265; pull
request 28508 cured a few wrappers.) ``lease`` always passes fresh parameters; this cures the calls
that CCXT's functions make among themselves: the write raises instead of leaking. The two functions
that cannot do without their write get a fresh dict for every call.

The change is made on CCXT's own classes, because ``super()`` calls inside CCXT would walk past any
copy of ours. Code that shares the process with us meets the refusal too; it can only meet it where
it would have leaked.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from types import FunctionType
from typing import Any, NoReturn

__all__ = ["FrozenDict", "FrozenList", "harden", "mutable_defaults"]

FRESH_PARAMS = {"paradex": ("authenticate_rest", "onboarding")}
"""Functions that fill ``params`` before sending it and are called by CCXT without any."""

_hardened: set[type[Any]] = set()
"""Classes already done. Invariant: none of their functions has a mutable default left."""


def _refuse(*_args: Any, **_kwargs: Any) -> NoReturn:
    raise TypeError("a shared default argument of CCXT was about to be changed; pass params={}")


class FrozenDict(dict[Any, Any]):
    """A dict that cannot be changed: what CCXT reads from a default stays what it was."""

    __slots__ = ()
    __setitem__ = __delitem__ = __ior__ = _refuse
    update = setdefault = pop = popitem = clear = _refuse

    def copy(self) -> dict[Any, Any]:
        return dict(self)

    def __copy__(self) -> dict[Any, Any]:
        return dict(self)


class FrozenList(list[Any]):
    """A list that cannot be changed."""

    __slots__ = ()
    __setitem__ = __delitem__ = __iadd__ = __imul__ = _refuse
    append = extend = insert = pop = remove = clear = sort = reverse = _refuse


def harden(exchange_class: type[Any]) -> None:
    """Freeze the default arguments of a CCXT class and its bases. Cheap when done before."""
    for cls in reversed(exchange_class.__mro__):
        if cls in _hardened or not _is_ccxt(cls):
            continue
        for function in _functions(cls):
            _freeze_defaults(function)
        if cls.__module__.startswith("ccxt.async_support."):
            for name in FRESH_PARAMS.get(cls.__name__, ()):
                setattr(cls, name, _with_fresh_params(cls.__dict__[name]))
        _hardened.add(cls)


def mutable_defaults(exchange_class: type[Any]) -> list[str]:
    """Names of the functions of a class and its bases that still have a mutable default."""
    return [
        f"{cls.__module__}.{function.__qualname__}"
        for cls in exchange_class.__mro__
        if _is_ccxt(cls)
        for function in _functions(cls)
        if any(_is_mutable(v) for v in _defaults(function))
    ]


def _is_ccxt(cls: type[Any]) -> bool:
    return cls.__module__ == "ccxt" or cls.__module__.startswith("ccxt.")


def _functions(cls: type[Any]) -> Iterator[FunctionType]:
    for value in list(vars(cls).values()):
        # staticmethod and classmethod carry __func__, CCXT's endpoint descriptors unbound_method,
        # decorated functions __wrapped__.
        for each in (
            value,
            getattr(value, "__func__", None),
            getattr(value, "unbound_method", None),
            getattr(value, "__wrapped__", None),
        ):
            if isinstance(each, FunctionType):
                yield each


def _defaults(function: FunctionType) -> Iterator[Any]:
    yield from function.__defaults__ or ()
    yield from (function.__kwdefaults__ or {}).values()


def _is_mutable(value: Any) -> bool:
    return isinstance(value, (dict, list, set)) and not isinstance(value, (FrozenDict, FrozenList))


def _freeze_defaults(function: FunctionType) -> None:
    if function.__defaults__ and any(map(_is_mutable, function.__defaults__)):
        function.__defaults__ = tuple(map(_frozen, function.__defaults__))
    if function.__kwdefaults__ and any(map(_is_mutable, function.__kwdefaults__.values())):
        function.__kwdefaults__ = {k: _frozen(v) for k, v in function.__kwdefaults__.items()}


def _frozen(value: Any) -> Any:
    if not _is_mutable(value):
        return value
    if isinstance(value, dict):
        return FrozenDict({k: _frozen(v) for k, v in value.items()})
    if isinstance(value, list):
        return FrozenList(map(_frozen, value))
    return frozenset(value)


def _with_fresh_params(function: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(function)
    async def with_fresh_params(self: Any, params: dict[str, Any] | None = None) -> Any:
        return await function(self, dict(params or ()))

    return with_fresh_params
