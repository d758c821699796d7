"""Clones: what two of them have in common, what they forget, when they are gone."""

from __future__ import annotations

import gc
import types
import weakref
from collections import deque
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from ccxt_mcp.exchanges.catalog import catalog
from ccxt_mcp.exchanges.cloning import CREDENTIALS, FROZEN, FROZEN_OPTIONS, Mould, exact, release
from ccxt_mcp.exchanges.hardening import harden, mutable_defaults
from ccxt_mcp.exchanges.loading import load_class
from ccxt_mcp.exchanges.prototypes import build_prototype
from ccxt_mcp.exchanges.wiring import Wired
from ccxt_mcp.settings import ExchangeProfile

ATOMS = (
    *(type(None), bool, int, float, str, bytes, type, types.FunctionType, types.ModuleType),
    types.BuiltinFunctionType,
)


def mould(exchange: str) -> Mould:
    return Mould(build_prototype(ExchangeProfile(name=exchange, exchange=exchange), 10_000))


def reachable(value: Any, path: str, seen: dict[int, str]) -> Iterator[tuple[int, str]]:
    """Every mutable container below a value, with the path on which it is first met."""
    if isinstance(value, ATOMS) or id(value) in seen:
        return
    if isinstance(value, (dict, list, set, deque, bytearray)):
        seen[id(value)] = path
        yield id(value), path
    if isinstance(value, dict):
        for key, each in value.items():
            yield from reachable(each, f"{path}.{key}", seen)
    elif isinstance(value, (list, tuple, set, frozenset, deque)):
        for index, each in enumerate(value):
            yield from reachable(each, f"{path}[{index}]", seen)


def belongings(instance: Any) -> dict[int, str]:
    """What is reached through an instance, by attribute or through its class."""
    names = {*vars(instance), *(n for n in dir(type(instance)) if not n.startswith("_"))}
    seen: dict[int, str] = {}
    for name in sorted(names - FROZEN):
        value = getattr(instance, name)
        if name == "options":
            value = {k: v for k, v in value.items() if k not in FROZEN_OPTIONS}
        if not isinstance(value, types.MethodType):
            list(reachable(value, name, seen))
    return seen


def test_two_clones_share_nothing_that_can_change() -> None:
    """Before: `clients`, `options` and whatever else CCXT keeps on a class or in a config.

    A walk over everything two clones reach, through their classes too, finds no container in
    common outside the list in `cloning.FROZEN`. And nothing of a type the walk cannot enter.
    """
    for exchange in catalog().exchanges:
        made = mould(exchange)
        assert made.strangers == (), exchange
        # Held, so that no address is used twice.
        first, second = made.clone(), made.clone()
        a, b = belongings(first), belongings(second)
        assert {a[key] for key in a.keys() & b.keys()} == set(), exchange
        prototype = belongings(made.prototype)
        assert {a[key] for key in a.keys() & prototype.keys()} == set(), exchange


def test_a_clone_equals_its_prototype() -> None:
    for exchange in catalog().exchanges:
        made = mould(exchange)
        clone, prototype = vars(made.clone()), vars(made.prototype)
        changed = {name for name, value in prototype.items() if clone[name] != value}
        assert changed <= {"throttler", "own_session", "number", "enableRateLimit"}, exchange


def test_a_clone_gets_an_accounts_credentials_and_nothing_else_of_it() -> None:
    made = mould("kucoin")
    clone = made.clone(credentials={"apiKey": "k", "secret": "s", "password": "p"})
    assert (clone.apiKey, clone.secret, clone.password) == ("k", "s", "p")
    with pytest.raises(ValueError, match="'verbose' is not a credential"):
        made.clone(credentials={"verbose": "yes"})
    assert made.prototype.apiKey is None


def test_credential_names_are_those_of_ccxt() -> None:
    assert set(CREDENTIALS) == set(mould("kraken").prototype.requiredCredentials)


def test_a_profile_is_copied_into_its_prototype() -> None:
    """Before: CCXT kept the nested dicts of a config, so that a call changed the settings."""
    options = {"networks": {"ERC20": "ETH"}}
    profile = ExchangeProfile(name="kraken", exchange="kraken", options=options)
    prototype = build_prototype(profile, 10_000)
    prototype.options["networks"]["ERC20"] = "changed"
    assert profile.options == options
    assert options == {"networks": {"ERC20": "ETH"}}


