"""How far the nonces of each API key have come, on disk.

Owns: the folder ``nonces`` of the data directory: one small file per key, and the salt that turns
keys into file names. Refuses: deciding which number is next (``nonces``), and keeping anything from
which a key could be read.

A file holds a *mark*: no nonce above it has been used. Marks are reserved ahead of use, so a crash
between the two only skips numbers. Files are replaced whole, so a kill leaves the old or the new
one. Nothing is synced to the platter: a mark that a power failure takes back is a second or two of
clock time, which the restart takes longer than.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import secrets
import zlib
from collections.abc import Mapping
from pathlib import Path

__all__ = ["IDENTITIES", "KeyIds", "Mark", "MarkFile", "marks_of"]

IDENTITIES = ("apiKey", "walletAddress", "privateKey", "accountId", "uid", "login", "token")
"""What tells one API key from another, the first that an account has. Exchanges on a chain have no
API key; there the wallet is what a nonce belongs to."""

_FOLDER = "nonces"
_SALT = "salt"
_SUFFIX = ".mark"


class KeyIds:
    """Names for API keys that say nothing about them: keyed hashes.

    The salt is stored, so that a name means the same key after a restart. Without a data directory,
    or when that cannot be used, it is one for this process.

    Args:
        data_dir: what has to survive a restart is kept there; ``None`` for nothing on disk.
        salt: one that replicas have in common, instead of that of the data directory.

    Attributes:
        problem: why the data directory cannot be used, for a log line; ``None`` if it can.
        estranged: the salt was lost while marks were there, so that no key finds its own any more.
    """

    def __init__(self, data_dir: Path | None, salt: bytes | None = None) -> None:
        self.folder: Path | None = None
        self.problem: str | None = None
        self.estranged = False
        self._salt = secrets.token_bytes(32)
        if data_dir is not None:
            try:
                self._open(data_dir / _FOLDER)
            except OSError as error:
                self.problem = f"{data_dir / _FOLDER}: {error.strerror or type(error).__name__}"
        if salt is not None:
            self._salt = salt

    def of(self, exchange: str, sandbox: bool, credentials: Mapping[str, str]) -> str:
        """The name of an account's key at an exchange: 32 hexadecimal digits."""
        identity = next((credentials[name] for name in IDENTITIES if credentials.get(name)), "")
        message = "\0".join((exchange, "sandbox" if sandbox else "live", identity))
        return hmac.new(self._salt, message.encode(), hashlib.sha256).hexdigest()[:32]

    def file(self, exchange: str, key_id: str) -> MarkFile | None:
        """Where a key's mark is kept; ``None`` without a usable data directory."""
        if self.folder is None:
            return None
        return MarkFile(self.folder / f"{exchange}-{key_id}{_SUFFIX}")

    def _open(self, folder: Path) -> None:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        path = folder / _SALT
        try:
            stored = bytes.fromhex(path.read_text("ascii"))
        except (FileNotFoundError, ValueError):
            # Not there, not text, or not hexadecimal.
            stored = b""
        if len(stored) != len(self._salt):
            self.estranged = any(folder.glob(f"*{_SUFFIX}"))
            _replace(path, self._salt.hex())
            # Another process may have been first; what is on disk counts.
            stored = bytes.fromhex(path.read_text("ascii"))
        self._salt = stored
        self.folder = folder


class Mark:
    """What a mark file said.

    Attributes:
        value: the mark; 0 when there is none or it cannot be believed.
        problem: why it cannot be believed, else ``None``.
        written: when the file was written, Unix seconds; 0.0 when there is none. Nonces are clock
            readings, so this is a lower bound for a mark that cannot be read any more.
    """

    __slots__ = ("problem", "value", "written")

    def __init__(self, value: int, *, written: float = 0.0, problem: str | None = None) -> None:
        self.value = value
        self.written = written
        self.problem = problem


class MarkFile:
    """The file of one key."""

    __slots__ = ("path",)

    def __init__(self, path: Path) -> None:
        self.path = path

    def read(self) -> Mark:
        """The stored mark. Never raises: an unreadable file is a problem, not a zero."""
        written = 0.0
        try:
            written = self.path.stat().st_mtime
            text = self.path.read_bytes()
        except FileNotFoundError:
            return Mark(0)
        except OSError as error:
            return Mark(0, written=written, problem=error.strerror or type(error).__name__)
        number, _, check = text.strip().partition(b" ")
        # The checksum tells a mark from its first digits: a torn "17637" would be a lower nonce.
        if not number.isdigit() or check != _checksum(number):
            return Mark(0, written=written, problem="damaged")
        return Mark(int(number), written=written)

    def write(self, mark: int) -> None:
        """Store a mark. Raises ``OSError``; the file then is what it was."""
        number = str(mark).encode()
        _replace(self.path, (number + b" " + _checksum(number) + b"\n").decode())


def marks_of(folder: Path, exchange: str) -> int:
    """The highest mark of any key of an exchange, 0 if there is none."""
    found = (MarkFile(path).read().value for path in folder.glob(f"{exchange}-*{_SUFFIX}"))
    return max(found, default=0)


def _checksum(number: bytes) -> bytes:
    return f"{zlib.crc32(number):08x}".encode()


def _replace(path: Path, text: str) -> None:
    """Write a file whole, readable by its owner alone."""
    draft = path.with_name(f"{path.name}.{os.getpid()}.new")
    try:
        with open(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
            file.write(text)
        os.replace(draft, path)
    except OSError:
        draft.unlink(missing_ok=True)
        raise
