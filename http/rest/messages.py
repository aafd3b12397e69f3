"""Messages over HTTP: send, and read what was sent.

A send is answered when the message is stored. The same sender with the same client id in the same conversation is the
same message, for ever, over REST and WebSocket alike: `Idempotency-Key`, or `clientId` (or `requestId`) in the body.
Sent again, it gets the same answer again and costs nothing; with other content it is refused.

Pages go by `limit` and `offset` from the newest, or by `after_seq` and `before_seq`, which stay right while people
write. Messages are always oldest first.
"""

from typing import Annotated, Final, Literal

import trio
from pydantic import AfterValidator, AliasChoices, Field, StrictBool

from greenroom.actors.errors import RefusalCode, Refused
from greenroom.actors.room.commands import Details, Send, Sent
from greenroom.actors.room.details import KIND_PATTERN, MENTIONS_MAX, checked_kind, details_of
from greenroom.actors.room.files import FILES_MAX, KEY_CHARACTERS_MAX, files_fault
from greenroom.actors.room.state import CLIENT_ID_CHARACTERS_MAX, content_fault
from greenroom.http.decode import INTEGER_MAX
from greenroom.http.errors import ApiError
from greenroom.http.models import Id, Input, Output, OwnId, WholeNumber
from greenroom.http.rest.conversations import OFFSET_MAX
from greenroom.http.rest.rooms import (
    KEY_HEADER,
    no_conversation,
    no_user,
    refusal,
    require_self,
)
from greenroom.http.rest.rows import MessageRow, message_row
from greenroom.http.route import Answer, Call, Operations
from greenroom.http.services import RoomServices
from greenroom.http.ws.services import COMMAND_SECONDS_MAX, send_over_limit
from greenroom.runtime import AskTimeout, CommitUnknown
from greenroom.storage.postgres.conversations import ReadMarks, StoredMessage

operations = Operations("messages")

PAGE_MAX: Final = 200
PAGE_DEFAULT: Final = 50
_UNREAD: Final = ReadMarks(top_seq=0, read_seq=0, read_seq_of_others=0)


def checked_content(text: str) -> str:
    """Validate what a message says. Raises: ValueError."""
    fault = content_fault(text)
    if fault is not None:
        raise ValueError(fault.removeprefix("content "))
    return text


def _client_id(text: str) -> str:
    if "\0" in text or not 0 < len(text) <= CLIENT_ID_CHARACTERS_MAX:
        raise ValueError(f"a text of 1 to {CLIENT_ID_CHARACTERS_MAX} characters is needed")
    return text


def _not_encrypted(value: bool) -> bool:
    if value:
        raise ValueError("encrypted messages are not taken yet")
    return value


Kind = Annotated[str, Field(pattern=KIND_PATTERN), AfterValidator(checked_kind)]
ClientId = Annotated[str, AfterValidator(_client_id)]


class AttachedFile(Input):
    """A file that was uploaded. What else its upload was answered with is known here."""

    key: Annotated[str, Field(min_length=1, max_length=KEY_CHARACTERS_MAX)]


def _each_once(files: list[AttachedFile]) -> list[AttachedFile]:
    """Here too: the room that would refuse it is perhaps made for it."""
    fault = files_fault([file.key for file in files])
    if fault is not None:
        raise ValueError(fault)
    return files


