"""What we rely on inside hypercorn 0.18, quart-trio 0.12 and h11: when one of these fails, read http/connection.py.

The behaviour as a whole is held by test_server.py and test_adoption.py; these name the place that moved.
"""

import ast
import inspect
import re
import textwrap
from importlib.metadata import version
from unittest.mock import patch

import h11
import hypercorn.events
import hypercorn.protocol.events
import hypercorn.protocol.h11
import hypercorn.protocol.http_stream
import hypercorn.trio.tcp_server
import pytest
import quart.asgi
import quart_trio.asgi
from hypercorn.config import Config
from hypercorn.protocol.h11 import H11Protocol, H11WSConnection
from hypercorn.trio.lifespan import Lifespan
from hypercorn.trio.worker_context import WorkerContext
from quart_trio import QuartTrio
from werkzeug.datastructures import Headers
from werkzeug.exceptions import HTTPException
from werkzeug.routing import Map, Rule

from greenroom.http.app import Application
from greenroom.http.application_tasks import ApplicationTasks
from greenroom.http.connection import FrontProtocol
from greenroom.http.handshake import HandshakeOnly
from greenroom.http.heads import asks_for_websocket
from greenroom.http.matching import MatchedRule


def calls_in(function):
    """The dotted names that a function calls, in order."""
    tree = ast.parse(textwrap.dedent(inspect.getsource(function)))
    return [ast.unparse(node.func) for node in ast.walk(tree) if isinstance(node, ast.Call)]


def parameters(function):
    return list(inspect.signature(function).parameters)


def test_the_versions_are_the_pinned_ones():
    assert version("hypercorn").startswith("0.18.")
    assert version("quart-trio").startswith("0.12.")


def test_the_methods_that_are_overridden_exist_with_these_parameters():
    for name, expected in {
        "handle": ["self", "event"],
        "stream_send": ["self", "event"],
        "_check_protocol": ["self", "event"],
        "_create_stream": ["self", "request"],
        "_send_error_response": ["self", "status_code"],
        "_send_h11_event": ["self", "event"],
    }.items():
        assert parameters(getattr(H11Protocol, name)) == expected
        assert inspect.iscoroutinefunction(getattr(H11Protocol, name))
    assert parameters(H11Protocol)[:5] == ["app", "config", "context", "task_group", "connection_state"]
    assert parameters(H11Protocol)[5:] == ["ssl", "client", "server", "send"]


def test_the_protocol_asks_its_surroundings_for_nothing_more_than_we_give():
    tree = ast.parse(inspect.getsource(hypercorn.protocol.h11) + inspect.getsource(hypercorn.protocol.http_stream))
    of_tasks = {
        node.attr
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute) and ast.unparse(node.value) == "self.task_group"
    }
    of_context = {
        node.attr
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute) and ast.unparse(node.value) == "self.context"
    }
    assert of_tasks == {"spawn_app"} <= set(dir(ApplicationTasks))
    assert of_context == {"mark_request", "terminated"}
    assert all(hasattr(WorkerContext(None), name) for name in of_context)


def test_an_error_answer_of_hypercorn_has_the_headers_that_we_replace():
    source = inspect.getsource(hypercorn.protocol.http_stream.HTTPStream._send_error_response)
    assert 'headers=[(b"content-length", b"0"), (b"connection", b"close")]' in source


def test_a_request_is_handled_before_the_next_bytes_are_looked_at():
    """hold() runs before the application is started, and the buffer is emptied before next_event() could read it."""
    assert calls_in(H11Protocol._create_stream).index("HTTPStream") >= 0
    source = inspect.getsource(H11Protocol._handle_events)
    assert "await self._check_protocol(event)\n                    await self._create_stream(event)" in source
    assert "bytearray(h11_connection.trailing_data[0])" in inspect.getsource(H11WSConnection.__init__)
    assert isinstance(H11WSConnection(h11.Connection(h11.SERVER)).buffer, bytearray)


@pytest.mark.parametrize("method", [b"GET", b"get", b"POST"])
@pytest.mark.parametrize(
    "upgrade", [[], [b"websocket"], [b"WebSocket"], [b"h2c"], [b"h2c", b"websocket"], [b"websocket", b"h2c"]]
)
@pytest.mark.parametrize(
    "connection", [[], [b"Upgrade"], [b"keep-alive, UPGRADE"], [b"upgrade", b"close"], [b"upgraded"]]
)
async def test_what_hypercorn_takes_for_an_upgrade_is_one_to_us(method, upgrade, connection):
    """It looks at the last field of a name, so some that are upgrades are none to it. Those never get there."""
    headers = [
        (b"Host", b"x"),
        *((b"Upgrade", value) for value in upgrade),
        *((b"Connection", value) for value in connection),
    ]
    request = h11.Request(method=method, target=b"/", headers=headers)
    protocol = H11Protocol(None, Config(), WorkerContext(None), None, {}, False, None, None, None)

    class Stream:
        def __init__(self, *args):
            pass

        async def handle(self, event):
            pass

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(hypercorn.protocol.h11, "WSStream", Stream)
        patch.setattr(hypercorn.protocol.h11, "HTTPStream", Stream)
        await protocol._create_stream(request)
    assert asks_for_websocket(request, list(request.headers)) or not isinstance(protocol.connection, H11WSConnection)


