"""The session of a reader without a WebSocket: greenroom.v1, but for its commands.

    cursor, rooms of the user ──▶ (V1's `Start`) every room asked ──▶ ready ──▶ replay ──▶ live
                                                     │                  └─▶ the user's stream, from its place on
                                                     └─ not in time: asked again, a second later
    the user comes into a room ──▶ that room asked ──▶ replay ──▶ live
    asked again, and the user is out of it ──▶ when they left is looked for, and told; else asked again

So what it hears, and what is checked on the way, is what a socket hears that resumes. Two things are added, because it
cannot say `join`: it is in all rooms of its user, also in those that the user comes into meanwhile, and it knows at
every moment where it stands in each, and in the user's stream, which is its cursor.
"""

from collections.abc import Callable, Mapping
from typing import Any, Final

import trio

from greenroom.actors.room.commands import RoomView
from greenroom.http.auth import Principal
from greenroom.http.streams.connection import ReadOnlyConnection
from greenroom.http.ws.channel import Attachment
from greenroom.http.ws.codes import NOT_MEMBER
from greenroom.http.ws.cursor import AT_TOP, ROOMS_MAX, Cursor, Place, cursor_text
from greenroom.http.ws.leases import OVER_REST, POLLER, token_issued_at
from greenroom.http.ws.services import SocketServices, failure_of
from greenroom.http.ws.session import SocketSession
from greenroom.http.ws.v1 import V1Session
from greenroom.http.ws.v1_start import PING_SECONDS, Start, ends_of, left_frame

AGAIN_SECONDS: Final = 1.0


class StreamStart(Start):
    """The start of a stream: what its cursor names is resumed, and other rooms begin where they were left unread."""

    __slots__ = ("_begin_unread",)

    def __init__(self, session: "StreamSession", room_ids: list[int], begins_at: Cursor | None) -> None:
        named = {} if begins_at is None else begins_at.rooms
        others = [room_id for room_id in room_ids if room_id not in named][: ROOMS_MAX - len(named)]
        at_top = [room_id for room_id, at in named.items() if at == AT_TOP]
        data: dict[str, Any] = {"rooms": [{"r": room_id} for room_id in (*at_top, *others)]}
        if begins_at is not None:
            resumed = {room: {"seq": at.seq, "epoch": at.epoch} for room, at in named.items() if at != AT_TOP}
            data["resume"] = {"rooms": resumed}
            if begins_at.user is not None:
                data["resume"]["user"] = {"useq": begins_at.user.seq, "epoch": begins_at.user.epoch}
        super().__init__(session, None, data)
        self._begin_unread = set(others) if begins_at is not None else set()

    def _attach(self, view: RoomView) -> Attachment:
        if view.room_id in self._begin_unread:
            self._wanted.after[view.room_id] = view.read_seq
        return super()._attach(view)

    def entered(self) -> dict[int, tuple[Attachment, int]]:
        """By room: how it is heard, and its epoch."""
        return {room_id: (attachment, self._views[room_id].epoch) for room_id, attachment in self.attachments.items()}

    def top_of_stream(self) -> Place:
        """How far the user's stream was when the rooms were asked."""
        assert self._standing is not None
        return Place(self._standing.useq, self._standing.epoch)

    def to_ask_again(self) -> list[int]:
        """Rooms that have not answered in time, or that the user has left without being told when."""
        return [room_id for room_id in self._refused if self._asks_again(room_id)]

    def _asks_again(self, room_id: int) -> bool:
        return self._refused[room_id].code.is_recoverable or room_id in self._unfound


