"""Settings: sources, their order, and errors that name the key."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from ccxt_mcp.errors import ConfigurationError
from ccxt_mcp.model import Scope
from ccxt_mcp.settings import ExchangeProfile, Settings, check_exposure, load_settings


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A developer's own ./ccxt-mcp.toml must not reach the tests."""
    monkeypatch.chdir(tmp_path)


def toml(tmp_path: Path, text: str) -> Path:
    file = tmp_path / "server.toml"
    file.write_text(text)
    return file


def refusal(path: Path | None = None, environ: dict[str, str] | None = None, **over: Any) -> str:
    with pytest.raises(ConfigurationError) as caught:
        load_settings(path, environ or {}, **over)
    assert caught.value.__cause__ is None
    assert caught.value.__context__ is None, "a chained traceback would show the input"
    return str(caught.value)


def test_defaults_need_no_file_and_no_environment() -> None:
    settings = load_settings(None, {})
    assert (settings.host, settings.port) == ("127.0.0.1", 3000)
    assert (settings.ccxt_timeout, settings.tool_timeout) == (10.0, 15.0)
    assert settings.tokens == {}
    assert settings.config_file is None


def test_later_sources_win(tmp_path: Path) -> None:
    """Defaults < file < environment < overrides, key by key."""
    file = toml(tmp_path, 'port = 1\nlog_level = "debug"\nlog_format = "json"\n')
    settings = load_settings(
        file, {"CCXT_MCP_PORT": "2", "CCXT_MCP_LOG_LEVEL": "error"}, port=3, host=None
    )
    assert (settings.port, settings.log_level, settings.log_format) == (3, "error", "json")
    assert settings.host == "127.0.0.1"
    assert settings.origin("port") == "option --port"
    assert settings.origin("log_level") == "environment CCXT_MCP_LOG_LEVEL"
    assert settings.origin("log_format") == str(file)
    assert settings.origin("host") is None


def test_the_file_is_found_by_variable_or_in_the_working_directory(tmp_path: Path) -> None:
    toml(tmp_path, "port = 1\n")
    (tmp_path / "ccxt-mcp.toml").write_text("port = 2\n")
    assert load_settings(None, {"CCXT_MCP_CONFIG": "server.toml"}).port == 1
    assert load_settings(None, {}).port == 2


def test_a_file_that_is_not_there_is_named_with_who_named_it(tmp_path: Path) -> None:
    assert "option --config: the file nope.toml does not exist" in refusal(Path("nope.toml"))
    assert "CCXT_MCP_CONFIG: the file x does not exist" in refusal(environ={"CCXT_MCP_CONFIG": "x"})
    assert "is a directory" in refusal(tmp_path)


def test_nested_variables_reach_into_tables(tmp_path: Path) -> None:
    """A name that a variable cannot spell is found by its plain form."""
    file = toml(tmp_path, '[exchanges.Paper-Two]\nexchange = "binance"\n')
    settings = load_settings(
        file,
        {
            "CCXT_MCP_EXCHANGES__PAPER_TWO__BASE_URL": "http://127.0.0.1:9/",
            "CCXT_MCP_EXCHANGES__PAPER_TWO__OPTIONS": '{"defaultType": "swap"}',
            "CCXT_MCP_EXCHANGES__KRAKEN__SANDBOX": "true",
            "CCXT_MCP_ALLOWED_HOSTS": "a.example, b.example:3000",
            "CCXT_MCP_TRUSTED_PROXIES": '["10.0.0.0/8"]',
        },
    )
    profile = settings.exchanges["Paper-Two"]
    assert (profile.exchange, profile.base_url) == ("binance", "http://127.0.0.1:9")
    assert profile.options == {"defaultType": "swap"}
    assert settings.exchanges["kraken"].sandbox is True
    assert settings.exchanges["kraken"].exchange == "kraken"
    assert settings.allowed_hosts == ("a.example", "b.example:3000")
    assert settings.trusted_proxies == ("10.0.0.0/8",)