class MessageWrite(Input):
    """What to say, and files. `priority` is taken and has no effect yet."""

    content: Annotated[str, AfterValidator(checked_content)] = Field(description="1 to 10,000 code points")
    client_id: ClientId | None = Field(default=None, description="the sender's own id of the message")
    request_id: ClientId | None = Field(default=None, description="counts as clientId where there is none")
    sender_id: OwnId | None = Field(default=None, description="if given, who is signed in")
    conversation_id: Id | None = Field(default=None, description="where; beside an id in the path: the same")
    message_type: Kind | None = Field(
        default=None,
        validation_alias=AliasChoices("messageType", "message_type", "kind"),
        description="for clients: text if nothing is said",
    )
    format: Kind | None = Field(default=None, description="how clients are to read it: plain if nothing is said")
    reply_to: Id | None = Field(
        default=None,
        validation_alias=AliasChoices("replyTo", "reply_to", "parentMessageId", "parent_message_id"),
        description="the message of this conversation that it answers",
    )
    thread: Id | None = Field(default=None, description="the message that began the thread in which it stands")
    mentions: Annotated[list[Id], Field(max_length=MENTIONS_MAX)] | None = Field(
        default=None, description="users; of those, members are mentioned"
    )
    priority: Literal["low", "normal", "high", "urgent"] | None = None
    is_encrypted: Annotated[StrictBool, AfterValidator(_not_encrypted)] | None = None
    attachments: Annotated[list[AttachedFile], Field(max_length=FILES_MAX), AfterValidator(_each_once)] | None = Field(
        default=None, description="what the uploads were answered with, each once"
    )


class AddressedMessageWrite(MessageWrite):
    """What to say, and where: into a conversation, or to somebody, with whom a direct one is found or made."""

    recipient_id: Id | None = Field(
        default=None, validation_alias=AliasChoices("recipientId", "recipient_id", "receiverId", "receiver_id")
    )


class MessagePage(Input):
    """Which part of a conversation. With neither seq: the newest but `offset`."""

    limit: Annotated[WholeNumber, Field(ge=1, le=PAGE_MAX)] = PAGE_DEFAULT
    offset: Annotated[WholeNumber, Field(ge=0, le=OFFSET_MAX)] = 0
    after_seq: Annotated[WholeNumber, Field(ge=0, le=INTEGER_MAX)] | None = Field(
        default=None, validation_alias=AliasChoices("after_seq", "afterSeq")
    )
    before_seq: Annotated[WholeNumber, Field(ge=0, le=INTEGER_MAX)] | None = Field(
        default=None, validation_alias=AliasChoices("before_seq", "beforeSeq")
    )


class MessageData(Output):
    """A message that is stored."""

    message: MessageRow
    message_id: int
    conversation_id: int


class MessageList(Output):
    """Messages, oldest first. hasMore: there are others in the direction asked for."""

    messages: list[MessageRow]
    has_more: bool
    top_seq: int
    conversation_id: int


class MessageOrList(Output):
    """One message, or the messages of a conversation: whichever the id is."""

    message: MessageRow | None = None
    messages: list[MessageRow] | None = None
    has_more: bool | None = None
    top_seq: int | None = None
    conversation_id: int


# -- sending ----------------------------------------------------------------------------------------------------------


@operations.post("/api/conversations/{id}/messages", body=MessageWrite, answer=MessageData, status=201)
async def send_to_conversation(call: Call) -> Answer:
    """Say something in a conversation."""
    write = call.body(MessageWrite)
    if write.conversation_id not in (None, call.id()):
        raise ApiError("VALIDATION", "conversationId is not that of the path: leave it out")
    return await _send(call, write, call.id(), None, status=201)


@operations.post(
    "/api/messages/send",
    body=AddressedMessageWrite,
    answer=MessageData,
    or_status=201,
    also=["/api/messaging/send", "/api/messages"],
)
async def send_message(call: Call) -> Answer:
    """Say something: with `conversationId` there (200); with `recipientId` (or `receiverId`) in the direct conversation
    with that user, which is made if there is none (201)."""
    write = call.body(AddressedMessageWrite)
    if write.conversation_id is not None:
        return await _send(call, write, write.conversation_id, None, status=200)
    if write.recipient_id is None:
        raise ApiError("VALIDATION", "conversationId or recipientId is required")
    if write.recipient_id == call.user_id:
        raise ApiError("VALIDATION", "Invalid recipient: nobody speaks with oneself")
    return await _send(call, write, None, write.recipient_id, status=201)


