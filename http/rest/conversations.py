"""Conversations over HTTP: make one, list one's own and the open ones, look at one.

A direct conversation has exactly two members and exists once for each pair, whoever asks first or at the same time; a
group has an admin, its creator. Whoever asks to see a conversation without being in it is told that there is none; who
asks its room to do something there (send, read, bring in, let go) is told that they are not in it (403 FORBIDDEN, on a
socket 3004 NOT_MEMBER). So it can be found out that an id is taken, and nothing else. Who is in a conversation
changes in participants.py, what is said in messages.py.
"""

import json
from dataclasses import replace
from functools import partial
from typing import Annotated, Any, Final, Literal

import trio
from pydantic import AfterValidator, AliasChoices, Field, StrictBool, StringConstraints

from greenroom.actors.errors import RefusalCode, Refused
from greenroom.http.errors import ApiError
from greenroom.http.models import Id, Input, Output, OwnId, WholeNumber, one_line
from greenroom.http.rest.rooms import (
    answer_of,
    claim_of,
    no_conversation,
    now_ms,
    refusal,
    require_self,
    require_together,
    require_users,
)
from greenroom.http.rest.rows import (
    ConversationRow,
    MessageRow,
    OpenConversationRow,
    conversation_row,
    message_row,
    open_conversation_row,
)
from greenroom.http.route import Answer, Call, Operations
from greenroom.storage.postgres.idempotency import Earlier, IdempotencyClaim, KeptAnswer
from greenroom.storage.postgres.new_conversation import NewConversation, NotMade

operations = Operations("conversations")

PEOPLE_MAX: Final = 1000  # named in one request; a group grows to MEMBERS_MAX by several
TITLE_CHARACTERS_MAX: Final = 255
PAGE_MAX: Final = 200
PAGE_DEFAULT: Final = 100  # the existing client asks once, for everything
FIRST_MESSAGES: Final = 50
OFFSET_MAX: Final = 1_000_000

Title = Annotated[
    str, StringConstraints(strip_whitespace=True, max_length=TITLE_CHARACTERS_MAX), AfterValidator(one_line)
]
People = Annotated[list[Id], Field(max_length=PEOPLE_MAX)]


class ConversationWrite(Input):
    """Whom to speak with. One other person, and no word of a group, is a direct conversation."""

    recipient_id: Id | None = None
    participant_ids: People | None = None
    participants: People | None = None
    is_group: StrictBool | None = None
    type: Literal["direct", "group"] | None = None
    title: Title | None = Field(default=None, validation_alias=AliasChoices("title", "name"))
    open: StrictBool | None = Field(default=None, description="a group that any signed-in user may enter")

    def people(self, creator_id: int) -> tuple[tuple[int, ...], bool]:
        """(the others, whether they are a group). Raises: ApiError."""
        given = [*(self.participant_ids or ()), *(self.participants or ())]
        if self.recipient_id is not None:
            given.insert(0, self.recipient_id)
        others = tuple(dict.fromkeys(user_id for user_id in given if user_id != creator_id))
        if self.recipient_id == creator_id or (given and not others and not self._is_said_group()):
            raise ApiError("VALIDATION", "Invalid recipient: nobody speaks with oneself")
        if len(others) > PEOPLE_MAX:
            raise ApiError("VALIDATION", f"name at most {PEOPLE_MAX} people at once")
        is_group = self._is_group(others)
        if not is_group and not others:
            raise ApiError("VALIDATION", "recipientId is required")
        if not is_group and (len(others) > 1 or self.open):
            raise ApiError("VALIDATION", "a direct conversation has exactly one other person and is never open")
        return others, is_group

    def _is_said_group(self) -> bool:
        return bool(self.is_group or self.type == "group" or self.open)

    def _is_group(self, others: tuple[int, ...]) -> bool:
        said = {self.is_group, None if self.type is None else self.type == "group"} - {None}
        if len(said) == 2:
            raise ApiError("VALIDATION", "isGroup and type contradict each other")
        return bool(said.pop()) if said else bool(self.open) or len(others) > 1


class Page(Input):
    """Which part of a list."""

    limit: Annotated[WholeNumber, Field(ge=1, le=PAGE_MAX)] = PAGE_DEFAULT
    offset: Annotated[WholeNumber, Field(ge=0, le=OFFSET_MAX)] = 0


class OwnPage(Page):
    """Which part of one's list. `userId`, which guide B's handler trusted, may only be one's own."""

    user_id: OwnId | None = None


class ConversationData(Output):
    """A conversation."""

    conversation: ConversationRow


class ConversationList(Output):
    """Conversations, the one with the newest activity first. unreadCount: over all of them, at most 1,000."""

    conversations: list[ConversationRow]
    unread_count: int
    has_more: bool


class OpenConversationList(Output):
    """Open groups, the one with the newest activity first."""

    conversations: list[OpenConversationRow]
    has_more: bool