def test_an_empty_variable_counts_as_not_set() -> None:
    assert load_settings(None, {"CCXT_MCP_PORT": ""}).port == 3000


def test_variables_of_an_orchestrator_are_not_mistaken_for_settings() -> None:
    """A Kubernetes service called `ccxt-mcp` gives its pods these; the server must still start."""
    settings = load_settings(
        None,
        {
            "CCXT_MCP_PORT": "tcp://10.0.0.7:3000",
            "CCXT_MCP_SERVICE_HOST": "10.0.0.7",
            "CCXT_MCP_SERVICE_PORT": "3000",
            "CCXT_MCP_SERVICE_PORT_HTTP": "3000",
            "CCXT_MCP_PORT_3000_TCP": "tcp://10.0.0.7:3000",
            "CCXT_MCP_PORT_3000_TCP_PROTO": "tcp",
            "CCXT_MCP_PORT_3000_TCP_ADDR": "10.0.0.7",
        },
    )
    assert settings.port == 3000


def test_one_variable_makes_a_token() -> None:
    settings = load_settings(None, {"CCXT_MCP_TOKEN": "t" * 20})
    assert settings.tokens["default"].scopes == (Scope.READ, Scope.OPS)
    settings = load_settings(
        None, {"CCXT_MCP_TOKEN": "t" * 20, "CCXT_MCP_TOKEN_SCOPES": "read,trade"}
    )
    assert settings.tokens["default"].scopes == (Scope.READ, Scope.TRADE)


def test_a_token_variable_that_is_empty_is_an_error() -> None:
    """`CCXT_MCP_TOKEN=$UNSET` must not open the server."""
    assert "CCXT_MCP_TOKEN: is set but empty" in refusal(environ={"CCXT_MCP_TOKEN": ""})
    assert "needs CCXT_MCP_TOKEN" in refusal(environ={"CCXT_MCP_TOKEN_SCOPES": "read"})


def test_all_violations_are_listed_at_once(tmp_path: Path) -> None:
    file = toml(
        tmp_path,
        'prot = 1\nlog_level = "inof"\nmax_sessions = true\nccxt_timeout = 20\n'
        '[exchange.a]\n[exchanges.paper]\nbase_ulr = "x"\nrate_limit = "of"\n'
        '[accounts.main]\napi_key = 5\n[tokens.bot]\nscopes = ["raed"]\n',
    )
    text = refusal(file, {"CCXT_MCP_HOTS": "x", "CCXT_MCP_EXCHANGES__PAPER__PROXI": "x"}, port=-1)
    for part in (
        f"{file}: prot: is not a setting; did you mean port?",
        f"{file}: log_level: must be one of debug, info, warning, error; did you mean info?",
        f"{file}: max_sessions: must be a number, not true or false",
        "tool_timeout: must be more than ccxt_timeout (20 seconds): otherwise",
        f"{file}: exchange: is not a setting; did you mean exchanges?",
        f"{file}: exchanges.paper.base_ulr: is not a key of this table; did you mean base_url?",
        f"{file}: exchanges.paper.rate_limit: must be one of on, off",
        f"{file}: accounts.main.exchange: is required",
        f"{file}: accounts.main.api_key: must be text in quotes",
        f"{file}: tokens.bot.token: is required",
        f"{file}: tokens.bot.scopes[0]: must be one of read, trade, funds, ops; did you mean read?",
        "environment CCXT_MCP_HOTS: is not a setting; did you mean CCXT_MCP_HOST?",
        "environment CCXT_MCP_EXCHANGES__PAPER__PROXI: [exchanges.NAME] has no key proxi"
        "; did you mean CCXT_MCP_EXCHANGES__PAPER__PROXY?",
        "option --port: port: must be greater than or equal to 0",
    ):
        assert part in text
    assert text.count("\n  - ") == 14


