"""Provider queues whole: real PostgreSQL, real sockets to a fake SendGrid, and the folder.

"Crash" is what kill -9 leaves: everything is cancelled at once, nothing is written any more, and a new system starts on
the same database.
"""

import json
import runpy
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import pytest
import trio

from greenroom.actors.provider_queue.actor import QUEUE_KIND, provider_queue_kinds
from greenroom.actors.provider_queue.commands import GetHealth, Wake
from greenroom.actors.provider_queue.post_office import IdempotencyKey, PostOffice
from greenroom.actors.provider_queue.request import normalise
from greenroom.actors.provider_queue.state import QueuePolicy
from greenroom.actors.providers.accounts import EmailSettings, accounts_from, open_providers
from greenroom.actors.providers.provider import Accepted, Sender
from greenroom.actors.providers.transport import Limits
from greenroom.runtime import Randomness, StopReason, StorageUnavailable, SystemClock, open_system
from greenroom.runtime.endings import stop_now
from greenroom.storage.asyncio_bridge import open_asyncio_bridge
from greenroom.storage.postgres.committer import PostgresCommitter
from greenroom.storage.postgres.outbox import KeyTaken, Outbox
from greenroom.storage.postgres.pool import open_postgres

fake_sendgrid = runpy.run_path(str(Path(__file__).parents[1] / "providers" / "fake_sendgrid.py"))
open_fake_sendgrid = fake_sendgrid["open_fake_sendgrid"]

SECONDS_MAX = 10.0
LIMITS = Limits(2.0, 2.0, 2.5)
QUICK = QueuePolicy((), retry_ms_min=20, retry_ms_max=60, poll_ms=500, windows=())


class House:
    """A running e-mail side, and what a test may look at."""

    def __init__(self, system, office, outbox, postgres, events):
        self.system = system
        self.office = office
        self.outbox = outbox
        self.postgres = postgres
        self.events = events

    async def post(self, key=None, **changes):
        request = normalise(
            {"to": "user@example.com", "subject": "S", "text": "t", **changes},
            now_ms=self.system.clock.wall_milliseconds(),
        )
        taken = await self.office.accept_one(request, principal="key:1", key=key)
        return taken.data["id"]

    async def story(self, email_id):
        found = await self.office.status(email_id)
        assert found is not None
        return found[1]

    async def becomes(self, email_id, status, *, seconds_max=SECONDS_MAX):
        """Wait until the mail has *status*, by its own story."""
        story = None
        with trio.move_on_after(seconds_max):
            while (story := await self.story(email_id))["status"] != status:  # noqa: ASYNC110 - a row tells nobody
                await trio.sleep(0.005)
            return story
        raise AssertionError(f"{email_id} is not {status} after {seconds_max} s: {json.dumps(story, indent=1)}")

    async def health(self, account="sendgrid"):
        return await self.system.ref(QUEUE_KIND, account).ask(GetHealth(), deadline=trio.current_time() + 5)


class Same(Randomness):
    """No randomness at all."""

    def __init__(self, share):
        self.share = share

    def uniform(self, low, high):
        return low + (high - low) * self.share


async def holds(condition, *, seconds_max=SECONDS_MAX):
    with trio.fail_after(seconds_max):
        while not condition():  # noqa: ASYNC110 - the other side is a socket, it sets no event of ours
            await trio.sleep(0.002)


URLS = ("sendgrid_api_url", "sendgrid_fallback_api_url")


def hosted(tmp_path, *fakes):
    names = ("sendgrid", "sendgrid_fallback")
    given = {}
    for name, fake in zip(names, fakes, strict=False):
        given |= {f"{name}_api_key": fake.key, f"{name}_api_url": fake.url}
    return EmailSettings(data_dir=tmp_path, **given)


