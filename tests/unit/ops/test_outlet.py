"""Log lines to a descriptor that nobody reads for a while, or ever again."""

import logging
import os
import re
import threading
from collections.abc import Iterator
from contextlib import suppress

import pytest

from ccxt_mcp.ops.logs import configure_logging
from ccxt_mcp.ops.outlet import Outlet
from ccxt_mcp.redaction import Redactor

LINE = b"x" * 999 + b"\n"


class Pipe:
    def __init__(self) -> None:
        self.end, self.begin = os.pipe()

    def lines(self, until: bytes) -> list[bytes]:
        with os.fdopen(os.dup(self.end), "rb") as file:
            found = []
            for line in file:
                found.append(line)
                if line == until:
                    return found
        return found

    def close(self) -> None:
        for descriptor in (self.end, self.begin):
            with suppress(OSError):
                os.close(descriptor)


@pytest.fixture
def pipe() -> Iterator[Pipe]:
    made = Pipe()
    yield made
    made.close()


def bounded(work: object) -> bool:
    """Whether it returns; in a daemon, or a write that waits would hold the tests for ever."""
    assert callable(work)
    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    thread.join(10)
    return not thread.is_alive()


def test_what_is_read_arrives_whole_and_in_order(pipe: Pipe) -> None:
    outlet = Outlet(pipe.begin)
    sent = [b"%d %s" % (number, LINE) for number in range(500)]
    for line in sent:
        outlet.write(line)
    outlet.write(b"end\n")
    assert pipe.lines(b"end\n") == [*sent, b"end\n"]
    assert outlet.drain(10)


def test_a_line_longer_than_the_pipe_holds_arrives_whole(pipe: Pipe) -> None:
    outlet = Outlet(pipe.begin)
    long = b"y" * 3_000_000 + b"\n"
    found: list[bytes] = []
    reading = threading.Thread(target=lambda: found.extend(pipe.lines(long)), daemon=True)
    reading.start()
    outlet.write(long)
    reading.join(10)
    assert found == [long]


def test_lines_that_nobody_reads_are_dropped_and_counted_where_they_are_missing(
    pipe: Pipe,
) -> None:
    """A plain write waits for the reader, in the event loop: then nothing is served any more."""
    outlet = Outlet(pipe.begin)
    sent = 3000

    def write() -> None:
        for _ in range(sent):
            outlet.write(LINE)

    assert bounded(write)
    assert not outlet.drain(0)
    found: list[bytes] = []
    reading = threading.Thread(target=lambda: found.extend(pipe.lines(b"end\n")), daemon=True)
    reading.start()
    assert outlet.drain(10)
    outlet.write(b"end\n")
    reading.join(10)
    assert found[-1] == b"end\n"
    assert found[-2] != LINE, "it is said at the place"
    arrived = found.count(LINE)
    told = [re.fullmatch(rb"(\d+) log lines are missing.*\n", line) for line in found[:-1]]
    assert arrived + sum(int(match[1]) for match in told if match) == sent
    assert 1000 < arrived < sent


def test_a_reader_that_is_gone_costs_the_lines_and_nothing_else(pipe: Pipe) -> None:
    outlet = Outlet(pipe.begin)
    os.close(pipe.end)
    outlet.write(LINE)
    assert outlet.drain(10)


def test_a_descriptor_that_somebody_made_non_blocking_loses_no_line(pipe: Pipe) -> None:
    os.set_blocking(pipe.begin, False)
    outlet = Outlet(pipe.begin)
    for _ in range(500):
        outlet.write(LINE)
    outlet.write(b"end\n")
    assert pipe.lines(b"end\n") == [LINE] * 500 + [b"end\n"]


def test_logging_does_not_wait_for_who_reads_the_log(
    pipe: Pipe, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`serve` under a supervisor that stops reading: every call writes a line."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    with os.fdopen(os.dup(pipe.begin), "w") as stream:
        monkeypatch.setattr("sys.stderr", stream)
        configure_logging("info", "text", Redactor())
        made = root.handlers[:]
        try:
            log = logging.getLogger("ccxt_mcp.test")

            def calls() -> None:
                for _ in range(200):
                    log.info("call %s", "x" * 1000)

            assert bounded(calls)
        finally:
            root.handlers[:] = handlers
            root.setLevel(level)
            os.close(pipe.end)
            for handler in made:
                handler.close()