@pytest.mark.parametrize(
    ("key", "value", "words"),
    [
        ("host", "http://x", "must be an address"),
        ("host", "300.1.1.1", "must be an address"),
        ("port", "65536", "less than or equal to 65535"),
        ("port", "x", "must be a whole number"),
        ("tool_timeout", "nan", "must be a finite number"),
        ("tool_timeout", "0", "must be greater than 0"),
        ("allowed_hosts", "https://x.example", "Host header"),
        ("allowed_hosts", "*", "wildcard"),
        ("allowed_hosts", "x:99999", "Host header"),
        ("allowed_origins", "x.example", "scheme://name"),
        ("allowed_origins", "https://x.example/path", "without a path"),
        ("trusted_proxies", "10.0.0.1/8", "did you mean 10.0.0.0/8?"),
        ("trusted_proxies", "proxy", "CIDR"),
        ("default_exchange", "[", None),
        ("exchanges__P__base_url", "ftp://x", "must be http://host"),
        ("exchanges__P__base_url", "http://x/api", "must end after the host"),
        ("exchanges__P__base_url", "http://x?q=1", "must end after the host"),
        ("exchanges__P__base_url", "http://u:pass-word@x", "must not contain a user name"),
        ("exchanges__P__base_url", "http://x:port", "host or port cannot be read"),
        ("exchanges__P__proxy", "proxy:8080", "scheme one of http"),
        ("exchanges__P__proxy", "http://u:pass-word@", "scheme one of http"),
        ("exchanges__P__ca_file", "/no/such.pem", "does not exist: /no/such.pem"),
        ("exchanges__P__options", "{", "must be a JSON object"),
        ("exchanges__P__options", "[1]", "must be a table"),
        ("exchanges", "x", "name a key as CCXT_MCP_EXCHANGES__NAME__KEY"),
    ],
)
def test_a_bad_value_is_refused_by_name(key: str, value: str, words: str | None) -> None:
    variable = f"CCXT_MCP_{key.upper()}"
    if words is None:
        load_settings(None, {variable: value})
        return
    text = refusal(environ={variable: value})
    assert variable in text
    assert words in text
    assert "pass-word" not in text


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("a = 1\nport = ", "line 2"),
        ("port = 1\nport = 2\n", "line 2, column 9: a key or table is defined twice"),
        ('[accounts.a]\nsecret = "hunter22222', "line 2: Unterminated string"),
        ("[accounts.a]\nsecret = hunter22222", "line 2, column 10: Invalid value"),
        ('[accounts.a]\nsecret = "a\\qhunter22222"', "line 2"),
        (
            "[hunter22222]\nx=1\n[hunter22222]\n",
            "line 3, column 13: a key or table is defined twice",
        ),
    ],
)
def test_a_syntax_error_names_file_and_line_and_quotes_nothing(
    tmp_path: Path, text: str, words: str
) -> None:
    file = toml(tmp_path, text)
    message = refusal(file)
    assert f"{file}: is not valid TOML: " in message
    assert words in message
    assert "hunter" not in message


def test_a_file_that_is_not_text_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "x.toml"
    file.write_bytes(b"port = 1 # \xff")
    assert "is not UTF-8 text" in refusal(file)
    file.write_bytes(b"\xef\xbb\xbfport = 5")
    assert load_settings(file, {}).port == 5


def test_relative_paths_in_the_file_are_relative_to_it(tmp_path: Path) -> None:
    folder = tmp_path / "etc"
    folder.mkdir()
    (folder / "ca.pem").write_text("x")
    (folder / "c.toml").write_text(
        'data_dir = "data"\n[exchanges.a]\nca_file = "ca.pem"\n'
        '[accounts.a]\nexchange = "a"\nsecret = "file:key"\n'
    )
    settings = load_settings(folder / "c.toml", {})
    assert settings.data_dir == folder / "data"
    assert settings.exchanges["a"].ca_file == folder / "ca.pem"
    secret = settings.accounts["a"].secret
    assert secret is not None
    assert secret.get_secret_value() == f"file:{folder / 'key'}"


