"""What can go wrong for who uses the client.

ClientRefused   the server will not have us: ends the client
Refused         the server answers with an error
ServerAway      nobody answers
OutboxFull      too much was said while nobody answered
"""

from typing import Final

WORTH_ANOTHER_TRY: Final = frozenset((4291, 4292, 5002, 5003))


class ClientRefused(Exception):
    """The server will not have this client; trying again would not help. code: of the close, or the HTTP status.

    A `token` that raises it ends the client as well.
    """

    def __init__(self, code: int, message: str) -> None:
        super().__init__(message)
        self.code = code


class Refused(Exception):
    """A command or request was answered with an error. code: the number of a frame, or the HTTP status."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(message)
        self.code = code


def is_worth_another_try(refused: Refused) -> bool:
    """The same command may go well in a moment."""
    return refused.code in WORTH_ANOTHER_TRY


class ServerAway(Exception):
    """Nobody answers, or the connection was lost before the answer."""


class OutboxFull(Exception):
    """LINES_MAX lines wait for the server."""
