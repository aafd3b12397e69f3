"""The first frame of a greenroom.v1 connection: what the server is, and the limits of all that a client may say."""

from typing import Annotated, Literal, NotRequired

from typing_extensions import TypedDict

from greenroom.http.ws.schemas.values import Count, Milliseconds, says


class Limits(TypedDict):
    """What a client may do; a limit that is off is absent."""

    frame: Annotated[Count, says("Bytes of a message, whole and inflated; more are 1009.")]
    fragments: Annotated[Count, says("Of one message; more are 1009.")]
    inflight: Annotated[Count, says("Commands of a connection that may wait for answers; more are error 4292.")]
    commands: Annotated[Count, says("Commands in one frame.")]
    rooms: Annotated[Count, says("Rooms that a connection joins; more are error 4293.")]
    summaries: Annotated[Count, says("Rooms that it follows by summaries, alike.")]
    watched: Annotated[Count, says("Users that it watches.")]
    id: Annotated[Count, says("Characters of the `id` of a command.")]
    clientId: Annotated[Count, says("Characters.")]
    device: Annotated[Count, says("Characters of its name.")]
    body: Annotated[Count, says("Unicode code points of a message.")]
    attachments: Annotated[Count, says("Of a message.")]
    mentions: Annotated[Count, says("Of a message.")]
    reaction: Annotated[Count, says("Unicode code points.")]
    reactions: Annotated[Count, says("Different ones of a user on a message; more are error 3015.")]
    reactionsOnMessage: Annotated[Count, says("Different ones of all, alike.")]
    pins: Annotated[Count, says("In a room; more are error 3015.")]
    note: Annotated[Count, says("Characters of what is said beside a status.")]
    reason: Annotated[Count, says("Characters of why somebody is blocked or reported.")]
    history: Annotated[Count, says("Messages and changes in one answer to `history`.")]
    historyBytes: Annotated[Count, says("Bytes of text in it.")]
    members: Annotated[Count, says("In one answer to `members`.")]
    replay: Annotated[Count, says("What a resume replays of a log; farther back is a `gap`.")]
    roomMembers: Annotated[Count, says("Of a room; more are error 3005.")]
    smallRoom: Annotated[Count, says("Members of a room that is told typing, presence, and who has read how far.")]
    aside: Annotated[Count, says("Bytes that are read on while a room is too busy; what follows waits in TCP.")]
    outbox: Annotated[Count, says("Bytes that may wait for the client; more are 4201.")]
    outboxSeconds: Annotated[Count, says("For how long, alike, if fewer than 112 KiB are taken meanwhile.")]
    edit: NotRequired[Annotated[Count, says("Seconds for which a message may be edited; then error 3007.")]]
    sockets: NotRequired[Annotated[Count, says("Connections of a user; more are 429.")]]
    file: NotRequired[Annotated[Count, says("Bytes of an upload, over HTTP.")]]
    send: NotRequired[Annotated[str, says("Messages of a user in any 60 seconds, as `50/60s`.")]]
    cmds: NotRequired[Annotated[str, says("Commands, alike.")]]
    typing: NotRequired[
        Annotated[str, says("`typing`, counted by itself: over REST and `compat` it is a command too.")]
    ]
    uploads: NotRequired[Annotated[str, says("Uploads, alike.")]]


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
