"""The fuzz's cases as raw bytes over TCP: what a parser of HTTP meets before the application does.

Owns: writing a case as HTTP/1.1, right or damaged, in pieces, and reading what comes back. Refuses:
judging a case that arrived whole (``fuzz_checks.py`` does).
"""

from __future__ import annotations

import asyncio
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from hypothesis import strategies as st

from benchmarks.fuzz_cases import Case, cases
from benchmarks.fuzz_checks import Answer, leaks

if TYPE_CHECKING:
    from benchmarks.fuzz_world import World

__all__ = ["Sent", "send_raw", "sendings"]

_PATIENCE = 0.05
"""Seconds that a client waits which has sent something that need not be a whole request."""
_STATUS = re.compile(rb"HTTP/1\.[01] (\d{3}) ")
_LENGTHS = ("less", "more", "-1", "abc", "99999999999", "+5", "0x10", "1, 1", "twice")
_CODINGS = ("chunked", "chunked+length", "bad chunk", "gzip, chunked", "endless chunk", "identity")


@dataclass(frozen=True, slots=True)
class Sent:
    """One case and what is done to its bytes: ``how`` is empty where they are right."""

    case: Case
    how: str = ""
    at: int = 0
    byte: int = 0


_HOW = st.one_of(
    st.just(""),
    st.just("chunked"),
    st.sampled_from(("flip", "cut", "insert", "twice", "LF", "HTTP/1.0", "absolute", "folded")),
    st.sampled_from(_LENGTHS).map("length {}".format),
    st.sampled_from(_CODINGS).map("coding {}".format),
)
_SENT = st.builds(Sent, cases(), _HOW, st.integers(0, 600), st.integers(0, 255))
sendings = st.lists(_SENT, min_size=1, max_size=8)
"""What is sent at the same time, each over a connection of its own."""


