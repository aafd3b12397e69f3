"""What `top`, `tree` and `trace` make of an answer, as text."""

from typing import Any

import pytest

from greenroom.commands import drain, top, tracing, tree
from greenroom.commands.table import size, span, table


def actor(address: str, **facts: Any) -> dict[str, Any]:
    return {
        "address": address,
        "phase": "ready",
        "depth": 0,
        "depth_peak": 1,
        "turns": 5,
        "restarts": 0,
        "refused": 0,
        "awake_for": [],
        "units_pending": 0,
        "turn_seconds": None,
        "drain_seconds_max": 0.0001,
        "is_traced": False,
        "bytes": 0,
        "coalesced": 0,
        "head_seconds": None,
        **facts,
    }


def test_columns_are_as_wide_as_they_must_be():
    assert table(("NAME", "KIND", "N"), [("a", "b", "100"), ("longer", "c", "7")]) == [
        "NAME    KIND    N",
        "a       b     100",
        "longer  c       7",
    ]


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (None, "-"),
        (0.0, "0 µs"),
        (17e-6, "17 µs"),
        (0.0025, "2.5 ms"),
        (0.25, "250 ms"),
        (3.14, "3.1 s"),
        (600, "10 min"),
    ],
)
def test_spans_are_short(seconds: float | None, text: str):
    assert span(seconds) == text


@pytest.mark.parametrize(
    ("octets", "text"),
    [(0, "0 B"), (1023, "1023 B"), (2560, "2.5 KiB"), (1023 * 1024, "0.999 MiB"), (256 * 1024**2, "256 MiB")],
)
def test_sizes_are_short(octets: int, text: str):
    assert size(octets) == text


def test_the_tree_is_drawn():
    counts = {"loaded": 2, "cold": 1, "depth": 4, "turns": 9, "restarts": 0, "refused": 0}
    busy = actor("room/1", depth=4, turn_seconds=2.0, units_pending=1, awake_for=["a call"], is_traced=True)
    clock = actor("clock/main", restarts=2, bytes=700, coalesced=3, head_seconds=2.0)
    root = {
        "type": "supervisor",
        "name": "system",
        "strategy": "one_for_one",
        "restarts": 1,
        "children": [
            {"type": "service", "name": "clock", "mode": "permanent", "is_over": False, "actor": clock},
            {
                "type": "supervisor",
                "name": "messaging",
                "strategy": "one_for_all",
                "restarts": 0,
                "children": [
                    {
                        "type": "kind",
                        "name": "room",
                        "counts": counts,
                        "is_held": False,
                        "actors": [busy],
                        "has_more": True,
                    }
                ],
            },
        ],
    }
    assert tree.lines_of(root) == [
        "system  one_for_one, 1 restart",
        "├─ clock  service, permanent: ready, 0 waiting (most 1), 5 turns, the oldest for 2.0 s, 700 bytes, "
        "2 restarts, 3 coalesced",
        "└─ messaging  one_for_all, 0 restarts",
        "   └─ room  2 in memory, 1 cold, 4 waiting, 9 turns, 0 restarts, 0 refused",
        "      ├─ room/1  ready, 4 waiting (most 1), 5 turns, a turn of 2.0 s, 1 on their way to storage, awake for a "
        "call, traced",
        "      └─ … and more: greenroom tree --kind room --limit 1000",
    ]


def test_the_top_is_a_table():
    system = {"asks_pending": 3, "crashes": 1, "dead_letters": 2, "storage_is_away": True, "alarms": None}
    line = {"actor": actor("room/1"), "busy_share": 0.25, "turns_per_second": 10.0, "wait_seconds": 0.002}
    found = {"cells": 7, "system": system, "by": "busy", "seconds": 1.0, "lines": [line]}
    lines = top.lines_of(found)
    assert lines[0] == "7 actors, 3 deadlines and timers, 1 crash, 2 dead letters  STORAGE IS AWAY"
    assert top.lines_of({**found, "cells": 1})[0].startswith("1 actor, ")
    assert lines[3].split() == list(top.HEADER)
    assert lines[4].split() == ["room/1", "ready", "25.0%", "10.0", "2", "ms", "0", "1", "5", "0", "0", "100", "µs"]
    assert top.lines_of({**found, "lines": []})[-1] == "nobody did anything"
    alarms = {"armed": 9, "due": 2, "asked": 1, "postponed": 3, "fired": 70, "failed": 4, "put_off": 5}
    lines = top.lines_of({**found, "system": system | {"alarms": alarms}})
    assert lines[1] == "9 alarms within a minute, 2 due, 1 at work, 3 postponed; 70 have fired, 4 tries failed"
    sockets = {"state": "draining", "sockets": 8, "moved": 3, "total": 12, "seconds_left": 4.0}
    assert top.lines_of({**found, "sockets": sockets})[1].endswith("3 of 12 moved, 4.0 s left, 8 sockets open")


