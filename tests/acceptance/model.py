"""The model test: a script of steps is played to a real server, and whatever a device holds is laid beside the truth.

The truth is what was acknowledged (who said what, who is in, who is hidden from whom, each with its step) and, in the
end, the rows of PostgreSQL. A script is drawn by hypothesis, so that what fails shrinks to a few steps. Steps follow
each other without waiting for deliveries; those of one `Together` run at once. `Settle` waits until every device that
is there and reads has everything. What must never be is noticed by the devices themselves, when it happens.

    no one is shown what was said while they were out, or by whom they have blocked, but in the place of `skip`
    every log is in the order of seq, without a hole that was not told, nothing twice
    so is the stream of a user on each of their devices, which is what is stored of it
    what was acknowledged stands once, where the answer said; sent again it is answered with the same place
"""

import json
import random
from collections import Counter
from contextlib import suppress
from typing import Any, Protocol

import trio
from devices import HIDDEN, NO_MESSAGE, Device, Holder, Page
from plays import (
    DIRECT,
    USERS,
    Again,
    Block,
    Come,
    Go,
    Leave,
    Lose,
    Member,
    Say,
    Script,
    Settle,
    Shake,
    Stall,
    Together,
    Wake,
)
from truth import Hiding, Move, Said, Span, Truth
from wire import Answer, Gone, Refused, Socket, connect, cut, http, open_sockets, send_all, wait_until

FLOOD_MESSAGES = 45
FLOOD_BODY = "x" * 9_900
SETTLE_SECONDS_MAX = 20


class Stage(Protocol):
    """A running server, and what can be done to it."""

    server: Any

    async def people(self, *users: int) -> None: ...

    async def log_of(self, room: int) -> list[Any]:
        """Of messages: seq, id, sender_id, client_id, content by seq."""

    async def moves_of(self, room: int) -> list[Any]:
        """Of who came or went: seq, user_id, kind by seq."""

    async def stream_of(self, user: int) -> list[Any]:
        """useq, kind of what is stored in the stream of a user, by useq, when no note waits for it any more."""

    async def shake(self, kind: int, rooms: list[int]) -> str:
        """Hurt it, in a way that loses nothing; what that was."""

    def forgets(self) -> bool:
        """Whether something of late may have been stored and told to nobody but by a replay."""


