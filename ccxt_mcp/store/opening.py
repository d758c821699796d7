"""Which store a URL names.

Owns: the forms of a store's URL and the words for one that cannot be used. Refuses: to connect, and
to import the library of a store that is not asked for.
"""

from __future__ import annotations

import re
from importlib.util import find_spec
from pathlib import Path
from urllib.parse import parse_qsl, unquote, urlsplit

from ccxt_mcp.errors import ConfigurationError
from ccxt_mcp.store.protocol import Store

__all__ = ["store_at"]

_FORMS = (
    "redis://HOST:PORT/DB, rediss://HOST:PORT/DB (TLS), unix:///PATH,"
    " redis+sentinel://HOST:PORT,HOST:PORT/SERVICE/DB or redis+cluster://HOST:PORT,HOST:PORT"
    " (rediss+sentinel, rediss+cluster with TLS)"
)
_OPTIONS = {
    "db",
    "ssl_ca_certs",
    "ssl_cert_reqs",
    "ssl_certfile",
    "ssl_check_hostname",
    "ssl_keyfile",
}
_FILES = {"ssl_ca_certs", "ssl_certfile", "ssl_keyfile"}
_SENTINEL_OPTIONS = {"sentinel_username", "sentinel_password"}
_HOST = re.compile(r"^(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+)(?::([0-9]{1,5}))?$")


def store_at(url: str, *, prefix: str, timeout: float) -> Store:
    """The store at a URL, not yet opened.

    Args:
        url: may have a user and a password, percent-encoded, which no error repeats.
        prefix: of all keys.
        timeout: seconds for a round trip.

    Raises:
        ConfigurationError: the URL cannot be used, or the extra `redis` is not installed.
    """
    if not re.fullmatch(r"[A-Za-z0-9._-]+", prefix):
        raise ConfigurationError("store_prefix: letters, digits, `.`, `_` and `-` only")
    scheme, at, rest = url.strip().partition("://")
    tls, kind = scheme.startswith("rediss"), scheme.partition("+")[2]
    if not at or scheme not in (
        *("redis", "rediss", "unix"),
        *("redis+sentinel", "rediss+sentinel", "redis+cluster", "rediss+cluster"),
    ):
        raise ConfigurationError(f"store_url: the forms are {_FORMS}")
    if find_spec("redis") is None or find_spec("hiredis") is None:
        raise ConfigurationError(
            "store_url: needs the extra `redis`: pip install 'ccxt-mcp[redis]'"
        )
    try:
        parts = urlsplit("//" + rest)
    except ValueError:
        raise ConfigurationError(f"store_url: cannot be read; the forms are {_FORMS}") from None
    options = dict(parse_qsl(parts.query, keep_blank_values=True))
    allowed = _OPTIONS | (_SENTINEL_OPTIONS if kind == "sentinel" else set())
    for key in options:
        if key not in allowed:
            raise ConfigurationError(
                f"store_url: unknown option `{key}`; there are {', '.join(sorted(allowed))}"
            )
    for key in _FILES & options.keys():
        try:
            Path(options[key]).read_bytes()
        except OSError as error:
            raise ConfigurationError(
                f"store_url: `{key}` cannot be read: {error.strerror}"
            ) from None
    user, has_user, hosts = parts.netloc.rpartition("@")
    username, _, password = user.partition(":")
    credentials = {
        key: unquote(value)
        for key, value in (("username", username), ("password", password))
        if has_user and value
    }
    path = [unquote(each) for each in parts.path.split("/")[1:]]
    service = ""
    if kind == "sentinel":
        service = path.pop(0) if path else ""
        if not service:
            raise ConfigurationError("store_url: the name of the service follows the sentinels")
    if scheme == "unix":
        path = []
        if hosts or parts.path in ("", "/"):
            raise ConfigurationError("store_url: unix:///PATH names a socket by its whole path")
    if kind == "cluster" and "".join(path):
        raise ConfigurationError("store_url: a cluster has one database; leave the number away")
    database = options.pop("db", "") or "".join(path[:1]) or "0"
    if not database.isdecimal() or len(path) > 1:
        raise ConfigurationError("store_url: the database is a number")

    from ccxt_mcp.store.redis.targets import Target, store_of

    return store_of(
        Target(
            kind=kind or ("unix" if scheme == "unix" else "server"),
            tls=tls,
            hosts=() if scheme == "unix" else tuple(_hosts(hosts, 26379 if service else 6379)),
            path=unquote(parts.path),
            service=service,
            database=int(database),
            credentials=credentials,
            options=options,
        ),
        prefix=prefix,
        timeout=timeout,
    )


def _hosts(text: str, port: int) -> list[tuple[str, int]]:
    hosts = []
    for each in text.split(","):
        found = _HOST.match(each)
        if found is None or int(found[2] or port) > 65535:
            raise ConfigurationError(
                f"store_url: a host or port is missing; the forms are {_FORMS}"
            )
        hosts.append((found[1].strip("[]"), int(found[2] or port)))
    return hosts
