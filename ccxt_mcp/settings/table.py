"""The one table of settings: name, default, unit, bounds and help of each.

Owns: what a valid configuration is; ``docs/CONFIGURATION.md`` is generated from here. Refuses: to
know where values come from, and to show a credential: fields that may hold one stay out of every
``repr``, and pydantic's own errors never quote their input.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PrivateAttr,
    SecretStr,
    ValidationInfo,
    field_validator,
    model_validator,
)

from ccxt_mcp.model import Scope, Toolset
from ccxt_mcp.redaction import secrets_in_url
from ccxt_mcp.settings.kinds import (
    NAME,
    AllowedHost,
    BaseUrl,
    CaFile,
    Host,
    Network,
    Number,
    Options,
    Origin,
    ProxyUrl,
    UserPath,
    split_list,
)

__all__ = [
    "CREDENTIAL_FIELDS",
    "ENV_CREDENTIALS",
    "AccountSettings",
    "ExchangeProfile",
    "Settings",
    "TokenSettings",
    "cache_dir",
]

_CONFIG = ConfigDict(
    frozen=True,
    extra="forbid",
    hide_input_in_errors=True,
    allow_inf_nan=False,
    validate_default=True,
)

CREDENTIAL_FIELDS: Mapping[str, str] = {
    "api_key": "apiKey",
    "secret": "secret",
    "password": "password",
    "uid": "uid",
    "private_key": "privateKey",
    "wallet_address": "walletAddress",
    "token": "token",
    "login": "login",
    "twofa": "twofa",
    "account_id": "accountId",
}
"""An account's keys in the configuration → CCXT's names (``requiredCredentials``)."""


ENV_CREDENTIALS = (
    "api_key",
    "secret",
    "password",
    "uid",
    "private_key",
    "wallet_address",
    "login",
    "account_id",
)
"""Keys of an account that `<EXCHANGE>_<KEY>` variables can give. Not `token` and `twofa`: such
variables are common and mean other things."""


def cache_dir(environ: Mapping[str, str]) -> Path:
    """``ccxt-mcp`` below the user's XDG cache directory."""
    # The XDG specification tells programs to ignore a relative value.
    home = environ.get("XDG_CACHE_HOME", "")
    return (Path(home) if os.path.isabs(home) else Path("~/.cache")) / "ccxt-mcp"


def _named(value: Any, kind: type[BaseModel]) -> Any:
    """Put each table's key into the table, and refuse names that could not be shown or typed."""
    if not isinstance(value, Mapping):
        return value
    bad = [name for name in value if not (isinstance(name, str) and NAME.fullmatch(name))]
    if bad:
        raise ValueError(f"names are 1 to 64 of A-Z a-z 0-9 . _ -; not so: {len(bad)} of them")
    if "name" not in kind.model_fields:
        return value
    if any(
        isinstance(body, Mapping) and body.get("name", name) != name for name, body in value.items()
    ):
        raise ValueError("a table has a key `name`; leave it out, the name stands in the header")
    return {
        name: {"name": name, **body} if isinstance(body, Mapping) else body
        for name, body in value.items()
    }


class ExchangeProfile(BaseModel):
    """An exchange under a name: a CCXT class plus what is to be different about it."""

    model_config = _CONFIG

    name: str = Field(json_schema_extra={"internal": True})
    exchange: str = Field(
        default="",
        min_length=1,
        description="CCXT's id of the exchange (`binance`, `kraken`, …).",
        json_schema_extra={"default_words": "the profile's name"},
    )
    base_url: BaseUrl | None = Field(
        default=None,
        description="Send every request of this exchange here: scheme, host and port are replaced,"
        " paths are kept. For a simulated exchange or a regional mirror.",
    )
    proxy: ProxyUrl | None = Field(
        default=None,
        repr=False,
        description="Proxy for this exchange's requests: http, https or socks, with or without"
        " user and password.",
    )
    ca_file: CaFile | None = Field(
        default=None,
        description="PEM file of the certificate authorities to trust for this exchange.",
        json_schema_extra={"default_words": "`SSL_CERT_FILE`, else certifi's"},
    )
    sandbox: bool = Field(default=False, description="Use the exchange's sandbox or testnet.")
    options: Options = Field(
        default_factory=dict,
        repr=False,
        description="Merged into CCXT's `options` of the exchange; as a variable, a JSON object.",
    )
    default_account: str | None = Field(
        default=None,
        description="The account that a call uses when it names none. Needed when the exchange has"
        " several accounts and calls should not have to name one.",
    )
    rate_limit: Literal["on", "off"] = Field(
        default="on",
        description="`off` sends without waiting: for venues without limits, and for measuring.",
    )

    @model_validator(mode="before")
    @classmethod
    def _class_from_name(cls, data: Any) -> Any:
        if isinstance(data, Mapping) and "exchange" not in data and "name" in data:
            return {**data, "exchange": data["name"]}
        return data

    def secrets(self) -> tuple[str, ...]:
        """The secrets in this profile, for redaction: a proxy's user and password."""
        return () if self.proxy is None else secrets_in_url(self.proxy)


