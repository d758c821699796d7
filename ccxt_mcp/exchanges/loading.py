"""Importing single exchanges of CCXT instead of all of them.

Owns: the package stubs that make ``import ccxt`` cheap, and the import of one exchange class.
Refuses: to replace a CCXT that is already imported, and to install anything by being imported: only
a program's own entry point calls ``install_lazy_ccxt``. Everything works without the stubs too;
then the first exchange costs the import of all 104 (measured: 0.5 s and 91 MB,
against 0.18 s and 41 MB).

CCXT has no supported way to import one exchange (github.com/ccxt/ccxt/issues/29573): importing
``ccxt.async_support.kraken`` runs the package's ``__init__``, which imports every exchange. A stub
stands in for such an ``__init__`` and resolves the names that the real one exports, which it reads
from the real file, on first use.
"""

from __future__ import annotations

import ast
import importlib
import importlib.util
import sys
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

__all__ = ["PACKAGES", "install_lazy_ccxt", "is_lazy", "load_class"]

PACKAGES = ("ccxt", "ccxt.async_support", "ccxt.pro")
"""The packages whose ``__init__`` imports every exchange."""


class _LazyPackage(ModuleType):
    """A package whose exports are imported when they are asked for."""

    def __init__(self, spec: ModuleSpec, exports: dict[str, tuple[str, str]], constants: Any):
        super().__init__(spec.name)
        self.__dict__.update(constants)
        self.__dict__.update(
            __spec__=spec,
            __loader__=spec.loader,
            __file__=spec.origin,
            __package__=spec.name,
            __path__=spec.submodule_search_locations,
            _exports=exports,
        )

    def __getattr__(self, name: str) -> Any:
        if name == "__all__":
            names = [*self.__dict__["_exports"], "exchanges"]
            return [key for key in names if not key.startswith("_")]
        try:
            module, attribute = self.__dict__["_exports"][name]
        except KeyError:
            raise AttributeError(f"module {self.__name__!r} has no attribute {name!r}") from None
        value = _imported(module, attribute)
        self.__dict__[name] = value
        return value

    def __setattr__(self, name: str, value: Any) -> None:
        # The import system binds every imported submodule to its package. For an exchange the
        # package exports the class under that very name, so the class has to win.
        if (
            isinstance(value, ModuleType)
            and name in self._exports
            and value.__name__ == f"{self.__name__}.{name}"
        ):
            return
        super().__setattr__(name, value)

    def __dir__(self) -> list[str]:
        return sorted({*self.__dict__, *self.__dict__["_exports"]})


def install_lazy_ccxt() -> bool:
    """Make this process import CCXT's exchanges one at a time.

    Returns whether the stubs are in place. Does nothing once any part of CCXT is imported: whoever
    imported it owns what ``ccxt`` is. Call before the first import of CCXT, from an entry point.
    """
    if is_lazy():
        return True
    if any(name == "ccxt" or name.startswith("ccxt.") for name in sys.modules):
        return False
    try:
        for name in PACKAGES:
            _install(name)
    except (OSError, SyntaxError, ImportError, ValueError):
        # An unreadable or unforeseen CCXT: import it as it is rather than half lazily.
        for name in PACKAGES:
            sys.modules.pop(name, None)
        return False
    return True


def is_lazy() -> bool:
    """Whether the stubs are what ``import ccxt`` finds."""
    return isinstance(sys.modules.get("ccxt"), _LazyPackage)


def load_class(exchange: str, package: str = "ccxt.async_support") -> type[Any]:
    """CCXT's own class of an exchange, imported now if it was not.

    Raises ``ModuleNotFoundError`` if there is none of this id; check ids against the catalog first.
    """
    module = importlib.import_module(f"{package}.{exchange}")
    found: type[Any] = getattr(module, exchange)
    return found


def _install(name: str) -> None:
    spec = importlib.util.find_spec(name)
    if spec is None or spec.origin is None:
        raise ImportError(f"{name} is not installed")
    exports, constants = _read_exports(spec.origin)
    package = _LazyPackage(spec, exports, constants)
    sys.modules[name] = package
    parent, _, child = name.rpartition(".")
    if parent:
        setattr(sys.modules[parent], child, package)


def _read_exports(path: str) -> tuple[dict[str, tuple[str, str]], dict[str, Any]]:
    """What a package's ``__init__`` exports: name → (module, attribute), and its literals."""
    with open(path, encoding="utf-8") as file:
        tree = ast.parse(file.read(), path)
    exports: dict[str, tuple[str, str]] = {}
    constants: dict[str, Any] = {"__doc__": ast.get_docstring(tree)}
    for node in tree.body:
        match node:
            case ast.ImportFrom(module=str(module), names=names, level=0):
                exports.update({(n.asname or n.name): (module, n.name) for n in names})
            case ast.Import(names=names):
                exports.update({(n.asname or n.name): (n.name, "") for n in names})
            case ast.Assign(targets=[ast.Name(id=target)], value=value) if _is_literal(value):
                constants[target] = ast.literal_eval(value)
            case _:
                pass
    return exports, constants


def _is_literal(node: ast.expr) -> bool:
    if isinstance(node, ast.List):
        return all(isinstance(element, ast.Constant) for element in node.elts)
    return isinstance(node, ast.Constant)


def _imported(module: str, attribute: str) -> Any:
    found = importlib.import_module(module)
    if not attribute:
        return found
    if hasattr(found, attribute):
        return getattr(found, attribute)
    return importlib.import_module(f"{module}.{attribute}")