@asynccontextmanager
async def open_house(
    database, settings, policy=QUICK, *, is_crash=False, providers=None, clock=None, outbox_type=Outbox, randomness=None
):
    """Run the e-mail side. is_crash: at the end of the block everything dies at once."""
    events, clock = [], clock or SystemClock()
    policy = replace(policy, accounts=tuple(account.name for account in accounts_from(settings)))
    async with (
        open_asyncio_bridge() as bridge,
        open_postgres(bridge, database.connect_arguments()) as postgres,
        open_providers(settings, clock.wall_milliseconds, limits=LIMITS) as opened,
        trio.open_nursery() as nursery,
    ):
        committer, outbox = PostgresCommitter(postgres), outbox_type(postgres)
        nursery.start_soon(committer.run)

        def event(name, **facts):
            events.append((name, facts))

        kinds = provider_queue_kinds(outbox, providers or opened, policy, event=event, randomness=randomness)
        async with open_system(kinds, committer=committer, clock=clock, event=event) as system:
            office = PostOffice(outbox, system, policy)
            nursery.start_soon(office.run)
            yield House(system, office, outbox, postgres, events)
            if is_crash:
                for cell in list(system.activations.values()):
                    stop_now(cell, StopReason.KILLED)
                system.is_stopped = True
            else:
                office.drain()
        nursery.cancel_scope.cancel()


async def test_a_mail_is_durable_before_the_answer_and_then_sent_at_once(database, tmp_path):
    async with open_fake_sendgrid() as fake, open_house(database, hosted(tmp_path, fake)) as house:
        fake.script.append("hold")
        email_id = await house.post()
        assert (await house.story(email_id))["status"] in ("pending", "processing")
        await holds(lambda: fake.requests)
        fake.release()
        story = await house.becomes(email_id, "sent")
        assert story["providerMessageId"] == "fake-1"
        assert [event["type"] for event in story["events"]] == ["pending", "processing", "sent"]
        assert story["to"] == ["u***@example.com"]


async def test_the_attempt_row_is_written_before_the_provider_is_called(database, tmp_path):
    async with open_fake_sendgrid() as fake, open_house(database, hosted(tmp_path, fake)) as house:
        fake.script.append("hold")
        email_id = await house.post()
        await holds(lambda: fake.requests)
        (attempt,) = (await house.story(email_id))["attempts"]
        assert attempt["state"] == "transmitting"
        assert fake.requests[0]["personalizations"][0]["custom_args"]["gr_attempt"] == attempt["id"]
        fake.release()
        await house.becomes(email_id, "sent")


async def test_without_any_provider_mail_is_caught_in_the_folder(database, tmp_path):
    async with open_house(database, EmailSettings(data_dir=tmp_path)) as house:
        email_id = await house.post(subject="Hello")
        story = await house.becomes(email_id, "sent")
        assert story["provider"] == "folder"
        assert "Subject: Hello" in (tmp_path / "mail" / f"{email_id}.eml").read_text()


async def test_an_idempotency_key_sends_once_and_refuses_another_body(database, tmp_path):
    async with open_fake_sendgrid() as fake, open_house(database, hosted(tmp_path, fake)) as house:
        key = IdempotencyKey("POST /api/email/send", "k", {"to": "user@example.com"})
        ids = {await house.post(key) for _ in range(3)}
        assert len(ids) == 1
        await house.becomes(ids.pop(), "sent")
        request = normalise({"to": "other@example.com", "subject": "S", "text": "t"}, now_ms=0)
        other = IdempotencyKey(key.route, "k", {"to": "other@example.com"})
        assert await house.office.accept_one(request, principal="key:1", key=other) == KeyTaken()
        assert len(fake.accepted) == 1


@pytest.mark.parametrize("fault", ["accept_then_reset", "reset_after_reading", "half_response", "500", "502", "slow:3"])
async def test_what_may_have_been_taken_is_shown_as_unknown_and_never_sent_again_by_anybody(database, tmp_path, fault):
    async with open_fake_sendgrid("one") as first, open_fake_sendgrid("two") as second:
        settings = hosted(tmp_path, first, second)
        first.script.append(fault)
        async with open_house(database, settings) as house:
            email_id = await house.post()
            story = await house.becomes(email_id, "unknown")
            assert story["willBeSentAgain"] is False
            assert story["events"][-1]["type"] == "unknown"
            for account in ("sendgrid", "sendgrid_fallback"):
                house.system.ref(QUEUE_KIND, account).tell(Wake())
            after = await house.post()
            await house.becomes(after, "sent")
        async with open_house(database, settings) as house:  # nor after a restart
            assert (await house.story(email_id))["status"] == "unknown"
            await house.becomes(await house.post(), "sent")
        assert len(first.requests) == 3
        assert second.requests == []


