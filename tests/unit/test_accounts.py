"""Accounts: where they come from, which one a call means, and that their secrets stay inside."""

from __future__ import annotations

import copy
import os
import pickle
from pathlib import Path
from typing import Any

import ccxt
import pytest

from ccxt_mcp.accounts import KEY_ONLY, SECRET_ONLY, Account, Accounts, load_accounts
from ccxt_mcp.errors import Code, ConfigurationError, Failure
from ccxt_mcp.settings import Settings, load_settings
from ccxt_mcp.settings.references import SecretUnavailableError, resolve_secret

IDS = ("binance", "kraken", "okx", "mudrex", "onetrading", "hyperliquid", "gate")


def settings(**tables: Any) -> Settings:
    return Settings.model_validate(tables)


def account(name: str, exchange: str) -> Account:
    return Account(name, exchange, {"apiKey": "k", "secret": "s"}, "a test")


def refusal(of: Settings, environ: dict[str, str] | None = None) -> str:
    with pytest.raises(ConfigurationError) as caught:
        load_accounts(of, environ or {}, IDS)
    return str(caught.value)


def test_keys_come_from_variables_files_or_the_configuration_itself(tmp_path: Path) -> None:
    key = tmp_path / "key"
    key.write_bytes(b" from-file \r\n")
    accounts = load_accounts(
        settings(
            accounts={
                "main": {
                    "exchange": "okx",
                    "api_key": "env:KEY",
                    "secret": f"file:{key}",
                    "password": "literal",
                }
            }
        ),
        {"KEY": "from-env"},
        IDS,
    )
    (main,) = accounts.all()
    assert main.credentials == {
        "apiKey": "from-env",
        "secret": " from-file ",
        "password": "literal",
    }
    assert accounts.describe() == ["main: okx, from [accounts.main]"]


def test_variables_of_any_exchange_make_an_account_named_after_it() -> None:
    accounts = load_accounts(
        settings(),
        {
            "BINANCE_API_KEY": "k",
            "BINANCE_SECRET": "s",
            "BINANCE_PASSWORD": "p",
            "MUDREX_SECRET": "s",
            "ONETRADING_API_KEY": "k",
            "HYPERLIQUID_WALLET_ADDRESS": "w",
            "OKX_API_KEY": "",
            "KRAKEN_FEES": "x",
            "BITFINEX_API_KEY": "not an id that was passed",
        },
        IDS,
    )
    binance = accounts.resolve("binance", None)
    assert binance.credentials == {"apiKey": "k", "secret": "s", "password": "p"}
    assert accounts.describe() == [
        "binance: binance, from environment BINANCE_API_KEY, BINANCE_SECRET, BINANCE_PASSWORD",
        "hyperliquid: hyperliquid, from environment HYPERLIQUID_WALLET_ADDRESS",
        "mudrex: mudrex, from environment MUDREX_SECRET",
        "onetrading: onetrading, from environment ONETRADING_API_KEY",
    ]
    assert accounts.warnings == ()


def test_variables_are_ignored_on_request() -> None:
    accounts = load_accounts(
        settings(exchange_keys_from_env=False), {"BINANCE_API_KEY": "only half"}, IDS
    )
    assert accounts.all() == ()


def test_a_configured_account_wins_over_variables_of_its_name() -> None:
    accounts = load_accounts(
        settings(accounts={"okx": {"exchange": "kraken", "api_key": "a", "secret": "b"}}),
        {"OKX_API_KEY": "hunter2", "OKX_SECRET": "hunter2"},
        IDS,
    )
    assert accounts.resolve(None, "okx").exchange == "kraken"
    (warning,) = accounts.warnings
    assert "OKX_API_KEY, OKX_SECRET ignored" in warning
    assert "hunter2" not in warning


def test_half_a_key_is_an_error_that_names_the_other_half() -> None:
    """`BINANCE_API_SECRET` is the commonest misspelling, so it gets its own words."""
    text = refusal(
        settings(
            accounts={
                "a": {"exchange": "binance", "api_key": "hunter2"},
                "b": {"exchange": "okx", "secret": "hunter2", "password": "hunter2"},
                "c": {"exchange": "okx"},
            }
        ),
        {"KRAKEN_API_KEY": "hunter2", "KRAKEN_API_SECRET": "hunter2", "GATE_SECRET": "hunter2"},
    )
    assert "accounts.a: secret is missing" in text
    assert "accounts.b: api_key is missing" in text
    assert "accounts.c: has no credentials" in text
    assert "lacks KRAKEN_SECRET (KRAKEN_API_SECRET is set: rename it)" in text
    assert "lacks GATE_API_KEY" in text
    assert "hunter2" not in text


