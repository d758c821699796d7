"""A short, seeded fuzz of the endpoint: what `make soak` sends by the hundred thousand."""

import sys

import pytest

from benchmarks.fuzz import Report, fuzz
from benchmarks.fuzz_cases import Case
from benchmarks.fuzz_checks import Answer, judge
from benchmarks.fuzz_values import PLANTED


@pytest.fixture(scope="module")
def report() -> Report:
    return fuzz(1_500, 3)


def test_nothing_that_a_client_can_send_breaks_the_server(report: Report) -> None:
    """In process: no 5xx, no exception, no hang, nothing internal, the id echoed, words in every
    error, no secret repeated, no error logged, and after each batch no task, lane, slot or stream
    left behind."""
    assert report.violations() == []


def test_the_cases_reach_the_rooms_behind_the_envelope(report: Report) -> None:
    """A fuzz of which all is refused at the door would find nothing behind it."""
    assert report.outcomes["tool ok"] > 15
    for reached in (
        *("ok", "left", "tool invalid_argument", "tool unknown_symbol", "rpc -32601", "rpc -32602"),
        *("status 202", "status 400", "status 403", "status 404", "status 405", "status 406"),
    ):
        assert report.outcomes[reached], f"{reached} of {report.outcomes}"


@pytest.mark.skipif(sys.platform == "win32", reason="a reset connection is another error there")
def test_nothing_that_a_socket_can_send_breaks_the_server() -> None:
    """As raw bytes: damaged requests, wrong lengths, odd codings, clients that stop half-way."""
    report = fuzz(150, 3, sockets=True)
    assert report.violations() == []
    assert report.outcomes["tool ok"] > 0


CALL = b'{"jsonrpc":"2.0","id":7,"method":"tools/call","params":{}}'
OK = b'{"jsonrpc":"2.0","id":7,"result":{"content":[]}}'


@pytest.mark.parametrize(
    ("status", "body", "word"),
    [
        (200, OK.replace(b"7", b"8"), "the id 8"),
        (200, OK.replace(b"7", b'"7"'), "the id '7'"),
        (200, OK[:-1], "without a JSON-RPC message"),
        (500, OK, "status 500"),
        (503, b'{"jsonrpc":"2.0","id":7,"error":{"code":-32600,"message":"no room"}}', "alone"),
        (200, b'{"jsonrpc":"2.0","id":7,"error":{"code":-32603,"message":"it broke"}}', "-32603"),
        (400, b'{"jsonrpc":"2.0","id":7,"error":{"code":-32600,"message":""}}', "no words"),
        (200, OK.replace(b"[]", f'"{PLANTED.lower()[:16]}"'.encode()), "repeats"),
        (200, OK.replace(b"[]", b'[],"isError":true'), "failure None"),
        (200, OK.replace(b"[]", b'"Traceback"'), "traceback"),
    ],
)
def test_the_judge_sees_what_it_is_there_for(status: int, body: bytes, word: str) -> None:
    case = Case("POST", "/mcp", (), CALL)
    headers = {"content-type": "application/json"}
    answer = Answer(status, headers, bytearray(body), complete=True)
    assert any(word in what for what in judge(case, answer, secrets=(), alone=True))
    good = Answer(200, headers, bytearray(OK), complete=True)
    assert judge(case, good, secrets=(), alone=True) == []
