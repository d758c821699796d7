"""The right to use one exchange instance, for as long as it lasts.

Owns: the call into CCXT with its wire record, the refusal after release, and the cutting of
whatever could keep an instance alive. Refuses: making instances (``pool``), retrying (above).
"""

from __future__ import annotations

import asyncio
import copy
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from ccxt_mcp.errors import Code, Failure
from ccxt_mcp.exchanges.account_facts import Fact
from ccxt_mcp.exchanges.catalog import catalog
from ccxt_mcp.exchanges.failures import Wire, forget, translate
from ccxt_mcp.exchanges.http import WIRE
from ccxt_mcp.exchanges.key_permissions import QUESTIONS, KeyPermissions
from ccxt_mcp.exchanges.listing import Listing
from ccxt_mcp.exchanges.results import check_result
from ccxt_mcp.exchanges.truth import Untrue

__all__ = ["Lease"]


class Lease:
    """One exchange instance of one's own, keyless (public) or with an account's keys (private).

    ``id`` is CCXT's id of the exchange, ``exchange`` the profile's name. Every use after the end of
    the ``async with`` that gave it raises ``RuntimeError``.
    """

    __slots__ = (
        *(
            "_instance",
            "_listing",
            "_redact",
            "_renew",
            "exchange",
            "failed",
            "given",
            "id",
            "key_id",
            "private",
        ),
        *("succeeded", "wire", "with_params"),
    )

    def __init__(
        self,
        instance: Any,
        listing: Listing | None,
        *,
        exchange: str,
        private: bool,
        redact: Callable[[str], str],
    ) -> None:
        self._instance = instance
        self._listing = listing
        self._redact = redact
        self._renew: Callable[[Lease], Awaitable[bool]] | None = None
        self.exchange = exchange
        self.id: str = instance.id
        self.private = private
        self.wire = Wire()
        # For the pool, to tell what this account's next instance may be given (`account_facts`).
        self.key_id = ""
        self.given: frozenset[Fact] = frozenset()
        self.with_params = False
        self.succeeded = False
        self.failed: Code | None = None

    def __repr__(self) -> str:
        kind = "private" if self.private else "public"
        state = "released" if self._instance is None else "held"
        return f"<Lease {self.exchange} {kind} {state}>"

    def has(self, unified: str) -> bool:
        """Whether CCXT offers a unified method (``fetchOpenOrders``) here, emulated included."""
        return bool(self._held().has.get(unified))

    def feature(self, unified: str, name: str, symbol: str | None = None) -> Any:
        """What CCXT says of a method (``fetchMyTrades``): ``limit``, ``untilDays``, … of the
        symbol's kind of market, spot without one. ``None`` if it says nothing."""
        instance = self._held()
        market = instance.markets.get(symbol) or {}
        kind, sub = market.get("type") or "spot", market.get("subType")
        try:
            return instance.feature_value_by_type(kind, sub, unified, name)
        except Exception:  # The structure has holes, and CCXT is not careful with them.
            return None

    @property
    def listing(self) -> Listing:
        """What the exchange lists, as of this lease."""
        self._held()
        if self._listing is None:
            raise RuntimeError(f"the market tables of {self.exchange} are not loaded")
        return self._listing

    def markets(self) -> Mapping[str, Mapping[str, Any]]:
        """All markets by symbol. Shared by everybody: read only."""
        return self.listing.markets

    def market(self, symbol: str) -> Mapping[str, Any]:
        """One market by its unified symbol. Read only. Raises ``Failure`` (``unknown_symbol``)."""
        return self.listing.market(symbol)

    async def find(self, name: str) -> str:
        """The unified symbol of the market that a name means; asks the exchange about a new one.

        Raises:
            Failure: ``unknown_symbol`` with the nearest names, ``invalid_argument`` for a name
                that fits several.
        """
        found = self.listing.find(name)
        if found is None and await self.look_again(name):
            found = self.listing.find(name)
        if found is None:
            # What is refused is what the caller wrote, not what it would be in capitals.
            raise self.listing.unknown(name.strip())
        return found

    async def look_again(self, symbol: str) -> bool:
        """Whether the exchange's markets were listed anew because ``symbol`` is not among them.

        Waits for that; what ``market`` says may be different then. Not every time: an exchange is
        asked at most once a minute, and not about what is merely misspelt. Raises nothing of its
        own; without an answer of the exchange everything stays as it was.
        """
        renew = self._renew
        return renew is not None and not self.listing.lists(symbol) and await renew(self)

    async def call(
        self, method: str, *args: Any, params: Mapping[str, Any] | None = None, **kwargs: Any
    ) -> Any:
        """Call one of CCXT's unified methods by its Python name (``fetch_open_orders``).

        ``params`` are copied, so that CCXT may write into them. Raises ``Failure`` only, besides
        cancellation. ``ValueError`` for a name that is not a unified method is a mistake of ours.
        """
        operation = _OPERATIONS.get(method) or _learn(method)
        return await self._perform(operation, method, args, kwargs, params)

    async def key_permissions(self) -> KeyPermissions | None:
        """What the exchange says that this lease's key may do; ``None`` if it does not tell.

        Raises ``Failure`` only, besides cancellation.
        """
        question = QUESTIONS.get(self.id)
        if question is None:
            return None
        raw = await self._perform("keyPermissions", question.endpoint, (), {}, None)
        try:
            return question.read(raw)
        except (LookupError, TypeError, ValueError, AttributeError):
            raise Failure(
                Code.BAD_RESPONSE,
                f"{self.exchange}: the answer about the key could not be read",
                exchange=self.exchange,
                operation="keyPermissions",
            ) from None

    async def _perform(
        self,
        operation: str,
        method: str,
        args: tuple[Any, ...],
        kwargs: Mapping[str, Any],
        params: Mapping[str, Any] | None,
    ) -> Any:
        instance = self._held()
        failure: Failure
        self.wire = wire = Wire()
        token = WIRE.set(wire)
        try:
            fresh = copy.deepcopy(dict(params)) if params else {}
            self.with_params |= bool(params)
            result = await getattr(instance, method)(*args, params=fresh, **kwargs)
            check_result(method, result)
            self.succeeded = True
            return result
        except asyncio.CancelledError as error:
            # The frames below hold the instance and its keys; a cancelled task may be kept long.
            forget(error)
            raise error
        except Untrue as error:
            failure = Failure(
                Code.BAD_RESPONSE,
                f"{self.exchange}: {error}",
                exchange=self.exchange,
                operation=operation,
            )
        except Exception as error:
            failure = translate(
                error,
                exchange=self.exchange,
                operation=operation,
                ccxt_id=self.id,
                timeout_ms=int(instance.timeout),
                wire=wire,
                redact=self._redact,
            )
            forget(error)
        finally:
            WIRE.reset(token)
            del instance
        self.failed = failure.code
        # Out here nothing is being handled: the failure gets neither cause nor context.
        raise failure

    def _held(self) -> Any:
        if self._instance is None:
            raise RuntimeError(
                f"a lease on {self.exchange} was used after its release; take one for each call"
            )
        return self._instance

    def _end(self) -> Any:
        """Give the instance back; for the pool alone."""
        instance, self._instance = self._instance, None
        self._renew = None
        return instance


_OPERATIONS: dict[str, str] = {}
"""snake_case → camelCase of the methods called so far. Bounded by CCXT's unified methods."""


def _learn(method: str) -> str:
    for unified, snake in catalog().methods.items():
        _OPERATIONS.setdefault(snake, unified)
    try:
        return _OPERATIONS[method]
    except KeyError:
        raise ValueError(f"{method!r} is not a unified method of CCXT") from None
