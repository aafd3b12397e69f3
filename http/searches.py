"""Search: what a user looks for in what was said. Over HTTP and on a socket alike.

It costs storage more than any other question, so each user has one at a time, and the process few.
"""

from collections.abc import Callable
from typing import Annotated, Final

import trio
from pydantic import AfterValidator

from greenroom.actors.errors import RefusalCode, Refused
from greenroom.http.ws.hub import Hub
from greenroom.runtime import StorageUnavailable
from greenroom.storage.postgres.search import Found, MessageSearch

AT_ONCE: Final = 2
TEXT_CHARACTERS_MAX: Final = 100
FOUND_MAX: Final = 50
FOUND_DEFAULT: Final = 20
TRIES: Final = 10


def _searched_text(text: str) -> str:
    """Validate what is looked for. Raises: ValueError."""
    if "\0" in text or not 0 < len(text := text.strip()) <= TEXT_CHARACTERS_MAX:
        raise ValueError(f"a text of 1 to {TEXT_CHARACTERS_MAX} characters is needed")
    return text


SearchedText = Annotated[str, AfterValidator(_searched_text)]


class Searches:
    """Of everybody."""

    def __init__(self, search: MessageSearch, hub: Hub) -> None:
        self._search = search
        self._hub = hub
        self._places = trio.CapacityLimiter(AT_ONCE)
        self._searching: set[int] = set()

    async def find(
        self, user_id: int, text: str, conversation_id: int | None, before_seq: int | None, count: int
    ) -> Found | Refused | None:
        """As `MessageSearch.find`; refused while the same user's last search is under way.

        What is found is no older than what its user was told meanwhile: of what was edited or erased, and of whom they
        block or where they are no more, nothing is said as it was.
        """
        if user_id in self._searching:
            return Refused(RefusalCode.RATE_LIMITED, "one search at a time: another one of yours is under way")
        self._searching.add(user_id)
        try:
            async with self._places:
                for _ in range(TRIES):
                    may_be_old = self._may_be_old(user_id)
                    found = await self._search.find(user_id, text, conversation_id, before_seq, count)
                    if not may_be_old(found):
                        return found
        finally:
            self._searching.discard(user_id)
        raise StorageUnavailable("it is changed faster than it is read")

    def _may_be_old(self, user_id: int) -> Callable[[Found | None], bool]:
        changes = [(changed, changed.version) for changed in (self._hub.changed_for, self._hub.blocks.changed)]
        rooms, version = self._hub.changed, self._hub.changed.version

        def may_be_old(found: Found | None) -> bool:
            if any(changed.since(user_id, asked_at) for changed, asked_at in changes):
                return True
            messages = () if found is None else found.messages
            return any(rooms.since(message.conversation_id, version) for message in messages)

        return may_be_old
