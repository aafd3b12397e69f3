"""The story of a mail: the body of `GET /api/email/:id/status`, from its rows alone.

    {id, status, to, events: [{type, timestamp, data}], attempts: […], …}

It is the same after any crash, because nothing of it is kept elsewhere. `status` has the words of the system that
greenroom replaces (pending, processing, sent, delivered, opened, clicked, failed, bounced, complained) and one more:
`unknown`, for a mail that the provider may have and that is never sent again. Addresses are masked: the story is read
by browsers and kept in logs.
"""

import json
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from greenroom.actors.provider_queue.request import PRIORITY_NAMES

_EVENT_OF_STATE = {
    "accepted": "sent",
    "rejected": "rejected",
    "deferred": "deferred",
    "unknown": "unknown",
    "failed": "attempt_failed",
}


def story(row: Any, attempts: Sequence[Any]) -> dict[str, object]:
    """The story of a mail from its row and those of its attempts: the shape of `GET /api/email/:id/status`."""
    request = json.loads(row["request"])
    events: list[dict[str, object]] = [
        _event("pending", row["created_ms"], {"account": attempts[0]["account"] if attempts else row["account"]})
    ]
    for before, attempt in zip([None, *attempts], attempts, strict=False):
        events.extend(_attempt_events(before, attempt))
    if row["status"] == "failed":
        events.append(
            _event(
                "failed",
                row["updated_ms"],
                {"tries": row["tries"], "reason": attempts[-1]["error_class"] if attempts else None},
            )
        )
    is_waiting = row["status"] == "pending"
    return {
        "id": row["id"],
        "messageId": row["id"],
        "status": row["status"],
        "provider": attempts[-1]["account"] if attempts else row["account"],
        "providerMessageId": attempts[-1]["provider_message_id"] if attempts else None,
        "to": [masked(address) for address in request["mail"]["to"]],
        "template": request["template"],
        "priority": PRIORITY_NAMES[row["priority"]],
        "createdAt": iso(row["created_ms"]),
        "updatedAt": iso(row["updated_ms"]),
        "nextAttemptAt": iso(row["not_before_ms"]) if is_waiting else None,
        "waitsFor": row["account"] if is_waiting else None,
        "willBeSentAgain": row["status"] in ("pending", "processing"),
        "events": events,
        "attempts": [_attempt(attempt) for attempt in attempts],
    }


def masked(address: str) -> str:
    """An address of which only the first letter and the domain can be read."""
    local, _, domain = address.rpartition("@")
    return f"{local[:1]}***@{domain}"


def iso(at_ms: int | None) -> str | None:
    """A time as JavaScript writes it."""
    if at_ms is None:
        return None
    return datetime.fromtimestamp(at_ms / 1000, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _attempt_events(before: Any | None, attempt: Any) -> list[dict[str, object]]:
    about = {"attempt": attempt["n"], "provider": attempt["account"]}
    events: list[dict[str, object]] = []
    if before is not None and before["account"] != attempt["account"]:
        events.append(_event("failover", attempt["started_ms"], {"from": before["account"], "to": attempt["account"]}))
    events.append(_event("processing", attempt["started_ms"], about))
    kind = _EVENT_OF_STATE.get(attempt["state"])
    if kind is not None:
        facts = {
            "providerMessageId": attempt["provider_message_id"],
            "reason": attempt["error_class"],
            "detail": attempt["error_text"],
        }
        events.append(
            _event(
                kind, attempt["finished_ms"], about | {key: value for key, value in facts.items() if value is not None}
            )
        )
    return events


def _event(kind: str, at_ms: int | None, data: dict[str, Any]) -> dict[str, object]:
    return {"type": kind, "timestamp": iso(at_ms), "data": data}


def _attempt(attempt: Any) -> dict[str, object]:
    return {
        "id": attempt["id"],
        "attempt": attempt["n"],
        "provider": attempt["account"],
        "state": attempt["state"],
        "providerMessageId": attempt["provider_message_id"],
        "errorClass": attempt["error_class"],
        "error": attempt["error_text"],
        "startedAt": iso(attempt["started_ms"]),
        "finishedAt": iso(attempt["finished_ms"]),
    }
