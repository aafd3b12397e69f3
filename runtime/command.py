"""What actors are told and asked: a class for each, with the type of its answer in its base.

@dataclass(frozen=True, slots=True)
class Add(Command[int]):                  await ref.ask(Add(1), deadline=deadline) is an int
    by: int
"""

from typing import Generic, TypeVar

R = TypeVar("R")


class Command(Generic[R]):
    """What an actor is told. *R* is the type of its reply. Subclasses are frozen slotted dataclasses."""

    __slots__ = ()


class Stream(Generic[R]):
    """What an actor is asked to answer with many values, one after the other. *R* is the type of each.

    Its handler is an async generator. Subclasses are frozen slotted dataclasses.
    """

    __slots__ = ()
