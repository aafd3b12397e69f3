"""The model test: a script of steps is played to a real server, and whatever a device holds is laid beside the truth.

The truth is what was acknowledged (who said what, who is in, who is hidden from whom, each with its step) and, in the
end, the rows of PostgreSQL. A script is drawn by hypothesis, so that what fails shrinks to a few steps. Steps follow
each other without waiting for deliveries; those of one `Together` run at once. `Settle` waits until every device that
is there and reads has everything. What must never be is noticed by the devices themselves, when it happens.

    no one is shown what was said while they were out, or by whom they have blocked, but in the place of `skip`
    every log is in the order of seq, without a hole that was not told, nothing twice
    what was acknowledged stands once, where the answer said; sent again it is answered with the same place
"""

import random
from collections import Counter
from dataclasses import dataclass, field
from typing import Any, Protocol

import trio
from devices import Device, Holder, Page  # type: ignore[import-not-found]
from hypothesis import strategies as st
from wire import Answer, Gone, Refused, Socket, http, open_sockets, wait_until

USERS = 4  # the first is the admin of all rooms, and never out
ROOMS = 2
FLOOD_MESSAGES = 45
FLOOD_BODY = "x" * 9_900


class Stage(Protocol):
    """A running server, and what can be done to it."""

    server: Any
    gap_after: int  # a client that is further behind is told `gap`
    has_blocks: bool

    async def people(self, *users: int) -> None: ...

    async def log_of(self, room: int) -> list[Any]:
        """seq, id, sender_id, client_id, content by seq."""

    async def shake(self, kind: int, rooms: list[int]) -> None:
        """Hurt it, in a way that loses nothing."""


# -- the script -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Say:
    user: int
    room: int
    by: str  # rest, socket, page


@dataclass(frozen=True)
class Again:
    """Send what was said before once more."""

    which: int
    by: str


@dataclass(frozen=True)
class Member:
    user: int  # never the admin
    room: int
    change: str  # add, remove, leave


@dataclass(frozen=True)
class Block:
    user: int
    other: int
    is_on: bool


@dataclass(frozen=True)
class Come:
    """A device connects, over this transport; what it had ends first."""

    device: int
    transport: str
    deflates: bool
    cuts: bool


@dataclass(frozen=True)
class Go:
    device: int
    cuts: bool


@dataclass(frozen=True)
class Stall:
    """A device takes nothing more, and so much is said that the server lets go of it."""

    device: int
    room: int


@dataclass(frozen=True)
class Wake:
    device: int


@dataclass(frozen=True)
class Shake:
    kind: int


@dataclass(frozen=True)
class Settle:
    pass


@dataclass(frozen=True)
class Together:
    steps: tuple[Any, ...]


@dataclass(frozen=True)
class Script:
    members: tuple[tuple[bool, ...], ...]  # by room: which of the users but the admin are in it
    transports: tuple[str, ...]
    steps: tuple[Any, ...]
    is_near: bool  # where that can be chosen: few messages are remembered and replayed
    walks: bool  # likewise: rooms are told as large ones are


ROADS = st.sampled_from(("rest", "socket", "page"))
TRANSPORTS = st.sampled_from(("socket", "stream", "poll"))
_users, _rooms, _devices = st.integers(0, USERS - 1), st.integers(0, ROOMS - 1), st.integers(0, 6)
_quick = st.one_of(
    st.builds(Say, _users, _rooms, ROADS),
    st.builds(Say, _users, _rooms, ROADS),
    st.builds(Member, st.integers(1, USERS - 1), _rooms, st.sampled_from(("add", "remove", "leave"))),
    st.builds(Come, _devices, TRANSPORTS, st.booleans(), st.booleans()),
    st.builds(Go, _devices, st.booleans()),
    st.builds(Again, st.integers(0, 1000), ROADS),
    st.builds(Block, _users, _users, st.booleans()),
)


