"""Market tables on disk: written by the helper process, taken over and read by the server.

Owns: the directory, the files' names, who may have written them, and how many there are. Refuses:
the files' content (``snapshots``), and deciding when tables are too old (``markets``).

A file is complete or it is not there: the helper writes under a passing name, the server renames.
A file that others could have written is not read, for tables decide what a price and an amount
mean. A file that cannot be read is as good as none.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import os
import secrets
import stat
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any, BinaryIO

import orjson

from ccxt_mcp.exchanges.catalog import catalog
from ccxt_mcp.exchanges.ingestion import Unreadable
from ccxt_mcp.exchanges.snapshots import FORMAT, MAX_FRAME

__all__ = ["MAX_FILES", "MAX_FILE_BYTES", "Shelf", "fingerprint", "whole"]

MAX_FILE_BYTES = 256 * 1024 * 1024
MAX_FILES = 64
MAX_BYTES = 1024 * 1024 * 1024
ABANDONED_AFTER = 3600.0
"""Seconds after which a file under a passing name belongs to nobody any more."""

_SUFFIX, _PASSING = ".tables", ".part"
_BATCH = 1024 * 1024


def fingerprint(
    exchange: str, *, base_url: str | None, sandbox: bool, options: dict[str, Any]
) -> str:
    """What decides about the content of tables, as a hash: equal for profiles that may share them.

    A proxy is not part of it: it is another way to the same exchange.
    """
    parts = [FORMAT, catalog().ccxt_version, exchange, base_url, sandbox, options]
    data = orjson.dumps(parts, default=repr, option=orjson.OPT_SORT_KEYS | orjson.OPT_NON_STR_KEYS)
    return hashlib.sha256(data).hexdigest()


class Shelf:
    """The tables in one directory. No mutable state; every method does its I/O in threads."""

    def __init__(self, data_dir: Path, complain: Callable[[str], None]) -> None:
        self._directory = data_dir / "tables"
        self._complain = complain

    async def reserve(self, exchange: str, fingerprint: str) -> Path | None:
        """A passing name for a new file, or ``None`` if nothing can be kept here."""
        if not await asyncio.to_thread(self._prepare):
            return None
        name = self._path(exchange, fingerprint).name
        return self._directory / f".{name}.{secrets.token_hex(6)}{_PASSING}"

    async def keep(self, passing: Path, exchange: str, fingerprint: str) -> None:
        """Take over a complete file that the helper wrote; tidy up."""
        await asyncio.to_thread(self._keep, passing, self._path(exchange, fingerprint))

    async def discard(self, passing: Path) -> None:
        """Remove what a helper left unfinished."""
        with contextlib.suppress(OSError):
            await asyncio.to_thread(passing.unlink, missing_ok=True)

    async def frames(self, exchange: str, fingerprint: str) -> AsyncIterator[tuple[bytes, bytes]]:
        """The frames of a file. None at all if there is no file that may be trusted.

        Raises ``Unreadable`` for a file that is cut off.
        """
        file = await asyncio.to_thread(self._open, self._path(exchange, fingerprint))
        if file is None:
            return
        data, at = b"", 0
        try:
            while True:
                while (end := whole(data, at)) is not None:
                    yield data[at + 4 : at + 5], data[at + 5 : end]
                    at = end
                more = await asyncio.to_thread(file.read, _BATCH)
                if not more:
                    break
                data, at = data[at:] + more, 0
        except OSError as error:
            raise Unreadable(f"it cannot be read ({type(error).__name__})") from None
        finally:
            file.close()
        if at < len(data):
            raise Unreadable("it is cut off")

    def _path(self, exchange: str, fingerprint: str) -> Path:
        return self._directory / f"{exchange}-{fingerprint[:32]}{_SUFFIX}"

    def _prepare(self) -> bool:
        directory = self._directory
        try:
            directory.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            directory.mkdir(mode=0o700, exist_ok=True)
            found = os.lstat(directory)
        except OSError as error:
            self._complain(f"market tables are not kept on disk: {directory}: {error.strerror}")
            return False
        if not stat.S_ISDIR(found.st_mode) or not _ours_alone(found):
            self._complain(
                f"market tables are not kept on disk: {directory} belongs to others or can be"
                " written by them; see `data_dir`"
            )
            return False
        return True

    def _keep(self, passing: Path, path: Path) -> None:
        try:
            if os.lstat(passing).st_size > MAX_FILE_BYTES:
                passing.unlink()
            else:
                os.replace(passing, path)
            self._tidy()
        except FileNotFoundError:
            # The helper could not write it, and said so.
            return
        except OSError as error:
            self._complain(f"market tables are not kept on disk: {path}: {error.strerror}")

    def _tidy(self) -> None:
        """Remove what was abandoned, and the oldest files beyond the bounds."""
        kept: list[tuple[float, int, Path]] = []
        for path in self._directory.iterdir():
            with contextlib.suppress(OSError):
                found = os.lstat(path)
                if path.name.startswith(".") and path.name.endswith(_PASSING):
                    if time.time() - found.st_mtime > ABANDONED_AFTER:
                        path.unlink()
                elif path.name.endswith(_SUFFIX):
                    kept.append((found.st_mtime, found.st_size, path))
        total = 0
        for number, (_, size, path) in enumerate(sorted(kept, reverse=True)):
            total += size
            if number >= MAX_FILES or (number and total > MAX_BYTES):
                with contextlib.suppress(OSError):
                    path.unlink()

    def _open(self, path: Path) -> BinaryIO | None:
        """The file, if it is one, ours, and nobody else's to write."""
        flags = os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)
        try:
            directory = os.lstat(path.parent)
            file = os.fdopen(os.open(path, flags), "rb")
        except OSError:
            return None
        found = os.fstat(file.fileno())
        if (
            stat.S_ISREG(found.st_mode)
            and _ours_alone(found)
            and _ours_alone(directory)
            and found.st_size <= MAX_FILE_BYTES
        ):
            return file
        file.close()
        self._complain(
            f"{path} is not read: it belongs to others, can be written by them, or is too large"
        )
        return None


def _ours_alone(found: os.stat_result) -> bool:
    if not hasattr(os, "geteuid"):
        return True
    return found.st_uid == os.geteuid() and not found.st_mode & 0o022


def whole(data: bytes, at: int) -> int | None:
    """Where the frame at ``at`` ends; ``None`` if it is not all there. Raises ``Unreadable``."""
    if len(data) - at < 5:
        return None
    length = int.from_bytes(data[at : at + 4], "big")
    if not 1 <= length <= MAX_FRAME:
        raise Unreadable("it is damaged")
    end = at + 4 + length
    return end if end <= len(data) else None
