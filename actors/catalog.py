"""The supervision tree, whole: every kind of actor, its limits and how it is restarted, in start order.

    provider queue   one per account         durable, fenced; always awake
    provider sender  one per call            of its queue
    presence         one per user            derived from sockets; cold while nothing happens
    notifier         one per user            durable, fenced; cold while there is nothing to tell
    room             one per conversation    durable, fenced; passivated when idle

The system stops in the reverse of the start order: rooms first, those they may tell last.
"""

from greenroom.actors.events import Audience
from greenroom.actors.notifier.actor import Devices, NotifierActor, Unlooked
from greenroom.actors.notifier.commands import FoldNotes
from greenroom.actors.presence.actor import PresenceActor, PresenceBoard
from greenroom.actors.room.actor import Doubts, RoomActor
from greenroom.actors.room.sending import MessageIds
from greenroom.runtime import Kind, Meter, RestartPolicy
from greenroom.storage.postgres.blocks import Blocks
from greenroom.storage.postgres.conversations import Conversations
from greenroom.storage.postgres.notifications import Notifications
from greenroom.storage.postgres.preferences import StoredPreferences
from greenroom.storage.postgres.uploads import Uploads
from greenroom.storage.postgres.user_streams import UserStreams

ROOM = "room"
PRESENCE = "presence"
NOTIFIER = "notifier"


def room_kind(
    conversations: Conversations, uploads: Uploads, ids: MessageIds, audience: Audience, edit_seconds: int
) -> Kind:
    """Conversations. edit_seconds: for how long messages may be edited; 0: for ever."""
    doubts: Doubts = {}
    return Kind(
        name=ROOM,
        factory=lambda key: RoomActor(int(key), conversations, ids, audience, doubts, edit_seconds * 1000, uploads),
        ownership="existing",
        mailbox_envelopes_max=1024,
        idle_seconds_max=60.0,
        restart=RestartPolicy(mode="transient", intensity=5, period_seconds=30),
    )


def presence_kind(board: PresenceBoard) -> Kind:
    """Users that are here."""
    return Kind(
        name=PRESENCE,
        factory=lambda key: PresenceActor(int(key), board),
        mailbox_envelopes_max=256,
        idle_seconds_max=0.5,  # it keeps nothing that the engine and the board do not know
        restart=RestartPolicy(mode="transient", intensity=5, period_seconds=30),
    )


def notifier_kind(
    streams: UserStreams,
    notifications: Notifications,
    blocks: Blocks,
    preferences: StoredPreferences,
    conversations: Conversations,
    ids: MessageIds,
    devices: Devices,
) -> Kind:
    """What users are told about themselves."""
    unlooked: Unlooked = {}
    return Kind(
        name=NOTIFIER,
        factory=lambda key: NotifierActor(
            int(key), streams, notifications, blocks, preferences, conversations, ids, devices, unlooked
        ),
        ownership="create",
        mailbox_envelopes_max=256,
        meter=Meter(coalesce_by=lambda command: FoldNotes if isinstance(command, FoldNotes) else None),
        idle_seconds_max=10.0,
        restart=RestartPolicy(mode="transient", intensity=5, period_seconds=30),
    )
