"""What a client does to messages that there are: the commands that are answered with what holds now."""

from typing import Any

from greenroom.client import door
from greenroom.client.door import GivenId


class MessageCommands:
    """Mixed into the client. Each may be asked for again, which is harmless. Raises: Refused, ServerAway."""

    async def request(self, kind: str, room_id: GivenId | None, data: dict[str, Any] | None = None) -> dict[str, Any]:
        """Of the client."""
        raise NotImplementedError

    async def edit(self, room_id: GivenId, message_id: int, body: str) -> None:
        """Say something else in the place of what we have said; again is harmless. Raises: Refused, ServerAway."""
        await self.request("edit", room_id, {"message": message_id, "body": door.body_of(body)})

    async def delete(self, room_id: GivenId, message_id: int) -> None:
        """Erase what we have said, or as an admin others. Raises: as `edit`."""
        await self.request("delete", room_id, {"message": message_id})

    async def react(self, room_id: GivenId, message_id: int, reaction: str, *, is_on: bool = True) -> None:
        """React to a message with an emoji or a short text, or take that off. Raises: as `edit`."""
        data = {"message": message_id, "reaction": door.body_of(reaction)}
        await self.request("react" if is_on else "unreact", room_id, data)

    async def pin(self, room_id: GivenId, message_id: int, *, is_on: bool = True) -> None:
        """Pin a message, as one of two or an admin of the group, or let it go. Raises: as `edit`."""
        await self.request("pin" if is_on else "unpin", room_id, {"message": message_id})
