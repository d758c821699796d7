"""What the server holds in memory: idle, with an exchange, per session."""

from __future__ import annotations

import asyncio

from benchmarks.load import Caller, minted, named, tool_call
from benchmarks.processes import BenchmarkError, Child
from benchmarks.report import Row, measurement
from benchmarks.roles import SYMBOL
from benchmarks.stage import Stage, free_port

__all__: list[str] = []

_SESSIONS = 1000
_WARM = 50
_CONNECTIONS = 8


@measurement("memory")
async def memory(stage: Stage) -> list[Row]:
    """Resident memory of a fresh server: idle, then with the simulated exchange in use.

    Idle is after the first `tools/list`. In use is after a public and 50 credentialed calls.
    Reference for the second: the process of bare CCXT, which imports all of CCXT.
    """
    server = await stage.fresh_server()
    idle = server.memory
    orders = (await stage.order_callers(server, 1))[0]
    ticker = (await stage.callers(server, 1, tool_call("get_ticker", symbol=SYMBOL)))[0]
    await ticker.call()
    for _ in range(50):
        await orders.call()
    loaded = server.memory
    bare = (await stage.bare()).process.memory
    await server.stop()
    return [
        Row(
            what="memory, idle",
            ours=f"{idle:.1f} MB",
            target="≤ 130 MB",
            reached=idle <= 130,
            note="resident, of one process, shared libraries included",
            data={"idle_mb": idle},
        ),
        Row(
            what="memory, simulated exchange in use",
            ours=f"{loaded:.1f} MB",
            reference=f"{bare:.1f} MB",
            ratio=f"{loaded / bare:.2f}",
            note="few markets; reference: bare CCXT with the same markets, all of CCXT imported",
            data={"loaded_mb": loaded, "bare_mb": bare},
        ),
    ]


@measurement("session-memory")
async def session_memory(stage: Stage) -> list[Row]:
    """Growth of resident memory over 1,000 sessions, divided by 1,000.

    Each session is opened, makes one call of a tool that needs no exchange, and stays. Minted ones
    open by `initialize`, named ones by their first call. Fresh processes, 50 sessions ahead of the
    measurement; 8 kept-alive connections carry all of them. Reference: sessions of SDK echo.
    """
    local, echo = tool_call("list_accounts"), tool_call("echo", symbol=SYMBOL)
    minting, naming = await stage.fresh_server(), await stage.fresh_server()
    sdk = await stage.start("echo-sdk")
    mint = await _growth(stage, minting, local, by_name=False)
    name = await _growth(stage, naming, local, by_name=True)
    for server in (minting, naming):
        # A session that had been ended to make room would take no memory at all.
        alive = await stage.sessions_of(server)
        if alive < _SESSIONS:
            raise BenchmarkError(f"only {alive} of {_SESSIONS} sessions are alive")
    reference = await _growth(stage, sdk, echo, by_name=False)
    for process in (minting, naming, sdk):
        await process.stop()
    return [
        Row(
            what=f"memory per session, {kind}",
            ours=f"{ours:.1f} KB",
            reference=f"{reference:.1f} KB",
            ratio=f"{ours / reference:.2f}" if reference > 0 else "-",
            target="≤ 16 KB",
            reached=ours <= 16,
            note=f"growth over {_SESSIONS} sessions; reference: SDK echo",
            data={"ours_kb": ours, "reference_kb": reference},
        )
        for kind, ours in (("minted by initialize", mint), ("named by the client", name))
    ]


_CYCLES = 10


