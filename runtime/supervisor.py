"""Supervisors at run time: the shell around the decisions of `restarts.py` and `strategies.py`.

    child ended ──▶ within its own intensity? ──▶ within the supervisor's? ──▶ stop, wait, start a group
                       └────────── no ───────────────┴──▶ the supervisor failed: the one above it decides
                                                           └─ the root: the system ends

The tree is data over one flat nursery. A group is stopped in the reverse order, each actor when all it has given to
storage is settled; after the wait it is started in order, each child when all before it are up. Mailboxes stay.

A child that ends while its group, or its supervisor, is being stopped has been stopped: that is told, not counted, as
in OTP. One fault that meets all of a group is one restart of it.

A supervisor starts its children as such a group, of all: one that fails meanwhile is restarted as the strategy says,
with those whose turn had not yet come, and the supervisor is up when all of them are.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import trio

from greenroom.runtime.activation import Activation
from greenroom.runtime.address import Address
from greenroom.runtime.endings import close, hold, release
from greenroom.runtime.errors import Escalated
from greenroom.runtime.kind import Kind
from greenroom.runtime.restarts import CrashHistory, GiveUp, Restart, RestartMode, decide
from greenroom.runtime.strategies import Plan, Strategy, plan_exit
from greenroom.runtime.tree import SERVICE_KEY, Service, Supervisor

if TYPE_CHECKING:
    from greenroom.runtime.system import ActorSystem


@dataclass(slots=True)
class _Group:
    """What one supervisor restarts together right now."""

    plan: Plan
    delay_seconds: float
    is_stopping: bool = True
    scope: trio.CancelScope = field(default_factory=trio.CancelScope)
    started: set[int] = field(default_factory=set)


class Leaf:
    """A kind with its actors, or a service with its one."""

    def __init__(self, system: "ActorSystem", branch: "Branch", index: int, spec: Kind | Service) -> None:
        self.is_service = isinstance(spec, Service)
        self.kind = spec.kind if isinstance(spec, Service) else spec
        self.name = self.kind.name
        self.branch = branch
        self.index = index
        self.mode: RestartMode = self.kind.restart.mode if self.is_service else "permanent"
        self.is_held = self.is_service  # until it is its turn to start: what comes before that waits
        self.is_over = False
        self._system = system
        self._ready = trio.Event()

    @property
    def cells(self) -> list[Activation]:
        """Its actors that have a cell, oldest first."""
        return [cell for cell in self._system.activations.values() if cell.address.kind == self.name]

    async def start(self) -> None:
        """Let its actors run; of a service, return when it is ready, or has been."""
        self.is_held = self.is_over = False
        if self.is_service:
            cell = self._system.activation(Address(self.name, SERVICE_KEY))
            cell.service = self
            release(cell)
            cell.wake()
            await self._ready.wait()
        else:
            for cell in self.cells:
                release(cell)
            await trio.lowlevel.checkpoint()

    async def stop(self) -> None:
        """End its actors, newest first, and let none begin until it is started again."""
        self.is_held = True
        self._ready = trio.Event() if self._ready.is_set() else self._ready
        for event in [hold(cell) for cell in reversed(self.cells)]:
            await event.wait()
        await trio.lowlevel.checkpoint()

    def is_ready(self) -> None:
        """Of the activation: the service has started."""
        self._ready.set()

    @property
    def is_up(self) -> bool:
        """What is started after it need not wait for it."""
        return not self.is_service or self._ready.is_set()

    async def wait_up(self) -> None:
        """Wait until it is up: when this returns it may have crashed again."""
        await self._ready.wait()

    def exited(self, cell: Activation, outcome: Restart | GiveUp | None, error: Exception | None) -> None:
        """Of the activation: the service ended, normally when *error* is None. *outcome* is that of its own policy."""
        self._ready = trio.Event() if self._ready.is_set() else self._ready
        if isinstance(outcome, GiveUp) and self.mode != "temporary":
            assert error is not None
            self.failed([str(cell.address)], error, outcome.reason)
            return
        delay = outcome.delay_seconds if isinstance(outcome, Restart) else 0.0
        self.branch.child_exited(self.index, [str(cell.address)], error, delay)

    def failed(self, path: list[str], error: Exception, why: str) -> None:
        """One of its actors cannot be borne any more: neither can its supervisor be, unless that stops it anyway."""
        if not self.branch.is_stopping(self.index):
            self.branch.fail(path, error, why)

    def forget_crashes(self) -> None:
        """Its supervisor begins anew, and with it the patience with each of its actors."""
        for cell in self.cells:
            cell.history = None

    def end(self, error: Exception | None, *, for_good: bool) -> None:
        """The service is not restarted: what waits for it is told, and so is whoever comes. *error*: what ended it."""
        self.is_held, self.is_over = False, for_good
        self._ready.set()
        close(self._system.activation(Address(self.name, SERVICE_KEY)), error)


class Branch:
    """One supervisor."""

    mode: RestartMode = "permanent"

    def __init__(self, system: "ActorSystem", spec: Supervisor, branch: "Branch | None" = None, index: int = 0) -> None:
        self.name = spec.name
        self.spec = spec
        self.branch = branch
        self.index = index
        self.restarts = 0
        self.children: list[Branch | Leaf] = [
            Branch(system, child, self, place) if isinstance(child, Supervisor) else Leaf(system, self, place, child)
            for place, child in enumerate(spec.children)
        ]
        self._system = system
        self._history = CrashHistory()
        self._groups: dict[int | None, _Group] = {}  # by the child, or one for all
        self._is_over = False  # it has failed, or is stopped, and was not started since

    def leaves(self) -> list[Leaf]:
        """Everything below it that is not a supervisor, in start order."""
        found: list[Leaf] = []
        for child in self.children:
            found.extend(child.leaves() if isinstance(child, Branch) else [child])
        return found

    async def start(self) -> None:
        """Start its children, in order, and return when all are up. Cancelled: those that have started run.

        It begins anew: what it has restarted before counts no more, and what was over for good is there again, as in
        OTP.
        """
        self._history, self._is_over = CrashHistory(), False
        for child in self.children:
            if isinstance(child, Leaf):
                child.forget_crashes()
        self._groups[None] = group = _Group(Plan(start=tuple(range(len(self.children)))), 0.0, is_stopping=False)
        await self._run_group(None, group)
        while not self.is_up:
            await self.wait_up()

    @property
    def is_up(self) -> bool:
        """All its children are up."""
        return all(child.is_up for child in self.children)

    async def wait_up(self) -> None:
        """Wait until all its children were up: when this returns one may have crashed again."""
        await _wait_up(self.children)

    async def stop(self) -> None:
        """Stop its children, in the reverse order."""
        self._is_over = True
        self._give_up_groups()
        for child in reversed(self.children):
            await child.stop()

    def is_stopping(self, index: int) -> bool:
        """Whether the child at *index* is being stopped, or is to be, by what has already been decided."""
        return self._is_over or any(group.is_stopping and index in group.plan.stop for group in self._groups.values())

    def child_exited(self, index: int, path: list[str], error: Exception | None, delay_seconds: float) -> None:
        """A child ended, normally when *error* is None: restart what must be, or fail. *path* names who failed."""
        if self.is_stopping(index):
            return
        plan = plan_exit(self.spec.strategy, [child.mode for child in self.children], index, is_normal=error is None)
        if not plan.start:
            self._end(index, error, for_good=bool(plan.forget))
            return
        verdict = decide(self.spec.policy, self._history, trio.current_time(), jitter=0)
        if isinstance(verdict, GiveUp):
            self.fail(path, error or RuntimeError(f"{path[0]} ended again and again"), verdict.reason)
        else:
            self._restart(index, plan, delay_seconds)

    def fail(self, path: list[str], error: Exception, why: str) -> None:
        """This supervisor cannot bear it: the one above decides, and above the root nobody does."""
        self._is_over = True
        path = [*path, f"supervisor {self.name}"]
        self._give_up_groups()
        if self.branch is None:
            self._system.escalate(Escalated(path, why), error)
            return
        self._system.event("supervisor.failed", error=error, supervisor=self.name, path=path, why=why)
        policy = self.branch.spec.policy
        delay = self._system.randomness.uniform(0, policy.backoff_seconds_min)
        self.branch.child_exited(self.index, path, error, delay)

    def _restart(self, index: int, plan: Plan, delay_seconds: float) -> None:
        key = index if self.spec.strategy is Strategy.ONE_FOR_ONE else None
        earlier = self._groups.get(key)
        if earlier is not None:  # it was still on its way up: what it had not started yet comes after who ended now
            earlier.scope.cancel(reason="another child of the group ended")
        self._groups[key] = group = _Group(plan, delay_seconds)
        self.restarts += 1
        names = [self.children[place].name for place in plan.start]
        self._system.event("supervisor.restarted", supervisor=self.name, children=names, delay_seconds=delay_seconds)
        self._system.spawn(self._run_group, key, group)

    async def _run_group(self, key: int | None, group: _Group) -> None:
        with group.scope:
            for place in group.plan.stop:
                await self.children[place].stop()
            for place in group.plan.forget:
                self._end(place, None, for_good=True)
            await trio.sleep(group.delay_seconds)
            group.is_stopping = False
            for place in group.plan.start:
                await _wait_up(self.children[one] for one in group.started)
                await self.children[place].start()
                group.started.add(place)
            if self._groups.get(key) is group:  # it may be given up without waiting for anything any more
                del self._groups[key]
        await trio.lowlevel.checkpoint()

    def _end(self, place: int, error: Exception | None, *, for_good: bool) -> None:
        child = self.children[place]
        assert isinstance(child, Leaf), f"supervisor {child.name} is permanent"
        child.end(error, for_good=for_good)

    def _give_up_groups(self) -> None:
        for group in self._groups.values():
            group.scope.cancel(reason=f"supervisor {self.name} stops")
        self._groups.clear()


async def _wait_up(children: Iterable[Branch | Leaf]) -> None:
    """Wait until all of *children* are up at one moment."""
    waited_for = list(children)
    await trio.lowlevel.checkpoint()
    while (down := next((child for child in waited_for if not child.is_up), None)) is not None:
        await down.wait_up()
