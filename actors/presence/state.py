"""What is known of one user's presence, folded over their sockets. Pure."""

from dataclasses import dataclass, field

from greenroom.actors.presence.commands import PresenceView, Status


@dataclass(slots=True)
class PresenceState:
    """sockets: by id, the device each belongs to. chosen: what the user said; it counts while they have a socket."""

    sockets: dict[int, str] = field(default_factory=dict)
    chosen: Status = "online"
    activity: str = ""


def status_of(state: PresenceState) -> Status:
    """How the user appears."""
    return state.chosen if state.sockets else "offline"


def view_of(state: PresenceState) -> PresenceView:
    """The whole of it."""
    devices = tuple(dict.fromkeys(state.sockets.values()))
    return PresenceView(status_of(state), state.activity if state.sockets else "", devices)