def scripts(steps_max: int, *, stalls: bool = True, shakes: int = 2) -> st.SearchStrategy[Script]:
    """Of at most so many steps, and half as many. shakes: how many kinds the stage has."""
    more = [st.builds(Stall, _devices, _rooms), st.builds(Wake, _devices)] if stalls else []
    step = st.one_of(
        st.just(Settle()),  # the least: what fails shrinks to it
        _quick,
        _quick,
        st.lists(_quick, min_size=2, max_size=6).map(lambda steps: Together(tuple(steps))),
        st.builds(Shake, st.integers(0, shakes - 1)),
        *more,
    )
    return st.builds(
        Script,
        st.tuples(*[st.tuples(*[st.booleans()] * (USERS - 1))] * ROOMS),
        st.tuples(*[TRANSPORTS] * 5),
        st.lists(step, min_size=steps_max // 2, max_size=steps_max).map(tuple),
        st.booleans(),
        st.booleans(),
    )


# -- the truth --------------------------------------------------------------------------------------------------------


@dataclass
class Said:
    room: int
    user: int
    client_id: str
    text: str
    step: int
    place: tuple[int, int] | None = None  # message id, seq, as it was first answered
    over_rest: bool = True


@dataclass
class Span:
    """From the step in which it was acknowledged until that in which its end was asked for."""

    begin: int
    end: int | None = None


@dataclass
class Outcome:
    """What a play met, for those who want to know that it met anything."""

    counts: Counter[str] = field(default_factory=Counter)


class World:
    """The truth about one play."""

    def __init__(self, stage: Stage, script: Script, first_user: int, seed: int) -> None:
        self.stage, self.script = stage, script
        self.server = stage.server
        self.step = 0
        self.users = [first_user + number for number in range(USERS)]
        self.rooms: list[int] = []
        self.said: list[Said] = []
        self.by_place: dict[tuple[int, int], Said] = {}
        self.tops: Counter[int] = Counter()
        self.inside: dict[tuple[int, int], list[Span]] = {}
        self.entry_tops: dict[tuple[int, int], int] = {}
        self.ceilings: dict[tuple[int, int], int] = {}
        self.blocks: dict[tuple[int, int], list[Span]] = {}
        self.moving: set[tuple[int, int]] = set()  # who comes or goes in this step, and where
        self.faults: list[str] = []
        self.outcome = Outcome()
        self.is_shaken_in = 0
        self.random = random.Random(seed)
        self.seed = seed
        self.devices: list[Device] = []
        self.pages: list[Page] = []
        self.nursery: trio.Nursery | None = None

    # -- what devices ask --

    def now(self) -> int:
        return self.step

    def top_at_entry(self, user: int, room: int) -> int:
        if (user, room) in self.moving:  # nobody knows yet before which message that will be
            return self.tops[room] + FLOOD_MESSAGES
        return self.entry_tops.get((user, room), 0)

    def may_hide(self, user: int, room: int, seq: int) -> bool:
        said = self.by_place.get((room, seq))
        return said is not None and self._may_hide(user, said)

    def leak_in(self, user: int, room: int, seq: int, since: int) -> str | None:
        if seq > self.ceilings.get((user, room), seq):
            return "it was said while they were out"
        said = self.by_place.get((room, seq))
        for span in self.blocks.get((user, said.user), ()) if said else ():
            if span.end is None and span.begin < max(said.step, since):
                return "they have blocked who said it"
        return None

    # -- steps --

    async def act(self, step: Any) -> None:
        await getattr(self, f"_{type(step).__name__.lower()}")(step)

    async def _together(self, together: Together) -> None:
        seen = set()
        async with trio.open_nursery() as nursery:
            for step in together.steps:
                key = (
                    (type(step), step.user, getattr(step, "room", None) if isinstance(step, Member) else step.other)
                    if (isinstance(step, Member | Block))
                    else id(step)
                )
                if key not in seen:
                    seen.add(key)
                    nursery.start_soon(self.act, step)

    def _is_in(self, user: int, room: int) -> bool:
        spans = self.inside.get((user, room), [])
        return bool(spans) and spans[-1].end is None

    async def _say(self, step: Say) -> None:
        user, room = self.users[step.user], self.rooms[step.room]
        number = len(self.said)
        said = Said(
            room, user, f"m{self.seed}-{number}", f"{user} says {number} " + "~" * (number % 3 * 400), self.step
        )
        self.said.append(said)
        was_in = self._is_in(user, room)
        place = await self._send(said, step.by)
        if place is None:
            self.outcome.counts["refused"] += 1
            if was_in and (user, room) not in self.moving:
                self.faults.append(f"step {self.step}: {user} is in {room} and could not speak")
        elif not was_in and (user, room) not in self.moving:
            self.faults.append(f"step {self.step}: {user} is not in {room} and could speak")

    async def _again(self, step: Again) -> None:
        old = [said for said in self.said if said.place is not None and self._is_in(said.user, said.room)]
        if old:
            said = old[step.which % len(old)]
            self.outcome.counts["again"] += 1
            if await self._send(said, step.by) is None and (said.user, said.room) not in self.moving:
                self.faults.append(f"step {self.step}: what was acknowledged is refused when it is sent again: {said}")

    async def _send(self, said: Said, by: str) -> tuple[int, int] | None:
        """Until it is known: the place, or None when it was refused."""
        while True:
            try:
                place = await self._send_once(said, by)
            except (OSError, Gone, Refused, AssertionError, trio.TooSlowError):
                by = "rest"  # nobody knows what became of it: the same client id, again
                await trio.sleep(0.03)
                continue
            if place is not None:
                self._place(said, place)
            return place

    def _place(self, said: Said, place: tuple[int, int]) -> None:
        if said.place is None:
            said.place = place
            if self.by_place.setdefault((said.room, place[1]), said) is not said:
                self.faults.append(f"two messages were acknowledged at {said.room}/{place[1]}")
            self.tops[said.room] = max(self.tops[said.room], place[1])
        elif said.place != place:
            self.faults.append(f"step {self.step}: {said} was sent again and answered with {place}")

    async def _send_once(self, said: Said, by: str) -> tuple[int, int] | None:
        holders: list[Holder] = [*self.devices] if by == "socket" else [*self.pages]
        links = [h.link for h in holders if h.user == said.user and isinstance(h.link, Socket) and h.is_live]
        links = [link for link in links if link.close_code is None and not self._holder_of(link).is_stalled]
        if by == "rest" or not links:
            return await self._send_rest(said)
        self.outcome.counts[f"said by {by}"] += 1
        said.over_rest = False
        if by == "socket":
            reply = await links[0].ask("send", said.room, seconds=4, clientId=said.client_id, body=said.text)
            if reply["type"] == "error":
                if reply["data"]["recoverable"]:
                    raise Gone(str(reply))
                return None
            return reply["data"]["messageId"], reply["data"]["seq"]
        at = len(links[0].events)
        frame = {"type": "send_message", "conversationId": said.room, "content": said.text, "requestId": said.client_id}
        await links[0].send(frame)
        found: list[Any] = []

        def answered() -> str | None:
            kinds = ("message_sent", "error")
            found[:] = [e for e in links[0].events[at:] if e["type"] in kinds and e.get("requestId") == said.client_id]
            return None if found else "the answer to send_message"

        await wait_until(answered, 4)
        if found[0]["type"] == "error":
            if found[0]["recoverable"]:
                raise Gone(str(found[0]))
            return None
        return found[0]["messageId"], found[0]["seq"]

    def _holder_of(self, link: object) -> Holder:
        return next(holder for holder in (*self.devices, *self.pages) if holder.link is link)

    async def _send_rest(self, said: Said) -> tuple[int, int] | None:
        path, key = f"/api/conversations/{said.room}/messages", {"Idempotency-Key": said.client_id}
        answer = await http(self.server, "POST", path, {"content": said.text}, user=said.user, headers=key)
        if answer.status in (403, 404):
            return None
        if answer.status not in (200, 201):
            raise Gone(str(answer))
        message = answer.json()["data"]["message"]
        return message["id"], message["seq"]

    async def _member(self, step: Member) -> None:
        user, room = self.users[step.user], self.rooms[step.room]
        spans = self.inside.setdefault((user, room), [])
        path = f"/api/conversations/{room}/participants"
        if step.change == "add":
            if self._is_in(user, room):
                return
            self.moving.add((user, room))
            self.ceilings.pop((user, room), None)
            await self._surely("POST", path, {"userIds": [user]}, self.users[0])
            spans.append(Span(self.step))
            self.entry_tops[user, room] = self.tops[room]
            self.entering.append((user, room))
        elif self._is_in(user, room):
            self.moving.add((user, room))
            await self._surely("DELETE", f"{path}/{user}", None, user if step.change == "leave" else self.users[0])
            spans[-1].end = self.step
            self.left.append((user, room))
            self.outcome.counts["left"] += 1

    async def _block(self, step: Block) -> None:
        user, other = self.users[step.user], self.users[step.other]
        if user == other or not self.stage.has_blocks:
            return
        spans = self.blocks.setdefault((user, other), [])
        is_on = bool(spans) and spans[-1].end is None
        if not step.is_on and is_on:
            spans[-1].end = self.step
        await self._surely("POST" if step.is_on else "DELETE", f"/api/users/{other}/block", {}, user)
        if step.is_on and not is_on:
            spans.append(Span(self.step))
            self.outcome.counts["blocks"] += 1

    async def _surely(self, method: str, path: str, body: Any, user: int) -> Answer:
        """Until it is done; each of these may be repeated without harm."""
        with trio.fail_after(30):
            while True:
                try:
                    answer = await http(self.server, method, path, body, user=user)
                except (OSError, Gone):
                    answer = Answer(503, {}, b"")
                if answer.status < 300:
                    return answer
                if answer.status < 500 and not (method == "DELETE" and answer.status in (403, 404)):
                    raise AssertionError(f"step {self.step}: {method} {path} {answer}")
                if answer.status < 500:
                    return answer  # it was done by the request before, whose answer was lost
                await trio.sleep(0.03)

    def _device(self, number: int) -> Holder:
        return [*self.devices, *self.pages][number]

    async def _come(self, step: Come) -> None:
        device = self._device(step.device)
        transport = step.transport if isinstance(device, Device) else "page"
        self.outcome.counts[transport] += 1
        device.want(transport, deflates=step.deflates, cuts=step.cuts)

    async def _go(self, step: Go) -> None:
        self._device(step.device).want(None, cuts=step.cuts)

    async def _stall(self, step: Stall) -> None:
        device = self._device(step.device)
        transport = device.transport or ("socket" if isinstance(device, Device) else "page")
        device.want(transport, is_narrow=True)
        if transport != "poll":
            await wait_until(lambda: None if device.is_live else f"live over {transport}: {device.faults}", 15)
        device.stall()
        room = self.rooms[step.room]
        async with open_sockets() as nursery:
            sock = await Socket.open(nursery, self.server, self.users[0])
            await sock.start()
            saids = []
            for _ in range(FLOOD_MESSAGES):
                said = Said(
                    room, self.users[0], f"m{self.seed}-{len(self.said)}", f"{len(self.said)} {FLOOD_BODY}", self.step
                )
                said.over_rest = False
                self.said.append(said)
                saids.append((said, await sock.command("send", room, clientId=said.client_id, body=said.text)))
            await wait_until(lambda: None if all(name in sock.replies for _, name in saids) else "acks of a flood", 15)
            for said, name in saids:
                reply = sock.replies[name]
                if reply["type"] == "ack":
                    self._place(said, (reply["data"]["messageId"], reply["data"]["seq"]))
                else:
                    await self._send(said, "rest")

    async def _wake(self, step: Wake) -> None:
        self._device(step.device).wake()

    async def _shake(self, step: Shake) -> None:
        self.is_shaken_in = self.step
        await self.stage.shake(step.kind, self.rooms)
        self.outcome.counts[f"shake {step.kind}"] += 1

    async def _settle(self, step: Settle) -> None:
        del step
        there = [h for h in (*self.devices, *self.pages) if h.transport is not None and not h.is_stalled]
        await self._wait_for(there)
        for page in there:
            if isinstance(page, Page):
                for room in self.rooms:
                    if self._is_in(page.user, room):
                        await page.read(room)
                        self._compare_page(page, room)

    async def _wait_for(self, holders: list[Holder]) -> None:
        """Until these have everything; what must never be ends it at once."""

        def missing() -> list[Any]:
            if self._failed():
                raise AssertionError("\n".join(self._failed()))
            return [left for holder in holders for left in self._missing(holder)]

        await wait_until(missing, 12)

    def _failed(self) -> list[str]:
        return self.faults + [fault for holder in (*self.devices, *self.pages) for fault in holder.faults]

    def _missing(self, holder: Holder) -> list[Any]:
        """What a device that is there and reads must have and has not."""
        rooms = [room for room in self.rooms if self._is_in(holder.user, room)]
        if isinstance(holder, Page):
            return ["page is not live"] * (not holder.is_live) + [
                (holder.user, room, "not told", sorted(missing)[:3])
                for room in rooms
                if (missing := self._due(holder, room) - set(holder.live[room]))
            ]
        assert isinstance(holder, Device)
        left: list[Any] = []
        for room in rooms:
            log = holder.logs[room]
            if log.is_fresh and log.is_inside and log.heard < self.tops[room] <= self.top_at_entry(holder.user, room):
                log.miss(self.tops[room])  # all of it was said before they came
                holder.filled.set()
            if log.heard < self.tops[room] or log.missing:
                left.append((holder.user, holder.transport, room, "has", log.heard, log.missing, "of", self.tops[room]))
        return left

    def _due(self, page: Page, room: int) -> set[int]:
        """What a page must have been told on its connection."""
        since = max(page.connected_in, self.inside[page.user, room][-1].begin, self.is_shaken_in)
        return {
            said.place[1]
            for said in self.said
            if said.place is not None
            and (said.room, page.is_stalled) == (room, False)
            and said.step > since
            and not self.blocks.get((page.user, said.user))
            and said.user != page.user
        }

    def _compare_page(self, page: Page, room: int) -> None:
        for seq in range(1, self.tops[room] + 1):
            said = self.by_place[room, seq]
            if seq not in page.logs[room] and not self._may_hide(page.user, said):
                raise AssertionError(f"the page of {page.user} has {seq} of room {room} neither live nor over REST")

    def _may_hide(self, user: int, said: Said) -> bool:
        return bool(self.blocks.get((user, said.user)))

    # -- a play --

    async def play(self) -> Outcome:
        """All of it. Raises AssertionError."""
        await self.stage.people(*self.users)
        for members in self.script.members:
            others = [user for user, is_in in zip(self.users[1:], members, strict=True) if is_in]
            body = {"isGroup": True, "title": "room", "participantIds": others or [self.users[1]]}
            made = await self._surely("POST", "/api/conversations", body, self.users[0])
            room = made.json()["data"]["conversation"]["id"]
            self.rooms.append(room)
            for user in [self.users[0], *body["participantIds"]]:
                self.inside[user, room] = [Span(0)]
            for user in self.users:
                if (user, room) not in self.inside:
                    self.ceilings[user, room] = 0
        for number, user in enumerate((0, 1, 1, 2, 3)):
            self.devices.append(Device(self, self.users[user], self.rooms, self.seed + number))
        self.pages += [Page(self, self.users[user], self.rooms, self.seed) for user in (2, 3)]
        self.entering: list[tuple[int, int]] = []
        self.left: list[tuple[int, int]] = []
        async with open_sockets() as nursery:
            for holder in (*self.devices, *self.pages):
                nursery.start_soon(holder.run)
            for device, transport in zip(self.devices, self.script.transports, strict=True):
                device.want(transport, deflates=self.random.random() < 0.5)
            for page in self.pages:
                page.want("page", deflates=self.random.random() < 0.5)
            for step in self.script.steps:
                self.step += 1
                self.left, self.entering = [], []
                self.moving.clear()
                await self.act(step)
                for user, room in self.left:
                    if not self._is_in(user, room):
                        self.ceilings[user, room] = self.tops[room]
                for user, room in self.entering:
                    self.entry_tops[user, room] = self.tops[room]
            await self._end()
        return self.outcome

    async def _end(self) -> None:
        self.step += 1
        for device in self.devices:
            device.wake() if device.transport is not None else device.want("socket")
        for page in self.pages:
            page.wake() if page.transport is not None else page.want("page")
        await self._settle(Settle())
        for user in self.users:
            await self._compare_anew(user)
        await self._compare_rows()
        for holder in (*self.devices, *self.pages):
            self.outcome.counts["deflated"] += holder.deflated
            for code, count in holder.closes.items():
                self.outcome.counts[f"closed {code}"] += count
        self.outcome.counts["gaps"] += sum(device.gaps for device in self.devices)
        if self._failed():
            raise AssertionError("\n".join(self._failed()))

    async def _compare_anew(self, user: int) -> None:
        """A device that has nothing yet is given what its user may see, and nothing else."""
        device = Device(self, user, self.rooms, 0)
        self.devices.append(device)
        async with open_sockets() as nursery:
            nursery.start_soon(device.run)
            device.want(self.random.choice(("socket", "stream")))
            await self._wait_for([device])
        for room in self.rooms:
            if not self._is_in(user, room):
                assert not device.logs[room].entries, f"{user} is out of {room} and is told {device.logs[room].entries}"
                continue
            hidden = {
                other for (by, other), spans in self.blocks.items() if by == user and spans and spans[-1].end is None
            }
            saids = [self.by_place[room, seq] for seq in range(1, self.tops[room] + 1)]
            visible = {said.place[1]: None if said.user in hidden else said.text for said in saids if said.place}
            assert device.logs[room].entries == visible, (
                f"{user} in {room} from the beginning: {device.logs[room].entries}"
            )

    async def _compare_rows(self) -> None:
        for room in self.rooms:
            rows = await self.stage.log_of(room)
            assert [row["seq"] for row in rows] == list(range(1, len(rows) + 1)), f"{room}: seq has holes"
            mine = {said.client_id: said for said in self.said if said.room == room}
            acked = {
                (said.place[1], said.place[0], said.user, said.client_id, said.text)
                for said in mine.values()
                if said.place is not None
            }
            stored = {(row["seq"], row["id"], row["sender_id"], row["client_id"], row["content"]) for row in rows}
            assert len(stored) == len(rows)
            assert stored == acked, f"{room}: {stored ^ acked}"
            texts = {row["seq"]: (row["content"], row["sender_id"]) for row in rows}
            for device in self.devices:
                for seq, text in device.logs[room].entries.items():
                    whole, sender = texts[seq]
                    may_hide = bool(self.blocks.get((device.user, sender)))
                    assert text == whole or (text is None and may_hide), f"{device.user} has {seq} as {text!r}"
                assert sorted(device.logs[room].entries) == list(range(1, len(device.logs[room].entries) + 1))
            for page in self.pages:
                for seq, text in page.logs[room].items():
                    assert text == texts[seq][0]


async def play(stage: Stage, script: Script, first_user: int, seed: int) -> Outcome:
    """Play one script to the end. Raises AssertionError with what is wrong."""
    world = World(stage, script, first_user, seed)
    try:
        with trio.fail_after(90):
            return await world.play()
    except trio.TooSlowError:
        raise AssertionError(f"the play hangs in step {world.step}: {world._failed()}") from None
