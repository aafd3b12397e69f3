"""Unread counts cannot drift, and can be put right (realtime.md section 6.8).

Random plays against a plain log: whatever was said, read, deleted, blocked, and whatever befell the rooms, each way to
ask for a count says what is in the log behind the marker, of others who are not blocked and not deleted. And whoever
marks all as read has none, on every road, whatever comes late.
"""

import random

import pytest
from wire import Socket, open_sockets, wait_until

from greenroom.http.ws import summaries
from greenroom.storage.postgres.pool import Postgres

USERS, ROOMS, STEPS = (1, 2, 3, 4), 3, 90


class Play:
    """The log as it should be, and the steps that change it."""

    def __init__(self, house, rooms, socks, seed):
        self.house, self.rooms, self.socks = house, rooms, socks
        self.random = random.Random(seed)
        self.said = {room: [] for room in rooms}  # [seq, id, sender, is_deleted]
        self.tops = dict.fromkeys(rooms, 0)
        self.read = {(user, room): 0 for user in USERS for room in rooms}
        self.hides = {user: set() for user in USERS}

    def unread(self, user, room):
        marker = self.read[user, room]
        return sum(
            seq > marker and sender != user and sender not in self.hides[user] and not is_deleted
            for seq, _, sender, is_deleted in self.said[room]
        )

    async def step(self):
        kinds = (
            ["say"] * 6 + ["read_some"] * 3 + ["stale", "delete", "delete", "edit", "block", "unblock", "kill", "again"]
        )
        user, room = self.random.choice(USERS), self.random.choice(self.rooms)
        await getattr(self, self.random.choice(kinds))(user, room)

    async def say(self, user, room):
        if self.random.random() < 0.5:
            data = (await self.socks[user].ask("send", room, body="hello"))["data"]
            place = data["seq"], data["messageId"]
        else:
            answer = await self.house.post(f"/api/conversations/{room}/messages", user, {"content": "hello"})
            place = answer.data["message"]["seq"], answer.data["message"]["id"]
        self.said[room].append([*place, user, False])
        self.tops[room] = place[0]

    async def read_to(self, user, room, seq):
        if self.random.random() < 0.5:
            assert (await self.socks[user].ask("read", room, seq=seq))["type"] == "ack"
        else:
            assert (await self.house.post(f"/api/conversations/{room}/read", user, {"seq": seq})).status == 200
        self.read[user, room] = max(self.read[user, room], seq)

    async def read_some(self, user, room):
        await self.read_to(user, room, self.random.randint(0, self.tops[room]))

    async def stale(self, user, room):
        """What another device says late moves nothing back."""
        await self.read_to(user, room, self.random.randint(0, self.read[user, room]))

    async def delete(self, user, room):
        del user
        if left := [message for message in self.said[room] if not message[3]]:
            message = self.random.choice(left)
            assert (await self.house.delete(f"/api/messages/{message[1]}", message[2])).status == 200
            message[3] = True
            self.tops[room] += 1

    async def edit(self, user, room):
        del user
        if left := [message for message in self.said[room] if not message[3]]:
            _, message_id, sender, _ = self.random.choice(left)
            assert (await self.house.put(f"/api/messages/{message_id}", sender, {"content": "other"})).status == 200
            self.tops[room] += 1

    async def block(self, user, room):
        del room
        other = self.random.choice([one for one in USERS if one != user])
        assert (await self.house.post(f"/api/users/{other}/block", user)).status == 200
        self.hides[user].add(other)

    async def unblock(self, user, room):
        del room
        if self.hides[user]:
            other = self.hides[user].pop()
            assert (await self.house.delete(f"/api/users/{other}/block", user)).status == 200

    async def kill(self, user, room):
        """What the room knows is gone: it reads again."""
        del user
        system = self.house.house.system
        system.kill(system.ref("room", room))

    async def again(self, user, room):
        """The same message once more is no message."""
        del user
        mine = [message for message in self.said[room] if message[2] == 1]
        key = {"Idempotency-Key": f"again-{room}"}
        path = f"/api/conversations/{room}/messages"
        answer = await self.house.post(path, 1, {"content": "again"}, **key)
        message = answer.data["message"]
        if message["id"] not in [one[1] for one in mine]:
            self.said[room].append([message["seq"], message["id"], 1, False])
            self.tops[room] = message["seq"]

    async def check(self, nursery):
        """Each way to ask."""
        for user in USERS:
            due = {room: self.unread(user, room) for room in self.rooms}
            listed = await self.house.get("/api/conversations", user)
            assert {row["id"]: row["unread_count"] for row in listed.data["conversations"]} == due
            assert listed.data["unreadCount"] == sum(due.values())
            counted = await self.house.get("/api/messages/unread-count", user)
            assert counted.data["unreadCount"] == sum(due.values())
            fresh = await Socket.open(nursery, self.house, user)
            ready = await fresh.start(*self.rooms)
            assert {item["r"]: item["unread"] for item in ready["data"]["rooms"]} == due
            fresh.cut()

    async def check_followers(self, followers):
        """What those were told last who follow the rooms as summaries."""

        def wrong():
            return [
                (user, room, last, self.unread(user, room))
                for user, sock in followers.items()
                for room in self.rooms
                if (last := last_told(sock, room)) != self.unread(user, room)
            ]

        await wait_until(wrong, 6)


