"""Which room is meant: an id, or a title.

What is all digits is an id, and nothing that somebody has called a room stands in its way: the server is asked for the
room of that id, and only when there is none it may be a title. A room that there is and that does not let us in ends
it: another one is never taken in its place. A title has to be that of one room alone, among all that can be entered.
"""

import re
from collections.abc import Awaitable, Callable
from typing import Any, Final

import typer

from greenroom.client import Client, Refused
from greenroom.client.door import room_id_of
from greenroom.commands.failure import TOLD_WRONGLY, CommandFailed
from greenroom.commands.harmless import in_line

PAGE: Final = 200  # what the server gives at most
ROOMS_MAX: Final = 10_000  # of each list: the newest are looked through
NAMED_MAX: Final = 10  # of those that have one title
MEMBERS_NAMED_MAX: Final = 5
_ID: Final = re.compile(r"[0-9]+")
_BAD_REQUEST, _NOT_FOUND = 400, 404

Room = dict[str, Any]
Get = Callable[[str], Awaitable[dict[str, Any]]]  # of a path: `data` of the answer


async def choose_room(client: Client, room: str) -> Room | None:
    """The room that is meant, entered if it is an open one. None: none was named, rooms are listed.

    Raises: CommandFailed, Refused, ServerAway; LookupError, TypeError, ValueError or AttributeError by answers that no
    greenroom gives.
    """
    if not room:
        _list(*await _rooms(client))
        return None
    if _ID.fullmatch(room) and (found := await _of_id(client, room)) is not None:
        return found
    return await _of_title(client, room)


def title_of(room: Room) -> str:
    """What it is called: the other one's name where there are two."""
    return str(room.get("participantName") or room["title"] or f"room {room['id']}")


async def _of_id(client: Client, digits: str) -> Room | None:
    """Raises: Refused, by a room that does not let us in."""
    try:
        room_id = room_id_of(digits)
    except ValueError:  # no room can have it
        return None
    for look_for in (_own, _enter):
        try:
            return await look_for(client, room_id)
        except Refused as refused:
            if refused.code not in (_BAD_REQUEST, _NOT_FOUND):
                raise
    return None


async def _own(client: Client, room_id: int) -> Room:
    found: Room = (await client.http("GET", f"/api/conversations/{room_id}"))["conversation"]
    return found


async def _enter(client: Client, room_id: int) -> Room:
    entered: Room = (await client.http("POST", f"/api/conversations/{room_id}/join", {}))["conversation"]
    return entered


async def _of_title(client: Client, title: str) -> Room:
    own, others, is_all = await _rooms(client)
    meant = [room for room in own + others if title_of(room) == title]
    if len(meant) > 1 or (meant and not is_all):
        raise CommandFailed(await _which(client, title, meant, own), TOLD_WRONGLY)
    if not meant:
        where = "" if is_all else f" among the {ROOMS_MAX:,} newest: name an older one by its id"
        raise CommandFailed(f"there is no room {title!r}{where}: `greenroom chat` lists them, --new makes one")
    return meant[0] if meant[0] in own else await _enter(client, meant[0]["id"])


async def _which(client: Client, title: str, meant: list[Room], own: list[Room]) -> str:
    """What tells rooms of one title apart, so that one can be named."""
    if len(meant) == 1:
        why = f"of more than {ROOMS_MAX:,} rooms the newest were looked through, and one of them is called {title!r}"
    else:
        why = f"{len(meant)} rooms are called {title!r}"
    told = [in_line(f"  {room['id']}  {await _people(client, room, room in own)}") for room in meant[:NAMED_MAX]]
    if len(meant) > NAMED_MAX:
        told.append(f"  and {len(meant) - NAMED_MAX} more")
    return "\n".join((f"{why}: name it by its id", *told))


async def _people(client: Client, room: Room, is_own: bool) -> str:
    if not is_own:
        return f"an open room of {_members(room)}, you are not in it"
    if room["participantId"] is not None:
        return f"you and {title_of(room)}, user {room['participantId']}"
    path = f"/api/conversations/{room['id']}/participants?limit={MEMBERS_NAMED_MAX}"
    answer = await client.http("GET", path)
    names = ", ".join(person["name"] for person in answer["participants"])
    return f"{_members(room)}: {names}{', …' if answer['hasMore'] else ''}"


def _members(room: Room) -> str:
    count = room["participantCount"]
    return f"{count} member{'' if count == 1 else 's'}"


# -- all of them ------------------------------------------------------------------------------------------------------


async def _rooms(client: Client) -> tuple[list[Room], list[Room], bool]:
    """One's own, the open ones that one is not in, and whether these are all."""

    async def get(path: str) -> dict[str, Any]:
        return await client.http("GET", path)

    own, is_all_of_own = await every_room(get, "/api/conversations")
    listed, is_all_listed = await every_room(get, "/api/conversations/open")
    own_ids = {room["id"] for room in own}
    others = [room for room in listed if room["id"] not in own_ids]
    return own, others, is_all_of_own and is_all_listed


async def every_room(get: Get, path: str) -> tuple[list[Room], bool]:
    """The rooms of a list, each once, at least the ROOMS_MAX newest, and whether these are all. Raises: as *get*."""
    found: dict[int, Room] = {}
    for offset in range(0, ROOMS_MAX, PAGE):
        answer = await get(f"{path}?limit={PAGE}&offset={offset}")
        found |= {room["id"]: room for room in answer["conversations"]}
        if not answer["hasMore"]:
            break
    if offset:  # what something was said in meanwhile has moved to the top, past us
        newest = await get(f"{path}?limit={PAGE}&offset=0")
        found |= {room["id"]: room for room in newest["conversations"]}
    return list(found.values()), not answer["hasMore"]


def _list(own: list[Room], others: list[Room], is_all: bool) -> None:
    for heading, rooms in (("Your rooms", own), ("Open rooms", others)):
        if rooms:
            typer.echo(f"{heading}:")
        for room in rooms:
            unread = f", {room['unreadCount']} unread" if room.get("unreadCount") else ""
            typer.echo(in_line(f"  {room['id']}  {title_of(room)}  ({_members(room)}{unread})"))
    if not is_all:
        typer.echo(f"There are more: of each list the {ROOMS_MAX:,} newest are shown")
    if own or others:
        typer.echo("Join one: greenroom chat ROOM, by its id or its title")
    else:
        typer.echo("There is no room that you may enter. Make one: greenroom chat --new Lobby")
