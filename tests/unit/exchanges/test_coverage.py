"""The declared shapes are those of the requests that CCXT really makes, and the page says so."""

from __future__ import annotations

from pathlib import Path

from tests.unit.exchanges.coverage import COLUMNS, EXCHANGES, table

PAGE = Path(__file__).parents[3] / "docs" / "CONCURRENCY.md"


async def test_every_request_for_what_the_page_lists_has_a_declared_answer() -> None:
    """Each unified method of each covered exchange is called, with the wire cut where CCXT would
    sign: an endpoint without a row would pass a wrong shape on as "nothing"."""
    lines, missing = await table()
    assert missing == []
    assert len(lines) == len(EXCHANGES) + 2
    assert all(line.count("|") == len(COLUMNS) + 2 for line in lines)
    assert "\n".join(lines) in PAGE.read_text("utf-8"), (
        "run: python -m tests.unit.exchanges.coverage and put its table into docs/CONCURRENCY.md"
    )
