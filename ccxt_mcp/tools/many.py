"""Questions about many markets at once: which are meant, single reads, and what failed of them.

Owns: the argument ``symbols``, its spelling, and that one bad symbol of a list spoils only itself,
in whatever requests the markets are asked about. Refuses: knowing what is asked of the markets.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import Annotated, Any

import orjson
from pydantic import Field

from ccxt_mcp.calls.pipeline import Call
from ccxt_mcp.calls.public_reads import Read
from ccxt_mcp.errors import Code, Failure
from ccxt_mcp.exchanges.listing import Listing
from ccxt_mcp.tools.arguments import looks_secret, shown_name

__all__ = ["FAILED", "MAX_SINGLE", "Asked", "Failed", "Symbols", "meant"]

MAX_SINGLE = 10
"""Markets that are asked about one by one for one answer."""
_AT_ONCE = 5
_MAX_BYTES = 15_000
"""Of JSON about what failed: a result has to have room for what did not."""

Symbols = Annotated[
    list[Annotated[str, Field(min_length=1, max_length=64)]],
    Field(min_length=1, max_length=200, description="Only these symbols; default: all."),
]

FAILED = {
    "type": "array",
    "description": "Symbols of which there is no answer, and why.",
    "items": {"type": "object", "required": ["symbol", "code", "message"]},
}
"""Schema of the `failed` of a result."""


class Failed:
    """What failed of a list, while something else of it did not.

    Mutable: ``_failures``, by the symbol as the caller wrote it.
    """

    def __init__(self) -> None:
        self._failures: dict[str, Failure] = {}

    def add(self, symbol: str, failure: Failure) -> None:
        """Note that there is no answer about ``symbol``."""
        self._failures[symbol] = failure

    def missing(self, exchange: str, symbols: Iterable[str], what: str) -> None:
        """Note the symbols that the exchange left out of its answer."""
        for symbol in symbols:
            words = f"{exchange} sent no {what} of {symbol}."
            self.add(symbol, Failure(Code.BAD_RESPONSE, words, exchange=exchange))

    def unless(self, anything: object) -> None:
        """Raise the first failure if nothing else is there."""
        if not anything and self._failures:
            raise next(iter(self._failures.values()))

    def shown(self) -> dict[str, Any]:
        """The part of a result that tells of them; nothing if there are none."""
        if not self._failures:
            return {}
        rows: list[dict[str, str]] = []
        size = 0
        for symbol, failure in self._failures.items():
            secret = looks_secret(symbol)
            row = {
                "symbol": shown_name(symbol) if secret else symbol,
                "code": failure.code.value,
                "message": "It looks like a credential." if secret else failure.message[:200],
            }
            size += len(orjson.dumps(row))
            if size > _MAX_BYTES:
                row = {**row, "message": f"And {len(self._failures) - len(rows) - 1} more."}
                return {"failed": [*rows, row]}
            rows.append(row)
        return {"failed": rows}


async def meant(call: Call, listing: Listing, asked: Iterable[str], failed: Failed) -> list[str]:
    """The unified symbols of what a caller wrote, each once, in order.

    What is not known is noted in ``failed``; the exchange is asked about it first.
    """
    found: dict[str, None] = {}
    unknown: list[str] = []
    for name in dict.fromkeys(asked):
        try:
            symbol = listing.find(name)
        except Failure as failure:
            failed.add(name, failure)
            continue
        if symbol is None:
            unknown.append(name)
        else:
            found[symbol] = None
    if unknown:
        async with call.public(listing.exchange, "load_markets") as lease:
            for name in unknown:
                try:
                    found[await lease.find(name)] = None
                except Failure as failure:
                    failed.add(name, failure)
                # The nearest names of each are looked for among thousands.
                await asyncio.sleep(0)
    return sorted(found)


class Asked:
    """What came of questions about named markets, some asked together and some alone.

    Args:
        call: the call under way.
        exchange: the profile's name.
        what: an answer about one market, in words.
        failed: where it is noted what did not come.

    Mutable: ``rows``, what came, by symbol; ``reads``, the answers that it came with.
    """

    def __init__(self, call: Call, exchange: str, what: str, failed: Failed) -> None:
        self._call = call
        self._exchange = exchange
        self._what = what
        self._failed = failed
        self.rows: dict[str, Mapping[str, Any]] = {}
        self.reads: list[Read] = []

    async def together(
        self, symbols: list[str], reading: Awaitable[Read], *, alone_instead: bool = False
    ) -> bool:
        """Note what one answer says of ``symbols``, or its failure for each of them.

        Returns False, with nothing noted, if the exchange does not offer this and
        ``alone_instead``.
        """
        try:
            read = await reading
        except Failure as failure:
            if alone_instead and failure.code is Code.NOT_SUPPORTED:
                return False
            for symbol in symbols:
                self._failed.add(symbol, failure)
            return True
        self.reads.append(read)
        self.rows.update((each, read.value[each]) for each in symbols if each in read.value)
        missing = [each for each in symbols if each not in read.value]
        self._failed.missing(self._exchange, missing, self._what)
        return True

    async def alone(
        self,
        method: str,
        symbols: list[str],
        project: Callable[..., Any],
        max_age: float | None,
    ) -> None:
        """Ask about at most ``MAX_SINGLE`` markets one by one, some at a time.

        Raises:
            Failure: ``invalid_argument`` for too many.
        """
        if len(symbols) > MAX_SINGLE:
            raise Failure(
                Code.INVALID_ARGUMENT,
                f"{self._exchange} answers this for one symbol at a time: at most {MAX_SINGLE}"
                " `symbols`.",
                hint=f"Pass at most {MAX_SINGLE} `symbols` in a call.",
                exchange=self._exchange,
            )
        turns = asyncio.Semaphore(_AT_ONCE)

        async def one(symbol: str) -> None:
            async with turns:
                try:
                    read = await self._call.read(
                        self._exchange, method, symbol, project=project, max_age=max_age
                    )
                except Failure as failure:
                    self._failed.add(symbol, failure)
                    return
            self.reads.append(read)
            self.rows[read.value["symbol"]] = read.value

        async with asyncio.TaskGroup() as group:
            for symbol in symbols:
                group.create_task(one(symbol))
