"""Who is invisible, as storage said before something was stored here: of everybody else that is believed."""

from typing import Any

import pytest
import trio

from greenroom.storage.postgres.pool import Postgres
from greenroom.storage.postgres.queries import query
from greenroom.storage.postgres.user_streams import UserStreams
from greenroom.storage.postgres.visibility import Visibility

ANYBODY = None


class Asked:
    """What a process knows, and storage, whose answers are held until they may come."""

    def __init__(self, postgres: Postgres):
        self.postgres = postgres
        itself: Any = self
        self.visibility = Visibility(itself)
        self.streams = UserStreams(itself, self.visibility)
        self.found: list[int] = []
        self.visibility.on_found = self.found.append
        self.has_read, self.may_answer = trio.Event(), trio.Event()
        self.asked = 0

    async def execute(self, name: str, *arguments: Any) -> None:
        await self.postgres.execute(name, *arguments)

    async def fetch(self, name: str, *arguments: Any) -> list[Any]:
        rows = await self.postgres.fetch(name, *arguments)
        self.asked += 1
        self.has_read.set()
        await self.may_answer.wait()
        return rows

    async def elsewhere(self, user_id, *, is_invisible):
        """Another process stores it."""
        await Visibility(self.postgres).put(user_id, is_invisible=is_invisible)

    async def look(self, how):
        """Ask, of user 1 at least."""
        if how == "as who comes":
            await self.streams.standing(1)
        else:
            await self.visibility.look_again([1] if how == "of one" else ANYBODY)


@pytest.fixture
async def asked(house):
    await house.people(1, 2, 3, 4, 5)
    return Asked(house.house.storage.postgres)


WAYS = pytest.mark.parametrize("how", ["of one", "of anybody", "as who comes"])


@WAYS
@pytest.mark.parametrize("is_invisible", [True, False])
async def test_what_is_stored_here_of_another_meanwhile_takes_nothing_from_the_answer(asked, how, is_invisible):
    if not is_invisible:
        asked.visibility.invisible.add(1)
    await asked.elsewhere(1, is_invisible=is_invisible)
    async with trio.open_nursery() as looks:
        looks.start_soon(asked.look, how)
        await asked.has_read.wait()
        await asked.visibility.put(2, is_invisible=True)
        asked.may_answer.set()
    assert asked.visibility.invisible == ({1, 2} if is_invisible else {2})
    assert asked.found == [1]
    assert asked.asked == (2 if how == "of anybody" else 1), "of whom was stored here is asked once more"


@WAYS
async def test_of_whom_something_was_stored_here_meanwhile_an_older_answer_is_not_believed(asked, how):
    async with trio.open_nursery() as looks:
        looks.start_soon(asked.look, how)
        await asked.has_read.wait()
        await asked.visibility.put(1, is_invisible=True)
        asked.may_answer.set()
    assert (asked.visibility.invisible, asked.found) == ({1}, [])


@WAYS
async def test_whatever_was_stored_elsewhere_after_it_is_found_all_the_same(asked, how):
    """What is heard of it leads to one look: that must not end with what was stored here."""
    async with trio.open_nursery() as looks:
        looks.start_soon(asked.look, how)
        await asked.has_read.wait()
        await asked.visibility.put(1, is_invisible=True)
        await asked.elsewhere(1, is_invisible=False)
        asked.may_answer.set()
    assert (asked.visibility.invisible, asked.found) == (set(), [1])


async def test_an_answer_that_is_older_than_what_was_found_is_not_believed(asked):
    older = asked.visibility.changed.version
    await asked.elsewhere(1, is_invisible=True)
    asked.may_answer.set()
    await asked.look("of one")
    assert asked.visibility.found({1: False, 3: False}, older) == {1}
    assert asked.visibility.invisible == {1}


async def test_of_how_many_it_is_known_when_they_changed_is_bounded_and_no_answer_is_lost(asked, monkeypatch):
    monkeypatch.setattr("greenroom.storage.changed.IDS_KEPT", 2)
    await asked.elsewhere(1, is_invisible=True)
    async with trio.open_nursery() as looks:
        looks.start_soon(asked.look, "of one")
        await asked.has_read.wait()
        for user_id in (2, 3, 4, 5):
            await asked.visibility.put(user_id, is_invisible=True)
        asked.may_answer.set()
    assert asked.visibility.invisible == {1, 2, 3, 4, 5}
    assert asked.found == [1]
    assert len(asked.visibility.changed._changed_at) <= 2


async def test_who_may_see_whom_is_looked_up_pair_by_pair_also_when_the_planner_knows_nothing(house):
    """As after many came at once. Of all pairs of everybody it would make a table, for each question anew."""
    postgres = house.house.storage.postgres

    async def plan(connection):
        await connection.execute("alter table participants set (autovacuum_enabled = false)")
        await connection.execute(
            "insert into users (id, name, created_at, updated_at)"
            " select id, 'u', now(), now() from generate_series(1, 5000) as id"
        )
        await connection.execute(
            "insert into conversations (id, is_group, is_open, title, created_by_id, created_at, updated_at)"
            " select id, true, false, 'room', 1, now(), now() from generate_series(1, 50) as id"
        )
        await connection.execute(
            "insert into participants (conversation_id, user_id, role, is_active, joined_at)"
            " select 1 + (id - 1) / 100, id, 'member', true, now() from generate_series(1, 5000) as id"
        )
        asked = [1] * 100, list(range(1, 101))
        return [row[0] for row in await connection.fetch(f"explain {query('select_who_may_see')}", *asked)]

    assert not [line for line in await postgres.transaction(plan) if "hashed SubPlan" in line]
