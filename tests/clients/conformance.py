"""Does a client keep the contract of docs/clients.md? Drives it through drops and restarts of a real server.

    python tests/clients/conformance.py --list
    python tests/clients/conformance.py -- node my_driver.js
    python tests/clients/conformance.py --only cuts_of_sends -- ./my_driver

What stands behind `--` is a program that speaks the driver's protocol. Several are started at a time: they talk to
each other, through a proxy that cuts where it hurts (hostile_proxy.py). In the end what each client has told its user
must be the server's log: every message once, in order, each line stored once and as it was said, and confirmed with its
seq.

Exit codes: 0 every scenario held; 1 one did not, and why; 2 told wrongly.
"""

import argparse
import json
import random
import sys
import time
import traceback
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from http.client import HTTPConnection
from itertools import count
from pathlib import Path
from typing import Any, Final

import trio

HERE: Final = Path(__file__).parent
sys.path[:0] = [str(HERE), str(HERE.parent / "acceptance"), str(HERE.parent)]

from hostile_proxy import HostileProxy, Moment, open_proxy  # type: ignore[import-not-found]  # noqa: E402
from person import Failed, Person, open_person  # type: ignore[import-not-found]  # noqa: E402
from server_process import ServerProcess, sweep_abandoned  # type: ignore[import-not-found]  # noqa: E402

from greenroom.client.connection import EXPECTED_SECONDS_MAX  # noqa: E402

SETTLE_SECONDS_MAX: Final = 45.0
OVER_SECONDS_MAX: Final = 200.0  # a minute's allowance has to come back once, or twice
POLL_SECONDS: Final = 0.05
PDF: Final = b"%PDF-1.7\n" + b"x" * 300
_ids = count(7_000_000, 100)


