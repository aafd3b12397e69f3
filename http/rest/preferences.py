"""How one wants to be told, over HTTP: one stored set, in each of the shapes that clients know.

Whatever the method, only what is named is changed, all of it or nothing; the answer is how it stands then. Who looks
for the first time has the defaults, which are stored with that. `preference_shapes.py` has the names.
"""

from dataclasses import replace
from typing import Any, cast

import trio

from greenroom.actors.errors import Refused
from greenroom.actors.notifier.commands import ChangePreferences
from greenroom.actors.notifier.preferences import Change, Preferences
from greenroom.http.models import Output
from greenroom.http.rest.preference_shapes import PreferencesWrite, changes_of, shown
from greenroom.http.rest.rooms import once, refusal, require_self
from greenroom.http.route import Answer, Call, Operations
from greenroom.http.ws.services import COMMAND_SECONDS_MAX

operations = Operations("notifications")


class PreferencesAnswer(Output):
    """How it stands, in all shapes."""

    preferences: dict[str, Any]


@operations.get("/api/notifications/preferences", answer=PreferencesAnswer, also=["/api/user/notification-preferences"])
async def get_preferences(call: Call) -> Answer:
    """How one wants to be told."""
    return _answer(call, await preferences_of(call, call.user_id) or await _change(call))


@operations.put(
    "/api/notifications/preferences",
    body=PreferencesWrite,
    answer=PreferencesAnswer,
    also=["/api/user/notification-preferences"],
)
async def put_preferences(call: Call) -> Answer:
    """Change what is named, in whatever shape."""
    return await _put(call, "PUT")


@operations.post("/api/notifications/preferences", body=PreferencesWrite, answer=PreferencesAnswer)
async def post_preferences(call: Call) -> Answer:
    """The same, as the live system has it: there quiet hours have no switch, and are on when both ends are set."""
    return await _put(call, "POST", has_switch=False)


@operations.patch("/api/notifications/preferences/{id}", body=PreferencesWrite, answer=PreferencesAnswer)
async def patch_preferences(call: Call) -> Answer:
    """The same, as guide A has it; the id is one's own."""
    await require_self(call, call.id(), "the id in the path")
    return await _put(call, "PATCH")


async def preferences_of(call: Call, user_id: int) -> Preferences | None:
    """How a user wants to be told; None when they have never looked. Raises: StorageUnavailable."""
    stored = await call.services.room_services.preferences.of(user_id)
    return None if stored is None else Preferences.model_validate_json(stored)


async def _put(call: Call, method: str, *, has_switch: bool = True) -> Answer:
    write = call.body(PreferencesWrite)
    for claimed in (write, getattr(write, "preferences", None)):
        await require_self(call, getattr(claimed, "user_id", None), "userId")
    changes = changes_of(write)
    if not has_switch:
        changes += _switched(changes)

    async def work() -> Answer:
        return _answer(call, await _change(call, *changes))

    answer = await once(call, f"{method} /api/notifications/preferences", write, work)
    return replace(answer, top=cast("dict[str, Any]", answer.data))  # only `data` is kept under a key


def _switched(changes: list[Change]) -> list[Change]:
    """Quiet hours whose ends are both named are on when there are both, unless it is said whether they are on."""
    named = {change.place: change.value for change in changes}
    ends = [named[place] for place in ("quiet_hours.start", "quiet_hours.end") if place in named]
    if len(ends) < 2 or "quiet_hours.enabled" in named:
        return []
    return [Change("quietHoursStart", "quiet_hours.enabled", None not in ends)]


async def _change(call: Call, *changes: Change) -> Preferences:
    """Raises: ApiError 400 for a change that contradicts itself; as `Ref.ask`."""
    notifier = call.services.room_services.system.ref("notifier", call.user_id)
    deadline = trio.current_time() + COMMAND_SECONDS_MAX
    answer = await notifier.ask(ChangePreferences(changes), deadline=deadline)
    if isinstance(answer, Refused):
        raise refusal(answer)
    return answer


def _answer(call: Call, preferences: Preferences) -> Answer:
    found = shown(preferences, call.user_id)
    return Answer({"preferences": found}, top={"preferences": found})
