"""Where the store's URL comes from: it holds a password, so it is a secret like any other."""

from __future__ import annotations

from pathlib import Path

import pytest

from ccxt_mcp.cluster import cluster as module
from ccxt_mcp.cluster.cluster import Cluster
from ccxt_mcp.errors import ConfigurationError
from ccxt_mcp.product import assemble
from ccxt_mcp.settings import Settings
from ccxt_mcp.store.memory import MemoryStore

URL = "redis://:a-password@valkey:6379/0"


def asked(monkeypatch: pytest.MonkeyPatch, store_url: str, **environ: str) -> list[str]:
    """The URLs at which a store was looked for."""
    urls: list[str] = []

    def store_at(url: str, *, prefix: str, timeout: float) -> MemoryStore:
        urls.append(url)
        return MemoryStore()

    monkeypatch.setattr(module, "store_at", store_at)
    Cluster.from_settings(Settings.model_validate({"store_url": store_url}), environ)
    return urls


def test_it_may_be_itself_a_variable_or_a_file(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "url").write_text(f"{URL}\n")
    assert asked(monkeypatch, URL) == [URL]
    assert asked(monkeypatch, "env:STORE", STORE=URL) == [URL]
    assert asked(monkeypatch, f"file:{tmp_path / 'url'}") == [URL]


def test_one_that_cannot_be_had_stops_the_start_and_names_the_setting(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    with pytest.raises(ConfigurationError, match=r"store_url: the file .* cannot be read"):
        asked(monkeypatch, f"file:{tmp_path / 'none'}")


def test_without_one_a_process_is_on_its_own() -> None:
    assert Cluster.from_settings(Settings()) is None


def test_the_stores_password_is_known_to_the_redactor(tmp_path: Path) -> None:
    """Without it a library's error could show it in a log line."""
    secret = tmp_path / "store"
    secret.write_text("redis://default:p%40ssword-1@127.0.0.1:1/0")
    secret.chmod(0o600)
    settings = Settings.model_validate({"store_url": f"file:{secret}", "data_dir": tmp_path})
    product = assemble(settings, environ={}, cluster=Cluster.from_settings(settings, {}))
    shown = product.redactor.text("default: p%40ssword-1 and p@ssword-1")
    assert shown == "default: *** and ***"
