"""Exchanges as their pages differ: models of what comes back for `since` and `limit`.

They stand below our walks only, in place of the requests; no CCXT is involved.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

from ccxt_mcp.tools.of_market import Walk

LENGTH = 60_000


@dataclass
class Model(Walk):
    """``page`` rows at most per request; with ``window``, only those of so many ms from `since` on.

    ``deaf`` exchanges send their latest rows whatever `since` says; CCXT then drops the older ones.
    """

    page: int
    window: int = 0
    deaf: bool = False
    rows: list[Any] = field(default_factory=list)
    now: int = 2**50
    stopped: str | None = None
    reads: list[Any] = field(default_factory=list)
    requests: int = 0

    def time_of(self, row: Any) -> int:
        return int(row[0])

    async def ask(self, *args: Any, params: Any = None) -> list[Any]:
        *_, since, limit = args
        self.requests += 1
        assert self.requests < 5_000, "it never ends"
        self.reads.append(SimpleNamespace(fetched_at=self.now))
        most = min(limit, self.page)
        if since is None:
            return self.rows[-most:]
        if self.deaf:
            return [row for row in self.rows[-most:] if self.time_of(row) >= since]
        end = since + (self.window or 2**52)
        return [row for row in self.rows if since <= self.time_of(row) < end][:most]

    async def told(self, done: int, total: int, what: str) -> None:
        assert 0 <= done <= total


class Trades(Model):
    def time_of(self, row: Any) -> int:
        return int(row["timestamp"])
