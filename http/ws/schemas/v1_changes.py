"""What greenroom.v1 says of messages that were edited or deleted, and of changes in answers and in pages."""

from typing import Annotated, Literal, NotRequired

from typing_extensions import TypedDict

from greenroom.http.ws.schemas.values import Id, Milliseconds, Place, says


class ChangedData(TypedDict):
    """The change as it is stored."""

    messageId: Id
    seq: Annotated[Place, says("Of the change.")]
    ts: Milliseconds
    duplicate: NotRequired[Annotated[Literal[True], says("It was so before: nothing was changed.")]]


class StoredChange(TypedDict):
    """A change of a page: what the event of it says. Of `joined` and `left`, what `member` says."""

    seq: Place
    ts: Milliseconds
    change: Literal["edited", "deleted", "reaction", "pin", "joined", "left"]
    id: NotRequired[Annotated[Id, says("Of the message.")]]
    of: NotRequired[Annotated[Place, says("Where the message stands.")]]
    sender: NotRequired[Id]
    body: NotRequired[str]
    deleted: NotRequired[Milliseconds]
    by: NotRequired[Id]
    user: NotRequired[Id]
    reaction: NotRequired[str]
    on: NotRequired[bool]
    role: NotRequired[Literal["admin", "member"]]


class EditedData(TypedDict):
    """Which, and what it says now."""

    id: Annotated[Id, says("Of the message.")]
    of: Annotated[Place, says("Where the message stands.")]
    sender: Id
    body: str
    deleted: NotRequired[Annotated[Milliseconds, says("Deleted since, then: the body is empty.")]]


class MessageEdited(TypedDict):
    """A message says something else from here on."""

    type: Literal["message_edited"]
    room: Id
    seq: Place
    ts: Milliseconds
    data: EditedData


class DeletedData(TypedDict):
    """Which, and who did it."""

    id: Annotated[Id, says("Of the message.")]
    of: Annotated[Place, says("Where the message stands.")]
    sender: Id
    by: Annotated[Id, says("The sender, or an admin.")]


class MessageDeleted(TypedDict):
    """What a message said is erased."""

    type: Literal["message_deleted"]
    room: Id
    seq: Place
    ts: Milliseconds
    data: DeletedData
