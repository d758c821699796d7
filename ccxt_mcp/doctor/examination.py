"""The whole examination: every check in its order, in parallel where they are of different things.

Owns: what is checked after what, what is skipped because something before it failed, and the bound
on the time of it all. Refuses: the checks themselves.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

from ccxt_mcp.accounts import Account
from ccxt_mcp.doctor.account import check_credentials, check_permissions
from ccxt_mcp.doctor.configuration import read_configuration
from ccxt_mcp.doctor.exchange import check_clock, check_connection, check_markets
from ccxt_mcp.doctor.machine import check_files, check_port, check_versions
from ccxt_mcp.doctor.report import Check, Finding, Outcome, Report
from ccxt_mcp.doctor.store import check_store
from ccxt_mcp.product import Product

__all__ = ["TIMEOUT", "examine", "exchanges_of"]

TIMEOUT = 60.0
"""Seconds for all exchanges and accounts together."""

_FIRST = "not looked at: the configuration has to be valid first"
_OFFLINE = "not looked at: --offline"


async def examine(
    path: Path | None = None,
    environ: Mapping[str, str] | None = None,
    *,
    offline: bool = False,
    timeout: float = TIMEOUT,
    load_apart: bool = True,
) -> Report:
    """Check a set-up.

    Args:
        path: the configuration file; found as ``serve`` finds it when omitted.
        environ: the environment; the process's own when omitted.
        offline: leave out what needs a network beyond this machine.
        timeout: seconds for all exchanges and accounts together; what is not done by then has
            failed.
        load_apart: whether market tables are loaded in processes of their own (``Gateway``).
    """
    environ = os.environ if environ is None else environ
    configuration = read_configuration(path, environ, load_apart=load_apart)
    findings = list(configuration.findings)
    settings, product = configuration.settings, configuration.product
    if settings is None:
        findings.append(Finding(Check.FILES, "permissions", Outcome.SKIPPED, _FIRST))
    else:
        findings += check_files(settings)
    findings += check_versions()
    if settings is None:
        findings.append(Finding(Check.PORT, "port", Outcome.SKIPPED, _FIRST))
    else:
        findings.append(await check_port(settings))
    if configuration.cluster is not None:
        if offline:
            findings.append(Finding(Check.STORE, "store_url", Outcome.SKIPPED, _OFFLINE))
        else:
            findings.append(await check_store(configuration.cluster.store))
    if product is None or offline:
        words = _OFFLINE if offline else _FIRST
        findings.append(Finding(Check.CONNECTION, "exchanges", Outcome.SKIPPED, words))
    else:
        findings += [each.clean(product.redactor.text) for each in await _abroad(product, timeout)]
    return Report.of(findings, unreadable=configuration.unreadable)


def exchanges_of(product: Product) -> tuple[str, ...]:
    """The profiles that the configuration uses, by name: the default, the configured ones, those of
    accounts."""
    settings = product.settings
    named = [settings.default_exchange, *settings.exchanges]
    named += [account.exchange for account in product.accounts.all()]
    profiles = (product.gateway.profile(name).name for name in named if name is not None)
    return tuple(dict.fromkeys(profiles))


async def _abroad(product: Product, timeout: float) -> list[Finding]:
    names = exchanges_of(product)
    if not names:
        words = "none is configured; every exchange of CCXT can be used under its id"
        return [Finding(Check.CONNECTION, "exchanges", Outcome.SKIPPED, words)]
    bounded = _Bounded(asyncio.get_running_loop().time() + timeout, timeout)
    async with _open(product):
        # All clocks before any market table: making those of a large exchange holds this process
        # for so long that it would show in a round trip.
        ways = await asyncio.gather(*(_way(bounded, product, name) for name in names))
        rests = await asyncio.gather(
            *(
                _inside(bounded, product, name, goes=way[0].outcome is Outcome.OK)
                for name, way in zip(names, ways, strict=True)
            )
        )
    return [each for way, rest in zip(ways, rests, strict=True) for each in (*way, *rest)]


@asynccontextmanager
async def _open(product: Product) -> AsyncIterator[None]:
    await product.gateway.start()
    try:
        yield
    finally:
        await product.gateway.close()


class _Bounded:
    """Runs checks until one moment, and makes a finding of whatever ends one."""

    def __init__(self, until: float, timeout: float) -> None:
        self._until = until
        self._timeout = timeout

    async def check(
        self, check: Check, subject: str, run: Callable[[], Awaitable[Finding]]
    ) -> Finding:
        try:
            async with asyncio.timeout_at(self._until):
                return await run()
        except TimeoutError:
            words = f"not done within {self._timeout:g} seconds of the examination's start"
            remedy = "Give it more with `--timeout`; if it stays so, the exchange does not answer."
        except Exception as error:
            # A fault of this check says nothing about the others. Its text may hold anything.
            words = f"the check itself failed ({type(error).__name__})"
            remedy = "Report it with this line."
        return Finding(check, subject, Outcome.FAILED, words, remedy)


async def _way(bounded: _Bounded, product: Product, name: str) -> list[Finding]:
    """The way to an exchange and its clock."""
    reached = None

    async def connect() -> Finding:
        nonlocal reached
        finding, reached = await check_connection(product, name)
        return finding

    connection = await bounded.check(Check.CONNECTION, name, connect)
    if reached is None:
        return [connection, _skipped(Check.CLOCK, name, Check.CONNECTION)]
    there = reached
    clock = await bounded.check(Check.CLOCK, name, lambda: check_clock(product, name, there))
    return [connection, clock]


async def _inside(
    bounded: _Bounded, product: Product, name: str, *, goes: bool
) -> Iterable[Finding]:
    """The exchange's markets, then its accounts."""
    accounts = product.accounts.for_exchange(name)
    if not goes:
        markets = _skipped(Check.MARKETS, name, Check.CONNECTION)
    else:
        markets = await bounded.check(Check.MARKETS, name, lambda: check_markets(product, name))
    if markets.outcome is not Outcome.OK:
        first = Check.MARKETS if goes else Check.CONNECTION
        return [markets, *(_skipped(Check.CREDENTIALS, a.name, first) for a in accounts)]
    checked = await asyncio.gather(*(_account(bounded, product, each) for each in accounts))
    return [markets, *(finding for findings in checked for finding in findings)]


async def _account(bounded: _Bounded, product: Product, account: Account) -> list[Finding]:
    name = account.name
    keys = await bounded.check(Check.CREDENTIALS, name, lambda: check_credentials(product, account))
    if keys.outcome is Outcome.FAILED:
        return [keys, _skipped(Check.PERMISSIONS, name, Check.CREDENTIALS)]
    permitted = await bounded.check(
        Check.PERMISSIONS, name, lambda: check_permissions(product, account)
    )
    return [keys, permitted]


def _skipped(check: Check, subject: str, first: Check) -> Finding:
    return Finding(check, subject, Outcome.SKIPPED, f"not looked at: {first.value} failed")
