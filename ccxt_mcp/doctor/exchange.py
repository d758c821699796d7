"""One exchange: the way to it, its clock, its markets.

Owns: these checks in their order, each of which needs the one before. Refuses: keys
(``account``), and any other way to an exchange than the server's own.
"""

from __future__ import annotations

from urllib.parse import urlsplit

from ccxt_mcp.calls.pipeline import Call
from ccxt_mcp.doctor.diagnosis import CLOCK_REMEDY, TROUBLES, diagnose
from ccxt_mcp.doctor.report import Check, Finding, Outcome
from ccxt_mcp.errors import Failure
from ccxt_mcp.exchanges.clocks import Reading
from ccxt_mcp.exchanges.probing import Reached
from ccxt_mcp.product import Product

__all__ = ["MOST_OFF", "check_clock", "check_connection", "check_markets", "failed"]

MOST_OFF = 1000
"""Milliseconds by which a clock may be off without a warning: what the strictest exchange allows a
request to be ahead."""


async def check_connection(product: Product, name: str) -> tuple[Finding, Reached | None]:
    """Name, way, TLS: whether anything answers at the exchange's address, as the server asks it."""
    try:
        reached = await product.gateway.reach(name)
    except Failure as failure:
        return failed(Check.CONNECTION, name, failure, keyed=False), None
    if reached.trouble is None:
        words = f"{reached.host} answers in {reached.seconds * 1000:.0f} ms"
        return Finding(Check.CONNECTION, name, Outcome.OK, words), reached
    trouble = TROUBLES[reached.trouble]
    proxy = urlsplit(product.gateway.profile(name).proxy or "")
    # Of a proxy only where it is: user and password stand before that.
    by = f" (by {proxy.hostname}:{proxy.port})" if proxy.hostname else ""
    words = f"{reached.host}{by}: {trouble.means}"
    return Finding(Check.CONNECTION, name, Outcome.FAILED, words, trouble.remedy), None


async def check_clock(product: Product, name: str, reached: Reached) -> Finding:
    """How far the exchange's clock is from this machine's, by CCXT or else by a `Date` header."""
    try:
        reading = await product.gateway.read_clock(name)
    except Failure as failure:
        return failed(Check.CLOCK, name, failure, keyed=False)
    source = "" if reading is not None else " (by the HTTP header `Date`)"
    reading = reading or reached.clock
    if reading is None:
        words = "this exchange does not tell its time"
        return Finding(Check.CLOCK, name, Outcome.SKIPPED, words)
    return _clock(name, reading, source, corrected=product.gateway.corrects_time(name))


def _clock(name: str, reading: Reading, source: str, *, corrected: bool) -> Finding:
    offset = -reading.difference
    trip = f"round trip {reading.round_trip:.0f} ms"
    if abs(offset) <= MOST_OFF:
        words = f"off by {abs(offset)} ms{source}, {trip}"
        return Finding(Check.CLOCK, name, Outcome.OK, words)
    way = "behind" if offset > 0 else "ahead of"
    words = (
        f"this machine's clock is {abs(offset) / 1000:.1f} s {way} the exchange's{source}, {trip}"
    )
    words += (
        "; the server corrects signed requests by it"
        if corrected
        else "; signed requests to this exchange are not corrected"
    )
    return Finding(Check.CLOCK, name, Outcome.WARNING, words, CLOCK_REMEDY)


async def check_markets(product: Product, name: str) -> Finding:
    """Whether the exchange's markets can be listed, which every call needs."""

    async def listed(call: Call) -> int:
        return len((await call.listing(name, "load_markets")).markets)

    calls = product.calls
    try:
        count = await calls.run(calls.begin("load_markets"), listed)
    except Failure as failure:
        return failed(Check.MARKETS, name, failure, keyed=False)
    return Finding(Check.MARKETS, name, Outcome.OK, f"{count} are listed")


def failed(check: Check, subject: str, failure: Failure, *, keyed: bool) -> Finding:
    """The finding for a failed call: what it means, and what the exchange said."""
    diagnosis = diagnose(failure, keyed=keyed)
    words = f"{diagnosis.means}. {failure.message}" if diagnosis.means else failure.message
    return Finding(check, subject, Outcome.FAILED, words, diagnosis.remedy)
