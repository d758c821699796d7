"""The simulated exchange as a running HTTP server.

Owns the listening socket, connections, latency, and the order of things for a request: count, wait,
fault or answer. Refuses what a venue means (`venue.py`) and says (the dialects).
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from dataclasses import dataclass
from types import TracebackType
from typing import Self

from aiohttp import web
from aiohttp.web_protocol import RequestHandler

from ccxt_mcp.simulation import control
from ccxt_mcp.simulation.binance import DEFAULT_RATE_LIMIT, BinanceDialect
from ccxt_mcp.simulation.counters import UNKNOWN_KEY, Counters
from ccxt_mcp.simulation.demo import DEMO_CONTRACTS, demo_venue
from ccxt_mcp.simulation.dialect import Dialect, WireAnswer, WireRequest
from ccxt_mcp.simulation.faults import FaultPlan
from ccxt_mcp.simulation.inflict import inflict, respond
from ccxt_mcp.simulation.kraken import STARTER_TIER, KrakenDialect, KrakenLimits
from ccxt_mcp.simulation.venue import Venue, system_clock

__all__ = ["SimulatedExchange", "SimulationConfig", "run_simulation"]

_UNKNOWN_ROUTE = "(unknown)"
_BACKLOG = 2_048


@dataclass(frozen=True, slots=True, kw_only=True)
class SimulationConfig:
    """How to run one simulated exchange.

    `port` 0 takes a free one. `latency_ms` delays every answer, `jitter_ms` adds up to that much
    more, drawn from a generator seeded with `seed`. `rate_limit` is request weight per minute and
    address, None for no limit in any dialect. More than `ban_after` refusals within a minute (None:
    never) ban an address from the Binance dialect for `ban_ms`. `kraken` holds the limits of the
    Kraken dialect, None for none; with `kraken_on_arrival` it checks nonces in the order in which
    requests arrive, otherwise in the order in which they are answered. `extra_symbols` and
    `linear_symbols` are at most 3,600 each. Each second `burst` public trades come in one
    millisecond. `clock` returns Unix milliseconds. The last four are only used when no venue is
    given.
    """

    host: str = "127.0.0.1"
    port: int = 0
    seed: int = 1
    latency_ms: float = 0.0
    jitter_ms: float = 0.0
    rate_limit: int | None = DEFAULT_RATE_LIMIT
    ban_after: int | None = 20
    ban_ms: int = 120_000
    kraken: KrakenLimits | None = STARTER_TIER
    kraken_on_arrival: bool = True
    extra_symbols: int = 0
    linear_symbols: int = 0
    burst: int = 1
    clock: Callable[[], int] = system_clock


class _Connections(web.Server):
    """aiohttp's low-level server, telling of connections and able to drop them all."""

    def __init__(self, handler: Callable[..., object], counters: Counters) -> None:
        # Without handler_cancellation a hanging request would outlive its client.
        super().__init__(handler, handler_cancellation=True, access_log=None)  # type: ignore[arg-type]
        self._counters = counters
        self._open: dict[RequestHandler, asyncio.Transport] = {}

    def connection_made(self, handler: RequestHandler, transport: asyncio.Transport) -> None:
        super().connection_made(handler, transport)
        self._open[handler] = transport
        self._counters.connected()

    def connection_lost(self, handler: RequestHandler, exc: BaseException | None = None) -> None:
        super().connection_lost(handler, exc)
        if self._open.pop(handler, None) is not None:
            self._counters.disconnected()

    def abort_all(self) -> None:
        for transport in list(self._open.values()):
            transport.abort()