class AccountSettings(BaseModel):
    """An account's exchange and where its keys are; `accounts` resolves them."""

    model_config = _CONFIG

    exchange: str = Field(
        min_length=1, description="An exchange profile's name, or CCXT's id of the exchange."
    )
    api_key: SecretStr | None = Field(default=None, description="The API key.")
    secret: SecretStr | None = Field(default=None, description="The API key's secret.")
    password: SecretStr | None = Field(
        default=None, description="The API key's passphrase, where the exchange has one."
    )
    uid: SecretStr | None = Field(default=None, description="User id, where the exchange asks it.")
    private_key: SecretStr | None = Field(
        default=None, description="Private key of a wallet or of a signing key pair."
    )
    wallet_address: SecretStr | None = Field(default=None, description="Address of the wallet.")
    token: SecretStr | None = Field(default=None, description="Access token.")
    login: SecretStr | None = Field(default=None, description="Login name.")
    twofa: SecretStr | None = Field(default=None, description="Two-factor secret.")
    account_id: SecretStr | None = Field(default=None, description="Account id.")


class TokenSettings(BaseModel):
    """A caller's bearer token and what it may do; `callers` resolves it."""

    model_config = _CONFIG

    token: SecretStr = Field(
        description="The bearer token: at least 16 visible ASCII characters, without spaces."
    )
    scopes: Annotated[tuple[Scope, ...], BeforeValidator(split_list)] = Field(
        default=(Scope.READ,),
        min_length=1,
        description="What the caller may do: `read` (market data, balances, orders), `trade`,"
        " `funds` (transfers, withdrawals), `ops` (the session list in `/health`, and `/metrics`).",
    )


def _seconds(default: float, description: str, le: float) -> Any:
    extra: dict[str, Any] = {"unit": "seconds"}
    return Field(default=default, description=description, gt=0, le=le, json_schema_extra=extra)


def _count(default: int, description: str, ge: int, le: int, unit: str | None = None) -> Any:
    extra: dict[str, Any] | None = {"unit": unit} if unit else None
    return Field(default=default, description=description, ge=ge, le=le, json_schema_extra=extra)


