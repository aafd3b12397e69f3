"""Polls of the existing client: whole states, for when its socket does not come up (existing-system.md section 1.5).

What greenroom does not have, the product's dashboard, is honestly empty in the right shape. Each answer says when to
come again (`nextPollIn`, milliseconds). A part is read at most once in CACHE_SECONDS for each user,
and kept for at most USERS_MAX; who may see a conversation is asked each time all the same. What the user does, or what
becomes of what they may see (a block, a membership, a notification), is seen by their next poll, for which all is read;
so is what has expired.
"""

import math
from typing import Any, Final, NamedTuple, TypeVar

from greenroom.http.models import Id, Input, Output
from greenroom.http.recent import Recent
from greenroom.http.rest.notifications import notification_row
from greenroom.http.rest.presence import Person, people_online
from greenroom.http.rest.rooms import no_conversation
from greenroom.http.rest.rows import MessageRow, Row, message_row
from greenroom.http.rest.tickets import TRANSPORTS
from greenroom.http.route import Answer, Call, Operations
from greenroom.http.ws.events import iso
from greenroom.http.ws.services import SocketServices
from greenroom.http.ws.v1_history import HISTORY_BYTES_MAX
from greenroom.storage.postgres.conversations import ReadMarks, StoredMessage

CACHE_SECONDS: Final = {"notifications": 5.0, "messages": 3.0}
USERS_MAX: Final = 256
MESSAGES_MAX: Final = 50
NOTIFICATIONS_MAX: Final = 50
BUSY_MS, CALM_MS, IDLE_MS, LOOKED_AT_MS = 15_000, 30_000, 60_000, 5_000
T = TypeVar("T")


class DashboardMetrics(Output):
    """Numbers of the product, which greenroom counts nothing of but messages."""

    pitch_views: int = 0
    total_revenue: int = 0
    active_investors: int = 0
    new_messages: int


class Polled(Output):
    """When the answer was made, and in how many milliseconds to ask again."""

    timestamp: str
    next_poll_in: int


class PolledNotifications(Polled):
    """The newest that are unread, at most 50. unreadCount: 1,000 stands for 1,000 or more."""

    notifications: list[dict[str, Any]]
    unread_count: int


class PolledMessages(Polled):
    """The newest of one conversation, or what is unread, by conversation; oldest first. unreadCount: of messages."""

    messages: list[MessageRow]
    unread_count: int


class PolledDashboard(Polled):
    """The numbers."""

    dashboard_metrics: DashboardMetrics


class People(Output):
    """Who is online."""

    users: list[Person]


class PolledAll(Polled):
    """Everything at once. unreadCount: of notifications."""

    notifications: list[dict[str, Any]]
    messages: list[MessageRow]
    dashboard_metrics: DashboardMetrics
    presence: People
    unread_count: int


class MessagesQuery(Input):
    """One conversation, or all."""

    conversation: Id | None = None


class SocketHealth(Output):
    """Whether it is worth trying a WebSocket."""

    status: str
    websocket_available: bool
    transports: dict[str, str]
    timestamp: str


class Versions(NamedTuple):
    """What was counted before storage was asked: changes for users, and in rooms."""

    of_users: int
    of_rooms: int


class Unread(NamedTuple):
    """Notifications as an answer tells them. until_ms: when the first of them expires; inf when none does."""

    told: dict[str, Any]
    until_ms: float


class UnreadMessages(NamedTuple):
    """What others have said and the user has not read: the newest of it, and how much it is, which is never less."""

    rows: list[Row]
    total: int


