"""An alarm whose commit nobody learned the end of, on a real PostgreSQL: what its handler does is stored once."""

from contextlib import asynccontextmanager
from dataclasses import dataclass, replace

import pytest
import trio
from postgres_proxy import open_proxy

from greenroom.runtime import Actor, Address, Command, CommitUnknown, Kind, encodable, handles, open_system
from greenroom.storage.asyncio_bridge import open_asyncio_bridge
from greenroom.storage.postgres.actor_state import PostgresStateStore
from greenroom.storage.postgres.alarms import PostgresAlarmStore
from greenroom.storage.postgres.committer import PostgresCommitter
from greenroom.storage.postgres.pool import open_postgres

ONE = Address("bell", 1)


@encodable("tests.alarm_commits.ring")
@dataclass(frozen=True, slots=True)
class Ring(Command[None]):
    pass


@dataclass(frozen=True, slots=True)
class Set(Command[None]):
    after_seconds: float


class Bell(Actor):
    """Counts in its state how often it rang."""

    @handles(Set)
    def set(self, command: Set) -> None:
        self.ctx.set_alarm("a", Ring(), after_seconds=command.after_seconds)

    @handles(Ring)
    def ring(self, _: Ring) -> None:
        self.ctx.state.put("rings", self.ctx.state.get("rings", 0) + 1)


@asynccontextmanager
async def bell_behind_a_proxy(database):
    events = []
    async with (
        open_proxy(database.host) as proxy,
        open_asyncio_bridge() as bridge,
        open_postgres(bridge, dict(replace(database, host=str(proxy.folder)).connect_arguments())) as postgres,
        trio.open_nursery() as nursery,
    ):
        committer, states = PostgresCommitter(postgres), PostgresStateStore(postgres)
        nursery.start_soon(committer.run)
        async with open_system(
            [Kind("bell", lambda _: Bell(), ownership="create", keeps_alarms=True, keeps_state=True)],
            committer=committer,
            alarms=PostgresAlarmStore(postgres),
            states=states,
            event=lambda name, **_: events.append(name),
        ) as system:
            yield proxy, system.ref(*ONE), system.alarms.store, states, events
        nursery.cancel_scope.cancel()


async def gone(alarms):
    """Wait until no alarm is stored."""
    with trio.fail_after(15):
        while await alarms.of(ONE):  # noqa: ASYNC110
            await trio.sleep(0.02)


@pytest.mark.parametrize("lost", ["answer", "question"])
async def test_a_tick_is_stored_once_whichever_way_its_commit_was_lost(database, lost):
    async with bell_behind_a_proxy(database) as (proxy, bell, alarms, states, events):
        await bell.ask(Set(1.5), deadline=trio.current_time() + 10)
        (proxy.lose_answer_to if lost == "answer" else proxy.lose_question)(b"COMMIT")
        with trio.fail_after(10):
            await proxy.lost.wait()
        await gone(alarms)
        assert await states.of(ONE) == {"rings": "1"}
        await trio.sleep(0.5)
        assert await states.of(ONE) == {"rings": "1"}
        assert ("alarm.postponed" in events, "alarm.failed" in events) == (True, False)


@pytest.mark.parametrize(("lost", "first", "rings"), [("answer", 8.0, 0.4), ("question", 1.5, 1.5)])
async def test_a_move_whose_commit_was_lost_leaves_the_alarm_where_storage_says(database, lost, first, rings):
    """From *first* to 0.4 seconds: stored after all it comes then, and if not, when it was to come before."""
    async with bell_behind_a_proxy(database) as (proxy, bell, alarms, states, _):
        began = trio.current_time()  # before it is set: when the answer is heard a busy machine says
        await bell.ask(Set(first), deadline=trio.current_time() + 10)
        (proxy.lose_answer_to if lost == "answer" else proxy.lose_question)(b"COMMIT")
        with pytest.raises(CommitUnknown):
            await bell.ask(Set(0.4), deadline=trio.current_time() + 10)
        await gone(alarms)
        assert trio.current_time() - began >= rings - 0.05
        assert trio.current_time() - began < rings + 5
        assert await states.of(ONE) == {"rings": "1"}
