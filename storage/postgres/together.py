"""Look-ups together: those that wait while one statement runs share the next one.

A thousand actors that wake at once ask for a thousand keys; one statement costs about as much for all as for one.
Of a crowd that comes for seconds a fast database would be asked for a few at a time, again and again: where there is a
`Rest`, it is longer the more were asked for just now, so that a crowd asks for many, and who comes alone does not wait.
"""

from collections.abc import Awaitable, Callable, Hashable, Mapping
from dataclasses import dataclass
from typing import Final, Generic, TypeVar

import trio

from greenroom.runtime.ports import StorageUnavailable

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")

REST_SECONDS_PER_KEY: Final = 0.004  # of a crowd of 500 a second this has each statement ask for more, up to the most
REST_SECONDS_MAX: Final = 0.25


class Rest:
    """What lies between two statements of one kind."""

    def __init__(self) -> None:
        self._ends_at = 0.0  # trio time

    async def wait(self) -> None:
        """Until the next statement may begin."""
        if trio.current_time() < self._ends_at:
            await trio.sleep_until(self._ends_at)

    def begin(self, keys: int) -> None:
        """A statement has asked for so many."""
        self._ends_at = trio.current_time() + min(keys * REST_SECONDS_PER_KEY, REST_SECONDS_MAX)


@dataclass(slots=True, eq=False)
class _Question(Generic[V]):
    """One key that is asked for, by one caller or several."""

    is_done: bool = False
    answer: V | None = None
    error: StorageUnavailable | None = None


class Together(Generic[K, V]):
    """*ask* is given the keys of one statement, each once, and returns what was found."""

    def __init__(self, ask: Callable[[list[K]], Awaitable[Mapping[K, V]]], rest: Rest | None = None) -> None:
        self._ask = ask
        self._rest = rest
        self._questions: dict[K, _Question[V]] = {}
        self._asking = trio.Lock()

    async def get(self, key: K) -> V | None:
        """What *ask* found for *key*, or None. Raises: StorageUnavailable."""
        question = self._questions.setdefault(key, _Question())
        async with self._asking:
            if not question.is_done:
                if self._rest is not None:
                    await self._rest.wait()
                self._questions[key] = question  # whoever took it before may have been cancelled
                taken, self._questions = self._questions, {}
                await self._ask_all(taken)
                if self._rest is not None:
                    self._rest.begin(len(taken))
        if question.error is not None:
            raise StorageUnavailable(str(question.error)) from question.error
        return question.answer

    async def _ask_all(self, questions: dict[K, _Question[V]]) -> None:
        try:
            answers = await self._ask(list(questions))
        except StorageUnavailable as error:
            for question in questions.values():
                question.is_done, question.error = True, error
            return
        for key, question in questions.items():
            question.is_done, question.answer = True, answers.get(key)