class ConversationWithMessages(Output):
    """A conversation and its newest messages, oldest first."""

    conversation: ConversationRow
    messages: list[MessageRow]
    has_more: bool


@operations.post(
    "/api/conversations",
    body=ConversationWrite,
    answer=ConversationData,
    also=["/api/messages/conversations", "/api/messaging/conversations"],
)
async def create_conversation(call: Call) -> Answer:
    """Make a conversation: `recipientId` for a direct one, `participantIds` (or `participants`) for a group; `open` for
    a group that anybody may enter. It counts as a message. The existing one, for free, when the pair has one. 200 for
    both, as in the replaced system."""
    write, services = call.body(ConversationWrite), call.services.room_services
    others, is_group = write.people(call.user_id)
    claim = claim_of(call, "POST /api/conversations", write)
    await require_users(call, others)
    if not is_group:
        await require_together(call, others[0])
    new = NewConversation(
        id=await services.ids.take(),
        creator_id=call.user_id,
        participant_ids=others,
        is_group=is_group,
        is_open=bool(write.open),
        title=write.title or "",
        at_ms=now_ms(call),
    )
    made = await _made(call, new, claim)
    answer = answer_of(made)
    assert isinstance(answer.data, dict)
    row = await services.conversations.conversation_of(answer.data["conversationId"], call.user_id)
    if row is None:
        raise no_conversation()  # removed since
    return replace(answer, status=200, data={"conversation": conversation_row(row)})


async def _made(call: Call, new: NewConversation, claim: IdempotencyClaim | None) -> Earlier:
    """Count it, as bringing people in is counted, and make it. What was there, or was answered before, is not charged.

    Raises: ApiError 429.
    """
    services = call.services.room_services
    messages, conversations = services.messages, services.conversations
    retry_after = messages.take(call.user_id, trio.current_time())
    create = partial(conversations.create_once, new, claim, _created, may_make=retry_after is None)
    is_charged = False
    try:
        made = await services.direct.make(new, create, _is_new)
        is_charged = _is_new(made)
    except NotMade:
        raise refusal(Refused.because(RefusalCode.RATE_LIMITED), retry_after) from None
    finally:
        if retry_after is None and not is_charged:
            messages.give_back(call.user_id)
    return made


def _is_new(made: Earlier) -> bool:
    return isinstance(made, KeptAnswer) and made.status == 201 and not made.is_replay


def _created(row: Any, is_new: bool) -> KeptAnswer:
    """What is kept says whether it is new: only then others are told. The client hears 200 for both.

    The rest is read when it is told: the last message of a conversation that there was may be deleted by then.
    """
    return KeptAnswer(201 if is_new else 200, json.dumps({"conversationId": row["id"]}))


@operations.get(
    "/api/conversations",
    query=OwnPage,
    answer=ConversationList,
    also=["/api/messaging/conversations", "/api/messages/conversations", "/api/messages"],
)
async def list_conversations(call: Call) -> Answer:
    """One's own conversations, the one with the newest activity first."""
    page, conversations = call.query(OwnPage), call.services.room_services.conversations
    await require_self(call, page.user_id, "userId")
    rows = await conversations.conversations_of(call.user_id, page.limit + 1, page.offset)
    return Answer(
        {
            "conversations": [conversation_row(row) for row in rows[: page.limit]],
            "unreadCount": await conversations.unread_count(call.user_id),
            "hasMore": len(rows) > page.limit,
        }
    )


@operations.get("/api/conversations/open", query=Page, answer=OpenConversationList)
async def list_open_conversations(call: Call) -> Answer:
    """Groups that any signed-in user may enter."""
    page = call.query(Page)
    conversations = call.services.room_services.conversations
    rows = await conversations.open_conversations(call.user_id, page.limit + 1, page.offset)
    return Answer(
        {
            "conversations": [open_conversation_row(row) for row in rows[: page.limit]],
            "hasMore": len(rows) > page.limit,
        }
    )


@operations.get("/api/conversations/{id}", answer=ConversationWithMessages)
async def get_conversation(call: Call) -> Answer:
    """One conversation, with its newest messages."""
    conversation_id, conversations = call.id(), call.services.room_services.conversations
    row = await conversations.conversation_of(conversation_id, call.user_id)
    marks = await conversations.read_marks(conversation_id, call.user_id)
    if row is None or marks is None:
        raise no_conversation()
    messages = await conversations.messages_page(conversation_id, call.user_id, FIRST_MESSAGES + 1, 0)
    if not messages and await conversations.read_marks(conversation_id, call.user_id) is None:
        raise no_conversation()  # removed since
    return Answer(
        {
            "conversation": conversation_row(row),
            "messages": [
                message_row(message, conversation_id, call.user_id, marks)
                for message in messages[-FIRST_MESSAGES:]
                if not message.is_hidden and message.deleted_at_ms is None  # the page has no look for what is deleted
            ],
            "hasMore": len(messages) > FIRST_MESSAGES,
        }
    )