@pytest.mark.parametrize("is_accepted", [True, False])
async def test_a_crash_between_the_attempt_and_its_result_leaves_it_unknown_whatever_happened(
    database, tmp_path, is_accepted
):
    async with open_fake_sendgrid("one") as first, open_fake_sendgrid("two") as second:
        settings = hosted(tmp_path, first, second)
        first.script.append("hold" if is_accepted else "slow:30")
        async with open_house(database, settings, is_crash=True) as house:
            email_id = await house.post()
            await holds(lambda: first.requests)
            assert (await house.story(email_id))["status"] == "processing"
        first.release()
        async with open_house(database, settings) as house:
            story = await house.becomes(email_id, "unknown")
            assert story["attempts"][0]["errorClass"] == "interrupted"
            await house.becomes(await house.post(), "sent")
            assert (await house.story(email_id))["status"] == "unknown"
        assert first.accepted_by_email()[email_id] == 1
        assert second.requests == []


async def test_a_crash_loses_nothing_that_was_acknowledged_and_sends_nothing_twice(database, tmp_path):
    async with open_fake_sendgrid() as fake:
        settings, ids = hosted(tmp_path, fake), []
        for _ in range(3):
            async with open_house(database, settings, is_crash=True) as house:
                ids += [await house.post() for _ in range(8)]
        async with open_house(database, settings) as house:
            stories = []
            with trio.fail_after(SECONDS_MAX):
                while True:
                    stories = [await house.story(email_id) for email_id in ids]
                    if all(story["status"] in ("sent", "unknown") for story in stories):
                        break
                    await trio.sleep(0.01)
        taken = fake.accepted_by_email()
        assert max(taken.values()) == 1
        assert all(taken[story["id"]] == 1 for story in stories if story["status"] == "sent")


async def test_a_crash_of_the_folder_is_no_mystery_the_mail_is_written_again(database, tmp_path):
    class Stuck:
        is_redo_safe, sender = True, Sender("from@example.com")
        calls = 0

        async def send(self, mail, attempt_id):
            self.calls += 1
            await trio.sleep_forever()

    settings, stuck = EmailSettings(data_dir=tmp_path), Stuck()
    async with open_house(database, settings, is_crash=True, providers={"folder": stuck}) as house:
        email_id = await house.post()
        await holds(lambda: stuck.calls)
    async with open_house(database, settings) as house:
        story = await house.becomes(email_id, "sent")
        assert [attempt["state"] for attempt in story["attempts"]] == ["failed", "accepted"]
        assert len(list((tmp_path / "mail").iterdir())) == 1


@pytest.mark.parametrize("fault", ["503", "401", "403", "401_credits", "429:3600"])
async def test_an_account_that_cannot_send_is_failed_over_at_once_and_the_story_says_so(database, tmp_path, fault):
    async with open_fake_sendgrid("one") as first, open_fake_sendgrid("two") as second:
        first.otherwise = fault
        async with open_house(database, hosted(tmp_path, first, second)) as house:
            email_id = await house.post()
            story = await house.becomes(email_id, "sent")
        assert [attempt["provider"] for attempt in story["attempts"]] == ["sendgrid", "sendgrid_fallback"]
        assert {"from": "sendgrid", "to": "sendgrid_fallback"} in [event["data"] for event in story["events"]]
        assert first.accepted == []
        assert second.accepted_by_email() == {email_id: 1}


async def test_an_account_that_cannot_be_reached_is_failed_over(database, tmp_path):
    async with open_fake_sendgrid("two") as second:
        settings = replace(hosted(tmp_path, second, second), sendgrid_api_url="http://127.0.0.1:1")
        async with open_house(database, settings) as house:
            story = await house.becomes(await house.post(), "sent")
        assert story["attempts"][0]["errorClass"] == "unavailable"
        assert story["provider"] == "sendgrid_fallback"


async def test_the_queue_behind_a_parked_account_goes_to_the_other_without_being_tried_first(database, tmp_path):
    async with open_fake_sendgrid("one") as first, open_fake_sendgrid("two") as second:
        first.otherwise = "401_credits"
        async with open_house(database, hosted(tmp_path, first, second)) as house:
            await house.becomes(await house.post(), "sent")
            tried = len(first.requests)
            ids = [await house.post() for _ in range(10)]
            for email_id in ids:
                await house.becomes(email_id, "sent")
            assert len(first.requests) == tried
            assert (await house.health()).reason.startswith("quota")


async def test_a_provider_that_is_down_for_a_moment_gets_the_mail_when_it_is_back(database, tmp_path):
    async with open_fake_sendgrid() as fake:
        fake.script.extend(["503", "503"])
        async with open_house(database, hosted(tmp_path, fake)) as house:
            email_id = await house.post()
            story = await house.becomes(email_id, "sent")
        assert [attempt["state"] for attempt in story["attempts"]] == ["failed", "failed", "accepted"]
        assert not (tmp_path / "mail").exists()


