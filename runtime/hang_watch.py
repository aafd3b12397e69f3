"""A thread that notices when the loop does not move, and says whose code holds it while it still does.

    it waits? ──no──▶ ask the loop for a sign ──answered──▶ look again a little later
                          ├── none for slow_seconds: look whose step it is, to be told when it is over
                          └── none for loop_seconds_max ──▶ tell, with the stack of the loop's thread;
                                                            again at 2, 4, 8 … times that

A handler that never yields cannot be ended from outside, and nothing in the loop can report it: only another thread
can. A loop that waits for something to happen is seen from outside and left alone; one at work has an empty call ten
times a second. It sees nothing while code holds Python's own lock (a regular expression that explodes): that is told
as `turn.slow` when it is over. A pause of the whole process (a debugger, a laptop that sleeps) holds up the thread too,
and is not counted.

Steps are seen by samples, three a second while the loop waits and ten while it works, so a healthy one costs nothing:
one of half a second is not missed, a shorter one may be. What the dispatcher drains is left out, for it measures that
itself.
"""

import math
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from types import CodeType, FrameType

import trio

from greenroom.runtime.activation import Activation
from greenroom.runtime.actor_alarms import name_of
from greenroom.runtime.address import Address
from greenroom.runtime.gate import Gate
from greenroom.runtime.handlers import Handler
from greenroom.runtime.passivation import may_be_passivated
from greenroom.runtime.sampling import Sampling
from greenroom.runtime.stacks import call_stack, lines_of
from greenroom.runtime.turn import Turn, turn_of
from greenroom.runtime.waiting_turns import WaitingTurns
from greenroom.runtime.waking import _prepare, _start_actor

ASK_SECONDS_MAX = 0.35
JOIN_SECONDS_MAX = 0.1
WAITS_IN = "get_events"  # of each of trio's ways to wait; by another name, the loop is only asked more often
WINDOW_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class Hang:
    """The loop does not move, or has moved again. address, handler: None when it is not an actor that holds it.

    stack: from the handler on, else from where the program began; the innermost call last. untold: hangs that were
    left out before this one, because there were too many of them. command: of a turn that waits between its steps.
    """

    seconds: float
    address: str | None
    handler: str | None
    stack: list[str]
    untold: int = 0
    is_over: bool = False
    command: str | None = None


class HangWatch:
    """Of one loop. tell(hang): called in the thread while it hangs, in the loop when it is over; must not raise.

    tell_slow(hang): called in the loop after a step of an actor that took *slow_seconds* at least, and was no hang.
    """

    def __init__(
        self,
        token: trio.lowlevel.TrioToken,
        thread_ident: int,
        seconds_max: float,
        tellings_max: int,
        tell: Callable[[Hang], None],
        *,
        slow_seconds: float = math.inf,
        tell_slow: Callable[[Hang], None] = lambda _: None,
    ) -> None:
        self._token = token
        self._thread_ident = thread_ident
        self._seconds_max = seconds_max
        self._tell = tell
        self._slow_seconds = slow_seconds
        self._tell_slow = tell_slow
        self._sampling = Sampling(tellings_max, WINDOW_SECONDS)
        # A lock, and no event: to wake ten lines of Python in an idle process costs more than all that they do.
        self._goes_on = threading.Lock()
        self._goes_on.acquire()
        self._thread = threading.Thread(target=self._run, name="greenroom hang watch", daemon=True)
        self._is_answered = True
        self._asked_at = 0.0
        self._last: Hang | None = None  # of the hang that is under way
        self._slow: Hang | None = None  # of the step that is under way, when it is slow
        self._has_looked = False  # at the step that is under way

    def start(self) -> None:
        """Watch."""
        self._thread.start()

    def stop(self) -> None:
        """Watch no more. It does not wait for a thread that is about to tell something."""
        if self._goes_on.locked():
            self._goes_on.release()
        self._thread.join(JOIN_SECONDS_MAX)

    @property
    def is_running(self) -> bool:
        """The thread is there."""
        return self._thread.is_alive()

    def _run(self) -> None:
        at_rest = min(ASK_SECONDS_MAX, self._seconds_max / 2.5)
        at_work = pause = min(at_rest, self._slow_seconds)
        tell_after, woke_at = self._seconds_max, time.monotonic()
        while not self._goes_on.acquire(timeout=pause):
            before, woke_at = woke_at, time.monotonic()
            if self._is_answered:
                tell_after = self._seconds_max
                is_waiting = self._is_waiting()
                pause = at_rest if is_waiting else at_work
                if not is_waiting and not self._ask(woke_at):
                    return
            elif woke_at - before > pause + self._seconds_max / 2:  # this thread stood still too
                self._asked_at = woke_at
            elif woke_at - self._asked_at >= tell_after:
                tell_after *= 2
                self._look(woke_at - self._asked_at)
            elif woke_at - self._asked_at >= self._slow_seconds and not self._has_looked:
                self._look_at_step()

    def _is_waiting(self) -> bool:
        """Whether the loop waits for the system to tell it something: to be woken for our sake would cost it more."""
        innermost = sys._current_frames().get(self._thread_ident)
        return innermost is not None and innermost.f_code.co_name == WAITS_IN

    def _ask(self, now: float) -> bool:
        self._is_answered, self._has_looked, self._asked_at, self._slow = False, False, now, None
        try:
            self._token.run_sync_soon(self._answer)
        except trio.RunFinishedError:
            return False
        return True

    def _answer(self) -> None:
        """In the loop: it moves."""
        last, self._last = self._last, None
        slow, self._slow = self._slow, None
        seconds = time.monotonic() - self._asked_at
        if last is not None:
            self._tell(replace(last, seconds=seconds, stack=[], is_over=True))
        elif slow is not None:
            self._tell_slow(replace(slow, seconds=seconds, is_over=True))
        self._is_answered = True

    def _look_at_step(self) -> None:
        """Note whose step it is. One that becomes a hang is told as that."""
        self._has_looked = True
        innermost = sys._current_frames().get(self._thread_ident)
        if innermost is None or self._is_answered:
            return
        frames = call_stack(innermost)
        place, address, handler = whose(frames)
        if address is None or any(frame.f_code is Activation.drain.__code__ for frame in frames):
            return
        turn = frames[place - 1].f_locals.get("turn")
        command = name_of(turn.envelope.command) if isinstance(turn, Turn) else None
        slow = Hang(self._slow_seconds, address, handler, lines_of(frames[place:]), command=command)
        if not self._is_answered:
            self._slow = slow

    def _look(self, seconds: float) -> None:
        innermost = sys._current_frames().get(self._thread_ident)
        if innermost is None or self._is_answered:
            return
        frames = call_stack(innermost)
        place, address, handler = whose(frames)
        now = time.monotonic()
        untold = self._sampling.close_if_over("hang", now) if self._last is None else 0
        if self._last is not None or self._sampling.is_told("hang", now):
            self._last = Hang(seconds, address, handler, lines_of(frames[place:]), untold)
            self._tell(self._last)


