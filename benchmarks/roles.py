"""What the child processes of a benchmark run: the venue, servers under test, references.

`python -m benchmarks.roles ROLE ARGUMENTS` with arguments as a JSON object. A role says one JSON
line on standard output when it is ready, and ends when its standard input does. Imports are made
inside the roles: none may carry what another one needs.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
import threading
import time
from collections.abc import Callable, Coroutine
from typing import Any

from benchmarks.roles_answers import answers
from benchmarks.roles_markets import bare_markets, markets

__all__ = ["ACCOUNTS", "ORDERS", "SEED", "SYMBOL", "account_name"]

SEED = 7
ACCOUNTS = 16
"""Several keys, since a server may bound what one key has in flight."""
ORDERS = 100
SYMBOL = "BTC/USDT"


def account_name(number: int) -> str:
    return f"bench{number:02d}"


def _say(**words: Any) -> None:
    print(json.dumps(words), flush=True)


def _end_with_parent() -> None:
    """Leave at once when standard input ends: the parent is done, or gone."""

    def watch() -> None:
        # Below `sys.stdin`: its lock would be held when the interpreter ends.
        while os.read(0, 4096):
            pass
        os._exit(0)

    threading.Thread(target=watch, daemon=True).start()


def _run(main: Coroutine[Any, Any, None]) -> None:
    import uvloop

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(main)


def venue(spot: int = 14, linear: int = 0, still: bool = False) -> None:
    """The simulated exchange without limits; accounts of 100 resting orders in one symbol each.

    `spot` and `linear` are how many markets it lists; 14 are always there. Where time stands
    `still`, an answer is made once, however large it is.
    """
    from ccxt_mcp.simulation import SimulatedExchange, SimulationConfig, Venue, derive_keys
    from ccxt_mcp.simulation.venue import system_clock

    async def main() -> None:
        began = system_clock()
        clock = (lambda: began) if still else system_clock
        place = Venue(seed=SEED, extra_symbols=spot - 14, linear_symbols=linear, clock=clock)
        keys = {}
        for number in range(ACCOUNTS):
            name = account_name(number)
            keys[name] = derive_keys(SEED, name)
            place.add_account(*keys[name], name=name, open_orders=ORDERS, symbols=("BTCUSDT",))
        async with SimulatedExchange(SimulationConfig(rate_limit=None), venue=place) as exchange:
            port = int(exchange.base_url.rpartition(":")[2])
            _say(port=port, url=exchange.base_url, keys=keys)
            await asyncio.get_running_loop().create_future()

    _end_with_parent()
    _run(main())


def serve(config: str, port: int) -> None:
    """The product, started by its own command line."""
    from ccxt_mcp.cli import main

    _end_with_parent()
    _say(port=port)
    sys.exit(main(["serve", "--config", config, "--port", str(port)]))


def _echo() -> Any:
    """A low-level server with one trivial tool, whose schema is about that of `get_ticker`."""
    import mcp_types as types
    from mcp.server.context import ServerRequestContext
    from mcp.server.lowlevel import Server

    schema = {
        "type": "object",
        "properties": {
            "symbol": {
                "type": "string",
                "minLength": 1,
                "maxLength": 64,
                "description": "Unified symbol, e.g. BTC/USDT.",
            },
            "exchange": {
                "type": "string",
                "maxLength": 64,
                "description": "Exchange profile or CCXT id; default: the server's default.",
            },
        },
        "required": ["symbol"],
        "additionalProperties": False,
    }
    tool = types.Tool(name="echo", description="Answers its argument.", input_schema=schema)
    tools = types.ListToolsResult(tools=[tool])

    async def list_tools(ctx: ServerRequestContext[Any], params: Any) -> types.ListToolsResult:
        return tools

    async def call_tool(
        ctx: ServerRequestContext[Any], params: types.CallToolRequestParams
    ) -> types.CallToolResult:
        text = str((params.arguments or {}).get("symbol", ""))
        return types.CallToolResult(content=[types.TextContent(text=text)])

    return Server("echo", version="1", on_list_tools=list_tools, on_call_tool=call_tool)


def echo_ours() -> None:
    """The trivial tool on this project's transport, served as the product is."""
    from ccxt_mcp.app import create_app
    from ccxt_mcp.serving import bind, run_until_stopped
    from ccxt_mcp.settings import Settings

    settings = Settings(max_sessions_per_client=5000)
    listener = bind("127.0.0.1", 0)
    port = int(listener.getsockname()[1])
    _end_with_parent()
    _run(
        run_until_stopped(
            create_app(settings, _echo()), listener, started=lambda _: _say(port=port)
        )
    )