def last_told(sock, room):
    told = [event["data"]["unread"] for event in sock.of("room_summary") if event["room"] == room]
    return told[-1] if told else None


@pytest.mark.parametrize("number", range(2))
async def test_counts_are_those_of_the_log_after_whatever_was_done_and_can_be_put_right(live_house, seed, number):
    await live_house.people(*USERS)
    rooms = [await live_house.conversation(*USERS) for _ in range(ROOMS)]
    async with open_sockets() as nursery:
        socks = {user: await Socket.open(nursery, live_house, user) for user in USERS}
        followers = {user: await Socket.open(nursery, live_house, user) for user in USERS}
        for user in USERS:
            await socks[user].start(*rooms)
            await followers[user].start(rooms=[{"r": room, "mode": "summary"} for room in rooms])
        play = Play(live_house, rooms, socks, seed + number)
        print(f"play {seed + number}")
        for part in range(3):
            for _ in range(STEPS // 3):
                await play.step()
            await play.check(nursery)
            print(f"part {part}: {[play.unread(user, room) for user in USERS for room in rooms]}")
        await play.check_followers(followers)
        for user in USERS:
            for room in rooms:
                assert (await live_house.post(f"/api/conversations/{room}/read", user, {})).status == 200
                play.read[user, room] = play.tops[room]
                await play.stale(user, room)
        assert {play.unread(user, room) for user in USERS for room in rooms} == {0}
        await play.check(nursery)
        await play.check_followers(followers)


async def test_who_follows_a_room_and_blocks_somebody_is_told_what_is_unread_without_them(live_house, monkeypatch):
    """In each room, so many a second."""
    monkeypatch.setattr(summaries, "RECOUNTS_MAX", 2)
    await live_house.people(1, 2, 3)
    rooms = [await live_house.conversation(1, 2, 3) for _ in range(5)]
    async with open_sockets() as nursery:
        follower, *others = [await Socket.open(nursery, live_house, user) for user in (1, 2, 3)]
        for sock in others:
            await sock.start()
            for room in rooms:
                await sock.ask("send", room, body="hello")
        await follower.start(rooms=[{"r": room, "mode": "summary"} for room in rooms])

        async def is_told(count):
            await wait_until(lambda: [room for room in rooms if last_told(follower, room) != count], 10)

        await is_told(2)
        assert (await live_house.post("/api/users/2/block", 1)).status == 200
        await is_told(1)
        assert (await live_house.delete("/api/users/2/block", 1)).status == 200
        await is_told(2)


async def test_hundreds_who_come_in_between_hide_no_message_from_the_counts(live_house):
    """They push all messages out of what the room has of its log."""
    crowd = list(range(1000, 1300))
    await live_house.people(1, 2, 3)
    await live_house.crowd(crowd)
    room = await live_house.conversation(1, 2, 3)
    async with open_sockets() as nursery:
        one, two, three = [await Socket.open(nursery, live_house, user) for user in (1, 2, 3)]
        for sock in (one, two, three):
            await sock.start(room)
        page = await Socket.open(nursery, live_house, 1, protocol=None)
        await page.expect("connected")
        for _ in range(5):
            await two.ask("send", room, body="one's own")
        said = (await one.ask("send", room, body="unread"))["data"]["messageId"]
        taken_back = (await three.ask("send", room, body="taken back"))["data"]["messageId"]
        assert (await live_house.delete(f"/api/messages/{taken_back}", 3)).status == 200
        blocked = await three.ask("send", room, body="hidden")
        assert (await live_house.post(f"/api/conversations/{room}/participants", 1, {"userIds": crowd})).status == 200

        async def is_unread(count, after):
            ready = await (await Socket.open(nursery, live_house, 2)).start(room)
            assert ready["data"]["rooms"][0]["unread"] == count
            assert (await two.ask("join", room, after=after))["data"]["unread"] == count
            (row,) = (await live_house.get("/api/conversations", 2)).data["conversations"]
            assert row["unread_count"] == count

        top = blocked["data"]["seq"] + len(crowd)
        for is_forgotten in (False, True):
            if is_forgotten:
                live_house.house.system.kill(live_house.house.system.ref("room", room))
            await is_unread(2, top)
        assert (await two.ask("block", user=3))["type"] == "ack"
        await is_unread(1, top)
        assert (await live_house.delete(f"/api/messages/{blocked['data']['messageId']}", 3)).status == 200
        assert (await two.ask("unblock", user=3))["type"] == "ack"
        await is_unread(1, top)
        assert (await two.ask("read", room, seq=top))["data"]["seq"] == top
        await page.expect("message_read", messageId=said, readBy=2)
        await is_unread(0, top)


async def test_what_is_unread_costs_storage_no_question_for_each_message(live_house, monkeypatch):
    """A few messages a second burn a database elsewhere that counts again for each of those who hear them."""
    people = range(1, 9)
    await live_house.people(*people)
    room = await live_house.conversation(*people)
    asked, lend = [], Postgres.lend

    async def counted(self, do):
        asked.append(do)
        return await lend(self, do)

    async with open_sockets() as nursery:
        sock = await Socket.open(nursery, live_house, 1)
        await sock.start(room)
        heard = [await Socket.open(nursery, live_house, user) for user in people[1:4]]
        for one in heard:
            await one.start()
            assert (await one.ask("join", room, mode="summary"))["type"] == "ack"
        pages = [await Socket.open(nursery, live_house, user, protocol=None) for user in people[4:]]
        for page in pages:
            await page.send({"type": "request_initial_data"})
            await page.expect("initial_data")
            await page.settle()
        await sock.ask("send", room, body="first")
        await sock.settle()
        monkeypatch.setattr(Postgres, "lend", counted)
        for number in range(30):
            await sock.ask("send", room, body=f"message {number}")
        for page in pages:
            await page.expect("new_message", content="message 29")
        for one in heard:
            await wait_until(
                lambda one=one: not one.of("room_summary") or one.of("room_summary")[-1]["data"]["unread"] < 31
            )
        assert len(asked) < 5, "but for what recurs"
        monkeypatch.undo()
        for user in people[1:]:
            counted_now = await live_house.get("/api/messages/unread-count", user)
            assert counted_now.data["unreadCount"] == 31
