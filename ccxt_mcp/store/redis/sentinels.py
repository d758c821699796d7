"""Which server is the primary, by the word of sentinels.

Owns: the order in which they are asked, and what is said where none knows. Refuses: connections to
what they name (the library's pool).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from redis.asyncio.sentinel import MasterNotFoundError, Sentinel
from redis.exceptions import ConnectionError, TimeoutError

__all__ = ["Sentinels"]


class Sentinels(Sentinel):
    """The library's, for many that ask at once.

    Its own way swaps two places of a list that others are going through: of a few who look for the
    primary at once while the first sentinel is away, the last leave one sentinel there twice and
    the first one never again. What has happened to each of them in turn leaves one alone.

    Args:
        hosts: of the sentinels.
        options: of connections to them.

    Invariant: ``sentinels`` has all of them between any two steps, whoever answered last first.
    """

    def __init__(self, hosts: Sequence[tuple[str, int]], options: Mapping[str, Any]) -> None:
        super().__init__(hosts, sentinel_kwargs=dict(options))  # type: ignore[no-untyped-call]

    async def discover_master(self, service_name: str) -> tuple[str, int]:
        """Where the primary is. Raises ``MasterNotFoundError``, with what each of them said."""
        said = []
        for sentinel in tuple(self.sentinels):
            try:
                masters: Any = await sentinel.sentinel_masters()
            except (ConnectionError, TimeoutError) as error:
                said.append(f"{error}")
                continue
            state = masters.get(service_name)
            if state and self.check_master_state(state, service_name):
                if self.sentinels[0] is not sentinel:
                    others = [each for each in self.sentinels if each is not sentinel]
                    self.sentinels = [sentinel, *others]
                return state["ip"], state["port"]
            said.append("names no primary that is there" if state else "does not know it")
        raise MasterNotFoundError(f"no primary of {service_name!r}: {'; '.join(said)}")
