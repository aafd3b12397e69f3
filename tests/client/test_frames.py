"""Frames of greenroom.v1 as events, and commands as text."""

import json
from typing import Any

from greenroom.client.events import Changed, Member, Other, Pinned, Reacted, Receipts, Said, Typing
from greenroom.client.frames import entries, entry, event_of, frames_of, is_end, rooms_of, start_of, text_of
from greenroom.client.room_log import RoomLog

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


def test_whatever_has_a_seq_has_a_place_in_the_log():
    message = {"type": "message", "room": 7, "seq": 3, "ts": 9, "data": {"sender": 2, "body": "hello"}}
    assert entry(7, message, 2) == (3, Said(7, 3, 2, "user 2", "hello", 9, None, is_own=True))
    assert entry(7, {"type": "skip", "room": 7, "seq": 4}, 2) == (4, None)
    assert entry(7, {"type": "of tomorrow", "room": 7, "seq": 5, "data": {}}, 2) == (5, None)


def test_a_page_of_history_is_entries_too():
    item = {"seq": 3, "ts": 9, "id": 1, "sender": 2, "senderName": "Ben", "body": "hello", "clientId": "c"}
    page = entries(7, {"messages": [item], "skip": [2, 4]}, 1)
    assert page == [(2, None), (3, Said(7, 3, 2, "Ben", "hello", 9, "c", is_own=False, message_id=1)), (4, None)]


def test_the_files_and_details_of_a_message_are_told_with_it():
    file = {"key": "k", "url": "/u", "originalName": "a.png", "fileSize": 1, "mimeType": "image/png"}
    details = {"kind": "poll", "replyTo": {"id": 9, "seq": 2}, "mentions": [1]}
    data = {"id": 1, "sender": 2, "senderName": "Ben", "body": "look", "attachments": [file], "of later": 1, **details}
    _, told = entry(7, {"type": "message", "room": 7, "seq": 3, "ts": 9, "data": data}, 1)
    assert isinstance(told, Said)
    assert (told.attachments, told.details) == ((file,), details)


def test_how_a_message_stands_is_told_live_and_of_history_alike():
    item: dict[str, Any] = {"id": 1, "sender": 2, "senderName": "Ben", "body": "x", "edited": 11}
    live = {"type": "message", "room": 7, "seq": 3, "ts": 9, "data": item}
    said = Said(7, 3, 2, "Ben", "x", 9, None, is_own=False, message_id=1, edited_at_ms=11)
    assert entry(7, live, 1) == (3, said)
    assert entries(7, {"messages": [{**item, "seq": 3, "ts": 9}]}, 1) == [(3, said)]


def test_changes_are_entries_and_what_was_deleted_since_says_nothing_already():
    edited: dict[str, Any] = {
        "type": "message_edited",
        "room": 7,
        "seq": 5,
        "ts": 9,
        "data": {"id": 1, "of": 3, "sender": 2, "body": "x"},
    }
    assert entry(7, edited, 2) == (5, Changed(7, 5, 3, 1, "x", 9))
    since = {**edited, "data": {**edited["data"], "body": "", "deleted": 11}}
    assert entry(7, since, 2) == (5, Changed(7, 5, 3, 1, None, 9))
    deleted: dict[str, Any] = {
        "type": "message_deleted",
        "room": 7,
        "seq": 6,
        "ts": 11,
        "data": {"id": 1, "of": 3, "sender": 2, "by": 2},
    }
    assert entry(7, deleted, 2) == (6, Changed(7, 6, 3, 1, None, 11))
    item = {"seq": 6, "ts": 11, "change": "deleted", **deleted["data"]}
    gone = {"seq": 3, "ts": 9, "id": 1, "sender": 2, "senderName": "Ben", "body": "", "deleted": 11}
    page = entries(7, {"messages": [gone], "changes": [item]}, 1)
    said = Said(7, 3, 2, "Ben", "", 9, None, is_own=False, message_id=1, is_deleted=True)
    assert page == [(3, said), (6, Changed(7, 6, 3, 1, None, 11))]


def test_ones_own_typing_is_left_out():
    frame = {"type": "typing", "room": 7, "data": {"users": [1, 2], "names": {"1": "Ann", "2": "Ben"}}}
    assert event_of(frame, 7, 1) == Typing(7, {2: "Ben"})


def test_receipts_are_told_by_user():
    frame = {"type": "receipts", "room": 7, "ts": 1, "data": {"marks": {"2": 40}}}
    assert event_of(frame, 7, 1) == Receipts(7, {2: 40})


