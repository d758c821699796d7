"""How names become keys.

Owns: the shards, and what the keys of each part begin with. Refuses: what is kept under them.

A name belongs to one of ``SHARDS`` shards, whose keys share a hash tag: a Redis Cluster keeps them
on one node, so that a script may touch all that belongs to one name. On one server the shards are
only a part of the keys.
"""

from __future__ import annotations

import math
from zlib import crc32

__all__ = ["SHARDS", "Keys", "micro"]

SHARDS = 64


def micro(seconds: float) -> int:
    """Whole microseconds, rounded up: the scripts' unit of time."""
    return math.ceil(seconds * 1_000_000)


class Keys:
    """The keys of one prefix.

    Attributes:
        mail: what the channels of nodes begin with.
    """

    def __init__(self, prefix: str) -> None:
        self._tags = [f"{{{prefix}:{shard:02d}}}:" for shard in range(SHARDS)]
        self.mail = f"{self._tags[0]}mail:"
        self.nodes = f"{self._tags[0]}nodes"

    def shard(self, name: str) -> int:
        return crc32(name.encode()) % SHARDS

    def of(self, name: str, *kinds: str) -> list[str]:
        """The keys of these kinds that belong to the name, all in one shard."""
        tag = self._tags[self.shard(name)]
        return [f"{tag}{kind}:{name}" for kind in kinds]

    def leases(self, name: str) -> str:
        """The key of all leases of the name's shard."""
        return f"{self._tags[self.shard(name)]}leases"

    def all_leases(self) -> list[str]:
        """The keys of all leases."""
        return [f"{tag}leases" for tag in self._tags]
