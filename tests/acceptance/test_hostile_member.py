"""Somebody who is removed and tries everything, all the time, on every road at once, while others talk.

Whatever is said while they are out carries the number of that time; nothing that reaches them before they are let in
again may hold it. What was said meanwhile they may read once they are back.
"""

import json
import random
from contextlib import suppress

import pytest
import trio
from wire import V1, Gone, Refused, Socket, http, open_sockets  # type: ignore[import-not-found]

TIMES = 8
OUT_SECONDS = 0.4
TRIES = 65  # each time, at least


class Intruder:
    """Everything one user can try against one room. leaks: what was seen and should not have been."""

    def __init__(self, server, user, room, others, chance):
        self.server, self.user, self.room, self.others, self.chance = server, user, room, others, chance
        self.secret = None  # of the time that they are out now
        self.leaks = []
        self.tries = 0
        self.message_ids = [room]
        self.last_seq = 0

    def look(self, road, text):
        self.tries += 1
        if self.secret is not None and self.secret in text:
            self.leaks.append((road, text[:400]))

    def hears(self, road):
        """For `Socket.on_event`: all that a socket is sent."""

        def heard(event):
            self.look(road, json.dumps(event))

        return heard

    async def open(self, nursery, protocol, path="/ws"):
        user = None if "token=" in path else self.user
        sock = await Socket.open(nursery, self.server, user, protocol=protocol, path=path)
        sock.on_event = self.hears("v1" if protocol else "compat")
        return sock

    async def old_device(self, nursery, protocol):
        """A socket that was in the room before, and says everything again and again."""
        sock = await self.open(nursery, protocol)
        if protocol is not None:
            await sock.start(self.room)
        with suppress(Gone):
            while True:
                await (self.say_v1(sock) if protocol is not None else self.say_compat(sock))
                await trio.sleep(0.005)

    async def say_v1(self, sock):
        kind, data = self.chance.choice(
            [
                ("join", {"after": max(self.last_seq - self.chance.randint(0, 20), 0)}),
                ("join", {}),
                ("history", {"limit": 20}),
                ("history", {"after": max(self.last_seq - 3, 0)}),
                ("history", {"around": self.last_seq + 2}),
                ("send", {"body": "let me in", "clientId": f"x{self.chance.random()}"[:60]}),
                ("typing", {"on": True}),
                ("read", {"seq": 10**9}),
                ("presence", {}),
                ("leave", {}),
            ]
        )
        await sock.command(kind, self.room, **data)

    async def say_compat(self, sock):
        await sock.send(
            self.chance.choice(
                [
                    {"type": "join_conversation", "conversationId": self.room},
                    {"type": "leave_conversation", "conversationId": self.room},
                    {"type": "send_message", "conversationId": self.room, "content": "let me in"},
                    {"type": "typing_start", "conversationId": self.room},
                    {"type": "mark_read", "messageIds": self.message_ids[-5:]},
                    {"type": "request_initial_data"},
                    {"type": "subscribe", "channelId": f"conversation_{self.room}"},
                ]
            )
        )

    async def new_device(self):
        """Comes, resumes from before everything, listens for a moment, goes; in turns with a ticket."""
        while True:
            async with open_sockets() as nursery:
                with suppress(Refused, Gone, AssertionError):
                    protocol, path = self.chance.choice([V1, None]), "/ws"
                    if self.chance.random() < 0.5:
                        answer = await http(self.server, "GET", "/api/ws/token", user=self.user)
                        path = f"/ws?token={answer.json()['token']}"
                    sock = await self.open(nursery, protocol, path)
                    if protocol is not None:
                        seq = max(self.last_seq - self.chance.randint(0, 400), 0)
                        await sock.command("start", resume={"rooms": {str(self.room): {"seq": seq}}})
                    await trio.sleep(self.chance.uniform(0, 0.1))
                sock.cut()

    async def ask(self):
        """Every path, as a program would."""
        room, asked = self.room, 0
        while True:
            asked += 1
            message_id = self.chance.choice(self.message_ids[-5:])
            method, path, body = self.chance.choice(
                [
                    ("GET", "/api/conversations", None),
                    ("GET", "/api/conversations/open?limit=200", None),
                    ("GET", f"/api/conversations/{room}", None),
                    ("GET", f"/api/conversations/{room}/messages?limit=5", None),
                    ("GET", f"/api/conversations/{room}/messages?after_seq={self.last_seq}", None),
                    ("GET", f"/api/conversations/{room}/participants", None),
                    ("GET", f"/api/messages/{message_id}", None),
                    ("GET", f"/api/messages/{room}", None),
                    ("GET", "/api/messages/unread-count", None),
                    ("POST", f"/api/messages/{message_id}/read", {}),
                    ("POST", f"/api/conversations/{room}/read", {"messageIds": [message_id]}),
                    ("POST", f"/api/conversations/{room}/join", {}),
                    ("POST", f"/api/conversations/{room}/participants", {"userIds": [self.user]}),
                    ("DELETE", f"/api/conversations/{room}/participants/{self.others[0]}", None),
                    ("POST", f"/api/conversations/{room}/messages", {"content": "let me in"}),
                    ("POST", "/api/messages/send", {"recipientId": self.others[1], "content": "let me in"}),
                    ("POST", "/api/conversations", {"recipientId": self.others[0]}),
                    ("POST", "/api/conversations", {"participantIds": self.others, "isGroup": True, "open": True}),
                ]
            )
            answer = await http(self.server, method, path, body, user=self.user)
            self.look(f"{method} {path}", answer.body.decode())
            assert answer.status < 500, (method, path, answer)


