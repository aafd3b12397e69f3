"""Refusals: what an actor answers when a command may not be done. Values, because they are expected.

The front maps each code to a frame's error number and an HTTP status (http/ws/codes.py, http/errors.py).
"""

import enum
from dataclasses import dataclass


class RefusalCode(enum.Enum):
    """Why. The names are those clients of the replaced system know."""

    CONVERSATION_NOT_FOUND = "there is no such conversation"
    NOT_MEMBER = "you are not a member of this conversation"
    NOT_ADMIN = "only an admin of the conversation may do this"
    NOT_SENDER = "only who said it may do this"
    NOT_OPEN = "this conversation cannot be entered without an invitation"
    INVALID_CONTENT = "the content is not acceptable"
    CLIENT_ID_CONFLICT = "this client id was used for another message"
    USER_BLOCKED = "one of you has blocked the other"
    MESSAGE_NOT_FOUND = "there is no such message"
    FILE_NOT_FOUND = "one of the files is not yours, is not there any more, or was sent before"
    EDIT_WINDOW_CLOSED = "the message is too old to be edited"
    RATE_LIMITED = "too many messages"
    TOO_MANY_MARKS = "there are as many reactions or pins as there may be"
    ROOM_FULL = "the conversation has as many members as it may"


@dataclass(frozen=True, slots=True)
class Refused:
    """The command changed nothing. *message* is a sentence for people."""

    code: RefusalCode
    message: str

    @classmethod
    def because(cls, code: RefusalCode) -> "Refused":
        """With the code's own sentence."""
        return cls(code, code.value)
