"""The direct conversation of two people: found, or made where it may be. Over HTTP and on a socket alike.

And how any conversation is made: its members are told, whatever becomes of who asked and of storage's answer.
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final, TypeVar

import trio

from greenroom.actors.errors import RefusalCode, Refused
from greenroom.actors.events import MemberChanged
from greenroom.http.ws.engine import SocketEngine
from greenroom.http.ws.hub import Hub
from greenroom.runtime import Clock, StorageUnavailable
from greenroom.storage.postgres.blocks import Blocks
from greenroom.storage.postgres.conversations import Conversations
from greenroom.storage.postgres.ids import Ids
from greenroom.storage.postgres.new_conversation import NewConversation
from greenroom.storage.postgres.users import Users

T = TypeVar("T")

LOOKS_MAX: Final = 15  # for what may have been made: a commit that hangs may come after the first look
LOOK_PAUSE_SECONDS: Final = 1.0


@dataclass(frozen=True, slots=True)
class DirectConversations:
    """Of everybody."""

    users: Users
    conversations: Conversations
    blocks: Blocks
    ids: Ids
    hub: Hub
    engine: SocketEngine
    clock: Clock

    async def between(self, user_id: int, other_id: int, *, is_over_limit: bool) -> int | Refused | None:
        """The id of theirs; of one that is not there yet, None when there is no such other user.

        It is not made when one of them has blocked the other, nor when *is_over_limit*. Raises: StorageUnavailable.
        """
        found = await self.conversations.direct_conversation(user_id, other_id)
        if found is not None:
            return found
        if other_id not in await self.users.exists((other_id,)):
            return None
        if not await self.may_meet(user_id, other_id):
            return Refused.because(RefusalCode.USER_BLOCKED)
        if is_over_limit:
            return Refused.because(RefusalCode.RATE_LIMITED)
        new = NewConversation(
            id=await self.ids.take(),
            creator_id=user_id,
            participant_ids=(other_id,),
            is_group=False,
            is_open=False,
            title="",
            at_ms=self.clock.wall_milliseconds(),
        )
        conversation_id, _ = await self.make(new, lambda: self.conversations.create(new), lambda made: made[1])
        return conversation_id

    async def may_meet(self, user_id: int, other_id: int) -> bool:
        """Neither has blocked the other, or they have a conversation already."""
        is_apart = await self.blocks.is_pair_apart(user_id, other_id)
        return not is_apart or await self.conversations.direct_conversation(user_id, other_id) is not None

    async def make(self, new: NewConversation, create: Callable[[], Awaitable[T]], is_new: Callable[[T], bool]) -> T:
        """What *create* answers; the members of a conversation that it made, of two people or a group, are told.

        Cancelled: it is made and told all the same. Raises: as *create*; after StorageUnavailable, which leaves open
        whether it is stored, it is looked for, and told when it is there.
        """
        with trio.CancelScope(shield=True):  # else it may be stored and not told; storage has its own limit of time
            try:
                made = await create()
            except StorageUnavailable:
                self.engine.spawn(self._tell_if_made, new)
                raise
        if is_new(made):
            self._tell(new)
        return made

    async def _tell_if_made(self, new: NewConversation) -> None:
        looks = 0
        while looks < LOOKS_MAX:
            await trio.sleep(LOOK_PAUSE_SECONDS)
            try:
                found = await self.conversations.conversation_of(new.id, new.creator_id)
            except StorageUnavailable:
                continue
            if found is not None:
                self._tell(new)
                return
            looks += 1

    def _tell(self, new: NewConversation) -> None:
        """Tell the sockets of the members: presence for those that hear every conversation, an event for v1."""
        roles = dict.fromkeys(new.participant_ids, "member")
        roles[new.creator_id] = "admin" if new.is_group else "member"
        self.hub.room_made(new.id, roles)
        self.hub.news_for(roles)
        for user_id, role in roles.items():
            if self.engine.of_user(user_id):
                self.hub.publish(MemberChanged(new.id, user_id, role, is_active=True), roles)
