"""What sessions need from the rest of the house, in one value; made in compose."""

import math
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any, Final, Literal, NamedTuple

import trio

from greenroom.actors.errors import Refused
from greenroom.actors.presence.commands import Look
from greenroom.actors.room.commands import Enter, RoomView, Send
from greenroom.http.auth import Authenticator, Principal
from greenroom.http.direct import DirectConversations
from greenroom.http.errors import ApiError
from greenroom.http.rate_limit import SlidingWindow
from greenroom.http.searches import Searches
from greenroom.http.ws.arrivals import Arrivals
from greenroom.http.ws.blocks import SocketBlocks
from greenroom.http.ws.codes import (
    BY_REFUSAL,
    FORBIDDEN,
    RATE_LIMITED,
    SERVER_ERROR,
    STORAGE_UNAVAILABLE,
    TIMEOUT,
    TOKEN_EXPIRED,
    ErrorCode,
)
from greenroom.http.ws.connection import Connection
from greenroom.http.ws.engine import SocketEngine
from greenroom.http.ws.hub import Hub
from greenroom.http.ws.people import People
from greenroom.http.ws.presence import SocketPresence
from greenroom.http.ws.replay import Replayer
from greenroom.http.ws.summaries import Summaries
from greenroom.http.ws.user_streams import SocketStreams
from greenroom.http.ws.watches import Watches
from greenroom.runtime import (
    ActorGone,
    ActorSystem,
    AskTimeout,
    Clock,
    Command,
    CommitUnknown,
    MailboxFull,
    Ref,
    StorageUnavailable,
)
from greenroom.storage.postgres.conversations import Conversations
from greenroom.storage.postgres.last_seen import LastSeen
from greenroom.storage.postgres.notifications import Notifications
from greenroom.storage.postgres.reports import Reports
from greenroom.storage.postgres.users import Users

COMMAND_SECONDS_MAX = 10.0
TYPING_SHARE: Final = 2  # a minute allows half as many commands that tell of typing as others


def typing_per_minute(commands_per_minute: int) -> int:
    """How many of the commands of a minute may tell of typing. 0: any number."""
    return math.ceil(commands_per_minute / TYPING_SHARE)


LimitClass = Literal["send", "cmds", "typing"]


@dataclass(frozen=True, slots=True)
class SocketLimits:
    """Per user: messages, commands and typing in any minute (0: none). Seconds: heartbeat of compat, and its end."""

    messages: SlidingWindow
    commands: SlidingWindow
    compat_ping_seconds: float
    compat_silence_seconds: float
    typing: SlidingWindow = field(default_factory=lambda: SlidingWindow(0))

    def of(self, kind: LimitClass) -> SlidingWindow:
        """That of one class of commands."""
        return {"send": self.messages, "cmds": self.commands, "typing": self.typing}[kind]


class SettingLimits(NamedTuple):
    """Those of the limits that `hello` tells which an operator sets; 0: off."""

    messages_per_minute: int = 0
    commands_per_minute: int = 0
    edit_seconds: int = 0
    sockets: int = 0
    file_bytes: int = 0
    uploads_per_minute: int = 0


