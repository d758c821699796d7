"""Subscribing to resources, in the words of both eras.

Owns: the handlers of ``resources/subscribe``, ``resources/unsubscribe`` (sessions with a handshake
or a name; updates come on the session's own stream) and ``subscriptions/listen`` (2026-07-28; the
response is the stream). Refuses: what is subscribed to (``Changes``), and what a record of it is
(``subscriptions.py``).

The SDK has a handler for ``subscriptions/listen``. It honours whatever it is asked for, and ends
the stream of a client that reads slowly; here an address is checked for its caller first, and an
unread change is one change.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from mcp.server.context import ServerRequestContext
from mcp.server.lowlevel import Server
from mcp.shared.exceptions import MCPError
from mcp.shared.subscriptions import SUBSCRIPTION_ID_META_KEY
from mcp_types import (
    INVALID_REQUEST,
    EmptyResult,
    ResourceUpdatedNotification,
    ResourceUpdatedNotificationParams,
    SubscribeRequestParams,
    SubscriptionFilter,
    SubscriptionsAcknowledgedNotification,
    SubscriptionsAcknowledgedNotificationParams,
    SubscriptionsListenRequestParams,
    SubscriptionsListenResult,
    UnsubscribeRequestParams,
)

from ccxt_mcp.errors import Failure
from ccxt_mcp.model import CALLER
from ccxt_mcp.transport.registry import REGISTRY, Registry
from ccxt_mcp.transport.session import SESSION, Session
from ccxt_mcp.transport.subscriptions import Changes, Listener

__all__ = ["REFUSED_META", "subscribe_resources"]

REFUSED_META = "ccxt-mcp/refused"
"""Key in the ``_meta`` of an acknowledgement: why addresses were left out, by address."""

Context = ServerRequestContext[Any, Any]


class _Subscribing:
    """The handlers. They belong to the server, not to an app: whose sessions a request is about
    says ``REGISTRY``."""

    def __init__(self, changes: Changes, refuse: Callable[[str, Failure], MCPError]) -> None:
        self._changes = changes
        self._refuse = refuse

    async def subscribe(self, ctx: Context, params: SubscribeRequestParams) -> EmptyResult:
        session, registry = _here()
        subscriptions = session.subscribed(registry.quota)
        uri = str(params.uri)
        try:
            await subscriptions.add(uri, self._changes, heard=session.listening)
        except Failure as failure:
            raise self._refuse(uri, failure) from None
        return EmptyResult()

    async def unsubscribe(self, ctx: Context, params: UnsubscribeRequestParams) -> EmptyResult:
        session, _ = _here()
        if session.subscriptions is not None:
            session.subscriptions.remove(str(params.uri))
        if session.part is not None:
            await session.part.directory.elsewhere.unsubscribe(session, str(params.uri))
        return EmptyResult()

    async def listen(
        self, ctx: Context, params: SubscriptionsListenRequestParams
    ) -> SubscriptionsListenResult:
        registry = REGISTRY.get()
        if registry is None or ctx.request_id is None:
            raise MCPError(INVALID_REQUEST, "subscriptions/listen is not served here")
        asked = list(dict.fromkeys(map(str, params.notifications.resource_subscriptions or ())))
        # A stream counts even where it watches nothing.
        count = max(1, len(asked))
        caller = (CALLER.get().principal.name, CALLER.get().client_ip)
        try:
            registry.quota.take(caller, count)
        except Failure as failure:
            raise self._refuse(asked[0] if asked else "", failure) from None
        listener = Listener()
        registry.listen(listener)
        try:
            refused = await self._watch_all(listener, asked)
            return await _tell(ctx, listener, asked, refused)
        finally:
            registry.listeners.discard(listener)
            registry.quota.give(caller, count)
            listener.end()

    async def _watch_all(self, listener: Listener, asked: list[str]) -> dict[str, MCPError]:
        """Watch what can be watched, all at once; why the rest cannot be, by address.

        Raises:
            MCPError: of the first, where nothing that was asked for can be.
        """
        outcomes = await asyncio.gather(
            *(listener.add(uri, self._changes) for uri in asked), return_exceptions=True
        )
        refused: dict[str, MCPError] = {}
        for uri, outcome in zip(asked, outcomes, strict=True):
            if isinstance(outcome, MCPError):
                refused[uri] = outcome
            elif outcome is not None:
                raise outcome
        if refused and len(refused) == len(asked):
            raise refused[asked[0]]
        return refused


async def _tell(
    ctx: Context, listener: Listener, asked: list[str], refused: dict[str, MCPError]
) -> SubscriptionsListenResult:
    """Acknowledge, then tell of changes until there is an end."""
    stamp: dict[str, Any] = {SUBSCRIPTION_ID_META_KEY: ctx.request_id}
    meta = dict(stamp)
    if refused:
        meta[REFUSED_META] = {uri: error.message for uri, error in refused.items()}
    honoured = [uri for uri in asked if uri not in refused]
    await ctx.session.send_notification(
        SubscriptionsAcknowledgedNotification(
            params=SubscriptionsAcknowledgedNotificationParams(
                notifications=SubscriptionFilter(resource_subscriptions=honoured or None),
                _meta=meta,
            )
        ),
        related_request_id=ctx.request_id,
    )
    while (uri := await listener.next()) is not None:
        await ctx.session.send_notification(
            ResourceUpdatedNotification(
                params=ResourceUpdatedNotificationParams(uri=uri, _meta=stamp)
            ),
            related_request_id=ctx.request_id,
        )
    return SubscriptionsListenResult(_meta=stamp)


def _here() -> tuple[Session, Registry]:
    session, registry = SESSION.get(), REGISTRY.get()
    if session is None or registry is None:
        raise MCPError(INVALID_REQUEST, "Subscriptions belong to a session, and this has none")
    return session, registry


def subscribe_resources(
    server: Server[Any], changes: Changes, *, refuse: Callable[[str, Failure], MCPError]
) -> None:
    """Let a server's resources be subscribed to.

    Args:
        server: from here on it says that they can be.
        changes: knows what changes, and who may see it.
        refuse: makes the error of an address, of a refusal that is born here.
    """
    handlers = _Subscribing(changes, refuse)
    server.add_request_handler("resources/subscribe", SubscribeRequestParams, handlers.subscribe)
    server.add_request_handler(
        "resources/unsubscribe", UnsubscribeRequestParams, handlers.unsubscribe
    )
    server.add_request_handler(
        "subscriptions/listen", SubscriptionsListenRequestParams, handlers.listen
    )
