"""The description of the HTTP interface: OpenAPI 3.1, made from the declared operations by quart-schema.

quart-schema only writes the document here. It is not attached to the app, because it would put its own conversion of
answers and of request errors before ours.
"""

from collections.abc import Callable, Iterable
from functools import cache
from typing import Any, Final, cast

from pydantic import BaseModel
from quart import Quart
from quart_schema import (
    DataSource,
    QuartSchema,
    document_querystring,
    document_request,
    document_response,
    security_scheme,
    tag,
)
from quart_schema.extension import hide, operation_id
from quart_schema.openapi import QUART_SCHEMA_OPERATION_ID_ATTRIBUTE, OpenAPIProvider
from werkzeug.routing.converters import BaseConverter

from greenroom import __version__
from greenroom.http.models import Failure, FileBytes, Form, Success
from greenroom.http.origins import SAFE_METHODS
from greenroom.http.route import Operation

_DESCRIPTION: Final = """Messaging over HTTP. Every answer is in one envelope: `success`, `data`, `meta`, or `success`,
`error {code, message}`, `meta`. What happens by itself arrives over the WebSocket at `/ws`, and where
none gets through from `/events` and `/poll`."""
EVENT_TEXT: Final = "EventText"  # the model that stands for Server-Sent Events
_MEANING: Final = {
    400: "The request cannot be used.",
    401: "Nobody is signed in, or the credential is wrong.",
    403: "Not allowed.",
    404: "There is no such thing, or not for you.",
    413: "The body is too long.",
    409: "The Idempotency-Key or client id was used for something else, or is being used.",
    415: "The body is not of a type that is taken here.",
    429: "Too many; try again after Retry-After.",
    503: "Storage or a part of greenroom does not answer; try again after Retry-After.",
}


def _describe(view: Callable[..., Any], operation: Operation, method: str, path: str) -> None:
    """Put on *view*, which serves *operation* at *method* and *path*, what the document says about it."""
    view.__doc__ = operation.handler.__doc__
    if operation.is_hidden or operation.is_development:
        hide(view)
        return
    tag([operation.tag])(view)
    name = operation.handler.__name__
    is_first = (method, path) == (operation.method, operation.path)
    operation_id(name if is_first else f"{name}_{_slug(method + path)}")(view)
    if operation.auth != "nobody":
        open_to_all: list[dict[str, list[str]]] = [{}] if operation.auth == "anybody" else []
        security_scheme([{"bearer": []}, {"session": []}, *open_to_all])(view)
    body = operation.body or operation.reads_body
    if body is not None:
        source = DataSource.FORM_MULTIPART if issubclass(body, Form) else DataSource.JSON
        document_request(cast("Any", body), source=source)(view)
    if operation.query is not None:
        document_querystring(cast("Any", operation.query))(view)
    for status in (operation.status, operation.or_status):
        if status is not None:
            document_response(cast("Any", _answer_model(operation)), status)(view)
    for status in _failures(operation, path):
        document_response(cast("Any", Failure), status)(view)


def document(app: Quart) -> dict[str, Any]:
    """The whole document, for the routes that *app* has now."""
    to_describe = app.config["TO_DESCRIBE"]
    while to_describe:
        _describe(*to_describe.pop())
    app.config.setdefault("QUART_SCHEMA_CONVERSION_PREFERENCE", "pydantic")
    app.config.setdefault("QUART_SCHEMA_CONVERT_CASING", False)
    extension = QuartSchema(
        info={"title": "greenroom", "version": __version__, "description": _DESCRIPTION},
        security_schemes={
            "bearer": {"type": "http", "scheme": "bearer", "bearer_format": "JWT, or an API key grk_…"},
            "session": {"type": "apiKey", "name": "pitchey-session", "in_": "cookie"},
        },
    )
    written = _Provider(app, extension).schema()
    for operations in written["paths"].values():
        for method, operation in operations.items():
            _tidy(operation, written["components"]["schemas"])
            operation.setdefault("parameters", []).extend(_headers(method.upper(), operation))
    return written


class _Provider(OpenAPIProvider):
    def build_path_parameter(self, name: str, converter: BaseConverter) -> dict[str, Any]:
        parameter = super().build_path_parameter(name, converter)
        if name.lower().endswith("id"):
            parameter["schema"] = {"type": "integer", "minimum": 1, "maximum": 2**53 - 1}
        return parameter

    def operation_id(self, method: str, path: str, func: Callable[..., Any]) -> str | None:
        name: str = getattr(func, QUART_SCHEMA_OPERATION_ID_ATTRIBUTE)
        return name


def _answer_model(operation: Operation) -> type[BaseModel]:
    return _success_of(operation.answer or Any) if operation.whole is None else operation.whole


@cache
def _success_of(answer: Any) -> type[BaseModel]:
    """The envelope around an answer. Pydantic forgets what it has made when nobody holds it."""
    return cast("type[BaseModel]", Success.__class_getitem__(answer))


def _failures(operation: Operation, path: str) -> Iterable[int]:
    has_body = operation.method not in SAFE_METHODS
    if has_body or operation.query is not None or "{" in path:
        yield 400
    if has_body:
        yield 413
        yield 415
    if operation.auth != "nobody":
        yield 401
        yield 403
    if "{" in path or operation.body is not None:
        yield 404
    if has_body and operation.auth != "nobody":
        yield 409
    if operation.auth == "user" and (has_body or operation.tag == "websocket"):
        yield 429
    yield 503


def _headers(method: str, operation: dict[str, Any]) -> Iterable[dict[str, Any]]:
    """The headers that count beside the credential."""
    if "security" not in operation:
        return
    text = {"type": "string"}
    if method not in SAFE_METHODS:
        what = (
            "The same key and body get the same answer; of a message it is the clientId. Kept for 24 h, that for ever."
        )
        yield {"name": "Idempotency-Key", "in": "header", "required": False, "description": what, "schema": text}
    what = "The id of the user for whom an API key with scope act_as acts; for nothing else."
    yield {"name": "X-Act-As", "in": "header", "required": False, "description": what, "schema": text}


def _tidy(operation: dict[str, Any], components: dict[str, Any]) -> None:
    """Say what each status means, and state the envelope of failures once instead of in every operation."""
    if "requestBody" in operation:
        operation["requestBody"]["required"] = True
    for status, response in operation["responses"].items():
        response["description"] = _MEANING.get(int(status), response["description"] or "Done.")
        content = response["content"]["application/json"]
        if content["schema"].get("title") == FileBytes.__name__:
            response["content"] = {"*/*": {"schema": {"type": "string", "format": "binary"}}}
        if content["schema"].get("title") == EVENT_TEXT:
            response["content"] = {"text/event-stream": {"schema": {"type": "string"}}}
        if content["schema"].get("title") == Failure.__name__:
            components[Failure.__name__] = content["schema"]
            content["schema"] = {"$ref": f"#/components/schemas/{Failure.__name__}"}


def _slug(path: str) -> str:
    return "".join(letter if letter.isalnum() else "_" for letter in path).strip("_")