def test_a_lone_password_variable_is_only_warned_about() -> None:
    """`GATE_PASSWORD` may well belong to something else than an exchange."""
    accounts = load_accounts(settings(), {"GATE_PASSWORD": "hunter2"}, IDS)
    assert accounts.all() == ()
    assert accounts.warnings == ("GATE_PASSWORD alone make no account for gate; ignored",)


def test_the_exchanges_with_half_a_key_are_those_of_this_ccxt() -> None:
    """The two sets are copies of CCXT's facts; a new CCXT must not make them lies."""
    key_only: set[str] = set()
    secret_only: set[str] = set()
    for exchange in ccxt.exchanges:
        needs = getattr(ccxt, exchange)().requiredCredentials
        if needs["privateKey"] or needs["walletAddress"] or needs["token"]:
            continue
        if needs["apiKey"] and not needs["secret"]:
            key_only.add(exchange)
        if needs["secret"] and not needs["apiKey"]:
            secret_only.add(exchange)
    assert key_only == set(KEY_ONLY)
    assert secret_only == set(SECRET_ONLY)


def test_secrets_that_cannot_be_had_name_account_field_and_place(tmp_path: Path) -> None:
    (tmp_path / "empty").write_text("\n")
    (tmp_path / "binary").write_bytes(b"\xff\xfe\x00")
    (tmp_path / "large").write_text("x" * 70_000)
    fields = {
        "api_key": "env:NOT_SET",
        "secret": f"file:{tmp_path}/missing",
        "password": f"file:{tmp_path}/empty",
        "uid": f"file:{tmp_path}/binary",
        "login": f"file:{tmp_path}/large",
        "token": f"file:{tmp_path}",
        "twofa": "env:BLANK",
        "private_key": "file:",
        "account_id": "",
    }
    text = refusal(settings(accounts={"m": {"exchange": "okx", **fields}}), {"BLANK": " "})
    assert "accounts.m.api_key: the environment variable NOT_SET is not set" in text
    assert f"accounts.m.secret: the file {tmp_path}/missing cannot be read: No such file" in text
    assert f"accounts.m.password: the file {tmp_path}/empty is empty" in text
    assert f"accounts.m.uid: the file {tmp_path}/binary is not UTF-8 text" in text
    assert f"accounts.m.login: the file {tmp_path}/large is larger than 65536 bytes" in text
    assert f"accounts.m.token: the file {tmp_path} cannot be read: Is a directory" in text
    assert "accounts.m.twofa: the environment variable BLANK is empty" in text
    assert "accounts.m.private_key: `file:` needs a path" in text
    assert "accounts.m.account_id: is empty" in text


def test_a_secret_that_is_a_named_pipe_is_refused_at_once(tmp_path: Path) -> None:
    """Opening one waits until somebody writes into it: `serve` and `doctor` never came to an
    end, nor does this test without the cure."""
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(SecretUnavailableError, match="no regular file but a pipe"):
        resolve_secret(f"file:{tmp_path}/pipe", {})


def test_exchanges_and_default_accounts_must_fit_together() -> None:
    text = refusal(
        settings(
            exchanges={
                "paper": {"exchange": "binance", "default_account": "alise"},
                "kraken": {"default_account": "alice"},
            },
            accounts={
                "alice": {"exchange": "paper", "api_key": "a", "secret": "b"},
                "bob": {"exchange": "papre", "api_key": "a", "secret": "b"},
            },
        )
    )
    assert "exchanges.paper.default_account: names no account; did you mean alice?" in text
    assert "exchanges.kraken.default_account: account alice is of exchange paper" in text
    assert "accounts.bob.exchange: is neither" in text
    assert "did you mean paper?" in text


def test_a_default_account_may_come_from_variables() -> None:
    accounts = load_accounts(
        settings(
            exchanges={"okx": {"default_account": "okx"}},
            accounts={"other": {"exchange": "okx", "api_key": "a", "secret": "b"}},
        ),
        {"OKX_API_KEY": "k", "OKX_SECRET": "s"},
        IDS,
    )
    assert accounts.resolve("okx", None).name == "okx"


