"""The HTTP application: operations, request ids, the envelope, CORS, and what becomes of faults.

Every answer, whatever happened, has an `X-Request-Id` (the client's own when it is sane), security headers, the CORS
headers of a listed page, and JSON in the envelope of `errors.py`: also for an unknown path, a wrong method, a body that
is too long, and an unhandled fault, which is logged with its request id and tells the client nothing else.

The WebSocket route is added by the socket engine; `refuse_upgrade` is how it says no.
"""

import json
import re
import time
import uuid
from collections.abc import Callable, Iterable
from typing import Any, Final

import structlog
from pydantic import BaseModel
from quart import Response, Websocket, current_app, g, has_request_context, has_websocket_context, request, websocket
from quart.sessions import NullSession, SessionInterface
from quart_trio import QuartTrio
from werkzeug.exceptions import HTTPException, MethodNotAllowed, NotFound
from werkzeug.routing import MapAdapter
from werkzeug.routing.exceptions import WebsocketMismatch

from greenroom.http.answer_headers import SECURITY_HEADERS, answer_headers
from greenroom.http.development import KEY_COOKIE, KEY_PARAMETER
from greenroom.http.errors import CODE_OF, ApiError, success
from greenroom.http.handshake import HandshakeOnly, WithoutBlueprints
from greenroom.http.matching import MatchedRule
from greenroom.http.origins import cookie_attributes
from greenroom.http.rest import (
    auth,
    blocks,
    changes,
    console,
    conversations,
    demo,
    docs,
    health,
    marks,
    messages,
    notifications,
    participants,
    preferences,
    reading,
    reports,
    search,
    tickets,
    users,
)
from greenroom.http.route import JSON_BYTES_MAX, Answer, Call, Operation, Operations
from greenroom.http.services import Services
from greenroom.http.upgrade import V1, UpgradeRefused, refusal_of
from greenroom.runtime import ActorGone, AskTimeout, CommitUnknown, MailboxFull, StorageUnavailable

log = structlog.get_logger("greenroom.http")

OPERATIONS: Final[tuple[Operations, ...]] = (
    health.operations,
    auth.operations,
    blocks.operations,
    users.operations,
    conversations.operations,
    participants.operations,
    messages.operations,
    changes.operations,
    marks.operations,
    notifications.operations,
    preferences.operations,
    reading.operations,
    reports.operations,
    search.operations,
    tickets.operations,
    demo.operations,
    console.operations,
    docs.operations,
)
MULTIPART_OVERHEAD_BYTES: Final = 64 * 1024
SLOW_SECONDS: Final = 2.0
PARTS_SECONDS_MAX: Final = 600  # an answer in parts may take so long on its way
_REQUEST_ID = re.compile(r"[A-Za-z0-9._:-]{1,64}")
_PARAMETER = re.compile(r"\{(\w+)\}")


def make_app(services: Services, operations: Iterable[Operations] = OPERATIONS) -> QuartTrio:
    """The application over *services*, with all *operations*."""
    app = Application("greenroom", static_folder=None, template_folder=None)
    app.asgi_websocket_class = HandshakeOnly
    app.websocket_class = WithoutBlueprints
    app.url_rule_class = MatchedRule
    app.session_interface = _NoSessions()  # type: ignore[assignment]  # declared narrower than what it asks for
    app.config["MAX_CONTENT_LENGTH"] = max(JSON_BYTES_MAX, services.settings.max_file_size) + MULTIPART_OVERHEAD_BYTES
    app.config["SERVICES"] = services
    app.config["DEVELOPMENT_ENDPOINTS"] = set()
    app.config["TO_DESCRIBE"] = []  # by whoever asks for the document first: most processes are never asked
    # A redirect to a tidier path would lose the body of a POST, and is one more answer outside the envelope.
    app.url_map.strict_slashes = False
    app.url_map.merge_slashes = False
    app.before_request(_begin)
    app.after_request(_finish)
    app.register_error_handler(HTTPException, _answer_http_fault)
    app.register_error_handler(Exception, _answer_fault)
    for group in operations:
        for operation in group.all:
            _add(app, services, operation)
    return app


