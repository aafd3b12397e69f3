"""The server's side of the control socket.

    accept ──uid is ours or root's──▶ hello ──▶ request ──▶ items … ──▶ answer ──▶ request …
                                                   └── cancel, or the client is gone: the request is cancelled

Whatever a client does harms nobody but itself: requests are bounded in length and number, one that does not read its
answers is dropped after SEND_SECONDS_MAX, and what an operation raises is the answer.
"""

import os
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import ExitStack, asynccontextmanager
from pathlib import Path
from typing import Any, Final

import structlog
import trio
from pydantic import ValidationError

from greenroom import __version__
from greenroom.control.place import SocketTaken, listening, may_come_in
from greenroom.control.protocol import LINE_BYTES_MAX, PROTOCOL, BadLine, Lines, Request, decode_request, encode
from greenroom.runtime import ActorError
from greenroom.storage.errors import StorageError

log = structlog.get_logger()

CONNECTIONS_MAX: Final = 16
SEND_SECONDS_MAX: Final = 10.0
READ_BYTES: Final = 16 * 1024

SendItem = Callable[[Any], Awaitable[None]]
# Of one connection: an operation is given the arguments of the request and a way to send items; it returns the answer.
Operation = Callable[[dict[str, Any], SendItem], Awaitable[Any]]
Operations = Mapping[str, Operation]


class OperationRefused(Exception):
    """An operation is not to be had; the message says why, for the client."""


@asynccontextmanager
async def open_control(directory: Path, make_operations: Callable[[], Operations]) -> AsyncIterator[bool]:
    """Serve the socket of the data directory while the block lasts. False when it cannot be had: the log says why.

    make_operations: called for each connection, so that one may remember what was asked before.
    """
    with ExitStack() as stack:
        try:
            listener = stack.enter_context(listening(directory))
        except SocketTaken as fault:
            log.warning("control.taken", why=str(fault))
            yield False
            return
        except (OSError, StorageError) as fault:
            log.warning("control.not_served", why=str(fault))
            yield False
            return
        async with trio.open_nursery() as nursery:
            server = ControlServer(make_operations)
            nursery.start_soon(server.run, trio.SocketListener(trio.socket.from_stdlib_socket(listener)))
            try:
                yield True
            finally:
                nursery.cancel_scope.cancel(reason="greenroom stops")


class ControlServer:
    """Serves everybody who comes."""

    def __init__(self, make_operations: Callable[[], Operations]) -> None:
        self._make_operations = make_operations
        self.connections = 0

    async def run(self, listener: trio.SocketListener) -> None:
        """Serve for ever."""
        await trio.serve_listeners(self._serve, [listener])

    async def _serve(self, stream: trio.SocketStream) -> None:
        """One client. Total: raises nothing but `Cancelled`."""
        self.connections += 1
        try:
            async with stream:
                await Conversation(stream, self._make_operations(), self._why_not(stream)).run()
        except* (trio.BrokenResourceError, trio.ClosedResourceError, OSError):
            pass  # the client has gone
        except* Exception as errors:
            log.exception("control.failed", exc_info=errors)
        finally:
            self.connections -= 1

    def _why_not(self, stream: trio.SocketStream) -> str | None:
        if not may_come_in(stream.socket):
            return "only the user that greenroom runs as, and root, may look into it"
        if self.connections > CONNECTIONS_MAX:
            return f"{CONNECTIONS_MAX} others look into this greenroom already: end one of them"
        return None


class Conversation:
    """With one client."""

    def __init__(self, stream: trio.SocketStream, operations: Operations, why_not: str | None) -> None:
        self._stream = stream
        self._operations = operations
        self._why_not = why_not
        self._sending = trio.Lock()
        self._request: Request | None = None
        self._scope = trio.CancelScope()

    async def run(self) -> None:
        """Until the client goes."""
        await self._send({"greenroom": __version__, "protocol": PROTOCOL, "pid": os.getpid()})
        if self._why_not is not None:
            await self._send({"id": 0, "error": self._why_not})
            return
        lines = Lines(LINE_BYTES_MAX)
        async with trio.open_nursery() as nursery:
            while data := await self._stream.receive_some(READ_BYTES):
                try:
                    for line in lines.feed(data):
                        await self._hear(decode_request(line), nursery)
                except BadLine as fault:
                    await self._send({"id": 0, "error": str(fault)})
                    break
            nursery.cancel_scope.cancel(reason="the client has gone")

    async def _hear(self, request: Request, nursery: trio.Nursery) -> None:
        if request.do == "cancel":
            if self._request is not None and self._request.number == request.number:
                self._scope.cancel(reason="the client has cancelled it")
        elif self._request is not None:
            await self._send(
                {"id": request.number, "error": "one request at a time: wait for the answer, or cancel it"}
            )
        else:
            self._request, self._scope = request, trio.CancelScope()
            nursery.start_soon(self._answer, request, self._scope)

    async def _answer(self, request: Request, scope: trio.CancelScope) -> None:
        answer: dict[str, Any] = {"id": request.number, "error": "it was cancelled"}
        with scope:
            try:
                answer = {"id": request.number, "ok": await self._do(request)}
            except (OperationRefused, ActorError, ValueError) as fault:
                answer["error"] = _sentence(fault)
            except (trio.BrokenResourceError, trio.ClosedResourceError):
                return
            except Exception as fault:
                log.exception("control.failed", exc_info=fault, operation=request.do)
                answer["error"] = f"it failed, and the server's log says how: {type(fault).__name__}"
        self._request = None
        try:
            await self._send(answer)
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            await trio.lowlevel.checkpoint()

    async def _do(self, request: Request) -> Any:
        operation = self._operations.get(request.do)
        if operation is None:
            raise OperationRefused(f"there is no {request.do!r}: this greenroom knows {', '.join(self._operations)}")

        async def send(item: Any) -> None:
            await self._send({"id": request.number, "item": item})

        return await operation(request.arguments, send)

    async def _send(self, message: dict[str, Any]) -> None:
        """Raises: BrokenResourceError when the client has gone, or does not read."""
        data = encode(message)
        async with self._sending:
            with trio.move_on_after(SEND_SECONDS_MAX) as scope:
                await self._stream.send_all(data)
        if scope.cancelled_caught:
            await self._stream.aclose()
            raise trio.BrokenResourceError("the client does not read")


def _sentence(fault: Exception) -> str:
    if isinstance(fault, ValidationError):
        first = fault.errors(include_url=False, include_input=False)[0]
        where = ".".join(map(str, first["loc"]))
        return f"{where}: {first['msg']}" if where else str(first["msg"])
    return str(fault)
