"""Request weights per address and minute, then a ban for those who do not stop.

Owns the windows and bans of one family of endpoints. Refuses HTTP: it returns a verdict.
Source: Binance spot API documentation, "IP Limits" (429, then 418, both with Retry-After).
"""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Verdict", "WeightLimit"]

_WINDOW = 60_000
_LONGEST_BAN = 3 * 86_400_000
_MAX_ADDRESSES = 10_000


@dataclass(frozen=True, slots=True)
class Verdict:
    """`used` weight of this minute. `wait` is in whole seconds, zero when the request may pass;
    `banned_until` is in Unix milliseconds, None without a ban."""

    used: int
    wait: int = 0
    banned_until: int | None = None


@dataclass(slots=True)
class _Address:
    window: int = -1
    used: int = 0
    refused: int = 0
    banned_until: int = 0
    bans: int = 0


class WeightLimit:
    """`limit` weight per minute and address (None: count but never refuse).

    After `ban_after` refused requests within one minute the address is banned for `ban_ms`,
    doubled with every further ban, at most three days.
    """

    def __init__(self, limit: int | None, *, ban_after: int = 20, ban_ms: int = 120_000) -> None:
        self.limit = limit
        self._ban_after = ban_after
        self._ban_ms = ban_ms
        self._addresses: dict[str, _Address] = {}

    def spend(self, address: str, weight: int, now: int) -> Verdict:
        """Account for one request of `weight` at `now` (ms) and say whether it may pass."""
        seen = self._addresses.get(address)
        if seen is None:
            if len(self._addresses) >= _MAX_ADDRESSES:
                self._addresses.clear()
            seen = self._addresses[address] = _Address()
        window = now // _WINDOW
        if window != seen.window:
            seen.window, seen.used, seen.refused = window, 0, 0
        if self.limit is None:
            seen.used += weight
            return Verdict(seen.used)
        if now < seen.banned_until:
            return self._ban(seen, now)
        seen.used += weight
        if seen.used <= self.limit:
            return Verdict(seen.used)
        seen.refused += 1
        if seen.refused > self._ban_after:
            length = min(self._ban_ms << seen.bans, _LONGEST_BAN)
            seen.bans = min(seen.bans + 1, 20)
            seen.banned_until = now + length
            return self._ban(seen, now)
        return Verdict(seen.used, wait=_seconds((window + 1) * _WINDOW - now))

    def forget(self) -> None:
        """Drop all windows and bans."""
        self._addresses.clear()

    @staticmethod
    def _ban(seen: _Address, now: int) -> Verdict:
        return Verdict(seen.used, _seconds(seen.banned_until - now), seen.banned_until)


def _seconds(milliseconds: int) -> int:
    return max(1, -(-milliseconds // 1000))
