"""What can be checked without leaving this machine: files, versions, the port.

Owns: who may read which file that holds secrets, whether what is installed is what was tested, and
whether the server could listen. Refuses: to read a secret, and to listen for longer than it takes
to find out.
"""

from __future__ import annotations

import os
import platform
import shlex
import stat
import sys
from collections.abc import Iterable, Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import httpx

from ccxt_mcp.doctor.report import Check, Finding, Outcome
from ccxt_mcp.errors import ConfigurationError
from ccxt_mcp.exchanges.catalog import catalog
from ccxt_mcp.redaction import secrets_in_url
from ccxt_mcp.serving import bind
from ccxt_mcp.settings import Settings
from ccxt_mcp.settings.references import is_literal

__all__ = ["TESTED", "check_files", "check_port", "check_versions"]

TESTED: Mapping[str, str] = {"ccxt": "", "mcp": "2.3.", "uvicorn": "0.54."}
"""Package → what its version has to begin with; CCXT's is the catalog's, exactly."""

_PYTHON = (3, 11)


def check_files(settings: Settings) -> list[Finding]:
    """Who may read the configuration file and the files that hold its secrets."""
    if os.name != "posix":
        words = "not looked at: permissions are other things on this system"
        return [Finding(Check.FILES, "permissions", Outcome.SKIPPED, words)]
    findings = []
    literals = list(_references(settings, literal=True))
    if settings.config_file is not None:
        here = [key for key, _ in literals if settings.origin(key) == str(settings.config_file)]
        secret = bool(here or settings.secrets())
        findings.append(_file(settings.config_file, secret=secret))
    named: dict[str, None] = {}
    for _, reference in _references(settings, literal=False):
        if reference.startswith("file:"):
            named[reference[5:].strip()] = None
    findings += [_file(Path(name).expanduser(), secret=True) for name in named if name]
    if not findings:
        words = "no configuration file and no secret files"
        findings = [Finding(Check.FILES, "permissions", Outcome.OK, words)]
    return findings


def _references(settings: Settings, *, literal: bool) -> Iterable[tuple[str, str]]:
    tables: Mapping[str, Mapping[str, Any]] = {
        "accounts": settings.accounts,
        "tokens": settings.tokens,
    }
    for table, rows in tables.items():
        for name, row in rows.items():
            for key in type(row).model_fields:
                value = getattr(row, key)
                if hasattr(value, "get_secret_value"):
                    text = value.get_secret_value()
                    if is_literal(text) is literal:
                        yield f"{table}.{name}.{key}", text
    store = "" if settings.store_url is None else settings.store_url.get_secret_value()
    if store and is_literal(store) is literal and (not literal or secrets_in_url(store)):
        yield "store_url", store


def _file(path: Path, *, secret: bool) -> Finding:
    subject = str(path)
    try:
        mode = path.stat().st_mode
    except OSError as error:
        words = f"cannot be looked at: {error.strerror or type(error).__name__}"
        remedy = "Correct the path, or put the file there, readable by the server's user alone."
        return Finding(Check.FILES, subject, Outcome.FAILED, words, remedy)
    typed = shlex.quote(subject)
    shown = f"mode {stat.S_IMODE(mode):04o}"
    if not stat.S_ISREG(mode):
        remedy = "Name a file: one that holds the secret and nothing else."
        return Finding(Check.FILES, subject, Outcome.FAILED, "is not a file", remedy)
    if not os.access(path, os.R_OK):
        remedy = f"Let the server's user own it: `chown USER {typed}`, `chmod 600 {typed}`."
        words = f"this user may not read it ({shown})"
        return Finding(Check.FILES, subject, Outcome.FAILED, words, remedy)
    whose = "everybody on this machine" if mode & stat.S_IROTH else "its group"
    if secret and mode & (stat.S_IROTH | stat.S_IRGRP):
        words = f"holds secrets, and {whose} may read it ({shown})"
        remedy = f"Run `chmod 600 {typed}`; make new keys if others have accounts on this machine."
        return Finding(Check.FILES, subject, Outcome.WARNING, words, remedy)
    if mode & stat.S_IWOTH:
        words = f"everybody on this machine may change it ({shown})"
        return Finding(Check.FILES, subject, Outcome.WARNING, words, f"Run `chmod go-w {typed}`.")
    held = "" if secret else "; holds no secrets itself"
    return Finding(Check.FILES, subject, Outcome.OK, f"{shown}{held}")


def check_versions() -> list[Finding]:
    """Whether Python and the packages whose insides matter are those that were tested."""
    python, wanted = platform.python_version(), ".".join(map(str, _PYTHON))
    findings = [
        _version("python", python, sys.version_info >= _PYTHON, f"{wanted} or newer"),
    ]
    for package, begins in TESTED.items():
        exact = catalog().ccxt_version if package == "ccxt" else None
        try:
            found = version(package)
        except PackageNotFoundError:
            found = "none"
        fits = found == exact if exact else found.startswith(begins)
        findings.append(_version(package, found, fits, exact or f"{begins}x"))
    return findings


def _version(subject: str, found: str, fits: bool, wanted: str) -> Finding:
    if fits:
        return Finding(Check.VERSIONS, subject, Outcome.OK, found)
    remedy = f"Install {subject} {wanted}" + (
        "." if subject == "python" else ", best by the project's requirements.lock."
    )
    return Finding(
        Check.VERSIONS,
        subject,
        Outcome.FAILED,
        f"{found} is installed, tested with {wanted}",
        remedy,
    )


async def check_port(settings: Settings) -> Finding:
    """Whether the server could listen, or does already."""
    subject = f"{settings.host}:{settings.port}"
    try:
        bind(settings.host, settings.port).close()
    except ConfigurationError as error:
        if await _is_ours(settings):
            words = "a ccxt-mcp server is running there"
            remedy = "If it is not this configuration's, choose another `port`, or stop it."
            return Finding(Check.PORT, subject, Outcome.WARNING, words, remedy)
        words = str(error).removeprefix(f"cannot listen on {subject}: ")
        what, _, remedy = words.partition(": ")
        words = f"the server cannot listen there: {what}"
        return Finding(Check.PORT, subject, Outcome.FAILED, words, _sentence(remedy))
    return Finding(Check.PORT, subject, Outcome.OK, "free" if settings.port else "any free one")


def _sentence(words: str) -> str:
    return f"{words[:1].upper()}{words[1:]}."


async def _is_ours(settings: Settings) -> bool:
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(settings.host, settings.host)
    shown = f"[{host}]" if ":" in host else host
    try:
        async with httpx.AsyncClient(timeout=2, trust_env=False) as http:
            answer = await http.get(f"http://{shown}:{settings.port}/live")
            return answer.status_code == 200 and answer.json() == {"status": "live"}
    except (httpx.HTTPError, ValueError):
        return False
