"""Set-ups for the doctor: configuration files naming a venue, venues with bad certificates."""

from __future__ import annotations

import datetime
import ipaddress
import json
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Literal

import jsonschema
from aiohttp import web

from ccxt_mcp.doctor.examination import examine
from ccxt_mcp.doctor.report import Check, Finding, Outcome, Report
from ccxt_mcp.simulation import DemoAccount, SimulatedExchange, demo_accounts

Dialect = Literal["binance", "kraken"]

SCHEMA = {
    "type": "object",
    "additionalProperties": False,
    "required": ["version", "outcome", "counts", "findings"],
    "properties": {
        "version": {"type": "string"},
        "outcome": {"enum": ["ok", "warning", "failed"]},
        "counts": {
            "type": "object",
            "additionalProperties": False,
            "required": [each.value for each in Outcome],
            "properties": {each.value: {"type": "integer"} for each in Outcome},
        },
        "findings": {
            "type": "array",
            "minItems": 1,
            "items": {
                "type": "object",
                "additionalProperties": False,
                "required": ["check", "subject", "outcome", "found"],
                "properties": {
                    "check": {"enum": [each.value for each in Check]},
                    "subject": {"type": "string", "minLength": 1},
                    "outcome": {"enum": [each.value for each in Outcome]},
                    "found": {"type": "string", "minLength": 1},
                    "remedy": {"type": "string", "minLength": 1},
                },
            },
        },
    },
}
"""What `ccxt-mcp doctor --json` prints."""


def written(
    folder: Path,
    sim: SimulatedExchange | None,
    *,
    dialect: Dialect = "binance",
    profile: Mapping[str, Any] | None = None,
    account: Mapping[str, Any] | None = None,
    **top: Any,
) -> Path:
    """A configuration with the venue as `paper` and one account `main`, for this user alone.

    `profile`, `account` and `top` change what stands in the file; a value of None leaves a key out.
    """
    key = demo_accounts(7, dialect=dialect)[0]
    exchange = {"exchange": dialect, "base_url": sim.base_url if sim else None, **(profile or {})}
    keys = {"exchange": "paper", "api_key": key.api_key, "secret": key.secret, **(account or {})}
    lines = [_line(name, value) for name, value in {"port": 0, **top}.items()]
    lines += ["[exchanges.paper]", *(_line(name, value) for name, value in exchange.items())]
    lines += ["[accounts.main]", *(_line(name, value) for name, value in keys.items())]
    file = folder / "ccxt-mcp.toml"
    file.write_text("\n".join(line for line in lines if line) + "\n")
    file.chmod(0o600)
    return file


def _line(name: str, value: Any) -> str:
    if isinstance(value, dict):
        return f"{name} = {{ {', '.join(_line(k, v) for k, v in value.items())} }}"
    return "" if value is None else f"{name} = {json.dumps(value)}"


async def report_on(file: Path | None, **more: Any) -> Report:
    """The doctor's report, without helper processes and with nothing from this environment."""
    report = await examine(file, {}, load_apart=False, **more)
    checked(report)
    return report


def checked(report: Report) -> None:
    """The report has the promised form, and shows no key or secret of the demonstration's."""
    told = report.as_dict()
    jsonschema.validate(told, SCHEMA)
    has_no_secret(json.dumps(told, ensure_ascii=False))


def has_no_secret(text: str) -> None:
    dialects: tuple[Dialect, ...] = ("binance", "kraken")
    accounts: list[DemoAccount] = [a for d in dialects for a in demo_accounts(7, dialect=d)]
    for account in accounts:
        assert account.api_key not in text
        assert account.secret not in text


def only(report: Report, check: Check, subject: str | None = None) -> Finding:
    """The one finding of a check."""
    found = [f for f in report.findings if f.check is check and subject in (None, f.subject)]
    assert len(found) == 1, found
    return found[0]


def certificate(
    folder: Path, *, host: str = "127.0.0.1", expired: bool = False, name: str = "venue"
) -> Path:
    """A self-signed certificate with its key, as PEM."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    whose = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "venue")])
    now = datetime.datetime.now(datetime.UTC)
    until = now + datetime.timedelta(days=-1 if expired else 1)
    subject: x509.GeneralName = (
        x509.IPAddress(ipaddress.ip_address(host)) if host[0].isdigit() else x509.DNSName(host)
    )
    made = (
        x509.CertificateBuilder()
        .subject_name(whose)
        .issuer_name(whose)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=2))
        .not_valid_after(until)
        .add_extension(x509.SubjectAlternativeName([subject]), False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), True)
        .sign(key, hashes.SHA256())
    )
    file = folder / f"{name}.pem"
    file.write_bytes(
        made.public_bytes(serialization.Encoding.PEM)
        + key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    return file


Handler = Callable[[web.BaseRequest], Awaitable[web.Response]]


@asynccontextmanager
async def answered_by(handler: Handler, tls: ssl.SSLContext | None = None) -> AsyncIterator[str]:
    """The address of a server with this handler."""
    runner = web.ServerRunner(web.Server(handler), shutdown_timeout=0.1)
    await runner.setup()
    try:
        site = web.TCPSite(runner, "127.0.0.1", 0, ssl_context=tls)
        await site.start()
        yield f"{'https' if tls else 'http'}://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


@asynccontextmanager
async def served_by(file: Path) -> AsyncIterator[str]:
    """The address of a server with this certificate."""

    async def answer(_: web.BaseRequest) -> web.Response:
        return web.Response(text="{}")

    tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    tls.load_cert_chain(file)
    async with answered_by(answer, tls) as address:
        yield address