class States:
    """What polls are answered with, kept for as long as it may be old."""

    def __init__(self, sockets: SocketServices) -> None:
        self._sockets = sockets
        self._messages: Recent[tuple[Versions, list[Row]]] = Recent(CACHE_SECONDS["messages"], USERS_MAX)
        self._unread: Recent[tuple[Versions, UnreadMessages]] = Recent(CACHE_SECONDS["messages"], USERS_MAX)
        self._count: Recent[tuple[Versions, int]] = Recent(CACHE_SECONDS["messages"], USERS_MAX)
        self._notifications: Recent[tuple[Versions, Unread]] = Recent(CACHE_SECONDS["notifications"], USERS_MAX)

    def now(self, next_poll_ms: int) -> dict[str, Any]:
        """What every answer says of itself."""
        return {"timestamp": iso(self._sockets.clock.wall_milliseconds()), "nextPollIn": next_poll_ms}

    async def messages_of(self, user_id: int, room_id: int) -> list[Row] | None:
        """The newest of one conversation; None for who is not in it."""
        conversations, versions = self._sockets.conversations, self._versions()
        marks = await conversations.read_marks(room_id, user_id)
        if marks is None:
            return None
        key, now, changed = f"{user_id}/{room_id}", self._seconds(), self._sockets.hub.changed
        kept = self._kept(self._messages, key, user_id, now)
        if kept is not None and not changed.since(room_id, kept[0].of_rooms):
            return kept[1]
        page = await conversations.messages_page(room_id, user_id, MESSAGES_MAX, 0)
        shown = [message for message in page if not message.is_hidden and message.deleted_at_ms is None]
        rows = [message_row(message, room_id, user_id, marks) for message in _newest(shown)]
        self._messages.put(key, (versions, rows), now)
        return rows

    async def unread_messages(self, user_id: int) -> UnreadMessages:
        """Look over all conversations."""
        now, versions = self._seconds(), self._versions()
        kept = self._kept(self._unread, str(user_id), user_id, now)
        if kept is not None and kept[0].of_rooms == versions.of_rooms:  # nothing was edited or deleted
            return kept[1]
        found, count = await self._sockets.conversations.unread_messages(user_id, MESSAGES_MAX), 0
        if len(found) == MESSAGES_MAX:
            count = await self._sockets.conversations.unread_count(user_id)
        page = sorted(_newest(found), key=lambda said: (said.conversation_id, said.seq))  # clocks order nothing
        marks = ReadMarks(top_seq=0, read_seq=0, read_seq_of_others=0)
        rows = [message_row(message, message.conversation_id, user_id, marks) for message in page]
        unread = UnreadMessages(rows, max(count, len(found)))
        self._unread.put(str(user_id), (versions, unread), now)
        return unread

    async def unread_count(self, user_id: int) -> int:
        """How many messages the user has not read, for an answer that does not say which."""
        now, versions = self._seconds(), self._versions()
        kept = self._kept(self._count, str(user_id), user_id, now)
        if kept is not None and kept[0].of_rooms == versions.of_rooms:  # as above
            return kept[1]
        count = await self._sockets.conversations.unread_count(user_id)
        self._count.put(str(user_id), (versions, count), now)
        return count

    async def notifications(self, user_id: int) -> dict[str, Any]:
        """The unread notifications, and how many there are: `notifications` and `unreadCount` of an answer."""
        now, versions = self._seconds(), self._versions()
        kept = self._kept(self._notifications, str(user_id), user_id, now)
        stored, now_ms = self._sockets.notifications, self._sockets.clock.wall_milliseconds()
        if kept is not None and now_ms < kept[1].until_ms:
            return kept[1].told
        rows = await stored.page(user_id, now_ms, NOTIFICATIONS_MAX, 0, is_unread=True)
        counts = await stored.counts(user_id, now_ms)
        found = {"notifications": [notification_row(row) for row in rows], "unreadCount": counts.unread}
        ends = [end for end in (counts.unread_until_ms, *(row["expires_at_ms"] for row in rows)) if end is not None]
        self._notifications.put(str(user_id), (versions, Unread(found, min(ends, default=math.inf))), now)
        return found

    def _versions(self) -> Versions:
        return Versions(self._sockets.hub.changed_for.version, self._sockets.hub.changed.version)

    def _kept(
        self, recent: Recent[tuple[Versions, T]], key: str, user_id: int, now: float
    ) -> tuple[Versions, T] | None:
        """What is kept under *key*, unless something was changed for the user since."""
        kept = recent.get(key, now)
        if kept is None or self._sockets.hub.changed_for.since(user_id, kept[0].of_users):
            return None
        return kept

    def _seconds(self) -> float:
        return self._sockets.clock.wall_milliseconds() / 1000


