"""Look-ups together: those that wait while one statement runs share the next one.

A thousand actors that wake at once ask for a thousand keys; one statement costs about as much for all as for one.
"""

from collections.abc import Awaitable, Callable, Hashable, Mapping
from dataclasses import dataclass
from typing import Generic, TypeVar

import trio

from greenroom.runtime.ports import StorageUnavailable

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


@dataclass(slots=True, eq=False)
class _Question(Generic[V]):
    """One key that is asked for, by one caller or several."""

    is_done: bool = False
    answer: V | None = None
    error: StorageUnavailable | None = None


class Together(Generic[K, V]):
    """*ask* is given the keys of one statement, each once, and returns what was found."""

    def __init__(self, ask: Callable[[list[K]], Awaitable[Mapping[K, V]]]) -> None:
        self._ask = ask
        self._questions: dict[K, _Question[V]] = {}
        self._asking = trio.Lock()

    async def get(self, key: K) -> V | None:
        """What *ask* found for *key*, or None. Raises: StorageUnavailable."""
        question = self._questions.setdefault(key, _Question())
        async with self._asking:
            if not question.is_done:
                self._questions[key] = question  # whoever took it before may have been cancelled
                taken, self._questions = self._questions, {}
                await self._ask_all(taken)
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
