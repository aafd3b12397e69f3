"""How one user appears, folded over their devices. Pure.

no device, or a hiding word ──▶ offline
every device idle, and no other word ──▶ away
else ──▶ their word
"""

from collections.abc import Sequence
from typing import Final, NamedTuple, cast

from greenroom.actors.presence.commands import HIDING, Device, PresenceView, Status, Wish


class Wished(NamedTuple):
    """How a user wants to appear, while they have a device."""

    status: Wish
    activity: str


UNSAID: Final = Wished("online", "")
INVISIBLE: Final = Wished("invisible", "")


def fold(devices: Sequence[Device], wished: Wished) -> tuple[Status, str]:
    """(status, activity) as others see them. Whoever is offline does nothing."""
    if not devices or wished.status in HIDING:
        return "offline", ""
    if wished.status == "online":
        return ("away" if all(device.is_idle for device in devices) else "online"), wished.activity
    return cast("Status", wished.status), wished.activity


def view_of(devices: Sequence[Device], wished: Wished) -> PresenceView:
    """The whole of it, for the user themselves."""
    idle: dict[str, bool] = {}
    for device in devices:
        idle[device.name] = device.is_idle and idle.get(device.name, True)
    shown, _ = fold(devices, wished)
    return PresenceView(wished.status, shown, wished.activity, tuple(Device(*item) for item in idle.items()))
