"""The outbox against a real PostgreSQL: durable before the answer, one owner, one attempt, nothing written twice."""

import hashlib
from contextlib import asynccontextmanager
from importlib.resources import files

import asyncpg
import pytest
import trio

from greenroom.runtime.ports import StorageUnavailable
from greenroom.storage.asyncio_bridge import open_asyncio_bridge
from greenroom.storage.postgres.outbox import (
    ATTEMPTS_FIRST,
    ATTEMPTS_LAST,
    OWNER_KIND,
    PROBE_ATTEMPTS,
    PROBE_MAILS,
    Away,
    Enqueued,
    Fenced,
    GiveUp,
    HandOver,
    Keyed,
    KeyTaken,
    NewMail,
    Outbox,
    Owner,
    Replayed,
    Result,
    new_id,
)
from greenroom.storage.postgres.pool import open_postgres
from greenroom.storage.postgres.queries import named_queries

NOW = 1_800_000_000_000
DAY = 86_400_000


class Bench:
    """An outbox, and a look at its tables."""

    def __init__(self, postgres):
        self.postgres = postgres
        self.outbox = Outbox(postgres)

    async def sql(self, text, *args):
        async def run(connection):
            return await connection.fetch(text, *args)

        return await self.postgres.transaction(run)

    async def own(self, account="sendgrid"):
        """Take over the queue of an account, as the runtime does before it starts one."""
        rows = await self.sql(
            "insert into ownership (kind, key, token) values ($1, $2, 1)"
            " on conflict (kind, key) do update set token = ownership.token + 1 returning token",
            OWNER_KIND,
            account,
        )
        return Owner(account, rows[0]["token"])

    async def put(self, count=1, *, account="sendgrid", keyed=None, principal="key:1", at_ms=NOW, **fields):
        mails = [mail(at_ms, **fields) for _ in range(count)]
        outcome = await self.outbox.enqueue(
            mails, principal=principal, account=account, attempts_max=3, at_ms=at_ms, keyed=keyed
        )
        return outcome, [one.id for one in mails]

    async def claim(self, owner, most=100, *, at_ms=NOW, results=(), **more):
        return await self.outbox.exchange(owner, results, claims_max=most, at_ms=at_ms, **more)

    async def status(self, email_id):
        row, attempts = await self.outbox.mail(email_id)
        return row["status"], [attempt["state"] for attempt in attempts]


def mail(at_ms, *, priority=1, due_ms=None, request='{"mail":{}}'):
    return NewMail(new_id("em", at_ms), request, priority, due_ms or at_ms)


def result(claimed, state="accepted", status="sent", **more):
    fields = {"account": "sendgrid", "not_before_ms": NOW, "tries": 0, **more}
    return Result(claimed.attempt_id, state, status, **fields)


@asynccontextmanager
async def open_bench(database):
    async with open_asyncio_bridge() as bridge, open_postgres(bridge, database.connect_arguments()) as postgres:
        yield Bench(postgres)


async def test_every_query_can_be_prepared_on_a_migrated_database(database):
    async with open_bench(database) as bench:

        async def prepare(connection):
            for name, text in named_queries().items():
                if name.startswith("email_"):
                    await connection.prepare(text)

        await bench.postgres.transaction(prepare)


async def test_mails_from_before_outages_were_outlived_keep_their_time_and_their_place(database):
    folder = files("greenroom.storage").joinpath("sql", "migrations")
    steps = {
        file.name.partition("_")[2]: file.read_text() for file in sorted(folder.iterdir(), key=lambda file: file.name)
    }
    outages = steps.pop("email_outages.sql")

    async def migrate(connection):
        await connection.execute("drop schema public cascade; create schema public")
        for name in ("rooms_live.sql", "email.sql"):
            await connection.execute(steps[name])
        await connection.execute(
            "insert into emails (id, created_by, account, status, priority, request, request_sha256, attempts_max,"
            " not_before, expires_at, created_at, updated_at)"
            " select 'em_1', 'key:1', 'sendgrid', 'pending', 1, '{}', '', 8,"
            f" t + interval '20 seconds', t + interval '1 day', t, t from to_timestamp({NOW} / 1000.0) as t"
        )
        await connection.execute(outages)

    async with open_bench(database) as bench:
        await bench.postgres.transaction(migrate)
        owner = await bench.own()
        assert (await bench.claim(owner)).claimed == []
        (claimed,) = (await bench.claim(owner, at_ms=NOW + 20_000)).claimed
        assert (claimed.email_id, claimed.due_ms) == ("em_1", NOW)


