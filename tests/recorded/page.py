"""The table of docs/EXCHANGES.md: ``python -m tests.recorded.page`` prints it."""

from __future__ import annotations

import re

from tests.recorded.asking import METHODS, TOOL, method_of, why_not
from tests.recorded.tape import EXCHANGES, Tape, tape_of

__all__ = ["kind_of", "table"]

_KINDS = {
    # The weakest first: a cell that has several is called by it.
    "comment": r"CCXT [0-9.]+ \(MIT\), ccxt/async_support/[a-z]+[.]py, "
    r"sample answer in the comments of [a-z0-9_]+",
    "documentation": r"https://[^ ]+(?: at [0-9a-f]{40}, [^ ]+)?, (?:the .* of )?(?:its|the) "
    r"example answer",
    "fixture": r"https://github[.]com/ccxt/ccxt at [0-9a-f]{40}, "
    r"ts/src/test/static/(?:response|markets|currencies)/[a-z]+[.]json \(MIT\)",
}
_TOOLS = {asked.question: tool for tool, asked in TOOL.items()}


def kind_of(source: str) -> str:
    """Of which kind a source is. Raises ``LookupError`` if its words are those of none."""
    for kind, words in _KINDS.items():
        if re.match(words, source):
            return kind
    raise LookupError(source)


def _cell(tape: Tape, question: str) -> str:
    why = why_not(tape, question)
    if why is not None:
        return "-" if why.startswith("not offered") else "missing"
    method = method_of(tape.exchange, question)
    assert method is not None
    names = {where.partition(":")[0] for where in tape.calls[method].says.values()}
    texts = [tape.sources[tape.source_of[name]] for name in names]
    words = min(map(kind_of, texts), key=list(_KINDS).index)
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
