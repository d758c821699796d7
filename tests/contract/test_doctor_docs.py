"""docs/OPERATIONS.md and what `ccxt-mcp doctor` can find are the same thing."""

from __future__ import annotations

import re
from pathlib import Path

from ccxt_mcp.cli import parser
from ccxt_mcp.doctor.diagnosis import FAILURES, TROUBLES
from ccxt_mcp.doctor.examination import TIMEOUT
from ccxt_mcp.doctor.machine import TESTED
from ccxt_mcp.doctor.report import Check, Outcome
from ccxt_mcp.doctor.store import REMEDIES
from ccxt_mcp.exchanges.key_permissions import QUESTIONS

PAGE = (Path(__file__).parents[2] / "docs" / "OPERATIONS.md").read_text(encoding="utf-8")
PART = PAGE.split("## What is wrong", 1)[1].split("\n## ", 1)[0]


def firsts(heading: str) -> list[str]:
    """The first cells of the table with this head."""
    table = PART.split(f"| {heading} |", 1)[1].split("\n\n", 1)[0].splitlines()[2:]
    return [row.split(" | ")[0].removeprefix("| ").strip("`") for row in table]


def test_every_check_and_every_result_is_explained_in_order() -> None:
    assert firsts("Check") == [each.value for each in Check]
    assert firsts("Result") == [each.value for each in Outcome]


def test_every_diagnosis_stands_there_with_its_remedy() -> None:
    found = firsts("Found")
    for diagnosis in (*TROUBLES.values(), *(row.diagnosis for row in FAILURES)):
        assert diagnosis.means in found
        assert f"| {diagnosis.remedy} |" in PART
    for means, remedy in REMEDIES.items():
        assert means in found
        assert f"| {remedy} |" in PART
    assert len(found) == len(set(found))


def test_the_exchanges_that_tell_permissions_are_named() -> None:
    (row,) = re.findall(r"^\| `permissions` .*: (.*) \|$", PART, re.M)
    families = {"binanceusdm": "binance", "binancecoinm": "binance", "myokx": "okx", "okxus": "okx"}
    assert set(row.split(", ")) == {families.get(name, name) for name in QUESTIONS}


def test_packages_and_times_are_those_of_the_code() -> None:
    (row,) = re.findall(r"^\| `versions` \| (.*?) \|", PART, re.M)
    assert re.findall(r"`(.*?)`", row) == ["python", *TESTED]
    assert f"`--timeout` seconds ({TIMEOUT:g})" in PART


def test_every_command_on_the_page_is_one() -> None:
    commands = re.findall(r"^ccxt-mcp (.*?)(?: +#.*| > .*)?$", PAGE, re.M)
    assert len(commands) >= 7
    for command in commands:
        parser().parse_args(command.split())
