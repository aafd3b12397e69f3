"""What has been read, over HTTP, and what has not.

One marker per member and conversation, which only moves forwards: a message is read when the marker has reached its
seq. The room moves it, and tells the authors. Also here: whether messaging works.
"""

from typing import Annotated, Final, Literal

from pydantic import Field, StrictBool

from greenroom.actors.room.commands import Read
from greenroom.http.decode import INTEGER_MAX
from greenroom.http.errors import ApiError
from greenroom.http.models import Id, Input, Output, OwnId, WholeNumber
from greenroom.http.rest.rooms import ask_room, no_conversation, once, require_self
from greenroom.http.route import Answer, Call, Operations

operations = Operations("reading")

MESSAGES_MAX: Final = 200


class MessageRead(Input):
    """Nothing is needed. `userId`, which guide B's handler trusted, may only be one's own."""

    user_id: OwnId | None = None
    private: StrictBool = Field(default=False, description="nobody else is told")


class ConversationRead(Input):
    """How far: up to a seq, or the newest of some messages; with neither everything there is now."""

    seq: Annotated[WholeNumber, Field(ge=0, le=INTEGER_MAX)] | None = None
    message_ids: Annotated[list[Id], Field(min_length=1, max_length=MESSAGES_MAX)] | None = None
    private: StrictBool = Field(default=False, description="nobody else is told")


class ReadAnswer(Output):
    """Where the marker stands now."""

    read: Literal[True]
    message: str
    conversation_id: int
    seq: int


class UnreadCount(Output):
    """Messages of others that one has not read: at most 100 of each conversation are counted, and 1,000 in all."""

    unread_count: int


class MessagingHealth(Output):
    """Whether conversations can be woken and written to."""

    status: Literal["healthy", "unhealthy"]
    services: dict[str, str]


@operations.post("/api/messages/{id}/read", body=MessageRead, answer=ReadAnswer, also=["PUT /api/messages/{id}/read"])
async def read_message(call: Call) -> Answer:
    """Mark a message read, and what was said before it."""
    message_id, body = call.id(), call.body(MessageRead)
    await require_self(call, body.user_id, "userId")

    async def work() -> Answer:
        message = await call.services.room_services.conversations.message(message_id, call.user_id)
        if message is None:
            raise ApiError("MESSAGE_NOT_FOUND", "there is no such message, or not for you")
        return await _move(call, message.conversation_id, message.seq, is_private=body.private)

    return await once(call, f"POST /api/messages/{message_id}/read", body, work)


@operations.post("/api/conversations/{id}/read", body=ConversationRead, answer=ReadAnswer)
async def read_conversation(call: Call) -> Answer:
    """Mark a conversation read: up to `seq`, or up to the newest of `messageIds`, or whole."""
    room_id, body = call.id(), call.body(ConversationRead)
    if body.seq is not None and body.message_ids is not None:
        raise ApiError("VALIDATION", "send seq or messageIds, not both")

    async def work() -> Answer:
        seq = INTEGER_MAX if body.seq is None else body.seq
        if body.message_ids is not None:
            seq = await _newest(call, room_id, body.message_ids)
        return await _move(call, room_id, seq, is_private=body.private)

    return await once(call, f"POST /api/conversations/{room_id}/read", body, work)


async def _newest(call: Call, room_id: int, message_ids: list[int]) -> int:
    """The largest seq of these messages. Raises: ApiError 404 when one of them is not of this conversation."""
    conversations = call.services.room_services.conversations
    if not await conversations.is_member(room_id, call.user_id):
        raise no_conversation()
    seqs = await conversations.seqs(room_id, message_ids)
    if len(seqs) != len(set(message_ids)):
        raise ApiError("MESSAGE_NOT_FOUND", "one of these messages is not of this conversation")
    return max(seqs)


async def _move(call: Call, room_id: int, seq: int, *, is_private: bool) -> Answer:
    moved = await ask_room(call, room_id, Read(call.user_id, call.principal.name, seq, is_private))
    return Answer({"read": True, "message": "Message marked as read", "conversationId": room_id, "seq": moved.seq})


@operations.get("/api/messages/unread-count", answer=UnreadCount)
async def get_unread_count(call: Call) -> Answer:
    """How many messages of others one has not read."""
    return Answer({"unreadCount": await call.services.room_services.conversations.unread_count(call.user_id)})


@operations.get("/api/messaging/health", auth="nobody", answer=MessagingHealth)
async def get_messaging_health(call: Call) -> Answer:
    """Whether messaging works. 503 when it does not."""
    parts = (await call.services.checkup.result()).parts
    services = {name: parts[name] for name in ("database", "messaging")}
    is_well = all(state == "healthy" for state in services.values())
    status = "healthy" if is_well else "unhealthy"
    return Answer({"status": status, "services": services}, status=200 if is_well else 503, top={"status": status})
