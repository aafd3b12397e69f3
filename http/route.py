"""Routing: an operation is declared once, with its path, its models, and who may call it.

    operations = Operations("users")

    @operations.put("/api/users/{id}", auth="principal", body=UserWrite, answer=UserAnswer)
    async def put_user(call: Call) -> Answer:
        \"""Make or change a user.\"""        the docstring is its documentation
        write = call.body(UserWrite)        validated before the handler began

What every call goes through, in this order, each refusal an `ApiError`: the path exists (404), the method too (405);
development-only things are there (404); a request under a cookie is not forged (403, 415); the address can be stored
(400); who is asking (401, 403); the body is there, small enough, JSON, and of the right shape (408, 413, 415, 400); so
is the query (400). Who is asking is looked up before the body, so that nobody's bytes are gathered, and once more after
a body that took its time: what was taken away meanwhile is not used. A body that nothing is read from is held to the
same, or a client would believe that it was used; only what comes with GET or HEAD has no meaning at all (RFC 9110
section 9.3.1) and is not looked at.

`also` names further routes to the same handler: the surfaces of guide A, guide B and the live system are such.
"""

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Literal, TypeVar

import trio
from pydantic import BaseModel, ValidationError
from quart import Request

from greenroom.http.auth import ACT_AS_HEADER, SESSION_COOKIES, Moment, Principal
from greenroom.http.decode import BadJson, decode_object
from greenroom.http.development import KEY_COOKIE, KEY_PARAMETER
from greenroom.http.errors import ApiError
from greenroom.http.models import Id
from greenroom.http.origins import SAFE_METHODS, is_json
from greenroom.http.services import Services

JSON_BYTES_MAX: Final = 1024 * 1024
BODY_SECONDS_MAX: Final = 30.0

# nobody: credentials are not looked at; anybody: they are, when shown; principal: a user or an API key; user: a user.
Auth = Literal["nobody", "anybody", "principal", "user"]
M = TypeVar("M", bound=BaseModel)


@dataclass(frozen=True, slots=True)
class Cookie:
    """A cookie to set; an empty value takes it away."""

    name: str
    value: str
    seconds: int


@dataclass(frozen=True, slots=True)
class Answer:
    """A success. `data` goes into the envelope, `top` beside it; with `whole` or `parts` the answer is exactly that."""

    data: object = None
    status: int | None = None
    top: Mapping[str, object] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)
    cookies: Sequence[Cookie] = ()
    whole: bytes | None = None
    parts: AsyncIterator[bytes] | None = None
    content_type: str = "application/json"


