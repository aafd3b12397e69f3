"""The cell of a kind whose mailbox is metered: it runs bare tells as they lie there.

A turn of a plain handler that lets nothing out needs no envelope: nobody waits for it, and nothing of it is on its way
anywhere. One that writes, has effects, waits or raises is given one, and goes on as every turn does. The end of a turn
is the begin of the next, so that one look at the clock serves both, the trace and the bound of the drain.
"""

from typing import Any, cast

from greenroom.runtime.activation import Activation
from greenroom.runtime.envelope import Envelope
from greenroom.runtime.faults import fault_in, turn_failed
from greenroom.runtime.handlers import Handler
from greenroom.runtime.lifecycle import Phase
from greenroom.runtime.metered_mailbox import MeteredMailbox
from greenroom.runtime.tracing import NO_WALL
from greenroom.runtime.turn import Turn


class MeteredActivation(Activation):
    """As an `Activation`, for a `MeteredMailbox`."""

    __slots__ = ()

    def drain(self, until: float) -> None:
        """Run turns until the mailbox is empty, the clock passes *until*, or a handler has to wait."""
        if self.phase is not Phase.READY:
            super().drain(until)
            return
        trace = self.gauges.trace
        is_time_up = self._run_bare(until)
        if trace is not None:
            trace.burst_is_over()
        if not is_time_up:
            if self.phase is Phase.READY or self.phase is Phase.READING:  # else this drain is over
                super().drain(until)
        else:
            self._go_on()

    def _run_bare(self, until: float) -> bool:
        """Run what lies bare at the head of the mailbox, as long as that is all. True when the clock passes *until*."""
        context, actor, gauges, mailbox = self.context, self.actor, self.gauges, cast("MeteredMailbox", self.mailbox)
        assert context is not None
        assert actor is not None
        if not mailbox._user:
            return False
        system, handlers, trace, ready = self.system, actor.handlers, gauges.trace, Phase.READY
        now, busy_seconds = mailbox.now, system.clock.busy_seconds
        is_same_clock = now is busy_seconds
        note, wall = (None, NO_WALL) if trace is None else trace.begin_burst()
        context.is_redo = context.is_reading = False
        kind, method, may_wait = None, cast("Any", None), True  # of the handler: looked up when the command is another
        began = now()
        while self.phase is ready and gauges.trace is trace and (lane := mailbox._user) and not mailbox._system:
            command, size, since, _ = entry = lane.popleft()
            if type(command) is not kind:
                kind, handler = type(command), handlers.get(type(command))
                if handler is None or not handler.is_plain:
                    lane.appendleft(entry)
                    return False
                method, may_wait = handler.method, handler.may_wait
            mailbox.bytes -= size
            if mailbox._room_waiters:
                mailbox._wake_room_waiter()
            self.turns += 1
            system.acting = self
            try:
                value = method(actor, command)
            except Exception as error:
                system.acting = None
                memory_is_ahead = context.drop_draft(self.turns)
                turn_failed(
                    self, self._sealed(command, since, began), error, self.turns, memory_is_ahead=memory_is_ahead
                )
                ended = now()
            except BaseException as raised:
                system.acting = None
                fault_in(self, raised, type(command).__name__)
                raise
            else:
                system.acting = None
                waits = value is not None and may_wait and hasattr(type(value), "__await__")
                if waits or context.writes is not None or context.effects is not None:
                    self._goes_on(self._sealed(command, since, began), handlers[kind], value, waits=waits)
                    ended = now()
                else:
                    ended = now()
                    if note is not None:
                        note((kind, since, began, ended, wall))
            if (ended if is_same_clock else busy_seconds()) > until:
                gauges.last_begun = kind
                return True
            began = ended
        return False

    def _goes_on(self, envelope: Envelope, handler: Handler, value: Any, *, waits: bool) -> None:
        """The handler has returned, and there is more to do."""
        assert self.context is not None
        if waits:
            self._wait_for(Turn(self, envelope, handler), value)
        else:
            self._turn_done(envelope, value, *self.context.take_draft(), self.turns)

    def _sealed(self, command: object, since: float, began: float) -> Envelope:
        """The envelope of a turn that has begun."""
        envelope = Envelope(self.address, command)
        envelope.state = "running"
        if self.gauges.trace is not None:
            self.gauges.trace.follow(envelope, since, began)
        return envelope
