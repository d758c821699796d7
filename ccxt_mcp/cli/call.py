"""``ccxt-mcp call``: one tool of a running server."""

from __future__ import annotations

import argparse
import asyncio
import json
import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NoReturn

from ccxt_mcp.cli.output import NOT_WRITTEN, json_text, written
from ccxt_mcp.cli.remote import add_server, seconds, server_url, token_of
from ccxt_mcp.cli.running import Commands, say
from ccxt_mcp.errors import ConfigurationError
from ccxt_mcp.redaction import printable

if TYPE_CHECKING:
    from ccxt_mcp.client import CallFailed, Workflow

__all__ = ["add_to", "values"]

_EXAMPLES = """\
examples:
  ccxt-mcp call --list
  ccxt-mcp call get_ticker symbol=BTC/USDT
  ccxt-mcp call get_ohlcv symbol=BTC/USDT timeframe=1h limit=24 | jq '.candles[-1]'
  ccxt-mcp call batch_get_tickers symbols=BTC/USDT,ETH/USDT
  ccxt-mcp call call_read_method method=fetchTime 'arguments={}'
  CCXT_MCP_TOKEN=… ccxt-mcp call account_balance --url https://ccxt.internal

The result is JSON on standard output. A failure is a text on standard error, with exit code 1; 3 if
the call was carried out and its result could not be written, 130 if it was interrupted. Before a
write is sent again look whether it has happened, where the text says so.
"""
_INTERRUPTED = 130
"""The exit code of what was ended by Ctrl-C."""