async def test_a_mail_that_is_refused_for_the_moment_is_given_up_after_its_tries_and_the_story_says_why(
    database, tmp_path
):
    async with open_fake_sendgrid("one") as first, open_fake_sendgrid("two") as second:
        first.otherwise = second.otherwise = "408"
        policy = replace(QUICK, tries_max=3)
        async with open_house(database, hosted(tmp_path, first, second), policy) as house:
            story = await house.becomes(await house.post(), "failed")
        tries = (len(first.requests), len(second.requests))
        assert sum(tries) == 6  # an account that is parked when a try is due leaves it to the other
        assert min(tries) >= 1
        assert story["events"][-1] == {
            "type": "failed",
            "timestamp": story["updatedAt"],
            "data": {"tries": 6, "reason": "temporary", "detail": "408 request timeout"},
        }
        assert not (tmp_path / "mail").exists()


@pytest.mark.parametrize("fault", ["503", "401", "429_bare", None])
async def test_a_lone_mail_outlives_an_outage_of_both_accounts_and_its_story_says_that_it_is_held(
    database, tmp_path, fault
):
    async with open_fake_sendgrid("one") as first, open_fake_sendgrid("two") as second:
        settings = hosted(tmp_path, first, second)
        if fault is None:  # nobody listens there
            settings = replace(settings, **dict.fromkeys(URLS, "http://127.0.0.1:1"))
        first.otherwise = second.otherwise = fault or "202"
        async with open_house(database, settings, replace(QUICK, tries_max=1)) as house:
            email_id = await house.post()
            story = await house.story(email_id)
            with trio.fail_after(SECONDS_MAX):
                while story["attemptsMade"] < 12:
                    story = await house.story(email_id)
            assert story["status"] in ("pending", "processing")
            story = await house.becomes(email_id, "pending")
            held = story["held"]
            assert held["reason"] == {"503": "unavailable", "401": "config", "429_bare": "throttle"}.get(
                fault, "unavailable"
            )
            assert story["createdAt"] <= held["since"] <= held["nextAttemptAt"] < held["givenUpAt"]
            assert story["nextAttemptAt"] == held["nextAttemptAt"]
            assert held["account"] == story["waitsFor"]
            assert held in [event["data"] for event in story["events"]]
            assert (await house.office.health())["status"] in ("unhealthy", "degraded")
            first.otherwise = second.otherwise = "202"
            if fault is not None:
                story = await house.becomes(email_id, "sent")
                assert story["held"] is None
                assert "provider_queue.reopened" in [name for name, _ in house.events]
        if fault is None:
            async with open_house(database, hosted(tmp_path, first, second)) as house:
                await house.becomes(email_id, "sent")
        assert (first.accepted_by_email() + second.accepted_by_email()) == {email_id: 1}


async def test_a_mail_that_no_account_takes_until_its_age_limit_is_given_up_tried_or_not(database, tmp_path):
    async with open_fake_sendgrid() as fake:
        fake.otherwise = "401"
        policy = replace(QUICK, mail_ms_max=1_500)
        async with open_house(database, hosted(tmp_path, fake), policy) as house:
            ids = [await house.post() for _ in range(30)]
            later = await house.post(sendAt=house.system.clock.wall_milliseconds() + 3_600_000)
            stories = [await house.becomes(email_id, "failed") for email_id in ids]
            assert (await house.story(later))["status"] == "pending"
            assert (await house.story(later))["held"] is None
        untried = [story for story in stories if not story["attempts"]]
        assert untried
        for story in stories:
            failed = story["events"][-1]
            assert failed["type"] == "failed"
            assert failed["data"]["tries"] == len(story["attempts"])
            assert failed["data"]["reason"] == "expired"
            assert "The provided authorization grant is invalid" in failed["data"]["detail"]
            assert failed["timestamp"] > story["createdAt"]