async def test_a_mail_is_on_disk_when_enqueue_returns(database):
    async with open_bench(database) as bench:
        outcome, (email_id,) = await bench.put()
        assert outcome == Enqueued()
        assert await bench.status(email_id) == ("pending", [])


async def test_enqueue_keeps_all_of_a_batch_or_none(database):
    async with open_bench(database) as bench:
        first, second = mail(NOW), mail(NOW)
        twice = NewMail(first.id, "{}", 1, NOW)
        with pytest.raises(asyncpg.UniqueViolationError):
            await bench.outbox.enqueue(
                [second, first, twice], principal="key:1", account="sendgrid", attempts_max=3, at_ms=NOW
            )
        assert await bench.outbox.mail(second.id) is None


def keyed(body="{}", key="k1", answer='{"id": "em_1"}', route="POST /api/email/send"):
    return Keyed(route, key, hashlib.sha256(body.encode()).digest(), 202, answer)


async def test_the_same_key_and_body_get_the_same_answer_and_one_mail(database):
    async with open_bench(database) as bench:
        assert (await bench.put(keyed=keyed()))[0] == Enqueued()
        again, (email_id,) = await bench.put(keyed=keyed(answer='{"id": "em_2"}'))
        assert again == Replayed(202, '{"id": "em_1"}')
        assert await bench.outbox.mail(email_id) is None


async def test_the_same_key_with_another_body_is_a_conflict_and_stores_nothing(database):
    async with open_bench(database) as bench:
        await bench.put(keyed=keyed())
        outcome, (email_id,) = await bench.put(keyed=keyed("other"))
        assert outcome == KeyTaken()
        assert await bench.outbox.mail(email_id) is None


async def test_a_key_belongs_to_its_principal_and_route_and_is_forgotten_after_a_day(database):
    async with open_bench(database) as bench:
        await bench.put(keyed=keyed())
        assert (await bench.put(keyed=keyed("other"), principal="key:2"))[0] == Enqueued()
        assert (await bench.put(keyed=keyed("other", route="POST /api/email/batch")))[0] == Enqueued()
        assert (await bench.put(keyed=keyed("other"), at_ms=NOW + DAY + 1))[0] == Enqueued()


async def test_many_requests_with_one_key_at_once_make_one_mail(database):
    async with open_bench(database) as bench:
        outcomes = []

        async def post():
            outcomes.append((await bench.put(keyed=keyed()))[0])

        async with trio.open_nursery() as nursery:
            for _ in range(12):
                nursery.start_soon(post)
        assert outcomes.count(Enqueued()) == 1
        assert outcomes.count(Replayed(202, '{"id": "em_1"}')) == 11
        assert (await bench.sql("select count(*) from emails"))[0][0] == 1


async def test_a_claim_writes_the_attempt_before_anybody_is_called(database):
    async with open_bench(database) as bench:
        _, (email_id,) = await bench.put()
        (claimed,) = (await bench.claim(await bench.own())).claimed
        assert claimed.email_id == email_id
        assert await bench.status(email_id) == ("processing", ["transmitting"])
        (row,) = await bench.sql(
            "select a.*, e.request_sha256 as whole from email_attempts a join emails e on e.id = email_id"
        )
        assert (row["id"], row["n"], row["owner_token"], row["account"]) == (claimed.attempt_id, 1, 1, "sendgrid")
        assert row["request_sha256"] == row["whole"] == hashlib.sha256(b'{"mail":{}}').digest()


async def test_claims_come_by_priority_then_age_and_only_what_is_due_for_that_account(database):
    async with open_bench(database) as bench:
        await bench.put(account="sendgrid_fallback")
        _, (later,) = await bench.put(due_ms=NOW + 5_000)
        _, (low,) = await bench.put(priority=2)
        _, (normal,) = await bench.put(due_ms=NOW - 1)
        _, (high,) = await bench.put(priority=0)
        exchanged = await bench.claim(await bench.own())
        assert [claimed.email_id for claimed in exchanged.claimed] == [high, normal, low]
        assert exchanged.next_due_ms == NOW + 5_000
        assert (await bench.claim(await bench.own(), at_ms=NOW + 5_000)).claimed[0].email_id == later


