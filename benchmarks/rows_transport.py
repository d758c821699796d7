"""What a call costs before any exchange is involved, against the SDK's own transport."""

from __future__ import annotations

from benchmarks.load import list_tools, run_load, tool_call
from benchmarks.processes import Child
from benchmarks.report import Rounds, Row, measurement
from benchmarks.roles import SYMBOL
from benchmarks.stage import Stage, alternate

__all__: list[str] = []

_SESSIONS = 16
_ECHO = tool_call("echo", symbol=SYMBOL)


async def _against(
    stage: Stage,
    ours: tuple[Child, dict[str, object]],
    reference: tuple[Child, dict[str, object]],
    count: int,
    *,
    rounds: int = 7,
) -> tuple[Rounds, Rounds]:
    """CPU per call in microseconds of two servers, in alternating rounds."""
    callers = await stage.callers(ours[0], _SESSIONS, ours[1])
    others = await stage.callers(reference[0], _SESSIONS, reference[1])
    await run_load(ours[0], callers, count // 4)
    await run_load(reference[0], others, count // 4)
    mine, theirs = await alternate(
        stage.scale.rounds(rounds),
        lambda: run_load(ours[0], callers, count),
        lambda: run_load(reference[0], others, count),
    )
    for caller in (*callers, *others):
        await caller.end()
        await caller.connection.close()
    return (
        Rounds.of([load.cpu_per_call * 1e6 for load in mine]),
        Rounds.of([load.cpu_per_call * 1e6 for load in theirs]),
    )


def _row(what: str, mine: Rounds, theirs: Rounds, target: float | None, note: str) -> Row:
    ratio = mine.over(theirs)
    return Row(
        what=what,
        ours=mine.show("µs", 0),
        reference=theirs.show("µs", 0),
        ratio=ratio.show(),
        target="-" if target is None else f"≤ {target:g} x",
        reached=None if target is None else ratio.median <= target,
        note=note,
        data={"ours_us": mine.values, "reference_us": theirs.values, "ratio": ratio.values},
    )


@measurement("trivial-tool")
async def trivial_tool(stage: Stage) -> list[Row]:
    """CPU per call of a trivial tool over legacy sessions.

    One low-level `Server` with one tool; ours: in `create_app(settings, server)` as `serve` runs
    it; reference, *SDK echo*: the SDK's `streamable_http_app(json_response=True)` on uvicorn with
    uvloop and httptools. 16 minted sessions, a kept-alive connection each, the same bytes.
    """
    ours, sdk = await stage.echo("echo-ours"), await stage.echo("echo-sdk")
    mine, theirs = await _against(stage, (ours, _ECHO), (sdk, _ECHO), stage.scale.calls(3000, 1000))
    note = "16 sessions at once; reference: SDK echo"
    return [_row("trivial tool, CPU per call", mine, theirs, 0.5, note)]


@measurement("public-read")
async def public_read(stage: Stage) -> list[Row]:
    """CPU per call of a public `get_ticker` of the product, against SDK echo's trivial tool.

    The target is for a cached read. Whether reads are cached is not assumed but counted at the
    venue, and the row is called accordingly.
    """
    venue, server = await stage.venue(), await stage.server()
    sdk = await stage.echo("echo-sdk")
    before = (await venue.counters())["total"]
    count = stage.scale.calls(1200, 500)
    served = count // 4 + count * stage.scale.rounds(7)
    read = tool_call("get_ticker", symbol=SYMBOL)
    mine, theirs = await _against(stage, (server, read), (sdk, _ECHO), count)
    upstream = ((await venue.counters())["total"] - before) / served
    if upstream < 0.1:
        what, note = "cached public read, CPU per call", "reference: SDK echo"
    else:
        what = "public read (NOT cached yet), CPU per call"
        note = (
            "each call is a request to the exchange as long as there is no cache:"
            f" {upstream:.2f} counted; the target is that of a cached read"
        )
    return [_row(f"{what}: get_ticker", mine, theirs, 0.75, note)]


@measurement("boundary")
async def boundary(stage: Stage) -> list[Row]:
    """CPU per call of what the product answers by itself.

    `list_accounts` (arguments, deadline, log line, result) against SDK echo's trivial tool, and
    `tools/list` against the same tools mounted in the SDK's own transport. No targets: what is
    above `trivial-tool` is the tools' boundary.
    """
    server, sdk = await stage.server(), await stage.echo("echo-sdk")
    call = tool_call("list_accounts")
    mine, theirs = await _against(stage, (server, call), (sdk, _ECHO), stage.scale.calls(2000, 800))
    note = "answered without any exchange; reference: SDK echo"
    rows = [_row("local tool, CPU per call: list_accounts", mine, theirs, None, note)]
    tools = await stage.echo("product-sdk")
    mine, theirs = await _against(
        stage, (server, list_tools()), (tools, list_tools()), stage.scale.calls(800, 300), rounds=3
    )
    note = "reference: the product's own tools on the SDK's transport"
    return [*rows, _row("tools/list, CPU per call", mine, theirs, None, note)]
