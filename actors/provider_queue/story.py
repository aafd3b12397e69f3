"""The story of a mail: the body of `GET /api/email/:id/status`, from its rows alone.

    {id, status, to, events: [{type, timestamp, data}], attempts: […], held: {since, reason, nextAttemptAt, …}, …}

It is the same after any crash, because nothing of it is kept elsewhere. `status` has the words of the system that
greenroom replaces (pending, processing, sent, delivered, opened, clicked, failed, bounced, complained) and one more:
`unknown`, for a mail that the provider may have and that is never sent again. `held` is there while the mail waits for
an account that takes none. Of a mail that was tried very often, the attempts in between are counted and left out.
Addresses are masked: the story is read by browsers and kept in logs.
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


def story(row: Any, attempts: Sequence[Any], *, now_ms: int, mail_ms_max: int) -> dict[str, object]:
    """The story of a mail from its row and those of its attempts: the shape of `GET /api/email/:id/status`.

    mail_ms_max: how long after it was due a mail is given up that no account takes.
    """
    request = json.loads(row["request"])
    is_waiting = row["status"] == "pending"
    held = _held(row, now_ms, mail_ms_max)
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
        "nextAttemptAt": iso(_next_ms(row, is_held=held is not None)) if is_waiting else None,
        "waitsFor": row["account"] if is_waiting else None,
        "held": held,
        "willBeSentAgain": row["status"] in ("pending", "processing"),
        "events": _events(row, attempts, held),
        "attempts": [_attempt(attempt) for attempt in attempts],
        "attemptsMade": row["attempts"],
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


def _held(row: Any, now_ms: int, mail_ms_max: int) -> dict[str, object] | None:
    """Since when a mail that is due waits for its account, why, and until when."""
    if row["status"] != "pending" or row["away_since_ms"] is None or row["due_ms"] > now_ms:
        return None
    return {
        "since": iso(max(row["away_since_ms"], row["due_ms"])),
        "account": row["account"],
        "reason": row["away_class"],
        "detail": row["away_text"],
        "nextAttemptAt": iso(_next_ms(row, is_held=True)),
        "givenUpAt": iso(row["due_ms"] + mail_ms_max),
    }


def _next_ms(row: Any, *, is_held: bool) -> int:
    own_ms: int = row["not_before_ms"]
    return max(own_ms, row["parked_until_ms"]) if is_held else own_ms


def _events(row: Any, attempts: Sequence[Any], held: dict[str, object] | None) -> list[dict[str, object]]:
    account = attempts[0]["account"] if attempts else row["account"]
    events = [_event("pending", row["created_ms"], {"account": account})]
    for before, attempt in zip([None, *attempts], attempts, strict=False):
        left_out = attempt["n"] - before["n"] - 1 if before is not None else 0
        if before is not None and left_out:
            events.append(_event("attempts_left_out", before["finished_ms"], {"count": left_out}))
        events.extend(_attempt_events(None if left_out else before, attempt))
    if held is not None:
        since = str(held["since"])
        later = (i for i, event in enumerate(events) if str(event["timestamp"]) > since)
        events.insert(next(later, len(events)), {"type": "held", "timestamp": since, "data": held})
    if row["status"] == "failed":
        last = attempts[-1] if attempts else {"error_class": None, "error_text": None}
        facts = {
            "tries": row["attempts"],
            "reason": row["failure"] or last["error_class"],
            "detail": row["failure_text"] or last["error_text"],
        }
        events.append(_event("failed", row["updated_ms"], facts))
    return events


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