async def test_a_claim_takes_no_more_than_asked_and_never_more_than_its_bound(database, monkeypatch):
    monkeypatch.setattr("greenroom.storage.postgres.outbox.CLAIM_MAILS_MAX", 100)
    async with open_bench(database) as bench:
        await bench.put(120)
        owner = await bench.own()
        assert len((await bench.claim(owner, 3)).claimed) == 3
        assert len((await bench.claim(owner, 500)).claimed) == 100
        assert (await bench.claim(owner, 0)).claimed == []


async def test_two_that_claim_at_once_never_share_a_mail(database):
    async with open_bench(database) as bench:
        await bench.put(150)
        seen = []

        async def claim_as(token_owner):
            while claimed := (await bench.claim(token_owner, 7)).claimed:
                seen.extend(mail.email_id for mail in claimed)

        owner = await bench.own()
        async with trio.open_nursery() as nursery:
            for _ in range(4):
                nursery.start_soon(claim_as, owner)
        assert len(seen) == len(set(seen)) == 150


async def test_a_result_settles_the_attempt_and_the_mail(database):
    async with open_bench(database) as bench:
        _, (email_id,) = await bench.put()
        owner = await bench.own()
        (claimed,) = (await bench.claim(owner)).claimed
        await bench.claim(owner, 0, results=[result(claimed, provider_message_id="sg-1")], at_ms=NOW + 5)
        row, (attempt,) = await bench.outbox.mail(email_id)
        assert (row["status"], attempt["state"]) == ("sent", "accepted")
        assert (attempt["provider_message_id"], attempt["finished_ms"]) == ("sg-1", NOW + 5)


async def test_results_and_the_next_claim_share_one_transaction(database):
    async with open_bench(database) as bench:
        await bench.put(2)
        owner = await bench.own()
        (first,) = (await bench.claim(owner, 1)).claimed
        (second,) = (await bench.claim(owner, 1, results=[result(first)])).claimed
        assert (await bench.status(first.email_id))[0] == "sent"
        assert second.email_id != first.email_id


async def test_a_result_told_twice_is_written_once(database):
    async with open_bench(database) as bench:
        await bench.put()
        owner = await bench.own()
        (claimed,) = (await bench.claim(owner)).claimed
        await bench.claim(owner, 0, results=[result(claimed)])
        await bench.claim(owner, 0, results=[result(claimed, "failed", "pending")])
        assert await bench.status(claimed.email_id) == ("sent", ["accepted"])


async def test_a_retry_is_a_second_attempt_with_its_own_number(database):
    async with open_bench(database) as bench:
        await bench.put()
        owner = await bench.own()
        (first,) = (await bench.claim(owner)).claimed
        again = result(first, "failed", "pending", not_before_ms=NOW + 700, tries=1, error_class="unavailable")
        assert (await bench.claim(owner, results=[again])).next_due_ms == NOW + 700
        (second,) = (await bench.claim(owner, at_ms=NOW + 700)).claimed
        assert (second.email_id, second.tries) == (first.email_id, 1)
        assert await bench.status(first.email_id) == ("processing", ["failed", "transmitting"])


async def test_a_stale_owner_can_neither_claim_nor_record(database):
    async with open_bench(database) as bench:
        await bench.put(2)
        stale = await bench.own()
        (claimed,) = (await bench.claim(stale, 1)).claimed
        await bench.own()
        with pytest.raises(Fenced):
            await bench.claim(stale, 1)
        with pytest.raises(Fenced):
            await bench.claim(stale, 0, results=[result(claimed)])
        with pytest.raises(Fenced):
            await bench.outbox.recover(stale, at_ms=NOW, is_redo_safe=False)
        assert await bench.status(claimed.email_id) == ("processing", ["transmitting"])