def test_receipts_of_a_large_room_say_how_many():
    frame = {"type": "receipts", "room": 7, "ts": 1, "data": {"counts": [[40, 1], [38, 300]]}}
    assert event_of(frame, 7, 1) == Receipts(7, {}, ((40, 1), (38, 300)))


def test_who_came_or_went_is_told_and_what_is_not_known_as_it_came():
    frame = {"type": "member", "room": 7, "data": {"user": 2, "role": "member", "change": "left"}}
    assert event_of(frame, 7, 1) == Member(7, 2, is_active=False, role="member")
    kept = {**frame, "seq": 5, "ts": 9}
    assert entry(7, kept, 1) == (5, Member(7, 2, is_active=False, seq=5, at_ms=9, role="member"))
    assert [is_end(kept, user) for user in (1, 2)] == [False, True]
    came = {"seq": 6, "ts": 10, "change": "joined", "user": 2, "role": "admin"}
    left = {"seq": 7, "ts": 11, "change": "left", "user": 3, "role": "member"}
    page = entries(7, {"messages": [], "changes": [left, came]}, 1)
    assert page == [(6, Member(7, 2, True, 6, 10, "admin")), (7, Member(7, 3, False, 7, 11, "member"))]
    assert event_of({"type": "of tomorrow", "room": 7, "ts": 5, "data": {"a": 1}}, 7, 1) == Other(
        "of tomorrow", 7, {"a": 1}, 5
    )
    assert event_of({"type": "of tomorrow", "room": 7}, 7, 1) == Other("of tomorrow", 7, {}, None)


def test_what_no_frame_can_carry_is_escaped_and_everything_else_is_as_it_was_said():
    assert text_of({"body": "grüße 🎭"}) == '{"body":"grüße 🎭"}'
    assert json.loads(text_of({"body": "half \ud83c"}).encode()) == {"body": "half \ud83c"}


def test_a_start_asks_for_new_rooms_and_resumes_known_ones_where_they_stand():
    known, new = RoomLog(), RoomLog(recent=20)
    known.entered(top=12, epoch=3)
    assert start_of("chat", {7: known, 8: new}) == {
        "device": "chat",
        "rooms": [{"r": 8}],
        "resume": {"rooms": {"7": {"seq": 12, "epoch": 3}}},
    }
    assert "resume" not in start_of("chat", {8: new})


def test_what_is_no_frame_is_passed_over():
    for nothing in ("hello", "null", "17", '["x",1]', "[" * 200_000, b"\xff\xfe\xfd", b"\x00"):
        assert frames_of(nothing) == []
    assert frames_of('[{"type":"ping"},1]') == frames_of('{"type":"ping"}') == [{"type": "ping"}]


def test_reactions_and_pins_are_entries_and_a_change_that_is_not_known_is_a_place_and_no_deletion():
    of = {"id": 1, "of": 3, "sender": 2}
    reaction = {**of, "user": 4, "reaction": "like", "on": True}
    pin = {**of, "by": 5, "on": False}
    reacted, pinned = Reacted(7, 5, 3, 1, 4, "like", True, 9), Pinned(7, 6, 3, 1, 5, False, 10)
    assert entry(7, {"type": "reaction", "room": 7, "seq": 5, "ts": 9, "data": reaction}, 2) == (5, reacted)
    assert entry(7, {"type": "pin", "room": 7, "seq": 6, "ts": 10, "data": pin}, 2) == (6, pinned)
    changes = [
        {"seq": 5, "ts": 9, "change": "reaction", **reaction},
        {"seq": 6, "ts": 10, "change": "pin", **pin},
        {"seq": 7, "ts": 11, "change": "of tomorrow", **of},
    ]
    assert entries(7, {"messages": [], "changes": changes}, 1) == [(5, reacted), (6, pinned), (7, None)]


def test_a_page_says_which_reactions_stand_on_a_message_and_since_when_it_is_pinned():
    reactions = [{"reaction": "like", "count": 2, "mine": True}]
    item = {"seq": 3, "ts": 9, "id": 1, "sender": 2, "body": "hello", "reactions": reactions, "pinned": 12}
    ((_, said),) = entries(7, {"messages": [item]}, 1)
    assert isinstance(said, Said)
    assert (said.reactions, said.pinned_at_ms) == (tuple(reactions), 12)
