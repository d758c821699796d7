"""The simulated exchange: a seeded venue that speaks real REST dialects over real HTTP.

Product code: `ccxt-mcp simulate` serves it, and every test drives CCXT against it. Imports nothing
else of ccxt_mcp.
"""

from ccxt_mcp.simulation.accounts import derive_keys, owner_of
from ccxt_mcp.simulation.counters import Counters, CounterSnapshot
from ccxt_mcp.simulation.demo import (
    DEMO_CONTRACTS,
    DEMO_NAMES,
    DemoAccount,
    demo_accounts,
    demo_venue,
)
from ccxt_mcp.simulation.faults import Fault, FaultKind, FaultPlan
from ccxt_mcp.simulation.kraken import KrakenLimits
from ccxt_mcp.simulation.kraken_names import kraken_keys, kraken_secret
from ccxt_mcp.simulation.markets import MAX_EXTRA_SYMBOLS, Market
from ccxt_mcp.simulation.orders import Account, Balance, Fill, Order, Position
from ccxt_mcp.simulation.server import SimulatedExchange, SimulationConfig, run_simulation
from ccxt_mcp.simulation.venue import Venue, system_clock

__all__ = [
    "DEMO_CONTRACTS",
    "DEMO_NAMES",
    "MAX_EXTRA_SYMBOLS",
    "Account",
    "Balance",
    "CounterSnapshot",
    "Counters",
    "DemoAccount",
    "Fault",
    "FaultKind",
    "FaultPlan",
    "Fill",
    "KrakenLimits",
    "Market",
    "Order",
    "Position",
    "SimulatedExchange",
    "SimulationConfig",
    "Venue",
    "demo_accounts",
    "demo_venue",
    "derive_keys",
    "kraken_keys",
    "kraken_secret",
    "owner_of",
    "run_simulation",
    "system_clock",
]
