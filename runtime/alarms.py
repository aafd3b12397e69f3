"""The alarm clock of a system: it knows which alarms come next, and tells their actors.

    storage ──the next WINDOW_SECONDS, a page at a time──▶ queue ──wall time──▶ AlarmDue to the actor ──▶ answered
                          actor: set, moved, cancelled ──▶ │ ◀────── not stored, storage away: again, later ──┘

An alarm beyond the window costs nothing here: no task, no entry, no query of its own. One within it is an entry in
one heap. The armed time is never later than the stored one: an earlier time is armed before it is stored and a later
one after, an answer that did not come is asked for again, and what an actor loads is armed. Too early does no harm:
the actor, which owns its alarms, sees whether it is time. What was overdue at the start comes in the order of time,
PASS_ALARMS_MAX at once, and the next when those have answered or a second is over.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import trio

from greenroom.runtime.actor_alarms import AlarmDue, AlarmFailed
from greenroom.runtime.alarm_queue import AlarmKey, AlarmQueue
from greenroom.runtime.alarm_rules import retry_seconds
from greenroom.runtime.alarm_store import AlarmStore, DueAlarm
from greenroom.runtime.envelope import Question
from greenroom.runtime.errors import ActorError, ActorFailed, ActorGone, StorageUnavailable, words_of

if TYPE_CHECKING:
    from greenroom.runtime.system import ActorSystem

WINDOW_SECONDS: Final = 60.0
RELOAD_SECONDS: Final = 30.0
PAGE_ALARMS_MAX: Final = 2_000
PASS_ALARMS_MAX: Final = 256
PASS_SECONDS_MAX: Final = 1.0
LOOK_SECONDS_MAX: Final = 1.0  # the wall clock may have been set


@dataclass(frozen=True, slots=True)
class AlarmStatistics:
    """Alarms now, and comings since the start.

    armed: they come within the window, so are loaded. due: of these, it is time. asked: their actors were told and have
    not answered. postponed: to be asked again, because they could not be asked or nothing was stored.
    fired: handled, and stored. failed: a handler raised. put_off: how often something was postponed.
    """

    armed: int
    due: int
    asked: int
    postponed: int
    fired: int
    failed: int
    put_off: int


class AlarmClock:
    """Of one system. Times are wall times in milliseconds."""

    def __init__(self, system: "ActorSystem", store: AlarmStore) -> None:
        self.store = store
        self._system = system
        self._queue = AlarmQueue()
        self._asked: set[AlarmKey] = set()  # told to their actors, and not answered
        self._again: set[AlarmKey] = set()  # of these, what came due meanwhile
        self._failures: dict[AlarmKey, AlarmFailed] = {}  # to be counted by their actors
        self._setbacks: dict[AlarmKey, int] = {}  # answers that did not come, in a row
        self._unknown: set[str] = set()  # kinds that alarms are stored for and nobody declares
        self._window_ends_ms = 0
        self._after: DueAlarm | None = None  # the last one of a page that was full
        self._reload_at = float("-inf")  # trio time
        self._changed = trio.Event()
        self._page_is_told = trio.Event()
        self._pass = _Pass()
        self._is_over = False
        self._fired = self._failed = self._put_off = 0

    def arm_earlier(self, key: AlarmKey, due_ms: int) -> None:
        """It may be due at *due_ms*; what is armed for before that stays."""
        if due_ms < self._window_ends_ms:
            self._queue.put_earlier(key, due_ms)
            self._changed.set()

    def loaded(self, key: AlarmKey, due_ms: int) -> None:
        """It is stored that it is due at *due_ms*. One whose actor is asked already is not asked twice for that."""
        if key not in self._asked and not (key in self._setbacks and key in self._queue):
            self.arm_earlier(key, due_ms)

    def arm(self, key: AlarmKey, due_ms: int) -> None:
        """It is due at *due_ms*, and that is stored."""
        self.disarm(key)
        self.arm_earlier(key, due_ms)

    def disarm(self, key: AlarmKey) -> None:
        """It is no more, and that is stored."""
        self._queue.forget(key)
        self._setbacks.pop(key, None)
        self._failures.pop(key, None)

    def stop(self) -> None:
        """Tell nobody anything more: the system stops. What is stored comes at the next start."""
        self._is_over = True

    def statistics(self) -> "AlarmStatistics":
        """Counts. O(alarms that are due)."""
        return AlarmStatistics(
            armed=len(self._queue),
            due=self._queue.count_due(self._now_ms()),
            asked=len(self._asked),
            postponed=len(self._setbacks),
            fired=self._fired,
            failed=self._failed,
            put_off=self._put_off,
        )

    async def run(self) -> None:
        """Serve until `stop`. Two tasks, so that nobody's alarm waits for the look at those to come."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._load_windows)
            await self._tell_due()
            nursery.cancel_scope.cancel(reason="the alarm clock was stopped")

    # -- the window ---------------------------------------------------------------------------------------------

    async def _load_windows(self) -> None:
        while True:
            await self._load()
            while trio.current_time() < self._reload_at and self._now_ms() < self._window_ends_ms:
                self._page_is_told = trio.Event()
                with trio.move_on_after(min(LOOK_SECONDS_MAX, self._reload_at - trio.current_time())):
                    await self._page_is_told.wait()
                    break

    async def _load(self) -> None:
        """Arm what is due in the next while. Whatever is set while storage answers is within the window already."""
        until_ms = max(self._window_ends_ms if self._after else 0, self._now_ms() + int(WINDOW_SECONDS * 1000))
        self._window_ends_ms = until_ms
        try:
            page = await self.store.due_before(until_ms, self._after, PAGE_ALARMS_MAX)
        except StorageUnavailable as error:
            self._system.storage.lost(words_of(error))
            await self._system.storage.wait()
            self._reload_at = trio.current_time()
            return
        except Exception as error:  # of the adapter: these tasks serve all actors, and must not end of it
            self._system.event("alarm.window_failed", error=error)
            self._reload_at = trio.current_time() + LOOK_SECONDS_MAX
            return
        for due in page:
            self.loaded((due.address, due.name), due.due_ms)
        self._after = page[-1] if len(page) == PAGE_ALARMS_MAX else None
        self._reload_at = trio.current_time() + RELOAD_SECONDS

    def _ask_for_page(self, next_ms: int | None) -> None:
        """Have the next page read when there is one, and little is left of this one."""
        if self._after is None:
            return
        if next_ms is None or next_ms >= self._after.due_ms or len(self._queue) < PAGE_ALARMS_MAX // 2:
            self._page_is_told.set()

    # -- telling ------------------------------------------------------------------------------------------------

    async def _tell_due(self) -> None:
        while not self._is_over:
            self._changed = trio.Event()
            self._pass = _Pass()
            due = self._queue.pop_due(self._now_ms(), PASS_ALARMS_MAX)
            for key in due:
                self._tell(key)
            if len(due) == PASS_ALARMS_MAX and self._pass.waiting:
                with trio.move_on_after(PASS_SECONDS_MAX):
                    await self._pass.all_answered.wait()
            next_ms, seconds = self._queue.next_ms(), LOOK_SECONDS_MAX
            self._ask_for_page(next_ms)
            if next_ms is not None:
                seconds = max(0.0, min(seconds, (next_ms - self._now_ms()) / 1000))
            with trio.move_on_after(seconds):
                await self._changed.wait()

    def _now_ms(self) -> int:
        return self._system.clock.wall_milliseconds()

    def _tell(self, key: AlarmKey) -> None:
        """Tell the actor of *key*, ahead of what others tell it. Its answer comes when what it did is stored."""
        if key in self._asked:
            self._again.add(key)
            return
        address, name = key
        command = self._failures.get(key) or AlarmDue(name)
        current = self._pass

        def answered(_: object, error: BaseException | None) -> None:
            current.answered_one()
            self._answered(key, command, error)

        try:
            cell = self._system.activation(address)
        except ActorError as error:
            self._report_unknown(address.kind, str(error))
            return
        if not cell.kind.keeps_alarms:
            self._report_unknown(address.kind, f"kind {address.kind} keeps no alarms any more (keeps_alarms)")
            return
        self._asked.add(key)
        if cell.mailbox.put_system(Question(address, command, answered)):
            current.waiting += 1
            cell.reschedule()
        else:
            self._answered(key, command, ActorGone(address, "its system lane is full"))

    def _answered(self, key: AlarmKey, command: AlarmDue | AlarmFailed, error: BaseException | None) -> None:
        self._asked.discard(key)
        if self._is_over:
            return
        if key in self._again:
            self._again.discard(key)
            self._put_back(key, self._now_ms())
        tick = command.tick if isinstance(command, AlarmDue) else None
        if error is None:
            self._fired += tick is not None
            self._setbacks.pop(key, None)
            self._failures.pop(key, None)
        elif isinstance(error, ActorFailed) and tick is not None:
            self._failed += 1
            self._failures[key] = AlarmFailed(tick, _why(error))
            self._put_back(key, self._now_ms())
        else:
            self._postpone(key, error)

    def _postpone(self, key: AlarmKey, error: BaseException) -> None:
        """Its actor could not be asked, or what it did was not stored: nothing that its author is to blame for."""
        setbacks = self._setbacks.get(key, 0)
        self._setbacks[key] = setbacks + 1
        self._put_off += 1
        delay = retry_seconds(setbacks, self._system.randomness.uniform(-1, 1))
        self._put_back(key, self._now_ms() + int(delay * 1000))
        address, name = key
        self._system.event("alarm.postponed", address=str(address), alarm=name, seconds=delay, why=words_of(error))

    def _put_back(self, key: AlarmKey, due_ms: int) -> None:
        """Whatever the window: nobody else knows that this one is still to be asked."""
        self._queue.put_earlier(key, due_ms)
        self._changed.set()

    def _report_unknown(self, kind: str, why: str) -> None:
        if kind not in self._unknown:
            self._unknown.add(kind)
            self._system.event("alarm.unknown_kind", kind=kind, why=why)


class _Pass:
    """Those that were told at once."""

    def __init__(self) -> None:
        self.waiting = 0
        self.all_answered = trio.Event()

    def answered_one(self) -> None:
        self.waiting -= 1
        if not self.waiting:
            self.all_answered.set()


def _why(error: ActorFailed) -> str:
    cause = error.__cause__
    return words_of(error) if cause is None else f"{type(cause).__name__}: {words_of(cause)}"
