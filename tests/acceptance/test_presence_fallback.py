"""The presence of a page without a WebSocket: what the existing client falls back to survives our faults.

It asks who is online every 30 s and says that it is there every 60 s. It stops doing so for good at the third failure
in a row, and at once when it is told 401, 403, 404 or 405: a server that says one of these while it starts, ends or
waits for its storage loses every such page until it is loaded again. Here nobody waits for the half minute; what may
fail within it is counted instead.
"""

from collections import Counter
from contextlib import asynccontextmanager
from dataclasses import replace

import pytest
import trio
from house_fixture import open_house_under_test
from postgres_proxy import open_proxy
from server_process import ServerProcess
from wire import Gone, http, open_sockets, wait_until

ONLINE, UPDATE, POLL = "/api/presence/online", "/api/presence/update", "/api/poll/all"
QUESTIONS = ("GET", ONLINE, None), ("POST", UPDATE, {"status": "online"}), ("GET", POLL, None)
FOR_GOOD = {401, 403, 404, 405}
FAILURES_MAX = 3
POLL_SECONDS = 30.0  # of the existing client: as long have we to be well again between its second failure and its third
ANSWER_SECONDS = 30.0  # a question to a database that hangs is given up after 15
VIEWER, FRIEND, LEAVER, STRANGER = range(1, 5)


class Fallback:
    """The fallback of one user's page. shown: who it shows, in which status; why_over: what made it give up.

    failed: the statuses that it was told of what failed, None for no answer.
    """

    def __init__(self, server, user, session):
        self.user, self.shown, self.failed, self.why_over = user, {}, [], None
        self._server, self._in_a_row = server, 0
        self._headers = {"Cookie": f"pitchey-session={session}", "Content-Type": "application/json"}

    async def poll(self):
        """What it does every 30 s. Whether it was answered."""
        data = await self._ask("GET", ONLINE)
        if data is not None:
            self.shown = {one["userId"]: one["status"] for one in data["users"]}
        return data is not None

    async def beat(self, status="online"):
        """What it does every 60 s, and when its user chooses a status. Whether it was answered."""
        return await self._ask("POST", UPDATE, {"status": status}) is not None

    async def ask(self, method, path, body=None):
        """Ask as fetch does; None when the connection is refused or ends without an answer."""
        headers = {**self._headers, "Origin": f"http://127.0.0.1:{self._server.port}"}
        try:
            return await http(self._server, method, path, body, headers=headers, seconds=ANSWER_SECONDS)
        except (OSError, Gone):
            return None

    async def _ask(self, method, path, body=None):
        assert self.why_over is None, f"the page of {self.user} has given up: {self.why_over}"
        answer = await self.ask(method, path, body)
        if answer is not None and answer.status == 200 and is_json(answer):
            self._in_a_row = 0
            return answer.json()["data"]
        self.failed.append(None if answer is None else answer.status)
        self._in_a_row += 1
        if self._in_a_row == FAILURES_MAX or (answer is not None and answer.status in FOR_GOOD):
            self.why_over = answer or "no answer"
        return None


class Onlooker:
    """Asks all the time, whatever befalls the server. wrong: answers that no page should be given.

    statuses: how often which, None for no answer.
    """

    def __init__(self, fallback):
        self.wrong, self.statuses = [], Counter()
        self._fallback, self._in_a_row = fallback, 0

    async def run(self):
        while True:
            for method, path, body in (
                ("GET", ONLINE, None),
                ("POST", UPDATE, {"status": "online"}),
                ("GET", POLL, None),
            ):
                answer = await self._fallback.ask(method, path, body)
                status = None if answer is None else answer.status
                self.statuses[status] += 1
                self._in_a_row = self._in_a_row + 1 if status == 200 else 0
                if answer is not None and not (is_json(answer) and (status == 200 or status >= 500)):
                    self.wrong.append((method, path, answer))
            await trio.sleep(0.01)

    async def sees_it_well(self):
        """Within the time between two polls all questions are answered again, by a round that begins now."""
        self._in_a_row = 0
        await wait_until(
            lambda: self._in_a_row < 2 * len(QUESTIONS) and f"an answer, after {self.statuses}", POLL_SECONDS
        )


def is_json(answer):
    return answer.headers.get("content-type", "").startswith("application/json") and answer.json() is not None


