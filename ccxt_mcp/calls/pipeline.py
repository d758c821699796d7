"""The walk of one tool call: deadline, exchange and account, lease, CCXT.

Owns: the deadline of a call (one, around everything after the lane: the tables' load, the clone,
every request), the choice of exchange and account, and the choice between a shared and a private
instance. Refuses: limits (``exchanges/``), the wire (``tools/boundary.py``), and any
CCXT method that ``policy.py`` does not list.

When the deadline passes, the work is cancelled, not abandoned: the HTTP request is closed and the
lease given back before the caller hears of it. A cancellation from outside passes untouched.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
import time
import traceback
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Hashable, Mapping
from contextlib import (
    AbstractAsyncContextManager,
    AsyncExitStack,
    asynccontextmanager,
    nullcontext,
)
from typing import Any, TypeVar

import orjson

from ccxt_mcp.accounts import Account, Accounts
from ccxt_mcp.calls.common_reads import CommonReads
from ccxt_mcp.calls.policy import Effect, Operation, Side, operation
from ccxt_mcp.calls.progress import Progress
from ccxt_mcp.calls.public_reads import PublicReads, Read
from ccxt_mcp.calls.retries import after_a_write, full_jitter, persistently
from ccxt_mcp.cluster.sharing import Sharing
from ccxt_mcp.errors import Code, Failure
from ccxt_mcp.exchanges.failures import Wire
from ccxt_mcp.exchanges.gateway import Gateway
from ccxt_mcp.exchanges.lease import Lease
from ccxt_mcp.exchanges.listing import Listing
from ccxt_mcp.mechanisms.admission import Admission, Slot
from ccxt_mcp.mechanisms.deadline import DEADLINE
from ccxt_mcp.model import CALLER
from ccxt_mcp.settings import Settings

__all__ = ["Call", "Calls"]

_T = TypeVar("_T")

_log = logging.getLogger("ccxt_mcp.faults")


class Call:
    """One tool call under way: what it uses, for its own steps, its log line and its failure.

    Attributes:
        operation: the unified CCXT name of the step under way, or the tool's name before any.
        exchange: the profile's name, once chosen.
        account: the account's name, once chosen; never anything else of an account.
        effect: the most that the call may do at an exchange.
        progress: tells the caller how it gets on; None if the caller did not ask for it.
    """

    __slots__ = ("_calls", "account", "effect", "exchange", "operation", "progress")

    def __init__(self, calls: Calls, name: str, effect: Effect, progress: Progress | None) -> None:
        self._calls = calls
        self.operation = name
        self.effect = effect
        self.progress = progress
        self.exchange: str | None = None
        self.account: str | None = None

    @property
    def gateway(self) -> Gateway:
        """The exchanges, for what needs no lease (names and static facts)."""
        return self._calls.gateway

    @property
    def accounts(self) -> Accounts:
        """The configured accounts."""
        return self._calls.accounts

    @property
    def settings(self) -> Settings:
        """The server's settings."""
        return self._calls.settings

    @property
    def started(self) -> float:
        """When this server began, POSIX seconds."""
        return self._calls.started

    def redact(self, text: str) -> str:
        """A text without this server's secrets and what is named like one."""
        return self._calls.redact(text)

    def choose_exchange(self, exchange: str | None) -> str:
        """The profile's name, as it is configured: the argument's, else the default exchange's.

        Raises:
            Failure: ``invalid_argument`` when there is neither; ``unknown_exchange``.
        """
        name = exchange or self.settings.default_exchange
        if name is None:
            raise Failure(
                Code.INVALID_ARGUMENT,
                "`exchange` is required: this server has no default exchange.",
                hint="Pass `exchange` (`list_exchanges` has the names), or set `default_exchange` "
                "in the server's configuration.",
            )
        self.exchange = self.gateway.profile(name).name
        return self.exchange

    def choose_account(self, exchange: str | None, account: str | None) -> Account:
        """The account: by name, else the exchange's default or only one.

        Raises:
            Failure: ``invalid_argument`` (several and no default; the names are listed),
                ``unknown_account``, ``unknown_exchange``.
        """
        if exchange is not None:
            exchange = self.choose_exchange(exchange)
        chosen = self.accounts.resolve(
            exchange, account, default_exchange=self.settings.default_exchange
        )
        self.exchange, self.account = chosen.exchange, chosen.name
        return chosen

    @asynccontextmanager
    async def public(self, exchange: str | None, method: str) -> AsyncIterator[Lease]:
        """A keyless instance; ``method`` names what it is wanted for."""
        self._enter(method, Side.PUBLIC)
        name = self.choose_exchange(exchange)
        async with (
            self._slot(name, None),
            self._taken(self.gateway.public(name)) as lease,
        ):
            yield lease

    async def listing(self, exchange: str | None, method: str) -> Listing:
        """What the exchange lists, loaded if need be; ``method`` names what it is wanted for."""
        self._enter(method, Side.PUBLIC)
        name = self.choose_exchange(exchange)
        found = self.gateway.listing(name)
        if found is not None:
            return found
        async with self.public(name, method) as lease:
            return lease.listing

    async def symbol(self, listing: Listing, asked: str) -> str:
        """The unified symbol of what a caller wrote; asks the exchange about a new one.

        Raises:
            Failure: ``unknown_symbol`` with the nearest names, ``invalid_argument`` for a name
                that fits several.
        """
        found = listing.find(asked)
        if found is None:
            async with self.public(listing.exchange, "load_markets") as lease:
                found = await lease.find(asked)
        return found

    async def read(
        self,
        exchange: str,
        method: str,
        *args: Hashable,
        project: Callable[..., Any],
        max_age: float | None = None,
        params: Mapping[str, Any] | None = None,
    ) -> Read:
        """A public read, shared with whoever asks the same within a moment.

        Args:
            exchange: the profile's name.
            method: a public method of the table.
            args: the method's arguments; a tuple stands for a list.
            project: makes of CCXT's answer and ``args`` what is kept and shared. A function of a
                module: it is a part of the question. A coroutine function where it is long work.
            max_age: seconds, where the caller wants a younger answer than the table allows.
            params: CCXT's further parameters.

        Raises:
            Failure: as ``fetch``.
        """
        step = self._enter(method, Side.PUBLIC)
        calls = self._calls
        tool = self.operation

        async def ask(asking: Call) -> Any:
            asking.exchange = exchange
            # Lists are told by CCXT from other arguments; a question is made of tuples.
            own = {key: _listed(value) for key, value in (params or {}).items()}
            async with asking._taken(asking.gateway.public(exchange)) as lease:
                raw = await asking.fetch(lease, method, *map(_listed, args), params=own)
                value = project(raw, *args)
                return await value if isinstance(value, Coroutine) else value

        # A call of its own, with all of the time that a call has: it is not only this caller's.
        return await calls.reads.get(
            (exchange, step.name, (project, _spelled(args, params))),
            step.fresh if max_age is None else min(step.fresh, max_age),
            lambda: calls.run(calls.begin(tool), ask),
            self._slot(exchange, None),
            keep=step.fresh,
        )

    @asynccontextmanager
    async def private(
        self, exchange: str | None, account: str | None, method: str
    ) -> AsyncIterator[Lease]:
        """An instance with the account's keys, made for this call and dropped after it."""
        self._enter(method, Side.PRIVATE)
        chosen = self.choose_account(exchange, account)
        async with (
            self._slot(chosen.exchange, chosen.name),
            self._taken(self.gateway.private(chosen)) as lease,
        ):
            yield lease

    @asynccontextmanager
    async def _taken(self, leasing: AbstractAsyncContextManager[Lease]) -> AsyncIterator[Lease]:
        """A lease; what had to be read for it (market tables) is tried again like any read."""
        async with AsyncExitStack() as stack:
            calls = self._calls
            async with self._waiting(f"loading the markets of {self.exchange}"):
                lease = await persistently(
                    lambda: stack.enter_async_context(leasing),
                    # Who sent what is not known here; so a timeout counts as a silence.
                    wire=Wire,
                    ccxt_timeout=calls.settings.ccxt_timeout,
                    jitter=calls.jitter,
                )
            yield lease

    def _waiting(self, message: str) -> AbstractAsyncContextManager[None]:
        return nullcontext() if self.progress is None else self.progress.waiting(message)

    def _slot(self, exchange: str, account: str | None) -> Slot:
        """A place among the calls under way; an account stands for its key."""
        return self._calls.admission.slot(exchange, account, CALLER.get().flow)

    async def fetch(self, lease: Lease, method: str, *args: Any, **kwargs: Any) -> Any:
        """Call a unified method that the table allows; a read again where ``retries`` says so.

        Raises:
            Failure: ``not_supported`` before any request when the exchange does not offer it;
                otherwise whatever the exchange's answer was translated to.
        """
        step = self._enter(method, None)
        if not lease.has(step.name):
            raise Failure(
                Code.NOT_SUPPORTED,
                f"{lease.exchange} does not offer {step.name}.",
                exchange=lease.exchange,
                operation=step.name,
            )
        if lease.private and lease.id in step.writes and step.effect is Effect.READ:
            raise Failure(
                Code.NOT_SUPPORTED,
                f"{step.name} is not called on {lease.exchange}: with keys, CCXT's code may"
                " register a key or approve a fee there on its way.",
                exchange=lease.exchange,
                operation=step.name,
            )
        if lease.private is not (step.side_on(lease.id) is Side.PRIVATE):
            raise AssertionError(f"{method} may not be called on this instance of {lease.id}")
        calls = self._calls
        try:
            if step.effect is not Effect.READ:
                return await lease.call(method, *args, **kwargs)
            return await persistently(
                lambda: lease.call(method, *args, **kwargs),
                wire=lambda: lease.wire,
                ccxt_timeout=calls.settings.ccxt_timeout,
                jitter=calls.jitter,
            )
        except Failure as failure:
            told = after_a_write(step.effect, failure, lease.wire)
        raise told

    def _enter(self, method: str, side: Side | None) -> Operation:
        step = operation(method)
        too_much = step.effect is Effect.WRITE and self.effect is not Effect.WRITE
        # Where keys are needed for what is the market's is known once there is a lease.
        other = side is not None and step.side is not side
        if too_much or (other and not (side is Side.PRIVATE and step.keyed)):
            raise AssertionError(f"{method} may not be used like this")
        self.operation = step.name
        return step