async def test_a_backlog_outlives_an_outage_and_then_leaves_in_order(database, tmp_path):
    async with open_fake_sendgrid() as fake:
        fake.otherwise = "503"
        async with open_house(database, hosted(tmp_path, fake), replace(QUICK, concurrent=1)) as house:
            ids = sorted([await house.post() for _ in range(40)])  # by their time, as the queue has them
            await holds(lambda: len(fake.requests) > 3)
            fake.otherwise = "202"
            for email_id in ids:
                await house.becomes(email_id, "sent")
        accepted = [body["personalizations"][0]["custom_args"]["gr_email"] for body in fake.accepted]
        probe = ids.index(accepted[0])
        assert accepted == [ids[probe], *ids[:probe], *ids[probe + 1 :]]


async def test_a_recovery_begins_with_one_call_and_adds_one_for_each_mail_that_is_taken(database, tmp_path):
    policy = replace(QUICK, retry_ms_min=300, retry_ms_max=300)
    async with (
        open_fake_sendgrid() as fake,
        open_house(database, hosted(tmp_path, fake), policy, randomness=Same(1.0)) as house,
    ):
        fake.script.append("503")
        fake.otherwise = "hold"
        ids = [await house.post()]
        await holds(lambda: any(name == "provider_queue.parked" for name, _ in house.events))
        ids += [await house.post() for _ in range(9)]
        await holds(lambda: len(fake.requests) == 2)
        await trio.testing.wait_all_tasks_blocked(0.1)
        assert len(fake.requests) == 2
        fake.release()
        for email_id in ids:
            await house.becomes(email_id, "sent")


async def test_a_wait_that_a_provider_asked_for_holds_across_a_restart(database, tmp_path):
    async with open_fake_sendgrid() as fake:
        fake.script.append("429_after:3600")
        async with open_house(database, hosted(tmp_path, fake), is_crash=True) as house:
            first = await house.post()
            story = await house.story(first)
            with trio.fail_after(SECONDS_MAX):
                while story["held"] is None:
                    story = await house.story(first)
        for is_crash in (True, False):
            async with open_house(database, hosted(tmp_path, fake), is_crash=is_crash) as house:
                second = await house.post()
                health = await house.health()
                assert health.parked_until_ms - house.system.clock.wall_milliseconds() > 3_500_000
                await trio.testing.wait_all_tasks_blocked(0.05)
                for email_id in (first, second):
                    again = (await house.story(email_id))["held"]
                    assert again["nextAttemptAt"] == story["held"]["nextAttemptAt"]
        assert len(fake.requests) == 1


@pytest.mark.parametrize("fault", ["503_after:3600", "429_after:3600"])
async def test_another_account_takes_over_from_one_that_is_asked_to_wait_for_long(database, tmp_path, fault):
    async with open_fake_sendgrid("one") as first, open_fake_sendgrid("two") as second:
        first.otherwise = fault
        async with open_house(database, hosted(tmp_path, first, second)) as house:
            for _ in range(5):
                await house.becomes(await house.post(), "sent")
        assert (len(first.requests), len(second.accepted)) == (1, 5)


async def test_an_outage_uses_no_rate_limit_up_also_not_across_a_restart(database, tmp_path):
    policy = replace(QUICK, windows=((3_600_000, 3),))
    async with open_fake_sendgrid() as fake:
        fake.otherwise = "503"
        async with open_house(database, hosted(tmp_path, fake), policy) as house:
            ids = [await house.post() for _ in range(4)]
            await holds(lambda: len(fake.requests) > 6)
        fake.otherwise = "202"
        async with open_house(database, hosted(tmp_path, fake), policy) as house:
            await holds(lambda: len(fake.accepted) == 3)
            await trio.testing.wait_all_tasks_blocked(0.1)
            statuses = [(await house.story(email_id))["status"] for email_id in ids]
        assert (statuses.count("sent"), statuses.count("pending")) == (3, 1)


async def test_a_mail_that_alone_is_never_taken_does_not_stop_the_others(database, tmp_path):
    async with open_fake_sendgrid() as fake:
        fake.otherwise = "refuse:poison"
        async with open_house(database, hosted(tmp_path, fake)) as house:
            poison = [await house.post(subject="poison") for _ in range(3)]
            ids = [await house.post() for _ in range(30)]
            for email_id in ids:
                await house.becomes(email_id, "sent")
            for email_id in poison:
                assert (await house.story(email_id))["status"] in ("pending", "processing")