class Settings(BaseModel):
    """All settings of one server. Frozen; ``options`` of a profile are to be copied by users."""

    model_config = _CONFIG

    host: Host = Field(
        default="127.0.0.1",
        description="Address to listen on. Beyond loopback only with tokens or `insecure_no_auth`.",
    )
    port: Annotated[int, Number] = _count(
        3000, "TCP port to listen on; 0 takes a free one.", 0, 65535
    )
    insecure_no_auth: bool = Field(
        default=False,
        description="Listen beyond loopback without tokens: everybody who reaches the port may"
        " read and trade with every account.",
    )
    allowed_hosts: Annotated[tuple[AllowedHost, ...], BeforeValidator(split_list)] = Field(
        default=(),
        description="Host headers that are served, besides loopback names: `name` (any port) or"
        " `name:port`. Empty: with tokens any, without only loopback names.",
    )
    allowed_origins: Annotated[tuple[Origin, ...], BeforeValidator(split_list)] = Field(
        default=(),
        description="Origins of web pages that may call: `scheme://name[:port]`, a port of `*` is"
        " any. Loopback pages and the server's own always may.",
    )
    trusted_proxies: Annotated[tuple[Network, ...], BeforeValidator(split_list)] = Field(
        default=(),
        description="Addresses or networks (CIDR) of reverse proxies whose `X-Forwarded-For` is"
        " believed.",
    )
    max_body_bytes: Annotated[int, Number] = _count(
        1_048_576, "Longest request body; more is refused with 413.", 1024, 67_108_864, "bytes"
    )
    header_timeout: Annotated[float, Number] = _seconds(
        10.0,
        "Time for a request's headers, from the connection's opening or from their first byte; then"
        " 408, or silence if nothing came, and the connection is closed.",
        le=3600,
    )
    body_timeout: Annotated[float, Number] = _seconds(
        30.0, "Time for a request's body, after its headers; then 408 and closed.", le=3600
    )
    write_timeout: Annotated[float, Number] = _seconds(
        30.0,
        "Time for which a client may leave an answer or a stream unread; then it is hung up on. A"
        " slow one must take 64 KiB in this time, or all there is.",
        le=3600,
    )
    max_connections: Annotated[int, Number] = _count(
        8192,
        "Open connections of clients, at most half of the files that the process may open. Beyond"
        " it the longest idle one makes room; if none is idle, the new one gets 503. One address"
        " has at most half of them, unless it is loopback or a trusted proxy.",
        1,
        1_000_000,
        "connections",
    )
    default_exchange: str | None = Field(
        default=None,
        min_length=1,
        description="Profile or CCXT id that a call uses when it names no exchange.",
    )
    ccxt_timeout: Annotated[float, Number] = _seconds(
        10.0, "Time for one request to an exchange. Must be below `tool_timeout`.", le=3600
    )
    tool_timeout: Annotated[float, Number] = _seconds(
        15.0, "Time for one call, from leaving its session's queue to its answer.", le=3600
    )
    lane_wait_max: Annotated[float, Number] = _seconds(
        60.0,
        "Longest wait in a session's queue; then the call is refused as `overloaded`.",
        le=86_400,
    )
    lane_queue_max: Annotated[int, Number] = _count(
        64, "Calls that may wait in one session's queue.", 1, 10_000, "calls"
    )
    max_calls: Annotated[int, Number] = _count(
        100,
        "Calls under way at exchanges; at most half of them for one exchange and a quarter for one"
        " account, so that one that hangs cannot stop the others.",
        1,
        10_000,
        "calls",
    )
    call_queue_max: Annotated[int, Number] = _count(
        1000,
        "Calls of all sessions that may wait for their turn; beyond it `overloaded`. No session"
        " takes more than half, nor do the calls without one.",
        1,
        100_000,
        "calls",
    )
    session_idle_timeout: Annotated[float, Number] = _seconds(
        1800.0, "A session without calls for so long is closed.", le=2_592_000
    )
    replay_events_max: Annotated[int, Number] = _count(
        256,
        "Events of a session's streams that are kept for a client that reads on after its"
        " connection was cut; the oldest go first.",
        1,
        100_000,
        "events",
    )
    replay_bytes_max: Annotated[int, Number] = _count(
        262_144,
        "The same in bytes; the newest event is kept whatever its size.",
        1024,
        1 << 30,
        "bytes",
    )
    replay_total_bytes_max: Annotated[int, Number] = _count(
        67_108_864,
        "The same for all sessions together. Beyond it the caller (token and address) whose"
        " sessions keep most loses first: the older half of its largest session, then of the next.",
        65_536,
        1 << 36,
        "bytes",
    )
    replay_window: Annotated[float, Number] = _seconds(
        300.0,
        "How long they are kept after the stream's end, and how long a call goes on whose client"
        " was cut off its stream.",
        le=86_400,
    )
    ticker_poll_interval: Annotated[float, Number] = _seconds(
        5.0,
        "How often a ticker that is subscribed to is asked for: one request for all its"
        " subscribers.",
        le=86_400,
    )
    orders_poll_interval: Annotated[float, Number] = _seconds(
        15.0,
        "How often the open orders of an account that are subscribed to are asked for: one request"
        " for all subscriptions of one caller.",
        le=86_400,
    )
    max_subscriptions: Annotated[int, Number] = _count(
        5000,
        "Subscriptions to resources in all; one caller (token and address) gets at most half.",
        1,
        1_000_000,
        "subscriptions",
    )
    max_subscriptions_per_session: Annotated[int, Number] = _count(
        50,
        "Subscriptions of one session, or of one `subscriptions/listen`.",
        1,
        10_000,
        "subscriptions",
    )
    max_sessions: Annotated[int, Number] = _count(
        10_000, "Open sessions in all.", 1, 1_000_000, "sessions"
    )
    max_sessions_per_client: Annotated[int, Number] = _count(
        500, "Open sessions of one client address.", 1, 1_000_000, "sessions"
    )
    adopt_named_sessions: bool = Field(
        default=True,
        description="Let a client name its session (`Mcp-Session-Id: my-workflow`) without a"
        " handshake.",
    )
    mirror_exchange: bool = Field(
        default=False,
        description="Have clients of the protocol 2026-07-28 repeat the argument `exchange` in the"
        " header `Mcp-Param-Exchange`, for a proxy that routes on it. A call of theirs with one and"
        " without the other is refused then, and so is one where they differ: curl, fetch and"
        " whoever else writes requests by hand must send it.",
    )
    request_state_keys: Annotated[tuple[SecretStr, ...], BeforeValidator(split_list)] = Field(
        default=(),
        max_length=8,
        description="Keys of at least 32 bytes (`env:`, `file:`) that seal what clients of the"
        " protocol 2026-07-28 carry between the rounds of a call that asks back. The first seals,"
        " each opens, so that a new one can be put in front. Servers behind one address need the"
        " same; without any, each process makes its own.",
    )
    store_url: SecretStr | None = Field(
        default=None,
        description="Redis or Valkey that all replicas share: `redis://`, `rediss://`,"
        " `redis+sentinel://HOST:PORT,HOST:PORT/SERVICE` or `redis+cluster://`. Without it this"
        " process is on its own. Needs the extra `ccxt-mcp[redis]`; may be `env:` or `file:`.",
    )
    store_prefix: str = Field(
        default="ccxtmcp",
        pattern=r"^[A-Za-z0-9._-]{1,32}$",
        description="What all keys in the store begin with: servers with the same prefix are"
        " replicas of one another.",
    )
    store_timeout: Annotated[float, Number] = _seconds(
        1.0, "A round trip to the store may take so long.", le=5
    )
    toolsets: Annotated[tuple[Toolset, ...], BeforeValidator(split_list)] = Field(
        default=tuple(Toolset),
        min_length=1,
        description="Tools that are served: `market` (prices, candles, markets), `account`"
        " (balances, orders). Tools that belong to neither are served with each. Replicas may"
        " differ where whatever stands before them leads each call to one that serves it.",
    )
    node_address: str | None = Field(
        default=None,
        pattern=r"^[!-~]{1,255}$",
        description="How this replica is shown in `/health` among the others, for instance"
        " `10.0.0.5:3000`.",
        json_schema_extra={"default_words": "`host` and the port that it listens on"},
    )
    log_level: Literal["debug", "info", "warning", "error"] = Field(
        default="info", description="Least severe log lines that are written."
    )
    log_format: Literal["text", "json"] = Field(default="text", description="Form of a log line.")
    data_dir: UserPath = Field(
        default_factory=lambda: cache_dir(os.environ),
        description="Directory for market tables kept for warm starts. Holds no secrets.",
        json_schema_extra={"default_words": "`$XDG_CACHE_HOME/ccxt-mcp` or `~/.cache/ccxt-mcp`"},
    )
    market_max_age: Annotated[float, Number] = _seconds(
        21_600.0,
        "Exchanges in use have their markets listed again in the background before the listing is"
        " so old.",
        le=604_800,
    )
    max_exchanges_loaded: Annotated[int, Number] = _count(
        16,
        "Exchanges whose markets are kept in memory; beyond it, those least recently used are"
        " dropped unless a call is using them.",
        1,
        1_000,
        "exchanges",
    )
    exchange_keys_from_env: bool = Field(
        default=True,
        description="Make accounts of variables such as `BINANCE_API_KEY` and `BINANCE_SECRET`.",
    )
    exchanges: dict[str, ExchangeProfile] = Field(
        default_factory=dict, description="Exchange profiles by name."
    )
    accounts: dict[str, AccountSettings] = Field(
        default_factory=dict, description="Exchange accounts by name."
    )
    tokens: dict[str, TokenSettings] = Field(
        default_factory=dict, description="Callers' bearer tokens by name."
    )

    _config_file: Path | None = PrivateAttr(default=None)
    _origins: Mapping[str, str] = PrivateAttr(default_factory=dict)

    @field_validator("exchanges", mode="before")
    @classmethod
    def _profile_names(cls, value: Any) -> Any:
        return _named(value, ExchangeProfile)

    @field_validator("accounts", "tokens", mode="before")
    @classmethod
    def _table_names(cls, value: Any) -> Any:
        return _named(value, AccountSettings)

    @field_validator("tool_timeout")
    @classmethod
    def _covers_a_request(cls, value: float, info: ValidationInfo) -> float:
        # A field's check and not the model's, so that it is reported beside all other violations.
        request: float | None = info.data.get("ccxt_timeout")
        if request is not None and request >= value:
            raise ValueError(
                f"must be more than ccxt_timeout ({request:g} seconds): otherwise a call would end"
                " before CCXT can say that the exchange did not answer"
            )
        return value

    @property
    def config_file(self) -> Path | None:
        """The TOML file that was read, if any."""
        return self._config_file

    def origin(self, key: str) -> str | None:
        """Where a key's value comes from, in words: the file, a variable, an option; ``None`` for
        a default and for settings that were made in code. ``key`` is dotted (``accounts.main``)."""
        return self._origins.get(key)

    def secrets(self) -> tuple[str, ...]:
        """Secrets in the settings themselves (proxies' passwords), for ``Redactor.add``."""
        return tuple(secret for p in self.exchanges.values() for secret in p.secrets())
