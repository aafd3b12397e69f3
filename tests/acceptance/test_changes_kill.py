"""Kill -9 while messages are sent, changed and marked, and people come and go: what was acknowledged is there, in one
gapless order for all."""

import random

import trio
from server_process import ServerProcess
from streams import Stream, polled
from wire import Gone, Refused, Socket, http, open_sockets, wait_until

LOG = ("message", "message_edited", "message_deleted", "reaction", "pin", "member")
SPEAKERS = (71, 72, 73)
LISTENER = 74
GUESTS = (75, 76)
ADMIN = SPEAKERS[0]
ROOM = 7700


class Speaker:
    """Says, edits, deletes, reacts and pins for ever, what nobody has answered again; acked: seq by (what, message).

    marked: by (kind, message) whether that reaction or pin stands; None while nobody knows.
    """

    def __init__(self, server, user, seed):
        self.server, self.user, self.chance = server, user, random.Random(seed * 1000 + user)
        self.acked, self.messages, self.deleted = {}, {}, set()
        self.marked, self.marks = {}, {}
        self.count = self.connects = 0

    async def run(self):
        while True:
            try:
                async with open_sockets() as nursery:
                    sock = await Socket.open(nursery, self.server, self.user)
                    await sock.start(ROOM)
                    self.connects += 1
                    while True:
                        await self._say(sock)
            except* (OSError, Gone, AssertionError, trio.TooSlowError):
                await trio.sleep(0.02)

    async def _say(self, sock):
        step = self.chance.choice("ssedrrrrpp")
        mine = [message for message in self.messages if message not in self.deleted]
        if step == "s" or not mine:
            self.count += 1
            reply = await self._ask(
                sock, "send", body=f"{self.user}-{self.count}", clientId=f"{self.user}-{self.count}"
            )
            if reply is not None:
                self.messages[reply["messageId"]] = f"{self.user}-{self.count}"
                self.acked["message", reply["messageId"]] = reply["seq"]
            return
        message = self.chance.choice(mine)
        if step in "rp":
            await self._mark(sock, "react" if step == "r" else "pin", message)
        elif step == "e":
            words = f"edit {self.user}-{self.count}-{self.chance.random()}"
            self.messages[message] = None  # either of the two, until the answer is there
            reply = await self._ask(sock, "edit", message=message, body=words)
            if reply is not None:
                self.messages[message] = words
                self.acked["edited", message] = reply["seq"]
        else:
            self.deleted.add(message)
            reply = await self._ask(sock, "delete", message=message)
            if reply is not None:
                self.acked["deleted", message] = reply["seq"]

    async def _mark(self, sock, kind, message):
        """What may have been stored unheard is asked for again."""
        was, key = self.marked.get((kind, message), False), (kind, message)
        is_on = self.chance.random() < 0.5 if was is None else not was
        self.marked[key] = None
        what = {"reaction": "like"} if kind == "react" else {}
        reply = await self._ask(sock, kind if is_on else f"un{kind}", message=message, **what)
        if reply is not None:
            self.marked[key] = is_on
            assert was is None or "duplicate" not in reply
            if "duplicate" not in reply:
                self.marks[reply["seq"]] = (f"{kind}ed" if kind == "react" else "pinned", is_on, message)

    async def _ask(self, sock, kind, **data):
        command = await sock.command(kind, ROOM, **data)
        with trio.move_on_after(10):
            while command not in sock.replies and not sock.is_over.is_set():  # noqa: ASYNC110
                await trio.sleep(0.002)
        if command not in sock.replies:
            raise Gone("killed")
        reply = sock.replies[command]
        return reply["data"] if reply["type"] == "ack" else None


class Guest:
    """Comes and goes until it is tired; moves: what was acknowledged and new. is_in: None while nobody knows."""

    def __init__(self, server, user, seed):
        self.server, self.user, self.chance = server, user, random.Random(seed * 1000 + user)
        self.moves: list[str] = []
        self.is_in: bool | None = False
        self.is_tired = self.has_ended = False

    async def run(self):
        while not self.is_tired or self.is_in is None:
            try:
                await self._move()
            except (OSError, Gone, trio.TooSlowError):
                await trio.sleep(0.02)
        self.has_ended = True

    async def _move(self):
        """What may have been stored unheard is asked for again: then it is known, and by whom it was stored is not."""
        was = self.is_in
        wanted = self.chance.random() < 0.5 if was is None else not was
        self.is_in = None
        path = f"/api/conversations/{ROOM}/participants"
        if wanted:
            answer = await http(self.server, "POST", path, {"userIds": [self.user]}, user=ADMIN)
            is_done, is_new = answer.status == 200, answer.status == 200 and answer.json()["data"]["added"]
        else:
            by = self.chance.choice([self.user, ADMIN])
            answer = await http(self.server, "DELETE", f"{path}/{self.user}", user=by)
            is_done, is_new = answer.status in (200, 403, 404), answer.status == 200
        if not is_done:
            raise Gone(str(answer.status))
        assert was is None or is_new, answer
        self.is_in = wanted
        if is_new:
            self.moves.append("joined" if wanted else "left")
        await trio.sleep(0.01)


