"""What every answer of the endpoint owes its caller, whatever was sent: the fuzz's oracles.

Owns: the judgement of one answer, as a list of words that is empty when all is well. Refuses: to
know how the request was sent.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from benchmarks.fuzz_cases import Case
from benchmarks.fuzz_values import PLANTED
from ccxt_mcp.errors import Code

__all__ = ["Answer", "judge", "leaks", "outcome"]

_INTERNAL_ERROR = -32603
_CODES = {code.value for code in Code} - {Code.INTERNAL.value}
_WORDS = re.compile(r"\w+\W+\w+")
_UNSAID = object()


@dataclass(slots=True)
class Answer:
    """What came back. ``left``: the client hung up before it was complete."""

    status: int | None = None
    headers: dict[str, str] = field(default_factory=dict)
    body: bytearray = field(default_factory=bytearray)
    complete: bool = False
    left: bool = False
    wrong: list[str] = field(default_factory=list)


def judge(case: Case, answer: Answer, *, secrets: Iterable[str], alone: bool) -> list[str]:
    """What is wrong with an answer. ``alone``: nobody else was calling."""
    wrong = [*answer.wrong, *leaks(bytes(answer.body).decode(errors="replace"), secrets)]
    if b"Traceback" in answer.body:
        wrong.append("a traceback in the answer")
    if answer.status is not None and answer.status >= 500 and answer.status != 503:
        wrong.append(f"status {answer.status}")
    if answer.left:
        return wrong
    if answer.status is None or not answer.complete:
        return [*wrong, "no complete answer"]
    if case.method == "HEAD":
        return wrong
    length = answer.headers.get("content-length")
    if length is not None and int(length) != len(answer.body):
        wrong.append(f"content-length {length} of {len(answer.body)} bytes")
    if answer.status in (202, 204):
        if answer.body:
            wrong.append(f"a body with {answer.status}")
        return wrong
    if case.path.split("?")[0] not in ("/mcp", "/mcp/"):
        return wrong + _elsewhere(case, answer)
    try:
        messages = _messages_of(case, answer)
    except (ValueError, LookupError) as problem:
        return [*wrong, f"{answer.status} without a JSON-RPC message: {problem}"]
    decoded = _decoded(case)
    batch = isinstance(decoded, list)
    sent = [_id_of(each) for each in (decoded if batch else [decoded])]
    if len(messages) > max(1, len(sent)):
        wrong.append(f"{len(messages)} messages in answer to {len(sent)}")
    for message in messages:
        wrong += _rpc(sent, answer, message, batch=batch, alone=alone)
    return wrong


def leaks(text: str, secrets: Iterable[str]) -> list[str]:
    """Which of the secrets a text repeats, in whatever case, even if it was cut."""
    lowered = text.lower()
    return [f"repeats {s[:4]}…" for s in (PLANTED, *secrets) if s[:14].lower() in lowered]


def _elsewhere(case: Case, answer: Answer) -> list[str]:
    """Paths beside the endpoint: JSON where there is an error."""
    if answer.status == 503 or (answer.status or 0) >= 400:
        try:
            said = json.loads(answer.body)
        except ValueError:
            return [f"{answer.status} at {case.path[:40]} is not JSON"]
        text = (
            said["error"]["message"] if isinstance(said.get("error"), dict) else said.get("error")
        )
        if not isinstance(text, str) or not _WORDS.search(text):
            return [f"{answer.status} at {case.path[:40]} has no words"]
    return []


def _messages_of(case: Case, answer: Answer) -> list[dict[str, Any]]:
    """The JSON-RPC responses in an answer of the endpoint: one, as many as there are to a batch, or
    none in a stream that is no response."""
    kind = answer.headers.get("content-type", "").split(";")[0]
    text = bytes(answer.body).decode()
    batch = isinstance(_decoded(case), list)
    if kind == "text/event-stream":
        found = [json.loads(line[6:]) for line in text.splitlines() if line.startswith("data: {")]
        messages = [each for each in found if "method" not in each] if batch else found[-1:]
    elif kind == "application/json":
        said = json.loads(text)
        messages = said if batch and isinstance(said, list) and said else [said]
    else:
        raise ValueError(f"content-type {kind!r}, body {text[:60]!r}")
    for message in messages:
        if not isinstance(message, dict) or message.get("jsonrpc") != "2.0":
            raise ValueError(f"{text[:80]!r}")
    return messages


def _decoded(case: Case) -> Any:
    try:
        return json.loads(case.body)
    except (ValueError, RecursionError):
        return None


def _id_of(sent: Any) -> Any:
    """The id that an answer owes its caller, where what was sent has one."""
    said = sent.get("id", _UNSAID) if isinstance(sent, dict) else _UNSAID
    return said if isinstance(said, str | int) and not isinstance(said, bool) else _UNSAID


def _rpc(
    sent: list[Any], answer: Answer, message: dict[str, Any], *, batch: bool, alone: bool
) -> list[str]:
    wrong = []
    told = message.get("id")
    same = any(type(each) is type(told) and each == told for each in sent)
    served = answer.status == 200
    # What stands in a batch and is no message has no id, and is told so in the midst of the others.
    if not same and (told is not None or (served and not batch)):
        wrong.append(f"the id {told!r:.60} where {sent!r:.60} was sent")
    error = message.get("error")
    if error is None:
        if not served:
            wrong.append(f"{answer.status} without an error")
        result = message.get("result")
        if not isinstance(result, dict):
            return [*wrong, "neither a result nor an error"]
        if result.get("isError"):
            code = _failure_of(result)
            if code not in _CODES:
                wrong.append(f"failure {code!r}: {result.get('content')!r:.300}")
        return wrong
    code, words = error.get("code"), error.get("message")
    if not isinstance(code, int) or code == _INTERNAL_ERROR:
        wrong.append(f"JSON-RPC code {code}: {words!r:.200}")
    if not isinstance(words, str) or not _WORDS.search(words):
        wrong.append(f"no words in the error: {words!r:.100}")
    if answer.status == 503:
        failure = (error.get("data") or {}).get("code")
        if alone:
            wrong.append("503 for a client that is alone")
        if failure != Code.OVERLOADED.value or "retry-after" not in answer.headers:
            wrong.append(f"503 with failure {failure!r}, retry-after missing or not")
    return wrong


def outcome(case: Case, answer: Answer) -> str:
    """A few words for the table of what a run has reached."""
    if answer.left or not answer.complete:
        return "left"
    if case.path.split("?")[0] not in ("/mcp", "/mcp/"):
        return f"elsewhere {answer.status}"
    if answer.status != 200:
        return f"status {answer.status}"
    try:
        messages = _messages_of(case, answer)
    except (ValueError, LookupError):
        return "unreadable"
    if not messages:
        return "stream"
    if len(messages) > 1:
        return "batch"
    [message] = messages
    if "error" in message:
        return f"rpc {message['error'].get('code')}"
    result = message["result"]
    if result.get("isError"):
        return f"tool {_failure_of(result)}"
    return "tool ok" if "structuredContent" in result else "ok"


def _failure_of(result: dict[str, Any]) -> Any:
    """The failure code of a tool result."""
    meta = result.get("_meta")
    failure = meta.get("ccxt-mcp/failure") if isinstance(meta, dict) else None
    return failure.get("code") if isinstance(failure, dict) else None
