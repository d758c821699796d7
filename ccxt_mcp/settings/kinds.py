"""The kinds of values that settings have, each with its check.

Owns: what a host, origin, network, URL or file may look like, and the words for one that does not.
Refuses: to repeat a value in those words, since anything may have been pasted into the wrong key.
"""

from __future__ import annotations

import ipaddress
import json
import os
import re
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import SplitResult, urlsplit

from pydantic import AfterValidator, BeforeValidator

__all__ = [
    "NAME",
    "AllowedHost",
    "BaseUrl",
    "CaFile",
    "Host",
    "Network",
    "Number",
    "Options",
    "Origin",
    "ProxyUrl",
    "UserPath",
    "is_loopback_host",
    "split_list",
]

NAME = re.compile(r"[A-Za-z0-9._-]{1,64}")
"""What an exchange profile, an account or a token may be called."""

_HOST_NAME = re.compile(r"(?=.{1,253}\Z)[a-z0-9_]([a-z0-9_-]*[a-z0-9_])?(\.[a-z0-9_-]+)*\.?")
_ORIGIN = re.compile(r"[a-z][a-z0-9+.-]*://(\[[0-9a-f:.]+\]|[a-z0-9._-]+)(:(\d{1,5}|\*))?")
_PROXY_SCHEMES = ("http", "https", "socks4", "socks4a", "socks5", "socks5h")


def _not_bool(value: Any) -> Any:
    # pydantic would read `true` as 1.
    if isinstance(value, bool):
        raise ValueError("must be a number, not true or false")
    return value


def split_list(value: Any) -> Any:
    """A list given as one string: a JSON array, or values separated by commas."""
    if not isinstance(value, str):
        return value
    if value.lstrip().startswith("["):
        try:
            return json.loads(value)
        except ValueError:
            raise ValueError("must be a JSON array or values separated by commas") from None
    return [part.strip() for part in value.split(",") if part.strip()]


def _options(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    try:
        return json.loads(value)
    except ValueError:
        raise ValueError('must be a JSON object such as {"defaultType": "spot"}') from None


def _is_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


def _host(value: str) -> str:
    text = value.strip().lower()
    bare = text[1:-1] if text.startswith("[") and text.endswith("]") else text
    if _is_address(bare):
        return bare
    if not _HOST_NAME.fullmatch(text) or re.fullmatch(r"[\d.]+", text):
        raise ValueError("must be an address such as 127.0.0.1 or ::1, or a host name, alone")
    return text


def is_loopback_host(host: str) -> bool:
    """Whether binding to this host keeps the server on this machine. Names other than
    ``localhost`` count as outside: what they resolve to can change."""
    if host == "localhost":
        return True
    return _is_address(host) and ipaddress.ip_address(host).is_loopback


def _port_is_valid(text: str) -> bool:
    return text.isascii() and text.isdigit() and 1 <= int(text) <= 65535


def _allowed_host(value: str) -> str:
    text = value.strip().lower()
    if text.startswith("["):
        name, bracket, rest = text[1:].partition("]")
        valid = bool(bracket) and _is_address(name)
        valid = valid and (not rest or (rest[0] == ":" and _port_is_valid(rest[1:])))
    elif _is_address(text):
        return text if "." in text and ":" not in text else f"[{text}]"
    else:
        name, colon, port = text.partition(":")
        valid = bool(_HOST_NAME.fullmatch(name)) and (not colon or _port_is_valid(port))
    if not valid:
        raise ValueError(
            "must be a host name or address as it stands in a Host header, with or without a"
            " port (example.org, 10.0.0.5:3000); no scheme, path or wildcard"
        )
    return text


def _origin(value: str) -> str:
    text = value.strip().lower().rstrip("/")
    match = _ORIGIN.fullmatch(text)
    if match is None or (match[3] not in (None, "*") and not _port_is_valid(match[3])):
        raise ValueError(
            "must be scheme://name or scheme://name:port (a port of * is any), without a path"
        )
    return text


def _network(value: str) -> str:
    text = value.strip()
    try:
        return str(ipaddress.ip_network(text))
    except ValueError:
        pass
    try:
        meant = ipaddress.ip_network(text, strict=False)
    except ValueError:
        raise ValueError(
            "must be an IP address or a network in CIDR form (10.0.0.5, 10.0.0.0/8)"
        ) from None
    raise ValueError(f"has host bits set; did you mean {meant}?")


def _split_url(text: str) -> tuple[SplitResult, int | None]:
    if re.search(r"[\s\x00-\x1f\x7f]", text):
        raise ValueError("must not contain spaces or control characters")
    try:
        parts = urlsplit(text)
        return parts, parts.port
    except ValueError:
        raise ValueError("is not a URL: its host or port cannot be read") from None


def _base_url(value: str) -> str:
    parts, _ = _split_url(value.strip())
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError("must be http://host[:port] or https://host[:port]")
    if parts.username is not None or parts.password is not None:
        raise ValueError("must not contain a user name or password; keys belong into [accounts]")
    if parts.path not in ("", "/") or parts.query or parts.fragment:
        raise ValueError(
            "must end after the host and port: the paths are the exchange's own and are kept"
        )
    return f"{parts.scheme}://{parts.netloc}"


def _proxy_url(value: str) -> str:
    text = value.strip()
    parts, _ = _split_url(text)
    if parts.scheme not in _PROXY_SCHEMES or not parts.hostname:
        allowed = ", ".join(_PROXY_SCHEMES)
        raise ValueError(f"must be scheme://[user:password@]host[:port], scheme one of {allowed}")
    if parts.path not in ("", "/") or parts.query or parts.fragment:
        raise ValueError("must end after the host and port")
    return text.rstrip("/")


def _user_path(value: Path) -> Path:
    try:
        return value.expanduser()
    except RuntimeError:
        raise ValueError("starts with ~, but the home directory is not known") from None


def _ca_file(value: Path) -> Path:
    path = _user_path(value)
    if not path.is_file():
        raise ValueError(f"names a file that does not exist: {path}")
    if not os.access(path, os.R_OK):
        raise ValueError(f"names a file that this user may not read: {path}")
    return path


Number = BeforeValidator(_not_bool)
Host = Annotated[str, AfterValidator(_host)]
AllowedHost = Annotated[str, AfterValidator(_allowed_host)]
Origin = Annotated[str, AfterValidator(_origin)]
Network = Annotated[str, AfterValidator(_network)]
BaseUrl = Annotated[str, AfterValidator(_base_url)]
ProxyUrl = Annotated[str, AfterValidator(_proxy_url)]
UserPath = Annotated[Path, AfterValidator(_user_path)]
CaFile = Annotated[Path, AfterValidator(_ca_file)]
Options = Annotated[dict[str, Any], BeforeValidator(_options)]