class Call:
    """One request to one operation, checked."""

    __slots__ = (
        "_auth",
        "_body",
        "_looked_up",
        "_parameters",
        "_principal",
        "_query",
        "address",
        "is_https",
        "request",
        "services",
    )

    def __init__(self, services: Services, request: Request, parameters: Mapping[str, str]) -> None:
        peer = peer_of(request.scope)
        self.services = services
        self.request = request
        self.address = services.proxies.client_address(peer, request.headers)
        self.is_https = services.proxies.is_https(peer, request.scheme, request.headers)
        self._parameters = parameters
        self._auth: Auth = "nobody"
        self._looked_up = services.authenticator.moment()
        self._principal: Principal | None = None
        self._body: BaseModel | None = None
        self._query: BaseModel | None = None

    @property
    def caller(self) -> Principal | None:
        """Who is asking, or None where anybody may."""
        return self._principal

    @property
    def principal(self) -> Principal:
        """Who is asking; for operations with auth principal or user."""
        assert self._principal is not None, "declare the operation with auth='principal' or 'user'"
        return self._principal

    @property
    def user_id(self) -> int:
        """The user who is asking; for operations with auth user."""
        return self.principal.require_user()

    @property
    def looked_up(self) -> Moment:
        """When who is asking was looked up last."""
        return self._looked_up

    def body(self, model: type[M]) -> M:
        """The body, of the model that the operation was declared with."""
        assert isinstance(self._body, model)
        return self._body

    def query(self, model: type[M]) -> M:
        """The query, of the model that the operation was declared with."""
        assert isinstance(self._query, model)
        return self._query

    def text(self, name: str) -> str:
        """A parameter of the path as it is."""
        return self._parameters[name]

    def id(self, name: str = "id") -> int:
        """A parameter of the path that must be an id. Raises ApiError 400."""
        return _validate(_IdModel, {"value": self._parameters[name]}, as_field=name).value

    def allow_development(self) -> bool:
        """Whether this request may see development-only things."""
        query_key = self.request.args.get(KEY_PARAMETER)
        return self.services.development.allows(self.request.headers, query_key, self.request.cookies)

    # -- the steps before the handler, in the order of the module's docstring --

    async def prepare(self, operation: "Operation") -> None:
        """Run all checks of *operation*. Raises ApiError, StorageUnavailable."""
        if operation.is_development and not self.allow_development():
            raise ApiError("NOT_FOUND", "there is nothing at this address")
        self._check_forgery()
        self._check_parameters()
        self._auth = operation.auth
        await self._authenticate()
        if operation.body is not None:
            self._body = _validate(operation.body, await self.read_json(JSON_BYTES_MAX))
        elif operation.reads_body is None and self.request.method not in SAFE_METHODS:
            await self.read_json(JSON_BYTES_MAX)
        if operation.query is not None:
            self._query = _validate(operation.query, self._arguments())

    def _check_forgery(self) -> None:
        cookies = self.request.cookies
        is_under_cookie = any(name in cookies for name in (*SESSION_COOKIES, KEY_COOKIE))
        if is_under_cookie and "Authorization" not in self.request.headers:
            origin = self.request.headers.get("Origin")
            self.services.origins.check_unsafe(self.request.method, origin, self.request.mimetype.lower())

    def _check_parameters(self) -> None:
        # What the decoder refuses in JSON must not come in by way of the address.
        if any("\0" in text for text in (*self._parameters.values(), *self.request.args.values())):
            raise ApiError("BAD_REQUEST", "the address holds the character NUL")

    def _arguments(self) -> dict[str, str]:
        for name, values in self.request.args.lists():
            if len(set(values)) > 1:
                raise ApiError("VALIDATION", f"{name}: this is there more than once: send one")
        return self.request.args.to_dict()

    async def _authenticate(self) -> None:
        if self._auth == "nobody":
            return
        headers, authenticator = self.request.headers, self.services.authenticator
        self._looked_up = authenticator.moment()
        self._principal = await authenticator.authenticate(
            authorization=headers.get("Authorization"),
            cookies=self.request.cookies,
            act_as=headers.get(ACT_AS_HEADER),
        )
        if self._principal is None and self._auth != "anybody":
            raise ApiError("UNAUTHORIZED", "Authentication required")
        if self._auth == "user":
            self.principal.require_user()

    async def identify(self) -> Principal:
        """Look up the user who is asking, for an operation that looks at nobody until it needs one.

        Raises: ApiError, StorageUnavailable.
        """
        self._auth = "user"
        await self._authenticate()
        return self.principal

    async def look_again(self) -> None:
        """Have who is asking be as of now, for whoever has waited since. Raises: ApiError, StorageUnavailable."""
        if not self.services.authenticator.holds(self._looked_up):
            await self._authenticate()

    async def read_json(self, bytes_max: int) -> dict[str, object]:
        """The body as a JSON object; an empty body is an empty one. Who is asking is as of its end, or later.

        Raises ApiError: 400, 415, as `_read_body`, and 401 for who may not ask any more. Raises StorageUnavailable.
        """
        data = await self._read_body(bytes_max)
        await self.look_again()
        if not data.strip():
            return {}
        if not is_json(self.request.mimetype.lower()):
            raise ApiError("INVALID_FILE_TYPE", "send the body as Content-Type: application/json")
        charset = self.request.mimetype_params.get("charset", "utf-8").lower()
        if charset not in ("utf-8", "utf8", "us-ascii"):
            # RFC 8259 section 8.1 has UTF-8 only; read as that, the words would be others, or the error a riddle.
            raise ApiError("INVALID_FILE_TYPE", "JSON is sent as UTF-8: leave charset out of the Content-Type")
        try:
            return decode_object(data, string_characters_max=bytes_max)
        except BadJson as fault:
            raise ApiError("BAD_REQUEST", f"the body cannot be read: {fault}") from None

    def refuse_coding(self) -> None:
        """Raises: ApiError 415 for a body that is encoded."""
        codings = self.request.headers.getlist("Content-Encoding")
        if any(coding.strip().lower() not in ("", "identity") for coding in codings):
            # RFC 9110 section 8.4: 415 for a coding that is not taken; section 12.5.3: and what would be.
            text = "the body must come as it is: leave Content-Encoding out"
            raise ApiError("INVALID_FILE_TYPE", text, headers={"Accept-Encoding": "identity"})

    async def _read_body(self, bytes_max: int) -> bytes:
        """The raw body. Raises ApiError: 415 encoded, 413 longer than *bytes_max*, 408 when it does not come."""
        self.refuse_coding()
        too_large = ApiError("FILE_TOO_LARGE", f"the body is longer than {bytes_max} bytes")
        if (self.request.content_length or 0) > bytes_max:
            raise too_large
        data = bytearray()
        with trio.move_on_after(BODY_SECONDS_MAX) as scope:
            async for part in self.request.body:
                data += part
                if len(data) > bytes_max:
                    raise too_large
        if scope.cancelled_caught:
            raise ApiError("REQUEST_TIMEOUT", f"the body did not come within {BODY_SECONDS_MAX:g} s")
        return bytes(data)


