"""The product as an MCP server, before any transport: settings in, server with exchanges behind it.

Owns: how accounts, exchanges, calls and tools are joined, and that the exchanges' connections live
exactly as long as the server's lifespan. Refuses: HTTP (``app.py``).
"""

from __future__ import annotations

import difflib
import os
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from mcp.server.lowlevel import Server

from ccxt_mcp import __version__
from ccxt_mcp.accounts import Accounts, load_accounts
from ccxt_mcp.callers import Tokens
from ccxt_mcp.calls.pipeline import Calls
from ccxt_mcp.cluster.cluster import Cluster
from ccxt_mcp.errors import ConfigurationError
from ccxt_mcp.exchanges.gateway import Gateway
from ccxt_mcp.redaction import Redactor
from ccxt_mcp.settings import Settings
from ccxt_mcp.tools.boundary import Boundary
from ccxt_mcp.tools.server import TOOLS, build_server
from ccxt_mcp.tools.tool import Tool
from ccxt_mcp.tools.watching import Watching

__all__ = ["Product", "assemble"]


@dataclass(frozen=True, slots=True)
class Product:
    """Everything of one server that is not transport."""

    settings: Settings
    accounts: Accounts
    tokens: Tokens
    gateway: Gateway
    redactor: Redactor
    server: Server[Any]
    calls: Calls
    boundary: Boundary
    watching: Watching
    cluster: Cluster | None = None


def assemble(
    settings: Settings,
    *,
    environ: Mapping[str, str] | None = None,
    on_progress: Callable[[str], None] | None = None,
    keep_on_disk: bool = True,
    load_apart: bool = True,
    tools: Sequence[Tool] = TOOLS,
    cluster: Cluster | None = None,
) -> Product:
    """Join the rooms.

    Args:
        settings: validated settings.
        environ: where ``env:`` values and exchange keys are looked up; the process's by default.
        on_progress: told in words while market tables load.
        keep_on_disk: whether ``settings.data_dir`` is used at all.
        load_apart: whether market tables are loaded in processes of their own (``Gateway``).
        tools: what clients can call, in the order of the list.
        cluster: the replicas that share limits, keys and answers with this server, begun and ended
            by whoever serves it (``create_app`` does); ``None`` for none.

    Raises:
        ConfigurationError: an account, a token or a profile cannot be used.
    """
    environ = os.environ if environ is None else environ
    redactor = Redactor()
    gateway = Gateway(
        settings.exchanges,
        ccxt_timeout=settings.ccxt_timeout,
        redact=redactor.text,
        on_progress=on_progress,
        data_dir=settings.data_dir if keep_on_disk else None,
        market_max_age=settings.market_max_age,
        max_exchanges_loaded=settings.max_exchanges_loaded,
        load_apart=load_apart,
        cluster=cluster,
    )
    known = gateway.exchange_ids()
    problems = _unknown_exchanges(settings, known)
    accounts, tokens = Accounts(), Tokens()
    try:
        accounts = load_accounts(settings, environ, known)
    except ConfigurationError as error:
        problems += error.problems
    try:
        tokens = Tokens.from_settings(settings, environ)
    except ConfigurationError as error:
        problems += error.problems
    if problems:
        raise ConfigurationError.listing(problems)
    redactor.add(*settings.secrets(), *accounts.secrets(), *tokens.secrets())
    calls = Calls(
        gateway,
        accounts,
        settings,
        redact=redactor.text,
        sharing=None if cluster is None else cluster.sharing,
    )
    boundary = Boundary(calls, tools)
    watching = Watching(boundary, settings)
    server = build_server(calls, boundary=boundary, version=__version__)

    @asynccontextmanager
    async def lifespan(_: Server[Any]) -> AsyncIterator[dict[str, Any]]:
        await gateway.start()
        try:
            yield {}
        finally:
            await watching.close()
            await gateway.close()

    server.lifespan = lifespan
    return Product(
        settings, accounts, tokens, gateway, redactor, server, calls, boundary, watching, cluster
    )


def _unknown_exchanges(settings: Settings, known: Sequence[str]) -> list[str]:
    """Names that CCXT does not have: to be refused now, rather than at the first call."""
    problems = [
        f"exchanges.{name}.exchange: CCXT has no exchange {_shown(profile.exchange, known)}"
        for name, profile in settings.exchanges.items()
        if profile.exchange not in known
    ]
    default = settings.default_exchange
    names = [*settings.exchanges, *known]
    if default is not None and default not in names:
        origin = settings.origin("default_exchange")
        problems.append(
            f"{origin + ': ' if origin else ''}default_exchange: there is no profile and no"
            f" exchange {_shown(default, names)}"
        )
    return problems


def _shown(name: str, known: Sequence[str]) -> str:
    close = difflib.get_close_matches(name, known, 1)
    return f"{name!r}" + (f"; did you mean {close[0]!r}?" if close else "")
