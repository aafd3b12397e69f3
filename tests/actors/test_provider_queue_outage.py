"""Outages of provider accounts on the virtual clock: hours pass in seconds, on a real PostgreSQL.

Time stands still while anything is under way, and then jumps to whatever is due next: so a run is the same each time,
and what the queues ask of storage in an hour can be counted. The providers are scripted (what a provider may say, over
the wire, is in test_providers.py); they outlive the queues, and remember every call.

A kill is what kill -9 leaves: everything stops at once, nothing more is written, and a new owner starts later.
"""

import itertools
import random
import runpy
from collections import Counter
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from greenroom.actors.provider_queue.state import QueuePolicy
from greenroom.actors.providers.accounts import EmailSettings
from greenroom.actors.providers.provider import Accepted, Deferred, Fault, Rejected, Sender, Unknown
from greenroom.runtime.ports import Clock
from greenroom.storage.postgres.connection import Connection
from greenroom.storage.postgres.outbox import Outbox
from greenroom.storage.postgres.pool import Postgres

queue = runpy.run_path(str(Path(__file__).parent / "test_provider_queue.py"))
open_house, Same = queue["open_house"], queue["Same"]

A, B = "sendgrid", "sendgrid_fallback"
NOW = 1_800_000_000_000
MINUTE, HOUR = 60, 3600  # seconds
POLICY = QueuePolicy((A, B), windows=())
LATENCY = 0.05
RATE_OF_A_STOP = 8.0  # it waits for a time, so time must pass; and for storage, so not too fast
FAULTS = {"down": Fault.UNAVAILABLE, "config": Fault.CONFIG, "quota": Fault.QUOTA}


class Wall(Clock):
    """The wall clock of the virtual time; `jump_ms` is how far somebody has set it off."""

    jump_ms = 0

    def wall_milliseconds(self):
        return NOW + round(trio.current_time() * 1000) + self.jump_ms

    def busy_seconds(self):
        return 0.0


class Killed(Exception):
    """The fuse has blown."""


class Fuse:
    """Every step between storage and provider passes here; at the chosen one, the process is dead."""

    def __init__(self):
        self.steps, self.blows_at, self.is_blown = 0, None, False

    async def step(self):
        self.steps += 1
        if self.steps == self.blows_at:
            self.is_blown = True
        if self.is_blown:
            await trio.sleep_forever()
        await trio.lowlevel.checkpoint()


class FusedOutbox(Outbox):
    """The outbox of a process that may be killed before and after every transaction."""

    def __init__(self, postgres, world):
        super().__init__(postgres)
        self.world = world

    async def exchange(self, *args, **kwargs):
        return await self._fused(super().exchange(*args, **kwargs))

    async def recover(self, *args, **kwargs):
        return await self._fused(super().recover(*args, **kwargs))

    async def _fused(self, call):
        self.world.exchanges.append(trio.current_time())
        try:
            await self.world.fuse.step()
            answer = await call
            await self.world.fuse.step()
        finally:
            call.close()
        return answer


@dataclass
class Call:
    """A call of a provider. outcome: None while nobody knows, and for ever if the caller was killed."""

    account: str
    email: str
    at: float
    word: str
    outcome: object = None


class Scripted:
    """An account whose weather is said from outside: up, down, config, quota, throttle:<s>, later, refuse, doubt."""

    is_redo_safe = False
    sender = Sender("from@example.com")

    def __init__(self, name, world):
        self.name, self.world, self.weather = name, world, "up"

    async def send(self, mail, attempt_id):
        word, _, argument = self.weather.partition(":")
        call = Call(self.name, mail.id, trio.current_time(), word)
        self.world.calls.append(call)
        await self.world.fuse.step()
        if word == "up" or (word == "doubt" and self.world.chance.random() < 0.5):
            self.world.taken[mail.id] += 1
        await self.world.fuse.step()
        await trio.sleep(LATENCY)
        call.outcome = self._outcome(word, argument)
        return call.outcome

    def _outcome(self, word, argument):
        if word == "up":
            return Accepted("id")
        if word == "throttle":
            return Deferred(self.world.wall.wall_milliseconds() + round(float(argument) * 1000), "429")
        if word == "doubt":
            return Unknown("silence")
        return Rejected({"later": Fault.TEMPORARY, "refuse": Fault.CONTENT, **FAULTS}[word], word)


