"""What this project stands on of uvicorn, name by name: an upgrade that breaks us says where.

The lists are complete by test: what `serving.py` and `connections/protocol.py` use of their base
classes is read from their source.
"""

import ast
import asyncio
import inspect
from collections import deque
from pathlib import Path
from typing import Any

import httptools
import pytest
import uvicorn
from uvicorn.protocols.http.flow_control import HIGH_WATER_LIMIT, FlowControl
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle
from uvicorn.server import ServerState

from ccxt_mcp.connections.protocol import Connection, protocol_for
from ccxt_mcp.connections.registry import Connections

PACKAGE = Path(__file__).parents[2] / "ccxt_mcp"

PROTOCOL = {
    "connection_made": ["self", "transport"],
    "connection_lost": ["self", "exc"],
    "data_received": ["self", "data"],
    "resume_writing": ["self"],
    "on_message_begin": ["self"],
    "on_headers_complete": ["self"],
    "on_body": ["self", "body"],
    "on_message_complete": ["self"],
    "on_response_complete": ["self"],
    "shutdown": ["self"],
    "timeout_keep_alive_handler": ["self"],
    "_start_asgi_task": ["self", "cycle", "app"],
    "_unset_keepalive_if_required": ["self"],
}
"""Methods that are called or overridden, with their parameters."""
STATE = {
    "parser": httptools.HttpRequestParser,
    "loop": asyncio.AbstractEventLoop,
    "timeout_keep_alive": int,
    "pipeline": deque,
    "expect_100_continue": bool,
    "transport": type(None),
    "flow": type(None),
    "headers": type(None),
    "cycle": type(None),
    "timeout_keep_alive_task": type(None),
}
"""Attributes of a protocol before its connection is made."""
REQUEST = {"url": bytes, "headers": list}
"""Attributes that exist once a request has begun."""
SERVER = {
    "startup": ["self", "sockets"],
    "shutdown": ["self", "sockets"],
    "serve": ["self", "sockets"],
    "capture_signals": ["self"],
}
SERVER_STATE = {"config", "server_state", "should_exit", "force_exit", "started"}


async def nothing(scope: Any, receive: Any, send: Any) -> None:
    raise AssertionError("no request is complete here")


def used(file: str, name: str) -> set[str]:
    """`self.x` and `super().x` in a class, without what the class itself brings along."""
    tree = ast.parse((PACKAGE / file).read_text())
    (body,) = [n for n in ast.walk(tree) if isinstance(n, ast.ClassDef) and n.name == name]
    attributes = [n for n in ast.walk(body) if isinstance(n, ast.Attribute)]
    from_super = {
        n.attr
        for n in attributes
        if isinstance(n.value, ast.Call)
        and isinstance(n.value.func, ast.Name)
        and n.value.func.id == "super"
    } - {"__init__"}
    from_self = {
        n.attr for n in attributes if isinstance(n.value, ast.Name) and n.value.id == "self"
    }
    methods = {n.name for n in body.body if isinstance(n, ast.FunctionDef | ast.AsyncFunctionDef)}
    annotated = {
        n.target.id
        for n in body.body
        if isinstance(n, ast.AnnAssign) and isinstance(n.target, ast.Name)
    }
    return from_super | (from_self - methods - annotated)


def parameters(method: Any) -> list[str]:
    return list(inspect.signature(method).parameters)


def test_the_lists_name_all_that_is_used() -> None:
    known = {*PROTOCOL, *STATE, *REQUEST}
    own = set(vars(_connection())) - set(vars(_plain()))
    assert used("connections/protocol.py", "Connection") - own <= known
    found = used("serving.py", "_Server")
    assert {n for n in found if hasattr(uvicorn.Server, n) or n in SERVER_STATE} <= {
        *SERVER,
        *SERVER_STATE,
    }
    assert {"startup", "should_exit"} <= found


def test_own_names_collide_with_none_of_uvicorns() -> None:
    """A new attribute of uvicorn's with the name of ours would be overwritten in silence."""
    own = {n for n in vars(Connection) if not n.startswith("__")} - {*PROTOCOL, *PROTOCOL}
    assert own & set(dir(HttpToolsProtocol)) == set()
    ours = set(vars(_connection())) - set(vars(_plain()))
    assert all(n.startswith("_") for n in ours)
    source = inspect.getsource(HttpToolsProtocol)
    assert not [n for n in (*ours, *own) if f"self.{n} " in source]


@pytest.mark.parametrize("name", PROTOCOL)
def test_a_method_of_the_protocol_is_as_we_call_it(name: str) -> None:
    assert parameters(getattr(HttpToolsProtocol, name)) == PROTOCOL[name]


@pytest.mark.parametrize("name", SERVER)
def test_a_method_of_the_server_is_as_we_call_it(name: str) -> None:
    assert parameters(getattr(uvicorn.Server, name)) == SERVER[name]


def _config() -> uvicorn.Config:
    return uvicorn.Config(nothing, log_config=None, ws="none", lifespan="off")


def _plain() -> HttpToolsProtocol:
    loop = asyncio.new_event_loop()
    loop.close()
    return HttpToolsProtocol(_config(), ServerState(), {}, loop)


