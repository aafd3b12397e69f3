"""The reactions and pins that a room remembers: bounded, and of each message how many have which. Pure.

    message ──▶ unknown: storage is asked ──▶ reaction → users; user → reaction → since when
                few reactions: all of them      │ many: of each user when they are asked about for the first time
                                                └──▶ forgotten with the message, the longest unused first

What is remembered may be ahead of storage, like all that a room decides, and is dropped with the rest of its memory.
"""

from collections import OrderedDict
from collections.abc import Iterable, Mapping
from typing import Final, NamedTuple

from greenroom.storage.postgres.conversations import StoredMessage, StoredReaction

REACTIONS_KEPT: Final = 20_000  # of a room
REACTIONS_READ_MAX: Final = 1_000  # at once; of a message with more, those of one user
CHARACTERS_PER_REACTION: Final = 100  # the message is kept with them: about what one takes


class Standing(NamedTuple):
    """Since when something stands."""

    seq: int
    at_ms: int


class Reactions:
    """What users react to one message with. by_user: user → reaction; users: how many have that reaction.

    users: given for a message of which not all is known, but only of those users who were learned.
    """

    __slots__ = ("by_user", "count", "is_whole", "message", "users", "weight")

    def __init__(
        self, message: StoredMessage, stored: Iterable[StoredReaction] = (), users: Mapping[str, int] | None = None
    ) -> None:
        self.message = message
        self.weight = 1 + len(message.content) // CHARACTERS_PER_REACTION
        self.by_user: dict[int, dict[str, Standing]] = {}
        self.is_whole = users is None
        self.users: dict[str, int] = dict(users or {})
        self.count = len(self.users)
        if self.is_whole:
            for row in stored:
                self.put(row.user_id, row.reaction, Standing(row.seq, row.created_at_ms))

    def knows(self, user_id: int) -> bool:
        """Whether it is known what the user reacts with, if anything."""
        return self.is_whole or user_id in self.by_user

    def learn(self, user_id: int, stored: Iterable[StoredReaction]) -> int:
        """What storage has of one user who was not known; how much more is remembered."""
        assert not self.knows(user_id), user_id
        mine = {row.reaction: Standing(row.seq, row.created_at_ms) for row in stored}
        self.by_user[user_id] = mine
        self.count += 1 + len(mine)
        return 1 + len(mine)

    def of(self, user_id: int, reaction: str) -> Standing | None:
        """Since when the user reacts so; None: they do not."""
        return self.by_user.get(user_id, {}).get(reaction)

    def put(self, user_id: int, reaction: str, standing: Standing) -> None:
        """One that there is not yet."""
        self.by_user.setdefault(user_id, {})[reaction] = standing
        self.users[reaction] = self.users.get(reaction, 0) + 1
        self.count += 1

    def take(self, user_id: int, reaction: str) -> None:
        """One that there is."""
        mine = self.by_user[user_id]
        del mine[reaction]
        if not mine and self.is_whole:
            del self.by_user[user_id]
        self.users[reaction] -= 1
        if not self.users[reaction]:
            del self.users[reaction]
        self.count -= 1


class MarkMemory:
    """Of one room. pins: by message; None while storage was not asked."""

    __slots__ = ("_held", "_reactions", "pins")

    def __init__(self) -> None:
        self.pins: dict[int, Standing] | None = None
        self._reactions: OrderedDict[int, Reactions] = OrderedDict()
        self._held = 0

    def reactions_on(self, message_id: int) -> Reactions | None:
        """The reactions to the message; None: storage must be asked."""
        found = self._reactions.get(message_id)
        if found is not None:
            self._reactions.move_to_end(message_id)
        return found

    def keep(self, reactions: Reactions) -> None:
        """Remember what storage has of a message."""
        self.forget(reactions.message.id)
        self._reactions[reactions.message.id] = reactions
        self._hold(reactions.count + reactions.weight)

    def learn(self, reactions: Reactions, user_id: int, stored: Iterable[StoredReaction]) -> None:
        """Remember of one message that is remembered what storage has of one user more."""
        self._hold(reactions.learn(user_id, stored))

    def changed(self, message: StoredMessage) -> None:
        """The message was edited or deleted: deleted, it has neither reactions nor a pin any more."""
        if message.deleted_at_ms is not None:
            self.forget(message.id)
            if self.pins is not None:
                self.pins.pop(message.id, None)
        elif message.id in self._reactions:
            self._reactions[message.id].message = message

    def forget(self, message_id: int) -> None:
        """Know nothing of its reactions."""
        forgotten = self._reactions.pop(message_id, None)
        if forgotten is not None:
            self._held -= forgotten.count + forgotten.weight

    def put(self, message_id: int, user_id: int, reaction: str, standing: Standing) -> None:
        """A reaction that there was not."""
        if message_id in self._reactions:
            self._reactions[message_id].put(user_id, reaction, standing)
            self._hold(1)

    def take(self, message_id: int, user_id: int, reaction: str) -> None:
        """A reaction that there was is no more."""
        if message_id in self._reactions:
            self._reactions[message_id].take(user_id, reaction)
            self._held -= 1

    def _hold(self, count: int) -> None:
        self._held += count
        while self._held > REACTIONS_KEPT:
            self.forget(next(iter(self._reactions)))
