"""Bad use gets an error that teaches: what was wrong, where, and what to write instead."""

import functools
import logging
import math
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import Any

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from greenroom.runtime import (
    Actor,
    ActorFailed,
    ActorGone,
    AskInStop,
    AskTimeout,
    Command,
    Kind,
    Meter,
    Ref,
    RestartPolicy,
    Service,
    StaticName,
    StopReason,
    Stream,
    Supervisor,
    UnknownCommand,
    UnknownKind,
    handles,
    open_system,
)
from greenroom.runtime.testing import MemoryCommitter


@dataclass(frozen=True, slots=True)
class Add(Command[int]):
    by: int = 1


@dataclass(frozen=True, slots=True)
class Subtract(Command[int]):
    by: int = 1


@dataclass(frozen=True, slots=True)
class Follow(Stream[int]):
    pass


@dataclass(frozen=True, slots=True)
class Do(Command[object]):
    """Call `what` in a turn."""

    what: Callable[[Actor], object]


class Counter(Actor):
    def __init__(self, key: int | str) -> None:
        self.total = 0

    @handles(Add)
    def add(self, command: Add) -> int:
        self.total += command.by
        return self.total

    @handles(Do)
    def do(self, command: Do) -> object:
        return command.what(self)


class Clock(Actor):
    """A service, which is asked for nothing."""


@dataclass
class House:
    system: Any
    events: list[tuple[str, dict[str, Any]]]

    def of(self, name: str) -> list[dict[str, Any]]:
        return [facts for event, facts in self.events if event == name]


@pytest.fixture
async def house() -> AsyncIterator[House]:
    events: list[tuple[str, dict[str, Any]]] = []
    committer = MemoryCommitter()
    children = [
        Service(Kind("clock", lambda _: Clock())),
        Kind("counter", Counter),
        Kind("book", Counter, ownership="create"),
        Kind("note", lambda _: "no actor"),  # type: ignore[return-value]
    ]
    async with trio.open_nursery() as nursery:
        nursery.start_soon(committer.run)
        async with open_system(
            children, committer=committer, event=lambda name, **facts: events.append((name, facts))
        ) as system:
            yield House(system, events)
        nursery.cancel_scope.cancel()


def errors_of(event: str, into: list[Any]) -> Callable[..., None]:
    """An event hook that keeps the errors of one event."""

    def hook(name: str, **facts: Any) -> None:
        if name == event:
            into.append(facts["error"])

    return hook


def for_ever(_: Actor) -> object:
    return trio.sleep_forever()  # noqa: ASYNC105 (a handler that gives back what it waits for)


def soon() -> float:
    return trio.current_time() + 5


async def ask(house: House, what: Callable[[Any], object], kind: str = "counter") -> object:
    return await house.system.ref(kind, 1).ask(Do(what), deadline=soon())


# -- addresses ---------------------------------------------------------------------------------------------------------


async def test_an_unknown_kind_is_told_with_those_that_there_are(house):
    with pytest.raises(UnknownKind, match="no kind named 'counters': this system knows book, clock, counter, note"):
        house.system.ref("counters", 1)
    turn = ask(house, lambda actor: actor.ctx.ref("counters", 1))
    with pytest.raises(ActorFailed, match="no kind named 'counters'"):
        await turn


async def test_a_second_actor_of_a_static_name_is_refused(house):
    with pytest.raises(
        StaticName, match=r"clock is a service: there is one, `system.service\('clock'\)`, and no clock/2"
    ):
        house.system.ref("clock", 2)


async def test_a_name_that_stands_twice_in_the_tree_is_refused():
    twice = [Kind("counter", Counter), Supervisor("all", [Service(Kind("counter", Counter))])]
    with pytest.raises(StaticName, match="two children of this system are named 'counter'"):
        async with open_system(twice, committer=MemoryCommitter()):
            pass


@pytest.mark.parametrize("child", [Counter, "counter", [Kind("counter", Counter)]])
async def test_what_is_no_child_of_a_tree_is_refused(child):
    with pytest.raises(TypeError, match="a tree is made of Kind, Service and Supervisor, as in Kind"):
        async with open_system([child], committer=MemoryCommitter()):
            pass


# -- commands ----------------------------------------------------------------------------------------------------------