@dataclass
class World:
    """What is outside of the process: time, providers, the database; and what they saw."""

    clock: trio.testing.MockClock
    database: object
    chance: random.Random
    wall: Wall = field(default_factory=Wall)
    fuse: Fuse = field(default_factory=Fuse)
    calls: list = field(default_factory=list)
    exchanges: list = field(default_factory=list)
    taken: Counter = field(default_factory=Counter)
    busy: int = 0
    is_idle: trio.Event = field(default_factory=trio.Event)

    def __post_init__(self):
        self.a, self.b = Scripted(A, self), Scripted(B, self)

    def weather(self, a, b):
        self.a.weather, self.b.weather = a, b

    @asynccontextmanager
    async def process(self, policy=POLICY, *, is_crash=False, randomness=None):
        """A process on this world, as `open_house` opens it."""
        names = policy.accounts
        providers = {name: {A: self.a, B: self.b}[name] for name in names}
        async with open_house(
            self.database,
            EmailSettings(Path("nowhere"), sendgrid_api_key="k", sendgrid_fallback_api_key="k" if B in names else None),
            policy,
            is_crash=is_crash,
            providers=providers,
            clock=self.wall,
            outbox_type=lambda postgres: FusedOutbox(postgres, self),
            randomness=randomness or self.chance,
        ) as house:
            self.clock.rate = 0
            try:
                yield house
            finally:
                self.clock.rate = RATE_OF_A_STOP
        self.clock.rate = 0

    async def settle(self):
        """Let everything happen that can happen now."""
        while True:
            await wait_all_tasks_blocked()
            if not self.busy:
                return
            self.is_idle = trio.Event()
            if self.busy:
                await self.is_idle.wait()

    async def pass_time(self, seconds):
        """Let time pass, from one thing that is due to the next. Raises: Killed."""
        end = trio.current_time() + seconds
        while True:
            await self.settle()
            if self.fuse.is_blown:
                raise Killed
            left = end - trio.current_time()
            if left < 1e-6:
                return
            next_seconds = trio.lowlevel.current_statistics().seconds_to_next_deadline
            self.clock.jump(min(max(next_seconds, 0.0005), left))

    def order_taken(self):
        return [call.email for call in self.calls if call.word == "up"]


@pytest.fixture
def world(mock_clock, database, monkeypatch, seed):
    made = World(mock_clock, database, random.Random(seed))

    def noting(original):
        async def run(*args, **kwargs):
            made.busy += 1
            try:
                return await original(*args, **kwargs)
            finally:
                made.busy -= 1
                if not made.busy:
                    made.is_idle.set()

        return run

    for owner, name in ((Postgres, "lend"), (Postgres, "connect"), (Connection, "wait_for")):
        monkeypatch.setattr(owner, name, noting(getattr(owner, name)))
    return made


async def check(world, house, ids):
    """What must be true of every accepted mail at any moment; the statuses (a probe is under way or not: pending)."""
    statuses = Counter()
    for email_id in ids:
        row, attempts = await house.outbox.mail(email_id)
        status, taken = row["status"], world.taken[email_id]
        calls = [call for call in world.calls if call.email == email_id]
        about = f"{email_id}: {status}, taken {taken}, calls {calls}, attempts {attempts}"
        assert status in ("sent", "failed", "unknown", "pending", "processing"), about
        assert taken <= 1, about
        if status == "sent":
            assert taken == 1, about
            assert isinstance(calls[-1].outcome, Accepted), about
        if status == "failed":
            assert taken == 0, about
            assert row["failure"] in ("expired", "temporary", "content"), about
            assert row["failure_text"], about
        if status == "pending":
            assert taken == 0, about
        for call in calls[:-1]:  # nothing follows a call of which nobody knows what came of it
            assert isinstance(call.outcome, Rejected | Deferred), about
        statuses["pending" if status == "processing" else status] += 1
    return statuses


CLOUDS = ["down", "config", "quota", "throttle:5", "throttle:900"]


