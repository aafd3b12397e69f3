"""Frames of greenroom.v1 as events. Pure."""

from collections.abc import Callable
from typing import Any, Final

from greenroom.client.events import Event, Member, Presence, Said, Typing

Frame = dict[str, Any]


def said(room_id: int, head: Frame, body: Frame, user_id: int) -> Said:
    """A message: of a `message` frame head is the frame and body its data; of `history` both are the item."""
    return Said(
        room_id,
        head["seq"],
        body["sender"],
        body.get("senderName") or f"user {body['sender']}",
        body["body"],
        head["ts"],
        body.get("clientId"),
        body["sender"] == user_id,
    )


def rooms_of(frame: Frame) -> list[int]:
    """The rooms that a frame is about: one, several for which it tells the same, or none."""
    if "rooms" in frame:
        return list(frame["rooms"])
    return [frame["room"]] if "room" in frame else []


def event_of(frame: Frame, room_id: int, user_id: int) -> Event | None:
    """What a frame tells of one of its rooms and has no place in its log; None for frames that are not known here."""
    maker = _MAKERS.get(frame["type"])
    return None if maker is None else maker(room_id, frame["data"], user_id)


def _typing(room_id: int, data: Frame, own_id: int) -> Event:
    return Typing(room_id, {int(user_id): name for user_id, name in data["names"].items() if int(user_id) != own_id})


def _presence_state(room_id: int, data: Frame, own_id: int) -> Event:
    return Presence(room_id, _people(data["users"]), {}, is_all=True)


def _presence_diff(room_id: int, data: Frame, own_id: int) -> Event:
    return Presence(room_id, _people(data["joins"]), _people(data["leaves"]), is_all=False)


def _member(room_id: int, data: Frame, own_id: int) -> Event:
    return Member(room_id, data["user"], is_active=data["change"] == "joined")


def _people(items: list[Frame]) -> dict[int, str]:
    return {item["user"]: item.get("name") or f"user {item['user']}" for item in items}


_MAKERS: Final[dict[str, Callable[[int, Frame, int], Event]]] = {
    "typing": _typing,
    "presence_state": _presence_state,
    "presence_diff": _presence_diff,
    "member": _member,
}