def polling_operations(sockets: SocketServices) -> Operations:
    """The operations over what sockets are told."""
    operations, states = Operations("polling"), States(sockets)

    @operations.get("/api/poll/all", answer=PolledAll)
    async def poll_all(call: Call) -> Answer:
        """Everything that the existing client shows."""
        user_id = call.user_id
        unread, people = await states.unread_messages(user_id), await people_online(sockets, user_id)
        are_others_here = any(person["userId"] != user_id for person in people)
        data = {
            "messages": unread.rows,
            "dashboardMetrics": _metrics(unread.total),
            "presence": {"users": people},
        }
        notifications = await states.notifications(user_id)
        is_busy = unread.total or notifications["unreadCount"]
        next_poll_ms = BUSY_MS if is_busy else CALM_MS if are_others_here else IDLE_MS
        return Answer(data | notifications | states.now(next_poll_ms))

    @operations.get("/api/poll/notifications", answer=PolledNotifications)
    async def poll_notifications(call: Call) -> Answer:
        """The unread notifications, the newest first."""
        return Answer(await states.notifications(call.user_id) | states.now(CALM_MS))

    @operations.get("/api/poll/messages", query=MessagesQuery, answer=PolledMessages)
    async def poll_messages(call: Call) -> Answer:
        """The newest messages of one conversation, or the unread ones of all."""
        room_id, user_id = call.query(MessagesQuery).conversation, call.user_id
        found = None if room_id is None else await states.messages_of(user_id, room_id)
        if room_id is not None and found is None:
            raise no_conversation()
        if found is not None:
            counted = {"messages": found, "unreadCount": await states.unread_count(user_id)}
            return Answer(counted | states.now(LOOKED_AT_MS))
        unread = await states.unread_messages(user_id)
        return Answer({"messages": unread.rows, "unreadCount": unread.total} | states.now(BUSY_MS))

    @operations.get("/api/poll/dashboard", answer=PolledDashboard)
    async def poll_dashboard(call: Call) -> Answer:
        """The numbers of the dashboard."""
        return Answer({"dashboardMetrics": _metrics(await states.unread_count(call.user_id))} | states.now(IDLE_MS))

    @operations.get("/api/ws/health", auth="nobody", answer=SocketHealth)
    async def get_socket_health(_: Call) -> Answer:
        """Whether a WebSocket can be had now; `websocketAvailable` stands beside `data` too."""
        is_available = not sockets.engine.drain.is_stopping.is_set() and not sockets.system.storage.is_away
        health = SocketHealth(
            status="healthy" if is_available else "unavailable",
            websocket_available=is_available,
            transports=TRANSPORTS,
            timestamp=iso(sockets.clock.wall_milliseconds()),
        )
        return Answer(health, top={"websocketAvailable": is_available})

    return operations


def _newest(messages: list[StoredMessage]) -> list[StoredMessage]:
    """Of *messages*, oldest first, the newest that fit into an answer; one at least."""
    size, first = 0, len(messages)
    for at in range(len(messages) - 1, -1, -1):
        size += len(messages[at].content.encode())
        if size > HISTORY_BYTES_MAX and first < len(messages):
            break
        first = at
    return messages[first:]


def _metrics(unread_count: int) -> dict[str, int]:
    return DashboardMetrics(new_messages=unread_count).model_dump(by_alias=True)
