"""`ccxt-mcp call` and `ccxt-mcp status` against a running server."""

from __future__ import annotations

import asyncio
import io
import json
import os
import re
import signal
import sys
from pathlib import Path
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from ccxt_mcp.cli.call import values
from ccxt_mcp.cli.output import json_text, written
from ccxt_mcp.cli.status import page
from ccxt_mcp.client import Health, SessionHealth
from ccxt_mcp.errors import ConfigurationError
from ccxt_mcp.redaction import printable
from ccxt_mcp.serving import bind, serving
from tests.e2e.commands import run_beside, run_here
from tests.e2e.conftest import Stack, StackFactory

OPS = "0123456789abcdef-ops"
READER = "0123456789abcdef-reader"


async def command(*arguments: str, **environ: str) -> tuple[int, str, str]:
    """Exit code, standard output, standard error; in this process, beside the server's loop."""
    done = await asyncio.to_thread(lambda: run_here(*arguments, cwd=None, out=None, **environ))
    return done.returncode, done.stdout, done.stderr


async def test_a_call_prints_its_result_and_ends_its_session(stack: Stack, tmp_path: Path) -> None:
    done = await run_beside(
        *("call", "get_ohlcv", "symbol=BTC/USDT", "limit=2", "timeframe=1h", "--url", stack.url),
        cwd=tmp_path,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert len(json.loads(done.stdout)["candles"]) == 2
    assert not [each for each in await stack.sessions() if each["sessionId"].startswith("wf-cli")]
    code, out, _ = await command(
        *("call", "--json", "--url", f"{stack.url}/mcp"),
        *("batch_get_tickers", "symbols=BTC/USDT,ETH/USDT", 'fields=["last"]'),
    )
    assert code == 0
    assert out.count("\n") == 1
    assert {each["symbol"] for each in json.loads(out)["tickers"]} == {"BTC/USDT", "ETH/USDT"}


async def test_a_failed_call_is_words_on_standard_error_and_exit_code_1(stack: Stack) -> None:
    asked = ("call", "get_ticker", "symbol=BTC/USTD", "--url", stack.url)
    code, out, err = await command(*asked)
    assert (code, out) == (1, "")
    assert err.startswith("unknown_symbol: paper does not list 'BTC/USTD'")
    assert "Traceback" not in err
    code, out, err = await command(*asked, "--json")
    assert (code, out) == (1, "")
    assert json.loads(err)["error"]["code"] == "unknown_symbol"
    code, _, err = await command("call", "get_ticker", "limit=abc", "--url", stack.url)
    assert code == 1
    assert "`symbol`" in err
    assert "`limit`" in err


async def test_the_tools_are_listed_for_people_and_programs(stack: Stack) -> None:
    code, out, _ = await command("call", "--list", "--url", stack.url)
    assert code == 0
    assert re.search(r"get_ticker .*Get a price .*symbol exchange maxAgeMs", out)
    assert "\x1b" not in out
    code, out, _ = await command("call", "--list", "--json", "--url", stack.url)
    assert {"get_ticker", "account_balance"} <= {tool["name"] for tool in json.loads(out)}


async def test_a_token_comes_from_the_environment_or_a_file(
    make_stack: StackFactory, tmp_path: Path
) -> None:
    tokens = {
        "reader": {"token": READER, "scopes": ["read"]},
        "ops": {"token": OPS, "scopes": ["ops"]},
    }
    stack = await make_stack(tokens=tokens)
    call = ("call", "get_ticker", "symbol=BTC/USDT", "--url", stack.url)
    file = tmp_path / "token"
    file.write_text(READER + "\n")
    assert (await command(*call, CCXT_MCP_TOKEN=READER))[0] == 0
    assert (await command(*call, "--token-env", "MINE", MINE=READER))[0] == 0
    assert (await command(*call, "--token-file", str(file)))[0] == 0
    code, _, err = await command(*call)
    assert code == 1
    assert err.startswith("permission_denied: ")
    for wrong in (("--token-env", "NOT_SET"), ("--token-file", str(tmp_path / "none"))):
        code, _, err = await command(*call, *wrong)
        assert (code, "Traceback" in err) == (2, False)
        assert wrong[0] in err

    status = ("status", "--once", "--url", stack.url)
    code, out, _ = await command(*status, CCXT_MCP_TOKEN=OPS)
    assert code == 0
    assert "no session yet" in out
    code, out, _ = await command(*status, CCXT_MCP_TOKEN=READER)
    assert code == 0
    assert "scope `ops`" in out


async def test_status_shows_the_sessions(stack: Stack) -> None:
    await stack.call("get_ticker", {"symbol": "BTC/USDT"}, session="workflow-orders")
    code, out, err = await command("status", "--url", stack.url)
    assert (code, err) == (0, "")
    assert re.search(r"workflow-orders .* 127\.0\.0\.1 ", out)
    assert "healthy" in out
    assert "\x1b" not in out
    code, out, _ = await command("status", "--json", "--url", stack.url)
    assert code == 0
    shown = json.loads(out)
    assert shown["active_sessions"] == 2
    assert shown["sessions"][1]["session_id"] == "workflow-orders"


async def test_status_of_no_server_is_exit_code_1() -> None:
    code, out, err = await command("status", "--url", "http://127.0.0.1:1")
    assert (code, out) == (1, "")
    assert err.startswith("unreachable: ")


async def test_watching_goes_on_until_it_is_interrupted(stack: Stack) -> None:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-W", "error", "-m", "ccxt_mcp", "status", "--watch", "--json"),
        *("--interval", "0.05", "--url", stack.url),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    assert process.stdout is not None
    async with asyncio.timeout(60):
        for _ in range(3):
            assert json.loads(await process.stdout.readline())["status"] == "healthy"
        process.send_signal(signal.SIGINT)
        _, err = await process.communicate()
    assert (process.returncode, err) == (0, b"")


@pytest.mark.parametrize(
    "arguments",
    [
        ["call"],
        ["call", "get_ticker", "--list"],
        ["call", "get_ticker", "symbol"],
        ["call", "get_ticker", "=x"],
        ["call", "get_ticker", "--url", "localhost"],
        ["call", "get_ticker", "--session", "a b"],
        ["call", "get_ticker", "--timeout", "0"],
        ["call", "get_ticker", "--token", "secret"],
        ["status", "--interval", "no"],
        ["status", "--once", "--watch"],
        ["status", "--url", "ftp://x"],
    ],
)
async def test_wrong_usage_is_explained(arguments: list[str]) -> None:
    code, out, err = await command(*arguments)
    assert (code, out) == (2, "")
    assert "Traceback" not in err
    assert err


@pytest.mark.parametrize(
    ("texts", "spec", "value"),
    [
        (["5"], {"type": "string"}, "5"),
        (["5"], {"type": "integer"}, 5),
        (["5.5"], {"type": "integer"}, "5.5"),
        (["x"], {"type": "integer"}, "x"),
        (["0.10"], {"type": "number"}, 0.1),
        (["true"], {"type": "boolean"}, True),
        (["true"], {"type": "integer"}, "true"),
        (["yes"], {"type": "boolean"}, "yes"),
        (["a,b"], {"type": "array", "items": {"type": "string"}}, ["a", "b"]),
        (["a", "b"], {"type": "array", "items": {"type": "string"}}, ["a", "b"]),
        (['["a,b", "c"]'], {"type": "array", "items": {"type": "string"}}, ["a,b", "c"]),
        (["1,2"], {"type": "array", "items": {"type": "integer"}}, [1, 2]),
        (["[1"], {"type": "array", "items": {"type": "integer"}}, ["[1"]),
        (['{"a": 1}'], {"type": "object"}, {"a": 1}),
        (["a"], {"type": "object"}, "a"),
        (["7"], {}, 7),
        (["a"], {}, "a"),
        (["null"], {}, None),
    ],
)
def test_a_value_is_read_by_its_schema(texts: list[str], spec: dict[str, Any], value: Any) -> None:
    """What does not fit stays a text, so that the server's words say what is wrong with it."""
    assert values({"x": texts}, {"properties": {"x": spec}}) == {"x": value}


def test_what_is_no_array_is_given_once() -> None:
    with pytest.raises(ConfigurationError, match="twice"):
        values({"x": ["1", "2"]}, {})


@pytest.mark.parametrize("text", ["NaN", "1e400", "-Infinity", "[" * 100_000])
def test_what_no_json_can_hold_stays_a_text(text: str) -> None:
    """The server says what is wrong with it; here it was a traceback."""
    assert values({"x": [text]}, {"properties": {"x": {"type": "number"}}}) == {"x": text}
    assert values({"x": [text]}, {}) == {"x": text}


async def test_options_may_stand_between_the_arguments(stack: Stack) -> None:
    code, out, err = await command(
        *("call", "get_ohlcv", "--url", stack.url, "symbol=BTC/USDT", "--json", "limit=2")
    )
    assert (code, err) == (0, "")
    assert len(json.loads(out)["candles"]) == 2


def test_json_for_a_terminal_is_escaped_where_it_would_be_obeyed() -> None:
    """Control characters beyond ASCII, and those that turn the line's direction around."""
    value = {"a": "\x9b2J\x7f\u202e\ud800é€😀", "b": [{"c": "x\ny"}]}
    for indent in (None, 2):
        text = json_text(value, indent=indent)
        assert json.loads(text) == value
        assert text.replace("\n", "").isprintable()
        assert "é€😀" in text
    deep: Any = 1
    for _ in range(400):
        deep = [deep]
    assert json.loads(json_text(deep, indent=2)) == deep


@pytest.mark.skipif(sys.platform != "linux", reason="/dev/full")
@pytest.mark.parametrize("target", ["full", "broken", "closed"])
async def test_a_result_that_cannot_be_written_is_no_failed_call(stack: Stack, target: str) -> None:
    """Exit code 1 says that the call has no result: an order would be sent again. With standard
    output closed the event loop got its number for a file of its own, and aborted."""
    call = (sys.executable, "-m", "ccxt_mcp", "call", "list_accounts", "--url", stack.url)
    reading, broken = os.pipe()
    os.close(reading)
    full = os.open("/dev/full", os.O_WRONLY)
    try:
        process = await asyncio.create_subprocess_exec(
            *(("bash", "-c", 'exec "$@" >&-', "bash") if target == "closed" else ()),
            *call,
            stdout={"full": full, "broken": broken}.get(target),
            stderr=asyncio.subprocess.PIPE,
        )
    finally:
        os.close(broken)
        os.close(full)
    async with asyncio.timeout(60):
        _, err = await process.communicate()
    assert process.returncode == 3, err
    assert err.startswith(b"ccxt-mcp: the call was carried out, but its result could not be")
    assert err.count(b"\n") == 1


def test_a_terminal_of_few_letters_gets_the_others_escaped(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The call had been carried out, and there was a traceback in the place of its result."""
    file = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(file, "ascii"))
    assert written(json_text({"a": "é😀"})) is None
    assert file.getvalue() == b'{"a": "\\u00e9\\ud83d\\ude00"}\n'


async def test_whoever_leaves_a_watched_status_sees_no_traceback(stack: Stack) -> None:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-W", "error", "-m", "ccxt_mcp", "status", "--watch", "--json"),
        *("--interval", "0.05", "--url", stack.url),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    assert process.stdout is not None
    assert process.stderr is not None
    async with asyncio.timeout(60):
        await process.stdout.readline()
        process.stdout._transport.close()  # type: ignore[attr-defined]
        err = await process.stderr.read()
        await process.wait()
    assert (process.returncode, err) == (3, b"")


@pytest.mark.parametrize(("kind", "as_json"), [("read", True), ("write", False)])
async def test_an_interrupted_call_says_whether_it_may_have_happened(
    kind: str, as_json: bool
) -> None:
    """It ended with exit code 0 and without a word, as if all were well."""
    called, held = asyncio.Event(), asyncio.Event()

    async def answer(request: Request) -> Response:
        message = await request.json() if request.method == "POST" else {}
        found: dict[str, Any] = {}
        match message.get("method"):
            case "tools/call":
                called.set()
                await held.wait()
            case "tools/list":
                read = {"readOnlyHint": kind == "read"}
                found = {"tools": [{"name": "act", "annotations": read}]}
            case None | "notifications/initialized":
                return Response(status_code=202)
        return JSONResponse({"jsonrpc": "2.0", "id": message["id"], "result": found})

    app = Starlette(routes=[Route("/mcp", answer, methods=["POST", "DELETE"])])
    async with serving(app, bind("127.0.0.1", 0)) as url:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-W", "error", "-m", "ccxt_mcp", "call", "act", "--url", url),
            *(["--json"] if as_json else []),
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        async with asyncio.timeout(60):
            await called.wait()
            process.send_signal(signal.SIGINT)
            out, err = await process.communicate()
            held.set()
    assert (process.returncode, out) == (130, b"")
    code = "outcome_unknown" if kind == "write" else "cancelled"
    if as_json:
        assert json.loads(err)["error"]["code"] == code
    else:
        assert err.decode().startswith(f"{code}: ")
    assert (b"before anything is sent again" in err) == (kind == "write")


def test_words_of_others_do_not_steer_the_terminal() -> None:
    """A client's name for itself may hold escape codes: they would be obeyed by whoever looks."""
    assert printable("a\x1b[2Jb\nc\x9bd") == "a·[2Jb·c·d"
    session = SessionHealth(
        session_id="wf-x",
        connected_at="2026-01-01T00:00:00.000Z",
        last_activity="2026-01-01T00:00:00.000Z",
        client_ip="\x1b[1m",
        kind="named",
        principal=None,
        client="[red]\x1b]0;mine\x07",
        protocol_version="2025-11-25",
        in_flight=1,
        queued=2,
        calls=3,
        errors=4,
        timeouts=5,
        latency_p50_ms=None,
        latency_p95_ms=None,
    )
    report = Health("he\x1b[2Jalthy", "1\x9b", "x\x1b", 9, (session,), 1, 0, 1, 1, {})
    from rich.console import Console

    screen = Console(width=200, record=True, file=open(os.devnull, "w"))  # noqa: SIM115
    with screen.file:
        screen.print(page("http://x", report, 30))
        text = screen.export_text()
    assert "[red]·]0;mine·" in text
    assert "he·[2Jalthy  1·, since x·" in text
    assert "·[1m" in text
    assert "and 8 more" in text
