"""What counts as a pass: the suite lets more through than this project does."""

import json
from pathlib import Path
from typing import Any

import pytest

from tests.conformance.expected import DEVIATIONS, MUST_SUCCEED, PRODUCT, REVISIONS, Deviation
from tests.conformance.results import Outcome, judge, read_outcomes, read_requirements
from tests.conformance.run import PAGE, document

REVISION = "2025-11-25"


def found(scenario: str, **statuses: str) -> dict[str, Outcome]:
    checks = tuple({"id": name.replace("_", "-"), "status": s} for name, s in statuses.items())
    return {scenario: Outcome("fixture", REVISION, scenario, checks)}


def problems(outcomes: dict[str, Outcome], *known: Deviation, asked: str = "ping") -> list[str]:
    return judge(outcomes, "fixture", REVISION, [asked], known)


def test_a_scenario_whose_own_checks_succeed_is_passed() -> None:
    assert problems(found("ping", ping="SUCCESS", wire_schema_valid="SUCCESS")) == []


@pytest.mark.parametrize("status", ["FAILURE", "WARNING"])
def test_a_check_that_does_not_succeed_is_a_problem_until_it_is_named(status: str) -> None:
    outcomes = found("ping", ping="SUCCESS", other=status)
    (problem,) = problems(outcomes)
    assert f"{status} other" in problem
    named = Deviation("fixture", "ping", "other", "a reason")
    assert problems(outcomes, named) == []
    for elsewhere in (
        Deviation("product", "ping", "other", "a reason"),
        Deviation("fixture", "tools-list", "other", "a reason"),
        Deviation("fixture", "ping", "another", "a reason"),
    ):
        assert problems(outcomes, elsewhere) == [problem]


@pytest.mark.parametrize("status", ["INFO", "SKIPPED"])
def test_a_scenario_that_checked_nothing_is_not_passed(status: str) -> None:
    """The suite passes it: `server-sse-polling` says INFO where the answer is no stream at all."""
    (problem,) = problems(found("ping", ping=status, wire_schema_valid="SUCCESS"))
    assert "no check of its own succeeded" in problem


def test_a_scenario_that_left_no_results_is_not_passed() -> None:
    (problem,) = problems({})
    assert "left no results" in problem


@pytest.mark.parametrize("scenario", MUST_SUCCEED)
def test_the_checks_that_a_scenario_is_about_must_have_succeeded(scenario: str) -> None:
    checks = {name.replace("-", "_"): "SUCCESS" for name in MUST_SUCCEED[scenario]}
    assert problems(found(scenario, **checks), asked=scenario) == []
    for left_out in checks:
        said = problems(found(scenario, **(checks | {left_out: "INFO"})), asked=scenario)
        assert [left_out.replace("_", "-") in each for each in said] == [True]


def test_results_and_requirements_are_read_from_the_suites_files(tmp_path: Path) -> None:
    checks: list[dict[str, Any]] = [{"id": "sse", "status": "INFO"}]
    place = tmp_path / "server-server-sse-polling-2026-11-21T16-14-45-113Z"
    place.mkdir()
    (place / "checks.json").write_text(json.dumps(checks))
    outcomes = read_outcomes(tmp_path, "fixture", REVISION)
    assert {name: list(each.checks) for name, each in outcomes.items()} == {
        "server-sse-polling": checks
    }
    file = tmp_path / "set.yaml"
    file.write_text(
        "# words\nserver:\n  - ping\n  - tools-list\n\nclient:\n  - initialize\n\nnot_scored:\n"
        "  - scenario: auth/x\n    leg: client\n    reason: extension\n"
        "  - scenario: tasks-lifecycle\n    leg: server\n    reason: extension\n    note: >-\n"
        "      words\n  - scenario: server-sse-polling\n    leg: server\n    reason: pending\n"
    )
    read = read_requirements(file)
    assert read.scored == ("ping", "tools-list")
    assert (read.beside, read.extensions) == (("server-sse-polling",), ("tasks-lifecycle",))
    file.write_text("client:\n  - initialize\n")
    with pytest.raises(ValueError, match="no server scenarios"):
        read_requirements(file)


def test_the_page_shows_a_run_with_nothing_failed_and_every_deviation_with_its_reason() -> None:
    """The run itself needs Node.js (`make conformance`); that its results are shown does not."""
    page = PAGE.read_text()
    assert document(page, "") != page
    assert "FAILED" not in page
    for revision in REVISIONS:
        assert f"### {revision}\n" in page
        shown = page.partition(f"### {revision}\n")[2].partition("### ")[0]
        for scenario in PRODUCT[revision]:
            (row,) = (line for line in shown.splitlines() if line.startswith(f"| `{scenario}`"))
            assert row.count(" passed") == 2, row
    for each in DEVIATIONS:
        row = f"| {each.server} | `{each.scenario}` | `{each.check}` | {each.reason} |"
        assert row in page
