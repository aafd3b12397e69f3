"""The limits that a client can run into, as `hello` and `GET /ws/info` tell them; one that is off is left out.

A client that keeps them is refused nothing for its size or its number. Each is the constant that the server enforces.
"""

from typing import Any, Final

from greenroom.actors.presence.commands import ACTIVITY_CHARACTERS_MAX
from greenroom.actors.room.details import MENTIONS_MAX
from greenroom.actors.room.files import FILES_MAX
from greenroom.actors.room.marks import PINS_MAX, REACTION_CODE_POINTS_MAX, REACTIONS_MAX, REACTIONS_OF_USER_MAX
from greenroom.actors.room.state import (
    CLIENT_ID_CHARACTERS_MAX,
    CONTENT_CODE_POINTS_MAX,
    MEMBERS_MAX,
    PRESENCE_MEMBERS_MAX,
)
from greenroom.http.ws.connection import OUTBOX_BYTES_MAX
from greenroom.http.ws.cursor import ROOMS_MAX
from greenroom.http.ws.frames import FRAGMENTS_MAX, FRAME_BYTES_MAX
from greenroom.http.ws.pace import OUTBOX_SECONDS_MAX
from greenroom.http.ws.put_aside import ASIDE_BYTES_MAX
from greenroom.http.ws.replay import REPLAY_MESSAGES_MAX
from greenroom.http.ws.schemas import v1_commands, v1_start
from greenroom.http.ws.schemas.values import COMMAND_ID_CHARACTERS_MAX
from greenroom.http.ws.services import SettingLimits, typing_per_minute
from greenroom.http.ws.v1_commands import COMMANDS_MAX, INFLIGHT_MAX
from greenroom.http.ws.v1_history import HISTORY_BYTES_MAX
from greenroom.settings import Settings

_FIXED: Final = {
    "frame": FRAME_BYTES_MAX,
    "fragments": FRAGMENTS_MAX,
    "inflight": INFLIGHT_MAX,
    "commands": COMMANDS_MAX,
    "rooms": ROOMS_MAX,
    "summaries": v1_commands.SUMMARIES_MAX,
    "watched": v1_commands.WATCHED_MAX,
    "id": COMMAND_ID_CHARACTERS_MAX,
    "clientId": CLIENT_ID_CHARACTERS_MAX,
    "device": v1_start.DEVICE_CHARACTERS_MAX,
    "body": CONTENT_CODE_POINTS_MAX,
    "attachments": FILES_MAX,
    "mentions": MENTIONS_MAX,
    "reaction": REACTION_CODE_POINTS_MAX,
    "reactions": REACTIONS_OF_USER_MAX,
    "reactionsOnMessage": REACTIONS_MAX,
    "pins": PINS_MAX,
    "note": ACTIVITY_CHARACTERS_MAX,
    "reason": v1_commands.REASON_CHARACTERS_MAX,
    "history": v1_commands.HISTORY_MESSAGES_MAX,
    "historyBytes": HISTORY_BYTES_MAX,
    "members": v1_commands.MEMBERS_MAX,
    "replay": REPLAY_MESSAGES_MAX,
    "roomMembers": MEMBERS_MAX,
    "smallRoom": PRESENCE_MEMBERS_MAX,
    "aside": ASIDE_BYTES_MAX,
    "outbox": OUTBOX_BYTES_MAX,
    "outboxSeconds": int(OUTBOX_SECONDS_MAX),
}


def limits_of(settings: Settings) -> SettingLimits:
    """Those of the settings."""
    return SettingLimits(
        messages_per_minute=settings.messages_per_minute,
        commands_per_minute=settings.ws_commands_per_minute,
        edit_seconds=settings.message_edit_seconds,
        sockets=settings.ws_max_per_user,
        file_bytes=settings.max_file_size,
        uploads_per_minute=settings.uploads_per_minute,
    )


def limits_told(limits: SettingLimits) -> dict[str, Any]:
    """All of them."""
    rates = {
        "send": limits.messages_per_minute,
        "cmds": limits.commands_per_minute,
        "typing": typing_per_minute(limits.commands_per_minute),
        "uploads": limits.uploads_per_minute,
    }
    counts = {"edit": limits.edit_seconds, "sockets": limits.sockets, "file": limits.file_bytes}
    return {
        **_FIXED,
        **{name: count for name, count in counts.items() if count},
        **{name: f"{per_minute}/60s" for name, per_minute in rates.items() if per_minute},
    }
