"""Reading what the suite found, and judging it.

Owns: the suite's requirement and result files, and what counts as a pass: stricter than the suite,
which lets warnings and scenarios without a single check through. Refuses: running it (``run.py``).
"""

import json
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.conformance.expected import DEVIATIONS, MUST_SUCCEED, Deviation

__all__ = ["Outcome", "Requirements", "judge", "read_outcomes", "read_requirements"]

_RESULT = re.compile(r"server-(.+)-\d{4}-\d\d-\d\dT[\d-]+Z")
_OF_THE_WIRE = "wire-schema-valid"
"""A check that each scenario makes beside its own; it says nothing of what that is about."""
_BAD = ("FAILURE", "WARNING")


@dataclass(frozen=True)
class Requirements:
    """The server scenarios of one revision: scored, run beside them, and of extensions."""

    scored: tuple[str, ...]
    beside: tuple[str, ...]
    extensions: tuple[str, ...]

    @property
    def asked(self) -> tuple[str, ...]:
        return self.scored + self.beside


@dataclass(frozen=True)
class Outcome:
    """What one scenario recorded against one server."""

    server: str
    revision: str
    scenario: str
    checks: tuple[dict[str, Any], ...]

    @property
    def bad(self) -> list[dict[str, Any]]:
        return [check for check in self.checks if check["status"] in _BAD]

    def count(self, *statuses: str) -> int:
        return sum(check["status"] in statuses for check in self.checks)

    def deviations(self, known: Iterable[Deviation] = DEVIATIONS) -> list[Deviation]:
        """The named ones that were met."""
        bad = {check["id"] for check in self.bad}
        return [
            each
            for each in known
            if (each.server, each.scenario) == (self.server, self.scenario) and each.check in bad
        ]

    def summary(self) -> str:
        """One cell of the table in docs/CONFORMANCE.md."""
        excused = {each.check for each in self.deviations()}
        counts = Counter(
            "deviation" if check["id"] in excused else "FAILED" for check in self.bad
        ) + Counter({"passed": self.count("SUCCESS"), "not applicable": self.count("SKIPPED")})
        order = ("passed", "FAILED", "deviation", "not applicable")
        plural = {"deviation": "deviations"}
        return ", ".join(
            f"{counts[word]} {plural.get(word, word) if counts[word] > 1 else word}"
            for word in order
            if counts[word]
        )


def read_requirements(file: Path) -> Requirements:
    """The server part of one of the suite's requirement files, which are YAML of a plain kind.

    Raises:
        ValueError: it lists no server scenarios.
    """
    text = file.read_text()
    sections = dict(re.findall(r"^(\w+):\n((?:[ \t#].*\n|\n)*)", text + "\n", re.MULTILINE))
    scored = tuple(re.findall(r"^  - (\S+)$", sections.get("server", ""), re.MULTILINE))
    if not scored:
        raise ValueError(f"no server scenarios in {file.name}")
    others = re.findall(
        r"- scenario: (\S+)\n +leg: server\n +reason: (\S+)", sections.get("not_scored", "")
    )
    return Requirements(
        scored,
        tuple(name for name, reason in others if reason != "extension"),
        tuple(name for name, reason in others if reason == "extension"),
    )


def read_outcomes(directory: Path, server: str, revision: str) -> dict[str, Outcome]:
    """Every scenario that left a file of results, by name."""
    found = {}
    for file in sorted(directory.glob("*/checks.json")):
        match = _RESULT.fullmatch(file.parent.name)
        if match is not None:
            checks = tuple(json.loads(file.read_text()))
            found[match[1]] = Outcome(server, revision, match[1], checks)
    return found


def judge(
    outcomes: dict[str, Outcome],
    server: str,
    revision: str,
    asked: Sequence[str],
    known: Sequence[Deviation] = DEVIATIONS,
) -> list[str]:
    """What is wrong, one line each: nothing means that the server does what is asked of it."""
    problems = []
    for scenario in asked:
        where = f"{server}, {revision}, {scenario}"
        outcome = outcomes.get(scenario)
        if outcome is None:
            problems.append(f"{where}: left no results")
            continue
        excused = {each.check for each in outcome.deviations(known)}
        problems += [
            f"{where}: {check['status']} {check['id']}: {check.get('errorMessage')}"
            for check in outcome.bad
            if check["id"] not in excused
        ]
        succeeded = {check["id"] for check in outcome.checks if check["status"] == "SUCCESS"}
        if not succeeded - {_OF_THE_WIRE}:
            problems.append(f"{where}: no check of its own succeeded")
        problems += [
            f"{where}: {check} did not succeed"
            for check in MUST_SUCCEED.get(scenario, ())
            if check not in succeeded
        ]
    return problems