def test_the_top_says_how_soon_messages_are_told_and_how_resumes_went():
    system = {"asks_pending": 0, "crashes": 0, "dead_letters": 0, "storage_is_away": False, "alarms": None}
    delivery = {"told": 5, "lag_seconds_mean": 0.0012, "lag_seconds_max": 0.25, "lag_within": {"1": 4}, "resumes": {}}
    found = {"cells": 7, "system": system, "by": "busy", "seconds": 1.0, "lines": [], "delivery": delivery}
    assert top.lines_of(found)[1] == "told 5 times, on average 1.2 ms, at most 250 ms after the commit"
    resumes = {"poll": {"replayed": 7}, "websocket": {"gap": 1, "replayed": 2}}
    lines = top.lines_of({**found, "delivery": {**delivery, "resumes": resumes}})
    assert lines[2] == "resumes: poll 7 replayed; websocket 1 gap, 2 replayed"


def test_the_top_says_whose_sockets_are_behind():
    system = {"asks_pending": 0, "crashes": 0, "dead_letters": 0, "storage_is_away": False, "alarms": None}
    one = {
        "user": 7,
        "connection": "3fa",
        "address": "10.0.0.\x1b[2J",
        "protocol": "compat",
        "bytes": 2048,
        "seconds": 4.0,
    }
    outboxes = {
        "sockets": 5,
        "bytes": 3_000_000,
        "limit": 2**28,
        "closed": 12,
        "worst": [one, one | {"user": None}] * 2,
    }
    found = {"cells": 0, "system": system, "by": "busy", "seconds": 1.0, "lines": [], "outboxes": outboxes}
    lines = top.lines_of(found)
    assert lines[1] == "5 sockets behind, 2.86 MiB waiting of at most 256 MiB, 12 closed as slow"
    assert lines[2].startswith("  user 7, connection 3fa of 10.0.0.")
    assert lines[2].endswith(", compat: 2 KiB, none taken for 4.0 s")
    assert lines[3].startswith("  nobody yet, connection")
    assert lines[5].startswith("by busy"), "three of them"
    assert "\x1b" not in "".join(lines)
    nobody = {**found, "outboxes": outboxes | {"sockets": 0, "bytes": 0, "closed": 0, "worst": []}}
    assert top.lines_of(nobody)[1] == "0 sockets behind, 0 B waiting of at most 256 MiB, 0 closed as slow"
    assert top.lines_of(nobody)[2].startswith("by busy")


def test_a_drain_is_a_line_with_a_bar_and_what_came_of_it():
    state = {"state": "draining", "sockets": 30, "moved": 15, "total": 30, "seconds_left": 2.0}
    assert drain.line_of(state).startswith(f"[{'#' * 15}{'.' * 15}] 15 of 30 moved")
    assert drain.line_of({**state, "total": 0, "moved": 0}).startswith(f"[{'#' * 30}]")
    assert drain.line_of({**state, "state": "drained", "moved": 30}) == "drained, 30 of 30 were moved, 30 sockets open"
    assert drain.line_of({**state, "state": "serving", "total": 0, "sockets": 1}) == "serving, 1 socket open"


def test_an_address_cannot_talk_to_the_terminal():
    line = {"actor": actor("user/\x1b[2Jx"), "busy_share": 0.0, "turns_per_second": 0.0, "wait_seconds": 0.0}
    system = {"asks_pending": 0, "crashes": 0, "dead_letters": 0, "storage_is_away": False, "alarms": None}
    found = {"cells": 1, "system": system, "by": "busy", "seconds": 1.0, "lines": [line]}
    assert "\x1b" not in "".join(top.lines_of(found))


def test_an_entry_of_a_trace_is_a_line():
    entry = {
        "number": 3,
        "command": "Post",
        "wait_seconds": 0.001,
        "turn_seconds": 2e-05,
        "commit_seconds": None,
        "outcome": "handled",
        "attempts": 1,
        "senders": ["relay/7.Forward", "sender/1.Forward"],
    }
    assert " ".join(tracing.line_of(entry).split()) == (
        "3 Post waited 1 ms turn 20 µs commit - handled redone 1 times from relay/7.Forward > sender/1.Forward"
    )
