"""Whom the user watches by name, wherever they are: the newest list, asked for on each connection again.

    watch ──▶ due ──ready: asked, one at a time──▶ answered: the caller hears who is refused
               ▲                                       │
               └─────────── lost, unless empty ────────┘

A list that the server refuses as a whole leaves the one before in its place. What is told of them is folded in
watch_list.py.
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Final

import trio

from greenroom.client.asking import Reply
from greenroom.client.errors import Refused, ServerAway, is_worth_another_try
from greenroom.client.events import Watched
from greenroom.client.watch_list import WatchList

PEOPLE_MAX: Final = 200
AGAIN_SECONDS: Final = 1.0
_BAD_FRAME: Final = 1002  # what the server says of a longer list

Ask = Callable[[str, None, dict[str, Any], Reply], Awaitable[dict[str, Any]]]


@dataclass(eq=False, slots=True)
class _Call:
    """One list. settled: the server has said who of them is refused, or a later list has come."""

    people: tuple[int, ...]
    settled: trio.Event = field(default_factory=trio.Event)
    refused: list[int] | None = None
    fault: Refused | None = None


class Watching:
    """ask: a command and its answer, as `Client` asks."""

    def __init__(self, ask: Ask, nursery: trio.Nursery) -> None:
        self._list = WatchList()
        self._ask = ask
        self._nursery = nursery
        self._call = _Call(())
        self._held: tuple[int, ...] = ()  # the list that the server has taken last
        self._is_due = False
        self._is_ready = False  # the server has let us in
        self._is_asking = False

    async def watch(self, people: tuple[int, ...]) -> list[int] | None:
        """Watch these and nobody else; who of them is refused, None when a later call has taken this one's place.

        Waits for the server. Raises: Refused.
        """
        if len(people) > PEOPLE_MAX:
            raise Refused(_BAD_FRAME, f"{len(people)} people: at most {PEOPLE_MAX} are watched")
        self._call.settled.set()
        self._call = call = _Call(people)
        self._is_due = True
        self._go_on()
        await call.settled.wait()
        if call.fault is not None:
            raise call.fault
        return call.refused

    def heard(self, frame: dict[str, Any]) -> Watched | None:
        """What a frame of presence that names no room tells, if it tells anything new."""
        data = frame["data"]
        if frame["type"] == "presence_state":
            is_news = self._list.state(data["users"])
        else:
            is_news = self._list.diff(data["joins"], data["leaves"], data.get("gone", ()))
        return Watched(tuple(self._list.people.values())) if is_news else None

    def ready(self) -> None:
        """The server has let us in."""
        self._is_ready = True
        self._go_on()

    def lose(self) -> None:
        """The connection is lost: the next one has to be told."""
        self._is_ready = False
        self._is_due = self._is_due or bool(self._call.people)

    def _go_on(self) -> None:
        if self._is_due and self._is_ready and not self._is_asking:
            self._is_asking = True
            self._nursery.start_soon(self._ask_on)

    async def _ask_on(self) -> None:
        """Ask for the newest list, until it is answered or the connection is lost. One at a time: none overtakes."""
        while self._is_due and self._is_ready:
            call = self._call
            try:
                await self._ask("watch", None, {"users": list(call.people)}, Reply(partial(self._answered, call)))
            except ServerAway:
                continue
            except Refused as refused:
                if is_worth_another_try(refused):
                    await trio.sleep(AGAIN_SECONDS)
                elif call is self._call:
                    self._refused(refused)
        self._is_asking = False

    async def _answered(self, call: _Call, data: dict[str, Any]) -> None:
        """Before anything that comes after the answer is looked at: a loss after it makes the list due again."""
        if "refused" not in data:  # somebody asked past us, with `request`: asked again
            return
        self._held = call.people
        if call is self._call:
            call.refused = list(data["refused"])
            self._is_due = False
            call.settled.set()

    def _refused(self, refused: Refused) -> None:
        self._call.fault = refused
        self._call.settled.set()
        self._call = _Call(self._held)
        self._is_due = bool(self._held)  # it holds still, unless the connection was lost meanwhile
