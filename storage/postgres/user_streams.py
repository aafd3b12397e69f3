"""Streams of users in PostgreSQL: read here, written by the committer.

Written inside the transaction that has bumped the ownership of who writes, so what is fenced there is not here.
"""

from collections.abc import Iterable
from typing import Any, NamedTuple

from greenroom.storage.postgres.blocks import write_blocks
from greenroom.storage.postgres.notifications import put_notifications, read_notifications
from greenroom.storage.postgres.pool import Postgres
from greenroom.storage.postgres.preferences import put_preferences
from greenroom.storage.postgres.queries import query
from greenroom.storage.postgres.together import Rest, Together
from greenroom.storage.postgres.visibility import Visibility
from greenroom.storage.user_writes import (
    AppendUserEvent,
    NoteToUser,
    PutBlock,
    PutNotification,
    PutPreferences,
    ReadNotifications,
    TakeNote,
    TrimUserEvents,
    UserWrite,
)


class Standing(NamedTuple):
    """How far a stream is. has_notes: something waits that is not in it yet. Whom the user blocks, and who does so."""

    useq: int
    epoch: int
    has_notes: bool = False
    hides: tuple[int, ...] = ()
    blocked_by: tuple[int, ...] = ()


class Note(NamedTuple):
    """What a room left for a user. seq: of a read marker, how far, else 0. at_ms: milliseconds since 1970."""

    id: int
    kind: str
    conversation_id: int | None
    seq: int
    data: str
    at_ms: int


class UserEvent(NamedTuple):
    """One event of a stream. data: a JSON object as text. at_ms: milliseconds since 1970."""

    useq: int
    kind: str
    conversation_id: int | None
    data: str
    at_ms: int


class UserStreams:
    """Standings that wait to be read while another statement runs share the next one.

    visibility: is told who of those who come is invisible; another process may have been told so since its start.
    """

    def __init__(self, postgres: Postgres, visibility: Visibility) -> None:
        self._postgres = postgres
        self._visibility = visibility
        self._standings = Together(self._standings_of, Rest())

    async def standing(self, user_id: int) -> Standing:
        """How far the user's stream is; 0 when nobody was told anything yet. Raises: StorageUnavailable."""
        return await self._standings.get(user_id) or Standing(0, 1)

    async def _standings_of(self, user_ids: list[int]) -> dict[int, Standing]:
        asked_at = self._visibility.changed.version
        rows = await self._postgres.fetch("select_stream_standings", user_ids)
        older = self._visibility.found({row["user_id"]: row["is_invisible"] for row in rows}, asked_at)
        await self._visibility.look_again(older)
        return {
            row["user_id"]: Standing(
                row["useq"], row["epoch"], row["has_notes"], tuple(row["hides"]), tuple(row["blocked_by"])
            )
            for row in rows
        }

    async def notes(self, user_id: int, count: int) -> list[Note]:
        """The oldest *count* notes for a user. Raises: StorageUnavailable."""
        return [Note(*row) for row in await self._postgres.fetch("select_notes", user_id, count)]

    async def events_after(self, user_id: int, useq: int, count: int, now_ms: int) -> list[UserEvent]:
        """The next *count* events that are still kept. Raises: StorageUnavailable.

        In the place of a notification that is shown no more, expired or deleted, stands that it is gone.
        """
        rows = await self._postgres.fetch("select_user_events", user_id, useq, count, now_ms)
        return [UserEvent(*row) for row in rows]


async def write_users(connection: Any, writes: Iterable[UserWrite]) -> None:
    """Write what accepted units have of users."""
    by_type: dict[type[UserWrite], list[Any]] = {}
    for write in writes:
        by_type.setdefault(type(write), []).append(write)
    if NoteToUser in by_type:
        await put_notes(connection, by_type[NoteToUser])
    if AppendUserEvent in by_type:
        await _append(connection, by_type[AppendUserEvent])
    if TakeNote in by_type:
        taken: list[TakeNote] = by_type[TakeNote]
        await connection.execute(query("take_notes"), [note.id for note in taken], [note.seq for note in taken])
    if PutNotification in by_type:
        await put_notifications(connection, by_type[PutNotification])
    if ReadNotifications in by_type:
        await read_notifications(connection, by_type[ReadNotifications])
    if PutPreferences in by_type:
        await put_preferences(connection, by_type[PutPreferences])
    if PutBlock in by_type:
        await write_blocks(connection, by_type[PutBlock])
    if TrimUserEvents in by_type:
        trims: list[TrimUserEvents] = by_type[TrimUserEvents]
        users, ends = [trim.user_id for trim in trims], [trim.up_to for trim in trims]
        await connection.execute(query("trim_user_events"), users, ends)


async def put_notes(connection: Any, notes: list[NoteToUser]) -> None:
    """Leave notes; of several moves of one marker the farthest. Inside a transaction."""
    farthest: dict[tuple[int, int], int] = {}
    kept: list[NoteToUser | None] = []
    for note in notes:
        if note.kind == "read_sync":
            place = farthest.get((note.user_id, note.conversation_id))
            if place is not None:
                other = kept[place]
                assert other is not None
                if other.seq >= note.seq:
                    continue
                kept[place] = None
            farthest[note.user_id, note.conversation_id] = len(kept)
        kept.append(note)
    rows = [note for note in kept if note is not None]
    await connection.execute(
        query("put_notes"),
        [note.user_id for note in rows],
        [note.kind for note in rows],
        [note.conversation_id for note in rows],
        [note.seq for note in rows],
        [note.data for note in rows],
        [note.at_ms for note in rows],
    )


async def _append(connection: Any, events: list[AppendUserEvent]) -> None:
    await connection.execute(
        query("append_user_events"),
        [event.user_id for event in events],
        [event.useq for event in events],
        [event.kind for event in events],
        [event.conversation_id for event in events],
        [event.data for event in events],
        [event.at_ms for event in events],
    )
