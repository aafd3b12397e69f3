"""The first frame of a greenroom.v1 connection: what the server is, and the limits of all that a client may say."""

from typing import Annotated, Literal, NotRequired

from typing_extensions import TypedDict

from greenroom.http.ws.schemas.values import Count, Milliseconds, says


class Limits(TypedDict):
    """What a connection may do; a limit that is off is absent."""

    frame: Annotated[Count, says("Bytes of a frame.")]
    inflight: Annotated[Count, says("Commands of a connection that may wait for answers; more are error 4292.")]
    rooms: Annotated[Count, says("Rooms that a connection joins.")]
    summaries: Annotated[Count, says("Rooms that it follows by summaries.")]
    commands: Annotated[Count, says("Commands in one frame.")]
    send: NotRequired[Annotated[str, says("Messages of a user in any 60 seconds, as `50/60s`.")]]
    cmds: NotRequired[Annotated[str, says("Commands, alike.")]]
    typing: NotRequired[Annotated[str, says("Of these `typing`, alike.")]]


class HelloData(TypedDict):
    """What the server is, and what it takes."""

    v: Annotated[Literal[1], says("The version.")]
    node: str
    hb: Annotated[Milliseconds, says("A ping comes after so long a silence.")]
    hbGrace: Annotated[Milliseconds, says("And the end so much later.")]
    authWithin: Annotated[Milliseconds, says("`start` must follow within this time.")]
    limits: Limits
    features: list[str]
    conn: Annotated[str, says("Of this connection.")]
    now: Milliseconds


class Hello(TypedDict):
    """The first frame."""

    type: Literal["hello"]
    data: HelloData
