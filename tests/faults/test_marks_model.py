"""Random reactions, pins, edits and deletions, with rooms that forget and storage that loses its answers.

What holds in the end is the log, folded: in the rows of PostgreSQL, in what a page says, and in what everybody was
told, live and replayed. Scripts are drawn by hypothesis, so that what fails shrinks to a few steps.
"""

import asyncio
from collections import Counter
from contextlib import asynccontextmanager
from dataclasses import replace

import asyncpg
import pytest
import trio
from house_fixture import open_house_under_test
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import seed as hypothesis_seed
from hypothesis import strategies as st
from postgres_proxy import open_proxy
from wire import Socket, open_sockets, wait_until

SHORT = {
    "greenroom.http.ws.replay.PAGE_MESSAGES": 3,
    "greenroom.http.ws.channel.RECENT_MESSAGES_MAX": 3,
    "greenroom.http.ws.replay.STORAGE_PAUSE_SECONDS": 0.05,
    "greenroom.actors.room.state.RING_MESSAGES": 3,
    "greenroom.storage.postgres.conversations.RING_MESSAGES": 3,
    "greenroom.actors.room.mark_memory.REACTIONS_KEPT": 4,
    "greenroom.actors.room.marking.REACTIONS_READ_MAX": 1,
    "greenroom.runtime.storage_watch.PROBE_SECONDS_MAX": 0.1,
}
KINDS = ("react", "react", "unreact", "react", "pin", "unpin", "edit", "delete")
COMMAND = st.tuples(
    st.sampled_from(["say", *KINDS]), st.sampled_from([0, 1]), st.integers(0, 3), st.sampled_from(["like", "👍"])
)
FRAMES = st.lists(COMMAND, min_size=1, max_size=6)  # of one user, in one frame
WORLD = st.sampled_from(["kill", "forget", "lose answer", "lose question"])
STEPS = st.lists(FRAMES | FRAMES | FRAMES | WORLD, min_size=1, max_size=12)
USERS = (1, 2)  # the first is the admin


