"""Edits and deletions on their way to those who hear a room, and what must not be told any more because of them.

What a message said before is taken out of all that this process holds to tell later: the frames of a channel, what is
kept for pages that are coming, summaries; a walk over a large room looks after each rest whether it has some in hand.
Whoever reads the log from storage, and waits before it tells what it read, asks here whether that is older than a
change, or than a block, and then reads again. What was handed to a socket is on its way.
"""

from collections.abc import Callable, Mapping
from functools import partial
from typing import TYPE_CHECKING

from greenroom.actors.events import MessageChanged
from greenroom.http.ws import events
from greenroom.http.ws.blocks import NOBODY
from greenroom.http.ws.channel import Channel, Recent, recent_of
from greenroom.storage.postgres.conversations import StoredMessage

if TYPE_CHECKING:
    from greenroom.http.ws.hub import Hub


def outdated(hub: "Hub", room_id: int, reader_id: int) -> Callable[[], bool]:
    """Whether what is read of a room's log from now on is older than a change in it, or than a block of its reader."""
    changed, version = hub.changed, hub.changed.version
    blocked, block_version = hub.blocks.changed, hub.blocks.changed.version
    return lambda: changed.since(room_id, version) or blocked.since(reader_id, block_version)


def publish(hub: "Hub", event: MessageChanged, channel: Channel | None, members: Mapping[int, object]) -> None:
    """Tell that a message was changed, and let nobody be told any more what it said before.

    A reaction or a pin takes nothing back of what was told, so that nothing is told or read again because of it.
    """
    entry = event.entry
    is_mark = entry.change not in ("edited", "deleted")
    if not is_mark:
        hub.changed.note(event.room_id)
    if channel is not None:
        if not is_mark:
            _retell(channel, entry)
        hub.tell(channel, recent_of(event.room_id, entry))
    if not hub.compat and not hub.coming:
        return
    if not is_mark:
        _publish_to_pages(hub, event, members)
    elif entry.change in ("reacted", "unreacted"):
        _publish_reaction_to_pages(hub, event, members)


def _retell(channel: Channel, now: StoredMessage) -> None:
    """Make the frames anew that told of the message before; who keeps some asks for theirs, older ones among them."""
    retold = {now.message_seq: recent_of(channel.id, message_of(now))}
    for index, item in enumerate(channel.recent):
        if item.change_of == now.message_seq and item.entry is not None:
            channel.recent[index] = retold[item.seq] = recent_of(channel.id, told_now(item.entry, now))
        elif item.seq == now.message_seq:
            channel.recent[index] = retold[item.seq]
    for connection, attachment in channel.attachments.items():
        if not connection.can_be_told:
            connection.retell(channel.id, partial(_frame_for, attachment.user_id, retold, now))


def _frame_for(user_id: int, items: Mapping[int, Recent], now: StoredMessage, seq: int, told: bytes) -> bytes | None:
    """What is to be told at *seq* in the place of *told*; None: the same."""
    item = items.get(seq)
    if item is None:
        return events.v1_change_now(told, now)
    return item.own_frame if item.sender_id == user_id else item.frame


def message_of(change: StoredMessage) -> StoredMessage:
    """The message of a change, as it stands now."""
    return change._replace(seq=change.message_seq, change="", changed_by_id=0, changed_at_ms=0, reaction="")


def told_now(entry: StoredMessage, now: StoredMessage) -> StoredMessage:
    """An earlier change, with what its message says now."""
    own = {name: getattr(entry, name) for name in ("seq", "change", "changed_by_id", "changed_at_ms")}
    return now._replace(**own, reaction=entry.reaction if now.deleted_at_ms is None else "")


def _publish_to_pages(hub: "Hub", event: MessageChanged, members: Mapping[int, object]) -> None:
    entry, room_id = event.entry, event.room_id
    hiders = hub.blocks.hiders.get(entry.sender_id, NOBODY)
    here, coming = hub.compat_members(members), hub.coming.among(members)
    if not here and not coming:
        return
    frame = events.compat_change(room_id, entry)
    for user_id in here:
        if user_id not in hiders:
            hub.tell_compat(user_id, frame)
    for user_id in coming:
        if entry.change == "deleted":
            hub.coming.forget_reactions(user_id, (room_id, entry.message_seq))
        hub.coming.retell(user_id, (room_id, entry.message_seq), events.compat_message_now(room_id, message_of(entry)))
        hub.coming.keep(user_id, entry.sender_id, frame, (room_id, entry.message_seq))


def _publish_reaction_to_pages(hub: "Hub", event: MessageChanged, members: Mapping[int, object]) -> None:
    """All pages of all members, those of who reacts too: it is their answer. Pages know no pins."""
    entry, room_id = event.entry, event.room_id
    hiders = hub.blocks.hiders_of(entry.sender_id, entry.changed_by_id)
    here, coming = hub.compat_members(members), hub.coming.among(members)
    if not here and not coming:
        return
    frame = events.compat_reaction(room_id, entry)
    for user_id in here:
        if user_id not in hiders:
            hub.tell_compat(user_id, frame)
    for user_id in coming:
        hub.coming.keep_reaction(user_id, (entry.sender_id, entry.changed_by_id), frame, (room_id, entry.message_seq))
