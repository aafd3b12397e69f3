"""History in greenroom.v1: a page of a room, before, after or around a seq or a moment, bounded in messages and bytes.

Clocks order nothing, and a room's may have gone back: the place of a moment is one where what was said before it is
earlier, and the message there is not. Where the clock only went forward there is one such place.
"""

from typing import TYPE_CHECKING, Any, Final

from greenroom.actors.room.commands import RoomView
from greenroom.http.ws import changes, events
from greenroom.http.ws.v1_commands import LARGEST_ID, BadCommand, data_of, room_of
from greenroom.runtime import ActorError, StorageUnavailable
from greenroom.storage.postgres.conversations import Conversations, StoredMessage

if TYPE_CHECKING:
    from greenroom.http.ws.v1 import V1Session

HISTORY_BYTES_MAX: Final = 128 * 1024  # of content in one answer: it must fit well into the outbox
TRIES: Final = 20
_DIRECTIONS: Final = ("before", "after", "around", "at")


class WantedPage:
    """What `history` asks for. seq: for `at`, milliseconds. Raises BadCommand when it cannot be understood."""

    __slots__ = ("count", "direction", "seq", "thread_id")

    def __init__(self, data: dict[str, Any]) -> None:
        given = [key for key in _DIRECTIONS if data.get(key) is not None]
        if len(given) > 1:
            raise BadCommand("history takes one of before, after, around and at")
        self.thread_id: int | None = data.get("thread")
        if self.thread_id is not None and given in (["around"], ["at"]):
            raise BadCommand("a page of a thread is before or after a seq: leave around and at out")
        self.count: int = data.get("limit", 50)
        self.direction = given[0] if given else "before"
        self.seq: int = data[given[0]] if given else LARGEST_ID


def history(session: "V1Session", command_id: str | None, frame: dict[str, Any]) -> None:
    """The command."""
    wanted, room_id = WantedPage(data_of(frame)), room_of(frame)
    session.begin()
    session.read_in_turn(_answer, session, command_id, room_id, wanted)


async def _answer(session: "V1Session", command_id: str | None, room_id: int, wanted: WantedPage) -> None:
    assert session.user_id is not None
    try:
        for _ in range(TRIES):
            is_old = changes.outdated(session.services.hub, room_id, session.user_id)
            with session.services.hub.small_rooms.noting_changes() as moves:
                view = await session.look_into(room_id)
                if not isinstance(view, RoomView):
                    session.failed(command_id, view, None)
                    return
                data = await read_page(session.services.conversations, view, session.user_id, wanted)
            was_moved = any(move.room_id == room_id and move.user_id == session.user_id for move in moves)
            if not is_old() and not was_moved:  # who was sent away meanwhile is told that when the room is asked again
                session.ack(command_id, data, room_id)
                return
        session.failed(command_id, None, StorageUnavailable("it is changed faster than it is read"))
    except (ActorError, StorageUnavailable) as error:
        session.failed(command_id, None, error)
    finally:
        session.inflight -= 1


async def read_page(conversations: Conversations, view: RoomView, reader_id: int, wanted: WantedPage) -> dict[str, Any]:
    """The data of the answer. `more`: the page was cut to its size in bytes. Raises: StorageUnavailable.

    Reactions and pins are as of its `top`, out of one snapshot: who hears of others later counts none of them twice.
    """
    seq = wanted.seq
    if wanted.direction == "at":
        seq = await conversations.seq_at(view.room_id, wanted.seq)
    page, is_cut = bounded(await _stored(conversations, view.room_id, reader_id, wanted, seq), seq)
    shown = [entry for entry in page if not entry.is_hidden]
    items = [events.v1_history_item(entry, reader_id) for entry in shown if not entry.change]
    top_seq = max([view.top_seq, *[entry.room_top_seq for entry in page[:1]]])
    data: dict[str, Any] = {"messages": items, "top": top_seq, "epoch": view.epoch}
    changes = [events.v1_history_change(entry) for entry in shown if entry.change]
    if changes:
        data["changes"] = changes
    hidden = [message.seq for message in page if message.is_hidden]
    if hidden:
        data["skip"] = hidden
    return data | {"more": True} if is_cut else data


async def _stored(
    conversations: Conversations, room_id: int, reader_id: int, wanted: WantedPage, seq: int
) -> list[StoredMessage]:
    count = wanted.count
    if wanted.thread_id is not None:
        is_after = wanted.direction == "after"
        return await conversations.thread(room_id, reader_id, wanted.thread_id, seq, count, is_after=is_after)
    if wanted.direction == "after":  # as who missed them wants them: with the changes of older messages too
        return await conversations.log_after(room_id, reader_id, seq, count)
    if wanted.direction == "before":
        return await conversations.messages_before(room_id, reader_id, seq, count)
    before, after = await conversations.messages_around(room_id, reader_id, seq, count)
    before_count = max(count // 2, count - len(after))  # near either end the other side fills the page
    kept = before[-before_count:] if before_count else []
    return kept + after[: count - len(kept)]


def _bytes_of(entry: StoredMessage) -> int:
    """About what it takes in the answer, of text."""
    if entry.is_hidden:
        return 0
    if entry.change and entry.change != "edited":
        return len(entry.reaction.encode())
    beside = "" if entry.change else entry.attachments + entry.details + entry.reactions
    return len(entry.content.encode()) + len(beside.encode())


def bounded(page: list[StoredMessage], seq: int) -> tuple[list[StoredMessage], bool]:
    """(What fits into one answer, whether something was cut): what lies nearest to *seq* stays, and at least one."""
    size, kept = 0, list[StoredMessage]()
    for message in sorted(page, key=lambda message: abs(message.seq - seq)):
        size += _bytes_of(message)
        if kept and size > HISTORY_BYTES_MAX:
            break
        kept.append(message)
    return sorted(kept, key=lambda message: message.seq), len(kept) < len(page)