class Application(QuartTrio):
    """Quart-Trio's, which asks of each upgrade by which of its names it came, and cuts that name three times."""

    def create_url_adapter(self, request: Any) -> MapAdapter | None:
        """Of a WebSocket, by whatever name. The head is judged already (http/heads.py), and nothing is redirected."""
        if not isinstance(request, Websocket):
            return super().create_url_adapter(request)
        host, query = request.headers.get("Host", ""), request.query_string.decode("latin1")
        return MapAdapter(self.url_map, host, "/", "", request.scheme, request.path, request.method, query)


class _NoSessions(SessionInterface):
    """Who is asking is found by the authenticator, in no session of Quart's: of each request and each connect it makes
    one, to find that there is no key to sign it with."""

    def __init__(self) -> None:
        self._none = NullSession()

    async def open_session(self, app: Any, request: Any) -> NullSession:
        """None."""
        return self._none


def refuse_upgrade(refused: UpgradeRefused) -> Response:
    """The answer to a WebSocket upgrade that is refused, for `quart.abort`."""
    response = _json(refused.body, refused.status)
    response.headers.update({**SECURITY_HEADERS, **refused.headers, "X-Request-Id": request_id()})
    return response


def request_id() -> str:
    """The id of the request or upgrade that this task serves: made, or looked for, when somebody wants to know it."""
    known: str | None = g.get("request_id")
    if known is None:
        headers = websocket.headers if has_websocket_context() else request.headers
        given = headers.get("X-Request-Id")
        known = g.request_id = given if given and _REQUEST_ID.fullmatch(given) else uuid.uuid4().hex
    return known


def _add(app: QuartTrio, services: Services, operation: Operation) -> None:
    for method, path in ((operation.method, operation.path), *operation.also):
        view = _view(services, operation)
        rule, endpoint = _PARAMETER.sub(r"<\1>", path), f"{method} {path}"
        app.config["TO_DESCRIBE"].append((view, operation, method, path))
        app.add_url_rule(rule, endpoint, view, methods=[method], provide_automatic_options=False)
        if operation.is_development:
            app.config["DEVELOPMENT_ENDPOINTS"].add(endpoint)


def _view(services: Services, operation: Operation) -> Callable[..., Any]:
    async def view(**parameters: str) -> Response:
        call = Call(services, request, parameters)
        await call.prepare(operation)
        if operation.is_input and call.caller is not None:
            services.on_input(call.caller)
        answer = await operation.handler(call)
        return _respond(call, operation, answer)

    return view


def _respond(call: Call, operation: Operation, answer: Answer) -> Response:
    status = answer.status or operation.status
    if answer.whole is not None:
        response = Response(answer.whole, status, content_type=answer.content_type)
    elif answer.parts is not None:
        response = Response(answer.parts, status, content_type=answer.content_type)
        response.timeout = PARTS_SECONDS_MAX
    else:
        top = {name: _plain(value) for name, value in answer.top.items()}
        response = _json(success(_plain(answer.data), request_id(), **top), status)
    response.headers.update(answer.headers)
    attributes = cookie_attributes(call.is_https)
    for cookie in answer.cookies:
        response.set_cookie(cookie.name, cookie.value, max_age=cookie.seconds, **attributes)  # type: ignore[arg-type]
    if operation.is_development and KEY_PARAMETER in request.args:
        # The key came in the printed link; from now on it comes in a cookie that no page of another site can send.
        key = call.services.development.key
        response.set_cookie(KEY_COOKIE, key, httponly=True, samesite="Strict", path="/")
    return response


def _plain(value: object) -> object:
    return value.model_dump(mode="json", by_alias=True) if isinstance(value, BaseModel) else value


def _json(body: object, status: int) -> Response:
    text = json.dumps(body, ensure_ascii=False, separators=(",", ":"))
    return Response(text.encode("utf-8", "replace"), status, content_type="application/json")


# -- before and after every request --


async def _begin() -> Response | None:
    g.began = time.perf_counter()
    if isinstance(request.routing_exception, MethodNotAllowed):
        request.routing_exception = fault = _as_seen(request.routing_exception)
        if request.method == "OPTIONS" and isinstance(fault, MethodNotAllowed):
            return _answer_options(fault)
    return None


