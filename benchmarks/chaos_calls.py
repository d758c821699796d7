"""The calls of the chaos: what is asked, and whether an answer is the answer to it.

Owns: the mix of tools, and a mark in each call that its answer has to bear. Refuses: sending.

Ids are repeated on purpose, so an echoed id alone proves little. Candles are asked for from a
moment that no other call asks for; other answers name their symbol or account.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import Any

from benchmarks.raw import Answer
from benchmarks.soak import EXPECTED

__all__ = ["Asked", "checked", "draw"]

_FROM = 1_600_000_000_000 // 60_000 * 60_000
"""September 2020 in milliseconds; calls are a minute apart from there on."""


@dataclass(frozen=True, slots=True)
class Asked:
    """One call. `number` is its own; `request_id` others may have at the same time."""

    number: int
    request_id: int | str
    tool: str
    arguments: dict[str, Any]


def draw(dice: random.Random, number: int, *, local: bool = False) -> Asked:
    """A call at random; `local` ones need no exchange."""
    request_id: int | str = dice.choice((7, "7", f"call-{number}", number))
    symbol = dice.choice(("BTC/USDT", "ETH/USDT"))
    candles = {
        "symbol": symbol,
        "timeframe": "1m",
        "since": _FROM + number * 60_000,
        "limit": 1 + number % 7,
    }
    tool, arguments = dice.choices(
        (
            ("get_ohlcv", candles),
            ("get_ohlcv", candles | {"exchange": "paced"}),
            ("get_ticker", {"symbol": symbol}),
            ("get_open_orders", {"account": dice.choice(("main", "second"))}),
            ("account_balance", {"account": dice.choice(("main", "second"))}),
            ("account_balance", {"account": dice.choice(("kraken-main", "kraken-second"))}),
            ("list_accounts", {}),
            ("get_ticker", {"symbol": "NO/PE"}),
        ),
        (0, 0, 0, 0, 0, 0, 1, 0) if local else (50, 8, 10, 10, 10, 3, 6, 3),
    )[0]
    return Asked(number, request_id, tool, arguments)


def checked(asked: Asked, answer: Answer, *, ran: int) -> tuple[str, list[str]]:
    """The outcome of an answered call in a word, and what is wrong with the answer."""

    def wrong(what: str) -> tuple[str, list[str]]:
        return "wrong", [f"call {asked} {what}: {str(answer.messages)[:600]}"]

    if answer.status == 404:
        return "session ended", []
    if answer.status != 200:
        return wrong(f"was answered {answer.status}")
    replies = answer.replies()
    if len(replies) != 1 or answer.messages[-1] is not replies[0]:
        return wrong(f"has {len(replies)} answers")
    (reply,) = replies
    if reply.get("id") != asked.request_id or type(reply["id"]) is not type(asked.request_id):
        return wrong("has the answer to another id")
    for note in answer.messages[:-1]:
        if note["params"].get("progressToken") != asked.number:
            return wrong("was told another's progress")
    if "error" in reply:
        code = reply["error"]["code"]
        return ("cancelled", []) if code == -32800 else wrong(f"failed with {code}")
    result = reply["result"]
    if result.get("isError"):
        failure = str(result["_meta"]["ccxt-mcp/failure"]["code"])
        if failure == "cancelled":
            # The end of a workflow, which a modern call is told as a tool's failure.
            return failure, []
        return (failure, []) if failure in EXPECTED else wrong(f"failed as {failure}")
    if ran != 1:
        return wrong(f"was answered and ran {ran} times")
    return (
        ("ok", [])
        if _bears_its_mark(asked, result["structuredContent"])
        else wrong("is not its own")
    )


def _bears_its_mark(asked: Asked, found: dict[str, Any]) -> bool:
    arguments = asked.arguments
    match asked.tool:
        case "get_ohlcv":
            times = [row[0] for row in found["candles"]]
            since, count = arguments["since"], arguments["limit"]
            right = times == [since + n * 60_000 for n in range(count)]
            return right and found["symbol"] == arguments["symbol"]
        case "get_ticker":
            return bool(found["ticker"]["symbol"] == arguments["symbol"])
        case "list_accounts":
            return len(found["accounts"]) == 4
        case _:
            return bool(found["account"] == arguments["account"])