class World:
    """A server, the proxy in front of it, and the programs that drive clients."""

    def __init__(
        self, server: ServerProcess, proxy: HostileProxy, drivers: list[list[str]], stack: AsyncExitStack, seed: int
    ) -> None:
        self.seed = seed
        self.settle_seconds_max = SETTLE_SECONDS_MAX
        self.server = server
        self.proxy = proxy
        self.drivers = drivers
        self._stack = stack  # of the clients, who leave in order at its end

    async def people(self, number: int, *, direct: bool = False) -> list[Person]:
        """So many clients, of each driver in turn; direct: past the proxy."""
        first = next(_ids)
        await self.server.make_people(*range(first, first + number))
        return [
            await self.person(first + at, self.drivers[at % len(self.drivers)], direct=direct) for at in range(number)
        ]

    async def person(
        self, user_id: int, driver: list[str], *, direct: bool = False, token: Callable[[], str] | None = None
    ) -> Person:
        port = self.server.port if direct else self.proxy.port
        name = f"user {user_id} ({' '.join(Path(word).name for word in driver)})"
        shown = token or (lambda: ServerProcess.token(user_id))
        opened: Person = await self._stack.enter_async_context(
            open_person(driver, f"http://127.0.0.1:{port}", user_id, name, shown)
        )
        return opened

    async def room(self, *people: Person) -> int:
        """A new room that they have joined."""
        room_id: int = await self.server.make_room(next(_ids), [person.user_id for person in people])
        async with trio.open_nursery() as nursery:
            for person in people:
                nursery.start_soon(person.join, room_id)
        return room_id

    async def settled(
        self, room: int, *people: Person, recent_of: int = 0, hides: Callable[[Person, Any], bool] = lambda *_: False
    ) -> list[Any]:
        """Wait until everything is said and heard, and compare; what is stored.

        recent_of: the seq before the first. hides: what of the rows a person may not see.
        """
        for person in people:
            await person.wait_sent()
        stored = await self.server.log_of(room)
        rows = [row for row in stored if row["seq"] > recent_of]
        for person in people:
            own = {row["client_id"]: row["seq"] for row in rows if row["sender_id"] == person.user_id}
            expected = [
                [row["seq"], row["sender_id"], row["client_id"] if row["client_id"] in own else None, row["content"]]
                for row in rows
                if not hides(person, row)
            ]
            report = await self._report_with(
                person, room, lambda report, expected=expected: len(report["log"]) >= len(expected)
            )
            assert report["log"] == expected, _difference(person, report["log"], expected)
            assert report["undelivered"] == {}, f"{person.name}: {report['undelivered']}"
            confirmed = {id_: seq for id_, seq in report["confirmed"].items() if id_ in own}
            assert confirmed == own, _difference(person, sorted(confirmed.items()), sorted(own.items()))
        self._check_said(room, stored, people)
        return stored

    def _check_said(self, room: int, stored: list[Any], people: tuple[Person, ...]) -> None:
        assert [row["seq"] for row in stored] == list(range(1, len(stored) + 1)), "the server's log has a hole"
        for person in people:
            own = [(row["client_id"], row["content"]) for row in stored if row["sender_id"] == person.user_id]
            said = person.said.get(room, [])
            assert own == said, _difference(person, own, said)

    async def _report_with(
        self, person: Person, room: int | None, is_enough: Callable[[dict[str, Any]], bool]
    ) -> dict[str, Any]:
        deadline = trio.current_time() + self.settle_seconds_max
        while not is_enough(report := await person.report(room)):
            assert trio.current_time() < deadline, (
                f"{person.name} after {self.settle_seconds_max:g} s: {_short(report)}"
            )
            await trio.sleep(POLL_SECONDS)
        return report

    async def settled_stream(self, user_id: int, *devices: Person) -> list[Any]:
        """Wait until every device was told all that is stored for the user, each once; what is stored."""
        deadline = trio.current_time() + self.settle_seconds_max
        while await self.server.query("select from user_notes where user_id = $1", user_id):
            assert trio.current_time() < deadline, "what rooms have noted for the user is not told"
            await trio.sleep(POLL_SECONDS)
        stored = await self.server.query(
            "select useq, kind, conversation_id from user_events where user_id = $1 order by useq", user_id
        )
        expected = [[row["useq"], row["kind"], row["conversation_id"]] for row in stored]
        assert [row["useq"] for row in stored] == list(range(1, len(stored) + 1)), "the user's stream has a hole"
        for device in devices:
            report = await self._report_with(device, None, lambda report: len(report["personal"]) >= len(expected))
            assert report["personal"] == expected, _difference(device, report["personal"], expected)
            assert report["missed"] == [], report["missed"]
        return expected

    async def wait_here(self, room: int, watcher: Person, *others: Person) -> None:
        """Wait until the client shows exactly these as being here."""
        here = sorted(person.user_id for person in (watcher, *others))
        await self._report_with(watcher, room, lambda report: report["here"] == here)

    async def upload(self, person: Person, name: str) -> str:
        """A file of theirs, over HTTP; its key."""
        head = f'--b\r\nContent-Disposition: form-data; name="file"; filename="{name}"\r\n\r\n'.encode()
        headers = {
            "Authorization": f"Bearer {ServerProcess.token(person.user_id)}",
            "Content-Type": "multipart/form-data; boundary=b",
        }

        def post() -> dict[str, Any]:
            connection = HTTPConnection("127.0.0.1", self.server.port, timeout=SETTLE_SECONDS_MAX)
            connection.request("POST", "/api/messages/attachments", head + PDF + b"\r\n--b--\r\n", headers)
            answer: dict[str, Any] = json.load(connection.getresponse())
            return answer

        answer = await trio.to_thread.run_sync(post)
        assert answer["success"], answer
        return str(answer["data"]["key"])

    async def move(self, admin: Person, room: int, user_id: int, *, is_in: bool) -> None:
        """Bring somebody in, or send them away, over HTTP."""
        headers = {"Authorization": f"Bearer {ServerProcess.token(admin.user_id)}", "Content-Type": "application/json"}
        path = f"/api/conversations/{room}/participants"

        def ask() -> int:
            connection = HTTPConnection("127.0.0.1", self.server.port, timeout=SETTLE_SECONDS_MAX)
            if is_in:
                connection.request("POST", path, json.dumps({"userIds": [user_id]}), headers)
            else:
                connection.request("DELETE", f"{path}/{user_id}", headers=headers)
            return connection.getresponse().status

        assert await trio.to_thread.run_sync(ask) == 200

    async def say_over_http(self, person: Person, room: int, body: str, key: str) -> None:
        """Say something under an `Idempotency-Key`, past the client."""
        headers = {
            "Authorization": f"Bearer {ServerProcess.token(person.user_id)}",
            "Content-Type": "application/json",
            "Idempotency-Key": key,
        }

        def post() -> int:
            connection = HTTPConnection("127.0.0.1", self.server.port, timeout=SETTLE_SECONDS_MAX)
            connection.request("POST", f"/api/conversations/{room}/messages", json.dumps({"content": body}), headers)
            return connection.getresponse().status

        assert await trio.to_thread.run_sync(post) in (200, 201)

    async def wait_stands(self, room: int, *people: Person) -> None:
        """Wait until every client shows the files of the messages, and what became of them, as it is stored."""
        rows = await self.server.query(
            "select seq, attachments, details, edited_at, deleted_at from messages where conversation_id = $1"
            " order by seq",
            room,
        )
        stands = [[row["seq"], *_state(row)] for row in rows]
        expected = [stand for stand in stands if any(stand[1:])]
        for person in people:
            report = await self._report_with(person, room, lambda report: len(report["states"]) >= len(expected))
            assert report["states"] == expected, _difference(person, report["states"], expected)

    async def wait_watched(self, watcher: Person, *statuses: tuple[Person, str]) -> None:
        """Wait until the client shows exactly these people as watched, each so."""
        expected = sorted([person.user_id, status] for person, status in statuses)
        await self._report_with(watcher, None, lambda report: report["watched"] == expected)

    async def wait_report(
        self, person: Person, is_enough: Callable[[dict[str, Any]], bool], room: int | None = None
    ) -> Any:
        """Wait until the client reports what *is_enough* takes."""
        return await self._report_with(person, room, is_enough)


Scenario = Callable[[World], Awaitable[None]]


# -- the scenarios -----------------------------------------------------------------------------------------------------


async def cuts_of_handshakes(world: World) -> None:
    """The line is cut in the handshake, before ready, and when the replay is done and nothing says so."""
    moments = (
        Moment.UPGRADE_UNANSWERED,
        Moment.UPGRADE_HALF_ANSWERED,
        Moment.NO_HELLO,
        Moment.START_UNSENT,
        Moment.NO_READY,
        Moment.NO_LIVE,
    )
    for moment in moments[:3]:  # already on the way to the first connection
        world.proxy.cut_at(moment)
    people = await world.people(2)
    room = await world.room(*people)
    for moment in moments:
        await _talk(people, room, f"{moment.name} ", 3)
        world.proxy.cut_at(Moment.NO_COPY)  # so that there is a handshake
        world.proxy.cut_at(moment)
        await _talk(people, room, f"{moment.name} after ", 3)
        await _wait_cut(world)
        await world.settled(room, *people)
    await world.wait_here(room, *people)


