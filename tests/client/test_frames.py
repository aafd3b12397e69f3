"""Frames of greenroom.v1 as events."""

from greenroom.client.events import Member, Presence, Typing
from greenroom.client.frames import event_of, rooms_of

DIFF = {
    "type": "presence_diff",
    "data": {
        "joins": [{"user": 2, "name": "Ben", "status": "online"}],
        "leaves": [{"user": 3, "name": "", "status": "offline", "lastSeen": 1}],
    },
}


def test_a_frame_is_about_one_room_or_several_or_none():
    assert rooms_of({**DIFF, "room": 7}) == [7]
    assert rooms_of({**DIFF, "rooms": [7, 8]}) == [7, 8]
    assert rooms_of({"type": "live", "data": {"rooms": [7]}}) == []


def test_a_change_of_presence_is_the_same_in_each_of_its_rooms():
    for room_id in (7, 8):
        event = event_of({**DIFF, "rooms": [7, 8]}, room_id, 1)
        assert event == Presence(room_id, {2: "Ben"}, {3: "user 3"}, is_all=False)


def test_ones_own_typing_is_left_out():
    frame = {"type": "typing", "room": 7, "data": {"users": [1, 2], "names": {"1": "Ann", "2": "Ben"}}}
    assert event_of(frame, 7, 1) == Typing(7, {2: "Ben"})


def test_who_came_or_went_is_told_and_what_is_not_known_is_not():
    frame = {"type": "member", "room": 7, "data": {"user": 2, "role": "member", "change": "left"}}
    assert event_of(frame, 7, 1) == Member(7, 2, is_active=False)
    assert event_of({"type": "of tomorrow", "room": 7, "data": {}}, 7, 1) is None
