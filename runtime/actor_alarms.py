"""The alarms of one actor while it is awake, and the turns in which they come.

Loaded before `start`. Because the actor owns its address, this is the truth: stored, and changed by the turns since.
The clock of the system (alarms.py) only says that it may be time; here it is seen whether it is.

    AlarmDue ──not there, or moved──▶ nothing, and the clock is told when
       │ it is time
       ▼
    the handler of the alarm's command ──▶ the row goes, or moves to its next time, with the last writes of the turn
       │ fails                             unless the handler has set, moved or cancelled that alarm itself
       ▼
    AlarmFailed: a turn of its own counts the try, once the actor has loaded again
"""

from collections.abc import Awaitable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, cast

from greenroom.runtime.alarm_rules import Tick, after_failure, after_success, tick_of
from greenroom.runtime.alarm_store import DeleteAlarm, StoredAlarm
from greenroom.runtime.codec import decode_command, encode_command
from greenroom.runtime.envelope import Envelope
from greenroom.runtime.errors import NotDecodable, UnknownCommand, WrongKindOfAnswer
from greenroom.runtime.handlers import Handler
from greenroom.runtime.limits import need_number

if TYPE_CHECKING:
    from greenroom.runtime.activation import Activation
    from greenroom.runtime.actor import Actor, Command

ALARMS_MAX = 256
EVERY_SECONDS_MIN = 0.1


@dataclass(slots=True)
class AlarmDue:
    """Of the system's clock: it may be time for the alarm *name*.

    tick, carried: what its handler was told, once it was, and the class of the alarm's command.
    """

    name: str
    tick: Tick | None = None
    carried: str | None = None

    @property
    def shown_as(self) -> str:
        """As `name_of`."""
        return f"{self.carried or 'AlarmDue'} (alarm {self.name})"


@dataclass(frozen=True, slots=True)
class AlarmFailed:
    """Of the system's clock: the handler of *tick* raised. why: for the event."""

    tick: Tick
    why: str

    @property
    def shown_as(self) -> str:
        """As `name_of`."""
        return f"AlarmFailed (alarm {self.tick.name})"


class ActorAlarms:
    """Of one activation. At most ALARMS_MAX; alarm_store.py has the bounds of each."""

    __slots__ = ("_cell", "_rows", "tick")

    def __init__(self, cell: "Activation", rows: list[StoredAlarm]) -> None:
        self._cell = cell
        self._rows = {row.name: row for row in rows}
        self.tick: Tick | None = None  # of the plain handler that runs now
        clock = cell.system.alarms
        assert clock is not None
        for row in rows:
            clock.loaded((cell.address, row.name), row.due_ms)

    def __len__(self) -> int:
        return len(self._rows)

    def times(self) -> dict[str, int]:
        """When each comes next, milliseconds since 1970, by name."""
        return {name: row.due_ms for name, row in sorted(self._rows.items())}

    def set(
        self,
        name: str,
        command: "Command[Any]",
        at_ms: int | None,
        after_seconds: float | None,
        every_seconds: float | None,
    ) -> None:
        """As `Context.set_alarm`."""
        assert self._cell.actor is not None
        handler_of(self._cell.actor, command)
        if every_seconds is not None and not _is_from(EVERY_SECONDS_MIN, every_seconds):
            raise ValueError(
                f"alarm {name}: every_seconds is {EVERY_SECONDS_MIN:g} or more, not {every_seconds!r}: each coming is "
                "a commit; a beat in memory is ctx.tell_self_after"
            )
        if at_ms is None and after_seconds is None:
            after_seconds = every_seconds
        at_ms = self._time(name, at_ms, after_seconds)
        every_ms = None if every_seconds is None else round(every_seconds * 1000)
        row = StoredAlarm(name, at_ms, at_ms, every_ms, encode_command(command))
        if name not in self._rows and len(self._rows) >= ALARMS_MAX:
            raise ValueError(f"{self._cell.address} has {ALARMS_MAX} alarms already (ALARMS_MAX): cancel some")
        self._put(row)

    def move(self, name: str, at_ms: int | None, after_seconds: float | None) -> None:
        """As `Context.move_alarm`."""
        row = self._rows.get(name)
        if row is None:
            raise ValueError(f"{self._cell.address} has no alarm {name!r} to move: set it")
        at_ms = self._time(name, at_ms, after_seconds)
        self._put(replace(row, scheduled_ms=at_ms, due_ms=at_ms, tries=0))

    def cancel(self, name: str) -> bool:
        """As `Context.cancel_alarm`."""
        if name not in self._rows:
            return False
        self._delete(name)
        return True

    # -- the turns of the runtime -------------------------------------------------------------------------------

    def due(self, name: str) -> StoredAlarm | None:
        """The alarm, if it is time for it. If not, the clock is told when it is, if it ever is.

        The clock may have heard from storage what another owner has set since: what is known here is written again, and
        refused then, and this is asked again of an actor that has loaded.
        """
        row = self._rows.get(name)
        if row is not None and row.due_ms <= self._now_ms():
            return row
        if self._context.owns:
            self._context.write(DeleteAlarm(name) if row is None else row)
        self._tell_clock(name)
        return None

    def succeeded(self, row: StoredAlarm, tick: Tick) -> None:
        """In the turn of *tick*: *row* goes, or moves on, unless the handler has dealt with it, or put it aside."""
        if self._rows.get(row.name) is row and not self._context.is_put_aside:
            self._put_or_delete(row.name, after_success(row, tick))

    def failed(self, failure: AlarmFailed) -> None:
        """In a turn of its own: the try of that tick is counted, unless the alarm is another one by now.

        It is another one when what had set it was lost with the tick.
        """
        tick = failure.tick
        row = self._rows.get(tick.name)
        if row is None or (row.scheduled_ms, row.tries) != (tick.scheduled_ms, tick.tries):
            self._tell_clock(tick.name)
            return
        system, address = self._cell.system, self._cell.address
        verdict = after_failure(row, self._now_ms(), system.randomness.uniform(-1, 1))
        self._put_or_delete(row.name, verdict.alarm)
        facts = {
            "address": str(address),
            "alarm": row.name,
            "tries": tick.tries + 1,
            "next_ms": verdict.alarm.due_ms if verdict.alarm is not None else None,
            "why": failure.why,
        }

        def tell() -> None:
            system.event("alarm.gave_up" if verdict.is_given_up else "alarm.failed", **facts)
            if verdict.is_given_up:
                system.bury(Envelope(address, _command_of(row)), "alarm_gave_up")

        self._context.add_effect(tell)

    # -- staging ------------------------------------------------------------------------------------------------

    def _put_or_delete(self, name: str, row: StoredAlarm | None) -> None:
        if row is None:
            self._delete(name)
        else:
            self._put(row)

    def _put(self, row: StoredAlarm) -> None:
        """Stage it. The clock knows of an earlier time before it is stored, of a later one after."""
        row.check()
        self._context.write(row)
        self._rows[row.name] = row
        assert self._cell.system.alarms is not None
        self._cell.system.alarms.arm_earlier((self._cell.address, row.name), row.due_ms)
        self._tell_clock(row.name)

    def _delete(self, name: str) -> None:
        self._context.write(DeleteAlarm(name))
        del self._rows[name]
        self._tell_clock(name)

    def _tell_clock(self, name: str) -> None:
        """Once all that was staged is stored, have the clock know the time of *name*, unless it changes again."""
        clock, key, row = self._cell.system.alarms, (self._cell.address, name), self._rows.get(name)
        assert clock is not None

        def stored() -> None:
            if self._rows.get(name) is not row:
                return
            if row is None:
                clock.disarm(key)
            else:
                clock.arm(key, row.due_ms)

        self._context.add_effect(stored)

    def _time(self, name: str, at_ms: int | None, after_seconds: float | None) -> int:
        if (at_ms is None) is (after_seconds is None):
            raise ValueError(f"alarm {name}: give one of at_ms, in milliseconds since 1970, and after_seconds")
        if at_ms is not None:
            return at_ms
        assert after_seconds is not None
        need_number(f"alarm {name}: after_seconds", after_seconds, may_be_0=True)
        if after_seconds == float("inf"):
            raise ValueError(f"alarm {name}: after_seconds has an end, or the alarm would never come")
        return self._now_ms() + round(after_seconds * 1000)

    @property
    def _context(self) -> Any:
        assert self._cell.context is not None
        return self._cell.context

    def _now_ms(self) -> int:
        return self._cell.system.clock.wall_milliseconds()