def whose(frames: list[FrameType]) -> tuple[int, str | None, str | None]:
    """(index of the first frame below the runtime's, address, handler) of a stack, the outermost frame first."""
    for index in reversed(range(len(frames))):
        reader = _READERS.get(frames[index].f_code)
        if reader is not None:
            address, handler = reader(frames[index].f_locals)
            return index + 1, str(address), handler
    return _whose_task(frames)


def _whose_task(frames: list[FrameType]) -> tuple[int, str | None, str | None]:
    """As `whose`, of a task that a turn has begun in a nursery of its own: trio's loop knows which task it steps."""
    for index, frame in enumerate(frames):
        task = frame.f_locals.get("task") if frame.f_code.co_name == "unrolled_run" else None
        turn = turn_of(task) if isinstance(task, trio.lowlevel.Task) else None
        if turn is not None:
            return index + 1, str(turn.activation.address), turn.handler.method.__qualname__
    return 0, None, None


def _plain_turn(variables: dict[str, object]) -> tuple[Address, str]:
    cell, handler = variables["self"], variables.get("handler")
    assert isinstance(cell, Activation)
    return cell.address, handler.method.__qualname__ if isinstance(handler, Handler) else "a command without a handler"


def _waiting_turn(variables: dict[str, object]) -> tuple[Address, str]:
    turn = variables["turn"]
    assert isinstance(turn, Turn)
    return turn.activation.address, turn.handler.method.__qualname__


def _start(variables: dict[str, object]) -> tuple[Address, str]:
    cell = variables["cell"]
    assert isinstance(cell, Activation)
    return cell.address, f"the start of {_name_of(cell)}"


def _stopping(variables: dict[str, object]) -> tuple[Address, str]:
    cell = variables["self"]
    assert isinstance(cell, Activation)
    return cell.address, f"the end of {_name_of(cell)}"


def _making(variables: dict[str, object]) -> tuple[Address, str]:
    cell = variables["self"]
    assert isinstance(cell, Activation)
    return cell.address, f"the factory of kind {cell.kind.name}"


def _passivating(variables: dict[str, object]) -> tuple[Address, str]:
    cell = variables["cell"]
    assert isinstance(cell, Activation)
    return cell.address, f"may_passivate of {_name_of(cell)}"


def _name_of(cell: Activation) -> str:
    """The class of its actor, or its kind while there is none."""
    return cell.kind.name if cell.actor is None else type(cell.actor).__qualname__


def _output(variables: dict[str, object]) -> tuple[Address, str]:
    gate = variables["self"]
    assert isinstance(gate, Gate)
    return gate.address, "an effect or a reply"


# Where the runtime calls the code of an actor, and what the variables there tell of whose it is.
_READERS: dict[CodeType, Callable[[dict[str, object]], tuple[Address, str]]] = {
    Activation._begin.__code__: _plain_turn,
    WaitingTurns._run.__code__: _waiting_turn,
    _prepare.__code__: _start,
    _start_actor.__code__: _start,
    Activation.forget.__code__: _stopping,
    Gate._release.__code__: _output,
    Activation.make_actor.__code__: _making,
    may_be_passivated.__code__: _passivating,
}