async def test_a_command_without_a_handler_is_told_with_what_is_handled(house):
    with pytest.raises(UnknownCommand) as caught:
        await house.system.ref("counter", 1).ask(Subtract(), deadline=soon())
    assert str(caught.value) == (
        "counter/1 has no handler for Subtract: decorate a method of its actor with @handles(Subtract). "
        "It handles Add, Do"
    )


async def test_a_class_in_the_place_of_a_command_is_told(house):
    with pytest.raises(UnknownCommand, match=r"was given the class Add and not a command: make one, Add\(...\)"):
        await house.system.ref("counter", 1).ask(Add, deadline=soon())


@pytest.mark.parametrize("given", ["add", None, 1])
async def test_what_is_no_command_at_all_is_told(house, given):
    with pytest.raises(UnknownCommand, match=f"was given a {type(given).__name__}, which is no command"):
        await house.system.ref("counter", 1).ask(given, deadline=soon())


async def test_another_class_of_the_same_name_is_told_apart(house):
    other = type("Add", (Command,), {"__module__": "elsewhere"})
    with pytest.raises(
        UnknownCommand, match=r"handles .*test_misuse\.Add, and this is a elsewhere\.Add, another class"
    ):
        await house.system.ref("counter", 1).ask(other(), deadline=soon())


async def test_a_tell_that_nobody_handles_is_a_dead_letter_with_its_reason(house):
    house.system.ref("counter", 1).tell(Subtract())
    await wait_all_tasks_blocked()
    [letter] = house.system.dead_letters.newest
    assert (str(letter.to), letter.command, letter.reason) == ("counter/1", "Subtract", "unknown_command")


@pytest.mark.parametrize(
    ("command", "lesson"),
    [
        ("Add", r"@handles takes a class of commands, as in @handles\(Add\), not 'Add'"),
        (Add(), "@handles takes a class of commands"),
        (lambda self, command: None, "@handles takes a class of commands"),  # `@handles` without its command
        (int, r"nobody can be told a int. Write `class int\(Command\[...\]\)`"),
        (Actor, "nobody can be told a Actor"),
    ],
)
def test_a_handler_of_what_is_no_command_is_refused(command, lesson):
    with pytest.raises(TypeError, match=lesson):
        handles(command)


@pytest.mark.parametrize("batch", [0, -1, 5000])
def test_a_batch_of_none_or_of_too_many_is_refused(batch):
    with pytest.raises(ValueError, match=f"batch is a number from 1 to 4096, not {batch}"):
        handles(Add, batch=batch)


def test_a_batch_of_streams_is_refused():
    with pytest.raises(TypeError, match="a Stream is answered one at a time"):
        handles(Follow, batch=4)  # type: ignore[type-var]


# -- classes -----------------------------------------------------------------------------------------------------------


async def _waits(self, command):
    return 1


async def _yields(self, command):
    yield 1


def _takes_nothing(self):
    return 1


def _takes_more(self, command, and_more):
    return 1


def _does_not_yield(self, command):
    """Follows nothing."""


def _plain(self, command):
    return 1


@pytest.mark.parametrize(
    ("command", "method", "lesson"),
    [
        (Add, _takes_nothing, r"Bad.act: a handler takes \(self, command\) and nothing more: too many"),
        (Add, _takes_more, "nothing more: missing a required argument: 'and_more'"),
        (Add, _yields, "Bad.act yields many answers and Add is a Command: make it a Stream"),
        (Follow, _waits, "Bad.act: Follow is a Stream, so make it an async generator"),
        (Follow, _does_not_yield, "Bad.act: Follow is a Stream, so make it an async generator"),
    ],
)
def test_a_method_that_does_not_fit_its_command_is_refused_with_the_class(command, method, lesson):
    with pytest.raises(TypeError, match=lesson):
        type("Bad", (Actor,), {"act": handles(command)(method)})


@pytest.mark.parametrize("method", [staticmethod(handles(Add)(_plain)), handles(Add)(classmethod(_plain))])
def test_a_handler_that_is_no_plain_method_is_refused(method):
    with pytest.raises(
        TypeError, match=r"a handler is a plain method, \(self, command\); it is a (static|class)method"
    ):
        type("Bad", (Actor,), {"act": method})


async def _start(self):
    pass


