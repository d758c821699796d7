"""``python -m tests.conformance.run``: the public suite against this project.

Owns: starting the fixture and the product, running the suite against both, and the table in
docs/CONFORMANCE.md. Refuses: judging (``results.py``) and the tables of what is asked
(``expected.py``). ``make conformance`` installs what it needs.
"""

import argparse
import asyncio
import json
import platform
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterable
from pathlib import Path

from ccxt_mcp.app import MCP_PATH
from tests.conformance.expected import DEVIATIONS, PRODUCT, REVISIONS
from tests.conformance.fixture import fixture_server
from tests.conformance.results import (
    Outcome,
    Requirements,
    judge,
    read_outcomes,
    read_requirements,
)
from tests.e2e.conftest import running_stack

__all__ = ["Unusable", "conformance", "document", "render", "requirements", "run_suite"]

HERE = Path(__file__).parent
SUITE = HERE / "node_modules" / "@modelcontextprotocol" / "conformance"
PAGE = HERE.parents[1] / "docs" / "CONFORMANCE.md"
_BOUND = 90
"""Seconds for one run of the suite; it takes about ten."""
_BLOCK = re.compile(r"(?<=<!-- results: made by `make conformance` -->\n).*(?=<!-- end -->)", re.S)


class Unusable(Exception):
    """The suite cannot be run; the text says what to install."""


def node() -> str:
    """A Node.js of version 22 or newer: the one that was installed beside the suite, or PATH's.

    Raises:
        Unusable: there is none.
    """
    found = [str(path) for path in sorted(HERE.glob("node_modules/node-*/bin/node"))]
    found += [path for path in (shutil.which("node"),) if path is not None]
    for path in found:
        version = subprocess.run([path, "--version"], capture_output=True, text=True, check=False)
        if (match := re.match(r"v(\d+)\.", version.stdout)) and int(match[1]) >= 22:
            return path
    raise Unusable(
        "the suite needs Node.js 22 or newer: `make conformance` installs one with npm where there"
        f" is one for {platform.system()} on {platform.machine()}"
    )


def suite_version() -> str:
    """The installed suite's version, which must be the pinned one.

    Raises:
        Unusable: it is another one, or not installed.
    """
    pinned = json.loads((HERE / "package.json").read_text())["dependencies"][
        "@modelcontextprotocol/conformance"
    ]
    try:
        installed = json.loads((SUITE / "package.json").read_text())["version"]
    except FileNotFoundError:
        installed = "none"
    if installed != pinned:
        raise Unusable(f"the suite {pinned} is not installed ({installed} is): `make conformance`")
    return str(pinned)


def requirements() -> dict[str, Requirements]:
    return {
        revision: read_requirements(SUITE / "requirements" / f"{revision}.yaml")
        for revision in REVISIONS
    }


async def run_suite(url: str, server: str, revision: str) -> dict[str, Outcome]:
    """Everything that the suite asks of one revision; its own exit code counts extensions, too."""
    with tempfile.TemporaryDirectory() as results:
        command = [node(), str(SUITE / "dist" / "index.js"), "server", "--url", url]
        process = await asyncio.create_subprocess_exec(
            *(*command, "--requirements", revision, "-o", results),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        try:
            async with asyncio.timeout(_BOUND):
                said, _ = await process.communicate()
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
        outcomes = read_outcomes(Path(results), server, revision)
        if not outcomes:
            raise Unusable(f"the suite left no results: {said.decode()[-2000:]}")
        return outcomes


async def conformance() -> tuple[list[Outcome], list[str]]:
    """Run all of it: what was found, and what is wrong with it.

    Raises:
        Unusable: the suite is not there, or cannot be run.
    """
    suite_version()
    wanted = requirements()
    found: list[Outcome] = []
    problems: list[str] = []
    async with fixture_server() as fixture, running_stack() as stack:
        # The first call loads the markets, which takes longer than the suite waits for an answer.
        await stack.call("get_ticker", {"symbol": "BTC/USDT"})
        for server, url in (("fixture", fixture), ("product", stack.url + MCP_PATH)):
            for revision in REVISIONS:
                asked = wanted[revision].asked if server == "fixture" else PRODUCT[revision]
                outcomes = await run_suite(url, server, revision)
                problems += judge(outcomes, server, revision, asked)
                found += [outcomes[name] for name in asked if name in outcomes]
    met = {deviation for outcome in found for deviation in outcome.deviations()}
    problems += [
        f"{each.server}, {each.scenario}: the deviation {each.check} is not met any more: remove it"
        for each in DEVIATIONS
        if each not in met
    ]
    return found, problems


def render(version: str, wanted: dict[str, Requirements], found: Iterable[Outcome]) -> str:
    """The generated part of docs/CONFORMANCE.md."""
    cells = {(each.server, each.revision, each.scenario): each.summary() for each in found}
    lines = [f"Suite: `@modelcontextprotocol/conformance` {version}. The numbers are checks.", ""]
    for revision, asked in wanted.items():
        lines += [f"### {revision}", "", "| Scenario | Fixture | Product |", "|---|---|---|"]
        for scenario in asked.asked:
            name = f"`{scenario}`" + (" (not scored)" if scenario in asked.beside else "")
            row = [cells.get((server, revision, scenario), "") for server in ("fixture", "product")]
            lines.append(f"| {name} | {row[0]} | {row[1]} |")
        lines.append("")
        if asked.extensions:
            names = ", ".join(f"`{name}`" for name in asked.extensions)
            lines += [f"Scenarios of extensions, which are not offered: {names}.", ""]
    lines += ["### Deviations", "", "| Server | Scenario | Check | Reason |", "|---|---|---|---|"]
    lines += [
        f"| {each.server} | `{each.scenario}` | `{each.check}` | {each.reason} |"
        for each in DEVIATIONS
    ]
    return "\n".join(lines) + "\n"


def document(page: str, generated: str) -> str:
    """The page with its generated part replaced."""
    changed, count = _BLOCK.subn(lambda _: generated, page)
    assert count == 1, "docs/CONFORMANCE.md has lost the marks around its results"
    return changed


def main() -> int:
    """The exit code: 0 where everything is as it should be."""
    parser = argparse.ArgumentParser(prog="tests.conformance.run", description=__doc__)
    what = parser.add_mutually_exclusive_group()
    what.add_argument("--write", action="store_true", help="write docs/CONFORMANCE.md")
    what.add_argument("--check", action="store_true", help="compare docs/CONFORMANCE.md")
    arguments = parser.parse_args()
    try:
        found, problems = asyncio.run(conformance())
        generated = render(suite_version(), requirements(), found)
    except Unusable as reason:
        print(reason, file=sys.stderr)
        return 2
    page = PAGE.read_text()
    if arguments.write:
        PAGE.write_text(document(page, generated))
    elif arguments.check:
        if document(page, generated) != page:
            problems.append("docs/CONFORMANCE.md is not what was found: `--write` renews it")
    else:
        print(generated)
    for problem in problems:
        print(f"not conformant: {problem}", file=sys.stderr)
    checks = sum(outcome.count("SUCCESS") for outcome in found)
    print(f"{len(found)} scenarios, {checks} checks passed, {len(problems)} problems")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