def test_the_cache_directory_follows_the_given_environment(tmp_path: Path) -> None:
    assert load_settings(None, {"XDG_CACHE_HOME": "/c"}).data_dir == Path("/c/ccxt-mcp")
    relative = load_settings(None, {"XDG_CACHE_HOME": "c"}).data_dir
    assert relative == Path.home() / ".cache" / "ccxt-mcp"
    assert load_settings(None, {"CCXT_MCP_DATA_DIR": "/d"}).data_dir == Path("/d")


def test_names_of_tables_are_checked(tmp_path: Path) -> None:
    assert "names are 1 to 64" in refusal(toml(tmp_path, '[accounts."two words"]\nexchange="a"\n'))
    assert "leave it out" in refusal(toml(tmp_path, '[exchanges.a]\nname = "b"\n'))


def test_settings_are_frozen_and_built_in_code_as_well() -> None:
    settings = Settings.model_validate({"exchanges": {"paper": {"exchange": "binance"}}})
    assert settings.exchanges["paper"] == ExchangeProfile(name="paper", exchange="binance")
    with pytest.raises(ValidationError):
        settings.port = 1
    assert ExchangeProfile(name="kraken").exchange == "kraken"


def test_a_repr_shows_no_credentials() -> None:
    settings = load_settings(
        None,
        {
            "CCXT_MCP_TOKEN": "tok-hunter2",
            "CCXT_MCP_ACCOUNTS__A__EXCHANGE": "binance",
            "CCXT_MCP_ACCOUNTS__A__SECRET": "key-hunter2",
            "CCXT_MCP_EXCHANGES__B__PROXY": "http://me:prx%2Fhunter2@127.0.0.1:1",
            "CCXT_MCP_EXCHANGES__B__OPTIONS": '{"pem": "pem-hunter2"}',
        },
    )
    assert "hunter2" not in repr(settings)
    assert "hunter2" not in str(settings)
    assert set(settings.secrets()) == {"me", "prx%2Fhunter2", "prx/hunter2"}


def test_listening_beyond_loopback_needs_a_token() -> None:
    for host in ("127.0.0.1", "127.8.8.8", "::1", "[::1]", "localhost"):
        check_exposure(load_settings(None, {}, host=host))
    for host in ("0.0.0.0", "::", "192.168.1.5", "box.example"):
        settings = load_settings(None, {}, host=host)
        with pytest.raises(ConfigurationError, match=r"CCXT_MCP_TOKEN.*--insecure-no-auth"):
            check_exposure(settings)
        check_exposure(load_settings(None, {"CCXT_MCP_TOKEN": "t" * 20}, host=host))
        check_exposure(load_settings(None, {}, host=host, insecure_no_auth=True))


_KEYS = [f"CCXT_MCP_{name.upper()}" for name in Settings.model_fields] + [
    "CCXT_MCP_TOKEN",
    "CCXT_MCP_TOKEN_SCOPES",
    "CCXT_MCP_ACCOUNTS__A__EXCHANGE",
    "CCXT_MCP_ACCOUNTS__A__SECRET",
    "CCXT_MCP_EXCHANGES__A__PROXY",
    "CCXT_MCP_EXCHANGES__A__BASE_URL",
    "CCXT_MCP_EXCHANGES__A__RATE_LIMIT",
    "CCXT_MCP_TOKENS__A__SCOPES",
]


@given(
    key=st.sampled_from([k for k in _KEYS if k not in ("CCXT_MCP_CONFIG", "CCXT_MCP_DATA_DIR")]),
    around=st.sampled_from(["{}", "http://{}", "http://u:{}@", "{},{}", "[{}", '["{}"]', "{} /"]),
)
def test_no_value_is_ever_repeated_in_an_error(key: str, around: str) -> None:
    """A key pasted into the wrong variable must not be printed at start."""
    value = around.replace("{}", "zqXJ9hunter2zqXJ9")
    words = ""
    try:
        load_settings(None, {key: value})
    except ConfigurationError as error:
        words = str(error)
    assert "hunter2" not in words