@measurement("session-growth")
async def session_growth(stage: Stage) -> list[Row]:
    """Resident memory over 10,000 sessions that are opened, make a call, and expire.

    Ten times 1,000 sessions (`--quick`: 100), minted and named in turn, on one server that ends
    sessions after 1 s of idleness; the next thousand comes when the last has expired. The first
    two thousands fill pools and arenas, which goes on a little. A session that stayed would show
    with its 5 to 16 KB, what is left of one in a steady growth.
    """
    each = stage.scale.calls(_SESSIONS, _SESSIONS // 10)
    config = stage.home / "expiring.toml"
    lines = (await stage.config()).read_text()
    config.write_text("session_idle_timeout = 1\n" + lines)
    config.chmod(0o600)
    server = await stage.start("serve", config=str(config), port=free_port())
    await stage.until_answering(server)
    resident = []
    for cycle in range(_CYCLES):
        await _growth(stage, server, tool_call("list_accounts"), by_name=cycle % 2 == 1, count=each)
        async with asyncio.timeout(30):
            while await stage.sessions_of(server):
                await asyncio.sleep(0.05)
        resident.append(server.memory)
    await server.stop()
    grown = (resident[-1] - resident[1]) * 1e3 / (each * (_CYCLES - 2))
    return [
        Row(
            what=f"growth over {_CYCLES * each:,} sessions opened and expired",
            ours=f"{grown:.2f} KB per session",
            target="≤ 0.5 KB",
            reached=grown <= 0.5,
            note="resident " + ", ".join(f"{each:.1f}" for each in resident) + " MB",
            data={"grown_kb": grown, "resident_mb": resident},
        )
    ]


async def _growth(
    stage: Stage,
    server: Child,
    message: dict[str, object],
    *,
    by_name: bool,
    count: int = _SESSIONS,
) -> float:
    """KB (10^3 bytes) per session, over `count` of them."""
    connections = [stage.connection(server) for _ in range(_CONNECTIONS)]

    async def open_some(lane: int, first: int, last: int) -> list[Caller]:
        made = []
        for number in range(first + lane, last, _CONNECTIONS):
            connection = connections[lane]
            if by_name:
                caller = named(connection, f"workflow-{number:06d}")
            else:
                caller = await minted(connection)
            await caller.prepare(message).call()
            made.append(caller)
        return made

    async def open_all(first: int, last: int) -> list[Caller]:
        lanes = [open_some(lane, first, last) for lane in range(_CONNECTIONS)]
        return [caller for made in await asyncio.gather(*lanes) for caller in made]

    warm = await open_all(0, _WARM)
    before = server.memory
    await open_all(_WARM, _WARM + count)
    grown = (server.memory - before) * 1e3 / count
    for caller in warm:
        await caller.end()
    for connection in connections:
        await connection.close()
    return grown


_EXCHANGES = 5
_SPOT, _LINEAR = 3000, 600


@measurement("memory-full")
async def memory_full(stage: Stage) -> list[Row]:
    """Resident memory of the server with five large exchanges loaded and 1,000 sessions open.

    Each exchange lists 3,000 spot and 600 linear markets and is a profile of its own with options
    of its own, so that none of them shares a table. The helper processes that load the tables have
    ended when the memory is read.
    """
    large = await stage.start("venue", spot=_SPOT, linear=_LINEAR)
    config = stage.home / "five.toml"
    lines = ['default_exchange = "x0"', "exchange_keys_from_env = false"]
    lines += ["max_sessions_per_client = 5000", "tool_timeout = 60", "ccxt_timeout = 30"]
    for number in range(_EXCHANGES):
        lines += [f"[exchanges.x{number}]", 'exchange = "binance"', 'rate_limit = "off"']
        lines += [f'base_url = "{large.ready["url"]}"', f"options = {{ own = {number} }}"]
    config.write_text("\n".join(lines) + "\n")
    server = await stage.start("serve", config=str(config), port=free_port())
    await stage.until_answering(server)
    for number in range(_EXCHANGES):
        body = tool_call("get_ticker", symbol=SYMBOL, exchange=f"x{number}")
        (caller,) = await stage.callers(server, 1, body)
        await caller.call()
    await _growth(stage, server, tool_call("list_accounts"), by_name=False)
    resident = server.memory
    await server.stop()
    await large.stop()
    return [
        Row(
            what="memory, five large exchanges and 1,000 sessions",
            ours=f"{resident:.1f} MB",
            target="≤ 512 MB",
            reached=resident <= 512,
            note=f"{_SPOT} spot and {_LINEAR} linear markets each, no table shared",
            data={"resident_mb": resident},
        )
    ]
