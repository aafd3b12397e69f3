"""The supervision tree, whole: every kind of actor, its limits and how it is restarted, in start order.

    provider queue   one per account         durable, fenced; always awake
    provider sender  one per call            of its queue
    presence         one per user            derived from sockets; cold while nothing happens
    room             one per conversation    durable, fenced; passivated when idle

The system stops in the reverse of the start order: rooms first, the queues they may tell last.
"""

from greenroom.actors.events import Audience
from greenroom.actors.presence.actor import PresenceActor, PresenceBoard
from greenroom.actors.room.actor import Doubts, MessageIds, RoomActor
from greenroom.runtime import Kind, RestartPolicy
from greenroom.storage.postgres.conversations import Conversations

ROOM = "room"
PRESENCE = "presence"


def room_kind(conversations: Conversations, ids: MessageIds, audience: Audience) -> Kind:
    """Conversations."""
    doubts: Doubts = {}
    return Kind(
        name=ROOM,
        factory=lambda key: RoomActor(int(key), conversations, ids, audience, doubts),
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
