"""Close codes and error numbers: one table each, from which code, documents and clients take them.

The range of a close code carries what a client does: 40xx stop, 41xx back off, 42xx resume now. Compat clients get
the standard code beside it: no code keeps those away, so what must stay out is refused before the upgrade.
"""

from dataclasses import dataclass
from typing import Final

from greenroom.actors.errors import RefusalCode


@dataclass(frozen=True, slots=True)
class CloseCode:
    """A reason to close. code: for greenroom.v1; compat: for the existing client."""

    code: int
    compat: int
    reason: str


NORMAL: Final = CloseCode(1000, 1000, "normal")
PROTOCOL_ERROR: Final = CloseCode(1002, 1002, "protocol error")
INVALID_TEXT: Final = CloseCode(1007, 1007, "text is not UTF-8")
TOO_BIG: Final = CloseCode(1009, 1009, "frame too big")
UNAUTHENTICATED: Final = CloseCode(4001, 1008, "unauthenticated")
TOKEN_EXPIRED: Final = CloseCode(4002, 1008, "token expired")
FORBIDDEN: Final = CloseCode(4003, 1008, "forbidden")
PROTOCOL_VIOLATION: Final = CloseCode(4004, 1008, "protocol violation")
TOO_MANY_CONNECTIONS: Final = CloseCode(4007, 1008, "too many connections")
INTERNAL: Final = CloseCode(4100, 1011, "internal error")
FLOODING: Final = CloseCode(4102, 1008, "flooding")
UNFINISHED: Final = CloseCode(4104, 1013, "too many messages have begun: say it again")
AUTH_TIMEOUT: Final = CloseCode(4103, 1008, "no start within the time")
DRAINING: Final = CloseCode(4200, 1012, "the server restarts")
SLOW_CONSUMER: Final = CloseCode(4201, 1012, "slow consumer")
HEARTBEAT_TIMEOUT: Final = CloseCode(4202, 1012, "nothing was heard")


@dataclass(frozen=True, slots=True)
class ErrorCode:
    """An error a command can be answered with. is_recoverable: worth sending again unchanged."""

    number: int
    name: str
    category: str
    is_recoverable: bool = False


BAD_JSON: Final = ErrorCode(1001, "BAD_JSON", "protocol")
BAD_FRAME: Final = ErrorCode(1002, "BAD_FRAME", "protocol")
UNKNOWN_TYPE: Final = ErrorCode(1004, "UNKNOWN_TYPE", "protocol")
INVALID_CONTENT: Final = ErrorCode(1005, "INVALID_CONTENT", "content")
TOKEN_INVALID: Final = ErrorCode(2001, "TOKEN_INVALID", "auth")
TOKEN_EXPIRED_ERROR: Final = ErrorCode(2002, "TOKEN_EXPIRED", "auth")
ACCESS_DENIED: Final = ErrorCode(2003, "ACCESS_DENIED", "auth")
CONVERSATION_NOT_FOUND: Final = ErrorCode(3001, "CONVERSATION_NOT_FOUND", "room")
MESSAGE_NOT_FOUND: Final = ErrorCode(3002, "MESSAGE_NOT_FOUND", "room")
USER_BLOCKED: Final = ErrorCode(3003, "USER_BLOCKED", "room")
NOT_MEMBER: Final = ErrorCode(3004, "NOT_MEMBER", "room")
ROOM_FULL: Final = ErrorCode(3005, "ROOM_FULL", "room")
EDIT_WINDOW_CLOSED: Final = ErrorCode(3007, "EDIT_WINDOW_CLOSED", "room")
FILE_NOT_FOUND: Final = ErrorCode(3014, "FILE_NOT_FOUND", "content")
TOO_MANY_MARKS: Final = ErrorCode(3015, "TOO_MANY_MARKS", "room")
CLIENT_ID_CONFLICT: Final = ErrorCode(3010, "CLIENT_ID_CONFLICT", "room")
USER_NOT_FOUND: Final = ErrorCode(3013, "USER_NOT_FOUND", "user")
RATE_LIMITED: Final = ErrorCode(4291, "RATE_LIMITED", "limit", is_recoverable=True)
TOO_MANY_INFLIGHT: Final = ErrorCode(4292, "TOO_MANY_INFLIGHT", "limit", is_recoverable=True)
TOO_MANY_ROOMS: Final = ErrorCode(4293, "TOO_MANY_ROOMS", "limit")
SERVER_ERROR: Final = ErrorCode(5001, "SERVER_ERROR", "server")
STORAGE_UNAVAILABLE: Final = ErrorCode(5002, "STORAGE_UNAVAILABLE", "server", is_recoverable=True)
TIMEOUT: Final = ErrorCode(5003, "TIMEOUT", "server", is_recoverable=True)

BY_REFUSAL: Final[dict[RefusalCode, ErrorCode]] = {
    RefusalCode.CONVERSATION_NOT_FOUND: CONVERSATION_NOT_FOUND,
    RefusalCode.NOT_MEMBER: NOT_MEMBER,
    RefusalCode.NOT_ADMIN: ACCESS_DENIED,
    RefusalCode.NOT_SENDER: ACCESS_DENIED,
    RefusalCode.NOT_OPEN: ACCESS_DENIED,
    RefusalCode.INVALID_CONTENT: INVALID_CONTENT,
    RefusalCode.CLIENT_ID_CONFLICT: CLIENT_ID_CONFLICT,
    RefusalCode.USER_BLOCKED: USER_BLOCKED,
    RefusalCode.MESSAGE_NOT_FOUND: MESSAGE_NOT_FOUND,
    RefusalCode.FILE_NOT_FOUND: FILE_NOT_FOUND,
    RefusalCode.EDIT_WINDOW_CLOSED: EDIT_WINDOW_CLOSED,
    RefusalCode.TOO_MANY_MARKS: TOO_MANY_MARKS,
    RefusalCode.RATE_LIMITED: RATE_LIMITED,
    RefusalCode.ROOM_FULL: ROOM_FULL,
}
