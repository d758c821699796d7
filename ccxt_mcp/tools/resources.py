"""Resources: what a client may read without calling a tool, and put before its model.

Owns: their addresses, and that each shows what its tool answers, by running that tool. Refuses:
contents of its own, and knowing when one changes (``watching.py``).
"""

from __future__ import annotations

import re
from typing import Any
from urllib.parse import unquote

import mcp_types as types
from mcp.server.context import ServerRequestContext
from mcp.shared.exceptions import MCPError

from ccxt_mcp.errors import Failure
from ccxt_mcp.tools.arguments import did_you_mean, looks_secret, shown_name
from ccxt_mcp.tools.boundary import FAILURE_META, Boundary, failure_text

__all__ = [
    "CHANGING",
    "EXCHANGE_TEMPLATE",
    "OPEN_ORDERS_TEMPLATE",
    "RESOURCES",
    "TEMPLATES",
    "TICKER_TEMPLATE",
    "Resources",
    "behind",
    "one_page",
    "refused",
]

_JSON = "application/json"
EXCHANGE_TEMPLATE = "ccxt://exchange/{id}"
_EXCHANGE = re.compile(r"ccxt://exchange/([^/?#]+)")
TICKER_TEMPLATE = "ccxt://markets/{exchange}/{symbol}/ticker"
# What stands around a symbol is fixed, so its slash needs no encoding to be told apart.
_TICKER = re.compile(r"ccxt://markets/([^/?#]+)/([^?#]+)/ticker")
OPEN_ORDERS_TEMPLATE = "ccxt://accounts/{account}/open-orders"
_OPEN_ORDERS = re.compile(r"ccxt://accounts/([^/?#]+)/open-orders")

RESOURCES = (
    types.Resource(
        uri="ccxt://exchanges",
        name="exchanges",
        title="Exchanges",
        description="Names to pass as `exchange`, as list_exchanges answers them.",
        mime_type=_JSON,
    ),
    types.Resource(
        uri="ccxt://accounts",
        name="accounts",
        title="Accounts",
        description="Names to pass as `account`, as list_accounts answers them.",
        mime_type=_JSON,
    ),
)
TEMPLATES = (
    types.ResourceTemplate(
        uri_template=EXCHANGE_TEMPLATE,
        name="exchange",
        title="One exchange",
        description="What an exchange supports, as get_exchange_info answers it.",
        mime_type=_JSON,
    ),
    types.ResourceTemplate(
        uri_template=TICKER_TEMPLATE,
        name="ticker",
        title="The price of one market",
        description="As get_ticker answers it. Can be subscribed to.",
        mime_type=_JSON,
    ),
    types.ResourceTemplate(
        uri_template=OPEN_ORDERS_TEMPLATE,
        name="open-orders",
        title="Open orders of one account",
        description="As get_open_orders answers them, for all symbols. Can be subscribed to.",
        mime_type=_JSON,
    ),
)
CHANGING = {"get_ticker": TICKER_TEMPLATE, "get_open_orders": OPEN_ORDERS_TEMPLATE}
"""Tools whose answers change while the server runs, and the resources that show them."""

_MOST_EXCHANGES = 200
"""The most that ``list_exchanges`` shows at once; CCXT has about half as many."""

_LONGEST_SHOWN = 500
"""Characters of an address that is repeated to whoever sent it."""


class Resources:
    """The handlers of ``resources/*``.

    Args:
        boundary: runs the tools whose answers are the contents.
    """

    def __init__(self, boundary: Boundary) -> None:
        self._boundary = boundary

    async def list(
        self, ctx: ServerRequestContext[Any], params: types.PaginatedRequestParams | None
    ) -> types.ListResourcesResult:
        """The result of ``resources/list``."""
        one_page(params)
        served = [each for each in RESOURCES if self._boundary.serves(behind(str(each.uri))[0])]
        return types.ListResourcesResult(resources=served)

    async def templates(
        self, ctx: ServerRequestContext[Any], params: types.PaginatedRequestParams | None
    ) -> types.ListResourceTemplatesResult:
        """The result of ``resources/templates/list``."""
        one_page(params)
        served = [each for each in TEMPLATES if self._boundary.serves(behind(each.uri_template)[0])]
        return types.ListResourceTemplatesResult(resource_templates=served)

    async def read(
        self, ctx: ServerRequestContext[Any], params: types.ReadResourceRequestParams
    ) -> types.ReadResourceResult:
        """The result of ``resources/read``.

        Raises:
            MCPError: there is no such resource, or its tool failed; the failure is in ``data``.
        """
        tool, arguments = behind(params.uri)
        try:
            _, text = await self._boundary.run(tool, arguments)
        except Failure as failure:
            raise refused(params.uri, failure) from None
        content = types.TextResourceContents(uri=params.uri, mime_type=_JSON, text=text)
        if tool in CHANGING:
            # The server's own hint is for what stays as it is.
            return types.ReadResourceResult(contents=[content], ttl_ms=0, cache_scope="private")
        return types.ReadResourceResult(contents=[content])


def refused(uri: str, failure: Failure) -> MCPError:
    """The JSON-RPC error of a resource that cannot be read or watched."""
    return MCPError(
        code=types.INVALID_PARAMS,
        message=failure_text(failure),
        data={**_asked(uri), FAILURE_META: failure.as_dict()},
    )


def one_page(params: types.PaginatedRequestParams | None) -> None:
    """Refuse a cursor: none is ever given out for these lists."""
    if params is not None and params.cursor is not None:
        raise MCPError(
            code=types.INVALID_PARAMS,
            message="Invalid params: `cursor` was not given out here; the list is one page.",
        )


def behind(uri: str) -> tuple[str, dict[str, Any]]:
    """The tool whose answer a resource is, and its arguments.

    Raises:
        MCPError: there is no such resource.
    """
    if uri == "ccxt://exchanges":
        return "list_exchanges", {"limit": _MOST_EXCHANGES}
    if uri == "ccxt://accounts":
        return "list_accounts", {}
    if match := _EXCHANGE.fullmatch(uri):
        return "get_exchange_info", {"exchange": unquote(match[1])}
    if match := _TICKER.fullmatch(uri):
        return "get_ticker", {"exchange": unquote(match[1]), "symbol": unquote(match[2])}
    if match := _OPEN_ORDERS.fullmatch(uri):
        return "get_open_orders", {"account": unquote(match[1])}
    templates = (each.uri_template for each in TEMPLATES)
    known = (*(str(each.uri) for each in RESOURCES), *templates)
    raise MCPError(
        code=types.INVALID_PARAMS,
        message=f"There is no resource `{shown_name(uri)}`{did_you_mean(uri, known)}. "
        f"Resources: {', '.join(known)}.",
        data=_asked(uri),
    )


def _asked(uri: str) -> dict[str, Any]:
    """What an error's ``data`` says of the address, as 2026-07-28 asks for it."""
    return {} if looks_secret(uri) or len(uri) > _LONGEST_SHOWN else {"uri": uri}
