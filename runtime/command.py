"""What actors are told and asked: a class for each, with the type of its answer in its base.

    @dataclass(frozen=True, slots=True)
    class Add(Command[int]):                  await ref.ask(Add(1), deadline=deadline) is an int
        by: int

To who asks, a command of an int is one of an `int | None` too: R is covariant. To who handles it, it is not:
`AnsweredWith`, which marks.py asks for, has exactly one type.
"""

from typing import TYPE_CHECKING, Generic, Protocol, TypeVar

R = TypeVar("R", covariant=True)
T = TypeVar("T")


class AnsweredWith(Protocol[T]):
    """For type checkers alone: what is answered with a T, and with nothing wider."""

    def _is_answered_with(self, answer: T, /) -> T: ...


class Command(Generic[R]):
    """What an actor is told. *R* is the type of its reply. Subclasses are frozen slotted dataclasses."""

    __slots__ = ()

    if TYPE_CHECKING:

        def _is_answered_with(self, answer: R, /) -> R: ...  # type: ignore[misc]


class Stream(Generic[R]):
    """What an actor is asked to answer with many values, one after the other. *R* is the type of each.

    Its handler is an async generator. Subclasses are frozen slotted dataclasses.
    """

    __slots__ = ()

    if TYPE_CHECKING:

        def _is_answered_with(self, answer: R, /) -> R: ...  # type: ignore[misc]
