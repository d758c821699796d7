"""Fixtures for all tests."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.redis_server import NO_BINARY, RedisServer, running_redis, server_binary
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


@pytest.fixture(scope="session")
def redis_binary() -> str:
    """A server's program; where there is none, the test is skipped."""
    binary = server_binary()
    if binary is None:
        pytest.skip(NO_BINARY)
    return binary


@pytest.fixture(scope="session")
def redis_server(
    redis_binary: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[RedisServer]:
    """A real server on loopback, one for all tests of a process: each takes a prefix of its own,
    and disturbs nobody but itself."""
    with running_redis(redis_binary, tmp_path_factory.mktemp("redis")) as server:
        yield server


@pytest.fixture
def own_redis(redis_binary: str, tmp_path: Path) -> Iterator[RedisServer]:
    """A server of the test's own, which it may stop, pause and fill."""
    with running_redis(redis_binary, tmp_path) as server:
        yield server
