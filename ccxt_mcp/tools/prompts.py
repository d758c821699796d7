"""Prompts: questions that people ask often, worded so that a model takes the right tools in order.

Owns: their texts, the check of their arguments, and the completion of names. Refuses: running a
tool (the model does that), and text of a caller that could be more than a name.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import mcp_types as types
from mcp.server.context import ServerRequestContext
from mcp.shared.exceptions import MCPError

from ccxt_mcp.calls.pipeline import Calls
from ccxt_mcp.model import CALLER, Scope
from ccxt_mcp.telemetry import name_span
from ccxt_mcp.tools.arguments import did_you_mean, looks_secret, shown_name
from ccxt_mcp.tools.resources import (
    EXCHANGE_TEMPLATE,
    OPEN_ORDERS_TEMPLATE,
    TICKER_TEMPLATE,
    one_page,
)

__all__ = ["PROMPTS", "Prompt", "Prompts"]

_LONGEST = 128
_COMPLETIONS = 100
"""What the specification allows in one answer."""
_IN_ADDRESSES = {
    (EXCHANGE_TEMPLATE, "id"): "exchange",
    (TICKER_TEMPLATE, "exchange"): "exchange",
    (OPEN_ORDERS_TEMPLATE, "account"): "account",
}
"""What the places in the templates' addresses are called in prompts."""

_EXCHANGE = types.PromptArgument(
    name="exchange", description="Exchange or profile; default: the server's.", required=False
)
_ACCOUNT = types.PromptArgument(
    name="account", description="Account name from list_accounts; default: all.", required=False
)
_SYMBOL = types.PromptArgument(
    name="symbol", description="Symbol, for instance BTC/USDT.", required=True
)

_CONVENTIONS = (
    "Amounts and prices of an account are exact decimal strings: copy them digit by digit; what "
    "you compute from them is approximate, so say so. If a result has `truncated: true`, go on "
    "with `nextCursor` or say that the list is not complete. If a call fails, follow its hint "
    "once, and name what could not be read instead of leaving it out."
)


@dataclass(frozen=True, slots=True)
class Prompt:
    """One prompt: its entry in the list, its text for checked arguments, and the tools it needs."""

    wire: types.Prompt
    text: Callable[[Mapping[str, str]], str]
    tools: tuple[str, ...]


def _accounts(given: Mapping[str, str]) -> str:
    if "account" in given:
        return f'Call list_accounts and take the account "{given["account"]}" with its exchange.'
    return "Call list_accounts; do the following for every account, with its exchange."


def _portfolio(given: Mapping[str, str]) -> str:
    return (
        "Give me an overview of what is held.\n"
        f"1. {_accounts(given)}\n"
        "2. Call account_balance with `exchange` and `account`: free, used and total per "
        "currency.\n"
        "3. For each currency that is not a dollar itself call get_ticker with CURRENCY/USDT for "
        "a rough value; where there is no such symbol, get_markets with `search` finds another, "
        "or leave the value open.\n"
        "4. Where `used` is not zero, call get_open_orders to say what it is used for.\n"
        "Show one table per account: currency, free, used, total, rough value. Say how old the "
        f"prices are (`fetchedAt`).\n{_CONVENTIONS}"
    )


def _market(given: Mapping[str, str]) -> str:
    where = f' with `exchange` "{given["exchange"]}"' if "exchange" in given else ""
    return (
        f'Give me a short brief on the market "{given["symbol"]}".\n'
        f"1. Call get_ticker{where}: price and change in 24 hours. On `unknown_symbol` take what "
        "get_markets finds.\n"
        f"2. Call get_ohlcv{where} with timeframe 1h and limit 48, then 1d and limit 30: trend, "
        "range, volume. The last candle may still be forming.\n"
        f"3. Call get_orderbook{where} with limit 20: spread, and depth near the price.\n"
        "Say in a few sentences what these show and when they were read (`fetchedAt`, `cached`). "
        f"They are facts about the past: no advice, no forecast.\n{_CONVENTIONS}"
    )


def _open_orders(given: Mapping[str, str]) -> str:
    return (
        "Check the open orders.\n"
        f"1. {_accounts(given)}\n"
        "2. Call get_open_orders with `exchange` and `account`; if the exchange wants a symbol, "
        "pass those of the currencies that account_balance shows as used.\n"
        "3. For each symbol with orders call get_ticker and compare.\n"
        "List per order: symbol, side, amount, filled, price, how far that is from the last price "
        "in percent, and its age. Point out what looks forgotten: far from the price, or old. "
        f"Change nothing.\n{_CONVENTIONS}"
    )


def _prompt(
    name: str,
    title: str,
    description: str,
    arguments: list[types.PromptArgument],
    text: Callable[[Mapping[str, str]], str],
    *tools: str,
) -> Prompt:
    wire = types.Prompt(name=name, title=title, description=description, arguments=arguments)
    return Prompt(wire, text, tools)


