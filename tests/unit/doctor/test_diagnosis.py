"""What exchanges say, and what it is taken for."""

from __future__ import annotations

import pytest

from ccxt_mcp.doctor.diagnosis import FAILURES, TROUBLES, diagnose
from ccxt_mcp.errors import Code, Failure
from ccxt_mcp.exchanges.probing import Trouble
from ccxt_mcp.redaction import Redactor

AUTH, PERM = Code.AUTHENTICATION_FAILED, Code.PERMISSION_DENIED


@pytest.mark.parametrize(
    ("code", "said", "means"),
    [
        (
            AUTH,
            "Invalid API-key, IP, or permissions for action. (code -2015)",
            "does not say which",
        ),
        (AUTH, "API-key format invalid. (code -2014)", "does not accept the key"),
        (AUTH, "Signature for this request is not valid. (code -1022)", "does not belong"),
        (AUTH, "EAPI:Invalid key", "does not accept the key"),
        (AUTH, "EAPI:Invalid signature", "does not belong"),
        (Code.EXCHANGE_ERROR, "EAPI:Invalid nonce", "nonce too low"),
        (AUTH, "API key is invalid. (code 10003)", "does not accept the key"),
        (AUTH, "error sign! origin_string[...] (code 10004)", "does not belong"),
        (
            PERM,
            "Unmatched IP, please check your API key's bound IP addresses. (code 10010)",
            "bound",
        ),
        (
            AUTH,
            "Your IP 1.2.3.4 is not included in your API key's IP whitelist. (code 50110)",
            "bound",
        ),
        (AUTH, "The requested ip address is not in the api whitelist (code 400006)", "bound"),
        (PERM, "Invalid IP (code 40018)", "bound"),
        (
            AUTH,
            "Request header OK-ACCESS-PASSPHRASE incorrect. (code 50105)",
            "passphrase is wrong",
        ),
        (AUTH, "Your api key has expired. (code 33004)", "has expired"),
        (
            Code.EXCHANGE_ERROR,
            "Timestamp for this request is outside of the recvWindow.",
            "time or",
        ),
        (Code.INVALID_ARGUMENT, "Request timestamp expired. (code 50102)", "time or nonce"),
        (PERM, "EGeneral:Permission denied", "may not read balances"),
        (Code.EXCHANGE_UNAVAILABLE, "403 Forbidden", "blocks this address"),
        (PERM, "451 Service unavailable from a restricted location", "blocks this address"),
        (Code.RATE_LIMITED, "Too many requests", "limits this address"),
        (Code.EXCHANGE_UNAVAILABLE, "503 Service Unavailable", "is not available"),
    ],
)
def test_the_words_of_exchanges_are_told_apart(code: Code, said: str, means: str) -> None:
    found = diagnose(Failure(code, f"paper says: {said}"), keyed=True)
    assert means in found.means


def test_without_keys_nothing_is_blamed_on_them() -> None:
    refused = Failure(PERM, "paper says: not from where you are")
    assert "blocks this address" in diagnose(refused, keyed=False).means
    odd = Failure(AUTH, "paper says: signature missing")
    assert "wants a login for public data" in diagnose(odd, keyed=False).means
    assert "`base_url`" in diagnose(odd, keyed=False).remedy
    assert "login" not in diagnose(odd, keyed=True).means


@pytest.mark.parametrize("code", list(Code))
def test_every_code_has_something_to_do(code: Code) -> None:
    assert diagnose(Failure(code, "paper: no words"), keyed=True).remedy


def test_every_trouble_has_a_diagnosis() -> None:
    assert set(TROUBLES) == set(Trouble)


def test_redaction_leaves_the_doctor_s_own_words_alone() -> None:
    """It takes what is named like a secret for one: `secret: copy it again` would lose its end."""
    redact = Redactor("a-registered-secret").text
    for diagnosis in (*TROUBLES.values(), *(row.diagnosis for row in FAILURES)):
        assert redact(diagnosis.means) == diagnosis.means
        assert redact(diagnosis.remedy) == diagnosis.remedy