def echo_sdk() -> None:
    """The reference *SDK echo*: the same server on the SDK's own transport."""
    _serve_on_sdk(_echo())


def product_sdk() -> None:
    """The product's own tools, without any account, on the SDK's own transport."""
    from ccxt_mcp.product import assemble
    from ccxt_mcp.settings import Settings

    _serve_on_sdk(assemble(Settings(exchange_keys_from_env=False), environ={}).server)


def _serve_on_sdk(server: Any) -> None:
    import socket

    import uvicorn

    listener = socket.create_server(("127.0.0.1", 0), backlog=2048)
    port = int(listener.getsockname()[1])
    app = server.streamable_http_app(json_response=True)
    config = uvicorn.Config(
        app, loop="uvloop", http="httptools", access_log=False, log_level="warning"
    )

    class Announcing(uvicorn.Server):
        async def startup(self, sockets: list[socket.socket] | None = None) -> None:
            await super().startup(sockets)
            _say(port=port)

    _end_with_parent()
    _run(Announcing(config).serve(sockets=[listener]))


def bare(url: str, api_key: str, secret: str) -> None:
    """The reference *bare CCXT*: one `binance` instance, reused, its limiter off.

    Commands: `{"method": "fetch_open_orders", "arguments": [...], "calls": 100, "concurrency": 1}`;
    the answer has the wall seconds of all and the seconds of each.
    """
    from urllib.parse import urlsplit

    import ccxt.async_support as ccxt

    async def main() -> None:
        exchange = ccxt.binance(
            {
                "apiKey": api_key,
                "secret": secret,
                "enableRateLimit": False,
                "options": {"fetchMarkets": {"types": ["spot"]}},
            }
        )
        api = exchange.urls["api"]
        exchange.urls["api"] = {name: url + urlsplit(old).path for name, old in api.items()}
        reader = asyncio.StreamReader()
        await asyncio.get_running_loop().connect_read_pipe(
            lambda: asyncio.StreamReaderProtocol(reader), sys.stdin
        )
        try:
            await exchange.load_markets()
            _say()
            while line := await reader.readline():
                _say(**await _measure(exchange, **json.loads(line)))
        finally:
            await exchange.close()

    _run(main())


async def _measure(
    exchange: Any, method: str, arguments: list[Any], calls: int, concurrency: int
) -> dict[str, Any]:
    call = getattr(exchange, method)
    left = calls
    each: list[float] = []

    async def loop() -> None:
        nonlocal left
        while left > 0:
            left -= 1
            began = time.perf_counter()
            await call(*arguments)
            each.append(time.perf_counter() - began)

    started = time.perf_counter()
    async with asyncio.TaskGroup() as group:
        for _ in range(concurrency):
            group.create_task(loop())
    return {"seconds": time.perf_counter() - started, "each": each}


_ROLES: dict[str, Callable[..., None]] = {
    "venue": venue,
    "serve": serve,
    "echo-ours": echo_ours,
    "echo-sdk": echo_sdk,
    "product-sdk": product_sdk,
    "bare": bare,
    "markets": markets,
    "bare-markets": bare_markets,
    "answers": answers,
}

if __name__ == "__main__":
    _ROLES[sys.argv[1]](**json.loads(sys.argv[2]))
