"""What `@handles` puts on a method, and what it asks of it: type checkers see both.

    @handles(Add)               Add is Command[int]    (self, Add) -> int, or async
    @handles(Add, batch=64)                            (self, list[Add]) -> int or list[int], or async
    @handles(Follow)            Follow is Stream[str]  (self, Follow) -> AsyncIterator[str], with `yield`

A command names its reply in its base, and a decorator knows the command alone. So each mark is generic in the command
and asks in the type of its own `self` what that is answered with: a `Mark[Add]` is a `Mark[AnsweredWith[int]]`.
"""

from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from typing import Any, Generic, TypeVar, overload

from greenroom.runtime.command import AnsweredWith

A = TypeVar("A")
R = TypeVar("R")
M = TypeVar("M", bound=Callable[..., object])
C = TypeVar("C", covariant=True)


class Mark(Generic[C]):
    """Of a method that takes one command. The last form is for one that waits only sometimes."""

    def __init__(self, command: type[C]) -> None:
        self._command = command

    @overload
    def __call__(self: "Mark[AnsweredWith[R]]", method: Callable[[A, C], R]) -> Callable[[A, C], R]: ...
    @overload
    def __call__(
        self: "Mark[AnsweredWith[R]]", method: Callable[[A, C], Coroutine[Any, Any, R]]
    ) -> Callable[[A, C], Coroutine[Any, Any, R]]: ...
    @overload
    def __call__(
        self: "Mark[AnsweredWith[R]]", method: Callable[[A, C], R | Awaitable[R]]
    ) -> Callable[[A, C], R | Awaitable[R]]: ...
    def __call__(self, method: Callable[..., object]) -> Callable[..., object]:
        """Mark *method*. The same comes back."""
        return marked(method, self._command)


class BatchMark(Generic[C]):
    """Of a method that takes several commands at once."""

    def __init__(self, command: type[C], batch_max: int) -> None:
        self._command = command
        self._batch_max = batch_max

    @overload
    def __call__(
        self: "BatchMark[AnsweredWith[R]]", method: Callable[[A, list[C]], R | list[R]]
    ) -> Callable[[A, list[C]], R | list[R]]: ...
    @overload
    def __call__(
        self: "BatchMark[AnsweredWith[R]]", method: Callable[[A, list[C]], Coroutine[Any, Any, R | list[R]]]
    ) -> Callable[[A, list[C]], Coroutine[Any, Any, R | list[R]]]: ...
    def __call__(self, method: Callable[..., object]) -> Callable[..., object]:
        """Mark *method*. The same comes back."""
        return marked(method, self._command, self._batch_max)


class StreamMark(Generic[C]):
    """Of an async generator that yields the answers."""

    def __init__(self, command: type[C]) -> None:
        self._command = command

    def __call__(
        self: "StreamMark[AnsweredWith[R]]", method: Callable[[A, C], AsyncIterator[R]]
    ) -> Callable[[A, C], AsyncIterator[R]]:
        """Mark *method*. The same comes back."""
        return marked(method, self._command)


def marked(method: M, command: type, batch_max: int = 0) -> M:
    """Note on *method* what `handlers_of` looks for. Raises: TypeError for a method that is marked already."""
    before = getattr(method, "__handles__", command)
    if before is not command:
        raise TypeError(
            f"{method.__qualname__} handles {before.__name__} already: write a method for {command.__name__} too, and "
            "let both call what they share"
        )
    method.__handles__ = command  # type: ignore[attr-defined]
    method.__batch__ = batch_max  # type: ignore[attr-defined]
    return method