class StreamSession(V1Session):
    """One reader. begins_at: where its cursor says that it stands; None without a cursor."""

    __slots__ = (
        "_are_rooms_live",
        "_begins_at",
        "_entered",
        "_entering",
        "_places",
        "_user_at",
        "_user_epoch",
        "stream",
        "via",
    )

    grace_seconds = 0.0  # it cannot refresh its token here: it comes back with another

    def __init__(
        self, services: SocketServices, connection: ReadOnlyConnection, principal: Principal, begins_at: Cursor | None
    ) -> None:
        self.stream = connection
        self._begins_at = begins_at
        self._are_rooms_live = False
        self._user_at: Place | None = None  # as far as the user's stream was told; None until ready
        self._user_epoch = 0
        self._places: dict[int, Place] = {}  # of rooms that are still to be entered
        self._entered: dict[int, tuple[Attachment, int]] = {}
        self._entering: set[int] = set()
        super().__init__(services, connection, principal)
        self.via = connection.via

    def enter_all(self, room_ids: list[int]) -> None:
        """Enter the rooms that the cursor names, and *room_ids*."""
        if not self.connection.is_closing:
            self.starting = StreamStart(self, room_ids, self._begins_at)
            self.starting.begin()

    def cursor(self) -> str | None:
        """Where the reader stands when it has taken everything that was written; None before it stands anywhere."""
        if self._user_at is None:
            return None if self._begins_at is None else cursor_text(self._begins_at.user, _rows(self._begins_at.rooms))
        user = self._user_at if self.useq is None else Place(self.useq, self._user_epoch)
        entered = [(room, at.seq, epoch) for room, (at, epoch) in self._entered.items() if at.is_attached]
        return cursor_text(user, [*entered, *_rows(self._places)])

    def ready(self, room_ids: tuple[int, ...]) -> None:
        """As in v1. Rooms that did not answer keep their place, and are asked again."""
        start = self.starting
        assert isinstance(start, StreamStart)
        again, came_meanwhile = start.to_ask_again(), self._entering
        begins_at = self._begins_at or Cursor(dict.fromkeys(again, AT_TOP))
        self._entered, top, named = start.entered(), start.top_of_stream(), begins_at.rooms
        self._user_at, self._user_epoch = begins_at.user or top, top.epoch
        self._places = {room: named[room] for room in again if room in named}
        self._entering = set()
        super().ready(room_ids)
        for room_id in again:
            self._enter_later(room_id)
        for room_id in came_meanwhile:
            self._came_into(room_id)

    def live(self, rooms: list[tuple[int, Attachment]]) -> None:
        """As in v1."""
        super().live(rooms)
        if not self.connection.is_closing:
            self._are_rooms_live = True
            self._tell_if_live()

    def user_stream_at(self, useq: int, *, is_live: bool) -> None:
        """As in v1; and where the reader stands in it is part of its cursor."""
        super().user_stream_at(useq, is_live=is_live)
        self._user_at = Place(useq, self._user_epoch)
        self._tell_if_live()

    def _tell_if_live(self) -> None:
        """When both are: a poll that is answered earlier could leave the user's stream out each time anew."""
        if self._are_rooms_live and self.useq is not None:
            self.stream.went_live()

    def membership_changed(self, room_id: int, *, is_in: bool) -> None:
        """Hear a room that the user is in now, from where they came in. That they are out of one was told just now."""
        super().membership_changed(room_id, is_in=is_in)
        if is_in:
            self._came_into(room_id)
        else:
            self._lose(room_id)
            self.stream.went_out(room_id)

    def unsay(self, instead: Callable[[bytes], bytes | None]) -> None:
        """As in v1, but of what is kept for an answer."""
        self.stream.unsay(instead)

    def _came_into(self, room_id: int) -> None:
        if self.rooms is None:
            self._entering.add(room_id)
        elif not self._hears(room_id) and room_id not in self._entering and self._has_place():
            self._enter(room_id)

    def _hears(self, room_id: int) -> bool:
        return room_id in self._entered and self._entered[room_id][0].is_attached

    def _has_place(self) -> bool:
        """Whether one room more may be heard; those that were left make room."""
        self._entered = {room: entered for room, entered in self._entered.items() if entered[0].is_attached}
        self.rooms = tuple(self._entered)
        return len(self._entered) + len(self._entering) < ROOMS_MAX

    def _enter(self, room_id: int) -> None:
        self._entering.add(room_id)

        def entered(value: object, error: BaseException | None) -> None:
            if isinstance(value, RoomView):
                self._begin_room(value)
                return
            self._entering.discard(room_id)
            failure = failure_of(value, error)
            if failure is not None and failure.code.is_recoverable:
                self._enter_later(room_id)
            elif failure is not None and failure.code is NOT_MEMBER and self._has_been_in(room_id):
                self.services.engine.spawn(self._tell_end, room_id, of=self.connection)
            else:
                self._lose(room_id)

        self.ask(self.services.room(room_id), self.enter(room_id), entered)

    def _enter_later(self, room_id: int) -> None:
        async def enter() -> None:
            await trio.sleep(AGAIN_SECONDS)
            if not self.connection.is_closing:
                self._enter(room_id)

        self._entering.add(room_id)
        self.services.engine.spawn(enter, of=self.connection)

    async def _tell_end(self, room_id: int) -> None:
        """As `Start` does. What the user was told of the room meanwhile comes before it."""
        assert self.user_id is not None
        ends = await ends_of(self.services, self.user_id, [room_id])
        if self.connection.is_closing or not self._has_been_in(room_id) or room_id in self._entering:
            return
        if ends is None:
            self._enter_later(room_id)
            return
        self._lose(room_id)  # first: what is written next is no part of where the reader stands
        for end in ends:
            self.connection.write(left_frame(self.user_id, end))

    def _has_been_in(self, room_id: int) -> bool:
        """The reader has a place in that room, which is still to be entered."""
        return self._places.get(room_id, AT_TOP) != AT_TOP

    def _lose(self, room_id: int) -> None:
        """Not to be asked again."""
        if self._has_been_in(room_id):
            self.resumed("refused")
        self._places.pop(room_id, None)

    def _begin_room(self, view: RoomView) -> None:
        room_id = view.room_id
        place = self._places.pop(room_id, None) or Place(view.read_seq, view.epoch)
        self._entering.discard(room_id)
        after_seq = None if place == AT_TOP else place.seq
        attachment = self.attach(view, after_seq, place.epoch)
        self._entered[room_id] = attachment, view.epoch
        self.tell_gap(view, after_seq, place.epoch)
        self.replay([(room_id, attachment)])

    @property
    def seat(self) -> tuple[str, str]:
        """As in v1; all polls of a session are one device."""
        device, under = super().seat
        return POLLER if self.via == "poll" else device, under

    def closed(self) -> None:
        """As in v1. Who polls is here until the next poll."""
        is_polling, seconds = self.is_present, self.stream.lease_seconds
        super().closed()
        if is_polling and self.user_id is not None and self.principal is not None and seconds:
            (called, under), issued_at = self.seat, token_issued_at(self.principal)
            self.services.presence.hear_from(self.user_id, under, self.name, seconds, issued_at, called)

    def take_back(self, called: str | None = OVER_REST) -> None:
        """The end of a poll is no sign that the user goes, unless it is that of its credential: then all ends."""
        if not self.stream.lease_seconds:
            super().take_back(None if self.via == "poll" else called)

    def seconds_left(self) -> float:
        """How long the credential is good for; of its end nobody is warned."""
        return SocketSession.seconds_left(self)

    def beat(self, now: float) -> float | None:
        """The peer says nothing, so silence is no sign; it is gone when TCP says so."""
        seconds_left = self.look_at_credential()
        return PING_SECONDS if seconds_left <= 0 else min(self.stream.beat(now), seconds_left)

    @property
    def first_beat_seconds(self) -> float:
        """What the kind of connection needs."""
        return self.stream.first_beat_seconds


def _rows(places: Mapping[int, Place]) -> list[tuple[int, int, int]]:
    return [(room_id, place.seq, place.epoch) for room_id, place in places.items()]