ALL_SKIES = list(itertools.product(CLOUDS, CLOUDS))
SKIES = [("down", "down"), ("config", "throttle:5")]


@pytest.mark.parametrize(
    ("a", "b"), SKIES + [pytest.param(*sky, marks=pytest.mark.slow(seconds=5)) for sky in ALL_SKIES if sky not in SKIES]
)
async def test_whatever_is_wrong_with_both_accounts_mails_wait_and_leave_in_order_by_whichever_is_back(
    mock_clock, world, a, b
):
    for back in (("up", b), (a, "up"), ("up", "up")):
        async with world.process(replace(POLICY, concurrent=1, poll_ms=60_000)) as house:
            before = len(world.calls)
            world.weather(a, b)
            ids = [await post(world, house) for _ in range(5)]
            await world.pass_time(10 * MINUTE)
            assert await check(world, house, ids) == {"pending": 5}
            assert len(world.calls) - before < 200
            for email_id in ids:
                story = await house.story(email_id)
                if story["status"] == "pending":
                    assert story["held"]["reason"] in ("unavailable", "config", "quota", "throttle")
            world.weather(*back)
            await world.pass_time(HOUR + 2 * MINUTE if "quota" in (a, b) else 17 * MINUTE)
            assert await check(world, house, ids) == {"sent": 5}
            if back != ("up", "up"):  # one account, one order: but for the probes, and what the other just had
                places = [ids.index(email_id) for email_id in world.order_taken() if email_id in ids]
                assert all(abs(place - i) <= 3 for i, place in enumerate(places) if i), places


async def post(world, house):
    """Hand in a mail; the next is at least a millisecond younger."""
    email_id = await house.post()
    world.clock.jump(0.002)
    return email_id


async def test_a_thousand_mails_wait_an_hour_for_nearly_nothing_and_then_leave_in_order_under_the_rate_windows(
    mock_clock, world
):
    policy = replace(POLICY, windows=((60_000, 50), (3_600_000, 1_000)))
    async with world.process(policy) as house:
        world.weather("down", "down")
        ids = [await post(world, house) for _ in range(1000)]
        await world.pass_time(MINUTE)
        tasks, began, steps = trio.lowlevel.current_statistics().tasks_living, trio.current_time(), len(world.exchanges)
        await world.pass_time(HOUR)
        assert trio.lowlevel.current_statistics().tasks_living <= tasks + 2
        hour = world.exchanges[steps:]
        assert len(hour) / HOUR < 1.0, "transactions a second, of both queues together"
        assert max(sum(start <= at < start + 10 for at in hour) for start in hour) <= 40
        assert len(world.calls) < 2 * (HOUR / 15) * 2
        assert await check(world, house, ids[:50]) == {"pending": 50}
        world.weather("up", "down")
        await world.pass_time(5 * MINUTE)
        accepted = [call for call in world.calls if call.word == "up"]
        assert len(accepted) > 200
        for first in accepted:
            assert sum(first.at <= call.at < first.at + 60 for call in accepted) <= 50
        places = [ids.index(call.email) for call in accepted]
        assert all(abs(place - i) <= 8 for i, place in enumerate(places) if i), "in order, but for the probe"
        world.weather("up", "up")
        await world.pass_time(20 * MINUTE)
        assert await check(world, house, ids) == {"sent": 1000}
        assert trio.current_time() - began < 2 * HOUR


async def test_mails_that_come_while_one_account_is_away_go_to_the_other_at_once(mock_clock, world):
    async with world.process() as house:
        world.weather("quota", "up")
        ids = [await post(world, house)]
        await world.pass_time(5)
        for _ in range(5):
            ids.append(await post(world, house))
            await world.pass_time(2 * LATENCY)
            assert await check(world, house, ids) == {"sent": len(ids)}
        assert [call.account for call in world.calls].count(A) == 1


async def test_an_account_that_has_no_mail_of_its_own_is_probed_with_one_that_waits_elsewhere(mock_clock, world):
    async with world.process() as house:
        world.weather("quota", "doubt")
        gone = [await post(world, house) for _ in range(2)]
        await world.pass_time(5)
        assert await check(world, house, gone) == {"unknown": 2}
        world.weather("quota", "up")
        ids = [await post(world, house) for _ in range(30)]
        await world.pass_time(15)
        assert await check(world, house, ids) == {"sent": 30}