async def listen(server, heard):
    """Resume for ever where what was heard ends, over each transport in turn."""
    turn = 0
    while True:
        turn += 1
        cursor = f"1~{ROOM}.{heard[-1]['seq'] if heard else 0}.1"
        try:
            async with open_sockets() as nursery:
                if turn % 3 == 0:
                    heard.extend(of_log((await polled(server, LISTENER, cursor, wait=1))[0]))
                    continue
                if turn % 3 == 1:
                    line = await Socket.open(nursery, server, LISTENER)
                    line.on_event = lambda event: heard.extend(of_log([event]))
                    await line.command("start", resume={"cursor": cursor})
                else:
                    line = await Stream.open(nursery, server, LISTENER, cursor)
                    line.on_event = lambda events, _: heard.extend(of_log(events))
                with trio.move_on_after(0.4):
                    await line.is_over.wait()
                line.on_event = None
                line.cut()
        except* (OSError, Gone, Refused, trio.TooSlowError, AssertionError):
            await trio.sleep(0.02)


INSIDE = "select user_id from participants where conversation_id = $1 and is_active"


def of_log(events):
    return [event for event in events if event["type"] in LOG]


def kind_of(event):
    """What the log calls it."""
    on = {"message": "message", "message_edited": "edited", "message_deleted": "deleted"} | {
        "reaction": "reacted",
        "pin": "pinned",
    }
    if event["type"] == "member":
        return event["data"]["change"]
    kind = on[event["type"]]
    return kind if event["data"].get("on", True) else f"un{kind}"


async def stored_log(server):
    return await server.query(
        """select seq, id, 'message' as what from messages where conversation_id = $1
        union all select seq, message_id, kind from message_changes where conversation_id = $1
        union all select seq, user_id, kind from member_changes where conversation_id = $1 order by 1""",
        ROOM,
    )


async def judge_guests(server, guests, by_seq):
    """by_seq: (what, of whom or what) of the log. Who came and went did so by turns, and the last holds."""
    inside = {row["user_id"] for row in await server.query(INSIDE, ROOM)}
    for guest in guests:
        stored = [what for what, user in by_seq.values() if user == guest.user]
        assert stored == ["joined", "left"] * (len(stored) // 2) + ["joined"] * (len(stored) % 2)
        assert guest.is_in == (guest.user in inside) == (len(stored) % 2 == 1)
        assert 10 < len(guest.moves) <= len(stored)


async def test_what_is_acknowledged_of_a_log_survives_kill_9_and_everybody_hears_it_in_one_order():
    with ServerProcess() as server:
        await trio.to_thread.run_sync(server.start)
        await server.make_room(ROOM, [*SPEAKERS, LISTENER])
        await server.make_people(*GUESTS)
        speakers, heard = [Speaker(server, user, seed=5) for user in SPEAKERS], []
        guests = [Guest(server, user, seed=5) for user in GUESTS]
        async with trio.open_nursery() as clients:
            clients.start_soon(listen, server, heard)
            for speaker in speakers:
                clients.start_soon(speaker.run)
            for guest in guests:
                clients.start_soon(guest.run)
            for kills in range(1, 4):
                acked = sum(len(speaker.acked) for speaker in speakers)
                goal = acked + 100
                await wait_until(lambda goal=goal: sum(len(one.acked) for one in speakers) < goal and "acks", 30)
                await trio.to_thread.run_sync(server.kill)
                await trio.to_thread.run_sync(server.start)
                await wait_until(lambda kills=kills: [one.user for one in speakers if one.connects <= kills], 30)
            for guest in guests:
                guest.is_tired = True
            await wait_until(lambda: [guest.user for guest in guests if not guest.has_ended], 30)
            clients.cancel_scope.cancel(reason="enough said")
        async with trio.open_nursery() as clients:
            clients.start_soon(listen, server, heard)
            with trio.fail_after(30):
                # What was said last may be stored late.
                while len(log := await stored_log(server)) != heard[-1]["seq"]:  # noqa: ASYNC110
                    await trio.sleep(0.1)
            clients.cancel_scope.cancel(reason="all is heard")
        assert [row["seq"] for row in log] == list(range(1, len(log) + 1))
        told = [
            (event["seq"], event["data"]["user" if event["type"] == "member" else "id"], kind_of(event))
            for event in heard
        ]
        assert told == [(row["seq"], row["id"], row["what"]) for row in log]
        by_seq = {row["seq"]: (row["what"], row["id"]) for row in log}
        rows = {row["id"]: row for row in await server.query("select * from messages where conversation_id = $1", ROOM)}
        reactions = await server.query("select message_id, user_id from message_reactions where reaction = 'like'")
        pins = await server.query("select message_id from message_pins where conversation_id = $1", ROOM)
        standing = {("react", row["message_id"], row["user_id"]) for row in reactions}
        standing |= {("pin", row["message_id"], None) for row in pins}
        for speaker in speakers:
            for seq, (kind, is_on, message) in speaker.marks.items():
                assert by_seq[seq] == (kind if is_on else f"un{kind}", message)
            for (kind, message), is_on in speaker.marked.items():
                if is_on is not None and message not in speaker.deleted:
                    assert ((kind, message, speaker.user if kind == "react" else None) in standing) == is_on
        await judge_guests(server, guests, by_seq)
        gone = {row["id"] for row in rows.values() if row["deleted_at"] is not None}
        assert not {message for _, message, _ in standing} & gone
        assert sum(what == "reacted" for what, _ in by_seq.values()) > 30
        assert sum(what == "pinned" for what, _ in by_seq.values()) > 10
        for speaker in speakers:
            assert all(by_seq[seq] == acked for acked, seq in speaker.acked.items())
            for message, words in speaker.messages.items():
                if ("deleted", message) in speaker.acked:
                    assert (rows[message]["content"], rows[message]["content_digest"]) == ("", b"")
                    assert rows[message]["deleted_at"] is not None
                elif message not in speaker.deleted and words is not None:
                    assert rows[message]["content"] == words
        assert sum(what == "deleted" for what, _ in by_seq.values()) > 10
        assert not server.faults(), server.faults()
