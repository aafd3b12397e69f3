"""Who is here, and who types, for clients without a socket.

What a client says of its user over REST holds for HEARTBEAT_SECONDS, as in the replaced system, and longer while it has
a socket, a stream or a poll. Who is online is told as on sockets: of those who share a conversation of at most 200
members with the one who asks.
"""

from typing import Annotated, Any, Final, get_args

import trio
from pydantic import BeforeValidator, Field, StrictBool

from greenroom.actors.presence.commands import ACTIVITY_CHARACTERS_MAX, Heartbeat, Status, Wish
from greenroom.actors.room.commands import Type
from greenroom.http.errors import ApiError
from greenroom.http.models import Input, Output
from greenroom.http.rest.rooms import ask_room, no_user
from greenroom.http.route import Answer, Call, Operations
from greenroom.http.ws.events import iso
from greenroom.http.ws.last_inputs import WITHOUT_SESSION
from greenroom.http.ws.leases import token_issued_at
from greenroom.http.ws.services import COMMAND_SECONDS_MAX, SocketServices

_STATUSES: Final = get_args(Wish)


def _status(value: Any) -> Any:
    """As the replaced system: what is not known means online."""
    return value if value in _STATUSES else "online"


def _activity(value: Any) -> Any:
    """The same words as on a socket: the beginning of what is too long, and nothing of what is no text."""
    return value[:ACTIVITY_CHARACTERS_MAX] if isinstance(value, str) else ""


class PresenceWrite(Input):
    """How to appear. Any other status is online; an activity is cut to 140 characters."""

    status: Annotated[Wish, BeforeValidator(_status)] = "online"
    activity: Annotated[str, BeforeValidator(_activity)] = ""


class OwnPresence(Output):
    """How one wants to appear now."""

    status: Wish
    activity: str
    user_id: int
    updated_at: str = Field(alias="updated_at")


class PersonAskedFor(Output):
    """Somebody, here or not. lastSeen: null of who was never here; of who is here, now."""

    user_id: int
    username: str
    status: Status
    last_seen: str | None
    activity: str


class Person(PersonAskedFor):
    """Somebody who is online."""

    last_seen: str


class PeopleOnline(Output):
    """Who is online and shares a conversation of at most 200 members; oneself too."""

    users: list[Person]


class TypingWrite(Input):
    """Whether one types. It ends by itself after six seconds, and with the last stream or socket of the session."""

    is_typing: StrictBool


class TypingAnswer(Output):
    """What was told."""

    conversation_id: int
    is_typing: bool


def presence_operations(sockets: SocketServices) -> Operations:
    """The operations over the board that sockets are told from."""
    operations = Operations("presence")

    @operations.post("/api/presence/update", body=PresenceWrite, answer=OwnPresence, is_by_itself=True)
    async def update_presence(call: Call) -> Answer:
        """Say how one appears, for the next five minutes: again once a minute is right."""
        take_command(call, sockets)
        write, user_id = call.body(PresenceWrite), call.user_id
        session_id = call.principal.session_id or WITHOUT_SESSION
        before = sockets.presence.wished_by(user_id)
        if (write.status, write.activity) != (before.status, before.activity):  # else a timer says it again
            sockets.presence.note_input(user_id, session_id)  # what a program says, too
            sockets.note_input(call.principal)
        issued_at = token_issued_at(call.principal)
        heartbeat = Heartbeat(session_id, call.principal.name, write.status, write.activity, issued_at)
        deadline = trio.current_time() + COMMAND_SECONDS_MAX
        await sockets.system.ref("presence", user_id).ask(heartbeat, deadline=deadline)
        return Answer(
            OwnPresence(
                status=write.status,
                activity=write.activity,
                user_id=user_id,
                updated_at=iso(sockets.clock.wall_milliseconds()),
            )
        )

    @operations.get("/api/presence/online", answer=PeopleOnline)
    async def list_online(call: Call) -> Answer:
        """Who of one's companions is online."""
        return Answer({"users": await people_online(sockets, call.user_id)})

    @operations.get("/api/presence/{id}", answer=PersonAskedFor)
    async def look_at_user(call: Call) -> Answer:
        """How one user is, whoever shares a conversation of whatever size with them: 404 for others."""
        now_ms = sockets.clock.wall_milliseconds()
        found = await sockets.watches.look_once(call.user_id, call.id(), now_ms)
        if found is None:
            raise no_user(call.id())
        return Answer(found)

    @operations.post("/api/conversations/{id}/typing", body=TypingWrite, answer=TypingAnswer)
    async def type_in_conversation(call: Call) -> Answer:
        """Tell the others of a room of at most 200 that one types, or stopped; of who is invisible nobody is told."""
        take_command(call, sockets)
        is_typing = call.body(TypingWrite).is_typing
        is_told = is_typing and not sockets.presence.is_hiding(call.user_id)
        # Before the room is asked: who hides meanwhile has it ended after it began.
        sockets.presence.typists.note(
            call.user_id,
            call.id(),
            trio.current_time(),
            is_on=is_told,
            under=call.principal.session_id or WITHOUT_SESSION,
            token_issued_at=token_issued_at(call.principal),
        )
        await ask_room(call, call.id(), Type(call.user_id, call.principal.name, is_told))
        return Answer(TypingAnswer(conversation_id=call.id(), is_typing=is_typing))

    return operations


async def people_online(sockets: SocketServices, user_id: int) -> list[dict[str, Any]]:
    """Who is online of those the user may see, and they themselves if so. Raises: StorageUnavailable."""
    others = await sockets.presence.online_for(user_id)
    if not sockets.presence.is_online(user_id):
        return others
    own = sockets.presence.compat_fields(user_id, sockets.clock.wall_milliseconds())
    return sorted([own, *others], key=lambda one: one["userId"])


def take_command(call: Call, sockets: SocketServices) -> None:
    """Count against the user's minute of commands, with those of the sockets. Raises: ApiError 429."""
    retry_after = sockets.limits.commands.take(call.user_id, trio.current_time())
    if retry_after is not None:
        raise ApiError("RATE_LIMIT_EXCEEDED", "too many commands in a minute", retry_after=retry_after)
