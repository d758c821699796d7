"""Callers: tokens from the settings, and who a header stands for."""

from __future__ import annotations

from pathlib import Path

import pytest

from ccxt_mcp.callers import LONGEST_HEADER, Tokens
from ccxt_mcp.errors import ConfigurationError
from ccxt_mcp.model import ANONYMOUS, Scope
from ccxt_mcp.settings import Settings, load_settings

GOOD = "abcdefghijklmnop-1"
OTHER = "abcdefghijklmnop-2"


def settings(**tokens: dict[str, object]) -> Settings:
    return Settings.model_validate({"tokens": tokens})


def test_without_tokens_everybody_is_anonymous() -> None:
    tokens = Tokens.from_settings(settings(), {})
    assert not tokens.required
    assert tokens.authenticate(None) is ANONYMOUS


def test_a_token_stands_for_its_name_and_scopes() -> None:
    tokens = Tokens.from_settings(
        settings(a={"token": GOOD, "scopes": ["read", "trade"]}, b={"token": "env:B"}),
        {"B": OTHER},
    )
    assert tokens.required
    a, b = tokens.authenticate(f"Bearer {GOOD}"), tokens.authenticate(f"bEARER  {OTHER} ")
    assert a is not None
    assert (a.name, a.scopes) == ("a", frozenset({Scope.READ, Scope.TRADE}))
    assert b is not None
    assert (b.name, b.scopes) == ("b", frozenset({Scope.READ}))
    assert tokens.describe() == ["a: read, trade", "b: read"]


@pytest.mark.parametrize(
    "header",
    [
        None,
        "",
        "Bearer",
        "Bearer ",
        GOOD,
        f"Basic {GOOD}",
        f"Bearer{GOOD}",
        f"Bearer {GOOD}x",
        f"Bearer {GOOD[:-1]}",
        f"Bearer {GOOD} {GOOD}",
        f"Bearer\t{GOOD}",
        f" Bearer {GOOD}",
        f"Bearer {GOOD}\n",
        "Bearer ü" + GOOD,
        "Bearer " + "x" * LONGEST_HEADER,
    ],
)
def test_every_other_header_is_refused(header: str | None) -> None:
    tokens = Tokens.from_settings(settings(a={"token": GOOD}), {})
    assert tokens.authenticate(header) is None


def test_a_repr_shows_names_alone() -> None:
    tokens = Tokens.from_settings(settings(a={"token": GOOD}), {})
    assert repr(tokens) == "Tokens(a)"
    assert tokens.secrets() == (GOOD,)


def test_bad_tokens_are_all_named_without_their_text(tmp_path: Path) -> None:
    empty = tmp_path / "empty"
    empty.write_text("\n")
    with pytest.raises(ConfigurationError) as caught:
        Tokens.from_settings(
            settings(
                short={"token": "hunter2"},
                spaced={"token": "hunter2 hunter2 hunter2"},
                unset={"token": "env:NOT_SET"},
                empty={"token": f"file:{empty}"},
                one={"token": GOOD},
                two={"token": "env:TWO"},
            ),
            {"TWO": GOOD},
        )
    text = str(caught.value)
    assert "tokens.short.token: is shorter than 16 characters" in text
    assert "secrets.token_urlsafe(32)" in text
    assert "tokens.spaced.token: has characters that a header cannot carry" in text
    assert "tokens.unset.token: the environment variable NOT_SET is not set" in text
    assert f"tokens.empty.token: the file {empty} is empty" in text
    assert "tokens.one and tokens.two are the same token" in text
    assert "hunter2" not in text
    assert GOOD not in text


def test_a_literal_token_in_a_file_that_others_can_read_is_warned_about(tmp_path: Path) -> None:
    file = tmp_path / "c.toml"
    file.write_text(f'[tokens.a]\ntoken = "{GOOD}"\n')
    file.chmod(0o644)
    (warning,) = Tokens.from_settings(load_settings(file, {}), {}).warnings
    assert "tokens.a.token" in warning
    assert "chmod 600" in warning
    assert GOOD not in warning
    file.chmod(0o600)
    assert Tokens.from_settings(load_settings(file, {}), {}).warnings == ()
