"""A server over one exchange's recorded answers, with an account of made-up keys."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from mcp.server.lowlevel import Server

from ccxt_mcp.accounts import Accounts, load_accounts
from ccxt_mcp.calls.pipeline import Calls
from ccxt_mcp.exchanges.gateway import Gateway
from ccxt_mcp.settings import load_settings
from ccxt_mcp.tools.server import build_server
from tests.recorded.replay import Replay, replaying
from tests.recorded.tape import Tape

__all__ = ["KEYS", "Recorded", "recorded"]

_EC_KEY = (
    ec.generate_private_key(ec.SECP256R1())
    .private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.TraditionalOpenSSL,
        serialization.NoEncryption(),
    )
    .decode()
)
_PLAIN = {"api_key": "made-up-key", "secret": "made-up-secret"}
_PHRASE = {**_PLAIN, "password": "made-up-phrase"}
KEYS: dict[str, dict[str, str]] = {
    "coinbase": {"api_key": "organizations/made-up/apiKeys/made-up", "secret": _EC_KEY},
    "kraken": {"api_key": "made-up-key", "secret": "bWFkZS11cC1zZWNyZXQ="},
    "okx": _PHRASE,
    "kucoin": _PHRASE,
    "bitget": _PHRASE,
    "hyperliquid": {"wallet_address": "0x" + "1" * 40, "private_key": "0x" + "2" * 64},
}
"""Keys of the kind that each class signs with; none has ever existed."""


@dataclass
class Recorded:
    """A server over a replayed exchange."""

    replay: Replay
    tape: Tape
    gateway: Gateway
    accounts: Accounts
    calls: Calls
    server: Server[Any]


@asynccontextmanager
async def recorded(tape: Tape, tmp_path: Path) -> AsyncIterator[Recorded]:
    """The whole stack below the transport over ``tape``'s answers."""
    async with replaying(tape.answers) as replay:
        settings = load_settings(
            None,
            {},
            default_exchange=tape.exchange,
            exchange_keys_from_env=False,
            data_dir=tmp_path,
            exchanges={
                tape.exchange: {
                    "base_url": replay.url,
                    "options": tape.options,
                    "rate_limit": "off",
                }
            },
            accounts={"mine": {"exchange": tape.exchange, **KEYS.get(tape.exchange, _PLAIN)}},
        )
        gateway = Gateway(settings.exchanges, ccxt_timeout=settings.ccxt_timeout, load_apart=False)
        accounts = load_accounts(settings, {}, gateway.exchange_ids())
        # Retries without their pauses.
        calls = Calls(gateway, accounts, settings, jitter=lambda _: 0.0)
        await gateway.start()
        try:
            yield Recorded(replay, tape, gateway, accounts, calls, build_server(calls, version="0"))
        finally:
            await gateway.close()
