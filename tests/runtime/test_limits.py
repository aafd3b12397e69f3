"""Limits: what is none is refused where it is declared, and the error says what to write."""

import math
from collections.abc import Callable
from typing import Any

import pytest

from greenroom.runtime import (
    Actor,
    Command,
    Directive,
    Kind,
    MemoryLimit,
    Meter,
    Overflow,
    Patience,
    Ref,
    RestartPolicy,
    Service,
    StaticName,
    Strategy,
    Supervisor,
    handles,
    open_system,
)
from greenroom.runtime.testing import MemoryCommitter, run_seeded


class Add(Command[int]):
    pass


class Counter(Actor):
    def __init__(self, key: int | str) -> None:
        self.key = key

    @handles(Add)
    def add(self, command: Add) -> int:
        return 1


COUNTER = Kind("counter", Counter)


def kind(**declared: Any) -> Kind:
    return Kind(**({"name": "counter", "factory": Counter} | declared))


def group(**declared: Any) -> Supervisor:
    return Supervisor(**({"name": "all", "children": [COUNTER]} | declared))


NUMBERS = ("idle_seconds_max", "start_seconds_max", "cold_seconds_max")
COUNTS = ("mailbox_envelopes_max", "stash_envelopes_max", "pending_bytes_max")


@pytest.mark.parametrize("name", ["", "a/b", "a\n", None, 3])
def test_a_name_can_stand_in_an_address(name):
    with pytest.raises((TypeError, ValueError), match="a kind needs a name"):
        kind(name=name)
    with pytest.raises((TypeError, ValueError), match="a supervisor needs a name"):
        group(name=name)


@pytest.mark.parametrize("limit", COUNTS)
@pytest.mark.parametrize("given", [None, math.inf, math.nan, 1.5, True, "9"])
def test_a_count_is_a_whole_number(limit, given):
    with pytest.raises(TypeError, match=f"kind counter: {limit} is a whole number, not {given!r}"):
        kind(**{limit: given})


@pytest.mark.parametrize("limit", NUMBERS)
def test_a_time_is_a_number(limit):
    for given in (None, "9", True):
        with pytest.raises(TypeError, match=f"kind counter: {limit} is a number, not {given!r}"):
            kind(**{limit: given})
    with pytest.raises(ValueError, match=f"kind counter: {limit} is .*, not nan"):
        kind(**{limit: math.nan})
    assert getattr(kind(**{limit: math.inf}), limit) == math.inf


@pytest.mark.parametrize(
    ("declared", "lesson"),
    [
        ({"overflow": "refuse"}, "overflow is Overflow.REFUSE, Overflow.DROP_OLDEST or Overflow.DROP_NEWEST, not 'ref"),
        ({"overflow": None}, "not None"),
        ({"meter": 3}, r"meter is a Meter\(...\) or None, not 3"),
        ({"restart": None}, r"restart is a RestartPolicy\(...\), not None"),
        ({"waiting_turn_seconds_max": math.nan}, "waiting_turn_seconds_max is above 0, not nan"),
        ({"warm_max": math.inf}, "warm_max is a whole number, not inf"),
        ({"ownership": None}, "ownership is none, existing or create, not None"),
    ],
)
def test_a_policy_of_a_kind_is_what_it_is_declared_to_be(declared, lesson):
    with pytest.raises((TypeError, ValueError), match=f"kind counter: .*{lesson}"):
        kind(**declared)


@pytest.mark.parametrize(
    ("declared", "lesson"),
    [
        ({"period_seconds": math.nan}, "period_seconds is above 0, not nan"),
        ({"backoff_seconds_min": math.nan}, "backoff_seconds_min is above 0, not nan"),
        ({"intensity": math.nan}, "intensity is a whole number, not nan"),
        ({"intensity": 1.5}, "intensity is a whole number, not 1.5"),
        ({"mode": "forever"}, "mode is permanent, transient or temporary, not 'forever'"),
        ({"when_exhausted": "Escalate"}, "when_exhausted is rest or escalate, not 'Escalate'"),
        ({"on_error": {ValueError: "stop"}}, "on_error for ValueError is .*Directive.STOP or .*, not 'stop'"),
        ({"on_error": {"ValueError": Directive.STOP}}, "on_error is by class of Exception"),
        ({"on_error": {BaseException: Directive.STOP}}, "on_error is by class of Exception"),
    ],
)
def test_a_restart_policy_that_is_none_is_refused(declared, lesson):
    with pytest.raises((TypeError, ValueError), match=lesson):
        RestartPolicy(**declared)


