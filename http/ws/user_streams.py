"""The streams of users as their sockets hear them.

    notifier ──tell──▶ greenroom.v1 sockets of the user that have everything before it, at once
                       others (a resume, a socket that was passed over) ──▶ read from storage, page by page, then live
             ──tell──▶ compat sockets alike, those events that they have a frame for

A session's `useq` is the last event that its socket was given, None while it is being brought up. How far a stream is
stays known here as long as nothing is stored past us, so that a user who comes back costs no look into storage.

    storage says so, and no note waits ──▶ known: with the user's blocks; both are kept right by what is told
    something is told of who is not    ──▶ how far it is, and no more: who comes is looked up
    a note is left for who is away     ──▶ forgotten, and what is being read of them is read again
"""

import json
from collections import OrderedDict
from collections.abc import Callable, Iterable
from functools import partial
from itertools import chain
from typing import Final, NamedTuple

import trio

from greenroom.actors.notifier.actor import Devices
from greenroom.http.ws import compat_notices, events
from greenroom.http.ws.blocks import SocketBlocks
from greenroom.http.ws.coming_pages import ComingPages
from greenroom.http.ws.connection import Connection
from greenroom.http.ws.engine import SocketEngine
from greenroom.http.ws.replay import PACK_BYTES_MAX, STORAGE_PAUSE_SECONDS, wait_drained
from greenroom.runtime import Clock, StorageUnavailable
from greenroom.storage.changed import Changed
from greenroom.storage.postgres.user_streams import Standing, UserEvent, UserStreams

KNOWN_STREAMS_MAX: Final = 100_000
REPLAY_EVENTS_MAX: Final = 500
PAGE_EVENTS: Final = 200
PAGE_SECONDS_MAX: Final = 1.0  # that a replay goes on telling from a page: what expires is told of for no longer
_FRESH: Final = Standing(0, 1)  # of most: one object for all


class UserCursor(NamedTuple):
    """Where a client is in its user's stream, and the epoch that it knows."""

    useq: int
    epoch: int | None = None