async def test_a_mail_that_was_tried_very_often_tells_its_first_and_last_attempts(database, tmp_path):
    async with open_fake_sendgrid() as fake:
        fake.otherwise = "503"
        policy = replace(QUICK, retry_ms_min=1, retry_ms_max=1)
        async with open_house(database, hosted(tmp_path, fake), policy) as house:
            email_id = await house.post()
            await holds(lambda: len(fake.requests) > 70)
            fake.otherwise = "202"
            story = await house.becomes(email_id, "sent")
        assert story["attemptsMade"] == len(fake.requests)
        assert [attempt["attempt"] for attempt in story["attempts"][:10]] == list(range(1, 11))
        assert len(story["attempts"]) == 50
        left_out = [event["data"] for event in story["events"] if event["type"] == "attempts_left_out"]
        assert left_out == [{"count": len(fake.requests) - 50}]


@pytest.mark.parametrize("fault", ["400", "413"])
async def test_a_mail_that_is_refused_for_what_it_is_fails_at_once_after_one_try(database, tmp_path, fault):
    async with open_fake_sendgrid("one") as first, open_fake_sendgrid("two") as second:
        first.script.append(fault)
        async with open_house(database, hosted(tmp_path, first, second)) as house:
            story = await house.becomes(await house.post(), "failed")
        assert story["attempts"][0]["errorClass"] == "content"
        data = story["events"][-1]["data"]
        assert (data["tries"], data["reason"]) == (1, "content")
        assert data["detail"].startswith(fault)
        assert (len(first.requests), second.requests) == (1, [])


@pytest.mark.parametrize(("own", "warnings"), [("", 1), ("me@example.com", 0)])
async def test_a_sender_that_nobody_chose_is_warned_of_once_and_used(database, tmp_path, own, warnings):
    async with open_fake_sendgrid("one") as first, open_fake_sendgrid("two") as second:
        settings = replace(hosted(tmp_path, first, second), sendgrid_from_email=own)
        async with open_house(database, settings) as house:
            await house.becomes(await house.post(), "sent")
            told = [facts for name, facts in house.events if name == "email.sender_not_set"]
        assert len(told) == warnings
        assert all(facts["setting"] == "SENDGRID_FROM_EMAIL" for facts in told)
        assert all("Pitchey <noreply@pitchey.com>" in facts["why"] for facts in told)
        assert first.accepted[0]["from"] == {"email": own or "noreply@pitchey.com", "name": "Pitchey"}


async def test_the_folder_needs_no_sender_of_ones_own(database, tmp_path):
    async with open_house(database, EmailSettings(data_dir=tmp_path)) as house:
        assert "email.sender_not_set" not in [name for name, _ in house.events]


async def test_a_rate_limit_defers_and_never_fails(database, tmp_path):
    policy = replace(QUICK, windows=((3_000, 3), (60_000, 100)))
    async with open_fake_sendgrid() as fake, open_house(database, hosted(tmp_path, fake), policy) as house:
        ids = [await house.post() for _ in range(5)]
        await holds(lambda: len(fake.requests) >= 3)
        waiting = [await house.story(email_id) for email_id in ids[3:]]
        assert {story["status"] for story in waiting} == {"pending"}
        for email_id in ids:
            assert len((await house.becomes(email_id, "sent"))["attempts"]) == 1


async def test_a_restart_does_not_forget_how_much_of_the_rate_limit_is_used(database, tmp_path):
    policy = replace(QUICK, windows=((3_600_000, 2),))
    async with open_fake_sendgrid() as fake:
        async with open_house(database, hosted(tmp_path, fake), policy) as house:
            for _ in range(2):
                await house.becomes(await house.post(), "sent")
        async with open_house(database, hosted(tmp_path, fake), policy) as house:
            email_id = await house.post()
            health = await house.health()
            assert health.opens_ms > house.system.clock.wall_milliseconds()
            assert (await house.story(email_id))["status"] == "pending"
        assert len(fake.requests) == 2


async def test_no_more_calls_run_at_once_than_the_settings_say(database, tmp_path):
    policy = replace(QUICK, concurrent=3)
    async with open_fake_sendgrid() as fake, open_house(database, hosted(tmp_path, fake), policy) as house:
        fake.otherwise = "hold"
        ids = [await house.post() for _ in range(8)]
        await holds(lambda: len(fake.requests) == 3)
        await trio.testing.wait_all_tasks_blocked(0.05)
        assert len(fake.requests) == 3
        assert (await house.health()).in_flight == 3
        fake.release()
        for email_id in ids:
            await house.becomes(email_id, "sent")


