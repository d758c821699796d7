"""`ccxt-mcp doctor` where replicas are to share a store: what `serve` would meet is said before."""

from __future__ import annotations

from pathlib import Path

import pytest

from ccxt_mcp.doctor.report import Check, Outcome, Report
from ccxt_mcp.doctor.store import REMEDIES
from ccxt_mcp.serving import bind
from ccxt_mcp.store.redis.wire import _WORDS
from tests.e2e.setups import only, report_on
from tests.redis_server import RedisServer


def written(folder: Path, *lines: str) -> Path:
    file = folder / "ccxt-mcp.toml"
    file.write_text("\n".join(("port = 0", *lines)) + "\n")
    file.chmod(0o600)
    return file


async def about(folder: Path, url: str) -> Report:
    return await report_on(written(folder, f'store_url = "{url}"'))


async def test_without_a_store_nothing_is_said_of_one(tmp_path: Path) -> None:
    report = await report_on(written(tmp_path))
    assert Check.STORE not in {each.check for each in report.findings}


async def test_a_store_that_grants_turns_is_fine_and_keeps_nothing_of_the_examination(
    tmp_path: Path, redis_server: RedisServer
) -> None:
    report = await about(tmp_path, redis_server.url)
    assert only(report, Check.STORE).outcome is Outcome.OK
    assert report.exit_code == 0
    with redis_server.client() as client:
        assert not list(client.scan_iter("*doctor-*"))


async def test_a_store_that_is_away(tmp_path: Path) -> None:
    """Without this check a set-up of which no replica ever gets ready was said to be all well."""
    listener = bind("127.0.0.1", 0)  # bound and not listening: connections are refused
    with listener:
        url = f"redis://:hunter2@127.0.0.1:{listener.getsockname()[1]}"
        listener.close()
        report = await about(tmp_path, url)
    found = only(report, Check.STORE)
    assert found.outcome is Outcome.FAILED
    assert "store_url" in found.remedy
    assert "hunter2" not in str(report.as_dict())
    assert report.exit_code == 1


async def test_a_store_that_wants_another_password(tmp_path: Path, own_redis: RedisServer) -> None:
    with own_redis.client() as client:
        client.config_set("requirepass", "right")
        report = await about(tmp_path, own_redis.url.replace("redis://", "redis://:wrong@"))
    found = only(report, Check.STORE)
    assert found.outcome is Outcome.FAILED
    assert "password" in found.remedy


async def test_a_store_that_is_full(tmp_path: Path, own_redis: RedisServer) -> None:
    with own_redis.client() as client:
        client.config_set("maxmemory", 1)
    found = only(await about(tmp_path, own_redis.url), Check.STORE)
    assert found.outcome is Outcome.FAILED
    assert "maxmemory" in found.remedy


async def test_a_store_that_evicts_is_a_warning(tmp_path: Path, own_redis: RedisServer) -> None:
    """What clouds begin with: all our keys expire, so any of them may go."""
    with own_redis.client() as client:
        client.config_set("maxmemory-policy", "volatile-lru")
    found = only(await about(tmp_path, own_redis.url), Check.STORE)
    assert found.outcome is Outcome.WARNING
    assert "volatile-lru" in found.found
    assert "noeviction" in found.remedy


async def test_a_url_that_serve_would_refuse_is_told_with_all_else(tmp_path: Path) -> None:
    """Without the check of the form, `configuration` was ok and `serve` ended with exit code 2."""
    lines = ('store_url = "localhost:6379"', 'default_exchange = "nowhere"')
    report = await report_on(written(tmp_path, *lines))
    told = [each.found for each in report.findings if each.outcome is Outcome.FAILED]
    assert len(told) == 2
    assert "store_url: the forms are" in told[0]
    assert "nowhere" in told[1]


async def test_offline_leaves_the_store_alone(tmp_path: Path) -> None:
    file = written(tmp_path, 'store_url = "redis://127.0.0.1:1"')
    assert only(await report_on(file, offline=True), Check.STORE).outcome is Outcome.SKIPPED


@pytest.mark.parametrize("reference", [False, True])
async def test_a_stores_password_that_others_may_read_is_a_warning(
    tmp_path: Path, reference: bool
) -> None:
    secret = tmp_path / "store_url"
    secret.write_text("redis://:hunter2@127.0.0.1:1\n")
    secret.chmod(0o644)
    url = f"file:{secret}" if reference else secret.read_text().strip()
    file = written(tmp_path, f'store_url = "{url}"')
    file.chmod(0o600 if reference else 0o644)
    report = await report_on(file, offline=True)
    found = only(report, Check.FILES, str(secret if reference else file))
    assert found.outcome is Outcome.WARNING
    assert "holds secrets" in found.found


def test_the_remedies_are_for_what_the_store_says() -> None:
    said = {*_WORDS.values(), "the store did not answer in time", "the store cannot be reached"}
    assert set(REMEDIES) <= said