async def cuts_of_sends(world: World) -> None:
    """The line is cut around what a client says: before it was sent, half sent, before the ack, after the commit."""
    people = await world.people(2)
    for moment in (Moment.SEND_UNSENT, Moment.SEND_HALF, Moment.BEFORE_ACK, Moment.AFTER_COMMIT):
        room = await world.room(*people)
        for after in (0, 0, 3, 4):
            world.proxy.cut_at(moment, after=after)
        await _talk(people, room, f"{moment.name} ", 12)
        await _wait_cut(world)
        await world.settled(room, *people)


async def client_ids_of_every_kind(world: World) -> None:
    """A line keeps the client id that it is given, of whatever length, through cuts, beside other commands, in two
    rooms and over HTTP before; one that is pending is the same line, or refused at the door, as what is none is."""
    one, two = people = await world.people(2)
    rooms = [await world.room(*people) for _ in range(2)]
    client_ids = [f"c{number}" for number in range(1, 30)]
    client_ids += ["start", "k" * 64, "k" * 65, "k" * 255, "\N{GRINNING FACE}" * 255, "a key\n"]
    for moment in (Moment.SEND_HALF, Moment.BEFORE_ACK, Moment.AFTER_COMMIT):
        for after in (1, 7):
            world.proxy.cut_at(moment, after=after)
    async with trio.open_nursery() as nursery:
        for room in rooms:
            nursery.start_soon(one.send, room, [f"said as {id_[:5]}" for id_ in client_ids], client_ids)
            nursery.start_soon(_repeat, one, "members", room)
    await _wait_cut(world)
    for room in rooms:
        await world.settled(room, *people)
    key = "k" * 90
    await world.say_over_http(one, rooms[0], "over HTTP", key)
    await one.send(rooms[0], ["over HTTP", "and on"], [key, "and on"])
    for room in rooms:
        await world.settled(room, *people)
    for wrong in ("", "k" * 256):
        assert await _code_of(two.send(rooms[0], ["never said"], [wrong])) == 0, f"a client id of {len(wrong)} is taken"
    world.proxy.close()
    await world.wait_report(two, lambda report: not report["isConnected"])
    await two.send(rooms[0], ["once", "and more"], ["once", "and more"])
    await two.ask("send", room=rooms[0], bodies=["once"], clientIds=["once"])
    assert await _code_of(two.send(rooms[0], ["else"], ["once"])) == 3010, "another line takes a client id that waits"
    world.proxy.open()
    await world.settled(rooms[0], *people)


async def cuts_of_what_is_heard(world: World) -> None:
    """The line is cut before a message, and in the middle of one."""
    people = await world.people(2)
    for moment in (Moment.NO_COPY, Moment.MID_FRAME):
        room = await world.room(*people)
        for after in (0, 1, 5, 6):
            world.proxy.cut_at(moment, after=after)
        await _talk(people, room, f"{moment.name} ", 12)
        await _wait_cut(world)
        await world.settled(room, *people)


async def far_behind(world: World) -> None:
    """More is missed than the server replays: the gap is filled through history, which is cut, too."""
    (away,) = await world.people(1)
    (busy,) = await world.people(1, direct=True)
    room = await world.server.make_room(next(_ids), [away.user_id, busy.user_id])
    await away.join(room)
    await busy.join(room)
    await busy.send(room, ["before"])
    await world.settled(room, away, busy)
    world.proxy.close()
    await away.send(room, ["said while away"])
    await busy.send(room, [f"missed {number}" for number in range(600)])
    await busy.wait_sent()
    for moment in (Moment.HISTORY_UNANSWERED, Moment.HISTORY_HALF, Moment.HISTORY_HALF):
        world.proxy.cut_at(moment, after=int(moment is Moment.HISTORY_HALF))
    world.proxy.open()
    await _wait_cut(world)
    await world.settled(room, away, busy)


async def edited_and_deleted(world: World) -> None:
    """Messages are edited and deleted while the line is cut, over a gap, and by others: each client shows them as they
    stand, and hears each change once and in order."""
    (away,) = await world.people(1)
    (busy,) = await world.people(1, direct=True)
    room = await world.server.make_room(next(_ids), [away.user_id, busy.user_id])
    await away.join(room)
    await busy.join(room)
    chance = random.Random(world.seed)
    for moment in (Moment.NO_COPY, Moment.MID_FRAME, Moment.AFTER_COMMIT):
        await _talk((away, busy), room, f"{moment.name} ", 6)
        world.proxy.cut_at(moment)
        await _talk((away, busy), room, "and ", 2)
        await _change_some(world, room, (away, busy), chance, 8)
        await _wait_cut(world)
        await _settled_with_changes(world, room, away, busy)
    world.proxy.close()
    await _change_some(world, room, (busy,), chance, 3)
    await busy.send(room, [f"missed {number}" for number in range(510)])
    await busy.wait_sent()
    await _change_some(world, room, (busy,), chance, 5)
    world.proxy.open()
    await _settled_with_changes(world, room, away, busy)