async def test_a_scheduled_mail_leaves_at_its_time_without_a_wake(database, tmp_path):
    policy = replace(QUICK, poll_ms=60_000)
    async with open_fake_sendgrid() as fake, open_house(database, hosted(tmp_path, fake), policy) as house:
        at_ms = house.system.clock.wall_milliseconds() + 2_000
        email_id = await house.post(sendAt=at_ms)
        assert (await house.story(email_id))["nextAttemptAt"] is not None
        await holds(lambda: fake.requests, seconds_max=5)
        assert house.system.clock.wall_milliseconds() >= at_ms
        await house.becomes(email_id, "sent")


async def test_a_stale_owner_stands_still_and_writes_nothing(database, tmp_path):
    async with open_fake_sendgrid() as fake, open_house(database, hosted(tmp_path, fake)) as house:
        fake.script.append("hold")
        email_id = await house.post()
        await holds(lambda: fake.requests)

        async def take_over(connection):
            await connection.execute("update ownership set token = token + 1 where kind = 'provider_queue'")

        await house.postgres.transaction(take_over)
        fake.release()
        await holds(lambda: any(name == "provider_queue.fenced" for name, _ in house.events))
        second = await house.post()
        assert (await house.health()).is_fenced
        assert (await house.story(email_id))["status"] == "processing"  # for its new owner to call unknown
        assert (await house.story(second))["status"] == "pending"
        assert len(fake.requests) == 1


async def test_storage_that_goes_away_during_a_call_delays_the_result_and_loses_nothing(database, tmp_path):
    async with open_fake_sendgrid() as fake, open_house(database, hosted(tmp_path, fake)) as house:
        fake.script.append("hold")
        email_id = await house.post()
        await holds(lambda: fake.requests)
        exchange, failures = house.outbox.exchange, []

        async def failing(*args, **kwargs):
            if len(failures) < 2:
                failures.append(args)
                raise StorageUnavailable("gone for a moment")
            return await exchange(*args, **kwargs)

        house.outbox.exchange = failing
        fake.release()
        await house.becomes(email_id, "sent")
        assert len(failures) == 2
        assert len(fake.requests) == 1
        assert (await house.health()).in_flight == 0


async def test_an_adapter_that_raises_makes_the_mail_unknown_and_the_queue_lives(database, tmp_path):
    class Faulty:
        is_redo_safe, sender = False, Sender("from@example.com")
        calls = 0

        async def send(self, mail, attempt_id):
            self.calls += 1
            if self.calls == 1:
                raise RuntimeError("a bug")
            return Accepted("x")

    async with open_fake_sendgrid() as fake:
        settings = hosted(tmp_path, fake)
        async with open_house(database, settings, providers={"sendgrid": Faulty()}) as house:
            story = await house.becomes(await house.post(), "unknown")
            assert "a bug" in story["attempts"][0]["error"]
            await house.becomes(await house.post(), "sent")


async def test_a_stop_lets_calls_end_and_claims_nothing_more(database, tmp_path):
    async with open_fake_sendgrid() as fake:
        fake.otherwise = "hold"
        settings, policy = hosted(tmp_path, fake), replace(QUICK, concurrent=2)
        async with open_house(database, settings, policy) as house:
            ids = [await house.post() for _ in range(6)]
            await holds(lambda: len(fake.requests) == 2)
            fake.release()
        fake.otherwise = "202"
        assert len(fake.requests) == 2
        async with open_house(database, settings, policy) as house:
            for email_id in ids:
                story = await house.becomes(email_id, "sent")
                assert len(story["attempts"]) == 1


async def test_the_health_of_the_e_mail_side_says_which_account_stands_how(database, tmp_path):
    async with open_fake_sendgrid("one") as first, open_fake_sendgrid("two") as second:
        first.otherwise = "401"
        async with open_house(database, hosted(tmp_path, first, second)) as house:
            await house.becomes(await house.post(), "sent")
            health = await house.office.health()
        assert health["status"] == "degraded"
        parked, healthy = health["accounts"]
        assert parked["account"] == "sendgrid"
        assert parked["status"] in ("parked", "probing")
        assert parked["reason"].startswith("config")
        assert parked["awaySince"] is not None
        assert (healthy["account"], healthy["status"], healthy["sent"]) == ("sendgrid_fallback", "healthy", 1)


async def test_an_id_that_nobody_gave_has_no_story(database, tmp_path):
    async with open_house(database, EmailSettings(data_dir=tmp_path)) as house:
        assert await house.office.status("em_none") is None
