"""Common rate limits on Redis or Valkey.

Owns: what the script is told and what it answers. Refuses: the arithmetic, which is the script's
(``lua/budgets.lua``, step by step that of ``mechanisms.ledger``).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache

from ccxt_mcp.mechanisms.ledger import Rules
from ccxt_mcp.store.protocol import PATIENCE, Act, Known, Spent
from ccxt_mcp.store.redis.keys import Keys
from ccxt_mcp.store.redis.scripts import Script
from ccxt_mcp.store.redis.wire import Wire

__all__ = ["RedisBudgets"]

_SCRIPT = Script("budgets")
_NOTHING = ("", 0, 0, 0)


class RedisBudgets:
    """See ``protocol.Budgets``.

    Args:
        clock: Unix seconds, for tests; by default the server's own.
    """

    def __init__(self, wire: Wire, keys: Keys, clock: Callable[[], float] | None = None) -> None:
        self._wire = wire
        self._keys = keys
        self._clock = clock

    async def apply(
        self,
        place: str,
        part: str,
        rules: Rules,
        acts: Sequence[Act],
        known: Known | None = None,
    ) -> Spent:
        now = "" if self._clock is None else self._clock()
        args: list[str | float] = [now, *_told(rules), *(_NOTHING if known is None else known)]
        for act in acts:
            args += act
        granted, wait, outlook, blocked, counted, pace, strikes, born, room = await self._wire.run(
            _SCRIPT, self._keys.of(place, f"budget:{part}", "ban"), args
        )
        return Spent(
            int(granted),
            float(wait),
            float(outlook),
            float(blocked),
            float(counted),
            float(pace),
            int(strikes),
            born.decode(),
            float(room),
        )


@lru_cache(maxsize=4096)
def _told(rules: Rules) -> tuple[float, ...]:
    windows = [number for each in rules.windows for number in (each.limit, each.seconds)]
    return (rules.rate, rules.burst, rules.transit, PATIENCE, len(rules.windows), *windows)