async def who_comes_and_goes(world: World) -> None:
    """Others come and go while the line is cut, and over a gap: each client is told of each once and in its place, and
    who is removed is told that, and nothing of the room afterwards, whether they were there or away."""
    (away,) = await world.people(1)
    (busy,) = await world.people(1, direct=True)
    room = await world.server.make_room(next(_ids), [busy.user_id, away.user_id])
    guests = [next(_ids) for _ in range(3)]
    await world.server.make_people(*guests)
    await away.join(room)
    await busy.join(room)
    for moment in (Moment.NO_COPY, Moment.MID_FRAME):
        await _talk((away, busy), room, f"{moment.name} ", 3)
        world.proxy.cut_at(moment)
        for is_in in (True, False):
            for guest in guests:
                await world.move(busy, room, guest, is_in=is_in)
            await _talk((away, busy), room, f"and {is_in} ", 2)
        await _wait_cut(world)
        await _settled_with_members(world, room, away, busy)
    world.proxy.close()
    await world.move(busy, room, guests[0], is_in=True)
    await busy.send(room, [f"missed {number}" for number in range(510)])
    await busy.wait_sent()
    await world.move(busy, room, guests[1], is_in=True)
    world.proxy.open()
    told = await _settled_with_members(world, room, away, busy)
    await world.move(busy, room, away.user_id, is_in=False)
    await busy.send(room, ["not for them"])
    end = [room, told[-1][1] + 1, away.user_id, False]
    await world.wait_report(away, lambda report: report["members"][-1:] == [end], room)
    await _settled_with_members(world, room, busy)
    assert await _code_of_join(away, room) == 3004, "who was removed is let in"
    await world.move(busy, room, away.user_id, is_in=True)
    await away.join(room)
    world.proxy.close()
    await world.wait_report(away, lambda report: not report["isConnected"])
    await world.move(busy, room, away.user_id, is_in=False)
    await busy.send(room, ["not for them"])
    world.proxy.open()
    end = [room, (await _settled_with_members(world, room, busy))[-1][1], away.user_id, False]
    report = await world.wait_report(away, lambda report: report["members"][-1:] == [end], room)
    assert report["members"].count(end) == 1
    assert await _code_of_join(away, room) == 3004, "who was removed while away is let in"
    assert "not for them" not in str(await away.report(room))


async def files_and_what_becomes_of_them(world: World) -> None:
    """Files and details go with their lines through every cut, once; each client shows them, and what was edited or
    deleted since, whether it was there, came back, or comes later and has it from history."""
    (away,) = await world.people(1)
    (busy,) = await world.people(1, direct=True)
    (later,) = await world.people(1, direct=True)
    room = await world.server.make_room(next(_ids), [away.user_id, busy.user_id, later.user_id])
    await away.join(room)
    await busy.join(room)
    await away.send(room, ["who comes?"])
    await world.settled(room, away, busy)
    root = (await world.server.log_of(room))[0]["id"]
    details = {"replyTo": str(root), "thread": root, "mentions": [busy.user_id], "kind": "poll"}
    for moment in (Moment.SEND_UNSENT, Moment.SEND_HALF, Moment.BEFORE_ACK, Moment.AFTER_COMMIT):
        keys = [await world.upload(away, f"{moment.name} {at}.pdf") for at in range(2)]
        world.proxy.cut_at(moment)
        await away.send_files(room, f"{moment.name}", keys, **details)
        await away.send(room, ["and on"])
        await _wait_cut(world)
        await world.settled(room, away, busy)
    await world.wait_stands(room, away, busy)
    world.proxy.cut_at(Moment.NO_COPY)
    await busy.send_files(room, "while away", [await world.upload(busy, "of busy.pdf")])
    await _wait_cut(world)
    world.proxy.close()
    rows = await world.server.log_of(room)
    await _repeat(busy, "edit", room, message=rows[-1]["id"], body="edited while away")
    world.proxy.open()
    await _repeat(away, "delete", room, message=rows[1]["id"])
    await _repeat(away, "edit", room, message=rows[3]["id"], body="edited")
    await later.join(room, recent=50)
    await world.wait_stands(room, away, busy, later)
    told = await world.wait_report(later, lambda report: len(report["caughtUp"]) > 0)
    assert told["caughtUp"] == [[room, len(rows)]], "it is caught up when everything that was there is told"
    report = await away.report(room)
    assert report["undelivered"] == {}, report["undelivered"]
    await busy.send_files(room, "a file that is sent already", [await world.upload(away, "of another.pdf")])
    refused = await world.wait_report(busy, lambda report: len(report["undelivered"]) == 1)
    assert list(refused["undelivered"].values()) == [3014]


async def watched_by_name(world: World) -> None:
    """Who is watched is told wherever they are, through cuts, a block and a restart; the newest list is what counts."""
    (watcher,) = await world.people(1)
    one, two, stranger = await world.people(3, direct=True)
    for other in (one, two):
        await world.server.make_room(next(_ids), [watcher.user_id, other.user_id])  # nobody joins: it is by name
    assert await watcher.watch(one.user_id, two.user_id, stranger.user_id) == [stranger.user_id]
    await world.wait_watched(watcher, (one, "online"), (two, "online"))
    await _repeat(one, "presence", None, status="away")
    await world.wait_watched(watcher, (one, "away"), (two, "online"))
    await _repeat(watcher, "block", None, user=two.user_id)
    await world.wait_watched(watcher, (one, "away"))
    await _repeat(watcher, "unblock", None, user=two.user_id)
    await world.wait_watched(watcher, (one, "away"), (two, "online"))
    world.proxy.close()  # what changes meanwhile is told when it is back, without being asked again
    await _repeat(one, "presence", None, status="dnd")
    await world.wait_report(watcher, lambda report: not report["isConnected"])
    world.proxy.open()
    await world.wait_watched(watcher, (one, "dnd"), (two, "online"))
    world.proxy.close()
    await world.wait_report(watcher, lambda report: not report["isConnected"])
    answers: list[list[int] | None] = []
    async with trio.open_nursery() as nursery:
        for people in ((one, stranger), (two, stranger)):

            async def watch(people: tuple[Person, ...] = people) -> None:
                answers.append(await watcher.watch(*(person.user_id for person in people)))

            nursery.start_soon(watch)
            await trio.sleep(0.2)  # the driver has taken it
        world.proxy.open()
    assert answers == [None, [stranger.user_id]], answers
    await world.wait_watched(watcher, (two, "online"))
    await trio.to_thread.run_sync(world.server.kill)
    await trio.to_thread.run_sync(world.server.start)
    await world.wait_watched(watcher, (two, "online"))
    assert await _code_of(watcher.watch(*range(1, 202))) == 1002, "more than 200 are watched"
    assert await watcher.watch() == []
    await world.wait_watched(watcher)


