"""What is asked of which server, and where this project deviates and why.

Owns: the tables that a run is judged by. Refuses: judging (``results.py``).
"""

from dataclasses import dataclass

__all__ = ["DEVIATIONS", "MUST_SUCCEED", "PRODUCT", "REVISIONS", "Deviation"]

REVISIONS = ("2025-11-25", "2026-07-28")
"""The suite's requirement sets, one per protocol era."""

PRODUCT: dict[str, tuple[str, ...]] = {
    "2025-11-25": (
        "server-initialize",
        "ping",
        "completion-complete",
        "tools-list",
        "server-sse-multiple-streams",
        "resources-list",
        "prompts-list",
        "dns-rebinding-protection",
        "server-session-lifecycle",
    ),
    "2026-07-28": (
        "server-stateless",
        "completion-complete",
        "tools-list",
        "server-sse-multiple-streams",
        "resources-list",
        "sep-2164-resource-not-found",
        "prompts-list",
        "dns-rebinding-protection",
        "caching",
        "input-required-result-unsupported-methods",
        "http-header-validation",
    ),
}
"""Scenarios that call nothing by a name of the suite's own. Some others would pass as well, without
showing anything: the failure of an unknown tool is a text, too."""

MUST_SUCCEED: dict[str, tuple[str, ...]] = {
    "server-session-lifecycle": (
        "server-session-initialized-accepted",
        "server-session-delete-accepted",
        "server-session-terminated-returns-404",
    ),
    "server-sse-polling": (
        "server-sse-priming-event",
        "server-sse-retry-field",
        "server-sse-disconnect-resume",
    ),
}
"""Checks of scenarios that the suite also passes where it had nothing to check."""


@dataclass(frozen=True)
class Deviation:
    """A check that does not succeed, and why that is right.

    Args:
        server: ``fixture`` or ``product``.
        scenario: of the suite.
        check: its id.
        reason: shown in docs/CONFORMANCE.md.
    """

    server: str
    scenario: str
    check: str
    reason: str


_NO_DIAGNOSTIC_TOOL = (
    "The check calls a diagnostic tool `test_missing_capability`. No tool of the product needs a"
    " capability of its client, so there is nothing to refuse. The failure `unknown_tool`"
    " is a tool result here (docs/DECISIONS.md), which the suite takes for an execution. The"
    " fixture passes."
)

DEVIATIONS: tuple[Deviation, ...] = (
    Deviation(
        "product",
        "server-stateless",
        "sep-2575-server-rejects-undeclared-capability",
        _NO_DIAGNOSTIC_TOOL,
    ),
    Deviation(
        "product",
        "server-stateless",
        "sep-2575-missing-capability-http-400",
        _NO_DIAGNOSTIC_TOOL,
    ),
)