def test_a_released_clone_holds_no_secret_and_cannot_be_used() -> None:
    clone = mould("binance").clone(session=None, credentials={"apiKey": "k" * 9, "secret": "s" * 9})
    clone.options["token"] = "s" * 9
    release(clone)
    assert "sssssssss" not in repr(vars(clone))
    assert "kkkkkkkkk" not in repr(vars(clone))
    with pytest.raises(RuntimeError, match="released"):
        clone.open(True)


def test_a_clone_goes_with_its_last_reference() -> None:
    """Without the help of the garbage collector: no cycle holds the keys."""
    made = mould("binance")
    gc.disable()
    try:
        clone = made.clone(credentials={"apiKey": "k", "secret": "s"})
        gone = weakref.ref(clone)
        del clone
        assert gone() is None
    finally:
        gc.enable()


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("0.10000000", "0.10000000"),
        ("12345678901234567890.123456789", "12345678901234567890.123456789"),
        (0.5, "0.5"),
        (1e-7, "0.0000001"),
        ("1E+3", "1000"),
        (7, "7"),
    ],
)
def test_numbers_stay_what_the_exchange_wrote(value: Any, text: str) -> None:
    assert exact(value) == text


@pytest.mark.parametrize("value", ["", "abc", "nan", "inf", None])
def test_what_is_no_number_is_refused(value: Any) -> None:
    """Before: with CCXT's `number = str` any text passed as an amount."""
    with pytest.raises((ValueError, TypeError)):
        exact(value)


def test_ccxts_parsing_works_on_exact_numbers() -> None:
    clone = mould("binance").clone(number=exact)
    balance = clone.safe_balance({"BTC": {"free": "0.1", "used": "0.2"}})
    assert balance["total"] == {"BTC": "0.3"}
    order = clone.safe_order({"amount": "3", "filled": "1", "price": "0.1", "status": "open"})
    assert (order["remaining"], order["cost"], order["price"]) == ("2", "0.1", "0.1")
    trade = clone.safe_trade({"amount": "3", "price": "0.1", "fee": {"cost": "1e-7"}})
    assert (trade["cost"], trade["fee"]["cost"]) == ("0.3", "0.0000001")
    assert clone.parse_number("abc") is None


@pytest.mark.parametrize("exchange", ["kraken", "alpaca"])
def test_a_sandbox_is_used_or_refused(exchange: str) -> None:
    """Before: kraken's `set_sandbox_mode(True)` was a TypeError."""
    from ccxt_mcp.errors import Code, Failure

    profile = ExchangeProfile(name="test", exchange=exchange, sandbox=True)
    if catalog().exchanges[exchange].sandbox:
        assert build_prototype(profile, 10_000).isSandboxModeEnabled
    else:
        with pytest.raises(Failure, match="kraken has no sandbox") as caught:
            build_prototype(profile, 10_000)
        assert caught.value.code is Code.NOT_SUPPORTED


def test_every_sandbox_in_the_catalog_can_be_used() -> None:
    failed: dict[str, str] = {}
    for exchange, facts in catalog().exchanges.items():
        if facts.sandbox:
            attempt = _attempt(exchange)
            if attempt is not None:
                failed[exchange] = attempt
    assert failed == {}


def _attempt(exchange: str) -> str | None:
    build: Callable[..., Any] = build_prototype
    try:
        build(ExchangeProfile(name=exchange, exchange=exchange, sandbox=True), 10_000)
    except Exception as error:
        return repr(error)
    return None


def test_streaming_classes_share_nothing_either() -> None:
    """All 76 of `ccxt.pro`. Before: one `clients` dict for every exchange and account."""
    import ccxt.pro

    for name in ccxt.pro.exchanges:
        cls = load_class(name, "ccxt.pro")
        harden(cls)
        assert mutable_defaults(cls) == []
        made = Mould(type(name, (Wired, cls), {})({"enableRateLimit": False}))
        first, second = made.clone(), made.clone()
        a, b = belongings(first), belongings(second)
        assert {a[key] for key in a.keys() & b.keys()} == set(), name
        assert made.strangers == ()