def is_of(event, user):
    """Whether an event of a room shows *user* as somebody who is in it."""
    data = event.get("data") or {}
    people = [data.get("sender"), *data.get("users", []), *(data.get("marks") or {}), data.get("user")]
    people += [item["user"] for item in (*data.get("joins", []), *data.get("leaves", []))]
    return user in people or str(user) in people


@pytest.mark.parametrize("is_open", [False, True], ids=["closed", "open"])
async def test_who_is_out_gets_nothing_of_what_is_said_meanwhile_whatever_they_try(server, fresh, is_open, seed):
    admin, talker, guest = fresh, fresh + 1, fresh + 2
    room = await server.make_room(fresh, [admin, talker, guest], is_open=is_open)
    intruder = Intruder(server, guest, room, [admin, talker], random.Random(seed))
    path = f"/api/conversations/{room}/participants"
    async with open_sockets() as nursery:
        speaker = await Socket.open(nursery, server, talker)
        await speaker.start(room)
        for protocol in (V1, None, V1):
            nursery.start_soon(intruder.old_device, nursery, protocol)
        for _ in range(2):
            nursery.start_soon(intruder.new_device)
            nursery.start_soon(intruder.ask)

        async def say(text):
            ack = await speaker.ask("send", room, body=text)
            assert ack["type"] == "ack", ack
            intruder.last_seq = ack["data"]["seq"]
            intruder.message_ids.append(ack["data"]["messageId"])
            await speaker.command("typing", room, on=True)

        for number in range(TIMES):
            await say("everybody is in")
            await trio.sleep(intruder.chance.uniform(0, 0.1))
            removed = await http(server, "DELETE", f"{path}/{guest}", user=admin)
            assert removed.status == 200, removed
            intruder.secret = f"secret-{number}-{seed}"
            at = await speaker.settle()
            began = trio.current_time()
            said = 0
            while trio.current_time() - began < OUT_SECONDS or said < 5 or intruder.tries < TRIES * (number + 1):
                await say(f"{intruder.secret} {trio.current_time()}")
                said += 1
                await trio.sleep(0.01)
            intruder.secret = None
            assert not [event for event in speaker.events[at : await speaker.settle()] if is_of(event, guest)]
            assert not intruder.leaks, f"{len(intruder.leaks)}: {intruder.leaks[0]}"
            members = await http(server, "GET", path, user=admin)
            assert guest not in {person["userId"] for person in members.json()["data"]["participants"]}
            added = await http(server, "POST", path, {"userIds": [guest]}, user=admin)
            assert added.status == 200, added
        print(f"{intruder.tries} things were seen, {intruder.last_seq} messages said")
    log = await server.log_of(room)
    for number in range(TIMES):
        times = [row["seq"] for row in log if row["content"].startswith(f"secret-{number}-")]
        written = [row["sender_id"] for row in log if times[0] < row["seq"] < times[-1]]
        assert set(written) == {talker}, "somebody who is out has said something"