Handler = Callable[[Call], Awaitable[Answer]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Operation:
    """One thing that can be asked for."""

    method: str
    path: str
    handler: Handler
    tag: str
    auth: Auth
    body: type[BaseModel] | None
    reads_body: type[BaseModel] | None  # what the handler reads by itself, for the documentation
    query: type[BaseModel] | None
    answer: Any  # the model of `data`
    whole: type[BaseModel] | None  # the model of the whole answer, where it is not the usual envelope
    status: int
    or_status: int | None
    also: tuple[tuple[str, str], ...]
    is_development: bool
    is_hidden: bool
    is_by_itself: bool  # a client says it also when nobody sits there

    @property
    def is_input(self) -> bool:
        """Whether it shows that somebody sits there: they change something."""
        return self.method not in SAFE_METHODS and not self.is_by_itself


class Operations:
    """The operations of one resource."""

    def __init__(self, tag: str) -> None:
        self.tag = tag
        self.all: list[Operation] = []

    def declare(
        self,
        method: str,
        path: str,
        *,
        auth: Auth = "user",
        body: type[BaseModel] | None = None,
        reads_body: type[BaseModel] | None = None,
        query: type[BaseModel] | None = None,
        answer: Any = None,
        whole: type[BaseModel] | None = None,
        status: int = 200,
        or_status: int | None = None,
        also: Sequence[str] = (),
        is_development: bool = False,
        is_hidden: bool = False,
        is_by_itself: bool = False,
    ) -> Callable[[Handler], Handler]:
        """Declare the decorated handler.

        `also`: further routes, as "GET /path" or a path for the same method. `or_status`: another status of a success.
        """

        def decorate(handler: Handler) -> Handler:
            assert handler.__doc__, f"{path}: the docstring of a handler is its documentation"
            others = [tuple(route.split(" ", 1)) if " " in route else (method, route) for route in also]
            self.all.append(
                Operation(
                    method=method,
                    path=path,
                    handler=handler,
                    tag=self.tag,
                    auth=auth,
                    body=body,
                    reads_body=reads_body,
                    query=query,
                    answer=answer,
                    whole=whole,
                    status=status,
                    or_status=or_status,
                    also=tuple((other[0], other[1]) for other in others),
                    is_development=is_development,
                    is_hidden=is_hidden,
                    is_by_itself=is_by_itself,
                )
            )
            return handler

        return decorate

    def get(self, path: str, **options: Any) -> Callable[[Handler], Handler]:
        """Declare a GET; options as for `declare`."""
        return self.declare("GET", path, **options)

    def post(self, path: str, **options: Any) -> Callable[[Handler], Handler]:
        """Declare a POST; options as for `declare`."""
        return self.declare("POST", path, **options)

    def put(self, path: str, **options: Any) -> Callable[[Handler], Handler]:
        """Declare a PUT; options as for `declare`."""
        return self.declare("PUT", path, **options)

    def patch(self, path: str, **options: Any) -> Callable[[Handler], Handler]:
        """Declare a PATCH; options as for `declare`."""
        return self.declare("PATCH", path, **options)

    def delete(self, path: str, **options: Any) -> Callable[[Handler], Handler]:
        """Declare a DELETE; options as for `declare`."""
        return self.declare("DELETE", path, **options)


def peer_of(scope: Any) -> str:
    """The address at the other end of the connection of an ASGI scope."""
    client = scope.get("client") if scope else None
    return str(client[0]) if client else ""


class _IdModel(BaseModel):
    value: Id


def _validate(model: type[M], value: object, *, as_field: str = "") -> M:
    try:
        return model.model_validate(value)
    except ValidationError as fault:
        details = [{"field": as_field or _place(error["loc"]), "message": _words(error)} for error in fault.errors()]
        first = details[0]
        named = f"{first['field']}: {first['message']}" if first["field"] else first["message"]
        raise ApiError("VALIDATION", named, details=details[:20]) from None


def _place(location: tuple[int | str, ...]) -> str:
    return ".".join(str(part) for part in location)


def _words(error: Any) -> str:
    if error["type"] == "missing":
        return "this is required"
    text = str(error["msg"]).removeprefix("Value error, ").rstrip(".")
    return text[:1].lower() + text[1:]