@pytest.mark.parametrize(
    ("hook", "given", "lesson"),
    [
        ("stopping", _waits, "Bad.stopping is plain def"),
        ("may_passivate", property(_start), "Bad.may_passivate is plain def"),
        ("may_passivate", lambda self: False, "Bad.may_passivate is a property, read and not called: add @property"),
        ("start", lambda self: None, "Bad.start is awaited, so it must be `async def`"),
    ],
)
def test_a_hook_of_the_wrong_form_is_refused_with_the_class(hook, given, lesson):
    with pytest.raises(TypeError, match=lesson):
        type("Bad", (Actor,), {hook: given})


# -- limits ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("limit", "value"),
    [
        ("mailbox_envelopes_max", 0),
        ("mailbox_envelopes_max", -1),
        ("idle_seconds_max", -0.5),
        ("start_seconds_max", math.nan),
        ("stash_envelopes_max", -1),
        ("pending_bytes_max", 0),
        ("warm_max", 0),
        ("cold_seconds_max", -1.0),
    ],
)
def test_a_limit_of_a_kind_that_is_none_is_refused_by_its_name(limit, value):
    with pytest.raises(ValueError, match=f"kind counter: {limit} is .*, not {value}"):
        Kind("counter", Counter, **{limit: value})


@pytest.mark.parametrize(
    ("make", "lesson"),
    [
        (lambda: Kind("counter", Counter, ownership="mine"), "ownership is none, existing or create, not 'mine'"),
        (lambda: Meter(bytes_max=-1), "bytes_max is 0 or more, not -1"),
        (lambda: Meter(head_seconds_max=math.nan), "head_seconds_max is above 0, not nan"),
        (lambda: Meter(bytes_max=1), "a bound in bytes needs size_of"),
        (lambda: RestartPolicy(intensity=-1), "intensity is 0 or more, not -1"),
        (lambda: RestartPolicy(backoff_seconds_min=9), "at most backoff_seconds_max, not 9 and 5"),
        (lambda: Supervisor("all", [Kind("counter", Counter)], intensity=-1), "intensity is 0 or more"),
        (lambda: Supervisor("", []), "a supervisor needs a name"),
    ],
)
def test_a_limit_that_is_none_is_refused(make, lesson):
    with pytest.raises(ValueError, match=lesson):
        make()


async def test_a_negative_time_to_stop_is_refused():
    with pytest.raises(ValueError, match="stop_seconds_max is 0 or more, not -1"):
        async with open_system([], committer=MemoryCommitter(), stop_seconds_max=-1):
            pass


async def test_a_deadline_that_is_a_number_of_seconds_is_told(house, autojump_clock):
    await trio.sleep(1000)
    with pytest.raises(AskTimeout, match=r"that was over when it was asked. A deadline is a trio time, such as trio"):
        await house.system.ref("counter", 1).ask(Do(for_ever), deadline=5)


async def test_a_deadline_that_passes_in_its_time_is_told_without_a_lesson(house, autojump_clock):
    with pytest.raises(AskTimeout) as caught:
        await house.system.ref("counter", 1).ask(Do(for_ever), deadline=soon())
    assert str(caught.value) == "counter/1 did not answer Do before the deadline (it was running)"


# -- coroutines where none is allowed ----------------------------------------------------------------------------------

PLAIN = "is called and never awaited, so it must be plain `def`. What has to wait belongs in an `async def` handler"


async def waits(*_given: object) -> Any:
    raise AssertionError("it was awaited")


class Bound:
    async def waits(self) -> None: ...


@pytest.mark.parametrize("effect", [waits, Bound().waits])
async def test_an_effect_that_is_async_is_refused_in_its_turn(house, effect):
    with pytest.raises(ActorFailed, match=f"what `ctx.after_commit` is given {PLAIN}"):
        await ask(house, lambda actor: actor.ctx.after_commit(effect))


async def test_a_coroutine_as_an_effect_is_refused_in_its_turn(house):
    with pytest.raises(ActorFailed, match=PLAIN):
        await ask(house, lambda actor: actor.ctx.after_commit(waits()))


async def test_an_effect_that_is_nothing_to_call_is_refused_in_its_turn(house):
    with pytest.raises(ActorFailed, match="takes something to call, not None"):
        await ask(house, lambda actor: actor.ctx.after_commit(None))


async def test_an_effect_that_gives_back_a_coroutine_is_told_in_an_event(house):
    await ask(house, lambda actor: actor.ctx.after_commit(lambda: waits()))
    [fault] = house.of("effect.failed")
    assert PLAIN in str(fault["error"])
    assert fault["address"] == "counter/1"