def add_to(commands: Commands) -> None:
    """Add the command and its arguments."""
    call = commands.add_parser(
        "call",
        help="run one tool of a running server, and print its result",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    call.add_argument("tool", nargs="?", metavar="TOOL", help="its name (see --list)")
    call.add_argument(
        "words",
        nargs="*",
        metavar="KEY=VALUE",
        help="an argument; arrays are JSON, or items with commas between, or repeated; objects"
        " are JSON",
    )
    add_server(call)
    call.add_argument("--list", action="store_true", help="list the tools instead")
    call.add_argument(
        "--json", action="store_true", help="for programs: on one line, failures and lists as well"
    )
    call.add_argument(
        "--session", default="cli", metavar="NAME", help="name of the workflow in /health (cli)"
    )
    call.add_argument(
        "--timeout", type=seconds, default=90.0, metavar="SECONDS", help="for the call (90)"
    )
    call.set_defaults(command=_call, interrupted=_INTERRUPTED)


async def _call(arguments: argparse.Namespace) -> int:
    from ccxt_mcp.client import CallFailed, Workflow

    if (arguments.tool is None) == (not arguments.list):
        raise ConfigurationError("call: name a TOOL, or ask for all of them with --list")
    url, token = server_url(arguments), token_of(arguments)
    given = _pairs(arguments.words)
    try:
        workflow = Workflow(
            arguments.session, url, token=token, timeout=arguments.timeout, retries=0
        )
    except ValueError as error:
        raise ConfigurationError(f"--session: {error}") from None
    code = None
    try:
        async with workflow:
            code = await _made(workflow, arguments, given)
    except CallFailed as failure:
        _say(failure, as_json=arguments.json)
        return 1
    except asyncio.CancelledError:
        # Ctrl-C; what is to be said of it is said before the session is ended.
        return _INTERRUPTED if code is None else code
    return code


async def _made(
    workflow: Workflow, arguments: argparse.Namespace, given: Mapping[str, Sequence[str]]
) -> int:
    """Make the call, and write its result before anything else can happen to it."""
    from ccxt_mcp.client.failures import Fate, failed, outcome_unknown

    try:
        tools = await workflow.tools()
        if arguments.list:
            return _print_tools(tools, as_json=arguments.json)
        result = await workflow.call(arguments.tool, values(given, _schema(arguments.tool, tools)))
    except TypeError as error:
        raise ConfigurationError(f"call: {error}") from None
    except asyncio.CancelledError:
        if workflow.unsettled is None:
            stopped = failed("cancelled", "interrupted", Fate.NOT_STARTED)
        else:
            stopped = outcome_unknown(arguments.tool, "it was interrupted before its answer came")
        _say(stopped, as_json=arguments.json)
        raise
    failure = written(json_text(result, indent=None if arguments.json else 2))
    if failure is not None:
        words = f"the call was carried out, but its result could not be written: {failure}"
        say(f"ccxt-mcp: {printable(words)}")
        return NOT_WRITTEN
    return 0


def _pairs(texts: Sequence[str]) -> dict[str, list[str]]:
    pairs: dict[str, list[str]] = {}
    for text in texts:
        key, equals, value = text.partition("=")
        if not key or not equals:
            raise ConfigurationError(f"call: {text!r} is not KEY=VALUE")
        pairs.setdefault(key, []).append(value)
    return pairs


def values(given: Mapping[str, Sequence[str]], schema: Mapping[str, Any]) -> dict[str, Any]:
    """Arguments of a tool from texts, by its input schema.

    What does not have the form of its type stays a text: the server says what is wrong with it.

    Raises:
        ConfigurationError: an argument that is no array is given twice.
    """
    properties = schema.get("properties")
    known = properties if isinstance(properties, Mapping) else {}
    found = {}
    for name, texts in given.items():
        spec = known.get(name)
        spec = spec if isinstance(spec, Mapping) else {}
        if spec.get("type") == "array":
            found[name] = _array(texts, spec)
        elif len(texts) > 1:
            raise ConfigurationError(f"call: {name!r} is given twice")
        else:
            found[name] = _value(texts[0], spec)
    return found


def _array(texts: Sequence[str], spec: Mapping[str, Any]) -> list[Any]:
    if len(texts) == 1 and texts[0].lstrip().startswith("["):
        whole = _json(texts[0])
        if isinstance(whole, list):
            return whole
    items = spec.get("items")
    items = items if isinstance(items, Mapping) else {}
    return [_value(item, items) for text in texts for item in text.split(",") if item]


def _value(text: str, spec: Mapping[str, Any]) -> Any:
    kind = spec.get("type")
    if kind == "string":
        return text
    parsed = _json(text)
    match kind, parsed:
        case "boolean", bool():
            return parsed
        case "integer", int() if not isinstance(parsed, bool):
            return parsed
        case "number", int() | float() if not isinstance(parsed, bool):
            return parsed
        case "object", dict():
            return parsed
        case None, _ if parsed is not None or text == "null":
            # A schema that says no type takes anything; and nothing is known of an unknown name.
            return parsed
        case _:
            return text


def _json(text: str) -> Any:
    """The value, None if it is none. What JSON cannot hold stays a text, as NaN and 1e400."""
    try:
        return json.loads(text, parse_constant=_no_number, parse_float=_finite)
    except (ValueError, RecursionError):
        return None


def _finite(text: str) -> float:
    value = float(text)
    return value if math.isfinite(value) else _no_number(text)


def _no_number(text: str) -> NoReturn:
    raise ValueError(f"{text} is not JSON")


def _schema(name: str, tools: Sequence[Mapping[str, Any]]) -> Mapping[str, Any]:
    for tool in tools:
        if tool.get("name") == name and isinstance(tool.get("inputSchema"), Mapping):
            schema: Mapping[str, Any] = tool["inputSchema"]
            return schema
    return {}


def _print_tools(tools: Sequence[Mapping[str, Any]], *, as_json: bool) -> int:
    if as_json:
        return NOT_WRITTEN if written(json_text(tools)) else 0
    from rich.table import Table
    from rich.text import Text

    from ccxt_mcp.cli.output import console

    table = Table("Tool", "What it does", "Arguments (those it needs in bold)")
    for tool in tools:
        name = tool.get("name")
        if not isinstance(name, str):
            continue
        schema = _schema(name, tools)
        needed = schema.get("required", ())
        shown = Text(" ").join(
            Text(printable(key), "bold" if key in needed else "")
            for key in schema.get("properties", {})
        )
        table.add_row(Text(printable(name)), Text(printable(str(tool.get("title", "")))), shown)
    console().print(table)
    return 0


def _say(failure: CallFailed, *, as_json: bool) -> None:
    if not as_json:
        say(printable(str(failure)))
        return
    told = {
        "code": failure.code,
        "message": failure.message,
        "retryable": failure.retryable,
        "hint": failure.hint,
        "exchange": failure.exchange,
        "operation": failure.operation,
        "details": failure.details,
    }
    known = {key: value for key, value in told.items() if value is not None}
    say(json_text({"error": known}))
