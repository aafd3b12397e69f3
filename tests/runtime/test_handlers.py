"""Handlers: the table of a class is what Python's own rules say of its methods, and what cannot work is refused."""

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import pytest
import trio

from greenroom.runtime import Actor, ActorSystem, Command, Kind, StopReason, handles, open_system, reads
from greenroom.runtime.testing import MemoryCommitter


@dataclass(frozen=True, slots=True)
class Add(Command[str]):
    pass


@dataclass(frozen=True, slots=True)
class Look(Command[str]):
    pass


class Base(Actor):
    @handles(Add)
    def add(self, command: Add) -> str:
        return "base"

    @reads
    @handles(Look)
    def look(self, command: Look) -> str:
        return "base"


class Override(Base):
    def add(self, command: Add) -> str:
        return "override"

    async def look(self, command: Look) -> str:  # type: ignore[override]
        return "override"


class Other(Actor):
    @handles(Look)
    def see(self, command: Look) -> str:
        return "other"


class Adds(Actor):
    @handles(Add)
    def add(self, command: Add) -> str:
        return "adds"


class Mixin:
    @handles(Look)
    def look(self, command: Look) -> str:
        return "mixin"


class Mixed(Mixin, Adds):
    pass


class Both(Adds, Other):
    pass


@asynccontextmanager
async def opened(actor: type[Actor], **limits: Any) -> AsyncIterator[ActorSystem]:
    committer = MemoryCommitter()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(committer.run)
        async with open_system([Kind("one", lambda _: actor(), **limits)], committer=committer) as system:
            yield system
        nursery.cancel_scope.cancel()


async def answers(actor: type[Actor]) -> list[str]:
    async with opened(actor) as system:
        one = system.ref("one", 1)
        return [await one.ask(command, deadline=trio.current_time() + 5) for command in (Add(), Look())]


async def test_a_method_that_overrides_a_handler_is_the_handler(autojump_clock):
    assert await answers(Override) == ["override", "override"]
    assert Override.handlers[Look].is_reads


async def test_a_mixin_and_a_second_base_are_part_of_the_table(autojump_clock):
    assert await answers(Mixed) == ["adds", "mixin"]
    assert await answers(Both) == ["adds", "other"]


def test_an_override_of_another_form_is_refused():
    with pytest.raises(TypeError, match=r"Wrong.add: a handler takes \(self, command\) and nothing more"):

        class Wrong(Base):
            def add(self) -> str:  # type: ignore[override]
                return ""


def test_a_handler_that_hides_another_by_its_name_is_refused():
    with pytest.raises(TypeError, match=r"Hides.add handles Look and hides the method of that name that handles Add"):

        class Hides(Base):
            @handles(Look)
            def add(self, command: Look) -> str:  # type: ignore[override]
                return ""


def test_one_method_for_two_commands_is_refused():
    with pytest.raises(TypeError, match="handles Look already: write a method for Add too"):

        class Two(Actor):
            @handles(Add)  # type: ignore[arg-type]
            @handles(Look)
            def add(self, command: Look) -> str:
                return ""


def test_a_handler_that_yields_is_refused():
    with pytest.raises(TypeError, match=r"Yields.add yields, so it would answer with a generator"):

        class Yields(Actor):
            @handles(Add)  # type: ignore[arg-type]
            def add(self, command: Add) -> Iterator[str]:
                yield ""


def test_a_hook_of_another_form_is_refused():
    with pytest.raises(TypeError, match=r"Stops.stopping: it takes \(self, reason\) and nothing more"):

        class Stops(Actor):
            def stopping(self) -> None:  # type: ignore[override]
                pass

    with pytest.raises(TypeError, match=r"Starts.start: it takes \(self\) and nothing more"):

        class Starts(Actor):
            async def start(self, key: int) -> None:  # type: ignore[override]
                pass

    class Fine(Actor):
        def stopping(self, reason: StopReason, *more: object) -> None:
            pass
