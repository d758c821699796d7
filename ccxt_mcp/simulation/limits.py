"""Request limits per address or key, and bans for those who do not stop.

Owns the windows, counters and bans. Refuses HTTP: it returns verdicts. Sources: Binance spot API
documentation, "IP Limits" (429, then 418, both with Retry-After); Kraken REST documentation, "Spot
REST Rate Limits", and its support page "API error messages" (temporary lockouts).
"""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Bans", "CallCounter", "Verdict", "WeightLimit"]

_WINDOW = 60_000
_LONGEST_BAN = 3 * 86_400_000
_MAX_ADDRESSES = 10_000


@dataclass(slots=True)
class _Offender:
    window: int = -1
    violations: int = 0
    banned_until: int = 0
    bans: int = 0


class Bans:
    """Bans by address. While one lasts everything from there is to be refused.

    More than `after` violations within one minute (None: never) ban an address for `ms`
    milliseconds, doubled with every further ban, at most three days.
    """

    def __init__(self, after: int | None = 20, ms: int = 120_000) -> None:
        if (after is not None and after < 0) or ms < 1:
            raise ValueError(f"a ban needs after >= 0 and ms >= 1, not {after} and {ms}")
        self._after = after
        self._ms = ms
        self._offenders: dict[str, _Offender] = {}

    def until(self, address: str, now: int) -> int | None:
        """When the ban of `address` ends (Unix ms); None without one."""
        seen = self._offenders.get(address)
        return seen.banned_until if seen is not None and now < seen.banned_until else None

    def violated(self, address: str, now: int) -> int | None:
        """Count one violation; the end (Unix ms) of the ban that follows from it, or None."""
        if self._after is None:
            return None
        seen = self._offenders.get(address)
        if seen is None:
            if len(self._offenders) >= _MAX_ADDRESSES:
                self._offenders.clear()
            seen = self._offenders[address] = _Offender()
        window = now // _WINDOW
        if window != seen.window:
            seen.window, seen.violations = window, 0
        seen.violations += 1
        if seen.violations <= self._after:
            return None
        length = min(self._ms << seen.bans, _LONGEST_BAN)
        seen.bans = min(seen.bans + 1, 20)
        seen.violations = 0
        seen.banned_until = now + length
        return seen.banned_until

    def active(self, now: int) -> dict[str, int]:
        """The bans that last: address to end (Unix ms)."""
        return {a: o.banned_until for a, o in self._offenders.items() if now < o.banned_until}

    def forget(self) -> None:
        """Lift all bans and forget the violations."""
        self._offenders.clear()


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


class WeightLimit:
    """`limit` weight per minute and address (None: count but never refuse).

    Refused requests are violations in `bans`, which several limits may share; without one the limit
    has bans of its own, made of `ban_after` and `ban_ms`.
    """

    def __init__(
        self,
        limit: int | None,
        *,
        bans: Bans | None = None,
        ban_after: int | None = 20,
        ban_ms: int = 120_000,
    ) -> None:
        self.limit = limit
        self._bans = Bans(ban_after, ban_ms) if bans is None else bans
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
            seen.window, seen.used = window, 0
        if self.limit is None:
            seen.used += weight
            return Verdict(seen.used)
        if banned := self._bans.until(address, now):
            return Verdict(seen.used, _seconds(banned - now), banned)
        seen.used += weight
        if seen.used <= self.limit:
            return Verdict(seen.used)
        if banned := self._bans.violated(address, now):
            return Verdict(seen.used, _seconds(banned - now), banned)
        return Verdict(seen.used, wait=_seconds((window + 1) * _WINDOW - now))

    def forget(self) -> None:
        """Drop all windows and bans."""
        self._addresses.clear()
        self._bans.forget()


class CallCounter:
    """A counter per key or address that calls raise and time lowers (a leaky bucket).

    A call passes while the counter with its cost stays within `most` (None: always). A refused call
    leaves the counter as it is, so that it fits again after (counter + cost - most) / `decay`
    seconds. `decay` is per second.
    """

    def __init__(self, most: float | None, decay: float) -> None:
        if (most is not None and most <= 0) or decay <= 0:
            raise ValueError(f"a counter needs a positive maximum and decay, not {most}, {decay}")
        self._most = most
        self._decay = decay
        self._levels: dict[str, tuple[float, int]] = {}

    def level(self, name: str, now: int) -> float:
        """Where the counter of `name` stands at `now` (ms)."""
        level, at = self._levels.get(name, (0.0, now))
        return max(0.0, level - max(0, now - at) / 1000 * self._decay)

    def spend(self, name: str, cost: float, now: int) -> bool:
        """Account for one call of `cost` at `now` (ms); False when it is refused."""
        if self._most is None:
            return True
        level = self.level(name, now) + cost
        # What decays in fractions of a second does not add up exactly.
        if cost and level > self._most + 1e-9:
            return False
        if name not in self._levels and len(self._levels) >= _MAX_ADDRESSES:
            self._levels.clear()
        self._levels[name] = (level, now)
        return True

    def forget(self) -> None:
        """Put every counter to zero."""
        self._levels.clear()


def _seconds(milliseconds: int) -> int:
    return max(1, -(-milliseconds // 1000))
