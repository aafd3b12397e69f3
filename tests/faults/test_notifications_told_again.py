"""Notifications in a user's stream that is told again: what expired or was deleted since has no text any more."""

from datetime import UTC, datetime, timedelta

import pytest
import trio
from streams import polled
from wire import Socket, open_sockets, wait_until

from greenroom.storage.postgres.user_streams import UserStreams

BEGINNING = "1~u0.1"


async def notify(house, title, **fields):
    body = {"userId": 1, "title": title, "message": f"{title} in full", **fields}
    sent = await house.post("/api/notifications/send", 1, body)
    assert sent.status == 201, sent.json
    return sent.data["id"]


async def told(house):
    """The user's stream from its beginning."""
    events, _ = await polled(house, 1, BEGINNING, wait=0)
    return [event for event in events if "useq" in event]


async def test_what_expired_or_was_deleted_is_told_again_without_its_text_and_leaves_no_hole(live_house):
    await live_house.people(1)
    soon = datetime.now(UTC) + timedelta(seconds=4)
    expiring = await notify(live_house, "EXPIRES", expiresAt=soon.isoformat())
    over = await notify(live_house, "OVER", expiresAt="2020-01-01T00:00:00Z")
    gone = await notify(live_house, "DELETED", data={"id": 7})
    kept = await notify(live_house, "KEPT", expiresAt="2999-01-01T00:00:00Z")
    shown = [(event["type"], event["data"].get("title"), event["data"]["unread"]) for event in await told(live_house)]
    assert shown == [
        ("notification", "EXPIRES", 1),
        ("notification_deleted", None, 1),
        ("notification", "DELETED", 2),
        ("notification", "KEPT", 3),
    ]
    await live_house.delete(f"/api/notifications/{gone}", 1)
    await trio.sleep(max(0, (soon - datetime.now(UTC)).total_seconds() + 0.05))
    again = await told(live_house)
    assert [event["useq"] for event in again] == [1, 2, 3, 4, 5], "no hole"
    assert [event["data"].get("ids") for event in again] == [[expiring], [over], [gone], None, [gone]]
    assert [event["data"]["unread"] for event in again] == [1, 1, 2, 3, 2]
    assert again[3]["data"]["id"] == kept
    for text in ("EXPIRES", "OVER", "DELETED"):
        assert text not in str(again)


@pytest.mark.parametrize("protocol", ["greenroom.v1", None])
@pytest.mark.parametrize("ends", ["is deleted", "expires"])
async def test_of_a_page_that_waits_for_its_reader_nothing_is_told_that_ended_meanwhile(
    live_house, monkeypatch, ends, protocol
):
    """A peer that takes nothing may wait for minutes in the midst of what was read for it."""
    monkeypatch.setattr("greenroom.http.ws.replay.UNSENT_BYTES_MAX", 1)
    await live_house.people(1)
    for number in range(59):
        await notify(live_house, f"{number}", data={"filler": "x" * 9_000})
    soon = datetime.now(UTC) + timedelta(seconds=4)
    last = await notify(live_house, "SECRET", **({"expiresAt": soon.isoformat()} if ends == "expires" else {}))
    async with open_sockets() as nursery:
        late = await Socket.open(nursery, live_house, 1, protocol=protocol, receive_buffer=4096)
        late.on_event = lambda event: late.stop_reading() if event["type"].startswith("notification") else None
        if protocol is None:
            await late.expect("connected")
            (connection,) = live_house.house.engine.connections_of(1)
            connection.session.user_stream_at(0, is_live=True)
            live_house.house.sockets.streams._bring_up(connection, 1)
        else:
            await late.command("start", resume={"user": 0})
        await wait_until(
            lambda: not [event for event in late.events if "notification" in event["type"]] and "the first"
        )
        await trio.sleep(0.3)
        if ends == "is deleted":
            assert (await live_house.delete(f"/api/notifications/{last}", 1)).status == 200
        else:
            await trio.sleep(max(0, (soon - datetime.now(UTC)).total_seconds() + 0.05))
        late.on_event = None
        late.read_again()
        if protocol is None:
            await late.expect("notification", title="58")
            await late.settle()
        else:
            await late.expect("notification_deleted", useq=60)
            assert [event["useq"] for event in late.of("notification")] == list(range(1, 60)), "no hole, and none twice"
        assert "SECRET" not in str(late.events)


async def test_what_was_deleted_while_storage_was_asked_is_read_again(live_house, monkeypatch):
    await live_house.people(1)
    gone = await notify(live_house, "SECRET")
    read = UserStreams.events_after

    async def slow(*asked):
        page = await read(*asked)
        monkeypatch.setattr(UserStreams, "events_after", read)
        assert (await live_house.delete(f"/api/notifications/{gone}", 1)).status == 200
        return page

    monkeypatch.setattr(UserStreams, "events_after", slow)
    again = await told(live_house)
    assert [(event["type"], event["data"]["ids"]) for event in again] == [("notification_deleted", [gone])] * 2
