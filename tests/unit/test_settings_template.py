"""The file that `ccxt-mcp init` writes."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest

from ccxt_mcp.settings import (
    AccountSettings,
    ExchangeProfile,
    Settings,
    TokenSettings,
    load_settings,
)
from ccxt_mcp.settings.template import _HEADINGS, configuration_template


def uncommented() -> str:
    """Every setting switched on, as the file's first lines say how."""
    return re.sub(r"^#(?=[a-z\[])", "", configuration_template(), flags=re.M)


def test_as_written_it_sets_nothing() -> None:
    assert tomllib.loads(configuration_template()) == {}


def test_every_setting_is_in_it_and_loads_when_it_is_switched_on(tmp_path: Path) -> None:
    file = tmp_path / "ccxt-mcp.toml"
    file.write_text(uncommented())
    document = tomllib.loads(uncommented())
    assert set(document) == set(Settings.model_fields)
    assert set(document["exchanges"]["paper"]) == set(ExchangeProfile.model_fields) - {
        "name",
        "ca_file",
    }
    assert 'ca_file = "exchange-ca.pem"' in configuration_template(), "there is no such file yet"
    assert set(document["accounts"]["main"]) == set(AccountSettings.model_fields)
    assert set(document["tokens"]["workflows"]) == set(TokenSettings.model_fields)
    settings = load_settings(file, {})
    assert settings.exchanges["paper"].exchange == "binance"


def test_switching_on_what_has_a_default_changes_nothing(tmp_path: Path) -> None:
    """The values that are shown are the defaults, and no second list of them."""
    own, _, _ = uncommented().partition("[exchanges.paper]")
    file = tmp_path / "ccxt-mcp.toml"
    file.write_text(own)
    settings, defaults = load_settings(file, {}), load_settings(None, {})
    examples = {"default_exchange", "store_url", "node_address"}
    assert settings.model_dump(exclude=examples) == defaults.model_dump(exclude=examples)


def test_no_secret_stands_in_the_examples() -> None:
    for row in tomllib.loads(uncommented())["accounts"].values():
        assert all(
            value.startswith(("env:", "file:")) for key, value in row.items() if key != "exchange"
        )


@pytest.mark.parametrize("name", sorted(_HEADINGS))
def test_a_heading_stands_before_a_setting_that_there_is(name: str) -> None:
    assert name in Settings.model_fields
    assert f"# --- {_HEADINGS[name]} ---" in configuration_template()