class World(Truth):
    """One play."""

    def __init__(self, stage: Stage, script: Script, first_user: int, seed: int) -> None:
        super().__init__([first_user + number for number in range(USERS)])
        self.stage, self.script = stage, script
        self.server = stage.server
        self.told_since = 0  # what pages are told live counts from here: before it something was stored unheard
        self.random = random.Random(seed)
        self.seed = seed
        self.devices: list[Device] = []
        self.pages: list[Page] = []
        self.fresh: list[Device] = []  # those that came at the end to see what one who has nothing is given
        self.entering: list[tuple[int, int]] = []
        self.left: list[tuple[int, int]] = []

    # -- steps: what is said --

    async def act(self, step: Any) -> None:
        """One step, to its answer."""
        await getattr(self, f"_{type(step).__name__.lower()}")(step)

    async def _together(self, together: Together) -> None:
        seen = set()
        moves = any(isinstance(step, Member) for step in together.steps)
        if moves:
            await self._find_lost_in(set(self.rooms))
        async with trio.open_nursery() as nursery:
            for step in together.steps:
                if (key := _only_once(step)) in seen:
                    continue
                seen.add(key)
                if isinstance(step, Lose) and moves:  # who comes in does so behind a message that is known
                    step = Say(step.user, step.room, step.by, None)
                nursery.start_soon(self.act, step)

    async def _say(self, step: Say) -> None:
        user, room = self.users[step.user], self.rooms[step.room]
        said = self.say(user, room, f"m{self.seed}", "~" * (len(self.said) % 3 * 400))
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._send_and_judge, said, step.by, self.is_in(user, room))
            if step.also is not None:
                self.counts["twice at once"] += 1
                nursery.start_soon(self._send_and_judge, said, step.also, self.is_in(user, room))

    async def _send_and_judge(self, said: Said, by: str, was_in: bool) -> None:
        where = (said.user, said.room)
        place = await self._send(said, by)
        apart = said.room == self.rooms[-1] and was_in and self.are_apart(*(self.users[number] for number in DIRECT))
        if place is None:
            self.counts["refused to one of two" if apart else "refused"] += 1
            if was_in and where not in self.moving and apart is False:
                self.faults.append(f"step {self.step}: {said.user} is in {said.room} and could not speak")
        elif not was_in and where not in self.moving:
            self.faults.append(f"step {self.step}: {said.user} is not in {said.room} and could speak")
        elif apart is True and said.step == self.step:
            self.faults.append(f"step {self.step}: {said.user} could speak to one with a block between them")

    async def _lose(self, step: Lose) -> None:
        user, room = self.users[step.user], self.rooms[step.room]
        if not self.is_in(user, room):
            return
        said = self.say(user, room, f"m{self.seed}")
        said.is_lost = True
        self.counts["lost"] += 1
        with suppress(OSError, Gone, Refused, trio.TooSlowError):
            if step.by == "rest":
                await self._ask_and_go(said, step.milliseconds / 1000)
                return
            async with open_sockets() as nursery:
                sock = await Socket.open(nursery, self.server, user)
                await sock.start()
                await sock.command("send", room, clientId=said.client_id, body=said.text)
                await trio.sleep(step.milliseconds / 1000)

    async def _ask_and_go(self, said: Said, seconds: float) -> None:
        body = json.dumps({"content": said.text}).encode()
        head = (
            f"POST /api/conversations/{said.room}/messages HTTP/1.1\r\nHost: 127.0.0.1:{self.server.port}\r\n"
            f"Authorization: Bearer {self.server.token(said.user)}\r\nContent-Type: application/json\r\n"
            f"Idempotency-Key: {said.client_id}\r\nContent-Length: {len(body)}\r\n\r\n"
        )
        sock = await connect(self.server)
        try:
            await send_all(sock, head.encode() + body)
            await trio.sleep(seconds)
        finally:
            cut(sock)

    async def _again(self, step: Again) -> None:
        old = [said for said in self.said if (said.place or said.is_lost) and self.is_in(said.user, said.room)]
        if not old:
            return
        said = old[step.which % len(old)]
        if said.place is None:
            await self._find(said, step.by)
            return
        self.counts["again"] += 1
        if await self._send(said, step.by) is None and (said.user, said.room) not in self.moving:
            self.faults.append(f"step {self.step}: what was acknowledged is refused when it is sent again: {said}")

    async def _find(self, said: Said, by: str) -> None:
        """What became of a message whose answer was lost."""
        self.counts["found"] += 1
        await self._send_and_judge(said, by, self.is_in(said.user, said.room))

    async def _find_lost_in(self, rooms: set[int]) -> None:
        for said in self.said:
            if said.is_lost and said.place is None and said.room in rooms and self.is_in(said.user, said.room):
                await self._find(said, "rest")

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
                self.placed(said, place)
            return place

    async def _send_once(self, said: Said, by: str) -> tuple[int, int] | None:
        link = self._link_of(said.user, self.devices if by == "socket" else self.pages)
        if by == "rest" or link is None:
            return await self._send_rest(said)
        self.counts[f"said by {by}"] += 1
        if by == "socket":
            reply = await self._ask(link, "send", said.room, clientId=said.client_id, body=said.text)
            if reply["type"] == "error":
                if reply["data"]["recoverable"]:
                    raise Gone(str(reply))
                return None
            return reply["data"]["messageId"], reply["data"]["seq"]
        at = len(link.events)
        frame = {"type": "send_message", "conversationId": said.room, "content": said.text, "requestId": said.client_id}
        await link.send(frame)
        found: list[Any] = []

        def answered() -> str | None:
            if link.close_code is not None:
                raise Gone("the page's socket")
            kinds = ("message_sent", "error")
            found[:] = [e for e in link.events[at:] if e["type"] in kinds and e.get("requestId") == said.client_id]
            return None if found else "the answer to send_message"

        await wait_until(answered, 4)
        if found[0]["type"] == "error":
            if found[0]["recoverable"]:
                raise Gone(str(found[0]))
            return None
        return found[0]["messageId"], found[0]["seq"]

    @staticmethod
    async def _ask(link: Socket, kind: str, room: int | None = None, **data: Any) -> dict[str, Any]:
        """A command of a device; its answer. Raises Gone as soon as the socket ends."""
        command_id = await link.command(kind, room, **data)

        def answered() -> str | None:
            if link.close_code is not None:
                raise Gone("the device's socket")
            return None if command_id in link.replies else f"the answer to {kind}"

        await wait_until(answered, 4)
        return link.replies[command_id]

    @staticmethod
    def _link_of(user: int, holders: list[Any]) -> Socket | None:
        """An open WebSocket of *user* that is read."""
        return next(
            (
                holder.link
                for holder in holders
                if holder.user == user and holder.is_live and not holder.is_stalled
                if isinstance(holder.link, Socket) and holder.link.close_code is None
            ),
            None,
        )

    async def _send_rest(self, said: Said) -> tuple[int, int] | None:
        path, key = f"/api/conversations/{said.room}/messages", {"Idempotency-Key": said.client_id}
        answer = await http(self.server, "POST", path, {"content": said.text}, user=said.user, headers=key)
        if answer.status in (403, 404):
            return None
        if answer.status not in (200, 201):
            raise Gone(str(answer))
        message = answer.json()["data"]["message"]
        return message["id"], message["seq"]

    # -- steps: people --

    async def _member(self, step: Member) -> None:
        user, room = self.users[step.user], self.rooms[step.room]
        spans = self.inside.setdefault((user, room), [])
        path = f"/api/conversations/{room}/participants"
        if step.change == "add":
            if self.is_in(user, room):
                return
            await self._find_lost_in({room})
            self.moving.add((user, room))
            self.ceilings.pop((user, room), None)
            await self._surely("POST", path, {"userIds": [user]}, self.users[0])
            await self._learn_moves(room)
            spans.append(Span(self.step))
            self.counts["added"] += 1
            self.entry_tops[user, room] = self.tops[room]
            self.entering.append((user, room))
        elif self.is_in(user, room):
            await self._find_lost_in({room})
            self.moving.add((user, room))
            await self._surely("DELETE", f"{path}/{user}", None, user if step.change == "leave" else self.users[0])
            await self._learn_moves(room)
            spans[-1].end = self.step
            self.left.append((user, room))
            self.counts["left" if step.change == "leave" else "removed"] += 1

    async def _learn_moves(self, room: int) -> None:
        self.came_or_went(room, [(row["seq"], row["user_id"], row["kind"]) for row in await self.stage.moves_of(room)])

    async def _block(self, step: Block) -> None:
        user, other = self.users[step.user], self.users[step.other]
        hidings = self.blocks.setdefault((user, other), [])
        was_on = bool(hidings) and hidings[-1].is_on
        if step.is_on and not was_on:
            hidings.append(Hiding(self.step))
            self.counts["blocks"] += 1
        elif not step.is_on and was_on:
            hidings[-1].end_asked = self.step
        await self._ask_for_block(user, other, step)
        if step.is_on and not was_on:
            hidings[-1].begin = self.step
        elif not step.is_on and was_on:
            hidings[-1].end = self.step

    async def _ask_for_block(self, user: int, other: int, step: Block) -> None:
        link = self._link_of(user, self.devices)
        if step.by == "socket" and link is not None:
            with suppress(OSError, Gone, AssertionError, trio.TooSlowError):
                reply = await self._ask(link, "block" if step.is_on else "unblock", user=other)
                if reply["type"] == "ack":
                    self.counts["blocks over a socket"] += 1
                    return
        await self._surely("POST" if step.is_on else "DELETE", f"/api/users/{other}/block", {}, user)

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

    # -- steps: devices and the server --

    def _device(self, number: int) -> Holder:
        return [*self.devices, *self.pages][number]

    async def _come(self, step: Come) -> None:
        device = self._device(step.device)
        transport = step.transport if isinstance(device, Device) else "page"
        self.counts[transport] += 1
        device.want(transport, deflates=step.deflates, cuts=step.cuts)

    async def _leave(self, step: Leave) -> None:
        device = self._device(step.device)
        assert isinstance(device, Device)
        await device.leave(self.rooms[step.room])

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
                said = self.say(self.users[0], room, f"m{self.seed}", FLOOD_BODY)
                saids.append((said, await sock.command("send", room, clientId=said.client_id, body=said.text)))
            await wait_until(lambda: None if all(name in sock.replies for _, name in saids) else "acks of a flood", 15)
            for said, name in saids:
                reply = sock.replies[name]
                if reply["type"] == "ack":
                    self.placed(said, (reply["data"]["messageId"], reply["data"]["seq"]))
                else:
                    await self._send(said, "rest")

    async def _wake(self, step: Wake) -> None:
        self._device(step.device).wake()

    async def _shake(self, step: Shake) -> None:
        self.counts[await self.stage.shake(step.kind, self.rooms)] += 1

    async def _settle(self, step: Settle) -> None:
        del step
        there = [h for h in (*self.devices, *self.pages) if h.transport is not None and not h.is_stalled]
        await self._wait_for(there)
        self.judge_skips()
        for page in there:
            if isinstance(page, Page):
                for room in self.rooms:
                    if self.is_in(page.user, room):
                        self._compare_reading(page, room, await page.read(room))

    async def _wait_for(self, holders: list[Holder]) -> None:
        """Until these have everything; what must never be ends it at once."""

        def missing() -> list[Any]:
            if self._failed():
                raise AssertionError("\n".join(self._failed()))
            return [left for holder in holders for left in self._missing(holder)]

        await wait_until(missing, SETTLE_SECONDS_MAX)

    def _failed(self) -> list[str]:
        return self.faults + [fault for holder in (*self.devices, *self.pages) for fault in holder.faults]

    def _missing(self, holder: Holder) -> list[Any]:
        """What a device that is there and reads must have and has not."""
        rooms = [room for room in self.rooms if self.is_in(holder.user, room)]
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
        since = max(page.connected_in, self.inside[page.user, room][-1].begin, self.told_since)
        return {
            said.place[1]
            for said in self.said
            if said.place is not None
            and (said.room, page.is_stalled) == (room, False)
            and said.step > since
            and not self.may_hide(page.user, said, said.step, self.step)
            and said.user != page.user
        }

    def _compare_reading(self, page: Page, room: int, seqs: set[int]) -> None:
        """Nothing moves meanwhile, so what is shown is known to the last message, but for those of lost answers."""
        for seq in range(1, self.tops[room] + 1):
            said = self.by_place.get((room, seq))
            if said is not None and (seq in seqs) is self.hides_now(page.user, said.user):
                raise AssertionError(f"page of {page.user}, room {room}: {seq} is read or not, but should be otherwise")

    # -- a play --

    async def play(self) -> Counter[str]:
        """All of it. Raises AssertionError."""
        await self._prepare()
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
                might_forget = self.stage.forgets()
                await self.act(step)
                if might_forget or self.stage.forgets():
                    self.told_since = self.step
                for user, room in self.left:
                    if not self.is_in(user, room):
                        self.ceilings[user, room] = self.tops[room]
                for user, room in self.entering:
                    self.entry_tops[user, room] = self.tops[room]
            await self._end()
        return self.counts

    async def _prepare(self) -> None:
        await self.stage.people(*self.users)
        for members in self.script.members:
            others = [user for user, is_in in zip(self.users[1:], members, strict=True) if is_in]
            body = {"isGroup": True, "title": "room", "participantIds": others or [self.users[1]]}
            await self._make_room(body, [self.users[0], *body["participantIds"]])  # type: ignore[misc]
        one, other = (self.users[number] for number in DIRECT)
        await self._make_room({"recipientId": other}, [one, other])
        for number, user in enumerate((0, 1, 1, 2, 3)):
            self.devices.append(Device(self, self.users[user], self.rooms, self.seed + number))
        self.pages += [Page(self, self.users[user], self.rooms, self.seed) for user in (2, 3)]

    async def _make_room(self, body: dict[str, Any], members: list[int]) -> None:
        made = await self._surely("POST", "/api/conversations", body, members[0])
        room = made.json()["data"]["conversation"]["id"]
        self.rooms.append(room)
        for user in self.users:
            if user in members:
                self.inside[user, room] = [Span(0)]
            else:
                self.ceilings[user, room] = 0

    async def _end(self) -> None:
        self.step += 1
        self.moving.clear()
        await self._find_lost_in(set(self.rooms))
        await self._find_lost_among_rows()
        self.step += 1
        for device in self.devices:
            device.wake() if device.transport is not None else device.want("socket")
        for page in self.pages:
            page.wake() if page.transport is not None else page.want("page")
        await self._settle(Settle())
        for user in self.users:
            await self._compare_anew(user)
        await self._compare_rows()
        await self._compare_streams()
        for holder in (*self.devices, *self.pages):
            self.counts["deflated"] += holder.deflated
            for code, count in holder.closes.items():
                self.counts[f"closed {code}"] += count
            for transport, count in holder.lives.items():
                self.counts[f"over {transport}"] += count
            self.counts["slow and back"] += holder.returns
        self.counts["leaves"] += sum(device.leaves for device in self.devices)
        self.counts["own events"] += sum(len(device.own.kinds) for device in self.devices)
        self.counts["gaps"] += sum(device.gaps for device in self.devices)
        self.counts["history"] += sum(device.histories for device in self.devices)
        if self._failed():
            raise AssertionError("\n".join(self._failed()))

    async def _find_lost_among_rows(self) -> None:
        """Of who may not ask any more."""
        lost = {said.client_id: said for said in self.said if said.is_lost and said.place is None}
        for room in {said.room for said in lost.values()}:
            for row in await self.stage.log_of(room):
                if row["client_id"] in lost:
                    self.placed(lost[row["client_id"]], (row["id"], row["seq"]))

    async def _compare_anew(self, user: int) -> None:
        """A device that has nothing yet is given what its user may see, and nothing else."""
        device = Device(self, user, self.rooms, self.seed)
        self.devices.append(device)
        self.fresh.append(device)
        async with open_sockets() as nursery:
            nursery.start_soon(device.run)
            device.want(self.random.choice(("socket", "stream", "poll")))
            await self._wait_for([device])
        for room in self.rooms:
            if not self.is_in(user, room):
                assert not device.logs[room].entries, f"{user} is out of {room} and is told {device.logs[room].entries}"
                continue
            visible = {seq: self._visible(user, room, seq) for seq in range(1, self.tops[room] + 1)}
            entries = {
                seq: visible[seq] if text == NO_MESSAGE and self.is_move(room, seq) else text
                for seq, text in device.logs[room].entries.items()
            }
            assert entries == visible, f"{user} in {room} from the beginning: {entries}"

    def _visible(self, user: int, room: int, seq: int) -> str | None:
        move = self.moves.get((room, seq))
        if move is not None:
            return HIDDEN if (move.user, move.change) == (user, "left") else move.text_at(seq)
        said = self.by_place[room, seq]
        return HIDDEN if self.hides_now(user, said.user) else said.text

    async def _compare_streams(self) -> None:
        """Each device has the stream of its user from where it came in first, in place and kind, to the end."""
        for user in self.users:
            stored = {row["useq"]: row["kind"] for row in await self.stage.stream_of(user)}
            mine = [device for device in self.devices if device.user == user and device not in self.fresh]
            top = len(stored)
            await wait_until(lambda mine=mine, top=top: [one.own.heard for one in mine if one.own.heard != top], 5)
            assert sorted(stored) == list(range(1, len(stored) + 1)), f"the stream of {user} has holes: {stored}"
            for device in mine:
                kinds = {useq: stored.get(useq) for useq in device.own.kinds}
                assert device.own.kinds == kinds, f"{user} was told {device.own.kinds}, and {stored} is stored"

    async def _compare_rows(self) -> None:
        self.judge_skips()
        for room in self.rooms:
            rows, moves = await self.stage.log_of(room), await self.stage.moves_of(room)
            seqs = sorted(row["seq"] for row in (*rows, *moves))
            assert seqs == list(range(1, len(seqs) + 1)), f"{room}: seq has holes"
            moved = {(row["seq"], row["user_id"], row["kind"]) for row in moves}
            known = {(seq, move.user, move.change) for (where, seq), move in self.moves.items() if where == room}
            assert moved == known, f"{room}: {moved ^ known} of who came or went"
            self._judge_changes(room, moves)
            acked = {
                (said.place[1], said.place[0], said.user, said.client_id, said.text)
                for said in self.said
                if said.room == room and said.place is not None
            }
            stored = {(row["seq"], row["id"], row["sender_id"], row["client_id"], row["content"]) for row in rows}
            assert len(stored) == len(rows)
            assert stored == acked, f"{room}: {stored ^ acked}"
            texts = {row["seq"]: row["content"] for row in rows}
            texts |= {seq: Move(user, change).text_at(seq) for seq, user, change in moved}
            for device in self.devices:
                for seq, text in device.logs[room].entries.items():
                    if text == NO_MESSAGE:
                        assert self.is_move(room, seq), f"{device.user} has nothing at {seq}"
                    else:
                        assert text is HIDDEN or text == texts[seq], f"{device.user} has {seq} as {text!r}"
                log = device.logs[room]
                left_out = {seq for part in log.missing for seq in part}  # of who was removed before they had asked
                assert sorted(log.entries) == [seq for seq in range(1, log.heard + 1) if seq not in left_out]
            for page in self.pages:
                for seq, text in page.logs[room].items():
                    assert text == texts[seq]

    def _judge_changes(self, room: int, moves: list[Any]) -> None:
        """Each who came was out before, each who went was in, and whoever is in came last."""
        first = {user: spans[0] for (user, where), spans in self.inside.items() if where == room and spans}
        inside = {user for user, span in first.items() if span.begin == 0}
        for row in moves:
            assert (row["user_id"] in inside) is (row["kind"] == "left"), f"{room}: {row} of who was so before"
            (inside.discard if row["kind"] == "left" else inside.add)(row["user_id"])
        assert inside == {user for user in self.users if self.is_in(user, room)}, f"{room}: {inside} are in by the log"


def _only_once(step: Any) -> object:
    """Steps of one `Together` with the same key would leave unknown what came last."""
    if isinstance(step, Member):
        return Member, step.user, step.room
    if isinstance(step, Block):
        return Block, step.user, step.other
    return type(step) if isinstance(step, Shake) else id(step)


async def play(stage: Stage, script: Script, first_user: int, seed: int, seconds: float) -> Counter[str]:
    """Play one script to the end; what it met. Raises AssertionError with what is wrong."""
    world = World(stage, script, first_user, seed)
    try:
        with trio.fail_after(seconds):
            return await world.play()
    except trio.TooSlowError:
        raise AssertionError(f"after {seconds:g} s the play hangs in step {world.step}: {world._failed()}") from None