class Play:
    """One script in one room."""

    def __init__(self, house, proxy, room, socks):
        self.house, self.proxy, self.room, self.socks = house, proxy, room, socks
        self.messages = []
        self.acked = []  # (command, its answer)
        self.serial = 0

    async def step(self, step):
        system = self.house.house.system
        if step == "kill":
            system.kill(system.ref("room", self.room))
        elif step == "forget":
            self.house.house.hub.channels[self.room].recent.clear()
        elif isinstance(step, str):
            (self.proxy.lose_answer_to if step == "lose answer" else self.proxy.lose_question)(b"COMMIT")
        else:
            await self._frame(step)

    async def _frame(self, commands):
        user = commands[0][1]
        sent = []
        for kind, _, place, reaction in commands:
            self.serial += 1
            name = f"step-{self.serial}"
            if kind == "say" or not self.messages:
                sent.append({"type": "send", "data": {"body": f"m{self.serial}"}})
            else:
                data = {"message": self.messages[place % len(self.messages)]}
                data |= {"reaction": reaction} if kind.endswith("react") else {}
                data |= {"body": f"e{self.serial}"} if kind == "edit" else {}
                sent.append({"type": kind, "data": data})
            sent[-1] |= {"id": name, "room": self.room}
        sock = self.socks[user]
        await sock.send(sent)
        await wait_until(lambda: None if all(one["id"] in sock.replies for one in sent) else "the answers", 20)
        for one in sent:
            reply = sock.replies[one["id"]]
            if reply["type"] == "ack":
                self.acked.append((USERS[user], one, reply["data"]))
                if one["type"] == "send":
                    self.messages.append(reply["data"]["messageId"])
            else:
                expected = ("MESSAGE_NOT_FOUND", "ACCESS_DENIED", "STORAGE_UNAVAILABLE", "TIMEOUT")
                assert reply["data"]["error"] in expected, (one, reply)

    async def check(self, nursery, rows):
        log = await self._settle(rows)
        standing = fold(log)
        by_seq = {entry["seq"]: entry for entry in log}
        assert sorted(by_seq) == list(range(1, len(log) + 1))
        for user, command, answer in self.acked:
            self._check_ack(user, command, answer, by_seq[answer["seq"]])
        reactions = await rows(
            "select message_id, user_id, reaction, seq from message_reactions where message_id = any($1)",
            [entry["id"] for entry in log if entry["kind"] == "message"],
        )
        pins = await rows("select message_id, seq from message_pins where conversation_id = $1", self.room)
        stored = {(row["message_id"], row["user_id"], row["reaction"]): row["seq"] for row in reactions}
        stored |= {(row["message_id"], None, "pin"): row["seq"] for row in pins}
        assert stored == standing
        counts = await rows(
            "select message_id, reaction, users from message_reaction_counts where message_id = any($1)",
            [entry["id"] for entry in log if entry["kind"] == "message"],
        )
        counted = {(row["message_id"], row["reaction"]): row["users"] for row in counts}
        assert counted == Counter((row["message_id"], row["reaction"]) for row in reactions)
        for user, sock in zip(USERS, self.socks, strict=True):
            await self._check_page(user, sock, standing)
            live = [event for event in sock.events if event.get("room") == self.room and "seq" in event]
            gone = {entry["seq"] for entry in log if entry["is_deleted"]}  # of these it was told what they were
            assert [told(event)[: 5 if event["seq"] in gone else 6] for event in live] == [
                line(entry)[: 5 if entry["seq"] in gone else 6] for entry in log
            ]
        for _ in range(2):
            late = await Socket.open(nursery, self.house, 2)
            await late.start(resume={"rooms": {str(self.room): {"seq": 0}}})
            replayed = [event for event in late.events if event.get("room") == self.room and "seq" in event]
            assert [told(event) for event in replayed] == [line(entry) for entry in log]
            late.cut()
            self.house.house.hub.channels[self.room].recent.clear()

    async def _settle(self, rows):
        """Until whatever was decided is stored and told: then another message is the last of it."""
        self.proxy.lose_nothing()
        while True:
            reply = await self.socks[0].ask("send", self.room, body="the end")
            if reply["type"] == "ack":
                break
            await trio.sleep(0.02)
        for sock in self.socks:
            await sock.expect("message", seq=reply["data"]["seq"], room=self.room)
        return await rows(LOG, self.room)

    @staticmethod
    def _check_ack(user, command, answer, entry):
        kind, message = command["type"], command["data"].get("message")
        if kind == "send":
            assert (entry["kind"], entry["id"]) == ("message", answer["messageId"])
            return
        assert entry["id"] == message
        if "duplicate" not in answer or kind in ("react", "pin", "delete"):
            told_as = {"react": "reacted", "unreact": "unreacted", "pin": "pinned", "unpin": "unpinned"}
            assert entry["kind"] == told_as.get(kind, f"{kind.removesuffix('e')}ed")
        if kind.endswith("react") and entry["kind"] != "message":
            assert entry["by_id"] == user
            assert entry["reaction"] in (command["data"]["reaction"], "")

    async def _check_page(self, user, sock, standing):
        answer = (await sock.ask("history", self.room, limit=200))["data"]
        shown = {}
        for item in answer["messages"]:
            of = {key: seq for key, seq in standing.items() if key[0] == item["id"]}
            first, mine = {}, set()
            for (_, who, reaction), seq in sorted(of.items(), key=lambda found: found[1]):
                if who is not None:
                    first.setdefault(reaction, []).append(seq)
                    mine |= {reaction} if who == user else set()
            expected = [
                {"reaction": reaction, "count": len(seqs), "mine": reaction in mine} for reaction, seqs in first.items()
            ]
            assert item.get("reactions", []) == expected
            assert ("pinned" in item) == ((item["id"], None, "pin") in of)
            shown[item["id"]] = item
        assert set(self.messages) <= set(shown)