async def heard_as_it_came(world: World) -> None:
    """What the client does not fold is told as it came: the summary of a room, and what later servers may say."""
    (person,) = await world.people(1)
    (other,) = await world.people(1, direct=True)
    room = await world.room(other)
    await world.server.query(
        "insert into participants (conversation_id, user_id, role, is_active, joined_at)"
        " values ($1, $2, 'member', true, now())",
        room,
        person.user_id,
    )
    await trio.to_thread.run_sync(world.server.stop)  # so that it reads who is in the room
    await trio.to_thread.run_sync(world.server.start)
    await _repeat(person, "join", room, mode="summary")
    await world.wait_report(person, lambda report: ["room_summary", room] in report["other"])
    await world.proxy.say({"type": "of_tomorrow", "data": {"is": "new"}})
    await world.wait_report(person, lambda report: report["other"][-1] == ["of_tomorrow", None])
    report = await person.report()
    assert {what for what, _ in report["other"]} == {"room_summary", "of_tomorrow"}, report["other"]


async def many_rooms(world: World) -> None:
    """Rooms do not wait for each other, and each keeps its order through cuts."""
    people = await world.people(2)
    rooms = [await world.room(*people) for _ in range(5)]
    for after in (2, 9, 17):
        world.proxy.cut_at(Moment.AFTER_COMMIT, after=after)
        world.proxy.cut_at(Moment.NO_COPY, after=after)
    for room in rooms:
        await _talk(people, room, f"{room} ", 8)
    await _wait_cut(world)
    for room in rooms:
        await world.settled(room, *people)


async def doubled_and_lost(world: World) -> None:
    """Frames come twice, and some never: what is missing is asked for, and nothing is told twice."""
    people = await world.people(2)
    room = await world.room(*people)
    for times, after in ((2, 0), (0, 1), (2, 3), (0, 3), (0, 4)):
        world.proxy.tell_times(times, "message", after=after)
    await _talk(people, room, "first ", 10)
    await _wait_cut(world)
    await _talk(people, room, "then ", 3)  # what comes after a hole shows it
    await world.settled(room, *people)
    assert [report["connects"] for report in [await person.report(room) for person in people]] == [1, 1]


async def hidden_by_a_block(world: World) -> None:
    """Who blocks somebody has no hole where they speak, live, in a replay and over a gap of hidden pages."""
    (away,) = await world.people(1)
    (blocked, other) = await world.people(2, direct=True)
    people = (away, blocked, other)
    room = await world.room(*people)
    await _talk(people, room, "before ", 3)
    await world.settled(room, *people)
    await away.request("block", user=blocked.user_id)
    await away.request("ping")
    since = len(await world.server.log_of(room))
    world.proxy.cut_at(Moment.NO_COPY, after=2)
    await _talk(people, room, "blocked ", 8)
    await _wait_cut(world)

    def hides(person: Person, row: Any) -> bool:
        return person is away and row["sender_id"] == blocked.user_id and row["seq"] > since

    await world.settled(room, *people, hides=hides)
    world.proxy.close()
    await blocked.send(room, [f"unheard {number}" for number in range(520)])
    await blocked.wait_sent()
    await other.send(room, ["and something to hear"])
    await other.wait_sent()
    world.proxy.open()
    await world.settled(room, *people, hides=hides)


async def the_users_stream(world: World) -> None:
    """Both devices of a user are told everything that concerns the user alone, once and in order, through all of it."""
    user = next(_ids)
    (other,) = await world.people(1)
    await world.server.make_people(user)
    devices = [await world.person(user, world.drivers[at % len(world.drivers)]) for at in range(2)]
    one, two = devices
    rooms = [await world.server.make_room(next(_ids), [user, other.user_id]) for _ in range(2)]
    for person in (*devices, other):
        for room in rooms:
            await person.join(room)

    async def read_on(lines: int) -> None:
        for line in range(lines):
            for room in rooms:
                await other.send(room, [f"{line}"])
                await other.wait_sent()
                await _repeat(devices[line % 2], "read", room, seq=len(await world.server.log_of(room)))

    await read_on(2)
    await world.settled_stream(user, *devices)
    for times, after in ((2, 0), (0, 1), (2, 3), (0, 3)):
        world.proxy.tell_times(times, "read_sync", after=after)
    await read_on(6)
    await _wait_cut(world)
    await _repeat(one, "block", None, user=other.user_id)  # what comes after a hole shows it
    await _repeat(two, "unblock", None, user=other.user_id)
    told = await world.settled_stream(user, *devices)
    assert {what for _, what, _ in told} == {"read_sync", "block"}
    world.proxy.close()
    await trio.to_thread.run_sync(world.server.kill)
    await trio.to_thread.run_sync(world.server.start)
    world.proxy.open()
    await read_on(2)
    later = await world.settled_stream(user, *devices)
    assert len(later) > len(told)


