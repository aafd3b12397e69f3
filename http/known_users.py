"""Who was seen lately: users as their tokens were read, so that a token that was seen costs no query.

Found by the subject of a token, forgotten by user: what is remembered of one is dropped without a look at the others,
who may be a hundred thousand. In memory, of this process; who was not seen for longest is dropped first.
"""

from collections import OrderedDict
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from typing import Final

from greenroom.storage.subjects import Subject

KNOWN_USERS_MAX: Final = 100_000


@dataclass(slots=True)
class Known:
    """A subject that was seen: which user, and the claims, with the time of issue, that bring nothing new any more."""

    user_id: int
    name: str
    role: str
    signed_out_at: float | None
    digests: tuple[int, ...]


class KnownUsers:
    """By subject."""

    def __init__(self) -> None:
        self._by_subject: OrderedDict[Subject, Known] = OrderedDict()
        self._of_user: dict[int, list[Subject]] = {}  # subjects that are not the id itself, which most are

    def __iter__(self) -> Iterator[Subject]:
        """The subjects, whoever was not seen for longest first."""
        return iter(self._by_subject)

    def get(self, subject: Subject) -> Known | None:
        """Who that is, if they are known."""
        return self._by_subject.get(subject)

    def seen(self, subject: Subject) -> None:
        """Somebody who is known was seen again."""
        self._by_subject.move_to_end(subject)

    def put(self, subject: Subject, known: Known) -> None:
        """Remember them."""
        self.drop(subject)
        self._by_subject[subject] = known
        if subject != known.user_id:
            self._of_user.setdefault(known.user_id, []).append(subject)
        if len(self._by_subject) > KNOWN_USERS_MAX:
            self.drop(next(iter(self._by_subject)))

    def drop(self, subject: Subject) -> None:
        """Forget one subject."""
        known = self._by_subject.pop(subject, None)
        if known is not None and subject != known.user_id:
            others = self._of_user[known.user_id]
            others.remove(subject)
            if not others:
                del self._of_user[known.user_id]

    def forget(self, user_ids: Collection[int]) -> None:
        """Forget these users, under whatever subjects they were seen."""
        for user_id in user_ids:
            for subject in (user_id, *self._of_user.get(user_id, ())):
                self.drop(subject)

    def clear(self) -> None:
        """Forget all."""
        self._by_subject.clear()
        self._of_user.clear()
