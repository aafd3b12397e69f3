"""Search: what a user looks for in what was said. Over HTTP and on a socket alike.

It costs storage more than any other question, so each user has one at a time, and the process few: others wait for a
place, and not for long.

    begin ──▶ find: a place ──▶ storage looks into the newest messages ──▶ of what it found, what stands there now
"""

from collections.abc import Awaitable, Callable
from typing import Annotated, Final

import trio
from pydantic import AfterValidator

from greenroom.actors.errors import RefusalCode, Refused
from greenroom.http.ws.hub import Hub
from greenroom.runtime import StorageUnavailable
from greenroom.storage.postgres.search import Found, MessageSearch

AT_ONCE: Final = 2
WAIT_SECONDS_MAX: Final = 5.0  # for a place
SEARCH_SECONDS_MAX: Final = 6.0  # in it: storage ends a search by itself after five
TEXT_CHARACTERS_MAX: Final = 100
FOUND_MAX: Final = 50
FOUND_DEFAULT: Final = 20
LOOKS_MAX: Final = 20  # again at what was found


def _searched_text(text: str) -> str:
    """Validate what is looked for. Raises: ValueError."""
    if "\0" in text or not 0 < len(text := text.strip()) <= TEXT_CHARACTERS_MAX:
        raise ValueError(f"a text of 1 to {TEXT_CHARACTERS_MAX} characters is needed")
    return text


SearchedText = Annotated[str, AfterValidator(_searched_text)]


class Searches:
    """Of everybody."""

    def __init__(self, storage: MessageSearch, hub: Hub) -> None:
        self.storage = storage
        self.places = trio.CapacityLimiter(AT_ONCE)
        self.searching: set[int] = set()
        self._hub = hub

    def begin(self, user_id: int) -> "Search | Refused":
        """A search, whose `find` is awaited; refused while another one of the user is under way."""
        if user_id in self.searching:
            return Refused(RefusalCode.RATE_LIMITED, "one search at a time: another one of yours is under way")
        self.searching.add(user_id)
        return Search(self, user_id)

    def standing(self, user_id: int) -> Callable[[Found], bool]:
        """Whether something that is found from now on may be older than what the user was told until it is asked."""
        changes = [(changed, changed.version) for changed in (self._hub.changed_for, self._hub.blocks.changed)]
        rooms, version = self._hub.changed, self._hub.changed.version
        return lambda found: (
            not (
                any(changed.since(user_id, asked_at) for changed, asked_at in changes)
                or any(rooms.since(message.conversation_id, version) for message in found.messages)
            )
        )


class Search:
    """Of one user."""

    def __init__(self, searches: Searches, user_id: int) -> None:
        self._searches = searches
        self._user_id = user_id

    async def find(
        self,
        text: str,
        conversation_id: int | None,
        before_seq: int | None,
        count: int,
        look_again: Callable[[], Awaitable[None]] = trio.lowlevel.checkpoint,
    ) -> Found | Refused | None:
        """As `MessageSearch.find`, once; refused when there is no place in time.

        look_again: awaited before an answer, without a place: at who asks, who may have waited; or until they take it.
        Raises: StorageUnavailable; what *look_again* raises.

        What is found is no older than what its user was told meanwhile: of what was edited or erased, and of whom they
        block or where they are no more, nothing is said as it was.
        """
        try:
            with trio.move_on_after(WAIT_SECONDS_MAX) as waiting:
                await self._searches.places.acquire()
            if waiting.cancelled_caught:
                return Refused(RefusalCode.RATE_LIMITED, "many others search: try again soon")
            storage, user_id = self._searches.storage, self._user_id
            stands = self._searches.standing(user_id)
            try:
                # Whoever hangs up has their place until storage is done, or they would ask again beside it.
                with trio.move_on_after(SEARCH_SECONDS_MAX, shield=True) as searching:
                    found = await storage.find(user_id, text, conversation_id, before_seq, count)
            finally:
                self._searches.places.release()
            if searching.cancelled_caught:
                raise StorageUnavailable(f"it was searched for more than {SEARCH_SECONDS_MAX:g} s")
            for _ in range(LOOKS_MAX):
                await look_again()
                if found is None or stands(found):
                    return found
                stands = self._searches.standing(user_id)
                found = await storage.find_again(user_id, text, conversation_id, found)
            raise StorageUnavailable("it is changed faster than it is read")
        finally:
            self._searches.searching.discard(self._user_id)