LOG = """
select m.seq, m.id, 'message' as kind, m.sender_id as by_id, '' as reaction, m.deleted_at is not null as is_deleted
from messages m where m.conversation_id = $1
union all
select c.seq, c.message_id, c.kind, c.by_id, coalesce(c.reaction, ''), m.deleted_at is not null
from message_changes c join messages m on m.id = c.message_id where c.conversation_id = $1
order by 1
"""


def fold(log):
    """What stands: (message, user, reaction) or (message, None, "pin") → seq. Nothing is put on twice, or off."""
    standing, deleted = {}, set()
    words = {entry["seq"]: entry["reaction"] for entry in log}
    for entry in log:
        message, kind = entry["id"], entry["kind"]
        if kind == "message":
            continue
        assert message not in deleted, entry
        if kind == "deleted":
            deleted.add(message)
            standing = {key: seq for key, seq in standing.items() if key[0] != message}
        elif kind in ("reacted", "pinned", "unreacted", "unpinned"):
            key = (message, entry["by_id"], words[entry["seq"]]) if "react" in kind else (message, None, "pin")
            if entry["is_deleted"] and "react" in kind:
                continue  # which it was is erased
            assert (key in standing) == kind.startswith("un"), entry
            if kind.startswith("un"):
                del standing[key]
            else:
                standing[key] = entry["seq"]
    return standing


def line(entry):
    """An entry of the log as a replay tells it."""
    kind = {"message": "message", "edited": "message_edited", "deleted": "message_deleted"}.get(entry["kind"])
    if kind is not None:
        return entry["seq"], kind, entry["id"]
    is_on = not entry["kind"].startswith("un")
    if "pinned" in entry["kind"]:
        return entry["seq"], "pin", entry["id"], entry["by_id"], is_on
    return entry["seq"], "reaction", entry["id"], entry["by_id"], is_on, entry["reaction"]


def told(event):
    data = event["data"]
    head = (event["seq"], event["type"], data["id"])
    if event["type"] == "pin":
        return (*head, data["by"], data["on"])
    return (*head, data["user"], data["on"], data["reaction"]) if event["type"] == "reaction" else head


@asynccontextmanager
async def open_stage(database, folder):
    async with (
        open_proxy(database.host) as proxy,
        open_house_under_test(
            replace(database, host=str(proxy.folder)), folder, listens=True, ws_max_per_user=1000, ws_max_per_address=0
        ) as house,
    ):
        await house.people(*USERS)
        yield house, proxy, asking(database)


def asking(database):
    """Ask PostgreSQL itself, around the proxy."""

    async def rows(sql, *values):
        async def ask():
            connection = await asyncpg.connect(**database.connect_arguments())
            try:
                return await connection.fetch(sql, *values)
            finally:
                await connection.close()

        return await trio.to_thread.run_sync(lambda: asyncio.run(ask()))

    return rows


async def play(house, proxy, rows, script):
    proxy.lose_nothing()  # of the play before
    room = await house.conversation(*USERS)
    async with open_sockets() as nursery:
        socks = [await Socket.open(nursery, house, user) for user in USERS]
        for sock in socks:
            await sock.start(room)
        one = Play(house, proxy, room, socks)
        for step in script:
            await one.step(step)
        await one.check(nursery, rows)


@pytest.mark.parametrize("is_short", [True, False])
async def test_what_stands_is_the_log_folded_whatever_is_forgotten_or_lost(
    database, tmp_path, monkeypatch, is_short, seed
):
    async with open_stage(database, tmp_path) as (house, proxy, rows):
        for name, value in SHORT.items() if is_short else ():
            monkeypatch.setattr(name, value)

        @hypothesis_seed(seed)
        @settings(
            max_examples=25,
            deadline=None,
            database=None,
            suppress_health_check=list(HealthCheck),
            phases=(Phase.generate, Phase.shrink),
            report_multiple_bugs=False,
        )
        @given(script=STEPS)
        def body(script):
            trio.from_thread.run(play, house, proxy, rows, script)

        print(f"plays of seed {seed}")
        await trio.to_thread.run_sync(body)
