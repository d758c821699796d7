"""Anything at all, sent to ``/api``: ``python -m benchmarks.fuzz_api --cases 20000 --seed 1``.

Owns: requests drawn from the served OpenAPI document, valid and not, and the verdict: each answer
fits the document, and none is a 500. Refuses: ``/mcp`` (``fuzz.py``), and damaged HTTP (there too;
the connection is the same).
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
from collections import Counter
from collections.abc import Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from typing import Any

import httpx
import jsonschema
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st

from ccxt_mcp.app import create_app
from ccxt_mcp.product import assemble
from ccxt_mcp.settings import Settings
from ccxt_mcp.simulation import SimulatedExchange, SimulationConfig, demo_venue

__all__ = ["Report", "fuzz_api", "main"]

BOUND = 20.0
"""Seconds within which every request is answered."""

_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner),
    max_leaves=5,
)
_LIKELY: Mapping[str, tuple[Any, ...]] = {
    "symbol": ("BTC/USDT", "btcusdt", "ETH-USDT", "NO/PE"),
    "exchange": ("paper", "papr"),
    "account": ("main", "second", "nobody"),
    "timeframe": ("1h", "1d", "7m"),
    "since": ("2026-11-20T00:00:00Z", "1795000000000"),
}
"""Values that lead behind the check of arguments."""
_SESSIONS = st.none() | st.sampled_from(["one", "two", "ccxtmcp-1", "a b", "x" * 200])
_TYPES = st.sampled_from(["application/json"] * 9 + ["text/plain"])


@dataclass(slots=True)
class Report:
    """What a run saw: ``outcomes`` counts (tool, status)."""

    cases: int = 0
    outcomes: Counter[tuple[str, int]] = field(default_factory=Counter)
    wrong: str = ""


@dataclass(frozen=True, slots=True)
class _Case:
    tool: str
    body: bytes
    headers: dict[str, str]


def _value(name: str, spec: Mapping[str, Any], ids: frozenset[str]) -> st.SearchStrategy[Any]:
    """Values of an argument that its schema allows."""
    if "enum" in spec:
        return st.sampled_from(spec["enum"])
    match spec.get("type"):
        case "integer":
            return st.integers(spec.get("minimum", -(2**70)), spec.get("maximum", 2**70))
        case "number":
            return st.floats(spec.get("minimum"), spec.get("maximum"), allow_nan=False)
        case "boolean":
            return st.booleans()
        case "array":
            items = _value(name.removesuffix("s"), spec.get("items", {}), ids)
            return st.lists(items, min_size=spec.get("minItems", 0), max_size=4)
        case "object":
            return st.dictionaries(st.text(max_size=8), _JSON, max_size=3)
        case "string":
            text = st.text(min_size=spec.get("minLength", 0), max_size=spec.get("maxLength", 40))
            # A real exchange is never asked.
            text = text.filter(lambda each: each.strip().lower() not in ids)
            if name not in _LIKELY:
                return text
            likely = st.sampled_from(_LIKELY[name])
            return st.integers(0, 3).flatmap(lambda number: likely if number else text)
    return _JSON


def _cases(document: Mapping[str, Any], ids: frozenset[str]) -> st.SearchStrategy[_Case]:
    """Requests to every operation with a body."""
    tools: dict[str, st.SearchStrategy[Any]] = {}
    for path, operations in document["paths"].items():
        if "post" not in operations:
            continue
        schema = operations["post"]["requestBody"]["content"]["application/json"]["schema"]
        values = {name: _value(name, spec, ids) for name, spec in schema["properties"].items()}
        needed = schema.get("required", ())
        valid = st.fixed_dictionaries(
            {name: values[name] for name in needed},
            optional={name: each for name, each in values.items() if name not in needed},
        )
        names = st.sampled_from(sorted(values)) | st.text(max_size=8) if values else st.text()
        spoilt = st.builds(lambda a, b: a | b, valid, st.dictionaries(names, _JSON, max_size=2))
        tools[path.removeprefix("/api/tools/")] = valid | valid | spoilt | _JSON
    arguments = st.sampled_from(sorted(tools)).flatmap(
        lambda tool: st.tuples(st.just(tool), tools[tool])
    )

    @st.composite
    def case(draw: st.DrawFn) -> _Case:
        tool, value = draw(arguments)
        body = json.dumps(value).encode()
        if draw(st.integers(0, 19)) == 0:
            body = draw(st.binary(max_size=60))
        headers = {"content-type": draw(_TYPES)}
        session = draw(_SESSIONS)
        if session is not None:
            headers["mcp-session-id"] = session
        return _Case(tool, body, headers)

    return case()


class _World:
    """The application in process over a simulated exchange, and a client of it."""

    def __init__(self) -> None:
        self._up, self._done = asyncio.Event(), asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self.document: dict[str, Any] = {}
        self.ids: frozenset[str] = frozenset()

    async def open(self) -> None:
        # A lifespan ends in the task in which it began.
        self._task = asyncio.create_task(self._live())
        up = asyncio.create_task(self._up.wait())
        await asyncio.wait({self._task, up}, return_when=asyncio.FIRST_COMPLETED)
        if not self._up.is_set():
            up.cancel()
            await self._task

    async def close(self) -> None:
        self._done.set()
        if self._task is not None:
            await self._task

    async def _live(self) -> None:
        async with AsyncExitStack() as exits:
            await self._start(exits)
            self._up.set()
            await self._done.wait()

    async def _start(self, exits: AsyncExitStack) -> None:
        venue, accounts = demo_venue(seed=7)
        config = SimulationConfig(rate_limit=None)
        sim = await exits.enter_async_context(SimulatedExchange(config, venue=venue))
        paper = {
            "exchange": "binance",
            "base_url": sim.base_url,
            "options": {"fetchMarkets": {"types": ["spot"]}},
            "default_account": accounts[0].name,
            "rate_limit": "off",
        }
        given = {
            "default_exchange": "paper",
            "exchange_keys_from_env": False,
            "exchanges": {"paper": paper},
            "accounts": {
                each.name: {"exchange": "paper", "api_key": each.api_key, "secret": each.secret}
                for each in accounts
            },
        }
        product = assemble(Settings.model_validate(given), environ={}, keep_on_disk=False)
        self.ids = frozenset(product.gateway.exchange_ids())
        app = create_app(product=product)
        await exits.enter_async_context(app.router.lifespan_context(app))
        self._client = await exits.enter_async_context(
            httpx.AsyncClient(
                transport=httpx.ASGITransport(app), base_url="http://localhost:3000", timeout=60
            )
        )
        self.document = (await self._client.get("/api/openapi.json")).json()
        failure = self.document["components"]["schemas"]["Failure"]
        self._failure = jsonschema.Draft202012Validator(failure)
        self._found = {
            path.removeprefix("/api/tools/"): jsonschema.Draft202012Validator(
                operations["post"]["responses"]["200"]["content"]["application/json"]["schema"]
            )
            for path, operations in self.document["paths"].items()
            if "post" in operations
        }

    async def send(self, case: _Case) -> int:
        """Send it, judge the answer, and return the status."""
        async with asyncio.timeout(BOUND):
            answer = await self._client.post(
                f"/api/tools/{case.tool}", content=case.body, headers=case.headers
            )
        documented = self.document["paths"][f"/api/tools/{case.tool}"]["post"]["responses"]
        status = answer.status_code
        assert status != 500, answer.text
        assert str(status) in documented, status
        assert answer.headers["content-type"] == "application/json"
        assert ("retry-after" in answer.headers) is (status in (429, 503))
        (self._found[case.tool] if status == 200 else self._failure).validate(answer.json())
        return status


def fuzz_api(cases: int, number: int) -> Report:
    """Send so many requests, drawn from a seed; stops at the first wrong answer, shrunk."""
    report = Report()
    with asyncio.Runner() as runner:
        world = _World()
        try:
            runner.run(world.open())

            @seed(number)
            @settings(
                max_examples=cases,
                database=None,
                deadline=None,
                phases=[Phase.generate, Phase.shrink],
                suppress_health_check=list(HealthCheck),
            )
            @given(_cases(world.document, world.ids))
            def one(case: _Case) -> None:
                report.cases += 1
                try:
                    report.outcomes[case.tool, runner.run(world.send(case))] += 1
                except Exception as found:
                    report.wrong = f"{case}: {found!r}"[:4000]
                    raise

            try:
                one()
            except Exception as found:
                report.wrong = report.wrong or repr(found)
        finally:
            runner.run(world.close())
    return report


def main() -> int:
    """The command; exit code 1 for a wrong answer."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cases", type=int, default=20_000)
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args()
    report = fuzz_api(given.cases, given.seed)
    by_status: Counter[int] = Counter()
    for (_, status), count in report.outcomes.items():
        by_status[status] += count
    shown = ", ".join(f"{count} x {status}" for status, count in sorted(by_status.items()))
    print(f"{report.cases} requests to /api, seed {given.seed}: {shown}")
    if report.wrong:
        print(report.wrong)
    return int(bool(report.wrong))


if __name__ == "__main__":
    sys.exit(main())
