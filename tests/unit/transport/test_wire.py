"""Reading one message: what is refused, with which status and which words."""

import pytest
from starlette.types import Message as AsgiMessage
from starlette.types import Receive

from ccxt_mcp.transport.refusal import Refusal
from ccxt_mcp.transport.wire import (
    ClientGone,
    Message,
    accepts,
    check_content_type,
    parse,
    read_body,
    reads_streams,
)


def feed(*messages: AsgiMessage) -> Receive:
    queue = list(messages)

    async def receive() -> AsgiMessage:
        return queue.pop(0)

    return receive


@pytest.mark.parametrize(
    ("body", "word"),
    [
        (b"", "empty"),
        (b"{", "not valid JSON"),
        (b"\xff\xfe", "not valid JSON"),
        (b"[" * 100_000, "not valid JSON"),
        (b'{"a":' * 5_000 + b"1" + b"}" * 5_000, "not valid JSON"),
        (b"7", "object"),
        (b"null", "object"),
        (b'"x"', "object"),
        (b'{"id":1,"method":"ping"}', "jsonrpc"),
        (b'{"jsonrpc":"1.0","id":1,"method":"ping"}', "jsonrpc"),
        (b'{"jsonrpc":"2.0","id":1}', "method"),
        (b'{"jsonrpc":"2.0","id":1,"method":7}', "method"),
        (b'{"jsonrpc":"2.0","id":null,"method":"ping"}', "`id`"),
        (b'{"jsonrpc":"2.0","id":true,"method":"ping"}', "`id`"),
        (b'{"jsonrpc":"2.0","id":1.5,"method":"ping"}', "`id`"),
        (b'{"jsonrpc":"2.0","id":{},"method":"ping"}', "`id`"),
        (b'{"jsonrpc":"2.0","id":1,"method":"ping","params":[1]}', "params"),
        (b'{"jsonrpc":"2.0","method":"tools/call","params":{"name":"get_ticker"}}', "`id`"),
    ],
)
def test_a_malformed_message_is_refused_in_words_that_name_it(body: bytes, word: str) -> None:
    with pytest.raises(Refusal) as refused:
        parse(body)
    assert refused.value.status == 400
    assert word in refused.value.message


def test_a_handshake_is_short_since_its_session_keeps_it() -> None:
    """Sessions within all bounds could once hold a body of 1 MiB each."""
    padding = b'"' + b"x" * 20_000 + b'"'
    with pytest.raises(Refusal, match="initialize") as refused:
        parse(b'{"jsonrpc":"2.0","id":1,"method":"initialize","params":{"x":' + padding + b"}}")
    assert refused.value.status == 413
    assert refused.value.request_id == 1


def test_the_id_of_a_refused_request_is_repeated_where_it_could_be_read() -> None:
    with pytest.raises(Refusal) as refused:
        parse(b'{"jsonrpc":"2.0","id":"abc","method":"ping","params":1}')
    assert refused.value.body()["id"] == "abc"


def test_a_notification_needs_no_id_and_a_response_needs_no_method() -> None:
    note = parse(b'{"jsonrpc":"2.0","method":"notifications/initialized"}')
    assert isinstance(note, Message)
    assert not note.is_request
    answer = parse(b'{"jsonrpc":"2.0","id":4,"result":{}}')
    assert isinstance(answer, Message)
    assert answer.method is None


def test_an_array_is_handed_on_unread() -> None:
    assert parse(b'[1, {"jsonrpc": "2.0"}]') == [1, {"jsonrpc": "2.0"}]


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        (None, (True, True)),
        (b"", (True, True)),
        (b"*/*", (True, True)),
        (b"application/json", (True, False)),
        (b"application/json;q=0.9, text/event-stream", (True, True)),
        (b"text/event-stream", (False, True)),
        (b"application/json;q=0", (False, False)),
        (b"application/json; q=0.000, text/event-stream;q=0.001", (False, True)),
        (b"text/html", (False, False)),
        (b"APPLICATION/JSON", (True, False)),
    ],
)
def test_accept_headers_are_read_as_http_has_them(
    header: bytes | None, expected: tuple[bool, bool]
) -> None:
    assert accepts(header) == expected


@pytest.mark.parametrize("value", [None, b"", b"text/plain", b"application/x-www-form-urlencoded"])
def test_only_json_bodies_are_taken(value: bytes | None) -> None:
    with pytest.raises(Refusal) as refused:
        check_content_type(value)
    assert refused.value.status == 415


@pytest.mark.parametrize("declared", [b"11", b"9" * 30])
async def test_a_body_declared_too_large_is_refused_before_it_is_read(declared: bytes) -> None:
    with pytest.raises(Refusal) as refused:
        await read_body(feed(), declared, 10)
    assert refused.value.status == 413


async def test_a_body_that_grows_too_large_is_refused_when_it_does() -> None:
    chunk: AsgiMessage = {"type": "http.request", "body": b"123456", "more_body": True}
    with pytest.raises(Refusal) as refused:
        await read_body(feed(chunk, chunk), None, 10)
    assert refused.value.status == 413


async def test_a_client_that_leaves_while_sending_is_not_answered() -> None:
    chunk: AsgiMessage = {"type": "http.request", "body": b"1", "more_body": True}
    with pytest.raises(ClientGone):
        await read_body(feed(chunk, {"type": "http.disconnect"}), None, 10)
    with pytest.raises(ClientGone):
        await read_body(feed({"type": "http.disconnect"}), None, 10)


async def test_a_body_in_pieces_is_put_together() -> None:
    first: AsgiMessage = {"type": "http.request", "body": b"12", "more_body": True}
    last: AsgiMessage = {"type": "http.request", "body": b"34", "more_body": False}
    assert await read_body(feed(first, last), b"4", 10) == b"1234"


@pytest.mark.parametrize(
    ("header", "reads"),
    [
        (None, False),
        (b"", False),
        (b"*/*", False),
        (b"application/json", False),
        (b"application/json, text/event-stream", True),
        (b"Text/Event-Stream", True),
        (b"text/*", True),
    ],
)
def test_only_who_names_event_streams_reads_them(header: bytes | None, reads: bool) -> None:
    """`*/*` counted as well, curl and `fetch` get a stream after 15 s where they parse JSON."""
    assert reads_streams(header) is reads
