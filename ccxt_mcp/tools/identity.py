"""What hosts show of this server: its title, a sentence, an icon.

Owns: those, and on which answers they are sent. Refuses: instructions, which are for the model
(``server.py``).
"""

from __future__ import annotations

from base64 import b64encode
from typing import Any

import mcp_types as types
from mcp.server.context import ServerRequestContext
from mcp.server.lowlevel.server import Server

__all__ = ["DESCRIPTION", "ICON", "TITLE", "NamedServer", "introduce"]

TITLE = "CCXT exchanges"
DESCRIPTION = "Markets and accounts of crypto exchanges, read through CCXT."

_SVG = (
    b'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 32 32">'
    b'<rect width="32" height="32" rx="7" fill="#12344d"/>'
    b'<path d="M11 6v20M21 5v18" stroke="#fff" stroke-width="2"/>'
    b'<path d="M8 11h6v10H8z" fill="#3ddc84"/><path d="M18 9h6v9h-6z" fill="#ff6b6b"/></svg>'
)
ICON = types.Icon(
    # In the address itself: a host need not fetch anything, nor trust another site.
    src="data:image/svg+xml;base64," + b64encode(_SVG).decode(),
    mime_type="image/svg+xml",
    sizes=["any"],
)
"""Two candles of a chart."""


class NamedServer(Server[Any]):
    """The SDK's server, which signs its answers of 2026-07-28 with its name and version alone.

    The SDK puts all that a server says of itself into each result, the icon too: half a kilobyte
    of every quick call for what ``server/discover`` has told before.
    """

    @property
    def server_info_stamp(self) -> dict[str, Any]:
        """What a result's ``_meta`` says of the server; the caller owns the object."""
        return {"name": self.name, "title": self.title, "version": self.version}

    def get_capabilities(self, *args: Any, **kwargs: Any) -> types.ServerCapabilities:
        """What this server can do. It serves ``subscriptions/listen`` for resources; from that the
        SDK would conclude that it tells of changes of its lists as well, which never change."""
        capabilities = super().get_capabilities(*args, **kwargs)
        for each in (capabilities.tools, capabilities.prompts, capabilities.resources):
            if each is not None:
                each.list_changed = False
        return capabilities


def introduce(server: Server[Any]) -> None:
    """Let ``server/discover`` tell all of it, as ``initialize`` does in the older era by itself."""
    registered = server.get_request_handler("server/discover")
    assert registered is not None
    full = server.server_info.model_dump(by_alias=True, mode="json", exclude_none=True)

    async def discover(ctx: ServerRequestContext[Any], params: types.RequestParams) -> Any:
        result = await registered.handler(ctx, params)
        assert isinstance(result, types.DiscoverResult)
        result.meta = {types.SERVER_INFO_META_KEY: full}
        return result

    server.add_request_handler("server/discover", types.RequestParams, discover)