async def test_a_reply_to_that_is_async_is_refused_at_once(house):
    with pytest.raises(TypeError, match=f"the reply_to of a request {PLAIN}"):
        house.system.ref("counter", 1).request(Add(), waits, deadline=soon())
    assert house.system.statistics().kinds["counter"].loaded == 0


async def test_a_reply_to_that_gives_back_a_coroutine_is_told_in_an_event(house):
    house.system.ref("counter", 1).request(Add(), lambda value, error: waits(), deadline=soon())
    await wait_all_tasks_blocked()
    [fault] = house.of("effect.failed")
    assert f"the reply_to of counter/1 Add {PLAIN}" in str(fault["error"])


def test_a_factory_that_is_async_is_refused_with_its_kind():
    with pytest.raises(TypeError, match=f"kind counter: its factory {PLAIN}"):
        Kind("counter", waits)


async def test_a_factory_that_makes_no_actor_is_told_as_the_cause_of_the_crash(house):
    house.system.ref("note", 1).tell(Add())
    await wait_all_tasks_blocked()
    [crash] = house.of("actor.crashed")
    assert str(crash["error"]) == "the factory of kind note made a str: it must return an Actor"


async def test_a_factory_that_gives_one_actor_twice_is_told_as_the_cause_of_the_crash():
    crashes = []
    shared = Counter(1)
    kinds = [Kind("counter", lambda _: shared)]
    async with open_system(
        kinds,
        committer=MemoryCommitter(),
        event=errors_of("actor.crashed", crashes),
    ) as system:
        assert await system.ref("counter", 1).ask(Add(), deadline=soon()) == 1
        system.ref("counter", 2).tell(Add())
        await wait_all_tasks_blocked()
    assert str(crashes[0]) == "the factory of kind counter gave the same actor twice: make one for each activation"


@pytest.mark.parametrize("which", ["size_of", "coalesce_by"])
def test_a_meter_that_would_have_to_wait_is_refused(which):
    with pytest.raises(TypeError, match=f"the {which} of a meter {PLAIN}"):
        Meter(**{which: waits})


async def test_an_event_hook_that_is_async_is_refused():
    with pytest.raises(TypeError, match=f"the event hook of a system {PLAIN}"):
        async with open_system([], committer=MemoryCommitter(), event=waits):
            pass


async def test_waiting_for_writes_in_a_plain_handler_is_told(house):
    with pytest.raises(ActorFailed, match="`flushed` waits, so it is for a handler that is `async def`"):
        await ask(house, lambda actor: actor.ctx.flushed())


# -- writing and ending ------------------------------------------------------------------------------------------------


async def test_a_write_without_ownership_is_told(house):
    with pytest.raises(ActorFailed, match='declare its kind with ownership="create" or "existing"'):
        await ask(house, lambda actor: actor.ctx.write("x"))


class Leaver(Actor):
    """Does `what` in its `stopping`."""

    def __init__(self, what: Callable[["Leaver"], object]) -> None:
        self.what = what

    def stopping(self, reason: StopReason) -> None:
        self.what(self)

    @handles(Add)
    def add(self, _: Add) -> int:
        self.ctx.stop()
        return 1


def asks(actor: Leaver) -> None:
    actor.ctx.ref("leaver", 2).ask(Add(), deadline=math.inf)  # type: ignore[unused-coroutine]


def streams(actor: Leaver) -> None:
    actor.ctx.ref("leaver", 2).stream(Follow(), deadline=math.inf).__aenter__().send(None)


def requests(actor: Leaver) -> None:
    actor.ctx.ref("leaver", 2).request(Add(), lambda *_: None, deadline=math.inf)


def writes(actor: Leaver) -> None:
    actor.ctx.write("x")


def acts_after_the_commit(actor: Leaver) -> None:
    actor.ctx.after_commit(lambda: None)


