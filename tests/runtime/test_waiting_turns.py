"""How many reads wait at once: what is behind them waits in the mailbox, which is bounded."""

from dataclasses import dataclass, field

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from greenroom.runtime import Actor, Command, Kind, MailboxFull, handles, open_system, reads
from greenroom.runtime.testing import MemoryCommitter


@dataclass(frozen=True, slots=True)
class Look(Command[None]):
    number: int


@dataclass(frozen=True, slots=True)
class LookTogether(Command[None]):
    pass


@dataclass
class Book:
    at_once: int = 0
    at_once_max: int = 0
    looked: list[int] = field(default_factory=list)


class Reader(Actor):
    def __init__(self, book: Book) -> None:
        self.book = book

    @reads
    @handles(Look)
    async def look(self, command: Look) -> None:
        await self.wait(1)
        self.book.looked.append(command.number)

    @reads
    @handles(LookTogether, batch=4)
    async def look_together(self, commands: list[LookTogether]) -> None:
        await self.wait(len(commands))

    async def wait(self, count: int) -> None:
        book = self.book
        book.at_once += count
        book.at_once_max = max(book.at_once, book.at_once_max)
        await trio.sleep(1)
        book.at_once -= count


@pytest.mark.parametrize(("limits", "at_once_max"), [({}, 10), ({"reads_at_once_max": 3}, 3)])
async def test_reads_that_wait_are_bounded_and_the_rest_waits_in_the_mailbox(
    limits: dict[str, int], at_once_max: int, autojump_clock: MockClock
) -> None:
    book = Book()
    kind = Kind("reader", lambda _: Reader(book), mailbox_envelopes_max=10, **limits)
    async with open_system([kind], committer=MemoryCommitter()) as system:
        reader, accepted = system.ref("reader", 1), 0
        for number in range(200):
            try:
                reader.tell(Look(number))
                accepted += 1
            except MailboxFull:
                break
            await wait_all_tasks_blocked()
        assert (book.at_once_max, accepted) == (at_once_max, at_once_max + 10)
        await trio.sleep(30)
        assert sorted(book.looked) == list(range(accepted))
        assert book.at_once_max == at_once_max


@pytest.mark.parametrize("bound", [8, 6, 2])
async def test_the_commands_of_batches_that_read_are_counted_each(bound: int, autojump_clock: MockClock) -> None:
    """4 to a batch: the last one takes only as many as there is room for."""
    book = Book()
    kind = Kind("reader", lambda _: Reader(book), reads_at_once_max=bound)
    async with open_system([kind], committer=MemoryCommitter()) as system:
        for _ in range(100):
            system.ref("reader", 1).tell(LookTogether())
        await trio.sleep(0.5)
        assert book.at_once == bound
        await trio.sleep(100)
        assert (book.at_once, book.at_once_max) == (0, bound)


def test_a_limit_that_is_none_is_refused() -> None:
    with pytest.raises(ValueError, match="reads_at_once_max"):
        Kind("reader", lambda _: Reader(Book()), reads_at_once_max=0)
