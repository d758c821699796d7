"""The table of docs/EXCHANGES.md: ``python -m tests.recorded.page`` prints it."""

from __future__ import annotations

from tests.recorded.asking import METHODS, TOOL, method_of, why_not
from tests.recorded.tape import EXCHANGES, Tape, tape_of

__all__ = ["table"]

_FIXTURE = "github.com/ccxt/ccxt at "
_TOOLS = {asked.question: tool for tool, asked in TOOL.items()}


def _cell(tape: Tape, question: str) -> str:
    why = why_not(tape, question)
    if why is not None:
        return "-" if why.startswith("not offered") else "missing"
    method = method_of(tape.exchange, question)
    assert method is not None
    names = {where.partition(":")[0] for where in tape.calls[method].says.values()}
    texts = [tape.sources[tape.source_of[name]] for name in names]
    words = "fixture" if any(_FIXTURE in text for text in texts) else "documentation"
    return f"{words}, adapted" if any("; adapted: " in text for text in texts) else words


def table() -> list[str]:
    """The lines of the table, and of what is missing."""
    tapes = [tape_of(exchange) for exchange in EXCHANGES]
    lines = ["| | " + " | ".join(EXCHANGES) + " |", "|---" * (len(EXCHANGES) + 1) + "|"]
    for question in METHODS:
        tool = f"`{_TOOLS[question]}`: " if question in _TOOLS else ""
        head = question if question == "past orders" else f"`{question}`"
        lines.append(
            f"| {tool}{head} | " + " | ".join(_cell(each, question) for each in tapes) + " |"
        )
    missing = [(tape, method, why) for tape in tapes for method, why in tape.missing.items()]
    lines += [
        "",
        *(f"- Missing: {tape.exchange} `{method}`: {why}." for tape, method, why in missing),
    ]
    return lines


if __name__ == "__main__":
    print("\n".join(table()))
