"""Fixtures: a running world, and the log lines of its calls."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.unit.tools.world import World, make_world


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    """A server with the demo's accounts, nothing loaded yet."""
    async with make_world(tmp_path, listed={"linear_symbols": 4}) as made:
        yield made


@pytest.fixture
def call_lines(caplog: pytest.LogCaptureFixture) -> Iterator[list[dict[str, Any]]]:
    """The fields of every call's log line, as they come."""
    lines: list[dict[str, Any]] = []

    class Collect(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            assert record.getMessage() == "call"
            lines.append(record.__dict__["fields"])

    logger, handler = logging.getLogger("ccxt_mcp.calls"), Collect()
    with caplog.at_level(logging.INFO, logger.name):
        logger.addHandler(handler)
        yield lines
        logger.removeHandler(handler)
