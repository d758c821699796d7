"""Fixtures for all tests."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from benchmarks.store_server import NOT_FOUND, StoreServer
from tests.cluster.exceptions import why
from tests.cluster.replicas import COUNT
from tests.redis_server import RedisServer, running_redis
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
def redis_there() -> None:
    """Where there is no server to start, the test is skipped."""
    if not StoreServer.found():
        pytest.skip(NOT_FOUND)


@pytest.fixture(scope="session")
def redis_server(
    redis_there: None, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[RedisServer]:
    """A real server on loopback, one for all tests of a process: each takes a prefix of its own,
    and disturbs nobody but itself."""
    with running_redis(tmp_path_factory.mktemp("redis")) as server:
        yield server


@pytest.fixture
def own_redis(redis_there: None, tmp_path: Path) -> Iterator[RedisServer]:
    """A server of the test's own, which it may stop, pause and fill."""
    with running_redis(tmp_path) as server:
        yield server


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Behind several replicas, pass over what cannot hold there."""
    if COUNT == 1:
        return
    for item in items:
        reason = why(item.path.name, item.name)
        if reason is not None:
            item.add_marker(pytest.mark.skip(reason=reason))