class SimulatedExchange:
    """A venue served over HTTP in the running event loop.

    Use as `async with SimulatedExchange(config) as sim`. Without `venue` it starts with an empty
    one: add keys through `sim.venue.add_account`. `sim.counters`, `sim.faults` and
    `sim.set_latency` may be used at any time from the same loop; `/_sim/` does the same over HTTP.
    """

    def __init__(
        self, config: SimulationConfig | None = None, *, venue: Venue | None = None
    ) -> None:
        self.config = config if config is not None else SimulationConfig()
        self.venue = (
            venue
            if venue is not None
            else Venue(
                seed=self.config.seed,
                extra_symbols=self.config.extra_symbols,
                linear_symbols=self.config.linear_symbols,
                burst=self.config.burst,
                clock=self.config.clock,
            )
        )
        self.counters = Counters()
        self.faults = FaultPlan()
        limit = self.config.rate_limit
        self.binance = BinanceDialect(
            self.venue,
            rate_limit=limit,
            ban_after=self.config.ban_after,
            ban_ms=self.config.ban_ms,
        )
        self.kraken = KrakenDialect(
            self.venue,
            limits=None if limit is None else self.config.kraken,
            on_arrival=self.config.kraken_on_arrival,
        )
        self.dialects: tuple[Dialect, ...] = (self.binance, self.kraken)
        self._dice = random.Random(self.config.seed)
        self._latency = self._jitter = 0.0
        self.set_latency(self.config.latency_ms, self.config.jitter_ms)
        self._connections: _Connections | None = None
        self._runner: web.ServerRunner | None = None
        self._base_url: str | None = None

    def __repr__(self) -> str:
        return f"<SimulatedExchange {self._base_url or 'stopped'} {self.venue!r}>"

    @property
    def base_url(self) -> str:
        """`http://127.0.0.1:12345`, to put before CCXT's paths. `RuntimeError` unless running."""
        if self._base_url is None:
            raise RuntimeError("the simulated exchange is not running")
        return self._base_url

    def set_latency(self, ms: float, jitter_ms: float = 0.0) -> None:
        """Delay every later request by `ms` plus up to `jitter_ms`. `ValueError` if negative."""
        if ms < 0 or jitter_ms < 0:
            raise ValueError("latency and jitter must not be negative")
        self._latency, self._jitter = ms / 1000, jitter_ms / 1000

    async def start(self) -> None:
        """Listen. Raises `OSError` when the address is taken, `RuntimeError` when running."""
        if self._runner is not None:
            raise RuntimeError("the simulated exchange is already running")
        self._connections = _Connections(self._handle, self.counters)
        runner = web.ServerRunner(self._connections, shutdown_timeout=0.1)
        await runner.setup()
        try:
            site = web.TCPSite(runner, self.config.host, self.config.port, backlog=_BACKLOG)
            await site.start()
        except BaseException:
            await runner.cleanup()
            raise
        self._runner = runner
        host = self.config.host
        port = runner.addresses[0][1]
        self._base_url = f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"

    async def stop(self) -> None:
        """Drop every connection, answered or not, and stop listening. Takes milliseconds."""
        runner, connections = self._runner, self._connections
        self._runner = self._connections = self._base_url = None
        if runner is None or connections is None:
            return
        for site in list(runner.sites):
            await site.stop()
        connections.abort_all()
        await runner.cleanup()

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.stop()

    async def _handle(self, request: web.BaseRequest) -> web.StreamResponse:
        path, _, query = request.raw_path.partition("?")
        body = await request.read() if request.can_read_body else b""
        wire = WireRequest(request.method, path, query, request.headers, body, request.remote or "")
        if path.startswith(control.PREFIX):
            return respond(control.control(self, wire))
        for dialect in self.dialects:
            if path.startswith(dialect.prefixes):
                return await self._serve(request, wire, dialect)
        return respond(WireAnswer(404, b'{"error":"no venue answers at this path"}'))

    async def _serve(
        self, request: web.BaseRequest, wire: WireRequest, dialect: Dialect
    ) -> web.StreamResponse:
        route, key = dialect.route(wire) or _UNKNOWN_ROUTE, dialect.api_key(wire)
        known = key if key is None or key in self.venue.accounts else UNKNOWN_KEY
        self.counters.begin(route, known)
        status: int | None = None
        try:
            pending = dialect.arrive(wire)

            def answer() -> WireAnswer:
                said = pending()
                if said.error is not None:
                    self.counters.errors[said.error] += 1
                return said

            if self._latency or self._jitter:
                await asyncio.sleep(self._latency + self._jitter * self._dice.random())
            fault = self.faults.take(route, wire.path, key)
            if fault is None:
                response: web.StreamResponse = respond(answer())
            else:
                self.counters.faults[fault.kind] += 1
                response = await inflict(request, fault, answer, dialect.failure)
            status = response.status
            return response
        finally:
            self.counters.end(status)


async def run_simulation(
    host: str,
    port: int,
    seed: int,
    latency_ms: float,
    jitter_ms: float,
    rate_limit: int | None,
    ready: Callable[[SimulatedExchange], None],
) -> None:
    """Serve the demonstration venue until cancelled; `ready` is called once it listens.

    Arguments as in `SimulationConfig`. Raises `OSError` when the address is taken.
    """
    config = SimulationConfig(
        host=host,
        port=port,
        seed=seed,
        latency_ms=latency_ms,
        jitter_ms=jitter_ms,
        rate_limit=rate_limit,
    )
    venue, _ = demo_venue(seed, linear_symbols=DEMO_CONTRACTS)
    async with SimulatedExchange(config, venue=venue) as sim:
        ready(sim)
        await asyncio.get_running_loop().create_future()