async def asked_to_move(world: World) -> None:
    """Everybody is asked to come back at a moment of their own: they do, lose nothing, and trouble nobody with it."""
    people = await world.people(3)
    room = await world.room(*people)
    await _talk(people, room, "before ", 5)
    for moves in range(2, 4):
        advice = {"after": 200, "deadline": 1000, "reason": "drain", "resume": True}
        await world.proxy.say({"type": "reconnect", "data": advice})
        await _talk(people, room, "meanwhile ", 20)
        for person in people:
            await world.wait_report(person, lambda report, moves=moves: report["connects"] == moves, room)
    await world.settled(room, *people)
    for person in people:
        report = await person.report(room)
        assert (report["closes"], report["expected"]) == ([4200, 4200], [True, True]), report


async def killed(world: World) -> None:
    """The server is killed (kill -9) while people talk, and started again."""
    await _restart_while_talking(world, world.server.kill)


async def restarted(world: World) -> None:
    """The server is stopped in order while people talk, and started again."""
    people, away_seconds = await _restart_while_talking(world, world.server.stop)
    for person in people:
        report = await person.report()
        troubled = [code for code, known in zip(report["closes"], report["expected"], strict=True) if not known]
        may_be = away_seconds > EXPECTED_SECONDS_MAX and 4200 not in troubled
        assert not troubled or may_be, f"{person.name} has troubled somebody: {report['closes']}"


async def restored_from_a_copy(world: World) -> None:
    """The log is another one than the client knew: it begins anew, with what was wanted of the old."""
    people = await world.people(2)
    room = await world.server.make_room(next(_ids), [person.user_id for person in people])
    for person in people:
        await person.join(room, recent=3)
    await _talk(people, room, "lost or not ", 6)
    await world.settled(room, *people)
    await trio.to_thread.run_sync(world.server.kill)
    await world.server.query("delete from messages where conversation_id = $1 and seq > 5", room)
    await world.server.query("update participants set read_seq = least(read_seq, 5) where conversation_id = $1", room)
    await world.server.query("update conversations set top_seq = 5, epoch = epoch + 1 where id = $1", room)
    await trio.to_thread.run_sync(world.server.start)
    for person in people:
        await world.wait_report(person, lambda report: report["replaced"] == 1, room)
    kept = await world.server.log_of(room)
    for person in people:
        person.said[room] = [(r["client_id"], r["content"]) for r in kept if r["sender_id"] == person.user_id]
    await _talk(people, room, "of the new log ", 4)
    await world.settled(room, *people, recent_of=2)
    for person in people:
        assert (await person.report(room))["replaced"] == 1


async def token_expires(world: World) -> None:
    """A token that expires is replaced by another one on the same connection: asked for once, and nothing is lost."""
    user, driver = next(_ids), world.drivers[0]
    await world.server.make_people(user)
    seconds = iter((4, 3600))  # from when it is asked for: to start takes seconds on a busy machine
    person = await world.person(
        user, driver, token=lambda: ServerProcess.token(user, exp=int(time.time()) + next(seconds))
    )
    (other,) = await world.people(1)
    room = await world.room(person, other)
    await _talk((person, other), room, "before ", 3)
    await world.wait_report(person, lambda report: person.tokens_asked == 2, room)
    await _talk((person, other), room, "after ", 3)
    await world.settled(room, person, other)
    assert person.tokens_asked == 2
    report = await person.report(room)
    assert (report["connects"], report["closes"]) == (1, []), report


async def token_is_no_good(world: World) -> None:
    """A client whose token is expired asks once for another; that one being no better, it stops."""
    driver = world.drivers[0]
    for faulty in (_expired, _forged):
        user = next(_ids)
        await world.server.make_people(user)
        person = await world.person(user, driver, token=lambda user=user, faulty=faulty: faulty(user))
        report = await world.wait_report(person, lambda report: report["ended"] is not None)
        assert report["ended"] in (401, 4001, 4002), report
        assert person.tokens_asked == 2 if faulty is _expired else person.tokens_asked <= 2
        tokens_asked = person.tokens_asked
        await trio.sleep(1.5)
        assert person.tokens_asked == tokens_asked, "it goes on trying"
        assert await _code_of_join(person, 1) is not None, "a client that has ended joins a room"


async def rooms_that_refuse(world: World) -> None:
    """A room that does not let us in is told as such, and costs nobody else anything."""
    people = await world.people(2)
    room = await world.room(*people)
    foreign = await world.server.make_room(next(_ids), [people[0].user_id])
    assert await _code_of_join(people[1], foreign) == 3004, "somebody who is no member is let in"
    world.proxy.cut_at(Moment.NO_COPY)
    await _talk(people, room, "on ", 5)
    await _wait_cut(world)
    await world.settled(room, *people)


async def silent_line(world: World) -> None:
    """The line goes dead without a word while an answer is awaited: the client finds out, and comes back."""
    people = await world.people(2)
    room = await world.room(*people)
    await _talk(people, room, "before ", 2)
    await world.settled(room, *people)
    world.proxy.freeze()
    await _talk(people, room, "into the silence ", 2)
    for person in people:
        await world.wait_report(person, lambda report: report["closes"] == [1006] or len(report["closes"]) > 1, room)
    world.proxy.thaw()
    await world.settled(room, *people)