def _spelled(args: tuple[Hashable, ...], params: Mapping[str, Any] | None) -> bytes:
    """Arguments as a part of a question. As JSON, since to Python 1, 1.0 and True are the same."""
    return orjson.dumps([args, params or {}], option=orjson.OPT_SORT_KEYS)


def _listed(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value


class Calls:
    """Runs tool calls, each under one deadline.

    Args:
        gateway: the exchanges.
        accounts: the configured accounts.
        settings: ``tool_timeout`` (seconds) and ``default_exchange`` are used.
        redact: removes secrets from the texts of unexpected faults before they are logged.
        jitter: turns the longest pause before a retry, in seconds, into the one to make.
        sharing: with the other replicas; None where this process is on its own.
    """

    def __init__(
        self,
        gateway: Gateway,
        accounts: Accounts,
        settings: Settings,
        *,
        redact: Callable[[str], str] = str,
        jitter: Callable[[float], float] = full_jitter,
        sharing: Sharing | None = None,
    ) -> None:
        self.gateway = gateway
        self.accounts = accounts
        self.settings = settings
        self.jitter = jitter
        self.reads = PublicReads(
            None if sharing is None else CommonReads(sharing, gateway.fingerprint)
        )
        self.started = time.time()
        self.redact = redact
        self._timeout = settings.tool_timeout
        total = settings.max_calls
        self.admission = Admission(
            total=total,
            per_exchange=max(1, total // 2),
            per_key=max(1, total // 4),
            queue=settings.call_queue_max,
        )

    def begin(
        self, name: str, effect: Effect = Effect.READ, progress: Progress | None = None
    ) -> Call:
        """A call that has not used anything yet; ``name`` is the tool's."""
        return Call(self, name, effect, progress)

    async def run(self, call: Call, work: Callable[[Call], Awaitable[_T]]) -> _T:
        """Do the work within the tool's deadline, which starts now.

        Raises:
            Failure: the work's own; ``timeout`` at the deadline; ``internal`` for anything else
                that goes wrong, whose details are logged under a reference and not passed on.
        """
        scope = asyncio.timeout(self._timeout)
        try:
            async with scope:
                # For whoever has to know on the way whether something still makes sense.
                token = DEADLINE.set(scope.when())
                try:
                    return await work(call)
                finally:
                    DEADLINE.reset(token)
        except Failure:
            # CCXT turns the cancellation of its request into an error of its own now and then;
            # the deadline is what ended the call all the same.
            if scope.expired():
                raise self._timed_out(call) from None
            raise
        except asyncio.CancelledError as error:
            task = asyncio.current_task()
            if task is None or task.cancelling():
                raise
            # Nobody cancelled this call: something that it waited for was cancelled under it. As a
            # cancellation that would end the call without any answer.
            raise self.fault(call, error) from None
        except Exception as error:
            if scope.expired():
                raise self._timed_out(call) from None
            raise self.fault(call, error) from None

    def fault(self, call: Call, error: BaseException) -> Failure:
        """Log an unexpected error, redacted, and return what its caller may know of it."""
        reference = secrets.token_hex(4)
        text = self.redact("".join(traceback.format_exception(error)))
        _log.error("fault %s in %s\n%s", reference, call.operation, text)
        return Failure(
            Code.INTERNAL,
            f"This server failed at {call.operation} (reference {reference}).",
            exchange=call.exchange,
            operation=call.operation,
            details={"reference": reference},
        )

    def _timed_out(self, call: Call) -> Failure:
        return Failure(
            Code.TIMEOUT,
            f"{call.operation} operation timed out after {round(self._timeout * 1000)}ms",
            exchange=call.exchange,
            operation=call.operation,
        )
