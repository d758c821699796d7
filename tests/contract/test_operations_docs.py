"""docs/OPERATIONS.md and what a running server shows are the same thing."""

from __future__ import annotations

import re
from pathlib import Path

from prometheus_client.parser import text_string_to_metric_families

from ccxt_mcp.ops.metrics import MOST_OTHERS, MOST_SERIES
from ccxt_mcp.ops.traces import ENDPOINTS
from ccxt_mcp.telemetry import Step
from ccxt_mcp.transport.session import Kind
from tests.e2e.conftest import running_stack
from tests.e2e.replicas import running_replicas
from tests.tracing import Spans

PAGE = (Path(__file__).parents[2] / "docs" / "OPERATIONS.md").read_text(encoding="utf-8")
ROW = re.compile(r"^\| `([a-z_]+)` \| (counter|gauge|histogram) \|(.*?)\|", re.MULTILINE)
NAMES = re.compile(r"`([^`]+)`")
OF_THE_FORMAT = {"le"}


def documented() -> dict[str, tuple[str, set[str]]]:
    return {name: (kind, set(NAMES.findall(labels))) for name, kind, labels in ROW.findall(PAGE)}


async def shown() -> dict[str, tuple[str, set[str]]]:
    """What a server shows after traffic that reaches every counter: calls, a wait, a refusal."""
    async with running_stack() as stack:
        await stack.call("get_ticker", {"symbol": "BTC/USDT"})
        await stack.call("get_open_orders")
        await stack.http.post(f"{stack.url}/mcp", json={})
        text = (await stack.http.get(f"{stack.url}/metrics")).text
    async with running_replicas({}) as replicas:
        (cluster,), (replica,) = replicas.clusters, replicas.stacks
        cluster.trips.not_answered("leases.claim")
        await replicas.clusters[0].membership.all()
        among = (await replica.http.get(f"{replica.url}/metrics")).text
    found = {}
    for family in (*text_string_to_metric_families(text), *text_string_to_metric_families(among)):
        if not family.samples:
            continue
        # The parser takes the suffix off; the page has names as one types them into a query.
        name = family.name + ("_total" if family.type == "counter" else "")
        labels = {label for sample in family.samples for label in sample.labels} - OF_THE_FORMAT
        found[name] = (family.type, labels)
    return found


async def test_every_metric_is_in_the_table_and_the_table_names_no_other() -> None:
    """With its kind and its labels, both ways."""
    assert documented() == await shown()


def rows(heading: str) -> dict[str, str]:
    """First cell → second cell of the first table below a heading."""
    part = PAGE.split(f"{heading}\n", 1)[1]
    table = part[part.index("|---") :].split("\n\n", 1)[0].splitlines()[1:]
    return {row.split(" | ")[0].lstrip("| "): row.split(" | ")[1] for row in table}


def test_every_label_is_explained() -> None:
    explained = {name for cell in rows("### Labels") for name in NAMES.findall(cell)}
    used = {label for _, labels in documented().values() for label in labels}
    assert used - explained == {"version", "ccxt", "mcp", "python"}
    assert explained <= used


def test_the_values_and_bounds_of_labels_are_those_of_the_code() -> None:
    labels = rows("### Labels")
    waits = [step.value for step in Step if step is not Step.REQUEST]
    assert NAMES.findall(labels["`step`"]) == waits
    assert [cell.strip("`") for cell in rows("### Waits")] == waits
    assert NAMES.findall(labels["`kind`"]) == [kind.value for kind in Kind]
    assert f"first {MOST_OTHERS} other" in labels["`exchange`"]
    assert f"the first {MOST_SERIES:,} are counted apart" in PAGE


async def test_every_span_and_attribute_of_ours_is_in_the_tables(spans: Spans) -> None:
    async with running_stack() as stack:
        await stack.call("get_open_orders")
        await stack.call("get_ticker", {"symbol": "NO/SUCH"})
    part = PAGE.split("## Traces\n", 1)[1]
    for span in spans.all():
        name = "tools/call TOOL" if span.name.startswith("tools/call ") else span.name
        assert f"`{name}`" in part, name
        for attribute in span.attributes or {}:
            assert f"`{attribute}`" in part, attribute
    assert all(f"`{variable}`" in part for variable in ENDPOINTS)