async def test_an_owner_that_lost_the_race_for_the_row_is_fenced_and_not_half_written(database):
    async with open_bench(database) as bench:
        await bench.put()
        stale, outcome = await bench.own(), []
        connection = await bench.postgres.connect()

        async def begin():
            await connection.execute("begin")
            await connection.execute("update ownership set token = token + 1")

        async def commit():
            await connection.execute("commit")
            connection.terminate()

        await begin()  # the new owner's take-over is under way

        async def claim():
            try:
                outcome.append(await bench.claim(stale))
            except Fenced as error:
                outcome.append(error)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(claim)
            while not (await bench.sql("select 1 from pg_stat_activity where wait_event_type = 'Lock'")):
                await trio.lowlevel.checkpoint()
            assert outcome == []
            await commit()
        assert isinstance(outcome[0], Fenced)
        assert (await bench.sql("select count(*) from email_attempts"))[0][0] == 0


async def test_what_a_dead_owner_left_transmitting_is_unknown_and_never_claimed_again(database):
    async with open_bench(database) as bench:
        await bench.put()
        (claimed,) = (await bench.claim(await bench.own())).claimed
        heir = await bench.own()
        assert await bench.outbox.recover(heir, at_ms=NOW + 9, is_redo_safe=False) == [claimed.email_id]
        assert await bench.status(claimed.email_id) == ("unknown", ["unknown"])
        assert (await bench.claim(heir, at_ms=NOW + DAY)).claimed == []


async def test_a_result_that_comes_after_unknown_still_counts(database):
    async with open_bench(database) as bench:
        await bench.put()
        (claimed,) = (await bench.claim(await bench.own())).claimed
        heir = await bench.own()
        await bench.outbox.recover(heir, at_ms=NOW, is_redo_safe=False)
        await bench.claim(heir, 0, results=[result(claimed)])
        assert await bench.status(claimed.email_id) == ("sent", ["accepted"])


async def test_where_sending_twice_does_no_harm_what_was_left_waits_again(database):
    async with open_bench(database) as bench:
        await bench.put(account="folder")
        (claimed,) = (await bench.claim(await bench.own("folder"))).claimed
        heir = await bench.own("folder")
        await bench.outbox.recover(heir, at_ms=NOW, is_redo_safe=True)
        assert await bench.status(claimed.email_id) == ("pending", ["failed"])
        assert len((await bench.claim(heir)).claimed) == 1


async def test_recovery_leaves_other_accounts_alone(database):
    async with open_bench(database) as bench:
        await bench.put()
        (claimed,) = (await bench.claim(await bench.own())).claimed
        await bench.outbox.recover(await bench.own("sendgrid_fallback"), at_ms=NOW, is_redo_safe=False)
        assert await bench.status(claimed.email_id) == ("processing", ["transmitting"])


async def test_a_claim_that_nobody_heard_of_is_taken_back(database):
    async with open_bench(database) as bench:
        await bench.put(2)
        owner = await bench.own()
        (known,) = (await bench.claim(owner, 1)).claimed
        (lost,) = (await bench.claim(owner, 1)).claimed
        exchanged = await bench.claim(owner, 5, lost_except=[known.attempt_id])
        assert [claimed.email_id for claimed in exchanged.claimed] == [lost.email_id]
        assert await bench.status(lost.email_id) == ("processing", ["failed", "transmitting"])
        assert await bench.status(known.email_id) == ("processing", ["transmitting"])


async def test_a_queue_gives_its_due_mail_to_another_where_it_keeps_its_place(database):
    async with open_bench(database) as bench:
        _, (second,) = await bench.put(due_ms=NOW - 1)
        _, (third,) = await bench.put(account="sendgrid_fallback")
        _, (first,) = await bench.put(due_ms=NOW - 2)
        await bench.put(due_ms=NOW + 60_000)
        owner = await bench.own()
        assert (await bench.claim(owner, 0, hand_over=HandOver("sendgrid_fallback", 1))).handed_over == 1
        assert (await bench.claim(owner, 0, hand_over=HandOver("sendgrid_fallback"))).handed_over == 1
        taken = (await bench.claim(await bench.own("sendgrid_fallback"))).claimed
        assert [claimed.email_id for claimed in taken] == [first, second, third]