async def over_the_limits(world: World) -> None:
    """More is said and read than a minute allows: it waits, in order, and nobody is thrown out for it."""
    with ServerProcess(MESSAGES_PER_MINUTE=20, WS_COMMANDS_PER_MINUTE=60) as server:
        await trio.to_thread.run_sync(server.start)
        async with open_proxy(lambda: server.port) as proxy, AsyncExitStack() as stack:
            strict = World(server, proxy, world.drivers, stack, world.seed)
            strict.settle_seconds_max = OVER_SECONDS_MAX
            people = await strict.people(2)
            rooms = [await strict.room(*people) for _ in range(2)]
            for room in rooms:
                await _talk(people, room, f"{room} ", 13)
            for person in people:
                for seq in range(1, 80):
                    await person.read(rooms[0], 1 + seq % 20)
            for person in people:
                await strict.wait_report(person, lambda report: report["unsent"] == 0)
            for room in rooms:
                await strict.settled(room, *people)
            for person in people:
                assert (await person.report(rooms[0]))["closes"] == []


async def everything_by_chance(world: World) -> None:
    """A minute of all of it, by a seed."""
    chance = random.Random(world.seed)
    people = await world.people(4)
    rooms = [await world.room(*people) for _ in range(3)]
    cuts = [moment for moment in Moment if not moment.name.startswith("HISTORY")]
    for turn in range(25):
        for _ in range(chance.randrange(4)):
            world.proxy.cut_at(chance.choice(cuts), after=chance.randrange(6))
        for person in people:
            await person.send(chance.choice(rooms), [f"{turn} {at}" for at in range(chance.randrange(12))])
        what = chance.random()
        if what < 0.12:
            await trio.to_thread.run_sync(world.server.kill if what < 0.06 else world.server.stop)
            await trio.sleep(chance.uniform(0, 0.5))
            await trio.to_thread.run_sync(world.server.start)
        elif what < 0.2:
            world.proxy.close()
            await trio.sleep(chance.uniform(0, 1))
            world.proxy.open()
        await trio.sleep(chance.uniform(0, 0.5))
    world.proxy.forget_plans()
    for room in rooms:
        await world.settled(room, *people)


QUICK: Final[tuple[Scenario, ...]] = (
    cuts_of_handshakes,
    cuts_of_sends,
    client_ids_of_every_kind,
    cuts_of_what_is_heard,
    far_behind,
    edited_and_deleted,
    who_comes_and_goes,
    files_and_what_becomes_of_them,
    watched_by_name,
    heard_as_it_came,
    many_rooms,
    doubled_and_lost,
    hidden_by_a_block,
    the_users_stream,
    asked_to_move,
    killed,
    restarted,
    restored_from_a_copy,
    token_expires,
    token_is_no_good,
    rooms_that_refuse,
)
LONG: Final[tuple[Scenario, ...]] = (silent_line, over_the_limits, everything_by_chance)


# -- their parts -------------------------------------------------------------------------------------------------------


async def _talk(people: list[Person] | tuple[Person, ...], room: int, prefix: str, lines: int) -> None:
    """Everybody says so many lines, at once."""
    async with trio.open_nursery() as nursery:
        for person in people:
            nursery.start_soon(person.send, room, [f"{prefix}{person.user_id} {number}" for number in range(lines)])


async def _wait_cut(world: World) -> None:
    """Wait until every moment that was asked for has come: a scenario in which nothing was cut shows nothing."""
    with trio.move_on_after(SETTLE_SECONDS_MAX):
        await world.proxy.wait_cut()
    assert not world.proxy.plans, f"these never came: {world.proxy.plans}"


async def _restart_while_talking(world: World, end: Callable[[], object]) -> tuple[list[Person], float]:
    """The people, and how long there was no server, at most."""
    people = await world.people(2)
    room = await world.room(*people)
    await _talk(people, room, "before ", 40)  # some are stored, one is under way, some wait
    began = trio.current_time()
    await trio.to_thread.run_sync(end)
    await _talk(people, room, "between ", 3)
    await trio.to_thread.run_sync(world.server.start)
    away_seconds = trio.current_time() - began
    await _talk(people, room, "after ", 3)
    await world.settled(room, *people)
    await world.wait_here(room, *people)
    return people, away_seconds


async def _change_some(
    world: World, room: int, people: tuple[Person, ...], chance: random.Random, changes: int
) -> None:
    """Each of *people* edits or deletes so many of what they have said."""
    for person in people:
        await person.wait_sent()
        query = (
            "select id from messages where conversation_id = $1 and sender_id = $2 and deleted_at is null order by seq"
        )
        rows = await world.server.query(query, room, person.user_id)
        for number, row in enumerate(chance.sample(rows, min(changes, len(rows)))):
            if number % 3 == 2:
                await _repeat(person, "delete", room, message=row["id"])
            else:
                await _repeat(person, "edit", room, message=row["id"], body=f"edit {chance.random()}")


async def _settled_with_changes(world: World, room: int, *people: Person) -> None:
    """Wait until every client shows the room as it is stored, and has heard each change that it had not seen."""
    for person in people:
        await person.wait_sent()
    rows = await world.server.log_of(room)
    changes = await world.server.query(
        "select c.seq, m.seq as of from message_changes c join messages m on m.id = c.message_id "
        "where c.conversation_id = $1 order by c.seq",
        room,
    )
    heard = [[room, row["seq"], row["of"]] for row in changes]
    shown = [[row["seq"], row["sender_id"], row["content"]] for row in rows]
    for person in people:
        report = await world.wait_report(
            person, lambda report: len(report["log"]) >= len(shown) and len(report["changes"]) >= len(heard), room
        )
        log = [[seq, sender, body] for seq, sender, _, body in report["log"]]
        assert log == shown, _difference(person, log, shown)
        assert report["changes"] == heard, _difference(person, report["changes"], heard)
        assert report["undelivered"] == {}, report["undelivered"]