@pytest.mark.parametrize("host", ["x", "x:80", "[::1]:8000", "EXAMPLE.org.", "xn--bcher-kva.example", ""])
@pytest.mark.parametrize("path", ["/ws", "/nothing", "/ws/", "//ws", "/WS", "/ws/../ws"])
async def test_a_socket_finds_its_view_as_by_quarts_own_adapter(host, path):
    app = Application("here")
    app.url_map.strict_slashes = app.url_map.merge_slashes = False

    @app.websocket("/ws")
    async def ws():
        pass

    headers = [(b"host", host.encode())]
    scope = {"path": path, "query_string": b"a=%2F", "scheme": "ws", "headers": headers, "client": ("1.2.3.4", 5)}
    shown = HandshakeOnly(app, scope)._create_websocket_from_scope(None)

    def found(adapter):
        try:
            return adapter.match(return_rule=True)
        except HTTPException as fault:
            return type(fault)

    async with app.app_context():
        assert found(app.create_url_adapter(shown)) == found(QuartTrio.create_url_adapter(app, shown))


def test_the_events_are_plain_values():
    assert hypercorn.events.RawData(b"x").data == b"x"
    assert hypercorn.events.Updated(idle=True).idle is True
    response = hypercorn.protocol.events.Response(stream_id=1, headers=[], status_code=101)
    assert (response.headers, response.status_code) == ([], 101)


def test_the_connection_state_reaches_the_scope_of_a_request():
    assert '"state": event.state.copy()' in inspect.getsource(hypercorn.protocol.http_stream.HTTPStream.handle)
    assert "scope=self.scope" in inspect.getsource(quart.asgi.ASGIHTTPConnection._create_request_from_scope)


def test_the_end_of_quart_that_is_replaced_has_these_parts():
    ours, theirs = HandshakeOnly, quart_trio.asgi.TrioASGIWebsocketConnection
    assert parameters(ours) == parameters(theirs) == ["app", "scope"]
    assert parameters(ours._create_websocket_from_scope) == parameters(theirs._create_websocket_from_scope)
    assert parameters(quart.asgi.ASGIWebsocketConnection.handle_websocket) == ["self", "websocket", "send"]
    source = inspect.getsource(quart.asgi.ASGIWebsocketConnection)
    assert set(re.findall(r"self\.(_\w+) = ", source)) == {"_accepted", "_closed"}


def test_quart_returns_from_accept_as_soon_as_the_101_is_made():
    source = inspect.getsource(quart.asgi.ASGIWebsocketConnection.accept_connection)
    assert source.rstrip().endswith("await send(message)")


def test_headers_of_werkzeug_are_a_list_of_pairs():
    given = [("Remote-Addr", "here"), ("name", "a"), ("name", "b")]
    headers = Headers()
    headers._list = list(given)
    assert headers == Headers(given)
    assert headers.getlist("Name") == ["a", "b"]


def test_lifespan_and_context_have_the_parts_that_the_server_uses():
    assert parameters(Lifespan) == ["app", "config", "state"]
    assert all(hasattr(Lifespan, name) for name in ("handle_lifespan", "wait_for_startup", "wait_for_shutdown"))
    context = WorkerContext(max_requests=None)
    assert not context.terminated.is_set()


def test_frontprotocol_overrides_only_what_exists():
    ours = {name for name in vars(FrontProtocol) if inspect.iscoroutinefunction(getattr(FrontProtocol, name))}
    assert ours - set(dir(H11Protocol)) == {"refuse", "_send_response", "_answer_upgrade"}


def test_rules_are_matched_at_once_and_build_addresses_when_they_are_asked():
    """Werkzeug compiles them while it makes a rule, which is most of what the application costs: ours wait."""
    made = Map([MatchedRule("/a/<name>", endpoint="a", methods=["GET"])], strict_slashes=False).bind("here")
    assert made.match("/a/b/", method="GET") == ("a", {"name": "b"})
    with patch.object(Rule, "_compile_builder", side_effect=AssertionError("compiled before it was asked")):
        MatchedRule("/b", endpoint="b").bind(Map())
    for _ in range(2):
        assert made.build("a", {"name": "b c", "more": 1}) == "/a/b%20c?more=1"
