"""Frames of greenroom.v1 as events, and commands as text. Pure."""

import json
import math
from collections.abc import Callable
from typing import Any, Final

from greenroom.client.events import (
    DETAILS,
    Changed,
    Entered,
    Event,
    Member,
    Other,
    Personal,
    Pinned,
    Reacted,
    Receipts,
    Said,
    Typing,
)
from greenroom.client.room_log import Entry, RoomLog, Told

Frame = dict[str, Any]


def text_of(command: Frame) -> str:
    """A command as it goes out. Raises: TypeError, ValueError for what no JSON can hold."""
    text = json.dumps(command, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    try:
        text.encode()
    except UnicodeEncodeError:  # half a surrogate pair, which no frame can carry: the server says what is wrong with it
        return json.dumps(command)
    return text


def frames_of(text: str | bytes) -> list[Frame]:
    """What has come, one frame or an array of them; what is none is nothing of ours, and passed over."""
    try:
        heard = json.loads(text, parse_float=_finite, parse_constant=_finite)
    except (ValueError, RecursionError):
        return []
    return [frame for frame in (heard if isinstance(heard, list) else [heard]) if isinstance(frame, dict)]


def _finite(digits: str) -> float:
    """RFC 8259 has no NaN and no Infinity, and what is beyond a float is none. Raises: ValueError."""
    if math.isfinite(number := float(digits)):
        return number
    raise ValueError(f"{digits:.40} is no number of JSON")


def whole(value: Any) -> int:
    """What must be a whole number. Raises: TypeError."""
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    raise TypeError(f"{value!r:.40} is no whole number")


def error_of(data: Frame) -> tuple[int, str]:
    """(Number, why) of an error. Raises: LookupError, TypeError."""
    return whole(data["code"]), str(data.get("message") or data["error"])


def start_of(device: str, logs: dict[int, RoomLog], user: Frame | None = None) -> Frame:
    """The data of `start`: rooms that are entered afresh, and where to resume those that we know, and the *user*."""
    known = {str(room_id): {"seq": log.seq, "epoch": log.epoch} for room_id, log in logs.items() if log.seq is not None}
    new = [{"r": room_id} for room_id, log in logs.items() if log.seq is None]
    resume = {"resume": {**({"user": user} if user else {}), "rooms": known}} if known or user else {}
    return {"device": device, "rooms": new, **resume}


def entry(room_id: int, frame: Frame, user_id: int) -> Entry:
    """What stands at the seq of a frame: whatever has a seq has a place in the log, also what is not known here."""
    if frame["type"] == "message":
        return frame["seq"], said(room_id, frame, frame["data"], user_id)
    return frame["seq"], _change(frame["type"].removeprefix("message_"), room_id, frame, frame.get("data", {}))


def entries(room_id: int, answer: Frame, user_id: int) -> list[Entry]:
    """The same of the data of an answer to `history`, by seq: what is hidden from us is named apart."""
    shown: list[Entry] = [(item["seq"], said(room_id, item, item, user_id)) for item in answer["messages"]]
    changes: list[Entry] = [
        (item["seq"], _change(item["change"], room_id, item, item)) for item in answer.get("changes", ())
    ]
    hidden: list[Entry] = [(seq, None) for seq in answer.get("skip", ())]
    return sorted(shown + changes + hidden, key=lambda item: item[0])


def entered_of(room_id: int, item: Frame) -> Entered:
    """A room in `ready`, and in the answer to `join`."""
    return Entered(room_id, item["top"], item.get("read", 0), item.get("unread", 0), item.get("members", 0))


def personal(frame: Frame) -> Personal:
    """An event of the user's own stream."""
    return Personal(frame["useq"], frame["type"], frame.get("room"), frame.get("data", {}), frame["ts"])


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
        body.get("id", 0),
        "deleted" in body,
        tuple(body.get("attachments", ())),
        body.get("edited"),
        {key: body[key] for key in DETAILS if key in body},
        tuple(body.get("reactions", ())),
        body.get("pinned"),
    )


def changed(room_id: int, head: Frame, body: Frame) -> Changed:
    """A change of a message, out of a frame or of `history` as above. What was deleted since says nothing already."""
    words = None if "deleted" in body else body.get("body")
    return Changed(room_id, head["seq"], body["of"], body["id"], words, head["ts"])


def _reacted(room_id: int, head: Frame, body: Frame) -> Reacted:
    who, what = body["user"], body["reaction"]
    return Reacted(room_id, head["seq"], body["of"], body["id"], who, what, body["on"], head["ts"])


def _pinned(room_id: int, head: Frame, body: Frame) -> Pinned:
    return Pinned(room_id, head["seq"], body["of"], body["id"], body["by"], body["on"], head["ts"])


def _came_or_went(room_id: int, head: Frame, body: Frame) -> Member:
    is_active = body["change"] == "joined"
    return Member(room_id, body["user"], is_active, head.get("seq"), head.get("ts"), body.get("role"))


def _change(kind: str, room_id: int, head: Frame, body: Frame) -> Told | None:
    maker = _CHANGES.get(kind)
    return None if maker is None else maker(room_id, head, body)


def rooms_of(frame: Frame) -> list[int]:
    """The rooms that a frame is about: one, several for which it tells the same, or none."""
    if "rooms" in frame:
        return list(frame["rooms"])
    return [frame["room"]] if "room" in frame else []


def event_of(frame: Frame, room_id: int, user_id: int) -> Event:
    """What a frame without a seq tells of one of its rooms by itself."""
    maker = _MAKERS.get(frame["type"])
    return other(frame, room_id) if maker is None else maker(room_id, frame, user_id)


def is_end(frame: Frame, user_id: int) -> bool:
    """Whether the user has left its room by this, or was removed: the last of it, wherever we are in its log."""
    if frame.get("type") != "member":
        return False
    return bool(frame["data"]["user"] == user_id and frame["data"]["change"] == "left")


def holding(early: list[Frame], ready: Frame) -> list[Frame]:
    """What has come before `ready` and holds with it: that the user left is over where it lets them in, back since."""
    let_in = {item["r"] for item in ready["rooms"]}
    return [frame for frame in early if not (is_end(frame, ready["user"]) and frame.get("room") in let_in)]


def other(frame: Frame, room_id: int | None) -> Other:
    """What is told as it came."""
    return Other(frame["type"], room_id, frame.get("data") or {}, frame.get("ts"))


def _typing(room_id: int, frame: Frame, own_id: int) -> Event:
    names = frame["data"]["names"]
    return Typing(room_id, {int(user_id): name for user_id, name in names.items() if int(user_id) != own_id})


def _receipts(room_id: int, frame: Frame, own_id: int) -> Event:
    data = frame["data"]
    counts = tuple((int(seq), int(readers)) for seq, readers in data.get("counts", ()))
    return Receipts(room_id, {int(user_id): seq for user_id, seq in data.get("marks", {}).items()}, counts)


def _member(room_id: int, frame: Frame, own_id: int) -> Event:
    return _came_or_went(room_id, frame, frame["data"])


_CHANGES: Final[dict[str, Callable[[int, Frame, Frame], Told]]] = {
    "edited": changed,
    "deleted": changed,
    "reaction": _reacted,
    "pin": _pinned,
    "member": _came_or_went,
    "joined": _came_or_went,
    "left": _came_or_went,
}
_MAKERS: Final[dict[str, Callable[[int, Frame, int], Event]]] = {
    "typing": _typing,
    "receipts": _receipts,
    "member": _member,
}
KNOWN_IN_ROOMS: Final = frozenset((*_MAKERS, "gap", "presence_state", "presence_diff"))
