"""From what went wrong to what it means and what to do: the tables.

Owns: the diagnoses, each with its remedy, and which of them an error of the network or a failure of
a call is. Refuses: asking anything. Where the exchange's own words leave it open what is wrong, the
diagnosis says so instead of choosing.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from ccxt_mcp.errors import Code, Failure
from ccxt_mcp.exchanges.probing import Trouble

__all__ = ["CLOCK_REMEDY", "FAILURES", "TROUBLES", "Diagnosis", "diagnose"]


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """What is wrong in a few words, and what to do. No text of it holds anything configured."""

    means: str
    remedy: str


CLOCK_REMEDY = (
    "Correct this machine's clock: switch on time synchronisation (`timedatectl set-ntp true`, or"
    " chrony); in a container or a virtual machine, that of the host."
)
_FIREWALL = "Check this machine's network, its firewall and the exchange's status page"
_TRUST = "Check `ca_file` of the exchange's profile and SSL_CERT_FILE"

TROUBLES: Mapping[Trouble, Diagnosis] = {
    Trouble.NO_SUCH_NAME: Diagnosis(
        "the host's name does not resolve",
        "Check the spelling of `base_url` (or `proxy`) of the exchange's profile, and this"
        " machine's DNS (`getent hosts NAME`).",
    ),
    Trouble.REFUSED: Diagnosis(
        "the connection was refused: nothing listens at that address and port",
        "Check host and port of `base_url`; if it is a simulated exchange, start it"
        " (`ccxt-mcp simulate`).",
    ),
    Trouble.UNREACHABLE: Diagnosis(
        "the host cannot be reached",
        f"{_FIREWALL}; if only a proxy leads out, set `proxy` in the exchange's profile.",
    ),
    Trouble.PROXY: Diagnosis(
        "the proxy cannot be reached, or refused",
        "Check address, user and password in `proxy` of the exchange's profile, and that the proxy"
        " runs.",
    ),
    Trouble.UNTRUSTED: Diagnosis(
        "the certificate is not trusted (self-signed, or of an unknown authority)",
        "If the host is yours, or a proxy opens TLS on the way, name its authority's PEM file in"
        " `ca_file` of the exchange's profile. If not, somebody may be reading along.",
    ),
    Trouble.EXPIRED: Diagnosis(
        "the certificate has expired",
        "Check this machine's date first; if it is right, the host's certificate has to be renewed"
        " by whoever runs it.",
    ),
    Trouble.WRONG_HOST: Diagnosis(
        "the certificate is for another host",
        "Name the host in `base_url` as its certificate does; if it is the exchange's own address,"
        " something else answers in its place: check DNS and proxy.",
    ),
    Trouble.NO_TLS: Diagnosis(
        "no TLS connection came about",
        f"Check that `base_url` should begin with https and not http. {_TRUST}.",
    ),
    Trouble.TIMEOUT: Diagnosis(
        "no answer in time",
        f"{_FIREWALL}; a firewall that drops packets looks like this. If it is only slow, raise"
        " `ccxt_timeout` and `tool_timeout`.",
    ),
    Trouble.DROPPED: Diagnosis(
        "the connection was closed without an answer",
        "Check that `base_url` has the right scheme (http or https) and port, and any proxy on the"
        " way.",
    ),
}


@dataclass(frozen=True, slots=True)
class _Row:
    """A diagnosis for failures with one of these codes (any if none) whose message has the words.

    ``keyed`` rows are about keys: they are for calls that were made with some; ``keyless`` ones for
    calls that were made with none.
    """

    diagnosis: Diagnosis
    codes: tuple[Code, ...] = ()
    words: re.Pattern[str] | None = None
    keyed: bool = False
    keyless: bool = False

    def fits(self, failure: Failure, keyed: bool) -> bool:
        if (self.keyed and not keyed) or (self.keyless and keyed):
            return False
        if self.codes and failure.code not in self.codes:
            return False
        return self.words is None or bool(self.words.search(failure.message))


def _words(pattern: str) -> re.Pattern[str]:
    return re.compile(pattern, re.IGNORECASE)


_REFUSALS = (Code.AUTHENTICATION_FAILED, Code.PERMISSION_DENIED, Code.EXCHANGE_ERROR)
_ADDRESS = (
    r"\bips?\b.*(?:white-?\s?list|allow|bound|bind|restrict|trust|match|permit)"
    r"|(?:white-?\s?list|unmatched|untrusted|unauthori[sz]ed|invalid|restricted)\b.{0,20}\bip\b"
)

_BLOCKED = Diagnosis(
    "the exchange, or something before it, blocks this address or its country (HTTP 403 or 451)",
    "See what the exchange's terms allow from here; if it should be served, set `proxy` or a"
    " regional `base_url` in the exchange's profile. Data centres are often blocked where an office"
    " is not.",
)
_CLOCK = Diagnosis("the exchange finds the request's time or nonce wrong", CLOCK_REMEDY)
_NONCE = Diagnosis(
    "the exchange finds the request's nonce too low",
    "Use the key in one program only: another one with the same key, or one whose clock was ahead,"
    " has used higher numbers. A new key begins anew.",
)

FAILURES: tuple[_Row, ...] = (
    _Row(_BLOCKED, words=_words(r" says: (?:403|451)\b|restricted location")),
    _Row(
        Diagnosis(
            "the exchange does not know the key, or does not take it from this address, or it may"
            " not read: this exchange does not say which",
            "Compare the account's api_key with the exchange's list of keys (and `sandbox`: test"
            " networks have keys of their own); then add this machine's address to the key's"
            " allowed ones, and permit reading.",
        ),
        _REFUSALS,
        _words(r"api-?\s?key, ip,? or permission"),
        keyed=True,
    ),
    _Row(
        Diagnosis(
            "the key is bound to other addresses than this machine's",
            "Add this machine's public address (or its proxy's) to the key's allowed ones at the"
            " exchange.",
        ),
        _REFUSALS,
        _words(_ADDRESS),
        keyed=True,
    ),
    _Row(_NONCE, _REFUSALS, _words(r"\bnonce\b"), keyed=True),
    _Row(
        _CLOCK,
        (*_REFUSALS, Code.INVALID_ARGUMENT),
        _words(r"timestamp|recv_?window|server'?s? time|time ?stamp|\bclock\b"),
        keyed=True,
    ),
    _Row(
        Diagnosis(
            "the passphrase is wrong",
            "Write the passphrase that was chosen with the key into `password` of the account; it"
            " is not the login's password.",
        ),
        _REFUSALS,
        _words(r"pass-?\s?phrase"),
        keyed=True,
    ),
    _Row(
        Diagnosis(
            "the exchange knows the key, but the secret does not belong to it",
            "Copy the account's `secret` again, whole, from where it was kept; exchanges show it"
            " once only, so if it is lost, make a new key.",
        ),
        _REFUSALS,
        _words(r"signature|\bsign\b|signed"),
        keyed=True,
    ),
    _Row(
        Diagnosis(
            "the key has expired",
            "Make a new key at the exchange, or prolong this one.",
        ),
        _REFUSALS,
        _words(r"\bexpired?\b"),
        keyed=True,
    ),
    _Row(
        Diagnosis(
            "the key may not read balances, or this kind of account is not open",
            "Give the key the permission to read at the exchange, or open the account there.",
        ),
        (Code.PERMISSION_DENIED,),
        keyed=True,
    ),
    _Row(
        Diagnosis(
            "the exchange does not accept the key",
            "Compare the account's api_key with the exchange's list of keys: it may have been"
            " deleted, mistyped, or be one of another exchange or of its test network (`sandbox`).",
        ),
        (Code.AUTHENTICATION_FAILED,),
        keyed=True,
    ),
    _Row(
        Diagnosis(
            "the request cannot be signed with these keys: one of them has not the form that this"
            " exchange's keys have",
            "Copy the account's `secret` (or `private_key`) again, whole and with nothing around"
            " it.",
        ),
        (Code.INTERNAL,),
        _words(r"could not be made"),
        keyed=True,
    ),
    _Row(
        Diagnosis(
            "what answered wants a login for public data, which was asked for without keys",
            "Check `base_url` and `proxy` of the exchange's profile: something else than the"
            " exchange may be answering.",
        ),
        (Code.AUTHENTICATION_FAILED,),
        keyless=True,
    ),
    _Row(_BLOCKED, (Code.PERMISSION_DENIED,)),
    _Row(
        Diagnosis(
            "the exchange limits this address's requests",
            "Wait as long as it says; something else on this address or with this key asks it too"
            " often.",
        ),
        (Code.RATE_LIMITED,),
    ),
    _Row(TROUBLES[Trouble.TIMEOUT], (Code.TIMEOUT,)),
    _Row(
        Diagnosis(
            "the exchange is not available",
            "See its status page; if it is well, check `base_url` and `proxy` of the exchange's"
            " profile.",
        ),
        (Code.EXCHANGE_UNAVAILABLE,),
    ),
    _Row(
        Diagnosis(
            "what answered does not answer like the exchange",
            "Check `base_url` and `sandbox` of the exchange's profile, and any proxy on the way; it"
            " may be a maintenance page.",
        ),
        (Code.BAD_RESPONSE,),
    ),
)
"""The first that fits. What fits none is told in the failure's own words, with its own hint."""


def diagnose(failure: Failure, *, keyed: bool) -> Diagnosis:
    """What a failed call means.

    Args:
        keyed: whether it was made with an account's keys.
    """
    found = next((row.diagnosis for row in FAILURES if row.fits(failure, keyed)), None)
    return found or Diagnosis("", failure.hint)
