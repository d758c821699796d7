"""One account: whether its keys work, and what they may do.

Owns: the harmless read that tells, and the judgement of a key's permissions. Refuses: every write,
and showing anything of an account but its name.
"""

from __future__ import annotations

from ccxt_mcp.accounts import Account
from ccxt_mcp.calls.pipeline import Call
from ccxt_mcp.calls.policy import operation
from ccxt_mcp.doctor.exchange import failed
from ccxt_mcp.doctor.report import Check, Finding, Outcome
from ccxt_mcp.errors import Failure
from ccxt_mcp.exchanges.key_permissions import KeyPermissions
from ccxt_mcp.product import Product

__all__ = ["check_credentials", "check_permissions"]

_READS = ("fetch_balance", "fetch_open_orders", "fetch_positions")
"""Asked for is the first that the exchange has; none of them needs an argument there."""

_WITHDRAWS = (
    "Take the permission to withdraw away from the key at the exchange: whoever gets hold of it"
    " could empty the account. Reading and trading do not need it."
)
_SHOWN = 12
"""Permissions that are named; some exchanges have dozens."""


async def check_credentials(product: Product, account: Account) -> Finding:
    """Whether the exchange answers a private read with these keys."""
    method = _read_of(product, account)
    if method is None:
        words = "this exchange has no private read that could be tried"
        return Finding(Check.CREDENTIALS, account.name, Outcome.SKIPPED, words)

    async def read(call: Call) -> None:
        async with call.private(None, account.name, method) as lease:
            await call.fetch(lease, method)

    calls = product.calls
    try:
        await calls.run(calls.begin(method), read)
    except Failure as failure:
        return failed(Check.CREDENTIALS, account.name, failure, keyed=True)
    words = f"{account.exchange} accepts them ({operation(method).name})"
    return Finding(Check.CREDENTIALS, account.name, Outcome.OK, words)


def _read_of(product: Product, account: Account) -> str | None:
    facts = product.gateway.facts(account.exchange)
    for method in _READS:
        allowed = operation(method)
        if facts.has.get(allowed.name) and facts.id not in allowed.writes:
            return method
    return None


async def check_permissions(product: Product, account: Account) -> Finding:
    """What the key may do, where the exchange tells."""

    async def ask(call: Call) -> KeyPermissions | None:
        async with call.private(None, account.name, "fetch_balance") as lease:
            return await lease.key_permissions()

    calls = product.calls
    try:
        told = await calls.run(calls.begin("fetch_balance"), ask)
    except Failure as failure:
        words = f"could not be asked: {failure.message}"
        return Finding(Check.PERMISSIONS, account.name, Outcome.SKIPPED, words)
    if told is None:
        words = "not told by this exchange: see there that the key may not withdraw"
        return Finding(Check.PERMISSIONS, account.name, Outcome.SKIPPED, words)
    words = _words(told)
    if told.withdraw:
        words = f"this key may withdraw funds; {words}"
        return Finding(Check.PERMISSIONS, account.name, Outcome.WARNING, words, _WITHDRAWS)
    may = "whether it may withdraw is not told" if told.withdraw is None else "may not withdraw"
    return Finding(Check.PERMISSIONS, account.name, Outcome.OK, f"{may}; {words}")


def _words(told: KeyPermissions) -> str:
    named = ", ".join(told.named[:_SHOWN]) or "nothing"
    more = f" and {len(told.named) - _SHOWN} more" if len(told.named) > _SHOWN else ""
    bound = {True: "; from listed addresses only", False: "; from any address", None: ""}
    return f"permitted: {named}{more}{bound[told.bound]}"
