"""What is known about every exchange without importing one.

Owns: the facts of the pinned CCXT build (names, abilities, credentials, timeframes) and the names
of CCXT's unified methods. They are read from ``catalog.json``, which ``python -m
ccxt_mcp.exchanges.catalog`` writes from CCXT itself; a test holds the file current. Refuses:
markets, limits of a market, anything an exchange says at run time.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib import resources
from types import MappingProxyType
from typing import Any

__all__ = ["Catalog", "ExchangeFacts", "catalog", "generate", "snake_case"]

MARKET_TYPES = ("spot", "margin", "swap", "future", "option")

# CCXT names these in one piece: fetchOHLCV is fetch_ohlcv, not fetch_o_h_l_c_v.
_WORD = re.compile(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])")


def snake_case(unified: str) -> str:
    """CCXT's Python name of a unified method: ``fetchOpenOrders`` → ``fetch_open_orders``."""
    return _WORD.sub("_", unified).lower()


@dataclass(frozen=True, slots=True)
class ExchangeFacts:
    """What the pinned CCXT says about an exchange; nothing here needs a request.

    ``has`` holds what is offered only: ``True``, or ``"emulated"`` where CCXT composes it from
    other calls. ``rate_limit`` is CCXT's pause between requests of cost 1, in milliseconds.
    ``timeframes`` maps unified names to the exchange's own. ``required_credentials`` are CCXT's
    names (``apiKey``). ``docs`` are addresses of the exchange's API documentation.
    """

    id: str
    name: str
    countries: tuple[str, ...]
    has: Mapping[str, bool | str]
    market_types: tuple[str, ...]
    timeframes: Mapping[str, str]
    required_credentials: tuple[str, ...]
    docs: tuple[str, ...]
    rate_limit: float
    sandbox: bool
    websocket: bool
    certified: bool
    alias: bool


@dataclass(frozen=True, slots=True)
class Catalog:
    """All exchanges of one CCXT version, by id, and the unified methods: camelCase → snake_case."""

    ccxt_version: str
    exchanges: Mapping[str, ExchangeFacts]
    methods: Mapping[str, str]


@cache
def catalog() -> Catalog:
    """The catalog of the pinned CCXT build. Read once per process."""
    source = resources.files(__package__).joinpath("catalog.json")
    raw = json.loads(source.read_text(encoding="utf-8"))
    return Catalog(
        ccxt_version=raw["ccxtVersion"],
        exchanges=MappingProxyType(
            {key: _facts(key, row) for key, row in raw["exchanges"].items()}
        ),
        methods=MappingProxyType({name: snake_case(name) for name in raw["methods"]}),
    )


def _facts(exchange: str, row: dict[str, Any]) -> ExchangeFacts:
    has: dict[str, bool | str] = dict.fromkeys(row["has"], True)
    has.update(dict.fromkeys(row["emulated"], "emulated"))
    return ExchangeFacts(
        id=exchange,
        name=row["name"],
        countries=tuple(row["countries"]),
        has=MappingProxyType(has),
        market_types=tuple(row["marketTypes"]),
        timeframes=MappingProxyType(row["timeframes"]),
        required_credentials=tuple(row["requiredCredentials"]),
        docs=tuple(row["docs"]),
        rate_limit=row["rateLimit"],
        sandbox=row["sandbox"],
        websocket=row["websocket"],
        certified=row["certified"],
        alias=row["alias"],
    )


def generate() -> dict[str, Any]:
    """The catalog as JSON values, made from CCXT. Imports and constructs every exchange."""
    import ccxt.async_support as ccxt
    import ccxt.pro

    streaming = set(ccxt.pro.exchanges)
    # One process-wide loop is not needed: constructors of CCXT neither connect nor schedule.
    made = {exchange: getattr(ccxt, exchange)() for exchange in ccxt.exchanges}
    methods = {
        name
        for instance in made.values()
        for name in instance.has
        if callable(getattr(instance, snake_case(name), None))
    }
    return {
        "ccxtVersion": ccxt.__version__,
        "methods": sorted(methods),
        "exchanges": {key: _row(made[key], key in streaming) for key in made},
    }


def _row(instance: Any, websocket: bool) -> dict[str, Any]:
    has = {k: v for k, v in instance.has.items() if v and k not in (*MARKET_TYPES, "CORS")}
    urls = instance.urls
    docs = urls.get("doc") or []
    return {
        "name": instance.name,
        "countries": _texts(instance.countries),
        "has": sorted(k for k, v in has.items() if v != "emulated"),
        "emulated": sorted(k for k, v in has.items() if v == "emulated"),
        "marketTypes": [kind for kind in MARKET_TYPES if instance.has.get(kind)],
        "timeframes": {k: str(v) for k, v in (instance.timeframes or {}).items()},
        "requiredCredentials": [k for k, v in instance.requiredCredentials.items() if v],
        "docs": [docs] if isinstance(docs, str) else list(docs),
        "rateLimit": instance.rateLimit,
        # Every instance has the key 'test', most of them with nothing behind it.
        "sandbox": bool(urls.get("test")),
        "websocket": websocket,
        "certified": bool(instance.certified),
        "alias": bool(instance.alias),
    }


def _texts(value: Any) -> list[str]:
    if not value:
        return []
    return [value] if isinstance(value, str) else [str(each) for each in value]


def _main() -> None:
    made = generate()
    rows = made.pop("exchanges")
    # One exchange per line: a new CCXT build shows up as a readable difference.
    lines = ",\n".join(f"  {json.dumps(k)}: {json.dumps(rows[k])}" for k in rows)
    head = json.dumps(made, indent=1)[:-2]
    sys.stdout.write(f'{head},\n "exchanges": {{\n{lines}\n }}\n}}\n')


if __name__ == "__main__":
    _main()
