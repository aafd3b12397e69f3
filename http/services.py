"""What the handlers need of the rest of the house, in one value; made in compose, passed to `make_app`."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path

import trio

from greenroom.actors.provider_queue.post_office import PostOffice
from greenroom.http.auth import Authenticator, Principal
from greenroom.http.checkup import Checkup
from greenroom.http.development import DevelopmentGate
from greenroom.http.direct import DirectConversations
from greenroom.http.origins import Origins, Proxies
from greenroom.http.rate_limit import SlidingWindow
from greenroom.http.searches import Searches
from greenroom.http.tickets import Tickets
from greenroom.http.ws.engine import SocketEngine
from greenroom.http.ws.hub import Hub
from greenroom.runtime import ActorSystem
from greenroom.settings import Settings
from greenroom.storage.postgres.blocks import Blocks
from greenroom.storage.postgres.committer import PostgresCommitter
from greenroom.storage.postgres.conversations import Conversations
from greenroom.storage.postgres.ids import Ids
from greenroom.storage.postgres.notifications import Notifications
from greenroom.storage.postgres.pool import Postgres
from greenroom.storage.postgres.preferences import StoredPreferences
from greenroom.storage.postgres.reports import Reports
from greenroom.storage.postgres.sessions import Sessions
from greenroom.storage.postgres.users import User, Users


def _nobody_listens(_: object) -> None:
    """For tests of single operations."""


async def _nobody_waits(_: object) -> None:
    await trio.lowlevel.checkpoint()


@dataclass(frozen=True, slots=True, kw_only=True)
class RoomServices:
    """What operations on conversations, messages and mail need.

    messages, commands: the limits per user, shared with the sockets. mail_directory: where the folder provider keeps
    its files.
    """

    system: ActorSystem
    conversations: Conversations
    direct: DirectConversations
    searches: Searches
    notifications: Notifications
    blocks: Blocks
    preferences: StoredPreferences
    ids: Ids
    hub: Hub
    reports: Reports
    messages: SlidingWindow
    commands: SlidingWindow
    engine: SocketEngine
    committer: PostgresCommitter
    postgres: Postgres
    post_office: PostOffice
    mail_directory: Path


@dataclass(frozen=True, slots=True, kw_only=True)
class Services:
    """Shared by all handlers of one app."""

    settings: Settings
    users: Users
    sessions: Sessions
    authenticator: Authenticator
    tickets: Tickets
    origins: Origins
    proxies: Proxies
    development: DevelopmentGate
    checkup: Checkup
    # Called with the id of a session that was ended here: its sockets should be closed.
    on_session_ended: Callable[[str], None] = _nobody_listens
    # Called with the id of a user who has signed out everywhere: all their sockets should be closed.
    on_signed_out: Callable[[int], None] = _nobody_listens
    # Called with whoever is about to change something: somebody sits there.
    on_input: Callable[[Principal], None] = _nobody_listens
    # Called with a user as they are after a change.
    on_user_changed: Callable[[User], Awaitable[None]] = _nobody_waits
    # Called with the id of a user of whom it is not known whether a change of them was stored.
    on_user_perhaps_changed: Callable[[int], None] = _nobody_listens
    # Whether the sockets are moved away: a balancer should send new ones elsewhere.
    is_moving: Callable[[], bool] = bool
    # None only in tests of operations that need no rooms.
    rooms: RoomServices | None = None

    @property
    def room_services(self) -> RoomServices:
        """What operations on rooms need."""
        assert self.rooms is not None, "this app was made without rooms"
        return self.rooms