async def _settled_with_members(world: World, room: int, *people: Person) -> list[list[Any]]:
    """Wait until every client shows the room as it is stored, and has heard who came and went; that."""
    for person in people:
        await person.wait_sent()
    rows = await world.server.log_of(room)
    moves = await world.server.query(
        "select seq, user_id, kind from member_changes where conversation_id = $1 order by seq", room
    )
    told = [[room, row["seq"], row["user_id"], row["kind"] == "joined"] for row in moves]
    shown = [[row["seq"], row["sender_id"], row["content"]] for row in rows]
    for person in people:
        report = await world.wait_report(
            person, lambda report: len(report["log"]) >= len(shown) and len(report["members"]) >= len(told), room
        )
        log = [[seq, sender, body] for seq, sender, _, body in report["log"]]
        assert log == shown, _difference(person, log, shown)
        assert report["members"] == told, _difference(person, report["members"], told)
    return told


async def _repeat(person: Person, kind: str, room: int | None, **data: Any) -> None:
    """A command that may be said again, until the connection lets its answer through."""
    ends_at = trio.current_time() + SETTLE_SECONDS_MAX
    while trio.current_time() < ends_at:
        try:
            await person.request(kind, room, **data)
        except Failed as failed:
            if failed.code:
                raise
            await trio.sleep(0.3)
        else:
            return
    raise AssertionError(f"{person.name} has no answer to {kind}")


def _state(row: Any) -> list[Any]:
    """Of a stored message, as clients report it."""
    is_deleted = row["deleted_at"] is not None
    return [
        _names(row),
        row["edited_at"] is not None and not is_deleted,
        is_deleted,
        json.loads(row["details"] or "{}"),
    ]


def _names(row: Any) -> list[str]:
    """Of the files of a stored message."""
    return [file["originalName"] for file in json.loads(row["attachments"] or "[]")]


async def _code_of_join(person: Person, room: int) -> int | None:
    """With what a join fails; None when it does not."""
    return await _code_of(person.join(room))


async def _code_of(asked: Awaitable[object]) -> int | None:
    """With what it fails; None when it does not."""
    try:
        await asked
    except Failed as failed:
        return int(failed.code)
    return None


def _expired(user_id: int) -> str:
    token: str = ServerProcess.token(user_id, exp=int(time.time()) - 60)
    return token


def _forged(user_id: int) -> str:
    head, claims, signature = ServerProcess.token(user_id).split(".")
    return f"{head}.{claims}.{signature[::-1]}"


def _difference(person: Person, found: list[Any], expected: list[Any]) -> str:
    for at, (one, other) in enumerate(zip(found, expected, strict=False)):
        if one != other:
            return f"{person.name}: entry {at} is {one}, and should be {other}"
    return f"{person.name}: {len(found)} entries, and should be {len(expected)}"


def _short(report: dict[str, Any]) -> dict[str, Any]:
    return report | {
        "log": f"{len(report['log'])} entries, to {report['log'][-1:]}",
        "confirmed": len(report["confirmed"]),
    }


# -- running them ------------------------------------------------------------------------------------------------------


async def run(scenario: Scenario, server: ServerProcess, drivers: list[list[str]], *, seed: int = 1) -> None:
    """One scenario with clients of its own. Raises AssertionError with what did not hold."""
    async with open_proxy(lambda: server.port) as proxy, AsyncExitStack() as stack:
        await scenario(World(server, proxy, drivers, stack, seed))


@asynccontextmanager
async def started_server() -> AsyncIterator[ServerProcess]:
    """A real server of our own, without limits on what a user may say."""
    with ServerProcess() as server:
        await trio.to_thread.run_sync(server.start)
        yield server


async def _main(scenarios: list[Scenario], driver: list[str], seed: int) -> int:
    failures = 0
    async with started_server() as server:
        for scenario in scenarios:
            began = time.monotonic()
            try:
                await run(scenario, server, [driver], seed=seed)
            except Exception:
                failures += 1
                print(f"FAILED  {scenario.__name__}: {scenario.__doc__}")
                traceback.print_exc(file=sys.stdout)
            else:
                print(f"held    {scenario.__name__}  ({time.monotonic() - began:.1f} s)", flush=True)
            if not server.is_running:
                await trio.to_thread.run_sync(server.start)
    print(f"{len(scenarios) - failures} of {len(scenarios)} scenarios held")
    return 1 if failures else 0


def main() -> int:
    """See the top of this file."""
    parser = argparse.ArgumentParser(description="Does a client keep the contract of docs/clients.md?")
    parser.add_argument("--list", action="store_true", help="name the scenarios")
    parser.add_argument("--only", action="append", default=[], metavar="NAME", help="this scenario; may be repeated")
    parser.add_argument("--seed", type=int, default=1, help="of everything_by_chance")
    parser.add_argument("driver", nargs="*", help="the program to drive, with its arguments, behind --")
    told = parser.parse_args()
    known = {scenario.__name__: scenario for scenario in (*QUICK, *LONG)}
    if told.list:
        for name, scenario in known.items():
            print(f"{name}: {scenario.__doc__}")
        return 0
    if not told.driver or not set(told.only) <= set(known):
        parser.error("name a driver behind --, and of --only what --list shows")
    sweep_abandoned()
    return trio.run(_main, [known[name] for name in told.only or known], told.driver, told.seed)


if __name__ == "__main__":
    raise SystemExit(main())