async def _send(
    call: Call, write: MessageWrite, room_id: int | None, recipient_id: int | None, *, status: int
) -> Answer:
    """Count it, find the room, send. A duplicate, and what surely was not stored, is not charged."""
    services, user_id = call.services.room_services, call.user_id
    await require_self(call, write.sender_id, "senderId")
    files = tuple(file.key for file in write.attachments or ())
    key, details = _key_of(call, write), _details_of(write)
    command = Send(user_id, call.principal.name, key, write.content, is_from_rest=True, files=files, details=details)
    retry_after = services.messages.take(user_id, trio.current_time())
    is_charged = True
    try:
        if room_id is None:
            assert recipient_id is not None
            room_id = await _pair(call, recipient_id, retry_after)
        sent = await _ask(services, room_id, command, retry_after)
        is_charged = not sent.is_duplicate
    except (AskTimeout, CommitUnknown):
        raise  # it may be stored; so may it after Cancelled, or whoever hangs up early would write for nothing
    except Exception:
        is_charged = False
        raise
    finally:
        if retry_after is None and not is_charged:
            services.messages.give_back(user_id)
    return await _sent(call, command, room_id, sent, status)


def _details_of(write: MessageWrite) -> Details | None:
    given = {"kind": write.message_type, "format": write.format, "replyTo": write.reply_to}
    return details_of({**given, "thread": write.thread, "mentions": write.mentions})


def _key_of(call: Call, write: MessageWrite) -> str | None:
    """The client id of a send. Raises: ApiError 400 for one that cannot be used, or for two that differ."""
    header = call.request.headers.get(KEY_HEADER)
    if header is None:
        return write.client_id if write.client_id is not None else write.request_id
    if not 0 < len(header) <= CLIENT_ID_CHARACTERS_MAX or not header.isprintable() or not header.isascii():
        raise ApiError("VALIDATION", f"{KEY_HEADER}: 1 to {CLIENT_ID_CHARACTERS_MAX} printable ASCII characters")
    if write.client_id is not None and write.client_id != header:
        raise ApiError("VALIDATION", f"{KEY_HEADER} and clientId are one thing here: send one, or the same twice")
    return header


async def _pair(call: Call, recipient_id: int, retry_after: int | None) -> int:
    """The direct conversation with somebody. Raises: ApiError 404, and 429 rather than make one over the limit."""
    services = call.services.room_services
    found = await services.direct.between(call.user_id, recipient_id, is_over_limit=retry_after is not None)
    if found is None:
        raise no_user(recipient_id)
    if isinstance(found, Refused):
        raise refusal(found, retry_after if found.code is RefusalCode.RATE_LIMITED else None)
    return found


async def _ask(services: RoomServices, room_id: int, command: Send, retry_after: int | None) -> Sent:
    """Raises: ApiError for a refusal, and as `Ref.ask`."""
    command = command if retry_after is None else send_over_limit(command)
    answer = await services.system.ref("room", room_id).ask(command, deadline=trio.current_time() + COMMAND_SECONDS_MAX)
    if isinstance(answer, Refused):
        raise refusal(answer, retry_after if answer.code is RefusalCode.RATE_LIMITED else None)
    return answer


async def _role_of(call: Call) -> str:
    """What kind of user the sender is. A key that acts for one keeps its own role, which says what it may do."""
    user = await call.services.users.by_id(call.user_id) if call.principal.kind == "api_key" else None
    return call.principal.role if user is None else user.role


async def _sent(call: Call, command: Send, room_id: int, sent: Sent, status: int) -> Answer:
    """The message that was sent; of one that was sent before, as it stands now: it may have been changed since."""
    message = None
    if sent.is_duplicate:
        message = await call.services.room_services.conversations.message(sent.message_id, call.user_id)
    if message is None:
        message = StoredMessage(
            sent.message_id,
            sent.seq,
            command.sender_id,
            command.client_id,
            command.content,
            sent.at_ms,
            command.sender_name,
            room_id,
            await _role_of(call),
            attachments=sent.attachments,
            details=sent.details,
        )
    row = message_row(message, room_id, command.sender_id, _UNREAD)
    headers = {"Idempotency-Replay": "true"} if sent.is_duplicate else {}
    data = {"message": row, "messageId": sent.message_id, "conversationId": room_id}
    return Answer(data, status=status, headers=headers)


