"""Envelopes that travel: a command with what another process must know of it, as a text.

A deadline travels as what is left of it, because no two clocks agree. The way back is the sender's business: it keeps
the envelope, and a number of its own for it. Hops travel, so that a cycle through two processes can be told.
"""

from dataclasses import dataclass
from typing import Any, cast

from greenroom.runtime.address import Address
from greenroom.runtime.codec import decode_value, encodable, encode_command, encode_value
from greenroom.runtime.envelope import Envelope, Question, ReplyTo
from greenroom.runtime.errors import NotDecodable, NotEncodable


@encodable("greenroom.parcel")
@dataclass(frozen=True, slots=True)
class Parcel:
    """What travels. seconds_left: None without end. hops: who waits for the answer, the first asker first.

    Nothing is placed on other nodes yet, so nobody reads the hops: they are for the check of call cycles there.
    """

    to: Address
    command: Any
    is_ask: bool
    seconds_left: float | None
    hops: tuple[tuple[Address, str], ...]

    def unpack(self, now: float, reply_to: ReplyTo | None = None) -> Envelope:
        """An envelope to deliver here at trio time *now*. An ask needs to know whom to tell. Raises: ValueError."""
        if self.is_ask is not (reply_to is not None):
            raise ValueError(f"{self.to}: an ask is unpacked with reply_to, a tell without")
        if reply_to is None:
            return Envelope(self.to, self.command)
        question = Question(self.to, self.command, reply_to)
        if self.seconds_left is not None:
            question.ends_at = now + self.seconds_left
        return question


def encode_envelope(envelope: Envelope, now: float) -> str:
    """The text of an envelope that leaves at trio time *now*; it stays as it is. Raises: NotEncodable."""
    if envelope.parts or envelope.stream is not None:
        raise NotEncodable(f"{envelope.to}: a batch travels command by command, and a stream not at all")
    encode_command(envelope.command)  # what is no command has a better error of its own
    left = None if envelope.ends_at == float("inf") else max(0.0, envelope.ends_at - now)
    chain = envelope.caller.chain() if envelope.caller is not None else ()
    hops = [(turn.envelope.to, type(turn.envelope.command).__name__) for turn in chain]
    return encode_value(Parcel(envelope.to, envelope.command, envelope.is_ask, left, tuple(reversed(hops))))


def decode_envelope(text: str) -> Parcel:
    """What a text says. Raises: NotDecodable."""
    parcel = decode_value(text)
    if not isinstance(parcel, Parcel) or not isinstance(cast("object", parcel.to), Address):
        raise NotDecodable(f"{text[:80]} is no envelope")
    return parcel
