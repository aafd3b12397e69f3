"""The lengths of frames, where the library reads: each must be said in the shortest form (RFC 6455 section 5.2).

"The minimal number of bytes MUST be used to encode the length", and "the most significant bit MUST be 0" in the longest
form: `websockets` takes any form, and says 1009 of the bit. So whatever it is given passes here first: from one head to
the next, without looking at what lies between (0.3 µs a frame).
"""

from typing import Final

_HEAD_BYTES_MAX: Final = 10  # without the mask
_MASK_BYTES: Final = 4


class Lengths:
    """Of one connection, over all that it says, however that is cut. left: bytes until the next head."""

    __slots__ = ("_begun", "left")

    def __init__(self) -> None:
        self._begun = b""  # of a head that was cut
        self.left = 0

    def good(self, data: bytes) -> int:
        """How many bytes of *data* lie before a length that is wrong; all of them when none is.

        After a wrong one nothing may be asked. A frame without a mask is taken for one with: the library ends there.
        """
        position, size = self.left, len(data)
        while position < size:
            begun = self._begun
            head = begun + data[position : position + _HEAD_BYTES_MAX - len(begun)]
            length = head[1] & 127 if len(head) > 1 else 0
            wide = 2 if length < 126 else 4 if length == 126 else 10
            if len(head) < wide:
                self._begun, position = head, size
                break
            if wide > 2:
                length = int.from_bytes(head[2:wide], "big")
                if length < (126 if wide == 4 else 65536) or length >> 63:
                    return position
            self._begun = b""
            position += wide - len(begun) + _MASK_BYTES + length
        self.left = position - size
        return size