async def test_an_hour_with_nothing_to_send_costs_a_look_at_each_poll(mock_clock, world):
    async with world.process():
        await world.pass_time(MINUTE)
        steps = len(world.exchanges)
        await world.pass_time(HOUR)
        assert len(world.exchanges) - steps <= 2 * 2 * HOUR / 10 + 10


async def test_posts_during_an_outage_ask_storage_for_nothing_more_than_to_keep_them(mock_clock, world):
    async with world.process() as house:
        world.weather("throttle:600", "throttle:600")
        await post(world, house)
        await world.pass_time(2 * MINUTE)
        steps = len(world.exchanges)
        ids = [await post(world, house) for _ in range(300)]
        assert len(world.exchanges) - steps <= 4
        world.weather("up", "up")
        await world.pass_time(20 * MINUTE)
        assert await check(world, house, ids) == {"sent": 300}


@pytest.mark.parametrize("asked", [90, 1800])
async def test_what_a_provider_asks_for_is_kept_to_the_second_also_across_a_kill(mock_clock, world, asked):
    policy = replace(POLICY, accounts=(A,))
    async with world.process(policy, is_crash=True) as house:
        world.weather(f"throttle:{asked}", "up")
        email_id = await post(world, house)
        await world.pass_time(1)
    world.weather("up", "up")
    until = world.calls[0].at + LATENCY + asked
    async with world.process(policy, is_crash=True) as house:
        await world.pass_time(asked / 2)
    async with world.process(policy) as house:
        await world.pass_time(until - trio.current_time() - 0.1)
        assert len(world.calls) == 1
        await world.pass_time(1)
        assert await check(world, house, [email_id]) == {"sent": 1}
    assert -0.001 <= world.calls[1].at - until <= 0.1


# With the second seed, an account says after the jump that it takes mail, to one that has not looked at the clock yet.
@pytest.mark.parametrize("seed", [1, 838348736])
@pytest.mark.parametrize("jump", [-HOUR, HOUR, -100 * HOUR, 100 * HOUR])
async def test_a_clock_that_jumps_delays_nothing_and_loses_nothing(mock_clock, world, jump):
    policy = replace(POLICY, windows=((60_000, 30),))
    async with world.process(policy) as house:
        world.weather("down", "down")
        ids = [await post(world, house) for _ in range(20)]
        await world.pass_time(MINUTE)
        world.weather("up", "down")
        world.wall.jump_ms += jump * 1000
        ids += [await post(world, house) for _ in range(20)]
        await world.pass_time(3 * MINUTE)
        statuses = await check(world, house, ids)
        # 100 hours ahead they are too old, and the account was parked when the clock was looked at: it says so.
        if jump == 100 * HOUR:
            assert set(statuses) <= {"sent", "failed"}
            assert statuses["sent"] >= 20
        else:
            assert statuses == {"sent": 40}


async def test_a_clock_that_was_set_back_while_nobody_ran_delays_nothing_either(mock_clock, world):
    async with world.process(is_crash=True) as house:
        world.weather("down", "down")
        ids = [await post(world, house) for _ in range(5)]
        await world.pass_time(MINUTE)
    world.wall.jump_ms -= 5 * HOUR * 1000
    world.weather("up", "up")
    async with world.process() as house:
        await world.pass_time(2 * MINUTE)
        assert await check(world, house, ids) == {"sent": 5}


async def test_a_mail_is_given_up_at_its_age_limit_and_not_before(mock_clock, world):
    policy = replace(POLICY, mail_ms_max=10 * MINUTE * 1000)
    async with world.process(policy) as house:
        world.weather("down", "throttle:3600")
        ids = [await post(world, house) for _ in range(30)]
        await world.pass_time(9 * MINUTE)
        late = [await post(world, house) for _ in range(5)]
        await world.pass_time(50)
        assert await check(world, house, ids) == {"pending": 30}
        await world.pass_time(60)
        assert await check(world, house, ids) == {"failed": 30}
        assert await check(world, house, late) == {"pending": 5}
        world.weather("up", "up")
        await world.pass_time(MINUTE)
        assert await check(world, house, late) == {"sent": 5}


