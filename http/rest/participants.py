"""Who is in a conversation, over HTTP: look, bring in, let go, enter an open group.

The room decides: an admin of a group brings people in and removes them, everybody may leave a group, and an open group
is entered by any signed-in user. Each of these may be repeated without harm; whoever hears the room is told, and who
was removed hears nothing more of it.
"""

from dataclasses import replace
from typing import Annotated, Final

from pydantic import AliasChoices, Field

from greenroom.actors.room.commands import AddMembers, JoinOpen, MembersChanged, RemoveMember
from greenroom.http.errors import ApiError
from greenroom.http.models import Input, Output, WholeNumber
from greenroom.http.rest.conversations import People
from greenroom.http.rest.rooms import REPLAY_HEADER, ask_room, charge, no_conversation, once, require_users
from greenroom.http.rest.rows import ConversationRow, ParticipantRow, conversation_row, participant_row
from greenroom.http.route import Answer, Call, Operations

operations = Operations("participants")

PAGE_MAX: Final = 1000


class ParticipantPage(Input):
    """Which part of the members: those whose ids follow `after`."""

    limit: Annotated[WholeNumber, Field(ge=1, le=PAGE_MAX)] = PAGE_MAX
    after: Annotated[WholeNumber, Field(ge=0, le=2**53 - 1)] = 0


class NewParticipants(Input):
    """Who is to come in."""

    user_ids: Annotated[People, Field(min_length=1)] = Field(
        validation_alias=AliasChoices("userIds", "user_ids", "participantIds", "participants")
    )


class ParticipantList(Output):
    """Members by id."""

    participants: list[ParticipantRow]
    has_more: bool


class ParticipantsAdded(Output):
    """Who came in by this request: people who were in it already are left out."""

    conversation_id: int
    added: list[int]


class Entered(Output):
    """The conversation that one came into."""

    conversation_id: int
    conversation: ConversationRow | None = Field(description="null: a repeated request of who is no longer in it")


class ParticipantRemoved(Output):
    """Who is no longer in the conversation."""

    conversation_id: int
    removed: int


@operations.get("/api/conversations/{id}/participants", query=ParticipantPage, answer=ParticipantList)
async def list_participants(call: Call) -> Answer:
    """The members of a conversation that one is in."""
    page, conversations = call.query(ParticipantPage), call.services.room_services.conversations
    rows = await conversations.participants(call.id(), call.user_id, page.after, page.limit + 1)
    if not rows and not await conversations.is_member(call.id(), call.user_id):
        raise no_conversation()
    people = [participant_row(row) for row in rows[: page.limit]]
    return Answer({"participants": people, "hasMore": len(rows) > page.limit})


@operations.post("/api/conversations/{id}/participants", body=NewParticipants, answer=ParticipantsAdded)
async def add_participants(call: Call) -> Answer:
    """Bring people into a group; for its admins. It counts as a message if somebody comes in.

    They come in 128 at a time; a refusal in the middle names who is in (`details.added`), and a repetition brings in
    the rest.
    """
    room_id, body = call.id(), call.body(NewParticipants)

    async def work() -> Answer:
        if not await call.services.room_services.conversations.is_member(room_id, call.user_id):
            raise no_conversation()
        await require_users(call, tuple(body.user_ids))
        return Answer({"conversationId": room_id, "added": await _bring_in(call, room_id, tuple(body.user_ids))})

    return await once(call, f"POST /api/conversations/{room_id}/participants", body, work)


async def _bring_in(call: Call, room_id: int, user_ids: tuple[int, ...]) -> list[int]:
    """Who came in. The room takes so many at a time, and has told of most of them before it is asked again.

    Whoever came in stays in: a request that ends in between is repeated for the rest. A refusal names them.
    """
    command = AddMembers(call.user_id, user_ids)
    changed = await charge(call, room_id, command, _is_new)
    added = list(changed.user_ids)
    while changed.left_over:
        await call.services.room_services.hub.wait_told(room_id)
        try:
            changed = await ask_room(call, room_id, AddMembers(call.user_id, changed.left_over))
        except ApiError as refused:
            raise ApiError(refused.code, refused.message, details={"added": added}) from refused
        added += changed.user_ids
    return added


@operations.delete("/api/conversations/{id}/participants/{userId}", answer=ParticipantRemoved)
async def remove_participant(call: Call) -> Answer:
    """Leave a group, or remove somebody from it as its admin."""
    room_id, user_id = call.id(), call.id("userId")

    async def work() -> Answer:
        changed = await ask_room(call, room_id, RemoveMember(call.user_id, user_id))
        if not changed.user_ids:
            raise ApiError("USER_NOT_FOUND", "this user is not in the conversation")
        return Answer({"conversationId": room_id, "removed": user_id})

    return await once(call, f"DELETE /api/conversations/{room_id}/participants/{user_id}", None, work)


@operations.post("/api/conversations/{id}/join", answer=Entered)
async def join_conversation(call: Call) -> Answer:
    """Enter an open group; it counts as a message. Who is in it already stays in it."""
    room_id, user_id = call.id(), call.user_id
    conversations = call.services.room_services.conversations

    async def work() -> Answer:
        # Storage is not asked first: who leaves this moment is in there still, and would come back for nothing.
        await charge(call, room_id, JoinOpen(user_id), _is_new, JoinOpen(user_id, is_over_limit=True))
        return Answer({"conversationId": room_id})

    answer = await once(call, f"POST /api/conversations/{room_id}/join", None, work)
    # Read when it is told, never kept: by then the last message may be deleted, or not for this user any more.
    row = await conversations.conversation_of(room_id, user_id)
    if row is None and REPLAY_HEADER not in answer.headers:
        raise no_conversation()  # removed again this moment
    conversation = None if row is None else conversation_row(row)
    return replace(answer, data={"conversationId": room_id, "conversation": conversation})


def _is_new(changed: MembersChanged) -> bool:
    return bool(changed.user_ids)
