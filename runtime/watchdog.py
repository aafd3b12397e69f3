"""The watchdog: tells of what takes too long, while it does where that is possible. It ends nothing but call cycles.

    turn.slow      a plain turn, or one step of another, kept the loop: address, command, handler, how long
    turn.stuck     a waiting turn is not over: and where it waits; again each time it has taken twice as long
    mailbox.old    what waits longest in a mailbox is old: and where the turn waits that it waits for
    loop.held      the loop does not move at all: told by a thread, hang_watch.py
    loop.moved     … and moves again

It looks once a second at what is under way, and does nothing per command. More than `Patience.tellings_max` of a sort
within a minute are one event, `watchdog.summed`.
"""

import threading
from functools import partial
from typing import TYPE_CHECKING

import trio

from greenroom.runtime.actor_alarms import name_of
from greenroom.runtime.call_cycles import end_cycles
from greenroom.runtime.envelope import Envelope
from greenroom.runtime.hang_watch import Hang, HangWatch
from greenroom.runtime.patience import Patience
from greenroom.runtime.ports import sleep_to_tick
from greenroom.runtime.sampled_events import SampledEvents
from greenroom.runtime.stacks import await_stack
from greenroom.runtime.stopwatch import has_system_clock
from greenroom.runtime.turn import Turn
from greenroom.runtime.unfinished import turns_under_way

if TYPE_CHECKING:
    from greenroom.runtime.activation import Activation
    from greenroom.runtime.system import ActorSystem

LOOK_SECONDS = 1.0
WINDOW_SECONDS = 60.0


