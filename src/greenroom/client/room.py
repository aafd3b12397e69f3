"""One room that the client hears."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import trio

from greenroom.client.events import Event, Member, Typing
from greenroom.client.events import Presence as PresenceChanged
from greenroom.client.frames import Frame, event_of
from greenroom.client.presence import Presence
from greenroom.client.room_log import RoomLog


@dataclass(slots=True)
class Room:
    """entered: the server has let us in, or has refused to.

    is_typing: somebody, as it was told last.
    is_live: it has said so on this connection, and that is not told yet, for what was there may still be fetched.
    """

    id: int
    log: RoomLog
    presence: Presence = field(default_factory=Presence)
    is_typing: bool = False
    is_fetching: bool = False
    is_live: bool = False
    entered: trio.Event = field(default_factory=trio.Event)
    refusal: Exception | None = None

    def refuse(self, refusal: Exception) -> bool:
        """We are in no more, or come in never: whether we were. Who waits for it is told."""
        was_in = self.entered.is_set()
        self.refusal = self.refusal if was_in else refusal
        self.entered.set()
        return was_in

    def heard(self, frame: Frame, user_id: int) -> list[Event]:
        """What is to be told of a frame that has no place in the log."""
        if frame["type"] not in ("presence_state", "presence_diff"):
            event = event_of(frame, self.id, user_id)
            self.is_typing = bool(event.names) if isinstance(event, Typing) else self.is_typing
            return self.followed([event])
        changed = self.presence.heard(frame, self.log.top)
        return [PresenceChanged(self.id, *changed)] if any(changed) else []

    def followed(self, told: Iterable[Event]) -> list[Event]:
        """What is told, and behind who has left the room that they are here no more: no frame of presence says so."""
        events = list[Event]()
        for event in told:
            events.append(event)
            if isinstance(event, Member) and not event.is_active:
                changed = self.presence.left(event.user_id, event.seq)
                events += [PresenceChanged(self.id, *changed)] if any(changed) else []
        return events

    def live(self) -> None:
        """The server has told what was missed; of the room of this id that was left, when it has not let us in yet."""
        if self.log.seq is None:
            return
        self.presence.live()
        self.is_live = True

    @property
    def known(self) -> dict[str, Any]:
        """The data of `join`: where we are in its log."""
        return {} if self.log.seq is None else {"after": self.log.seq, "epoch": self.log.epoch}

    def lose(self) -> list[Event]:
        """The connection is lost: what is to be told. On the next one nothing is said where nobody types any more."""
        self.presence.forget()
        was_typing, self.is_typing, self.is_live = self.is_typing, False, False
        return [Typing(self.id, {})] if was_typing else []

    def catches_up(self) -> bool:
        """Everything that was there is told now; once on each connection."""
        is_now = self.is_live and not self.is_fetching and not self.log.is_missing
        self.is_live = self.is_live and not is_now
        return is_now
