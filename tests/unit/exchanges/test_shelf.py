"""Tables on disk: who may have written them, what is complete, how many there are."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from ccxt_mcp.exchanges import shelf as shelf_module
from ccxt_mcp.exchanges.gateway import Gateway
from ccxt_mcp.exchanges.ingestion import Unreadable
from ccxt_mcp.exchanges.shelf import Shelf, fingerprint
from ccxt_mcp.exchanges.snapshots import write
from ccxt_mcp.exchanges.tables import Tables
from tests.unit.exchanges.conftest import Bench, paper

MARKETS = "GET /api/v3/exchangeInfo"


@asynccontextmanager
async def served(bench: Bench, data_dir: Path, **changes: Any) -> AsyncIterator[dict[str, Any]]:
    """A new server over a data directory, after its first use; its state."""
    profile = paper(bench.sim.base_url, **changes)
    gateway = Gateway({"paper": profile}, data_dir=data_dir, on_progress=bench.progress.append)
    try:
        async with asyncio.timeout(10), gateway.public("paper") as lease:
            assert lease.market("BTC/USDT")["id"] == "BTCUSDT"
        yield gateway.snapshot()["paper"]
    finally:
        await gateway.close()


def files(data_dir: Path) -> list[Path]:
    return sorted((data_dir / "tables").iterdir())


async def test_a_second_start_asks_the_exchange_nothing(bench: Bench, tmp_path: Path) -> None:
    async with served(bench, tmp_path / "new" / "dir") as state:
        assert state["marketsFrom"] == "helper"
    before = bench.count(MARKETS)
    async with served(bench, tmp_path / "new" / "dir") as state:
        assert (state["marketsFrom"], state["markets"]) == ("disk", 14)
    assert bench.count(MARKETS) == before == 1
    (file,) = files(tmp_path / "new" / "dir")
    assert file.stat().st_mode & 0o777 == 0o600
    assert file.parent.stat().st_mode & 0o777 == 0o700


async def test_without_a_directory_nothing_is_written(
    bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    async with asyncio.timeout(10), bench.gateway.public("paper"):
        pass
    assert list(tmp_path.iterdir()) == []


async def test_other_options_are_other_tables(bench: Bench, tmp_path: Path) -> None:
    async with served(bench, tmp_path):
        pass
    both = {"fetchMarkets": {"types": ["spot", "linear"]}}
    async with served(bench, tmp_path, options=both) as state:
        assert state["marketsFrom"] == "helper"
    assert len(files(tmp_path)) == 2


def test_a_fingerprint_tells_what_decides_about_markets() -> None:
    same: dict[str, Any] = {"base_url": None, "sandbox": False, "options": {"a": 1, "b": 2}}
    reference = fingerprint("binance", **same)
    assert reference == fingerprint("binance", **{**same, "options": {"b": 2, "a": 1}})
    others = [
        fingerprint("okx", **same),
        fingerprint("binance", **{**same, "base_url": "http://x"}),
        fingerprint("binance", **{**same, "sandbox": True}),
        fingerprint("binance", **{**same, "options": {"a": 1}}),
    ]
    assert len({reference, *others}) == 5


async def test_another_version_of_ccxt_does_not_read_these(
    bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with served(bench, tmp_path):
        pass

    class Later:
        ccxt_version = "9.9.9"

    monkeypatch.setattr(shelf_module, "catalog", Later)
    async with served(bench, tmp_path) as state:
        assert state["marketsFrom"] == "helper"


def truncate(path: Path) -> None:
    os.truncate(path, path.stat().st_size - 20)


def flip(path: Path) -> None:
    path.write_bytes(path.read_bytes().replace(b"BTCUSDT", b"BTCUSDX"))


def empty(path: Path) -> None:
    path.write_bytes(b"")


def rubbish(path: Path) -> None:
    path.write_bytes(os.urandom(5000))


async def test_a_damaged_file_is_replaced(bench: Bench, tmp_path: Path) -> None:
    async with served(bench, tmp_path):
        pass
    for harm in (truncate, flip, empty, rubbish):
        (file,) = files(tmp_path)
        harm(file)
        async with served(bench, tmp_path) as state:
            assert state["marketsFrom"] == "helper", harm.__name__
        async with served(bench, tmp_path) as state:
            assert state["marketsFrom"] == "disk", harm.__name__


@pytest.mark.skipif(not hasattr(os, "geteuid"), reason="no file modes here")
async def test_a_file_that_others_could_have_written_is_not_read(
    bench: Bench, tmp_path: Path
) -> None:
    """Tables decide what a price means: whoever writes them moves the decimal point of an order."""
    async with served(bench, tmp_path):
        pass
    (file,) = files(tmp_path)
    file.chmod(0o666)
    async with served(bench, tmp_path) as state:
        assert state["marketsFrom"] == "helper"
    assert any("is not read: it belongs to others" in each for each in bench.progress)
    (file,) = files(tmp_path)
    elsewhere = tmp_path / "elsewhere"
    file.rename(elsewhere)
    file.symlink_to(elsewhere)
    async with served(bench, tmp_path) as state:
        assert state["marketsFrom"] == "helper"


@pytest.mark.skipif(not hasattr(os, "geteuid"), reason="no file modes here")
async def test_a_directory_that_others_can_write_is_not_used(bench: Bench, tmp_path: Path) -> None:
    (tmp_path / "tables").mkdir()
    (tmp_path / "tables").chmod(0o777)
    async with served(bench, tmp_path) as state:
        assert state["marketsFrom"] == "helper"
    assert files(tmp_path) == []
    assert any("belongs to others or can be written" in each for each in bench.progress)


async def test_a_disk_that_cannot_be_written_costs_the_warm_start_alone(
    bench: Bench, tmp_path: Path
) -> None:
    (tmp_path / "tables").write_text("a file where the directory belongs")
    async with served(bench, tmp_path) as state:
        assert state["marketsFrom"] == "helper"
    assert any(each.startswith("market tables are not kept on disk") for each in bench.progress)


async def test_what_is_kept_is_bounded_and_what_is_abandoned_removed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shelf_module, "MAX_FILES", 3)
    shelf = Shelf(tmp_path, print)
    passing = await shelf.reserve("x", "f0")
    assert passing is not None
    for number in range(5):
        path = tmp_path / "tables" / f"old-{number}.tables"
        path.write_bytes(b"x")
        os.utime(path, (number, number))
    for name, age in ((".a.part", 7200.0), (".b.part", 10.0)):
        path = tmp_path / "tables" / name
        path.write_bytes(b"x")
        os.utime(path, (time.time() - age,) * 2)
    passing.write_bytes(b"y")
    await shelf.keep(passing, "x", "f0")
    assert [path.name for path in files(tmp_path)] == [
        ".b.part",
        "old-3.tables",
        "old-4.tables",
        "x-f0.tables",
    ]
    monkeypatch.setattr(shelf_module, "MAX_FILE_BYTES", 5)
    passing.write_bytes(b"longer than five")
    await shelf.keep(passing, "x", "f1")
    assert not (tmp_path / "tables" / "x-f1.tables").exists()


async def test_frames_are_read_across_the_edges_of_blocks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shelf_module, "_BATCH", 7)
    shelf = Shelf(tmp_path, print)
    passing = await shelf.reserve("x", "f")
    assert passing is not None
    tables = Tables({"markets": {"A/B": {"symbol": "A/B"}}}, {}, (), 1.0, "test", 1)
    written = b"".join(write(tables, "f"))
    passing.write_bytes(written)
    passing.chmod(0o600)
    await shelf.keep(passing, "x", "f")
    found = [kind + body async for kind, body in shelf.frames("x", "f")]
    assert b"".join(len(each).to_bytes(4, "big") + each for each in found) == written
    os.truncate(tmp_path / "tables" / "x-f.tables", len(written) - 1)
    with pytest.raises(Unreadable, match="cut off"):
        assert [each async for each in shelf.frames("x", "f")]


async def test_an_abandoned_load_leaves_no_file(bench: Bench, tmp_path: Path) -> None:
    from ccxt_mcp.simulation import Fault
    from tests.unit.exchanges.conftest import until

    bench.sim.faults.add(Fault(kind="hang", route=MARKETS))
    gateway = Gateway({"paper": paper(bench.sim.base_url)}, data_dir=tmp_path)
    waiter = asyncio.create_task(gateway.public("paper").__aenter__())
    async with asyncio.timeout(10):
        await until(lambda: bench.count(MARKETS) == 1)
        await gateway.close()
        await asyncio.gather(waiter, return_exceptions=True)
    assert files(tmp_path) == []
