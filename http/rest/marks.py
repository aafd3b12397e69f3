"""Reactions and pins over HTTP. The answer means stored; every member is told, on every transport.

What holds already changes nothing: each may be asked for again, with an `Idempotency-Key` or without.
"""

from dataclasses import replace
from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from greenroom.actors.room.commands import Changed, Pin, React
from greenroom.actors.room.marks import reaction_fault
from greenroom.http.errors import ApiError
from greenroom.http.models import Input, Output
from greenroom.http.rest.rooms import charge_change, no_conversation, once
from greenroom.http.rest.rows import MessageRow, message_row
from greenroom.http.route import Answer, Call, Operations

operations = Operations("messages")


def _checked_reaction(text: str) -> str:
    fault = reaction_fault(text)
    if fault is not None:
        raise ValueError(fault)
    return text


class ReactionWrite(Input):
    """With what to react."""

    reaction: Annotated[str, AfterValidator(_checked_reaction)] = Field(
        description="an emoji or a short text: 1 to 32 code points, no control characters"
    )


class ReactionData(Output):
    """What holds now. seq: of the change in its conversation; of what was not there, that of the message."""

    message_id: int
    conversation_id: int
    reaction: str
    on: bool
    seq: int
    duplicate: bool = Field(description="it held already")


class PinData(Output):
    """What holds now. seq, duplicate: as of a reaction."""

    message_id: int
    conversation_id: int
    pinned: bool
    seq: int
    duplicate: bool


class PinList(Output):
    """The messages that are pinned, the one that was pinned last first."""

    messages: list[MessageRow]
    conversation_id: int


@operations.post("/api/messages/{id}/reactions", body=ReactionWrite, answer=ReactionData)
async def add_reaction(call: Call) -> Answer:
    """React to a message. On one at most 20 reactions of one user, and 100 different ones (403 QUOTA_EXCEEDED)."""
    return await _react(call, "POST", is_on=True)


@operations.delete("/api/messages/{id}/reactions", body=ReactionWrite, answer=ReactionData)
async def remove_reaction(call: Call) -> Answer:
    """Take one's own reaction off a message."""
    return await _react(call, "DELETE", is_on=False)


async def _react(call: Call, method: Literal["POST", "DELETE"], *, is_on: bool) -> Answer:
    message_id, write = call.id(), call.body(ReactionWrite)
    room_id = await _room_of(call, message_id)

    async def work() -> Answer:
        changed = await charge_change(call, room_id, React(call.user_id, message_id, write.reaction, is_on))
        return Answer(_told(message_id, room_id, changed))

    kept = await once(call, f"{method} /api/messages/{message_id}/reactions", write, work)
    assert isinstance(kept.data, dict)  # what it was is not kept: the message may be deleted
    return replace(kept, data=kept.data | {"reaction": write.reaction, "on": is_on})


@operations.put("/api/messages/{id}/pin", answer=PinData)
async def pin_message(call: Call) -> Answer:
    """Pin a message, as one of two or an admin of the group. At most 50 in a conversation (403 QUOTA_EXCEEDED)."""
    return await _pin(call, "PUT", is_on=True)


@operations.delete("/api/messages/{id}/pin", answer=PinData)
async def unpin_message(call: Call) -> Answer:
    """Let a pinned message go."""
    return await _pin(call, "DELETE", is_on=False)


async def _pin(call: Call, method: Literal["PUT", "DELETE"], *, is_on: bool) -> Answer:
    message_id = call.id()
    room_id = await _room_of(call, message_id)

    async def work() -> Answer:
        changed = await charge_change(call, room_id, Pin(call.user_id, message_id, is_on))
        return Answer({"pinned": is_on, **_told(message_id, room_id, changed)})

    return await once(call, f"{method} /api/messages/{message_id}/pin", None, work)


@operations.get("/api/conversations/{id}/pins", answer=PinList)
async def list_pins(call: Call) -> Answer:
    """The messages that are pinned in a conversation."""
    conversation_id, conversations = call.id(), call.services.room_services.conversations
    marks = await conversations.read_marks(conversation_id, call.user_id)  # first: what is read then is told at once
    messages = await conversations.pinned_messages(conversation_id, call.user_id)
    if marks is None:
        raise no_conversation()
    rows = [message_row(one, conversation_id, call.user_id, marks) for one in messages if not one.is_hidden]
    return Answer({"messages": rows, "conversationId": conversation_id})


async def _room_of(call: Call, message_id: int) -> int:
    room_id = await call.services.room_services.conversations.room_of_message(message_id, call.user_id)
    if room_id is None:
        raise ApiError("MESSAGE_NOT_FOUND", "there is no such message, or not for you")
    return room_id


def _told(message_id: int, room_id: int, changed: Changed) -> dict[str, int | bool]:
    duplicate = changed.is_duplicate
    return {"messageId": message_id, "conversationId": room_id, "seq": changed.seq, "duplicate": duplicate}
