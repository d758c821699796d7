"""What Kraken checks about a request: parameters, key, signature.

Owns the error texts. Refuses nonces (the account keeps the last one), limits, routes and answers.
Source: Kraken REST documentation, "Authentication" and "Errors".
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
from collections.abc import Mapping
from urllib.parse import parse_qsl

import orjson

from ccxt_mcp.simulation.kraken_names import Names, Pair, kraken_secret
from ccxt_mcp.simulation.orders import Account

__all__ = [
    "INVALID_KEY",
    "INVALID_NONCE",
    "INVALID_SIGNATURE",
    "Params",
    "Rejected",
    "authenticate",
    "flag",
    "listed",
    "moment",
    "nonce_of",
    "parse_params",
    "signature",
    "whole",
]

Params = dict[str, str]

INVALID_KEY = "EAPI:Invalid key"
INVALID_SIGNATURE = "EAPI:Invalid signature"
INVALID_NONCE = "EAPI:Invalid nonce"

_ARGUMENTS = "EGeneral:Invalid arguments"
_DIGITS = re.compile(r"[0-9]{1,20}")
_MOMENT = re.compile(r"[0-9]{1,20}(\.[0-9]{1,20})?")
_LARGEST_NONCE = 2**64 - 1


class Rejected(Exception):
    """A refusal as Kraken words it: `E<category>:<text>`, sent with HTTP status 200."""

    @property
    def text(self) -> str:
        return str(self.args[0])


def parse_params(query: str, body: bytes) -> Params:
    """Parameters of query and body, which is a form or a JSON object; the last of each name."""
    params = dict(parse_qsl(query, keep_blank_values=True))
    if not body.startswith(b"{"):
        text = body.decode("utf-8", "replace")
        return params | dict(parse_qsl(text, keep_blank_values=True))
    try:
        given = orjson.loads(body)
    except orjson.JSONDecodeError:
        raise Rejected(_ARGUMENTS) from None
    return params | {name: str(value) for name, value in given.items()}


def authenticate(
    accounts: Mapping[str, Account], key: str | None, sign: str | None, path: str, body: bytes
) -> Account:
    """The account that signed this request.

    Raises `Rejected` with `EAPI:Invalid key` or `EAPI:Invalid signature`. The signature is the
    base64 of HMAC-SHA512, keyed with the decoded secret, over the path and the SHA-256 of nonce and
    body exactly as sent.
    """
    account = None if key is None else accounts.get(key)
    if account is None:
        raise Rejected(INVALID_KEY)
    nonce = parse_params("", body).get("nonce", "")
    right = signature(kraken_secret(account.secret), path, nonce, body)
    if sign is None or not hmac.compare_digest(right, sign.encode("utf-8", "replace")):
        raise Rejected(INVALID_SIGNATURE)
    return account


def signature(secret: str, path: str, nonce: str, body: bytes) -> bytes:
    """What `API-Sign` has to be."""
    digest = hashlib.sha256(nonce.encode() + body).digest()
    signed = hmac.digest(base64.b64decode(secret), path.encode() + digest, hashlib.sha512)
    return base64.b64encode(signed)


def nonce_of(body: bytes) -> int:
    """The nonce of a request, an unsigned number of 64 bits. `EAPI:Invalid nonce` when not one."""
    text = parse_params("", body).get("nonce", "")
    if not _DIGITS.fullmatch(text) or int(text) > _LARGEST_NONCE:
        raise Rejected(INVALID_NONCE)
    return int(text)


def listed(names: Names, params: Params) -> Pair:
    """The pair of the `pair` parameter."""
    name = params.get("pair")
    if not name:
        raise Rejected(_ARGUMENTS)
    pair = names.pair(name)
    if pair is None:
        raise Rejected("EQuery:Unknown asset pair")
    return pair


def whole(params: Params, name: str, default: int, *, low: int = 0, high: int) -> int:
    """A whole number, cut to `high`."""
    text = params.get(name)
    if text is None:
        return default
    if not _DIGITS.fullmatch(text) or int(text) < low:
        raise Rejected(f"{_ARGUMENTS}:{name}")
    return min(int(text), high)


def moment(params: Params, name: str) -> int | None:
    """A time in seconds, whole or with a fraction, as nanoseconds since 1970; None when absent."""
    text = params.get(name)
    if text is None:
        return None
    if not _MOMENT.fullmatch(text):
        raise Rejected(f"{_ARGUMENTS}:{name}")
    seconds, _, rest = text.partition(".")
    return int(seconds) * 10**9 + int(rest[:9].ljust(9, "0"))


def flag(params: Params, name: str) -> bool:
    return params.get(name, "").lower() in ("true", "1")
