"""What waits for a socket in pieces: those that are handed over at once, and what is left when some bytes are out."""

from collections import deque
from collections.abc import Sequence

Piece = bytes | bytearray


def take_some(queue: deque[Piece], bytes_max: int) -> list[Piece]:
    """Take the first of *queue*, until they are so many bytes or more."""
    pieces, size = list[Piece](), 0
    while queue and size < bytes_max:
        pieces.append(queue.popleft())
        size += len(pieces[-1])
    return pieces


def rest_of(pieces: Sequence[Piece], sent: int) -> list[Piece]:
    """What is left of *pieces* when *sent* bytes of them, and not all, are out."""
    for index, piece in enumerate(pieces):
        if sent < len(piece):
            return [bytes(piece[sent:]) if sent else piece, *pieces[index + 1 :]]
        sent -= len(piece)
    raise AssertionError("all of it was sent")
