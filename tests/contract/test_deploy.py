"""deploy/ and the server are the same thing: metrics, settings, paths, bounds and words.

What a tool of the operator's checks (nginx, promtool, kubectl) is in ``tests/cluster``.
"""

from __future__ import annotations

import json
import re
import shutil
import stat
import subprocess
import tomllib
from collections.abc import Iterator
from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families

from ccxt_mcp.app import create_app
from ccxt_mcp.callers import Tokens
from ccxt_mcp.cluster.cluster import Cluster
from ccxt_mcp.errors import Code, ConfigurationError, Failure
from ccxt_mcp.model import Toolset
from ccxt_mcp.serving import _GRACE, _HANG_UP
from ccxt_mcp.settings import Settings, load_settings
from ccxt_mcp.store.memory import MemoryStore
from ccxt_mcp.telemetry import OK, Step
from ccxt_mcp.tools.server import TOOLS
from tests.e2e.conftest import running_stack
from tests.unit.transport.toy import Toy, running

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"
ALERTS = DEPLOY / "prometheus" / "alerts.yml"
DASHBOARD = DEPLOY / "grafana" / "ccxt-mcp.json"
COMPOSE = DEPLOY / "compose" / "compose.yaml"
SCALING = ROOT / "docs" / "SCALING.md"

METRIC = re.compile(r"\b(?:ccxt_mcp|process)_[a-z_]+[a-z]\b")
SELECTOR = re.compile(r"\b((?:ccxt_mcp|process)_[a-z_]+)\{([^}]*)\}")
MATCHER = re.compile(r'([a-z_]+)(=~|!=|!~|=)"([^"]*)"')
OF_PROMETHEUS = {"job", "instance", "le", "pod", "namespace"}


async def away() -> None:
    raise Failure(Code.STORE_UNAVAILABLE, "the store of this test is away")


async def series() -> dict[str, set[str]]:
    """What a server with a common store shows: sample → labels."""
    async with running_stack() as stack:
        await stack.call("get_ticker", {"symbol": "BTC/USDT"})
        await stack.call("get_open_orders")
        await stack.http.post(f"{stack.url}/mcp", json={})
        texts = [(await stack.http.get(f"{stack.url}/metrics")).text]
    store = MemoryStore()
    app = create_app(Settings(), Toy().server(), cluster=(cluster := Cluster(store)))
    async with running(app) as client:
        store.trouble = away
        with pytest.raises(Failure):
            await cluster.store.ping()
        texts.append((await client.get("/metrics")).text)
        store.trouble = None
    found: dict[str, set[str]] = {}
    for text in texts:
        for family in text_string_to_metric_families(text):
            for sample in family.samples:
                found.setdefault(sample.name, set()).update(sample.labels)
            # As words name a histogram.
            found.setdefault(family.name, set())
    return found


def expressions() -> Iterator[str]:
    for group in yaml.safe_load(ALERTS.read_text())["groups"]:
        yield from (rule["expr"] for rule in group["rules"])
    for panel in json.loads(DASHBOARD.read_text())["panels"]:
        yield from (target["expr"] for target in panel.get("targets", ()))


async def test_alerts_dashboard_and_autoscaler_ask_for_what_a_server_shows() -> None:
    """Every metric that they name, every label, and every outcome and step. A metric that is not
    there is no error to Prometheus: the alert never fires, the panel stays empty."""
    shown = await series()
    files = [ALERTS, DASHBOARD, SCALING, *(DEPLOY / "kubernetes").rglob("*.yaml")]
    named = {name for file in files for name in METRIC.findall(file.read_text())}
    assert named - set(shown) == set()
    assert len(named) > 30
    for expression in expressions():
        for name, selector in SELECTOR.findall(expression):
            for label, _, value in MATCHER.findall(selector):
                assert label in shown[name] | OF_PROMETHEUS, expression
                if label == "outcome":
                    assert value in {OK, *Code}, expression
                if label == "step":
                    assert value in set(Step), expression


def test_every_alert_is_shown_to_fire_and_not_to_fire() -> None:
    """`promtool test rules` runs them (tests/cluster); here: none was forgotten."""
    rules = yaml.safe_load(ALERTS.read_text())["groups"]
    alerts = {rule["alert"] for group in rules for rule in group["rules"]}
    tests = yaml.safe_load((DEPLOY / "prometheus" / "alerts.test.yml").read_text())["tests"]
    cases = [case for test in tests for case in test["alert_rule_test"]]
    assert {case["alertname"] for case in cases if case["exp_alerts"]} == alerts
    assert {case["alertname"] for case in cases if not case["exp_alerts"]} == alerts


def test_alerts_that_know_a_number_of_the_servers_know_the_right_one() -> None:
    assert f"1.5 * {Settings().market_max_age:.0f}" in ALERTS.read_text()
    assert yaml.safe_load(COMPOSE.read_text())["x-replica"]["deploy"]["resources"]["limits"] == {
        "cpus": "0.5",
        "memory": "512M",
    }


