"""What a client is told when something is wrong: the codes, their statuses, and the envelope around every answer.

    {"success": true,  "data": …,                              "meta": {"timestamp": …, "requestId": …}}
    {"success": false, "error": {"code", "message", "details"?, "retryAfter"?}, "meta": {…}}

The codes down to SERVICE_UNAVAILABLE are those of the system that greenroom replaces (existing-system.md section 1.0),
so its client knows them; the rest are ours. `ApiError` is the only exception that handlers raise on purpose. A message
says what happened and what to do, and never holds a secret, a traceback, or what another user wrote.
"""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Final

STATUS_OF: Final[Mapping[str, int]] = {
    "UNAUTHORIZED": 401,
    "INVALID_CREDENTIALS": 401,
    "TOKEN_EXPIRED": 401,
    "INVALID_TOKEN": 401,
    "FORBIDDEN": 403,
    "QUOTA_EXCEEDED": 403,
    "OPERATION_NOT_ALLOWED": 403,
    "VALIDATION": 400,
    "INVALID_INPUT": 400,
    "MISSING_FIELD": 400,
    "BAD_REQUEST": 400,
    "UPLOAD_ERROR": 400,
    "NOT_FOUND": 404,
    "FILE_NOT_FOUND": 404,
    "ALREADY_EXISTS": 409,
    "CONFLICT": 409,
    "FILE_TOO_LARGE": 413,
    "INVALID_FILE_TYPE": 415,
    "INSUFFICIENT_FUNDS": 402,
    "RATE_LIMIT_EXCEEDED": 429,
    "INTERNAL": 500,
    "DATABASE": 500,
    "NOT_IMPLEMENTED": 501,
    "SERVICE_UNAVAILABLE": 503,
    # Ours: what the table above has no word for.
    "USER_NOT_FOUND": 404,
    "USER_BLOCKED": 403,
    "CONVERSATION_NOT_FOUND": 404,
    "MESSAGE_NOT_FOUND": 404,
    "METHOD_NOT_ALLOWED": 405,
    "REQUEST_TIMEOUT": 408,
    "RANGE_NOT_SATISFIABLE": 416,
    "UPGRADE_REQUIRED": 426,
    "HTTP_VERSION_NOT_SUPPORTED": 505,  # the client's fault, whatever its number
}

# For faults that arrive with a status only (Quart's and Werkzeug's own).
CODE_OF: Final[Mapping[int, str]] = {
    400: "BAD_REQUEST",
    401: "UNAUTHORIZED",
    403: "FORBIDDEN",
    404: "NOT_FOUND",
    405: "METHOD_NOT_ALLOWED",
    408: "REQUEST_TIMEOUT",
    409: "CONFLICT",
    413: "FILE_TOO_LARGE",
    415: "INVALID_FILE_TYPE",
    416: "RANGE_NOT_SATISFIABLE",
    426: "UPGRADE_REQUIRED",
    429: "RATE_LIMIT_EXCEEDED",
    501: "NOT_IMPLEMENTED",
    503: "SERVICE_UNAVAILABLE",
    505: "HTTP_VERSION_NOT_SUPPORTED",
}


class ApiError(Exception):
    """An answer that is not a success. `code` is one of STATUS_OF; `retry_after` is in whole seconds."""

    def __init__(
        self,
        code: str,
        message: str,
        *,
        details: object = None,
        headers: Mapping[str, str] | None = None,
        retry_after: int | None = None,
    ) -> None:
        super().__init__(message)
        self.code = code
        self.status = STATUS_OF[code]
        self.message = message
        self.details = details
        self.retry_after = retry_after
        self.headers: dict[str, str] = dict(headers or {})
        if retry_after is not None:
            self.headers["Retry-After"] = str(retry_after)
        if self.status == 401:
            # RFC 9110 section 11.6.1: a 401 says what would be accepted. "Bearer" opens no password window.
            self.headers.setdefault("WWW-Authenticate", 'Bearer realm="greenroom"')

    def body(self, request_id: str) -> dict[str, object]:
        """The envelope of this error."""
        return failure(self.code, self.message, request_id, details=self.details, retry_after=self.retry_after)


def success(data: object, request_id: str, **top_level: object) -> dict[str, object]:
    """The envelope of an answer; `top_level` fields stand beside `data`, for clients that look for them there."""
    return {"success": True, **top_level, "data": data, "meta": meta(request_id)}


def failure(
    code: str, message: str, request_id: str, *, details: object = None, retry_after: int | None = None
) -> dict[str, object]:
    """The envelope of a failure."""
    error: dict[str, object] = {"code": code, "message": message}
    if details is not None:
        error["details"] = details
    if retry_after is not None:
        error["retryAfter"] = retry_after
    return {"success": False, "error": error, "meta": meta(request_id)}


def meta(request_id: str) -> dict[str, str]:
    """When the answer was made (ISO 8601, UTC, milliseconds), and for which request."""
    return {"timestamp": timestamp(datetime.now(UTC)), "requestId": request_id}


def timestamp(moment: datetime) -> str:
    """ISO 8601 as JavaScript writes it: milliseconds and a Z."""
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
