"""What both protocols share: who is at the other end, backpressure, limits, the end.

A session never waits. What is said while a room that was asked is full is put aside in order (`put_aside.py`), and goes
on when there is room; when that is too much, this one connection is not read: backpressure reaches TCP and nobody else.
"""

import json
import math
from collections import deque
from collections.abc import Awaitable, Callable
from time import perf_counter
from typing import Any, Final

import trio

from greenroom.actors.presence.commands import HIDING, Look, SetStatus
from greenroom.actors.room.commands import Changed, Enter, Sent, Type
from greenroom.actors.room.state import TYPING_SECONDS
from greenroom.http.auth import Principal
from greenroom.http.ws.codes import TOKEN_EXPIRED, CloseCode
from greenroom.http.ws.connection import Connection
from greenroom.http.ws.engine import SLICE_SECONDS_MAX
from greenroom.http.ws.last_inputs import WITHOUT_SESSION, LastInput
from greenroom.http.ws.leases import OVER_REST
from greenroom.http.ws.put_aside import Aside, is_sign_of_life
from greenroom.http.ws.replay import wait_drained
from greenroom.http.ws.services import COMMAND_SECONDS_MAX, SocketServices, ask_with_backpressure
from greenroom.http.ws.turns import Turns
from greenroom.runtime import ActorError, Command, Ref

ReplyTo = Callable[[object, BaseException | None], None]
Json = dict[str, Any]

TYPES_IN_MAX: Final = 200  # rooms; what was begun in more of them ends by expiry
SESSION_GRACE_SECONDS: Final = 15.0  # past the known end of a session; a round of `Revocations` is shorter


def commands_in(text: str) -> list[Json]:
    """The objects in a frame that the decoder has refused, if it is JSON: only to say what the refusal answers."""
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return []
    items = value if isinstance(value, list) else [value]
    return [item for item in items if isinstance(item, dict)]


FLOOD_SECONDS: Final = 10.0
FLOOD_BUDGETS: Final = 3  # minutes' worth of commands that were refused


