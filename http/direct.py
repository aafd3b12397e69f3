"""The direct conversation of two people: found, or made where it may be. Over HTTP and on a socket alike."""

from dataclasses import dataclass

from greenroom.actors.errors import RefusalCode, Refused
from greenroom.actors.events import MemberChanged
from greenroom.http.ws.engine import SocketEngine
from greenroom.http.ws.hub import Hub
from greenroom.runtime import Clock
from greenroom.storage.postgres.blocks import Blocks
from greenroom.storage.postgres.conversations import Conversations
from greenroom.storage.postgres.ids import Ids
from greenroom.storage.postgres.new_conversation import NewConversation
from greenroom.storage.postgres.users import Users


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
        conversation_id, is_new = await self.conversations.create(new)
        if is_new:
            announce(self.hub, self.engine, new)
        return conversation_id

    async def may_meet(self, user_id: int, other_id: int) -> bool:
        """Neither has blocked the other, or they have a conversation already."""
        is_apart = await self.blocks.is_pair_apart(user_id, other_id)
        return not is_apart or await self.conversations.direct_conversation(user_id, other_id) is not None


def announce(hub: Hub, engine: SocketEngine, new: NewConversation) -> None:
    """Tell the sockets of the members: presence for those that hear every conversation, an event for v1."""
    roles = dict.fromkeys(new.participant_ids, "member")
    roles[new.creator_id] = "admin" if new.is_group else "member"
    hub.room_made(new.id, roles)
    hub.news_for(roles)
    for user_id, role in roles.items():
        if engine.of_user(user_id):
            hub.publish(MemberChanged(new.id, user_id, role, is_active=True), roles)
