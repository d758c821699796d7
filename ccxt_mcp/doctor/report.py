"""What was found: findings, and the report that they make.

Owns: the four outcomes, the form of a finding, what a whole examination comes to, and its exit
code. Refuses: secrets and control characters in any text.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any

from ccxt_mcp import __version__
from ccxt_mcp.redaction import printable

__all__ = ["Check", "Finding", "Outcome", "Report"]


class Outcome(StrEnum):
    """How a check ended."""

    OK = "ok"
    WARNING = "warning"
    FAILED = "failed"
    SKIPPED = "skipped"


class Check(StrEnum):
    """What was looked at, in the order in which it is."""

    CONFIGURATION = "configuration"
    FILES = "files"
    VERSIONS = "versions"
    PORT = "port"
    STORE = "store"
    CONNECTION = "connection"
    CLOCK = "clock"
    MARKETS = "markets"
    CREDENTIALS = "credentials"
    PERMISSIONS = "permissions"


@dataclass(frozen=True, slots=True)
class Finding:
    """One check of one thing.

    Attributes:
        check: what was looked at.
        subject: of what: a file, a package, an address, an exchange's profile, an account's name.
        outcome: how it ended.
        found: what was found, in one or two sentences.
        remedy: what to do; empty where nothing has to be done.
    """

    check: Check
    subject: str
    outcome: Outcome
    found: str
    remedy: str = ""

    def clean(self, redact: Callable[[str], str] = str) -> Finding:
        """The same with texts that may be shown."""
        return replace(
            self,
            subject=printable(redact(self.subject)),
            found=printable(redact(self.found)),
            remedy=printable(redact(self.remedy)),
        )

    def as_dict(self) -> dict[str, str]:
        """The finding as JSON values; ``remedy`` is left out where there is none."""
        out = {
            "check": self.check.value,
            "subject": self.subject,
            "outcome": self.outcome.value,
            "found": self.found,
        }
        return {**out, "remedy": self.remedy} if self.remedy else out


@dataclass(frozen=True, slots=True)
class Report:
    """All findings, in the order of the checks.

    ``unreadable``: the configuration could not be read at all, so that next to nothing was checked.
    """

    findings: tuple[Finding, ...]
    unreadable: bool = False

    @classmethod
    def of(cls, findings: Iterable[Finding], *, unreadable: bool = False) -> Report:
        """A report of findings that may be shown."""
        return cls(tuple(each.clean() for each in findings), unreadable)

    @property
    def outcome(self) -> Outcome:
        """The worst of all; what was skipped does not count."""
        for outcome in (Outcome.FAILED, Outcome.WARNING):
            if any(each.outcome is outcome for each in self.findings):
                return outcome
        return Outcome.OK

    @property
    def exit_code(self) -> int:
        """0 when nothing failed, 1 when something did, 2 for an unreadable configuration."""
        return 2 if self.unreadable else int(self.outcome is Outcome.FAILED)

    def as_dict(self) -> dict[str, Any]:
        """The report as JSON values."""
        counted = Counter(each.outcome for each in self.findings)
        return {
            "version": __version__,
            "outcome": self.outcome.value,
            "counts": {outcome.value: counted[outcome] for outcome in Outcome},
            "findings": [each.as_dict() for each in self.findings],
        }