def test_literal_secrets_in_a_readable_file_are_warned_about(tmp_path: Path) -> None:
    file = tmp_path / "c.toml"
    file.write_text('[accounts.a]\nexchange = "okx"\napi_key = "hunter2"\nsecret = "env:S"\n')
    file.chmod(0o640)
    loaded = load_settings(file, {})
    (warning,) = load_accounts(loaded, {"S": "s"}, IDS).warnings
    assert "accounts.a.api_key" in warning
    assert "accounts.a.secret" not in warning
    assert f"chmod 600 {file}" in warning
    assert "hunter2" not in warning
    assert load_accounts(loaded, {"S": "s"}, IDS).describe() == [
        f"a: okx, from {file} [accounts.a]"
    ]
    file.chmod(0o600)
    assert load_accounts(loaded, {"S": "s"}, IDS).warnings == ()


def test_the_account_a_call_means() -> None:
    accounts = Accounts(
        [account("a", "paper"), account("b", "paper"), account("c", "kraken")],
        defaults={"paper": "b"},
    )
    assert accounts.resolve(None, "a").name == "a"
    assert accounts.resolve("paper", "a").name == "a"
    assert accounts.resolve("paper", None).name == "b"
    assert accounts.resolve("kraken", None).name == "c"
    assert accounts.resolve(None, None, default_exchange="paper").name == "b"
    assert accounts.resolve("kraken", None, default_exchange="paper").name == "c"


def test_an_accounts_name_is_found_in_any_case_unless_several_have_it() -> None:
    accounts = Accounts([account("Alice", "paper"), account("bob", "paper"), account("BOB", "x")])
    assert accounts.resolve(None, "ALICE").name == "Alice"
    assert accounts.resolve("paper", "alice").name == "Alice"
    assert [accounts.resolve(None, each).name for each in ("bob", "BOB")] == ["bob", "BOB"]
    with pytest.raises(Failure, match=r"bob \(paper\), BOB \(x\)") as caught:
        accounts.resolve(None, "Bob")
    assert caught.value.code is Code.UNKNOWN_ACCOUNT


@pytest.mark.parametrize(
    ("exchange", "name", "code", "words"),
    [
        ("paper", None, Code.INVALID_ARGUMENT, "several accounts: alice, bob"),
        ("kraken", "alice", Code.INVALID_ARGUMENT, "of exchange paper, but `exchange` says kraken"),
        (None, None, Code.INVALID_ARGUMENT, "Neither `exchange` nor `account` is given"),
        (None, "alise", Code.UNKNOWN_ACCOUNT, "did you mean alice?"),
        (None, "x" * 10_000, Code.UNKNOWN_ACCOUNT, "Accounts: alice (paper), bob (paper)"),
        ("okx", None, Code.UNKNOWN_ACCOUNT, "No account is configured for okx"),
    ],
)
def test_what_cannot_be_decided_is_refused_with_the_choices(
    exchange: str | None, name: str | None, code: Code, words: str
) -> None:
    accounts = Accounts([account("alice", "paper"), account("bob", "paper")])
    with pytest.raises(Failure) as caught:
        accounts.resolve(exchange, name, default_exchange=None)
    assert caught.value.code is code
    assert words in caught.value.message
    assert len(caught.value.message) < 500


def test_an_exchange_without_an_account_gets_the_remedy() -> None:
    with pytest.raises(Failure) as caught:
        Accounts().resolve("okx", None)
    assert "set OKX_API_KEY and OKX_SECRET, or add [accounts.NAME]" in caught.value.hint
    with pytest.raises(Failure) as caught:
        Accounts(from_environment=False).resolve("okx", None)
    assert "OKX_API_KEY" not in caught.value.hint


def test_secrets_stay_out_of_repr_and_pickle() -> None:
    one = Account("a", "okx", {"apiKey": "hunter2key", "secret": "hunter2", "uid": "1234567"})
    accounts = Accounts([one])
    assert "hunter2" not in repr(one) + str(one) + repr(accounts) + str([one])
    for operation in (pickle.dumps, copy.copy, copy.deepcopy):
        with pytest.raises(TypeError) as caught:
            operation(one)
        assert "hunter2" not in str(caught.value)
    assert accounts.secrets() == ("hunter2key", "hunter2")


@pytest.mark.parametrize("key", [" hunter2", "hun ter2", "hunter2\r", "hunter2\n\n", "hünter2"])
def test_an_api_key_that_no_header_can_carry_stops_the_start(key: str) -> None:
    """Before: every call of the account failed as `internal`, "the request could not be made"."""
    account = {"exchange": "okx", "api_key": key, "secret": "hunter2 \n"}
    text = refusal(settings(accounts={"a": account}), {"GATE_API_KEY": key, "GATE_SECRET": "s"})
    assert "accounts.a.api_key: has a space, a line break" in text
    assert "environment GATE_API_KEY: has a space, a line break" in text
    assert "ter2" not in text
