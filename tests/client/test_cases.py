"""The pure parts agree with cases.json, as those of the JavaScript client must: the same names, the same semantics."""

import json
from pathlib import Path
from typing import Any

import pytest

from greenroom.client.backoff import heeded, move_seconds, retry_seconds
from greenroom.client.door import address_of
from greenroom.client.events import Missed, Person, Personal, Said
from greenroom.client.pace import Pace
from greenroom.client.presence import Presence
from greenroom.client.room_log import RoomLog
from greenroom.client.room_log import Told as ToldInRoom
from greenroom.client.user_log import Told, UserLog
from greenroom.client.watch_list import WatchList

CASES = json.loads((Path(__file__).parent / "cases.json").read_text())


def title(case: dict[str, Any]) -> str:
    return str(case["title"])


@pytest.mark.parametrize("case", CASES["backoff"], ids=str)
def test_the_range_of_a_close_code_says_how_long_to_wait(case: dict[str, Any]):
    assert retry_seconds(case["code"], case["reason"], case["failures"], case["chance"]) == case["seconds"]


@pytest.mark.parametrize("case", CASES["address"], ids=str)
def test_an_address_is_one_of_http_or_of_its_socket(case: dict[str, Any]):
    if case["taken"] is not None:
        assert address_of(case["given"]) == case["taken"]
    else:
        with pytest.raises(ValueError, match="no address of a server"):
            address_of(case["given"])


@pytest.mark.parametrize("case", CASES["roomLog"], ids=title)
def test_a_room_log_tells_each_message_once_and_in_order(case: dict[str, Any]):
    log = RoomLog(case["recent"])
    for step in case["steps"]:
        assert [said.seq for said in done(log, step)] == step["told"], step
        found = {"seq": log.seq, "isMissing": log.is_missing, "epoch": log.epoch, "top": log.top}
        if "page" not in step:  # of a page goal is what it was asked for
            found["goal"] = log.goal
        expected = {name: step[name] for name in found if name in step}
        assert {name: found[name] for name in expected} == expected, step


def done(log: RoomLog, step: dict[str, Any]) -> list[ToldInRoom]:
    if "entered" in step:
        log.entered(*step["entered"])
    elif "skipped" in step:
        log.skipped(step["skipped"])
    elif "replaced" in step:
        log.replaced(step["replaced"])
    elif "skip" in step:
        return log.take(step["skip"], None)
    elif "page" in step:
        return log.take_page([(seq, said(seq)) for seq in step["page"]], step["goal"])
    else:
        return log.take(step["take"], said(step["take"]))
    return []


def said(seq: int) -> Said:
    return Said(1, seq, 7, "alice", f"m{seq}", 0, None, is_own=False)


@pytest.mark.parametrize("case", CASES["presence"], ids=title)
def test_presence_is_folded(case: dict[str, Any]):
    presence = Presence()
    for step in case["steps"]:
        here, gone = changed(presence, step)
        assert [person.user_id for person in here] == step.get("here", []), step
        assert [person.user_id for person in gone] == step.get("gone", []), step
        assert all(person.status == "offline" for person in gone), step
        assert presence.is_known == step.get("isKnown", presence.is_known), step
        assert sorted(presence.people) == step.get("all", sorted(presence.people)), step
        if "names" in step:
            assert [presence.people[user_id].name for user_id in step["all"]] == step["names"]


def changed(presence: Presence, step: dict[str, Any]) -> tuple[tuple[Person, ...], tuple[Person, ...]]:
    if "state" in step:
        return presence.state(step["state"], step.get("top", 0))
    if "diff" in step:
        joins, leaves = step["diff"]
        return presence.diff(joins, leaves, step.get("top", 0))
    if "left" in step:
        return presence.left(step["left"], step["seq"])
    if "forget" in step:
        presence.forget()
    if "live" in step:
        presence.live()
    return (), ()


@pytest.mark.parametrize("case", CASES["watchList"], ids=title)
def test_who_is_watched_is_folded(case: dict[str, Any]):
    watched = WatchList()
    for step in case["steps"]:
        is_news = watched.state(step["state"]) if "state" in step else watched.diff(*step["diff"])
        assert is_news == step["isNews"], step
        people = [[one.user_id, one.name, one.status, one.last_seen_ms] for one in watched.people.values()]
        assert people == step.get("people", people), step


@pytest.mark.parametrize("case", CASES["move"], ids=str)
def test_the_moment_that_the_server_names_is_kept_and_spread_as_far_as_it_leaves_time(case: dict[str, Any]):
    assert move_seconds(case["after"], case["deadline"], case["chance"]) == case["seconds"]


@pytest.mark.parametrize("case", CASES["heeded"], ids=str)
def test_a_wait_that_the_server_names_is_heeded_within_bounds(case: dict[str, Any]):
    assert heeded(case["given"]) == case["seconds"]


@pytest.mark.parametrize("given", [float("inf"), float("-inf"), float("nan")])
def test_what_is_no_time_is_not_waited_for(given: float):
    with pytest.raises(ValueError, match="no time to wait"):
        heeded(given)


@pytest.mark.parametrize("case", CASES["pace"], ids=title)
def test_a_class_of_commands_waits_as_long_as_it_was_told(case: dict[str, Any]):
    pace = Pace()
    for step in case["steps"]:
        if "slow" in step:
            pace.slow_down(step["slow"], step["for"], step["at"])
        else:
            assert pace.wait_seconds(step["wait"], step["at"]) == step["seconds"], step


@pytest.mark.parametrize("case", CASES["userLog"], ids=title)
def test_a_user_log_tells_each_event_once_and_in_order(case: dict[str, Any]):
    log = UserLog()
    for step in case["steps"]:
        told = [
            ["missed", event.first_useq, event.last_useq] if isinstance(event, Missed) else event.useq
            for event in told_by(log, step)
        ]
        assert told == step["told"], step
        found = {"useq": log.useq, "isMissing": log.is_missing, "cursor": log.cursor}
        expected = {name: step[name] for name in found if name in step}
        assert {name: found[name] for name in expected} == expected, step


def told_by(log: UserLog, step: dict[str, Any]) -> list[Told]:
    if "take" in step:
        return log.take(Personal(step["take"], "block", None, {}, 0))
    if "gap" in step:
        first, last, is_reset = step["gap"]
        return log.pass_over(first, last, is_reset=is_reset)
    log.entered(*step["entered"])
    return []
