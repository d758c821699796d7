"""What Prometheus and Kubernetes themselves say of deploy/, where their tools are installed."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

pytestmark = pytest.mark.cluster

DEPLOY = Path(__file__).parents[2] / "deploy"

NEEDS_PROMTOOL = pytest.mark.skipif(
    shutil.which("promtool") is None, reason="promtool is not installed (it comes with prometheus)"
)
NEEDS_KUBECTL = pytest.mark.skipif(
    shutil.which("kubectl") is None, reason="kubectl is not installed"
)


def said(*command: str, folder: Path) -> str:
    """What a program says that succeeds."""
    done = subprocess.run(
        command, cwd=folder, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@NEEDS_PROMTOOL
def test_prometheus_accepts_the_configuration_and_the_rules() -> None:
    place = DEPLOY / "prometheus"
    said("promtool", "check", "config", "--syntax-only", "prometheus.yml", folder=place)
    assert "22 rules found" in said("promtool", "check", "rules", "alerts.yml", folder=place)


@NEEDS_PROMTOOL
def test_each_alert_fires_when_it_should_and_only_then() -> None:
    assert "SUCCESS" in said(
        "promtool", "test", "rules", "alerts.test.yml", folder=DEPLOY / "prometheus"
    )


@NEEDS_KUBECTL
@pytest.mark.parametrize("overlay", ["base", "gateway", "example"])
def test_kustomize_makes_manifests(overlay: str) -> None:
    """What refers to one another does so by the names that come out."""
    text = said("kubectl", "kustomize", overlay, folder=DEPLOY / "kubernetes")
    documents = {each["kind"]: each for each in yaml.safe_load_all(text)}
    if overlay == "gateway":
        assert documents.keys() == {"HTTPRoute"}
        return
    pod = documents["Deployment"]["spec"]["template"]
    volumes = {volume["name"]: volume for volume in pod["spec"]["volumes"]}
    assert volumes["config"]["configMap"]["name"] == documents["ConfigMap"]["metadata"]["name"]
    for selector in (
        documents["Service"]["spec"]["selector"],
        documents["Deployment"]["spec"]["selector"]["matchLabels"],
        documents["PodDisruptionBudget"]["spec"]["selector"]["matchLabels"],
        documents["NetworkPolicy"]["spec"]["podSelector"]["matchLabels"],
    ):
        assert selector
        assert selector.items() <= pod["metadata"]["labels"].items()
    monitored = documents["ServiceMonitor"]["spec"]["selector"]["matchLabels"]
    assert monitored.items() <= documents["Service"]["metadata"]["labels"].items()
    scaled = documents["HorizontalPodAutoscaler"]["spec"]["scaleTargetRef"]
    assert scaled["name"] == documents["Deployment"]["metadata"]["name"]
    assert "replicas" not in documents["Deployment"]["spec"]
    assert {each["metadata"].get("namespace") for each in documents.values()} == {"ccxt-mcp"}