def test_nginx_has_the_servers_bounds() -> None:
    """What is refused at the door is what would be refused behind it."""
    text = (DEPLOY / "nginx" / "ccxt-mcp.conf").read_text()
    settings = Settings()
    assert settings.max_body_bytes == 1024 * 1024
    assert "client_max_body_size 1m;" in text
    assert f"client_header_timeout {settings.header_timeout:.0f}s;" in text
    assert f"client_body_timeout {settings.body_timeout:.0f}s;" in text
    assert f"send_timeout {settings.write_timeout:.0f}s;" in text
    (read,) = re.findall(r"proxy_read_timeout (\d+)s;", text)
    assert int(read) > settings.lane_wait_max + settings.tool_timeout
    assert re.findall(r"^\s*proxy_next_upstream (.*);", text, re.MULTILINE) == ["error timeout"]


def test_the_pool_for_market_data_gets_the_tools_of_that_set() -> None:
    """Of the other set, its replicas would refuse a call as unknown."""
    market = [tool.name for tool in TOOLS if tool.toolset is Toolset.MARKET]
    nginx = (DEPLOY / "nginx" / "ccxt-mcp.conf").read_text()
    assert re.findall(r"#(\w+) ccxt_mcp_market;", nginx) == market
    route = (DEPLOY / "kubernetes" / "gateway" / "route.yaml").read_text()
    (names,) = re.findall(r'name: Mcp-Name, value: "([^"]*)"', route)
    assert names.split("|") == market


def compose() -> dict[str, Any]:
    found = yaml.safe_load(COMPOSE.read_text())
    assert isinstance(found, dict)
    return found


def test_compose_follows_its_specification() -> None:
    schema = json.loads((ROOT / "tests/fixtures/compose/compose-spec.json").read_text())
    jsonschema.Draft7Validator(schema).validate(compose())


def test_compose_names_only_files_that_are_there_and_bounds_every_service() -> None:
    document = compose()
    for name, service in document["services"].items():
        assert service["deploy"]["resources"]["limits"].keys() == {"cpus", "memory"}, name
        assert "healthcheck" in service, name
        assert "no-new-privileges:true" in service["security_opt"], name
        for published in service.get("ports", ()):
            assert published.startswith("127.0.0.1:"), name
        for volume in service.get("volumes", ()):
            source = volume.partition(":")[0]
            if source.startswith("."):
                assert (COMPOSE.parent / source).exists(), volume
            else:
                assert source in document["volumes"], volume
        assert set(service.get("secrets", ())) <= document["secrets"].keys(), name
    for config in document["configs"].values():
        assert (COMPOSE.parent / config["file"]).is_file()
    replicas = [name for name in document["services"] if name.startswith("ccxt-mcp-")]
    listed = re.findall(
        r"^    server ([\w-]+):3000", (DEPLOY / "nginx/replicas.conf").read_text(), re.M
    )
    scraped = yaml.safe_load((DEPLOY / "prometheus/prometheus.yml").read_text())
    (job,) = scraped["scrape_configs"]
    assert listed == replicas
    assert job["static_configs"][0]["targets"] == [f"{name}:3000" for name in replicas]


def test_replicas_keep_the_addresses_that_nginx_looked_up_once() -> None:
    """nginx resolves the names of ``replicas.conf`` at its start and never again: without addresses
    of their own, replicas that are made anew may get each other's, or others."""
    document = compose()
    (network,) = document["networks"]["front"]["ipam"]["config"]
    fixed = [
        service["networks"]["front"]["ipv4_address"]
        for name, service in document["services"].items()
        if name.startswith("ccxt-mcp-") or name == "nginx"
    ]
    assert len(set(fixed)) == 3
    assert all(ip_address(each) in ip_network(network["subnet"]) for each in fixed)


def test_compose_is_refused_without_secrets() -> None:
    """Each of them comes by a variable that has to be set; `secrets.sh` sets it."""
    for name, secret in compose()["secrets"].items():
        assert secret["file"].startswith("${CCXT_MCP_SECRETS:?"), name
        assert secret["file"].endswith(f"}}/{name}"), name


def secrets_made(place: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["sh", str(place / "secrets.sh")], capture_output=True, text=True, timeout=30, check=True
    )


