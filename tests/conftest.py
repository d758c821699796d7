"""Fixtures for all tests."""

from __future__ import annotations

import signal
from collections.abc import Iterator

import pytest

from tests.tracing import Spans, recorded

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    # A run in a shell's background inherits that, and so would the programs that tests interrupt.
    signal.signal(signal.SIGINT, signal.default_int_handler)


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