def _written(sent: Sent, headers: list[tuple[bytes, bytes]]) -> bytes:
    case, how, body = sent.case, sent.how, sent.case.body
    version = b"HTTP/1.0" if how == "HTTP/1.0" else b"HTTP/1.1"
    path = case.path.encode()
    target = b"http://localhost" + path if how == "absolute" else path
    lines = [case.method.encode() + b" " + target + b" " + version]
    lines += [name + b": " + value for name, value in headers]
    coding = how.removeprefix("coding ") if how.startswith("coding ") else how
    if coding in ("chunked", *_CODINGS):
        size = b"zz" if coding == "bad chunk" else f"{len(body):x}".encode()
        wrapped = size + b"\r\n" + body + b"\r\n" if body else b""
        if coding not in ("identity",):
            end = b"" if coding == "endless chunk" else b"0\r\n\r\n"
            lines.append(b"transfer-encoding: " + coding.split("+")[0].encode())
            if coding in ("bad chunk", "endless chunk"):
                lines[-1] = b"transfer-encoding: chunked"
            if coding == "chunked+length":
                lines.append(f"content-length: {len(body)}".encode())
            body = wrapped + end
        else:
            lines.append(b"transfer-encoding: identity")
    else:
        length = how.removeprefix("length ") if how.startswith("length ") else str(len(body))
        length = {"less": str(len(body) // 2), "more": str(len(body) + 9)}.get(length, length)
        if length == "twice":
            lines.append(b"content-length: 1")
            length = str(len(body))
        lines.append(b"content-length: " + length.encode())
    if how == "folded":
        lines.append(b"x-folded: a\r\n b")
    ending = b"\n" if how == "LF" else b"\r\n"
    raw = ending.join(lines) + ending * 2 + body
    at = sent.at % max(1, len(raw))
    match how:
        case "flip":
            raw = raw[:at] + bytes((sent.byte,)) + raw[at + 1 :]
        case "insert":
            raw = raw[:at] + bytes((sent.byte,)) * 3 + raw[at:]
        case "cut":
            raw = raw[:at]
        case "twice":
            raw += raw
    return raw


async def send_raw(world: World, group: list[Sent]) -> list[str]:
    """Send a group at the same time; what was wrong with the answers."""
    answers = await asyncio.gather(*(_exchange(world, sent) for sent in group))
    whole = [
        (sent.case, answer)
        for sent, (answer, _) in zip(group, answers, strict=True)
        if answer is not None
    ]
    wrong = await world.judged([case for case, _ in whole], [answer for _, answer in whole])
    for sent, (_, raw) in zip(group, answers, strict=True):
        found = [
            f"status {s.decode()}" for s in _STATUS.findall(raw) if s[:1] == b"5" and s != b"503"
        ]
        found += leaks(raw.decode(errors="replace"), world.secrets)
        found += ["-32603 in the answer"] if b"-32603" in raw else []
        wrong += [f"{what}  <- {sent!r:.1500}" for what in found]
    return wrong


async def _exchange(world: World, sent: Sent) -> tuple[Answer | None, bytes]:
    """(the answer where one is owed, every byte that came back)."""
    assert world.address is not None
    headers = world.named(sent.case.headers)
    whole = sent.how in ("", "chunked") and not sent.case.early and sent.case.leaves is None
    whole = whole and _plain(headers, sent.case.path)
    raw = _written(sent, headers)
    if sent.case.early:
        raw = raw[:-1] if sent.case.body else raw[:-2]
    reader, writer = await asyncio.open_connection(*world.address)
    answer, seen = Answer(), bytearray()
    patience = 5.0 if whole else _PATIENCE if sent.case.leaves is None else sent.case.leaves
    try:
        async with asyncio.timeout(patience):
            step = max(1, -(-len(raw) // sent.case.pieces))
            for at in range(0, len(raw), step):
                writer.write(raw[at : at + step])
                await writer.drain()
                await asyncio.sleep(0)
            while not answer.complete and (piece := await reader.read(65_536)):
                seen += piece
                if whole and not sent.case.endless:
                    _read(bytes(seen), answer, head=sent.case.method == "HEAD")
                elif whole and b"\r\n\r\n" in seen:
                    # A stream, or an ordinary answer to what might have been one.
                    _read(bytes(seen), answer, head=False)
                    if b"text/event-stream" in seen:
                        answer.left = True
                        break
    except TimeoutError:
        answer.wrong += ["not done after 5 s"] if whole else []
    except OSError:
        # The server hangs up on what it cannot read, also while it is being sent.
        answer.left = True
    finally:
        writer.close()
    return (answer if whole else None), bytes(seen)


def _plain(headers: list[tuple[bytes, bytes]], path: str) -> bool:
    """Whether an HTTP server must take the request for what it is."""
    names = [name for name, _ in headers]
    return (
        all(value.isascii() and value == value.strip() for _, value in headers)
        and not {b"expect", b"content-encoding"} & set(names)
        and b"host" in names
        and path.startswith("/")
    )


def _read(seen: bytes, answer: Answer, *, head: bool) -> None:
    """Read an answer as far as it has come."""
    start, found, rest = seen.partition(b"\r\n\r\n")
    if not found:
        return
    first, *lines = start.split(b"\r\n")
    answer.status = int(first.split(b" ")[1])
    pairs = (line.decode("latin-1").partition(": ") for line in lines)
    answer.headers = {name.lower(): value for name, _, value in pairs}
    if answer.headers.get("transfer-encoding") == "chunked":
        body = bytearray()
        while rest:
            size, found, rest = rest.partition(b"\r\n")
            if not found:
                return
            length = int(size, 16)
            if len(rest) < length + 2:
                return
            if length == 0:
                answer.complete = True
                break
            body += rest[:length]
            rest = rest[length + 2 :]
        answer.body = body
    else:
        length = 0 if head or answer.status in (202, 204) else int(answer.headers["content-length"])
        answer.complete = len(rest) >= length
        answer.body = bytearray(rest)