@asynccontextmanager
async def people_without_sockets(database, folder):
    """(server, its road to PostgreSQL, the fallback of each, an onlooker): three share a room, one knows nobody."""
    async with open_house_under_test(database, folder, listens=False) as house:
        await house.people(VIEWER, FRIEND, LEAVER, STRANGER)
        await house.conversation(VIEWER, FRIEND, LEAVER)
        users = (VIEWER, FRIEND, LEAVER, STRANGER)
        sessions = [(await house.house.storage.sessions.create(user))[0] for user in users]
    async with open_proxy(database.host) as proxy:
        behind = replace(database, host=str(proxy.folder))
        url = f"postgresql://{behind.user}@/{behind.database}?host={behind.host}&port={behind.port}"
        with ServerProcess(DATABASE_URL=url) as server:
            await trio.to_thread.run_sync(server.start)
            pages = [Fallback(server, *one) for one in zip(users, sessions, strict=True)]
            onlooker = Onlooker(pages.pop())
            async with open_sockets() as nursery:
                nursery.start_soon(onlooker.run)
                await onlooker.sees_it_well()
                yield server, proxy, pages, onlooker
            assert not onlooker.wrong, onlooker.wrong[:3]
            assert not server.faults(), server.faults()[0]


async def all_are_shown(viewer, friend, leaver):
    assert [await viewer.beat(), await friend.beat("busy"), await leaver.beat()] == [True] * 3
    assert await viewer.poll()
    assert viewer.shown == {VIEWER: "online", FRIEND: "busy", LEAVER: "online"}


@pytest.mark.parametrize("end", ["stop", "kill"])
async def test_a_page_that_polls_goes_on_over_a_restart_and_shows_who_is_there_since(database, tmp_path, end):
    async with people_without_sockets(database, tmp_path) as (server, _, (viewer, friend, leaver), onlooker):
        for _ in range(2):
            await all_are_shown(viewer, friend, leaver)
            await trio.to_thread.run_sync(getattr(server, end))
            assert [await viewer.poll(), await viewer.poll(), await friend.beat("busy")] == [False] * 3
            assert {*viewer.failed, *friend.failed} == {None}, "nobody listens"
            await trio.to_thread.run_sync(server.start)
            await onlooker.sees_it_well()
            assert await viewer.poll()
            assert viewer.shown == {}, "nobody is there who has not said so since"
            assert [await viewer.beat(), await friend.beat("busy")] == [True] * 2
            assert await viewer.poll()
            assert viewer.shown == {VIEWER: "online", FRIEND: "busy"}


async def cut(proxy):
    await proxy.cut_all()
    return proxy.open_again


async def hang(proxy):
    proxy.hold()
    return proxy.release


@pytest.mark.parametrize("fail", [cut, pytest.param(hang, marks=pytest.mark.slow(seconds=75))])
async def test_a_page_that_polls_goes_on_over_an_outage_of_storage_and_shows_who_is_there(database, tmp_path, fail):
    async with people_without_sockets(database, tmp_path) as (_, proxy, (viewer, friend, leaver), onlooker):
        await all_are_shown(viewer, friend, leaver)
        end_of_it = await fail(proxy)
        assert [await viewer.poll(), await viewer.poll()] == [False] * 2
        is_heard = await friend.beat("away")  # it may be: a session that was read a moment ago is not read again
        end_of_it()
        await onlooker.sees_it_well()
        assert viewer.failed == [503, 503]
        assert set(onlooker.statuses) <= {200, 503}
        assert await viewer.poll()
        assert viewer.shown == {VIEWER: "online", FRIEND: "away" if is_heard else "busy", LEAVER: "online"}
        assert [await friend.beat("away"), await leaver.beat("offline")] == [True] * 2
        assert await viewer.poll()
        assert viewer.shown == {VIEWER: "online", FRIEND: "away"}


async def test_a_page_that_polls_gives_up_at_once_when_its_session_has_ended(database, tmp_path):
    async with people_without_sockets(database, tmp_path) as (_, _, (viewer, friend, leaver), _):
        await all_are_shown(viewer, friend, leaver)
        assert (await friend.ask("POST", "/api/auth/sign-out", {})).status == 200
        assert not await friend.beat()
        assert friend.why_over.status == 401
        assert is_json(friend.why_over)
        with trio.fail_after(POLL_SECONDS):
            while viewer.shown != {VIEWER: "online", LEAVER: "online"}:
                assert await viewer.poll()