async def test_what_is_too_old_after_a_long_stop_is_still_sent_when_an_account_is_there(mock_clock, world):
    policy = replace(POLICY, mail_ms_max=10 * MINUTE * 1000)
    async with world.process(policy, is_crash=True) as house:
        world.weather("down", "down")
        ids = [await post(world, house) for _ in range(30)]
        await world.pass_time(MINUTE)
    world.clock.jump(24 * HOUR)
    world.weather("up", "down")
    async with world.process(policy) as house:
        await world.pass_time(MINUTE)
        assert await check(world, house, ids) == {"sent": 30}


WEATHER_OF_KILLS = [("down", "down", 20), ("throttle:5", "doubt", 10), ("later", "config", 10), ("up", "down", 60)]


async def live(world, ids, *, is_crash):
    """One life of a process: it posts once, and goes through the weather from where it stands."""
    async with world.process(is_crash=is_crash, randomness=Same(0.7)) as house:
        try:
            if not ids:
                ids.extend([await post(world, house) for _ in range(2)])
            for a, b, seconds in WEATHER_OF_KILLS:
                world.weather(a, b)
                await world.pass_time(seconds)
        except Killed:
            return None
        statuses = await check(world, house, ids)
        assert set(statuses) <= {"sent", "unknown"}
        return statuses


@pytest.mark.parametrize("kills_max", [8, pytest.param(1000, marks=pytest.mark.slow(seconds=60))])
async def test_a_kill_at_any_single_step_loses_nothing_and_sends_nothing_twice(mock_clock, world, kills_max):
    ids = []
    assert await live(world, ids, is_crash=False) is not None
    steps = world.fuse.steps
    assert steps > 40
    kills = sorted(world.chance.sample(range(1, steps + 1), min(steps, kills_max)))
    killed, unknown = 0, 0
    for blows_at in kills:
        world.fuse = Fuse()
        world.fuse.blows_at = blows_at
        ids = []
        if await live(world, ids, is_crash=True) is None:
            killed += 1
            world.fuse = Fuse()
            unknown += (await live(world, ids, is_crash=False))["unknown"]
    assert killed > len(kills) * 0.5
    assert unknown


WORDS = ["up", "up", "up", "down", "down", "config", "quota", "throttle:3", "throttle:200", "later", "refuse", "doubt"]


@pytest.mark.parametrize("lives", [6, pytest.param(200, marks=pytest.mark.slow(seconds=120))])
async def test_any_weather_any_kill_any_clock_every_mail_ends_in_one_way(mock_clock, world, lives):
    """Seeded; the seed is printed."""
    policy = replace(POLICY, mail_ms_max=HOUR * 1000, windows=((60_000, 50),), tries_max=2, poll_ms=60_000)
    chance, ids = world.chance, []
    for _ in range(lives):
        world.fuse = Fuse()
        if chance.random() < 0.7:
            world.fuse.blows_at = chance.randint(1, 80)
        async with world.process(policy, is_crash=True) as house:
            try:
                for _ in range(chance.randint(1, 6)):
                    world.weather(chance.choice(WORDS), chance.choice(WORDS))
                    ids += [await post(world, house) for _ in range(chance.randint(0, 4))]
                    if chance.random() < 0.2:
                        world.wall.jump_ms += chance.randint(-2 * HOUR, HOUR // 4) * 1000
                    await world.pass_time(chance.choice([0.01, 0.3, 5, 40, 600]))
                    await check(world, house, ids[-20:])
            except Killed:
                pass
        world.clock.jump(chance.choice([0.0, 5.0, 300.0]))
    world.fuse = Fuse()
    async with world.process(policy) as house:
        world.weather("up", "down")
        await world.pass_time(HOUR + 10 * MINUTE)
        statuses = await check(world, house, ids)
        assert set(statuses) <= {"sent", "failed", "unknown"}
        assert statuses.total() == len(ids)
