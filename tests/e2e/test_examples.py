"""The examples that need nothing beyond the project: each runs as its reader would run it.

Those for Node and for other frameworks are run by `make test-clients` (tests/clients).
"""

import asyncio
import csv
import json
import os
import re
import shlex
import sys
from asyncio.subprocess import PIPE
from pathlib import Path
from typing import Any

import pytest

from ccxt_mcp.simulation import Fault
from tests.e2e.conftest import Stack, StackFactory
from tests.unit.transport.toy import INITIALIZE

ROOT = Path(__file__).parents[2]
EXAMPLES = ROOT / "examples"
HOSTS = sorted((EXAMPLES / "hosts").glob("*.json"))
TOKEN = "a-token-of-the-desk-0123456789"


async def run(*command: str, url: str, **environ: str) -> tuple[int, str, str]:
    """Exit code, standard output and standard error of an example."""
    async with asyncio.timeout(60):
        process = await asyncio.create_subprocess_exec(
            *command,
            stdout=PIPE,
            stderr=PIPE,
            env={"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), "CCXT_MCP_URL": url}
            | environ,
        )
        out, errors = await process.communicate()
    assert process.returncode is not None
    return process.returncode, out.decode(), errors.decode()


def python(name: str, *arguments: str) -> list[str]:
    return [sys.executable, "-W", "error", str(EXAMPLES / "python" / name), *arguments]


@pytest.fixture
async def guarded(make_stack: StackFactory) -> Stack:
    """A server with a token."""
    return await make_stack(tokens={"desk": {"token": TOKEN, "scopes": ["read", "ops"]}})


async def test_curl_asks_for_both_workflows_in_sessions_of_their_own(stack: Stack) -> None:
    code, out, errors = await run("bash", str(EXAMPLES / "curl.sh"), url=stack.url)
    assert code == 0, errors
    answers = dict(line.split(": ", 1) for line in out.splitlines())
    found = {name: json.loads(text)["result"] for name, text in answers.items()}
    assert found["orders"]["structuredContent"]["orders"]
    assert found["balance"]["structuredContent"]["balances"]
    names = {each["sessionId"] for each in await stack.sessions()}
    assert {"workflow-orders-monitoring", "workflow-balance-monitoring"} <= names


async def test_curl_ends_with_1_where_a_workflow_has_no_answer(guarded: Stack) -> None:
    script = str(EXAMPLES / "curl.sh")
    code, out, _ = await run("bash", script, url=guarded.url)
    assert (code, "Bearer" in out) == (1, True)
    code, out, errors = await run("bash", script, url=guarded.url, CCXT_MCP_TOKEN=TOKEN)
    assert code == 0, out + errors
    guarded.sim.faults.add(Fault(kind="status", status=500, route="GET /api/v3/openOrders"))
    code, out, _ = await run("bash", script, url=guarded.url, CCXT_MCP_TOKEN=TOKEN)
    assert (code, '"isError":true' in out) == (1, True)


async def test_the_monitor_watches_two_things_and_survives_a_failure(stack: Stack) -> None:
    refused = {"code": -2015, "msg": "Invalid API-key, IP, or permissions for action."}
    stack.sim.faults.add(
        Fault(kind="status", route="GET /api/v3/openOrders", status=401, body=refused, times=1)
    )
    code, out, errors = await run(
        *python("monitor.py", "--rounds", "2", "--pause", "0.05"), url=stack.url
    )
    assert code == 0, errors
    assert re.search(r"orders   failed: \w+: ", out)
    assert re.search(r"orders   \d+ open, BTC/USDT at [\d.]+", out)
    assert len(re.findall(r"balance  .* USDT", out)) == 2
    assert re.search(r"server   healthy", out)
    assert [each["sessionId"] for each in await stack.sessions()] == ["warm-up"]


async def test_the_cron_job_writes_rows_and_says_by_its_exit_code_what_to_do(
    guarded: Stack,
) -> None:
    job = python("cron_job.py")
    code, out, errors = await run(*job, url=guarded.url, CCXT_MCP_TOKEN=TOKEN)
    assert (code, errors) == (0, "")
    rows = list(csv.reader(out.splitlines()))
    assert "USDT" in [row[1] for row in rows]
    code, out, errors = await run(*job, url=guarded.url, CCXT_MCP_TOKEN="wrong" * 5)
    assert (code, out) == (1, ""), errors
    guarded.sim.faults.add(Fault(kind="hang", route="GET /api/v3/account"))
    code, out, errors = await run(*job, url=guarded.url, CCXT_MCP_TOKEN=TOKEN, RUN_SECONDS="0.5")
    assert (code, out) == (75, ""), errors
    assert "within 0.5 s" in errors


async def test_the_cron_job_is_to_run_again_where_no_server_is() -> None:
    job = python("cron_job.py")
    code, _, errors = await run(*job, url="http://127.0.0.1:9", RUN_SECONDS="5")
    assert code == 75, errors
    assert "Traceback" not in errors


def servers(path: Path) -> dict[str, Any]:
    """The servers of a host's file, under either of the names that hosts look for."""
    read = json.loads(path.read_text())
    (found,) = [read[key] for key in ("mcpServers", "servers") if key in read]
    assert list(found) == ["ccxt"]
    server = found["ccxt"]
    assert isinstance(server, dict)
    return server


def test_there_is_a_file_for_every_host() -> None:
    names = {path.name.split(".")[0] for path in HOSTS}
    assert names == {"claude-desktop", "claude-code", "cursor", "vscode"}


async def test_the_command_line_in_the_hosts_files_starts_a_server(tmp_path: Path) -> None:
    """It is the same in all of them, so it is started once."""
    found = [servers(path) for path in HOSTS if ".stdio." in path.name]
    assert len(found) == 4
    assert {server.get("type", "stdio") for server in found} == {"stdio"}
    assert {server["command"] for server in found} == {"/path/to/ccxt-mcp"}
    ((*arguments, config),) = {tuple(server["args"]) for server in found}
    assert config == "/path/to/ccxt-mcp.toml"
    real = tmp_path / "ccxt-mcp.toml"
    real.write_text("exchange_keys_from_env = false\n")
    async with asyncio.timeout(30):
        process = await asyncio.create_subprocess_exec(
            *[sys.executable, "-m", "ccxt_mcp", *arguments, str(real)],
            stdin=PIPE,
            stdout=PIPE,
            stderr=PIPE,
            env={"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), "HOME": str(tmp_path)},
        )
        out, errors = await process.communicate(json.dumps(INITIALIZE).encode() + b"\n")
    assert process.returncode == 0, errors
    assert json.loads(out)["result"]["serverInfo"]["name"] == "ccxt-mcp"


@pytest.mark.parametrize(
    "path", [p for p in HOSTS if ".http." in p.name], ids=lambda p: str(p.name)
)
async def test_the_url_and_headers_in_a_hosts_file_are_accepted(path: Path, guarded: Stack) -> None:
    server = servers(path)
    assert server.get("type", "http") == "http"
    placeholder = re.compile(r"\$\{[^}]+\}")
    for token, status in ((TOKEN, 200), ("", 401)):
        filled = {name: placeholder.sub(token, value) for name, value in server["headers"].items()}
        # As HTTP clients send it: without the space at the end.
        headers = {name: value.strip() for name, value in filled.items()}
        url = server["url"].replace("http://127.0.0.1:3000", guarded.url)
        answer = await guarded.http.post(url, headers=headers, json=INITIALIZE)
        assert answer.status_code == status, answer.text


async def test_a_header_without_a_token_does_no_harm_where_the_server_has_none(
    stack: Stack,
) -> None:
    headers = {"Authorization": "Bearer"}
    answer = await stack.http.post(f"{stack.url}/mcp", headers=headers, json=INITIALIZE)
    assert answer.status_code == 200


def test_n8ns_nodes_are_joined_from_the_trigger_on() -> None:
    """What can be seen without n8n, which executes the file in `make test-n8n`."""
    workflow = json.loads((EXAMPLES / "n8n" / "workflow.json").read_text())
    names = [node["name"] for node in workflow["nodes"]]
    assert len(set(names)) == len(names)
    reached, left = {"Start"}, ["Start"]
    while left:
        for branch in workflow["connections"].get(left.pop(), {}).get("main", []):
            for step in branch:
                assert step["node"] in names
                if step["node"] not in reached:
                    reached.add(step["node"])
                    left.append(step["node"])
    assert reached == set(names)
    for used in re.findall(r"\$\('([^']+)'\)", json.dumps(workflow)):
        assert used in names


async def test_what_n8n_sends_is_answered_in_two_sessions(stack: Stack) -> None:
    """The calls in the file, sent as its HTTP Request node is to send them."""
    nodes = {
        node["name"]: node["parameters"]
        for node in json.loads((EXAMPLES / "n8n" / "workflow.json").read_text())["nodes"]
    }
    asked = json.loads(nodes["What to ask"]["jsonOutput"])
    request = nodes["Call ccxt-mcp"]
    assert request["url"].endswith("}}/mcp")
    assert "method: 'tools/call'" in request["jsonBody"]
    (header,) = request["headerParameters"]["parameters"]
    assert header["name"] == "Mcp-Session-Id"
    results = [
        await stack.call(each["tool"], each["arguments"], session=f"wf-x-{each['session']}")
        for each in asked["calls"]
    ]
    assert ["orders" in each["structuredContent"] for each in results] == [True, False]
    names = {each["sessionId"] for each in await stack.sessions()}
    assert {"wf-x-orders", "wf-x-balance"} <= names


def test_every_example_is_in_the_index_and_every_link_leads_somewhere() -> None:
    for index in (EXAMPLES / "README.md", ROOT / "docs" / "HOSTS.md"):
        for target in re.findall(r"\]\((?!https?:)([^)#]+)", index.read_text()):
            assert (index.parent / target).exists(), (index.name, target)
    text = (EXAMPLES / "README.md").read_text()
    kept = {"package-lock.json", "package.json", "tsconfig.json", "README.md"}
    generated = {"node_modules", "dist", "__pycache__"}
    for path in EXAMPLES.rglob("*.*"):
        if path.is_file() and path.name not in kept and not generated & set(path.parts):
            assert path.name in text, f"{path.name} is not in the index"


def test_the_stdio_block_of_the_guide_is_the_command() -> None:
    text = (ROOT / "docs" / "HOSTS.md").read_text()
    commands = re.findall(r"^claude mcp add .* -- (.*)$", text, re.M)
    assert [shlex.split(command)[1:] for command in commands] == [
        ["stdio", "--config", "/path/to/ccxt-mcp.toml"]
    ]
