"""The configuration page says what the code does."""

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
    configuration_reference,
    load_settings,
)

PAGE = Path(__file__).parents[2] / "docs" / "CONFIGURATION.md"


def test_the_page_is_what_the_table_of_settings_generates() -> None:
    """A setting that changes without its documentation fails here."""
    assert PAGE.read_text("utf-8") == configuration_reference(), (
        "run: python -m ccxt_mcp.settings > docs/CONFIGURATION.md"
    )


@pytest.mark.parametrize("model", [Settings, ExchangeProfile, AccountSettings, TokenSettings])
def test_every_setting_is_described_on_the_page(model: type[Settings]) -> None:
    """No setting is without words, and each stands on the page by name."""
    page = configuration_reference()
    for name, info in model.model_fields.items():
        if (info.json_schema_extra or {}) == {"internal": True}:
            continue
        assert info.description, name
        assert name in page, name


def test_every_example_on_the_page_is_a_valid_configuration(tmp_path: Path) -> None:
    """Examples are copied: each loads as it stands."""
    examples = re.findall(r"```toml\n(.*?)```", configuration_reference(), re.DOTALL)
    assert len(examples) >= 4
    for example in examples:
        assert tomllib.loads(example)
        file = tmp_path / "ccxt-mcp.toml"
        file.write_text(example)
        load_settings(file, {})
