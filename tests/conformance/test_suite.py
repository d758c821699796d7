"""The public suite itself. Needs Node.js: part of `make conformance`."""

import asyncio

import pytest

from tests.conformance.fixture import fixture_server
from tests.conformance.results import judge
from tests.conformance.run import requirements, run_suite
from tests.e2e.conftest import running_stack


@pytest.mark.conformance
async def test_a_server_without_what_is_asked_for_is_not_passed() -> None:
    """The product has none of the fixture's tools. A run that finds nothing wrong with that would
    find nothing wrong with anything."""
    asked = requirements()["2026-07-28"].asked
    async with asyncio.timeout(120), fixture_server() as fixture, running_stack() as stack:
        right = await run_suite(fixture, "fixture", "2026-07-28")
        wrong = await run_suite(f"{stack.url}/mcp", "fixture", "2026-07-28")
    assert judge(right, "fixture", "2026-07-28", asked) == []
    assert len(judge(wrong, "fixture", "2026-07-28", asked)) > 20