async def test_a_mail_that_waited_has_its_old_place_when_it_is_due_again(database):
    async with open_bench(database) as bench:
        _, (first,) = await bench.put(due_ms=NOW - 2)
        _, (second,) = await bench.put(due_ms=NOW - 1)
        owner = await bench.own()
        (tried,) = (await bench.claim(owner, 1)).claimed
        again = result(tried, "failed", "pending", not_before_ms=NOW + 700, error_class="unavailable")
        exchanged = await bench.claim(owner, 0, results=[again])
        assert exchanged.next_due_ms == NOW - 1
        taken = (await bench.claim(owner, at_ms=NOW + 700)).claimed
        assert [(claimed.email_id, claimed.attempt) for claimed in taken] == [(first, 2), (second, 1)]
        assert [claimed.due_ms for claimed in taken] == [NOW - 2, NOW - 1]


async def test_a_probe_is_the_first_mail_until_it_was_tried_often_and_then_the_next(database):
    async with open_bench(database) as bench:
        ids = [(await bench.put(due_ms=NOW - 30 + i))[1][0] for i in range(PROBE_MAILS + 2)]
        owner, probes, results = await bench.own(), [], []
        for _ in range(2 * PROBE_ATTEMPTS * PROBE_MAILS):
            (probe,) = (await bench.claim(owner, 1, results=results, is_probe=True)).claimed
            probes.append(probe.email_id)
            results = [result(probe, "failed", "pending", error_class="unavailable")]
        round_of_all = [email_id for email_id in ids[:PROBE_MAILS] for _ in range(PROBE_ATTEMPTS)]
        assert probes == round_of_all * 2


async def test_what_was_due_too_long_ago_is_given_up_with_a_reason_and_nothing_else_is(database):
    async with open_bench(database) as bench:
        await bench.put(account="sendgrid_fallback", due_ms=NOW - 10)
        _, (young,) = await bench.put(due_ms=NOW - 5)
        _, old = await bench.put(3, due_ms=NOW - 6)
        _, (low,) = await bench.put(priority=2, due_ms=NOW - 9)
        owner = await bench.own()
        (under_way,) = (await bench.claim(owner, 1)).claimed
        exchanged = await bench.claim(owner, 0, give_up=GiveUp(NOW - 5, "expired", "nobody took it"), at_ms=NOW + 1)
        assert set(exchanged.given_up) == {*old, low} - {under_way.email_id}
        row, _ = await bench.outbox.mail(low)
        assert (row["status"], row["failure"], row["failure_text"]) == ("failed", "expired", "nobody took it")
        assert row["updated_ms"] == NOW + 1
        assert (await bench.status(young))[0] == "pending"
        assert (await bench.status(under_way.email_id))[0] == "processing"


async def test_why_a_mail_failed_is_kept_with_it(database):
    async with open_bench(database) as bench:
        await bench.put()
        owner = await bench.own()
        (claimed,) = (await bench.claim(owner)).claimed
        failed = result(claimed, "rejected", "failed", error_class="content", failure="content", failure_text="400 no")
        await bench.claim(owner, 0, results=[failed])
        row, _ = await bench.outbox.mail(claimed.email_id)
        assert (row["status"], row["failure"], row["failure_text"]) == ("failed", "content", "400 no")


async def test_how_an_account_stands_is_kept_and_told_with_the_mails_that_wait_for_it(database):
    async with open_bench(database) as bench:
        _, (email_id,) = await bench.put()
        owner = await bench.own()
        assert await bench.outbox.away() == {}
        away = Away(NOW - 5, NOW - 3, NOW + 5, 2, "throttle", "429")
        await bench.claim(owner, 0, away=away)
        assert await bench.outbox.away() == {"sendgrid": away}
        row, _ = await bench.outbox.mail(email_id)
        assert (row["away_since_ms"], row["parked_until_ms"]) == (NOW - 5, NOW + 5)
        assert (row["away_class"], row["away_text"]) == ("throttle", "429")
        await bench.claim(owner, 0, away=Away(None, NOW - 3, NOW + 5, 0, "throttle", "429"))
        assert await bench.outbox.away() == {}
        assert (await bench.outbox.mail(email_id))[0]["away_since_ms"] is None