@dataclass(frozen=True, slots=True)
class SocketServices:
    """Shared by all sessions."""

    engine: SocketEngine
    hub: Hub
    replayer: Replayer
    streams: SocketStreams
    notifications: Notifications
    reports: Reports
    users: Users
    summaries: Summaries
    presence: SocketPresence
    watches: Watches
    system: ActorSystem
    conversations: Conversations
    direct: DirectConversations
    searches: Searches
    last_seen: LastSeen
    authenticator: Authenticator
    people: People
    arrivals: Arrivals
    limits: SocketLimits
    clock: Clock
    node: str
    connections_per_user_max: int
    setting_limits: SettingLimits = field(default_factory=SettingLimits)

    def room(self, room_id: int) -> Ref:
        """The room of a conversation."""
        return self.system.ref("room", room_id)

    def notifier(self, user_id: int) -> Ref:
        """The notifier of a user."""
        return self.system.ref("notifier", user_id)

    def tell_presence(self, user_id: int, command: Command[Any]) -> None:
        """Tell the presence of a user. What does not fit is a dead letter: it would be asked for again on waking."""
        self.system.tell_or_bury(self.system.ref("presence", user_id).address, command)

    async def catch_up(self, connection: Connection, changes: int) -> None:
        """The user may have changed, or signed out, while *connection* came by its principal.

        changes: those counted before it. Without storage it stays as it is.
        """
        principal = connection.session.principal
        if changes == self.authenticator.changes or principal is None or principal.user_id is None:
            return
        await self.people.catch_up(principal.user_id)
        try:
            await self.authenticator.renew(principal)
        except ApiError as refusal:
            connection.close(TOKEN_EXPIRED if refusal.code == "TOKEN_EXPIRED" else FORBIDDEN)
        except StorageUnavailable:
            pass

    def note_input(self, principal: Principal) -> None:
        """A user did something over REST: what is here under the same session is in use, as if it was done there."""
        if principal.kind == "api_key" or principal.user_id is None:
            return  # a program
        for connection in self.engine.connections_of(principal.user_id):
            shown = connection.session.principal
            if shown is not None and shown.session_id == principal.session_id:
                connection.session.note_input()
        self.presence.note_input(principal.user_id, principal.session_id)
        if self.presence.is_shown_wrongly(principal.user_id):
            self.tell_presence(principal.user_id, Look())

    def take_message(self, user_id: int) -> int | None:
        """Count a message against the user's minute: None, or the seconds until one may pass."""
        return self.limits.messages.take(user_id, trio.current_time())


@dataclass(frozen=True, slots=True)
class Failure:
    """Why a command was not done, in the words of the wire."""

    code: ErrorCode
    message: str
    retry_after_seconds: int | None = None


def failure_of(value: object, error: BaseException | None) -> Failure | None:
    """The failure in an answer of an actor, or None when it is a success."""
    if error is None:
        return None if not isinstance(value, Refused) else Failure(BY_REFUSAL[value.code], value.message)
    if isinstance(error, CommitUnknown):
        words = "storage went away while this was being stored: whether it is stored is not known; send it again"
        return Failure(STORAGE_UNAVAILABLE, words, 1)
    if isinstance(error, StorageUnavailable):
        return Failure(STORAGE_UNAVAILABLE, "storage does not answer and nothing was stored: send it again", 1)
    if isinstance(error, AskTimeout):
        return Failure(TIMEOUT, "no answer in time: whether it took effect is not known; send it again", 1)
    if isinstance(error, MailboxFull):
        return Failure(RATE_LIMITED, "the conversation is busy", 1)
    if isinstance(error, ActorGone):
        return Failure(STORAGE_UNAVAILABLE, "the conversation is restarting; send it again", 1)
    return Failure(SERVER_ERROR, "something went wrong on our side; it was logged")


def ask_with_backpressure(
    services: SocketServices,
    ref: Ref,
    command: Command[Any],
    reply_to: Callable[[object, BaseException | None], None],
) -> bool:
    """Queue *command* with its reply going to *reply_to*. False when the mailbox is full: nothing was queued."""
    try:
        ref.request(command, reply_to, deadline=trio.current_time() + COMMAND_SECONDS_MAX)
    except MailboxFull:
        return False
    except (ActorGone, StorageUnavailable) as error:
        reply_to(None, error)
    return True


def ask_for_view(
    system: ActorSystem, blocks: SocketBlocks, room_id: int, user_id: int, reply_to: Callable[[RoomView | None], None]
) -> None:
    """Have *reply_to* called with the room as this member sees it; None when it is not to be had."""

    def answered(value: object, error: BaseException | None) -> None:
        reply_to(value if isinstance(value, RoomView) else None)

    try:
        system.ref("room", room_id).request(
            Enter(user_id, hides=blocks.hides(user_id)), answered, deadline=trio.current_time() + COMMAND_SECONDS_MAX
        )
    except (ActorGone, MailboxFull, StorageUnavailable) as error:
        answered(None, error)


def send_over_limit(command: Send) -> Send:
    """The same send, to be answered only if it is a duplicate: those are never charged."""
    return replace(command, is_over_limit=True)
