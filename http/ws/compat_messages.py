"""What the existing client does with messages: say, edit, delete, mark read, search. The rights are those of REST."""

from functools import partial
from itertools import islice
from typing import TYPE_CHECKING, Any, Final

from greenroom.actors.errors import Refused
from greenroom.actors.room.commands import Changed, Delete, Edit, Moved, React, Read, Send, Sent
from greenroom.actors.room.marks import reaction_fault
from greenroom.actors.room.state import content_fault
from greenroom.http.decode import INTEGER_MAX
from greenroom.http.searches import FOUND_DEFAULT, Search
from greenroom.http.ws import events
from greenroom.http.ws.codes import (
    BAD_FRAME,
    CONVERSATION_NOT_FOUND,
    INVALID_CONTENT,
    MESSAGE_NOT_FOUND,
    RATE_LIMITED,
    USER_NOT_FOUND,
)
from greenroom.http.ws.replay import wait_drained
from greenroom.http.ws.services import send_over_limit
from greenroom.runtime import StorageUnavailable
from greenroom.storage.postgres.search import Found

if TYPE_CHECKING:
    from greenroom.http.ws.compat import CompatSession

_REQUEST_ID_NAMES: Final = ("requestId", "id", "clientId")

Json = dict[str, Any]

FOUND_BYTES_MAX: Final = 128 * 1024  # of messages in one answer, whose frame says them twice: it must fit well
MISSING_TOLD_MAX: Final = 64  # of one frame, which may name hundreds


def request_id_of(fields: Json) -> str | None:
    """What the client calls this request, by the first of three names."""
    return next((fields[name] for name in _REQUEST_ID_NAMES if name in fields), None)


# -- saying -----------------------------------------------------------------------------------------------------------


def send_message(session: "CompatSession", fields: Json) -> None:
    """In a conversation; or to somebody, in the direct conversation with them, which is made if there is none."""
    room_id, content, request_id = fields.get("conversationId"), fields.get("content"), request_id_of(fields)
    other_id = fields.get("targetUserId", fields.get("recipientId"))
    assert session.user_id is not None
    if content is None or (room_id is None and other_id is None):
        words = "a message needs conversationId, or targetUserId, and content"
        session.error(INVALID_CONTENT, words, request_id)
    elif room_id is not None:
        _say(session, room_id, content, request_id, session.services.take_message(session.user_id))
    elif other_id == session.user_id:
        session.error(BAD_FRAME, "Invalid recipient: nobody speaks with oneself", request_id)
    elif (fault := content_fault(content)) is not None:  # the room would say so, and there may be none
        session.error(INVALID_CONTENT, fault, request_id)
    else:
        session.in_turn(_say_to, session, other_id, content, request_id)


async def _say_to(session: "CompatSession", other_id: int, content: str, request_id: str | None) -> None:
    """What surely was not said is not counted."""
    services, user_id = session.services, session.user_id
    assert user_id is not None
    retry_after = services.take_message(user_id)
    try:
        found = await services.direct.between(user_id, other_id, is_over_limit=retry_after is not None)
    except StorageUnavailable as error:
        found = None
        session.failed(None, error, request_id)
    else:
        if isinstance(found, int):
            _say(session, found, content, request_id, retry_after)
            return
        if found is None:
            session.error(USER_NOT_FOUND, "there is no such user", request_id)
        else:
            session.failed(found, None, request_id, retry_after)
    if retry_after is None:
        services.limits.messages.give_back(user_id)


def _say(session: "CompatSession", room_id: int, content: str, request_id: str | None, retry_after: int | None) -> None:
    """Counted already. retry_after: seconds, when it is over the limit: then only a duplicate is answered."""
    assert session.user_id is not None
    user_id = session.user_id
    command = Send(user_id, session.name, request_id, content)
    if retry_after is not None:
        command = send_over_limit(command)

    def sent(value: object, error: BaseException | None) -> None:
        if isinstance(value, Sent):
            frame = events.compat_message_sent(
                value.message_id, room_id, value.seq, value.at_ms, request_id, request_id
            )
            session.connection.write(frame)
        else:
            session.failed(value, error, request_id, retry_after)

    session.ask(session.services.room(room_id), command, sent, is_charged=retry_after is None)


# -- changing ---------------------------------------------------------------------------------------------------------


def edit_message(session: "CompatSession", fields: Json) -> None:
    """Say something else in the place of what was said. It counts as a message; to change nothing is free."""
    message_id, content = fields.get("messageId"), fields.get("content")
    if message_id is None or content is None:
        session.error(INVALID_CONTENT, "an edit needs messageId and content", request_id_of(fields))
        return
    fault = content_fault(content)
    if fault is not None:  # nothing longer than a message waits for its turn
        session.error(INVALID_CONTENT, fault, request_id_of(fields))
        return
    assert session.user_id is not None
    session.in_turn(_change, session, Edit(session.user_id, message_id, content), request_id_of(fields))


def delete_message(session: "CompatSession", fields: Json) -> None:
    """Erase what was said."""
    message_id = fields.get("messageId")
    if message_id is None:
        return
    assert session.user_id is not None
    session.in_turn(_change, session, Delete(session.user_id, message_id), request_id_of(fields))


