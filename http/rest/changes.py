"""Edits and deletions over HTTP. The answer means stored; every member is told, on every transport.

An `Idempotency-Key` keeps which change it was and not what was said, so that nothing of what was deleted since is said
again: the message in an answer is as it stands now.
"""

from dataclasses import replace
from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from greenroom.actors.room.commands import Changed, Delete, Edit
from greenroom.http.errors import ApiError
from greenroom.http.models import Input, Output
from greenroom.http.rest.messages import MessageData, checked_content
from greenroom.http.rest.rooms import ask_room, charge_change, once
from greenroom.http.rest.rows import message_row
from greenroom.http.route import Answer, Call, Operations

operations = Operations("messages")


class MessageEdit(Input):
    """What the message is to say."""

    content: Annotated[str, AfterValidator(checked_content)] = Field(description="1 to 10,000 code points")


class MessageDeleted(Output):
    """The message is erased. seq: of the deletion in its conversation."""

    deleted: Literal[True]
    message_id: int
    conversation_id: int
    seq: int


@operations.put("/api/messages/{id}", body=MessageEdit, answer=MessageData)
async def edit_message(call: Call) -> Answer:
    """Say something else in the place of what one has said, within 15 minutes (MESSAGE_EDIT_SECONDS). It counts as a
    message, unless it changes nothing."""
    message_id, edit = call.id(), call.body(MessageEdit)
    room_id = await _room_of(call, message_id)
    command = Edit(call.user_id, message_id, edit.content)

    async def work() -> Answer:
        changed = await _charged(call, room_id, command)
        return Answer({"messageId": message_id, "conversationId": room_id, "seq": changed.seq})

    kept = await once(call, f"PUT /api/messages/{message_id}", edit, work)
    conversations = call.services.room_services.conversations
    marks = await conversations.read_marks(room_id, call.user_id)  # first: what is read then is told at once
    message = await conversations.message(message_id, call.user_id)
    if message is None or marks is None:
        raise _no_message()
    data = {"message": message_row(message, room_id, call.user_id, marks)}
    return replace(kept, data=data | {"messageId": message_id, "conversationId": room_id})


@operations.delete("/api/messages/{id}", answer=MessageDeleted)
async def delete_message(call: Call) -> Answer:
    """Erase what one has said, or as an admin of the group what others have. Again is harmless."""
    message_id = call.id()
    room_id = await _room_of(call, message_id)

    async def work() -> Answer:
        changed = await ask_room(call, room_id, Delete(call.user_id, message_id))
        return Answer({"deleted": True, "messageId": message_id, "conversationId": room_id, "seq": changed.seq})

    return await once(call, f"DELETE /api/messages/{message_id}", None, work)


async def _room_of(call: Call, message_id: int) -> int:
    room_id = await call.services.room_services.conversations.room_of_message(message_id, call.user_id)
    if room_id is None:
        raise _no_message()
    return room_id


def _no_message() -> ApiError:
    return ApiError("MESSAGE_NOT_FOUND", "there is no such message, or not for you")


async def _charged(call: Call, room_id: int, command: Edit) -> Changed:
    """Ask the room. Raises: as `charge_change`, and ApiError 400 for another's message or one too old."""
    try:
        return await charge_change(call, room_id, command)
    except ApiError as fault:
        if fault.code == "FORBIDDEN":  # the status that the replaced system has for it
            raise ApiError("BAD_REQUEST", fault.message) from None
        raise