async def test_a_clock_that_went_back_makes_nothing_wait_for_where_it_was(database):
    back, minute = NOW - 3_600_000, 60_000
    async with open_bench(database) as bench:
        _, (at_once,) = await bench.put()
        _, (tried,) = await bench.put()
        _, (scheduled,) = await bench.put(due_ms=NOW + 1)
        owner = await bench.own()
        for claimed in (await bench.claim(owner, 2)).claimed:
            if claimed.email_id == tried:
                waits = result(claimed, "failed", "pending", not_before_ms=NOW + 30_000, error_class="temporary")
            else:
                waits = result(claimed, "failed", "pending", error_class="unavailable")
            await bench.claim(owner, 0, results=[waits])
        _, (untried,) = await bench.put()
        assert (await bench.claim(owner, at_ms=back)).claimed == []
        await bench.outbox.clock_back(owner, at_ms=back, wait_ms_max=minute)
        taken = (await bench.claim(owner, at_ms=back)).claimed
        assert {claimed.email_id for claimed in taken} == {at_once, tried, untried}
        await bench.outbox.clock_back(owner, at_ms=NOW, wait_ms_max=minute)
        assert (await bench.claim(owner, at_ms=NOW)).claimed == []
        assert (await bench.status(scheduled))[0] == "pending"


async def test_of_many_attempts_the_first_and_the_last_are_told(database):
    async with open_bench(database) as bench:
        await bench.put()
        owner, results = await bench.own(), []
        for _ in range(ATTEMPTS_FIRST + ATTEMPTS_LAST + 5):
            (claimed,) = (await bench.claim(owner, 1, results=results)).claimed
            results = [result(claimed, "failed", "pending", error_class="unavailable")]
        _, attempts = await bench.outbox.mail(claimed.email_id)
        numbers = [attempt["n"] for attempt in attempts]
        assert numbers == [*range(1, ATTEMPTS_FIRST + 1), *range(ATTEMPTS_FIRST + 6, claimed.attempt + 1)]


async def test_adoption_takes_what_gone_accounts_left_but_never_touches_the_folder(database):
    async with open_bench(database) as bench:
        await bench.put(account="sendgrid_fallback")
        await bench.put(account="folder")
        assert await bench.outbox.adopt(["sendgrid"], folder="folder") == 1
        assert len((await bench.claim(await bench.own())).claimed) == 1


async def test_starts_are_counted_for_the_rate_windows_of_a_new_owner(database):
    async with open_bench(database) as bench:
        await bench.put(6)
        owner = await bench.own()
        for back_ms in (5 * 3_600_000, 3_600_000, 1_000):
            await bench.claim(owner, 2, at_ms=NOW)
            await bench.sql(
                "update email_attempts set started_at = to_timestamp($1::bigint / 1000.0)"
                " where started_at > to_timestamp($2::bigint / 1000.0)",
                NOW - back_ms,
                NOW - 1,
            )
        starts = await bench.outbox.starts("sendgrid", since_ms=NOW - DAY, at_ms=NOW)
        assert [count for _, count in starts] == [2, 2, 2]
        for fault, counts in (("content", [2, 2, 2]), ("unavailable", [2, 1, 2])):
            await bench.sql(
                "update email_attempts set error_class = $1 where id = (select min(id) from email_attempts"
                " where started_at = to_timestamp($2::bigint / 1000.0))",
                fault,
                NOW - 3_600_000,
            )
            starts_left = await bench.outbox.starts("sendgrid", since_ms=NOW - DAY, at_ms=NOW)
            assert [count for _, count in starts_left] == counts
        assert all(at >= NOW - back for (at, _), back in zip(starts, (5 * 3_600_000, 3_600_000, 1_000), strict=True))


async def test_a_server_that_is_gone_is_storage_unavailable(database):
    async with open_bench(database) as bench:
        owner = await bench.own()
        await bench.put()

        async def end_all(connection):
            await connection.execute(
                "select pg_terminate_backend(pid) from pg_stat_activity where datname = current_database()"
            )

        with pytest.raises(StorageUnavailable):
            await bench.postgres.transaction(end_all)
        assert len((await bench.claim(owner)).claimed) == 1
