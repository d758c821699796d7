"""The scripts that the store's server runs: one for each method, each one round trip.

Owns: how a script is put together from its files, and its digest. Refuses: to run them (``wire``).
"""

from __future__ import annotations

import hashlib
from importlib.resources import files

__all__ = ["Script"]


class Script:
    """A script of this package: ``lua/common.lua``, the parts it shares with others, then its own
    file.

    Attributes:
        name: of its file, without the suffix.
        source: what is run.
        digest: by which a server that knows the script finds it.
    """

    __slots__ = ("digest", "name", "source")

    def __init__(self, name: str, *shared: str, package: str = __package__) -> None:
        self.name = name
        lua = files(package) / "lua"
        self.source = "\n".join(
            (lua / f"{part}.lua").read_text("utf-8") for part in ("common", *shared, name)
        )
        self.digest = hashlib.sha1(self.source.encode(), usedforsecurity=False).hexdigest()

    def __repr__(self) -> str:
        return f"<Script {self.name}>"
