"""Importing single exchanges instead of all of them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

ALL = """
import json, sys
from ccxt_mcp.exchanges.loading import install_lazy_ccxt, load_class, is_lazy
assert install_lazy_ccxt() and is_lazy() and install_lazy_ccxt()
from ccxt.base.errors import BadSymbol
import ccxt, ccxt.async_support as async_ccxt, ccxt.pro
assert ccxt.BadSymbol is BadSymbol and async_ccxt.BadSymbol is BadSymbol
modules = len(sys.modules)
assert "ccxt.async_support.kraken" not in sys.modules
classes = [getattr(async_ccxt, name) for name in async_ccxt.exchanges]
again = [getattr(async_ccxt, name) for name in async_ccxt.exchanges]
streaming = [getattr(ccxt.pro, name) for name in ccxt.pro.exchanges]
assert classes == again
assert all(c.__module__ == f"ccxt.async_support.{c.__name__}" for c in classes)
assert all(c.__module__ == f"ccxt.pro.{c.__name__}" for c in streaming)
assert all(issubclass(c, async_ccxt.Exchange) for c in classes)
assert load_class("kraken") is async_ccxt.kraken
assert ccxt.kraken.__module__ == "ccxt.kraken" and issubclass(ccxt.kraken, ccxt.Exchange)
missing = [n for n in ccxt.__all__ if getattr(ccxt, n, None) is None]
try:
    ccxt.no_such_thing
except AttributeError as error:
    words = str(error)
print(json.dumps([ccxt.__version__, len(classes), len(streaming), missing, words]))
"""

ONE = """
import json, sys
from ccxt_mcp.exchanges.loading import install_lazy_ccxt, load_class
assert install_lazy_ccxt()
load_class("binance")
print(json.dumps(sorted(m for m in sys.modules if m.startswith("ccxt.async_support."))))
"""

LATE = """
import json
import ccxt.base.errors
from ccxt_mcp.exchanges.loading import install_lazy_ccxt, is_lazy, load_class
print(json.dumps([install_lazy_ccxt(), is_lazy(), load_class("kraken").__module__]))
"""

UNTOUCHED = """
import json, sys
import ccxt_mcp.exchanges
from ccxt_mcp.exchanges import Gateway
gateway = Gateway({})
gateway.exchange_ids(), gateway.facts("kraken")
print(json.dumps(sorted(m for m in sys.modules if m == "ccxt" or m.startswith("ccxt."))))
"""


def test_every_class_of_ccxt_is_reached_through_the_stubs(apart: Callable[..., Any]) -> None:
    """All 104 REST and 76 streaming classes, and the forms of import that CCXT's users write."""
    version, classes, streaming, missing, words = apart(ALL)
    assert (version, classes, streaming, missing) == ("4.5.90", 104, 76, [])
    assert words == "module 'ccxt' has no attribute 'no_such_thing'"


def test_one_exchange_imports_no_other(apart: Callable[..., Any]) -> None:
    """Before: `ccxt.async_support.binance` brought all 104 along, 0.5 s and 91 MB."""
    names = {name.removeprefix("ccxt.async_support.").split(".")[0] for name in apart(ONE)}
    assert names == {"base", "binance"}


def test_a_ccxt_that_is_already_imported_is_left_alone(apart: Callable[..., Any]) -> None:
    assert apart(LATE) == [False, False, "ccxt.async_support.kraken"]


def test_listing_exchanges_imports_nothing_of_ccxt(apart: Callable[..., Any]) -> None:
    """Also the condition for the stubs: importing our package must not import CCXT."""
    assert apart(UNTOUCHED) == []