def react(session: "CompatSession", fields: Json) -> None:
    """React to a message, or do so no more."""
    message_id, reaction = fields.get("messageId"), fields.get("reactionType", fields.get("emoji"))
    if message_id is None or reaction is None:
        return
    fault = reaction_fault(reaction)
    if fault is not None:  # nothing longer than a reaction waits for its turn
        session.error(INVALID_CONTENT, fault, request_id_of(fields))
        return
    assert session.user_id is not None
    command = React(session.user_id, message_id, reaction, fields.get("action") != "remove")
    session.in_turn(_change, session, command, request_id_of(fields))


async def _change(session: "CompatSession", command: Edit | Delete | React, request_id: str | None) -> None:
    """Success is what every socket of every member hears, `message` or `reaction`; of nothing nobody hears."""
    services = session.services
    try:
        room_id = await services.conversations.room_of_message(command.message_id, command.user_id)
    except StorageUnavailable as error:
        session.failed(None, error, request_id)
        return
    if room_id is None:
        session.error(MESSAGE_NOT_FOUND, "there is no such message, or not for you", request_id)
        return
    is_edit = isinstance(command, Edit | React)  # both stand in the log, as a message does
    retry_after = services.take_message(command.user_id) if is_edit else None
    if retry_after is not None:
        session.error(RATE_LIMITED, "too many messages", request_id, retry_after)
        return

    def changed(value: object, error: BaseException | None) -> None:
        if not isinstance(value, Changed):
            session.failed(value, error, request_id)

    session.ask(services.room(room_id), command, changed, is_charged=is_edit)


# -- reading ----------------------------------------------------------------------------------------------------------


def mark_conversation_read(session: "CompatSession", fields: Json) -> None:
    """All that was said there so far."""
    room_id = fields.get("conversationId")
    if room_id is None:
        return
    assert session.user_id is not None
    request_id = request_id_of(fields)

    def marked(value: object, error: BaseException | None) -> None:
        if not isinstance(value, Moved):
            session.failed(value, error, request_id)

    session.ask(session.services.room(room_id), Read(session.user_id, session.name, INTEGER_MAX), marked)


def mark_read(session: "CompatSession", fields: Json) -> None:
    """These messages, and what was said before them. In turn: hundreds at once would have all of storage."""
    ids = [fields["messageId"]] if "messageId" in fields else fields.get("messageIds")
    if ids:
        session.in_turn(_mark_all_read, session, ids, request_id_of(fields))


async def _mark_all_read(session: "CompatSession", message_ids: list[int], request_id: str | None) -> None:
    """Move the marker of each conversation to the newest of these messages that the user may see."""
    assert session.user_id is not None
    try:
        places = await session.services.conversations.places_of(message_ids, session.user_id)
    except StorageUnavailable as error:
        session.failed(None, error, request_id)
        return
    newest: dict[int, int] = {}
    for room_id, seq in places.values():
        newest[room_id] = max(seq, newest.get(room_id, 0))
    for _ in islice(set(message_ids) - places.keys(), MISSING_TOLD_MAX):
        session.error(MESSAGE_NOT_FOUND, "there is no such message", request_id)

    def marked(value: object, error: BaseException | None) -> None:
        if not isinstance(value, Moved):
            session.failed(value, error, request_id)

    for room_id, seq in newest.items():
        session.ask(session.services.room(room_id), Read(session.user_id, session.name, seq), marked)


# -- searching --------------------------------------------------------------------------------------------------------


def search(session: "CompatSession", fields: Json) -> None:
    """Look for a text in what was said. Beside what the page reads else, for it may have to wait for a place."""
    request_id = request_id_of(fields)
    assert session.user_id is not None
    if fields.get("query") is None:
        session.error(INVALID_CONTENT, "a search needs query: 1 to 100 characters", request_id)
        return
    begun = session.services.searches.begin(session.user_id)
    if isinstance(begun, Refused):
        session.failed(begun, None, request_id, 1)
    else:
        session.connection.engine.spawn(_search, session, begun, fields, request_id, of=session.connection)


async def _search(session: "CompatSession", begun: Search, fields: Json, request_id: str | None) -> None:
    room_id, before_seq = (
        None if fields.get(name) == "" else fields.get(name) for name in ("conversationId", "beforeSeq")
    )
    before_seq = None if room_id is None else before_seq
    wait = partial(wait_drained, session.connection)
    try:
        found = await begun.find(fields["query"], room_id, before_seq, fields.get("limit", FOUND_DEFAULT), wait)
    except StorageUnavailable as error:
        session.failed(None, error, request_id)
        return
    if found is None:
        session.error(CONVERSATION_NOT_FOUND, "there is no such conversation, or you are not in it", request_id)
    elif isinstance(found, Refused):
        session.failed(found, None, request_id, 1)
    else:
        session.tell("search_results", _results(fields["query"], room_id, found, request_id))


def _results(text: str, room_id: int | None, found: Found, request_id: str | None) -> Json:
    """As many as an answer holds; of one conversation the next search goes on after the last of them."""
    told = events.first_within(map(events.compat_found, found.messages), FOUND_BYTES_MAX)
    is_cut = len(told) < len(found.messages)
    fields: Json = {"query": text, "messages": told, "hasMore": is_cut or found.has_more}
    before_seq = told[-1]["seq"] if is_cut else found.before_seq
    if room_id is not None:
        fields["conversationId"] = room_id
        if before_seq is not None:
            fields["beforeSeq"] = before_seq
    if request_id is not None:
        fields["requestId"] = request_id
    return fields
