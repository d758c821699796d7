"""What the doctor knows of this project's own requirements."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest

from ccxt_mcp.doctor import machine
from ccxt_mcp.doctor.report import Outcome
from ccxt_mcp.exchanges.catalog import catalog

PROJECT = tomllib.loads((Path(__file__).parents[3] / "pyproject.toml").read_text())["project"]


def test_the_tested_versions_are_those_that_the_project_requires() -> None:
    wanted = {line.split(">")[0].split("=")[0]: line for line in PROJECT["dependencies"]}
    for package, begins in machine.TESTED.items():
        exact = f"=={catalog().ccxt_version}"
        assert (exact if package == "ccxt" else f">={begins.rstrip('.')},<") in wanted[package]
    assert PROJECT["requires-python"] == ">=" + ".".join(map(str, machine._PYTHON))


def test_another_version_than_the_tested_one_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "version", lambda package: "0.1")
    findings = {each.subject: each for each in machine.check_versions()}
    assert findings["python"].outcome is Outcome.OK
    for package in machine.TESTED:
        assert findings[package].outcome is Outcome.FAILED
        assert "0.1 is installed" in findings[package].found
        assert "requirements.lock" in findings[package].remedy