@pytest.mark.parametrize(
    ("declared", "lesson"),
    [
        ({"strategy": "one_for_one"}, "supervisor all: strategy is Strategy.ONE_FOR_ONE, .*, not 'one_for_one'"),
        ({"intensity": math.nan}, "intensity is a whole number, not nan"),
        ({"period_seconds": math.nan}, "period_seconds is above 0, not nan"),
        ({"children": []}, "supervisor all has no children"),
        ({"children": None}, "supervisor all: its children are a list, in start order, not None"),
        ({"children": [Counter]}, "a tree is made of Kind, Service and Supervisor"),
    ],
)
def test_a_supervisor_that_is_none_is_refused(declared, lesson):
    with pytest.raises((TypeError, ValueError), match=lesson):
        group(**declared)


def test_a_service_is_made_of_a_kind():
    with pytest.raises(TypeError, match="a Service is made of a Kind"):
        Service(Counter)  # type: ignore[arg-type]


async def test_two_supervisors_of_one_name_are_refused():
    tree = [Supervisor("all", [Supervisor("all", [COUNTER], Strategy.ONE_FOR_ALL)])]
    with pytest.raises(StaticName, match="two supervisors of this system are named 'all'"):
        async with open_system(tree, committer=MemoryCommitter()):
            pass


@pytest.mark.parametrize(
    "make",
    [
        lambda: Meter(size_of=lambda _: 1, bytes_max=math.nan),  # type: ignore[arg-type]
        lambda: Meter(head_seconds_max=math.nan),
        lambda: MemoryLimit(math.nan),  # type: ignore[arg-type]
        lambda: Patience(loop_seconds_max=math.nan),
        lambda: Patience(tellings_max=math.nan),  # type: ignore[arg-type]
        lambda: handles(Add, batch=True),
        lambda: handles(Add, batch=1.5),  # type: ignore[call-overload]
    ],
)
def test_what_is_no_number_bounds_nothing_and_is_refused(make: Callable[[], object]):
    with pytest.raises((TypeError, ValueError), match=r"is a whole number, not|is above 0, not nan"):
        make()


@pytest.mark.parametrize(
    ("given", "lesson"),
    [
        ({"pending_bytes_max": -5}, "open_system: pending_bytes_max is above 0, not -5"),
        ({"pending_bytes_max": math.nan}, "open_system: pending_bytes_max is a whole number, not nan"),
        ({"stop_seconds_max": None}, "open_system: stop_seconds_max is a number, not None"),
        ({"committer": None}, r"open_system: committer is where writes are stored, such as MemoryCommitter\(\)"),
    ],
)
async def test_a_system_is_opened_with_limits_that_hold(given, lesson):
    with pytest.raises((TypeError, ValueError), match=lesson):
        async with open_system([COUNTER], **({"committer": MemoryCommitter()} | given)):
            pass


@pytest.mark.parametrize("key", [None, True, 1.0, b"", (1,), [1], math.nan, Overflow.REFUSE])
async def test_a_key_is_an_int_or_a_str(key, autojump_clock):
    async with open_system([COUNTER], committer=MemoryCommitter()) as system:
        with pytest.raises(TypeError, match="the key of a counter is an int or a str, not"):
            system.ref("counter", key)
        assert isinstance(system.ref("counter", "1"), Ref)


@pytest.mark.parametrize("seed", [None, "x", 1.5, True, -1])
def test_a_seed_is_a_whole_number(seed):
    async def never(_: object) -> None:
        raise AssertionError("it was run")

    with pytest.raises((TypeError, ValueError), match="a seed is"):
        run_seeded(never, seed)