def _connection(registry: Connections | None = None) -> Connection:
    loop = asyncio.new_event_loop()
    loop.close()
    return protocol_for(registry or Connections())(_config(), ServerState(), {}, loop)


@pytest.mark.parametrize("name", STATE)
def test_a_protocol_begins_with_what_we_read(name: str) -> None:
    assert isinstance(getattr(_plain(), name), STATE[name])


def test_a_request_has_its_url_and_its_headers_while_they_arrive() -> None:
    protocol = _plain()
    protocol.parser.feed_data(b"GET /a HTTP/1.1\r\nHost: x\r\nA")
    assert (protocol.url, protocol.headers) == (b"/a", [(b"host", b"x")])
    assert protocol.scope["headers"] is protocol.headers


def test_a_server_has_the_switches_that_we_turn() -> None:
    server = uvicorn.Server(_config())
    assert set(vars(server)) >= SERVER_STATE
    assert (server.started, server.should_exit, server.force_exit) == (False, False, False)
    state = server.server_state
    assert state.connections == set()
    assert state.tasks == set()
    assert isinstance(server.config.timeout_graceful_shutdown, int | None)


def test_the_configuration_takes_what_we_give_it() -> None:
    from ccxt_mcp.serving import _Server  # The names of its arguments are read from the source.

    tree = ast.parse((PACKAGE / "serving.py").read_text())
    (config,) = [
        n
        for n in ast.walk(tree)
        if isinstance(n, ast.Call) and isinstance(n.func, ast.Attribute) and n.func.attr == "Config"
    ]
    given = {keyword.arg for keyword in config.keywords}
    assert given <= set(parameters(uvicorn.Config.__init__))
    assert given >= {"http", "timeout_graceful_shutdown"}
    assert issubclass(_Server, uvicorn.Server)


def test_a_protocol_class_can_be_given() -> None:
    chosen = protocol_for(Connections())
    config = uvicorn.Config(nothing, http=chosen, log_config=None, lifespan="off")
    config.load()
    assert config.http_protocol_class is chosen


def test_a_cycle_has_what_we_turn() -> None:
    """Its end of the line: no answer is sent, and `receive` says that the client is gone."""
    wanted = {
        *("disconnected", "keep_alive", "more_body", "response_started", "message_event"),
        "waiting_for_100_continue",
    }
    source = inspect.getsource(RequestResponseCycle.__init__)
    turned = (*wanted, "on_response", "waiting_for_100_continue")
    assert all(f"self.{name} = " in source for name in turned)


class Wire(asyncio.Transport):
    """Keeps what is written."""

    def __init__(self) -> None:
        super().__init__()
        self.written = b""
        self.closing = False

    def write(self, data: Any) -> None:
        self.written += data

    def is_closing(self) -> bool:
        return self.closing

    def close(self) -> None:
        self.closing = True


def _cycle(wire: Wire, *, keep_alive: bool = True) -> RequestResponseCycle:
    import logging

    flow = FlowControl(wire)
    log = logging.getLogger("test")
    scope: Any = {"type": "http", "method": "GET", "http_version": "1.1"}
    return RequestResponseCycle(
        scope,
        wire,
        flow,
        log,
        log,
        False,
        [],
        asyncio.Event(),
        False,
        keep_alive,
        lambda: None,
    )


async def test_a_disconnected_cycle_sends_nothing_and_says_so() -> None:
    wire = Wire()
    cycle = _cycle(wire)
    cycle.disconnected = True
    await cycle.send({"type": "http.response.start", "status": 200, "headers": []})
    assert wire.written == b""
    assert (await cycle.receive())["type"] == "http.disconnect"


async def test_a_cycle_that_is_not_kept_alive_says_so_and_closes() -> None:
    """Also when it learns of it after it was made, which is how draining and refusals do it."""
    wire = Wire()
    cycle = _cycle(wire)
    cycle.keep_alive = False
    await cycle.send(
        {"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"0")]}
    )
    assert b"connection: close\r\n" in wire.written
    await cycle.send({"type": "http.response.body", "body": b"", "more_body": False})
    assert wire.closing
    assert cycle.response_complete


async def test_writing_that_resumes_wakes_who_drains() -> None:
    flow = FlowControl(Wire())
    assert not flow.read_paused
    flow.pause_writing()
    draining = asyncio.ensure_future(flow.drain())
    await asyncio.sleep(0)
    assert not draining.done()
    flow.resume_writing()
    await draining
    assert parameters(FlowControl.resume_reading) == ["self"]
    assert HIGH_WATER_LIMIT == 65_536


def test_the_parser_tells_of_errors_as_we_catch_them() -> None:
    """A callback's exception is a parser error too; an upgrade is not."""
    assert issubclass(httptools.HttpParserCallbackError, httptools.HttpParserError)
    assert not issubclass(httptools.HttpParserUpgrade, httptools.HttpParserError)
    protocol = _connection()
    with pytest.raises(httptools.HttpParserCallbackError):
        protocol.parser.feed_data(b"GET / HTTP/1.1\r\n" + b"x: y\r\n" * 101 + b"\r\n")
