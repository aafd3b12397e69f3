"""Search over HTTP: messages by a text that stands in them, of the conversations of who asks."""

from typing import Annotated

from pydantic import AliasChoices, Field

from greenroom.actors.errors import Refused
from greenroom.http.decode import INTEGER_MAX
from greenroom.http.errors import ApiError
from greenroom.http.models import Id, Input, Output, WholeNumber
from greenroom.http.rest.rooms import no_conversation, refusal
from greenroom.http.rest.rows import FoundRow, found_row
from greenroom.http.route import Answer, Call, Operations
from greenroom.http.searches import FOUND_DEFAULT, FOUND_MAX, SearchedText

operations = Operations("search")


class MessageSearchQuery(Input):
    """What to look for, and where."""

    query: SearchedText = Field(
        validation_alias=AliasChoices("query", "q"),
        description="stands in the message, in whatever case: 1 to 100 characters, without the blanks around it",
    )
    conversation_id: Id | None = Field(
        default=None,
        validation_alias=AliasChoices("conversationId", "conversation_id"),
        description="only there; else in the 100 in which something was said last",
    )
    before_seq: Annotated[WholeNumber, Field(ge=1, le=INTEGER_MAX)] | None = Field(
        default=None,
        validation_alias=AliasChoices("before_seq", "beforeSeq"),
        description="only what was said before; needs conversationId",
    )
    limit: Annotated[WholeNumber, Field(ge=1, le=FOUND_MAX)] = FOUND_DEFAULT


class MessagesFound(Output):
    """Messages, newest first. hasMore: there may be others, further back than was looked."""

    messages: list[FoundRow]
    has_more: bool
    before_seq: int | None = Field(description="of one conversation: the same search goes on with it; null: at the end")


@operations.get("/api/messages/search", query=MessageSearchQuery, answer=MessagesFound)
async def search_messages(call: Call) -> Answer:
    """Messages that have a text in them. At most 20,000 and 8 MiB of text are looked at, of each conversation the
    newest, and no more than its equal share; what was erased, and what is said by whom one blocks, is not found. One at
    a time for each user."""
    asked, services = call.query(MessageSearchQuery), call.services.room_services
    if asked.before_seq is not None and asked.conversation_id is None:
        raise ApiError("VALIDATION", "before_seq is a place in one conversation: send conversationId with it")
    search = services.searches.begin(call.user_id)
    if isinstance(search, Refused):
        raise refusal(search, retry_after=1)
    found = await search.find(
        asked.query, asked.conversation_id, asked.before_seq, asked.limit, look_again=call.look_again
    )
    if isinstance(found, Refused):
        raise refusal(found, retry_after=1)
    if found is None:
        raise no_conversation()
    rows = [found_row(message, message.conversation_id, call.user_id) for message in found.messages]
    return Answer({"messages": rows, "hasMore": found.has_more, "beforeSeq": found.before_seq})
