"""Fixtures of the client's tests."""

from __future__ import annotations

import random
from collections.abc import Iterator

import pytest
import respx


@pytest.fixture
def mock() -> Iterator[respx.MockRouter]:
    with respx.mock(assert_all_called=False) as router:
        yield router


@pytest.fixture(autouse=True)
def _at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Retries without their random pauses."""
    monkeypatch.setattr(random, "uniform", lambda low, high: 0.0)