def test_secrets_are_made_once_and_shown_to_nobody(tmp_path: Path) -> None:
    for name in ("secrets.sh", "valkey.conf"):
        shutil.copy(COMPOSE.parent / name, tmp_path / name)
    first = secrets_made(tmp_path)
    made = {file.name: file.read_text() for file in (tmp_path / "secrets").iterdir()}
    assert made.keys() == compose()["secrets"].keys()
    assert secrets_made(tmp_path).stdout == ""
    assert made == {file.name: file.read_text() for file in (tmp_path / "secrets").iterdir()}
    assert stat.S_IMODE((tmp_path / "secrets").stat().st_mode) == 0o700
    (password,) = re.findall(r"^requirepass (\w{64})$", made["valkey_conf"], re.MULTILINE)
    assert made["store_url"] == f"redis://:{password}@valkey:6379/0\n"
    assert len({password, *(made[name] for name in ("client_token", "ops_token"))}) == 3
    for secret in (password, made["client_token"].strip()):
        assert secret not in first.stdout + first.stderr
    assert (tmp_path / ".env").read_text() == f"CCXT_MCP_SECRETS={tmp_path / 'secrets'}\n"


CONFIGURATIONS = [
    DEPLOY / "compose" / "ccxt-mcp.toml",
    DEPLOY / "kubernetes" / "base" / "ccxt-mcp.toml",
    DEPLOY / "kubernetes" / "example" / "ccxt-mcp.toml",
]


@pytest.mark.parametrize("file", CONFIGURATIONS, ids=lambda each: each.parent.name)
def test_the_shipped_settings_are_settings_and_want_tokens(file: Path, tmp_path: Path) -> None:
    """As they are, and with the account that they show switched on."""
    text = file.read_text()
    for words in (text, re.sub(r"(?m)^#(?=\[accounts|exchange|api_key|secret)", "", text)):
        copy = tmp_path / "ccxt-mcp.toml"
        copy.write_text(re.sub(r"/run/secrets(/ccxt-mcp)?", str(tmp_path), words))
        settings = load_settings(copy, environ={})
        assert settings.host == "0.0.0.0"
        with pytest.raises(ConfigurationError, match="client_token cannot be read"):
            Tokens.from_settings(settings, {})
    assert settings.accounts.keys() == {"main"}
    for name in ("client_token", "ops_token"):
        (tmp_path / name).write_text(f"a-token-of-this-test-{name}\n")
    scopes = {each.name: each.scopes for each in Tokens.from_settings(settings, {}).principals}
    assert {name: set(each) for name, each in scopes.items()} == {
        "workflows": {"read"},
        "prometheus": {"ops"},
    }


def manifest(name: str) -> dict[str, Any]:
    found = yaml.safe_load((DEPLOY / "kubernetes" / "base" / f"{name}.yaml").read_text())
    assert isinstance(found, dict)
    return found


def test_a_pod_has_the_time_that_the_server_needs_to_end() -> None:
    pod = manifest("deployment")["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    command, seconds = container["lifecycle"]["preStop"]["exec"]["command"]
    assert command == "sleep"
    assert pod["terminationGracePeriodSeconds"] >= int(seconds) + _GRACE + 2 * _HANG_UP + 5
    assert (
        int(compose()["x-replica"]["stop_grace_period"].removesuffix("s"))
        >= _GRACE + 2 * _HANG_UP + 5
    )
    # Endpoints are withdrawn by the probe before the replica drains, not only by the signal.
    ready = container["readinessProbe"]
    assert (
        int(seconds) > ready["periodSeconds"] * ready["failureThreshold"] + ready["timeoutSeconds"]
    )


def test_a_pod_runs_without_privileges_and_within_the_bounds_to_begin_with() -> None:
    pod = manifest("deployment")["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    (user,) = re.findall(r"^USER (\d+)$", (ROOT / "Dockerfile").read_text(), re.MULTILINE)
    assert pod["securityContext"]["runAsUser"] == int(user)
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["automountServiceAccountToken"] is False
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    limits = container["resources"]["limits"]
    assert (limits["cpu"], limits["memory"]) == ("500m", "512Mi")
    mounted = {mount["name"]: mount["mountPath"] for mount in container["volumeMounts"]}
    assert mounted.keys() == {volume["name"] for volume in pod["volumes"]}
    settings = tomllib.loads(CONFIGURATIONS[1].read_text())
    assert settings["data_dir"] == mounted["data"]
    assert settings["store_url"].startswith(f"file:{mounted['secrets']}/")
    variables = {each["name"]: each.get("value") for each in container["env"]}
    assert variables["CCXT_MCP_CONFIG"] == f"{mounted['config']}/ccxt-mcp.toml"
    # What else is given is a setting, too.
    for name in variables.keys() - {"CCXT_MCP_CONFIG", "POD_IP"}:
        assert name.removeprefix("CCXT_MCP_").lower() in Settings.model_fields
    probes = ("startupProbe", "readinessProbe", "livenessProbe")
    asked = [container[probe]["httpGet"]["path"] for probe in probes]
    assert asked == ["/live", "/ready", "/live"]


def test_no_secret_is_in_deploy() -> None:
    for file in DEPLOY.rglob("*.yaml"):
        for document in yaml.safe_load_all(file.read_text()):
            assert document.get("kind") != "Secret", file