class Watchdog:
    """Of one system."""

    def __init__(self, system: "ActorSystem", patience: Patience) -> None:
        self.patience = patience
        self._system = system
        self._events = SampledEvents(
            system.event,
            system.deadlines,
            summed_as="watchdog.summed",
            key_as="what",
            tellings_max=patience.tellings_max,
            window_seconds=WINDOW_SECONDS,
        )
        system.dispatcher.slow_seconds, system.dispatcher.on_slow = patience.plain_turn_seconds_max, self.slow_turn
        limits = {kind.name: kind.waiting_turn_seconds_max for kind in system.kinds.values()}
        self._turn_seconds = {name: limit for name, limit in limits.items() if limit is not None}
        self._turn_seconds_min = min([patience.waiting_turn_seconds_max, *self._turn_seconds.values()])
        self._told_at: dict[Turn, float] = {}  # of turns that are stuck: their age when that was told last
        self._marks: dict[Activation, tuple[Envelope, float]] = {}
        self._marks_before: dict[Activation, tuple[Envelope, float]] = {}

    async def run(self) -> None:
        """Serve for ever, with a thread unless the clock is a virtual one."""
        watch = None
        if has_system_clock():
            token, here = trio.lowlevel.current_trio_token(), threading.get_ident()
            watch = HangWatch(
                token,
                here,
                self.patience.loop_seconds_max,
                self.patience.tellings_max,
                self._held,
                slow_seconds=self.patience.plain_turn_seconds_max,
                tell_slow=self._slow_step,
            )
        try:
            if watch is not None:
                watch.start()
            while True:
                await sleep_to_tick(LOOK_SECONDS)
                self._look_at_turns()
                end_cycles(self._system.waiting_turns)
        finally:
            if watch is not None:
                watch.stop()

    @property
    def sums_to_come(self) -> int:
        """Sorts of events of which a sum is told at the end of its window."""
        return self._events.sums_to_come

    def close(self) -> None:
        """The system ends: tell the sums of what was not told yet."""
        self._events.close()

    # -- turns --------------------------------------------------------------------------------------------------

    def slow_turn(self, cell: "Activation", seconds: float) -> None:
        """Of the dispatcher: a drain of *cell* took so long: its last turn, as all before it had 50 µs together.

        Or to make its actor, when it came to no turn.
        """
        command = cell.gauges.last_begun

        def facts() -> dict[str, object]:
            handler = cell.actor.handlers.get(command) if cell.actor is not None and command is not None else None
            return {
                "address": str(cell.address),
                "command": None if command is None else command.__name__,
                "handler": handler.method.__qualname__ if handler is not None else made if command is None else None,
                "seconds": round(seconds, 3),
            }

        made = f"the factory of kind {cell.kind.name}"
        self._events.tell("turn.slow", "turn.slow", facts)

    def _look_at_turns(self) -> None:
        now = trio.current_time()
        self._told_at = {turn: age for turn, age in self._told_at.items() if not turn.is_over}
        for turn in self._system.waiting_turns:
            age = now - turn.began_at
            if age < self._turn_seconds_min:
                return  # they stand in the order in which they began
            kind = turn.activation.kind.name
            limit = self._turn_seconds.get(kind, self.patience.waiting_turn_seconds_max)
            told_at = self._told_at.get(turn)
            if age >= (limit if told_at is None else 2 * told_at):
                self._told_at[turn] = age
                self._events.tell("turn.stuck", "turn.stuck", partial(_facts_of, turn, age))

    # -- mailboxes ----------------------------------------------------------------------------------------------

    def begin_round(self) -> None:
        """Of `passivation`: it comes by every cell again, and shows those in which something waits."""
        self._marks_before, self._marks = self._marks, {}

    def look_at(self, cell: "Activation") -> None:
        """Of `passivation`. What was last in the mailbox a round ago, and still waits, is as old as that, and so is all
        before it: no command needs a time of its own for that.
        """
        now, last = trio.current_time(), cell.mailbox.peek_last()
        assert last is not None
        mark = self._marks_before.get(cell)
        if mark is None or mark[0].state != "queued" or (cell.stash is not None and mark[0] in cell.stash):
            self._marks[cell] = (last, now)
            return
        self._marks[cell] = mark
        age = now - mark[1]
        if age >= self.patience.head_seconds_max and not self._system.storage.is_away:  # that was told
            self._events.tell("mailbox.old", "mailbox.old", lambda: self._facts_of_mailbox(cell, age))

    def _facts_of_mailbox(self, cell: "Activation", age: float) -> dict[str, object]:
        head = cell.mailbox.peek()
        found: dict[str, object] = {
            "address": str(cell.address),
            "command": type(head.command).__name__ if head is not None else None,
            "seconds_min": round(age, 3),
            "depth": len(cell.mailbox),
            "phase": cell.phase.value,
        }
        turns = turns_under_way(cell)
        if not turns:
            return found
        turn = turns[0]
        about_turn = _facts_of(turn, trio.current_time() - turn.began_at)
        return found | {"turn": about_turn["command"], "handler": about_turn["handler"], "calls": about_turn["calls"]}

    # -- the loop, from the thread and after it --------------------------------------------------------------------

    def _held(self, hang: Hang) -> None:
        """In the thread of the hang watch, while the loop hangs; in the loop when it moves again."""
        facts = {"address": hang.address, "handler": hang.handler, "seconds": round(hang.seconds, 3)}
        if hang.is_over:
            self._system.event("loop.moved", **facts)
        else:
            self._system.event("loop.held", **facts, calls=hang.stack, untold=hang.untold)

    def _slow_step(self, hang: Hang) -> None:
        """In the loop: a step of a turn that waits, of a start or of an effect is over, and was slow."""
        facts = {"address": hang.address, "command": hang.command, "handler": hang.handler}
        facts_of_step = facts | {"seconds": round(hang.seconds, 3), "calls": hang.stack}
        self._events.tell("turn.slow", "turn.slow", lambda: facts_of_step)


def _facts_of(turn: Turn, age: float) -> dict[str, object]:
    return {
        "address": str(turn.activation.address),
        "command": name_of(turn.envelope.command),
        "handler": turn.handler.method.__qualname__,
        "seconds": round(age, 3),
        "calls": [] if turn.task is None else await_stack(turn.task)[1:],  # without the runtime's own first call
    }