@pytest.mark.parametrize(
    ("what", "kind", "lesson"),
    [
        (streams, AskInStop, "in its `stopping`"),
        (asks, AskInStop, "an actor asked leaver/2 Add in its `stopping`: tell it instead, or ask in a turn"),
        (requests, AskInStop, "in its `stopping`"),
        (writes, RuntimeError, "leaver/1: its activation has ended and stores nothing any more; write in a turn"),
        (acts_after_the_commit, RuntimeError, "its activation has ended and lets nothing out any more"),
    ],
)
async def test_what_an_actor_that_ends_can_no_longer_do_is_told_in_an_event(what, kind, lesson):
    faults = []
    committer = MemoryCommitter()
    children = [Kind("leaver", lambda _: Leaver(what), ownership="create")]
    async with trio.open_nursery() as nursery:
        nursery.start_soon(committer.run)
        async with open_system(
            children,
            committer=committer,
            event=errors_of("effect.failed", faults),
        ) as system:
            leaver: Ref = system.ref("leaver", 1)
            assert await leaver.ask(Add(), deadline=soon()) == 1
            await wait_all_tasks_blocked()
        nursery.cancel_scope.cancel()
    assert [type(fault) for fault in faults] == [kind]
    assert lesson in str(faults[0])


async def test_a_kind_that_has_many_actors_is_no_service(house):
    with pytest.raises(StaticName, match="counter is no service, it has an actor for each key: say ref"):
        house.system.service("counter")


@pytest.mark.parametrize(
    ("ref", "command", "lesson"),
    [
        ("counter/1", Add(), r"'counter/1' is no ref: say `ctx.ref\(kind, key\)`"),
        (None, 5, "counter/2 cannot be told 5: make a value of a class that is a Command"),
        (None, Add, r"counter/2 cannot be told Add, which is a class: say Add\(\.\.\.\)"),
    ],
)
async def test_what_is_no_ref_or_no_command_is_told_at_the_line(house, autojump_clock, ref, command, lesson):
    def tell(actor):
        actor.ctx.tell(ref or actor.ctx.ref("counter", 2), command)

    with pytest.raises(ActorFailed, match=lesson):
        await house.system.ref("counter", 1).ask(Do(tell), deadline=soon())


@pytest.mark.parametrize(
    ("command", "lesson"), [(Add, "a class: say Add"), ("add", "a value of a class"), (None, "told None")]
)
async def test_what_is_no_command_is_told_to_who_tells_it_from_outside_too(house, command, lesson):
    with pytest.raises(TypeError, match=lesson):
        house.system.ref("counter", 1).tell(command)
    with pytest.raises(TypeError, match=lesson):
        await house.system.ref("counter", 1).offer(command)
    with pytest.raises(ActorFailed, match=lesson):
        await ask(house, lambda actor: actor.ctx.tell_self_after(1, command))
    assert not house.system.dead_letters.counts


@pytest.mark.parametrize("what", ["watch", "unwatch", "kill", "trace"])
async def test_what_takes_a_ref_takes_no_text_of_one(house, what):
    lesson = r"'counter/2' is no ref: say `ctx.ref\(kind, key\)`"
    if what in ("watch", "unwatch"):
        with pytest.raises(ActorFailed, match=lesson):
            await ask(house, lambda actor: getattr(actor.ctx, what)("counter/2"))
    else:
        with pytest.raises(TypeError, match=lesson):
            getattr(house.system, what)("counter/2", **({"seconds": 1} if what == "trace" else {}))


class TakesNoKey(Actor):
    pass


@pytest.mark.parametrize("factory", [TakesNoKey, lambda: TakesNoKey(), lambda key, other: TakesNoKey()])
def test_a_factory_that_does_not_take_the_key_is_told_where_it_is_declared(factory):
    with pytest.raises(TypeError, match=r"kind one: its factory is given the key and nothing else, .* `lambda key: "):
        Kind("one", factory)


@pytest.mark.parametrize(
    ("options", "lesson"),
    [
        ({"committer": MemoryCommitter}, "committer is where writes are stored"),
        ({"committer": None}, "committer is where writes are stored"),
        ({"clock": 3}, "clock tells wall time"),
        ({"patience": 3}, r"patience is a Patience\(...\), not 3"),
        ({"memory": 100}, r"memory is a MemoryLimit\(bytes_max\), not 100"),
        ({"event": functools.partial(trio.sleep)}, "the event hook of a system is called and never awaited"),
    ],
)
async def test_a_port_that_is_none_is_told_before_anything_runs(options, lesson):
    with pytest.raises(TypeError, match=lesson):
        async with open_system([Kind("one", Counter)], **({"committer": MemoryCommitter()} | options)):
            pass


