"""`docs/CONCURRENCY.md` tells the truth about names: fields, owners and tests exist."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "CONCURRENCY.md").read_text()
TABLE = PAGE.partition("## Mutable state")[2]
ROWS = [
    [cell.strip() for cell in line.strip().strip("|").split("|")]
    for line in TABLE.splitlines()
    if line.startswith("| `")
]
TICKED = re.compile(r"`([^`]+)`")


HAZARDS = [
    line.strip().strip("|").split("|")[-1]
    for line in PAGE.partition("| Hazard |")[2].partition("\n\n")[0].splitlines()
    if "::" in line
]


def test_the_tables_were_found() -> None:
    assert len(ROWS) >= 10
    assert len(HAZARDS) >= 20
    assert all(len(row) == 4 for row in ROWS)


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row[0])
def test_a_row_names_fields_owners_and_tests_that_exist(row: list[str]) -> None:
    fields, owners, _, tests = row
    sources = [(ROOT / "ccxt_mcp" / owner).read_text() for owner in TICKED.findall(owners)]
    assert sources
    for field in TICKED.findall(fields):
        name = field.rsplit(".", 1)[-1]
        assert any(re.search(rf"\b{re.escape(name)}\b", source) for source in sources), field
    _check_tests(tests)


@pytest.mark.parametrize("tests", HAZARDS)
def test_a_hazard_names_tests_that_exist(tests: str) -> None:
    _check_tests(tests)


def _check_tests(cell: str) -> None:
    named = TICKED.findall(cell)
    assert named
    for test in named:
        path, _, function = test.partition("::")
        assert (ROOT / path).is_file(), test
        assert f"def {function}" in (ROOT / path).read_text(), test


def test_settings_named_in_the_page_exist() -> None:
    from ccxt_mcp.settings import Settings

    known = set(Settings.model_fields)
    for name in ("lane_wait_max", "lane_queue_max", "ccxt_timeout", "tool_timeout"):
        assert f"`{name}`" in PAGE
        assert name in known