def handler_of(actor: "Actor", command: object) -> Handler:
    """The handler that an alarm's command comes to. Raises: UnknownCommand, WrongKindOfAnswer."""
    handler = actor.handlers.get(type(command))  # type: ignore[arg-type]
    if handler is None or type(command) in ALARM_HANDLERS:
        raise UnknownCommand(actor.ctx.address, command, actor)
    if handler.is_stream:
        raise WrongKindOfAnswer(actor.ctx.address, command, is_stream=True)
    return handler


def _command_of(row: StoredAlarm) -> object:
    """For a dead letter: the command, or, when nothing decodes it any more, what was told of it."""
    try:
        return decode_command(row.command)
    except NotDecodable:
        return AlarmDue(row.name)


def _alarm_due(actor: "Actor", due: AlarmDue) -> object:
    """The handler of `AlarmDue`: what it gives back is what the handler of the alarm's command gives back."""
    alarms = actor.ctx.own_alarms
    assert alarms is not None
    row = alarms.due(due.name)
    if row is None:
        return None
    tick = due.tick = tick_of(row, actor.ctx.now_ms())
    command = decode_command(row.command)
    due.carried = type(command).__name__
    handler = handler_of(actor, command)
    alarms.tick = tick
    try:
        value = handler.method(actor, [command] if handler.batch_max else command)
    finally:
        alarms.tick = None
    if hasattr(type(value), "__await__"):
        return _wait_for(alarms, row, tick, cast("Awaitable[object]", value))
    alarms.succeeded(row, tick)
    return None


async def _wait_for(alarms: ActorAlarms, row: StoredAlarm, tick: Tick, value: Awaitable[object]) -> None:
    """Deal with the row last: a turn that is stored in parts must not be rid of its alarm before its end."""
    await value
    alarms.succeeded(row, tick)


def _alarm_failed(actor: "Actor", failure: AlarmFailed) -> None:
    """The handler of `AlarmFailed`."""
    alarms = actor.ctx.own_alarms
    assert alarms is not None
    alarms.failed(failure)


def name_of(command: object) -> str:
    """For traces and events: the class of *command*; of an alarm its own command and its name, as far as it came."""
    return command.shown_as if isinstance(command, AlarmDue | AlarmFailed) else type(command).__name__


ALARM_HANDLERS: dict[Any, Handler] = {
    AlarmDue: Handler(_alarm_due),
    AlarmFailed: Handler(_alarm_failed, may_wait=False),
}
"""Part of the table of every actor: a look-up like any other, and nothing more on the way of other commands."""


def _is_from(least: float, given: object) -> bool:
    """Whether *given* is a number that is *least* or more and has an end."""
    return isinstance(given, int | float) and not isinstance(given, bool) and least <= given < float("inf")