class SocketSession:
    """Base of `V1Session` and `CompatSession`."""

    __slots__ = (
        "_aside",
        "_held",
        "_is_resting",
        "_joining",
        "_reads",
        "_refused",
        "_types_in",
        "_word",
        "_words",
        "connection",
        "device",
        "input_at",
        "is_idle",
        "is_present",
        "principal",
        "services",
        "useq",
        "user_id",
    )

    is_v1 = False
    grace_seconds = 0.0  # how long a token is good for past its end

    def __init__(self, services: SocketServices, connection: Connection, principal: Principal | None) -> None:
        self.services = services
        self.connection = connection
        self.principal = principal
        self.user_id = principal.user_id if principal is not None else None
        self.device = ""
        self.is_present = False
        self.useq: int | None = None  # the last event of the user's stream that it was given, once it is live
        self.is_idle = False  # nobody sits there: the client said so, or nothing was done for a while
        self.input_at = services.engine.now
        self._words: Turns | None = None  # of which the last is to hold
        self._reads: Turns | None = None  # answers that are read from storage
        self._word: SetStatus | None = None  # how the user wants to appear, while it is not stored
        self._joining: dict[int, int] | None = None  # rooms that are asked to let it in, and how often
        self._types_in: dict[int, float] | None = None  # by room: until when others believe that the user types here
        self._aside: Aside | None = None  # what is said while a command waits for its room
        self._held: deque[tuple[Ref, Command[Any], ReplyTo]] | None = None
        self._is_resting = False  # it is not read for a while, whatever there is space for
        self._refused: tuple[float, int] | None = None  # since when, and how many commands over the limit

    # -- the engine's side --------------------------------------------------------------------------------------

    def receive(self, text: str) -> None:
        """A text message came."""
        if self._aside is not None:
            self._put_aside(self._aside, text)
        else:
            self.handle(text)

    def _put_aside(self, aside: Aside, text: str) -> None:
        if is_sign_of_life(text):
            self.handle(text)
        else:
            aside.put(text)
            self._read_on(aside)

    def _read_on(self, aside: Aside) -> None:
        """While commands wait for their room: whatever there is space for is read, or no ping would be heard."""
        if not aside.has_room:
            self.services.engine.pause(self.connection)
        elif not self._is_resting:
            self.services.engine.resume(self.connection)

    def takes_more(self) -> bool:
        """Not while all together have put too much aside: each of many connections would bring one long frame more."""
        if self._aside is None or self._aside.has_room:
            return True
        self.services.engine.pause(self.connection)
        return False

    def handle(self, text: str) -> None:
        """Act on one message."""
        raise NotImplementedError

    def membership_changed(self, room_id: int, *, is_in: bool) -> None:
        """The user is in a room, and whoever wants to hear it joins; or is out of it, and hears it no more."""

    def user_stream_at(self, useq: int, *, is_live: bool) -> None:
        """So far its user's stream was told; while it is being brought up it is told nothing else."""
        self.useq = useq if is_live else None

    def unsay(self, instead: Callable[[bytes], bytes | None]) -> None:
        """Not here: what was handed to a socket is on its way."""

    def farewell(self, code: CloseCode) -> bytes:
        """Frames that go before the close frame."""
        return b""

    def closed(self) -> None:
        """The connection is over."""
        if self._aside is not None:
            self._aside.drop()
        self.stop_typing_anywhere()
        self.services.watches.end(self.connection)
        if self.is_present and self.user_id is not None:
            self.is_present = False
            self._leave_input(self.user_id)
            self.take_back()
            self.services.tell_presence(self.user_id, Look())

    def _leave_input(self, user_id: int) -> None:
        """For who goes on over REST, or comes back. A page that comes back is not told from one that is opened."""
        last_inputs, seat, now = self.services.presence.last_inputs, self.seat, trio.current_time()
        last = LastInput(self.input_at, self.is_idle)
        if seat[1] != WITHOUT_SESSION or not last.is_idle:  # that nobody sits here says nothing of any other device
            last_inputs.note_all(user_id, seat[1], last, now)
        last_inputs.note(user_id, seat, last, now)

    def take_back(self, called: str | None = OVER_REST) -> None:
        """What was said over REST under the same session, that the user is here, ends with the socket.

        called: the name of those devices without a socket that end with it; None: all of the session. Of what has no id
        it is all that was said: who is still here says so again, a page that closed does not.
        """
        if self.principal is not None and self.user_id is not None:
            under = self.principal.session_id
            ends = (WITHOUT_SESSION, OVER_REST) if under is None else (under, called)
            self.services.presence.leases.forget(self.user_id, *ends)
            self.services.presence.end_typing_at_end_of(self.connection, self.user_id, under)

    # -- the protocols' side ------------------------------------------------------------------------------------

    @property
    def name(self) -> str:
        """What the user is called."""
        return self.principal.name if self.principal is not None else ""

    @property
    def seat(self) -> tuple[str, str]:
        """What the device is known by when it comes back: its name, and the id of its session."""
        session_id = None if self.principal is None else self.principal.session_id
        return self.device, session_id or WITHOUT_SESSION

    def appear(self, *, is_back: bool = False) -> None:
        """The user is here. is_back: a device goes on where it was, which is nothing that a person does."""
        assert self.user_id is not None
        presence, self.input_at = self.services.presence, self.services.engine.now
        if is_back:
            by_token = self.principal is None or self.principal.kind != "session"
            last = presence.last_inputs.of(self.user_id, self.seat, self.input_at, by_token=by_token)
            last = last or LastInput(self.input_at)
            self.input_at, self.is_idle = last.at, presence.is_idle(last)
        self.is_present = True
        presence.name(self.user_id, self.name)
        self.services.tell_presence(self.user_id, Look())

    def note_input(self) -> None:
        """The user did something here themselves."""
        if self.is_idle:
            self.set_idle(is_idle=False)
        else:
            self.input_at = self.services.engine.now

    def set_idle(self, *, is_idle: bool) -> None:
        """Nobody sits at this device, or somebody does again. What the client says counts until the next input."""
        self.is_idle = is_idle
        if not is_idle:
            self.input_at = self.services.engine.now
        if self.is_present and self.user_id is not None:
            self.services.tell_presence(self.user_id, Look())

    # -- typing -------------------------------------------------------------------------------------------------

    def note_typing(self, room_id: int, *, is_on: bool) -> None:
        """Remember where to stop when this connection ends; at once, for it may end before the room has answered."""
        now, others = trio.current_time(), self._types_in or {}
        ends = {other: at for other, at in others.items() if other != room_id and at > now}
        if is_on and len(ends) < TYPES_IN_MAX:
            ends[room_id] = now + TYPING_SECONDS
        self._types_in = ends or None

    def types_in(self, room_id: int) -> bool:
        """The user types in that room, on this device."""
        return self._types_in is not None and self._types_in.get(room_id, 0.0) > trio.current_time()

    def tell_typists(self, room_id: int) -> None:
        """Who types in a room that it has come into; what changes is told by the room."""
        self.services.hub.tell_typists(self.connection, room_id)

    def is_hiding(self) -> bool:
        """The user appears offline by their own word, or said so here just now: then typing is not told."""
        assert self.user_id is not None
        said = self._word is not None and self._word.status in HIDING
        return said or self.services.presence.is_hiding(self.user_id)

    def say_word(self, word: SetStatus, reply_to: ReplyTo) -> None:
        """Have the user appear so: from here on for what is said after it here, for all when the answer comes."""
        assert self.user_id is not None
        self._word = word

        def answered(value: object, error: BaseException | None) -> None:
            if self._word is word:
                self._word = None
            reply_to(value, error)

        self.ask(self.services.system.ref("presence", self.user_id), word, answered)

    def stop_typing(self, room_id: int) -> None:
        """End what was begun here, unless the user types there on another device too, with a socket or without."""
        if not self.types_in(room_id):
            return
        self.note_typing(room_id, is_on=False)
        assert self.user_id is not None
        if self.services.presence.typists.types_in(self.user_id, room_id, trio.current_time()):
            return
        if not any(other.session.types_in(room_id) for other in self.services.engine.connections_of(self.user_id)):
            command = Type(self.user_id, self.name, is_typing=False)
            self.services.system.tell_or_bury(self.services.room(room_id).address, command)

    def stop_typing_anywhere(self) -> None:
        """End all that was begun here."""
        for room_id in tuple(self._types_in or ()):
            self.stop_typing(room_id)

    def ask_to_join(self, room_id: int, command: Command[Any], reply_to: ReplyTo) -> None:
        """As `ask`; what is said of the room before the answer has its turn after it (`after_joining`)."""
        joining = self._joining = self._joining or {}
        joining[room_id] = joining.get(room_id, 0) + 1

        def answered(value: object, error: BaseException | None) -> None:
            joining[room_id] -= 1
            if not joining[room_id]:
                del joining[room_id]
            if not joining and self._joining is joining:
                self._joining = None
            reply_to(value, error)

        self.ask(self.services.room(room_id), command, answered)

    def is_joining(self, room_id: int) -> bool:
        """Whether the room was asked to let it in, and has not answered yet."""
        return self._joining is not None and room_id in self._joining

    def after_joining(self, room_id: int, do: Callable[[], None]) -> None:
        """Call *do* when the room has answered all that it is asked now: a room answers in order."""
        assert self.user_id is not None
        self.ask(self.services.room(room_id), Enter(self.user_id), lambda value, error: do())

    def ask(self, ref: Ref, command: Command[Any], reply_to: ReplyTo, *, is_charged: bool = False) -> None:
        """Have *reply_to* called with the room's answer; what is said while the room is full is put aside.

        is_charged: it was counted as a message. What says nothing new is free, whether its answer is heard or not.
        """

        def answered(value: object, error: BaseException | None) -> None:
            if is_charged and (not isinstance(value, Sent | Changed) or value.is_duplicate):
                assert self.user_id is not None
                self.services.limits.messages.give_back(self.user_id)
            if not self.connection.is_closing:
                reply_to(value, error)

        if self._held is not None:  # a frame of several commands: this one comes after those that wait
            self._held.append((ref, command, answered))
        elif not ask_with_backpressure(self.services, ref, command, answered):
            self._held = deque([(ref, command, answered)])
            self._aside = Aside(self.services.engine.aside) if self._aside is None else self._aside
            self._read_on(self._aside)
            self.services.engine.spawn(self._go_on)

    def in_turn(self, do: Callable[..., Awaitable[None]], *args: object) -> None:
        """Have *do* called after whatever was given here before it: what is said last is to hold.

        Also when the connection has ended meanwhile: what was said is done.
        """
        self._words = self._words or Turns(self.connection)
        self._words.put(do, *args)

    def read_in_turn(self, do: Callable[..., Awaitable[None]], *args: object) -> None:
        """The same for an answer from storage: one at a time, when the peer has taken most of those before it."""
        self._reads = self._reads or Turns(self.connection)
        self._reads.put(self._read_answer, do, *args)

    async def _read_answer(self, do: Callable[..., Awaitable[None]], *args: object) -> None:
        await wait_drained(self.connection)
        if not self.connection.is_closing:
            await do(*args)

    async def look_into(self, room_id: int) -> object:
        """A RoomView as it is now, or why the user may not come in. Raises: ActorError, StorageUnavailable."""
        assert self.user_id is not None
        ref = self.services.room(room_id)
        await ref.wait_room()
        return await ref.ask(Enter(self.user_id), deadline=trio.current_time() + COMMAND_SECONDS_MAX)

    async def _go_on(self) -> None:
        """Ask what found its room full, then act on what was put aside. A fault ends the session: it is paused."""
        try:
            await self._ask_held()
            await self._catch_up()
        except Exception as error:
            self.services.engine.session_failed(self.connection, error)

    async def _ask_held(self) -> None:
        """One after the other: the commands of a connection keep their order."""
        while self._held and not self.connection.is_closing:
            ref, command, reply_to = self._held[0]
            await ref.wait_room()
            try:
                is_queued = ask_with_backpressure(self.services, ref, command, reply_to)
            except ActorError as error:
                reply_to(None, error)
                is_queued = True
            if is_queued:
                self._held.popleft()
        for *_, reply_to in self._held or ():  # the connection has ended
            reply_to(None, None)
        self._held = None

    def floods(self) -> bool:
        """Count a command over the limit. True when it goes on, however often it is refused."""
        now = trio.current_time()
        since, refused = self._refused or (now, 0)
        if now - since > FLOOD_SECONDS:
            since, refused = now, 0
        self._refused = (since, refused + 1)
        return refused >= FLOOD_BUDGETS * self.services.limits.commands.per_minute

    def pause_for(self, seconds: float) -> None:
        """Stop reading this connection for a while: it says more than it may, or takes more than its share.

        What was read already is still acted on, each command refused by itself and a ping answered.
        """
        if not self._is_resting:
            self._is_resting = True
            self.services.engine.pause(self.connection)
            self.services.engine.spawn(self._resume_after, seconds)

    async def _resume_after(self, seconds: float) -> None:
        await trio.sleep(seconds)
        self._is_resting = False
        if self._aside is None or self._aside.has_room:  # else it is read when a room takes what it said
            self.services.engine.resume(self.connection)

    async def _catch_up(self) -> None:
        """Act on what was put aside, and read again; if a room is full again the rest keeps its place.

        What is read meanwhile, by `ask` when there is space, has its place behind. Of what takes longer than a slice
        nothing more is read, so that it has an end, and others have their turn in it.
        """
        aside, slice_ends = self._aside, perf_counter() + SLICE_SECONDS_MAX
        while aside and not self.connection.is_closing:
            self.handle(aside.take())
            if self._held is not None and not self.connection.is_closing:
                return
            if perf_counter() > slice_ends:
                self.services.engine.pause(self.connection)
                await trio.lowlevel.checkpoint()
                if self._aside is not aside or self._held is not None:  # another, which an answer has begun, goes on
                    return
                slice_ends = perf_counter() + SLICE_SECONDS_MAX
        self._aside = None
        if aside is not None:
            aside.drop()
        if not self._is_resting:
            self.services.engine.resume(self.connection)

    async def go_on_as(self, principal: Principal, changes: int) -> None:
        """Another credential of the same user counts from here on. changes: as of `SocketServices.catch_up`."""
        self.principal = principal
        self.services.engine.beat_within(self.connection, self.seconds_left())
        await self.services.catch_up(self.connection, changes)

    def look_at_credential(self) -> float:
        """Close the connection when its credential is over: then it is good for 0 seconds or less. Else `seconds_left`.

        The end of a session stands in its row, and may have moved since: `revocation.py` looks, and closes in time.
        Here it ends only what could not be looked at.
        """
        seconds = self.seconds_left()
        if seconds <= 0:
            seconds = self.good_seconds()
            if seconds <= 0:
                self.connection.close(TOKEN_EXPIRED)
            else:
                self.warn_of_end()
        return seconds

    def warn_of_end(self) -> None:
        """Tell that the credential ends, where the protocol has a word for it."""

    def seconds_left(self) -> float:
        """As `good_seconds`, or less when there is something to be said of the credential before."""
        return self.good_seconds()

    def good_seconds(self) -> float:
        """How long the credential is good for."""
        principal = self.principal
        if principal is None or principal.expires_at is None:
            return math.inf
        grace_seconds = SESSION_GRACE_SECONDS if principal.kind == "session" else self.grace_seconds
        return principal.expires_at + grace_seconds - self.services.clock.wall_milliseconds() / 1000