def _as_seen(fault: MethodNotAllowed) -> HTTPException:
    """*fault* without the methods that this request may not know of: 404 when that leaves none."""
    if Call(_services(), request, {}).allow_development():
        return fault
    address, hidden = current_app.create_url_adapter(request), current_app.config["DEVELOPMENT_ENDPOINTS"]
    assert address is not None
    seen = [method for method in fault.valid_methods or () if address.match(method=method)[0] not in hidden]
    return MethodNotAllowed(seen) if seen else NotFound()


def _answer_options(fault: MethodNotAllowed) -> Response:
    response = Response("", 204)
    del response.headers["Content-Type"]
    response.headers["Allow"] = ", ".join(sorted({*(fault.valid_methods or ()), "OPTIONS"}))
    if "Access-Control-Request-Method" in request.headers:
        response.headers.update(_services().origins.preflight_headers(request.headers.get("Origin")))
    return response


async def _finish(response: Response) -> Response:
    response.headers["X-Request-Id"] = request_id()
    for name, value in answer_headers(_services(), request.headers.get("Origin")).items():
        response.headers.setdefault(name, value)
    _log_answer(response.status_code)
    return response


def _log_answer(status: int) -> None:
    # Never the query string: it may hold a ticket or the development key.
    seconds = time.perf_counter() - g.get("began", time.perf_counter())
    level = log.warning if status >= 500 else log.info if seconds > SLOW_SECONDS else log.debug
    milliseconds = round(seconds * 1000, 1)
    level(
        "http.answered",
        method=request.method,
        path=request.path,
        status=status,
        milliseconds=milliseconds,
        request_id=request_id(),
    )


def _services() -> Services:
    services: Services = current_app.config["SERVICES"]
    return services


# -- faults --


async def _answer_http_fault(fault: HTTPException) -> Response:
    status = fault.code or 500
    if status < 400:
        return Response("", status, headers=dict(fault.get_headers()))
    if isinstance(fault, WebsocketMismatch) or (isinstance(fault, MethodNotAllowed) and has_websocket_context()):
        # As for an unknown path: another status would tell of development-only ones.
        return _answer_error(ApiError("NOT_FOUND", _MESSAGES["NOT_FOUND"]))
    if isinstance(fault, MethodNotAllowed):
        allowed = ", ".join(sorted(fault.valid_methods or ()))
        return _answer_error(
            ApiError("METHOD_NOT_ALLOWED", f"this address takes {allowed or 'no method'}", headers={"Allow": allowed})
        )
    if fault.response is not None:
        return fault.response  # type: ignore[return-value]
    code = CODE_OF.get(status, "INTERNAL" if status >= 500 else "BAD_REQUEST")
    return _answer_error(ApiError(code, _MESSAGES.get(code, "the request cannot be served")))


_MESSAGES: Final = {
    "NOT_FOUND": "there is nothing at this address",
    "FILE_TOO_LARGE": "the body is too long",
    "BAD_REQUEST": "the request cannot be understood",
    "REQUEST_TIMEOUT": "the body did not come in time",
    "INTERNAL": "something went wrong on our side; it was logged under this request id",
}


async def _answer_fault(fault: Exception) -> Response:
    error = _error_of(fault)
    if has_websocket_context():
        return refuse_upgrade(refusal_of(error, request_id(), is_v1=V1 in websocket.requested_subprotocols))
    return _answer_error(error)


def _error_of(fault: Exception) -> ApiError:
    if isinstance(fault, ApiError):
        return fault
    if isinstance(fault, StorageUnavailable):
        return ApiError("SERVICE_UNAVAILABLE", "storage does not answer: try again soon", retry_after=1)
    if isinstance(fault, CommitUnknown | AskTimeout):
        text = "no answer in time: whether it took effect is not known; send it again with the same Idempotency-Key"
        return ApiError("SERVICE_UNAVAILABLE", text, retry_after=1)
    if isinstance(fault, MailboxFull | ActorGone):
        return ApiError("SERVICE_UNAVAILABLE", "this is busy: try again soon", retry_after=1)
    where = {"method": request.method, "path": request.path} if has_request_context() else {}
    log.error("http.failed", exc_info=fault, request_id=request_id(), **where)
    return ApiError("INTERNAL", _MESSAGES["INTERNAL"])


def _answer_error(error: ApiError) -> Response:
    response = _json(error.body(request_id()), error.status)
    # Here and not only in _finish: the answer may be to a WebSocket upgrade.
    response.headers.update({**error.headers, "X-Request-Id": request_id()})
    return response
