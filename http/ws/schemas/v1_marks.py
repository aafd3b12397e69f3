"""Reactions and pins of greenroom.v1: what clients say, and what they are told as it happens."""

from typing import Annotated, Literal, NotRequired

from typing_extensions import TypedDict

from greenroom.http.ws.schemas.values import Count, GivenMessage, GivenRoom, Id, Milliseconds, Named, Place, says

Reaction = Annotated[str, says("An emoji or a short text: 1 to 32 Unicode code points, no control characters.")]


# -- what clients say -------------------------------------------------------------------------------------------------


class ReactData(TypedDict):
    """With what."""

    message: GivenMessage
    reaction: Reaction


class React(Named):
    """Reacts to a message; again is harmless. On one at most 20 reactions of one user, and 100 different ones."""

    type: Literal["react"]
    room: GivenRoom
    data: ReactData


class Unreact(Named):
    """Takes one's own reaction off a message; again is harmless."""

    type: Literal["unreact"]
    room: GivenRoom
    data: ReactData


class PinData(TypedDict):
    """Which."""

    message: GivenMessage


class Pin(Named):
    """Pins a message, as one of two or an admin of the group; again is harmless. At most 50 in a room."""

    type: Literal["pin"]
    room: GivenRoom
    data: PinData


class Unpin(Named):
    """Lets a pinned message go; again is harmless."""

    type: Literal["unpin"]
    room: GivenRoom
    data: PinData


# -- what the server says ---------------------------------------------------------------------------------------------


class ReactionsOfMessage(TypedDict):
    """A reaction to a message of a page."""

    reaction: str
    count: Annotated[Count, says("Of users that react so; not those whom the reader blocks.")]
    mine: Annotated[bool, says("Whether the reader is one of them.")]


class ReactionData(TypedDict):
    """To which, and with what."""

    id: Annotated[Id, says("Of the message.")]
    of: Annotated[Place, says("Where the message stands.")]
    sender: Annotated[Id, says("Who said the message.")]
    user: Annotated[Id, says("Who reacts.")]
    reaction: Annotated[str, says("Empty when the message was deleted since.")]
    on: Annotated[bool, says("Whether it was put on, or taken off.")]
    deleted: NotRequired[Annotated[Milliseconds, says("The message was deleted since, then.")]]


class ReactionEvent(TypedDict):
    """Somebody reacts to a message, or does so no more."""

    type: Literal["reaction"]
    room: Id
    seq: Place
    ts: Milliseconds
    data: ReactionData


class PinEventData(TypedDict):
    """Which, and who did it."""

    id: Annotated[Id, says("Of the message.")]
    of: Annotated[Place, says("Where the message stands.")]
    sender: Annotated[Id, says("Who said the message.")]
    by: Annotated[Id, says("Who pinned it, or let it go.")]
    on: Annotated[bool, says("Whether it is pinned.")]


class PinEvent(TypedDict):
    """A message was pinned in its room, or let go."""

    type: Literal["pin"]
    room: Id
    seq: Place
    ts: Milliseconds
    data: PinEventData