PROMPTS: Mapping[str, Prompt] = {
    each.wire.name: each
    for each in (
        _prompt(
            "portfolio_overview",
            "Portfolio overview",
            "What is held, per account, with rough values.",
            [_ACCOUNT],
            _portfolio,
            "list_accounts",
            "account_balance",
            "get_ticker",
        ),
        _prompt(
            "market_brief",
            "Market brief",
            "Price, trend and depth of one market.",
            [_SYMBOL, _EXCHANGE],
            _market,
            "get_ticker",
            "get_ohlcv",
            "get_orderbook",
        ),
        _prompt(
            "check_open_orders",
            "Check open orders",
            "What rests on the books, and what looks forgotten.",
            [_ACCOUNT],
            _open_orders,
            "list_accounts",
            "get_open_orders",
            "get_ticker",
        ),
    )
}
"""By name, in the order in which they are listed."""


class Prompts:
    """The handlers of ``prompts/*`` and of ``completion/complete``.

    Args:
        calls: knows the names of exchanges and accounts.
        serves: whether all tools of these names can be called; a prompt is there with its tools.
    """

    def __init__(self, calls: Calls, serves: Callable[..., bool] = lambda *names: True) -> None:
        self._calls = calls
        self._prompts = {name: each for name, each in PROMPTS.items() if serves(*each.tools)}

    async def list(
        self, ctx: ServerRequestContext[Any], params: types.PaginatedRequestParams | None
    ) -> types.ListPromptsResult:
        """The result of ``prompts/list``."""
        one_page(params)
        return types.ListPromptsResult(prompts=[each.wire for each in self._prompts.values()])

    async def get(
        self, ctx: ServerRequestContext[Any], params: types.GetPromptRequestParams
    ) -> types.GetPromptResult:
        """The result of ``prompts/get``.

        Raises:
            MCPError: there is no such prompt, or its arguments are wrong; all of them are named.
        """
        prompt = self._prompts.get(params.name)
        if prompt is None:
            name_span("unknown", "prompt")
            guess = did_you_mean(params.name, tuple(self._prompts))
            raise _refused(
                f"There is no prompt `{shown_name(params.name)}`{guess}. "
                f"Prompts: {', '.join(self._prompts) or 'none'}."
            )
        text = prompt.text(_checked(prompt.wire, params.arguments or {}))
        message = types.PromptMessage(role="user", content=types.TextContent(text=text))
        return types.GetPromptResult(description=prompt.wire.description, messages=[message])

    async def complete(
        self, ctx: ServerRequestContext[Any], params: types.CompleteRequestParams
    ) -> types.CompleteResult:
        """The result of ``completion/complete``: names of exchanges and accounts."""
        name = params.argument.name
        if isinstance(params.ref, types.ResourceTemplateReference):
            name = _IN_ADDRESSES.get((params.ref.uri, name), "")
        begun = params.argument.value.lower()
        found = [each for each in self._names(name) if each.lower().startswith(begun)]
        return types.CompleteResult(
            completion=types.Completion(
                values=found[:_COMPLETIONS],
                total=len(found),
                has_more=len(found) > _COMPLETIONS,
            )
        )

    def _names(self, argument: str) -> Iterable[str]:
        if Scope.READ not in CALLER.get().principal.scopes:
            return ()
        if argument == "account":
            return sorted({account.name for account in self._calls.accounts.all()})
        if argument == "exchange":
            own = self._calls.settings.exchanges
            return (*sorted(own), *sorted({*self._calls.gateway.exchange_ids()} - own.keys()))
        return ()


def _checked(prompt: types.Prompt, given: Mapping[str, str]) -> dict[str, str]:
    """The arguments, without empty ones."""
    arguments = {each.name: each for each in prompt.arguments or ()}
    values = {name: value.strip() for name, value in given.items() if value.strip()}
    problems = [
        f"`{shown_name(name)}` is not an argument of {prompt.name}"
        f"{did_you_mean(name, tuple(arguments))}"
        for name in values
        if name not in arguments
    ]
    for name, each in arguments.items():
        if name not in values:
            if each.required:
                problems.append(f"`{name}` is required")
        elif not _is_name(values[name]):
            problems.append(
                f"`{name}` must be a name of at most {_LONGEST} printable characters without quotes"
            )
        elif looks_secret(values[name]):
            problems.append(f"`{name}` looks like a credential, which is never passed in a call")
    if problems:
        raise _refused(f"{'; '.join(problems)}.")
    return values


def _is_name(value: str) -> bool:
    """Whether a text may stand inside a prompt: it cannot end the quotation it stands in."""
    return len(value) <= _LONGEST and value.isprintable() and not set(value) & set('"`<>{}')


def _refused(words: str) -> MCPError:
    return MCPError(code=types.INVALID_PARAMS, message=words)
