"""A Kraken client without CCXT: its own signature, and nonces exactly as a test wants them."""

from __future__ import annotations

import base64
import hashlib
import hmac
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import urlencode

import aiohttp

from ccxt_mcp.simulation import DemoAccount, SimulatedExchange

INVALID_NONCE = {"error": ["EAPI:Invalid nonce"]}
BALANCE = "Balance"


class Caller:
    """Signed calls of one account; `post` returns the decoded answer."""

    def __init__(self, session: aiohttp.ClientSession, account: DemoAccount) -> None:
        self._session = session
        self._account = account

    async def post(self, method: str, nonce: object, **params: object) -> Any:
        return await self.send(method, urlencode({"nonce": nonce, **params}), str(nonce))

    async def send(self, method: str, body: str, nonce: str, *, json: bool = False) -> Any:
        path = f"/0/private/{method}"
        signed = path.encode() + hashlib.sha256((nonce + body).encode()).digest()
        digest = hmac.digest(base64.b64decode(self._account.secret), signed, hashlib.sha512)
        kind = "application/json" if json else "application/x-www-form-urlencoded"
        headers = {
            "API-Key": self._account.api_key,
            "API-Sign": base64.b64encode(digest).decode(),
            "Content-Type": kind,
        }
        async with self._session.post(path, data=body, headers=headers) as answer:
            assert answer.status == 200
            return await answer.json()


@asynccontextmanager
async def calling(sim: SimulatedExchange, *accounts: DemoAccount) -> AsyncIterator[list[Caller]]:
    async with aiohttp.ClientSession(sim.base_url) as session:
        yield [Caller(session, account) for account in accounts]