@operations.get(
    "/api/messages/list",
    auth="nobody",
    is_hidden=True,
    also=["/api/messages/attachments"],
)
async def not_there_yet(_: Call) -> Answer:
    """What the replaced system names where ids of messages stand, and greenroom does not have yet."""
    raise ApiError("NOT_FOUND", "there is nothing at this address")


# -- reading ----------------------------------------------------------------------------------------------------------


@operations.get(
    "/api/conversations/{id}/messages",
    query=MessagePage,
    answer=MessageList,
    also=["/api/messaging/conversations/{id}/messages"],
)
async def list_messages(call: Call) -> Answer:
    """Messages of a conversation: the newest, or those after or before a seq."""
    found = await _page(call, call.id())
    if found is None:
        raise no_conversation()
    return found


@operations.get("/api/messages/{id}", query=MessagePage, answer=MessageOrList)
async def get_message(call: Call) -> Answer:
    """The message of this id (`message`), or the messages of the conversation of this id (`messages`)."""
    conversations = call.services.room_services.conversations
    message = await conversations.message(call.id(), call.user_id)
    if message is None:
        found = await _page(call, call.id())
        if found is None:
            raise ApiError("MESSAGE_NOT_FOUND", "there is no such message or conversation, or not for you")
        return found
    marks = await conversations.read_marks(message.conversation_id, call.user_id)
    message = await conversations.message(call.id(), call.user_id)  # again: it may have been erased meanwhile
    if message is None:
        raise ApiError("MESSAGE_NOT_FOUND", "there is no such message or conversation, or not for you")
    row = message_row(message, message.conversation_id, call.user_id, marks or _UNREAD)
    return Answer({"message": row, "conversationId": message.conversation_id})


async def _page(call: Call, conversation_id: int) -> Answer | None:
    """The page asked for; None for who is not a member. Raises: ApiError."""
    page, conversations = call.query(MessagePage), call.services.room_services.conversations
    if page.offset and (page.after_seq is not None or page.before_seq is not None):
        raise ApiError("VALIDATION", "offset counts from the newest: send it without after_seq and before_seq")
    marks = await conversations.read_marks(conversation_id, call.user_id)
    if marks is None:
        return None
    messages, has_more = await _messages(call, conversation_id, page)
    if not messages and await conversations.read_marks(conversation_id, call.user_id) is None:
        return None  # removed since: an empty page would say that there is nothing, or nothing that is shown
    return Answer(
        {
            "messages": [
                message_row(message, conversation_id, call.user_id, marks)
                for message in messages
                if not message.is_hidden
            ],
            "hasMore": has_more,
            "topSeq": marks.top_seq,
            "conversationId": conversation_id,
        }
    )


async def _messages(call: Call, conversation_id: int, page: MessagePage) -> tuple[list[StoredMessage], bool]:
    """(messages oldest first, whether there are more that way); one more than asked for is fetched to know."""
    conversations, count = call.services.room_services.conversations, page.limit + 1
    reader = (conversation_id, call.user_id)
    if page.after_seq is not None:
        messages = await conversations.messages_after(*reader, page.after_seq, count)
        if page.before_seq is not None:
            messages = [message for message in messages if message.seq < page.before_seq]
        return messages[: page.limit], len(messages) > page.limit
    if page.before_seq is not None:
        messages = await conversations.messages_before(*reader, page.before_seq, count)
    else:
        messages = await conversations.messages_page(*reader, count, page.offset)
    return messages[-page.limit :], len(messages) > page.limit