class SocketStreams(Devices):
    """All streams of this process."""

    def __init__(
        self, engine: SocketEngine, streams: UserStreams, blocks: SocketBlocks, coming: ComingPages, clock: Clock
    ) -> None:
        self._engine = engine
        self._clock = clock
        self._blocks = blocks
        self._coming = coming
        self._streams = streams
        # As far as was told, or read. has_notes: more may be stored, of blocks too, so who comes is looked up.
        self._known: OrderedDict[int, Standing] = OrderedDict()
        self._changed = Changed()  # of users: what was read of how they stand before is out of date
        self._gone = Changed()  # of users: a notification was deleted, or may have been
        self._again: dict[Connection, int] = {}  # places farther back, asked for while something was told already
        # Called with a user for whom there are notes, while somebody here listens: their notifier should fold them in.
        # And with whether the user is coming only now. False: it could not be told.
        self.on_notes: Callable[[int, bool], bool] = _nobody_folds
        self._untold: set[int] = set()  # users whose notifiers could not be told of notes yet
        # Called with two of whom neither may see the other any more, or each may again.
        self.on_sight_changed: Callable[[int, int], None] = lambda user_id, other_id: None
        # Called with a user who sees from now on less, or more, of what others say.
        self.on_hides_changed: Callable[[int], None] = lambda user_id: None
        # Called with a user of whom something was stored: what was read of them before is out of date.
        self.on_changed: Callable[[int], None] = lambda user_id: None

    # -- rooms --------------------------------------------------------------------------------------------------

    def news_for(self, user_ids: Iterable[int]) -> None:
        """Notes were stored for these users. Who has no socket here hears of them on coming."""
        for user_id in user_ids:
            if self._engine.of_user(user_id):
                self._have_folded(user_id, is_coming=False)
            else:
                self._forget(user_id)

    def _have_folded(self, user_id: int, *, is_coming: bool) -> None:
        """Tell the notifier of notes: again and again, should its mailbox be full, as long as the user is here."""
        if user_id not in self._untold and not self.on_notes(user_id, is_coming):
            self._untold.add(user_id)
            self._engine.spawn(self._tell_of_notes, user_id)

    async def _tell_of_notes(self, user_id: int) -> None:
        try:
            while self._engine.of_user(user_id):
                await trio.sleep(STORAGE_PAUSE_SECONDS)
                if self.on_notes(user_id, False):
                    return
            self._forget(user_id)
        finally:
            self._untold.discard(user_id)

    # -- the notifier -------------------------------------------------------------------------------------------

    def tell(self, user_id: int, epoch: int, told: list[UserEvent]) -> None:
        """These events are stored."""
        first, last = told[0].useq, told[-1].useq
        self.on_changed(user_id)
        known = self._known.get(user_id)
        top = last if known is None or known.epoch != epoch else max(last, known.useq)  # storage may have said more
        self._know(user_id, Standing(top, epoch, has_notes=not self._is_known(user_id)))
        if self._let_go(user_id, told):
            self._gone.note(user_id)
        connections = self._engine.connections_of(user_id)
        if not connections:
            return
        frames = b"".join(events.v1_user_event(event) for event in told)
        compat_frames = b"".join(compat_notices.frames_of(event) for event in told)
        for connection in list(connections):
            session = connection.session
            if session.useq == first - 1:
                session.useq = last
                if session.is_v1:
                    connection.write(frames)
                elif compat_frames:
                    connection.write(compat_frames)
            elif not session.is_v1 and session.useq is not None and session.useq >= first:
                session.useq = max(session.useq, last)
                connection.write(compat_frames)  # stored when the page came, and told to it by nobody: twice is dropped
            elif session.is_v1 or not self._coming.keep_own(connection, user_id, compat_frames):
                self._bring_up(connection, user_id)

    def _let_go(self, user_id: int, told: list[UserEvent]) -> bool:
        """Of notifications that are gone by what is told nothing that is kept says the text. False when none is."""
        gone = [json.loads(event.data)["ids"] for event in told if event.kind == "notification_deleted"]
        if gone:
            self._unsay(user_id, partial(events.v1_gone_now, ids=set(chain.from_iterable(gone))))
        return bool(gone)

    def _unsay(self, user_id: int, instead: Callable[[bytes], bytes | None]) -> None:
        for connection in self._engine.connections_of(user_id):
            if not connection.can_be_told:
                connection.session.unsay(instead)

    def version(self) -> int:
        """Before storage is asked how far a stream is."""
        return self._changed.version

    def stands_at(self, user_id: int, standing: Standing, version: int) -> bool:
        """So far the stream is by what is stored: whoever was told less is brought up.

        False, and nothing is done, when the user blocked, was blocked or was forgotten since *version*.
        """
        if self._changed.since(user_id, version):
            return False
        self.on_changed(user_id)
        self._gone.note(user_id)
        has_notes = standing.has_notes and not self._is_known(user_id)  # of who is, the notifier was told of the notes
        self._know(user_id, standing._replace(has_notes=has_notes))
        self._put_blocks(user_id, standing)
        for connection in list(self._engine.connections_of(user_id)):
            self._bring_up(connection, user_id)
        return True

    def blocked(self, user_id: int, other_id: int, *, is_blocked: bool) -> None:
        """From here on whoever is here is treated by it."""
        were_apart = self._are_apart(user_id, other_id)
        self._blocks.change(user_id, other_id, is_blocked=is_blocked)
        self.on_hides_changed(user_id)
        self._unsay(user_id, partial(events.v1_skip_now, hides=self._blocks.hides(user_id)))
        for one in (user_id, other_id):
            self.on_changed(one)
            self._changed.note(one)
            if one not in self._known and not self._engine.of_user(one):
                self._blocks.drop(one)
        if self._are_apart(user_id, other_id) != were_apart:
            self.on_sight_changed(user_id, other_id)

    def _are_apart(self, user_id: int, other_id: int) -> bool:
        """As whoever of the two is here knows."""
        return self._blocks.are_apart(user_id, other_id) or self._blocks.are_apart(other_id, user_id)

    def _put_blocks(self, user_id: int, standing: Standing) -> None:
        """What storage says. It may say more than was told, of a block whose commit was lost sight of."""
        for other_id in self._blocks.hides(user_id).symmetric_difference(standing.hides):
            self.blocked(user_id, other_id, is_blocked=other_id in standing.hides)
        self._blocks.put(user_id, standing.hides, standing.blocked_by)

    def forget(self, user_id: int) -> None:
        """Ask storage, at the next coming."""
        self.on_changed(user_id)
        self._forget(user_id)

    def _forget(self, user_id: int) -> None:
        """What is known of the user, or being read, may be out of date. Of who is not here nothing is kept."""
        self._known.pop(user_id, None)
        self._changed.note(user_id)
        self._gone.note(user_id)
        if not self._engine.of_user(user_id):
            self._blocks.drop(user_id)

    # -- sessions -----------------------------------------------------------------------------------------------

    def standing(self, connection: Connection, user_id: int, reply_to: Callable[[Standing], None]) -> None:
        """Have *reply_to* called when it is known whom the user blocks and how far the stream is. At once when it is.

        While storage does not answer that waits: not to know whom somebody blocks is no reason to show them all.
        """
        if self._is_known(user_id):
            self._known.move_to_end(user_id)
            reply_to(self._known[user_id])
        else:
            self._engine.spawn(self._find, connection, user_id, reply_to, of=connection)

    async def _find(self, connection: Connection, user_id: int, reply_to: Callable[[Standing], None]) -> None:
        while not connection.is_closing:
            version = self.version()
            try:
                standing = await self._read(user_id, version)
            except StorageUnavailable:
                await trio.sleep(STORAGE_PAUSE_SECONDS)
                continue
            if standing is not None and not connection.is_closing:
                reply_to(standing)
                return

    async def _read(self, user_id: int, version: int) -> Standing | None:
        """How far the stream is by storage, or farther; None when that is out of date already: ask again.

        Raises: StorageUnavailable.
        """
        found = await self._streams.standing(user_id)
        if self._changed.since(user_id, version):
            return None
        self._put_blocks(user_id, found)
        if found.has_notes:
            self._have_folded(user_id, is_coming=True)
        known = self._known.get(user_id)
        useq = found.useq if known is None else max(found.useq, known.useq)
        standing = Standing(useq, found.epoch, found.has_notes)
        self._know(user_id, standing)
        return standing

    def attach(self, connection: Connection, user_id: int, standing: Standing, cursor: UserCursor | None) -> None:
        """Let a socket hear the stream: from *cursor* on, or from *standing* on when it is new.

        What lies too far back is a gap, and told as one.
        """
        gap = gap_in(standing, cursor)
        start = standing.useq if cursor is None or gap is not None else cursor.useq
        known = self._known.get(user_id)
        is_live = known is not None and start >= known.useq
        connection.session.user_stream_at(start, is_live=is_live)
        if gap is not None:
            connection.write(events.v1("gap", gap))
        if not is_live:  # behind, or nobody knows any more
            self._engine.spawn(self._replay, connection, user_id, start, of=connection)

    def begin_again(self, connection: Connection, standing: Standing, cursor: UserCursor) -> None:
        """To a socket that is being brought up tell what follows *cursor* too, if that is farther back."""
        gap = gap_in(standing, cursor)
        if gap is not None:
            connection.write(events.v1("gap", gap))
        else:
            self._again[connection] = min(cursor.useq, self._again.get(connection, cursor.useq))

    def _bring_up(self, connection: Connection, user_id: int) -> None:
        """A live socket was passed over: read what it has not."""
        useq = connection.session.useq
        if useq is not None and useq < self._known[user_id].useq:
            connection.session.user_stream_at(useq, is_live=False)
            self._engine.spawn(self._replay, connection, user_id, useq, of=connection)

    async def _replay(self, connection: Connection, user_id: int, useq: int) -> None:
        """Everything after *useq*, then live."""
        try:
            await self._replay_from(connection, user_id, useq)
        finally:
            self._again.pop(connection, None)

    async def _replay_from(self, connection: Connection, user_id: int, useq: int) -> None:
        while not connection.is_closing:
            useq = min(useq, self._again.pop(connection, useq))
            version = self._gone.version
            try:
                now_ms = self._clock.wall_milliseconds()
                page = await self._streams.events_after(user_id, useq, PAGE_EVENTS, now_ms)
            except StorageUnavailable:
                await trio.sleep(STORAGE_PAUSE_SECONDS)
                continue
            if self._gone.since(user_id, version):
                continue
            if page:
                self.on_changed(user_id)  # a page may be reading its list of before this
                self._let_go(user_id, page)
                useq = await self._write(connection, page, useq, self._is_old(user_id, version))
            known = self._known.get(user_id)
            if not page and (known is None or known.useq <= useq) and connection not in self._again:
                connection.session.user_stream_at(useq, is_live=True)
                return

    def _is_old(self, user_id: int, version: int) -> Callable[[], bool]:
        """Whether a page that came just now may hold the text of a notification that is gone since."""
        ends = trio.current_time() + PAGE_SECONDS_MAX
        return lambda: trio.current_time() > ends or self._gone.since(user_id, version)

    @staticmethod
    async def _write(connection: Connection, page: list[UserEvent], useq: int, is_old: Callable[[], bool]) -> int:
        """The page in packs, as fast as the peer takes them; after a gap if it begins later. Where the stream is then.

        The rest of one that is old after a wait is not written: it is to be read again.

        The session hears where it is before it is written what leads there: an event stream tells its reader both.
        Compat has no word for a gap.
        """
        is_v1, first, last = connection.session.is_v1, page[0].useq, page[-1].useq
        frames_of = events.v1_user_event if is_v1 else compat_notices.frames_of
        if first > useq + 1 and is_v1:  # the beginning was forgotten meanwhile
            connection.session.user_stream_at(first - 1, is_live=False)
            connection.write(events.v1("gap", _gap(useq + 1, first - 1, first - 1)))
        pack, size = [], 0
        for event in page:
            pack.append(frames_of(event))
            size += len(pack[-1])
            if size >= PACK_BYTES_MAX or event.useq == last:
                connection.session.user_stream_at(event.useq, is_live=False)
                if size:
                    connection.write(b"".join(pack))
                    connection.flush()
                await wait_drained(connection)
                if is_old():
                    return event.useq
                pack, size = [], 0
        return last

    # -- what is known ------------------------------------------------------------------------------------------

    def _is_known(self, user_id: int) -> bool:
        known = self._known.get(user_id)
        return known is not None and not known.has_notes

    def _know(self, user_id: int, standing: Standing) -> None:
        kept = Standing(*standing[:3])
        self._known[user_id] = _FRESH if kept == _FRESH else kept
        self._known.move_to_end(user_id)
        if len(self._known) > KNOWN_STREAMS_MAX:
            gone, _ = self._known.popitem(last=False)
            if not self._engine.of_user(gone):
                self._blocks.drop(gone)


def gap_in(standing: Standing, cursor: UserCursor | None) -> dict[str, object] | None:
    """What will not be told again to a client that is at *cursor*: None when nothing is left out.

    reset: the stream is not the one that the client knew: its epoch changed, or it is shorter.
    """
    if cursor is None:
        return None
    top = standing.useq
    if cursor.epoch not in (None, standing.epoch) or cursor.useq > top:
        return {**_gap(1, top, top), "reset": True}
    return _gap(cursor.useq + 1, top, top) if top - cursor.useq > REPLAY_EVENTS_MAX else None


def _gap(first: int, last: int, top: int) -> dict[str, object]:
    return {"user": True, "from": first, "to": last, "top": top}


def _nobody_folds(user_id: int, _: bool) -> bool:
    raise AssertionError(f"there are notes for user {user_id} and nobody was named to fold them in")
