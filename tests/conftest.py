"""Fixtures for all tests."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.tracing import Spans, recorded


@pytest.fixture(autouse=True, scope="session")
def _no_ones_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """The default `data_dir` is the user's; what a test keeps there would outlive the test."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture
def spans() -> Iterator[Spans]:
    """The OpenTelemetry spans of this test."""
    with recorded() as found:
        yield found
