"""Notifications in a user's stream that is told again: what expired or was deleted since has no text any more."""

from datetime import UTC, datetime, timedelta

import trio
from streams import polled

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
    await trio.sleep((soon - datetime.now(UTC)).total_seconds() + 0.05)
    again = await told(live_house)
    assert [event["useq"] for event in again] == [1, 2, 3, 4, 5], "no hole"
    assert [event["data"].get("ids") for event in again] == [[expiring], [over], [gone], None, [gone]]
    assert [event["data"]["unread"] for event in again] == [1, 1, 2, 3, 2]
    assert again[3]["data"]["id"] == kept
    for text in ("EXPIRES", "OVER", "DELETED"):
        assert text not in str(again)