@pytest.mark.parametrize("given", [Kind("one", Counter), Service(Kind("one", Counter)), None, 5])
async def test_a_system_is_given_its_children_in_a_list(given):
    with pytest.raises(TypeError, match=r"takes the children of the tree as a list, .* \[Kind\('room', RoomActor\)\]"):
        async with open_system(given, committer=MemoryCommitter()):
            pass


async def test_trios_clock_is_no_clock_of_a_system(autojump_clock):
    with pytest.raises(TypeError, match="clock tells wall time, as VirtualClock"):
        async with open_system([Kind("one", Counter)], committer=MemoryCommitter(), clock=autojump_clock):
            pass


async def test_an_actor_that_uses_its_context_too_early_is_told_where_to(autojump_clock):
    class Early(Counter):
        def __init__(self, key: int | str) -> None:
            self.me = self.ctx.address

    children = [Kind("early", Early, restart=RestartPolicy(intensity=0))]
    async with open_system(children, committer=MemoryCommitter()) as system:
        with pytest.raises(
            ActorGone, match=r"Early has no `ctx` yet while it is made, in `__init__`: .* `async def start`"
        ):
            await system.ref("early", 1).ask(Add(), deadline=soon())


def test_rules_for_errors_are_a_mapping():
    with pytest.raises(TypeError, match=r"on_error maps errors to what follows, as in {ValueError: Directive.STOP}"):
        RestartPolicy(on_error=[ValueError])  # type: ignore[arg-type]


async def test_a_size_that_is_none_is_told_and_a_tell_between_actors_is_a_dead_letter(autojump_clock):
    sizes: dict[int, Any] = {1: -5, 2: "5"}

    def size_of(command: object) -> int:
        assert isinstance(command, Add)
        if command.by == 3:
            raise KeyError("no size")
        size: int = sizes.get(command.by, 1)
        return size

    children = [Kind("sized", Counter, meter=Meter(size_of=size_of, bytes_max=10)), Kind("counter", Counter)]
    async with open_system(children, committer=MemoryCommitter()) as system:
        sized = system.ref("sized", 1)
        for by, lesson in ((1, "size_of a meter, of Add is 0 or more, not -5"), (2, "whole number|between .* 'str'")):
            with pytest.raises((TypeError, ValueError), match=lesson):
                sized.tell(Add(by))

        def tells(actor: Actor) -> None:
            for by in (10, 3, 20):
                actor.ctx.tell(actor.ctx.ref("sized", 1), Add(by))

        await system.ref("counter", 1).ask(Do(tells), deadline=soon())
        assert await sized.ask(Add(0), deadline=soon()) == 30
        assert system.dead_letters.counts == {"not_measured": 1}


async def test_without_a_hook_events_are_logged(autojump_clock, caplog):
    caplog.set_level(logging.DEBUG, logger="greenroom.runtime")
    async with open_system([Kind("one", Counter)], committer=MemoryCommitter()) as system:
        system.ref("one", 1).tell(Do(lambda _: 1 // 0))
        await trio.sleep(1)
        await system.ref("one", 1).ask(Add(), deadline=soon())
    records = [record for record in caplog.records if not record.getMessage().startswith("turn.slow")]
    told = [(record.levelname, record.getMessage().split(" restart")[0]) for record in records]
    assert told == [
        ("WARNING", "dead_letter.buried address='one/1' command='Do' reason='crashed'"),
        ("DEBUG", "actor.ended address='one/1' reason='crashed'"),
        (
            "ERROR",
            "actor.crashed error=ZeroDivisionError('integer division or modulo by zero') address='one/1' where='turn'",
        ),
        ("DEBUG", "actor.ended address='one/1' reason='normal'"),
    ]
    assert records[2].exc_info[0] is ZeroDivisionError


async def test_a_tell_from_a_thread_is_refused_and_changes_nothing(house):  # on the real clock: threads take none
    ref = house.system.ref("counter", 1)
    for _ in range(2):  # an actor that is not there, and one that is
        await wait_all_tasks_blocked()
        with pytest.raises(RuntimeError, match=r"counter/1 .*trio.from_thread.run_sync\(ref.tell, command\)"):
            await trio.to_thread.run_sync(lambda: ref.tell(Add(100)))
        assert await ref.ask(Add(0), deadline=soon()) == 0
    await trio.to_thread.run_sync(lambda: trio.from_thread.run_sync(ref.tell, Add(2)))
    assert await ref.ask(Add(0), deadline=soon()) == 2
