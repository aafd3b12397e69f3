"""What a queue decides: the table in its module, line by line, and what holds for any outcome at any time."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from greenroom.actors.provider_queue.state import (
    DOUBTS_MAX,
    MAIL_MS_MAX,
    PARK_QUOTA_MS,
    QueuePolicy,
    Stand,
    Standing,
    backoff_ms,
    judge,
    next_account,
    slots_free,
    wake_ms,
)
from greenroom.actors.provider_queue.windows import Window, Windows
from greenroom.actors.providers.provider import ASKED_MS_MAX, Accepted, Deferred, Fault, Rejected, Unknown
from greenroom.storage.postgres.outbox import Claimed

NOW = 1_800_000_000_000
HOUR = 3_600_000
TWO = QueuePolicy(("sendgrid", "sendgrid_fallback"))
ONE = QueuePolicy(("sendgrid",))
ALONE = QueuePolicy(("folder",))
DOWN = Rejected(Fault.UNAVAILABLE, "down")

outcomes = st.one_of(
    st.builds(Accepted, st.none() | st.just("id")),
    st.builds(Unknown, st.just("?")),
    st.builds(Deferred, st.none() | st.integers(NOW, NOW + ASKED_MS_MAX), st.just("429")),
    st.builds(Rejected, st.sampled_from(Fault), st.just("no"), st.none() | st.integers(NOW, NOW + ASKED_MS_MAX)),
)
jitters = st.floats(0, 1)


def claimed(tries=0, policy=TWO, *, attempt=None, due_ms=NOW):
    return Claimed("em_1", "at_1", "{}", attempt or tries + 1, tries, policy.attempts_max, due_ms)


def verdict(outcome, *, account="sendgrid", tries=0, policy=TWO, stands=None, standing=None, jitter=0.5, **more):
    """As the queue does it: the account learns of the outcome first, then the mail is judged."""
    standing = standing or Standing()
    standing.note(outcome, policy, NOW, jitter)
    return judge(
        outcome,
        claimed(tries, policy, **more),
        account,
        policy=policy,
        standing=standing,
        stands=stands or {},
        now_ms=NOW,
        jitter=jitter,
    )


OTHER_PARKED = {"sendgrid_fallback": Stand(NOW + 10**9, is_proven=False)}

# The table of the module: outcome, then with another account open, then without one: (move, account, status, tries).
A, B = "sendgrid", "sendgrid_fallback"
TABLE = [
    (Accepted("id"), ("done", A, "sent", 0), ("done", A, "sent", 0)),
    (Unknown("?"), ("unknown", A, "unknown", 0), ("unknown", A, "unknown", 0)),
    (Deferred(NOW + 30_000, "429"), ("hold", A, "pending", 0), ("hold", A, "pending", 0)),
    (Deferred(NOW + HOUR, "429"), ("fail_over", B, "pending", 0), ("hold", A, "pending", 0)),
    (Deferred(None, "429"), ("hold", A, "pending", 0), ("hold", A, "pending", 0)),
    (Rejected(Fault.THROTTLE, "no"), ("hold", A, "pending", 0), ("hold", A, "pending", 0)),
    (Rejected(Fault.QUOTA, "no"), ("fail_over", B, "pending", 0), ("hold", A, "pending", 0)),
    (Rejected(Fault.CONFIG, "no"), ("fail_over", B, "pending", 0), ("hold", A, "pending", 0)),
    (Rejected(Fault.UNAVAILABLE, "no"), ("fail_over", B, "pending", 0), ("hold", A, "pending", 0)),
    (Rejected(Fault.TEMPORARY, "no"), ("fail_over", B, "pending", 1), ("retry", A, "pending", 1)),
    (Rejected(Fault.CONTENT, "no"), ("give_up", A, "failed", 1), ("give_up", A, "failed", 1)),
    (Rejected(Fault.RECIPIENT, "no"), ("give_up", A, "failed", 1), ("give_up", A, "failed", 1)),
]


@pytest.mark.parametrize(("outcome", "with_other", "without"), TABLE)
def test_the_table(outcome, with_other, without):
    for stands, expected in (({}, with_other), (OTHER_PARKED, without)):
        decided = verdict(outcome, stands=stands)
        result = decided.result
        assert (decided.move, result.account, result.status, result.tries) == expected


def test_the_table_knows_every_fault():
    assert {outcome.fault for outcome, *_ in TABLE if isinstance(outcome, Rejected)} == set(Fault)


@given(jitters, st.integers(0, 5))
def test_an_unknown_mail_stays_unknown_and_where_it_is(jitter, tries):
    decided = verdict(Unknown("?"), tries=tries, jitter=jitter)
    assert decided.move == "unknown"
    assert (decided.result.state, decided.result.status) == ("unknown", "unknown")
    assert decided.result.account == "sendgrid"


@given(outcomes, jitters, st.integers(0, 5), st.booleans())
def test_only_a_mail_that_was_surely_not_taken_is_ever_sent_again(outcome, jitter, tries, other_parked):
    decided = verdict(outcome, tries=tries, jitter=jitter, stands=OTHER_PARKED if other_parked else {})
    if decided.result.status == "pending":
        assert isinstance(outcome, Deferred | Rejected)
    if isinstance(outcome, Accepted):
        assert decided.result.status == "sent"


@given(outcomes, jitters)
def test_the_folder_never_takes_over_from_a_provider_nor_a_provider_from_the_folder(outcome, jitter):
    assert verdict(outcome, account="folder", policy=ALONE, jitter=jitter).result.account == "folder"
    assert verdict(outcome, policy=ONE, jitter=jitter).result.account == "sendgrid"


def test_a_held_mail_is_due_and_keeps_its_tries_and_waits_for_the_account_alone():
    for fault in (Fault.QUOTA, Fault.CONFIG, Fault.UNAVAILABLE):
        decided = verdict(Rejected(fault, "no"), policy=ONE, tries=2, attempt=3)
        assert (decided.result.not_before_ms, decided.result.tries) == (NOW, 2)


def test_a_held_mail_waits_at_the_account_that_opens_first():
    for opens_ms, account in ((NOW + 100, B), (NOW + 900, A)):
        decided = verdict(DOWN, stands={B: Stand(opens_ms, is_proven=False)}, jitter=0.5)
        assert (decided.move, decided.result.account) == ("hold", account)


@given(jitters, st.integers(1, 10_000))
def test_an_outage_uses_no_tries_however_often_the_mail_is_tried(jitter, attempt):
    decided = verdict(DOWN, attempt=attempt, stands=OTHER_PARKED, jitter=jitter)
    assert (decided.move, decided.result.tries) == ("hold", 0)


def test_a_mail_that_alone_fails_again_and_again_waits_for_itself_longer_each_time():
    waits = [verdict(DOWN, policy=ONE, attempt=n, jitter=1.0).result.not_before_ms - NOW for n in (1, 2, 3, 9)]
    assert waits == [0, 2_000, 4_000, 30_000]
    outage = Standing(parks=9, since_ms=NOW - HOUR)
    assert verdict(DOWN, policy=ONE, attempt=9, standing=outage, jitter=1.0).result.not_before_ms == NOW


@given(st.integers(1, 6), st.lists(jitters, min_size=40, max_size=40), st.sampled_from([ONE, TWO]))
def test_a_mail_that_is_refused_for_the_moment_is_given_up_after_the_tries_of_the_settings(tries_max, jitters, policy):
    policy = QueuePolicy(policy.accounts, tries_max=tries_max)
    account, tries, attempts, moves = policy.accounts[0], 0, [], []
    for jitter in jitters:
        decided = verdict(
            Rejected(Fault.TEMPORARY, "later"), account=account, tries=tries, policy=policy, jitter=jitter
        )
        attempts.append(account)
        moves.append(decided.move)
        nth = -(-decided.result.tries // len(policy.accounts))
        assert decided.result.not_before_ms - NOW <= backoff_ms(policy, nth, 1.0)
        account, tries = decided.result.account, decided.result.tries
        if decided.move == "give_up":
            break
    assert len(attempts) == tries_max * len(policy.accounts)
    assert all(attempts.count(name) == tries_max for name in policy.accounts)
    assert moves.count("retry") == tries_max - 1
    assert (decided.result.failure, decided.result.failure_text) == ("temporary", "later")


OLD = NOW - MAIL_MS_MAX - 1


@pytest.mark.parametrize(
    "outcome", [DOWN, Deferred(NOW + 30_000, "429"), Deferred(NOW + HOUR, "429"), Rejected(Fault.QUOTA, "no")]
)
def test_a_mail_that_is_too_old_is_given_up_when_no_account_is_there_and_says_why(outcome):
    assert verdict(outcome, due_ms=OLD + 1, policy=ONE).move == "hold"
    decided = verdict(outcome, due_ms=OLD, policy=ONE)
    assert (decided.move, decided.result.status, decided.result.failure) == ("give_up", "failed", "expired")
    assert decided.result.failure_text == f"no account took it within 72 h; last: {outcome.text}"
    assert decided.result.state != "unknown"


def test_a_mail_that_is_too_old_is_still_sent_where_an_account_takes_it():
    assert verdict(Accepted(), due_ms=OLD).result.status == "sent"
    assert verdict(Deferred(NOW + 30_000, "429"), due_ms=OLD).move == "fail_over"
    assert verdict(DOWN, due_ms=OLD).move == "fail_over"
    assert verdict(Unknown("?"), due_ms=OLD).result.status == "unknown"


@given(st.integers(1, 200), jitters)
def test_backoff_is_full_jitter_between_nothing_and_a_ceiling_that_doubles(nth, jitter):
    wait = backoff_ms(TWO, nth, jitter)
    assert 0 <= wait <= min(1000 * 2 ** (nth - 1), 30_000)
    assert backoff_ms(TWO, nth, 1.0) == min(1000 * 2 ** (nth - 1), 30_000)


def test_the_next_account_is_the_next_that_takes_mail_in_the_ring_or_else_the_next_that_may_be_probed():
    three = QueuePolicy(("a", "b", "c"))
    parked, due = Stand(NOW + 1, is_proven=False), Stand(NOW, is_proven=False)
    assert next_account(three, "a", {}, NOW) == "b"
    assert next_account(three, "c", {}, NOW) == "a"
    assert next_account(three, "a", {"b": parked}, NOW) == "c"
    assert next_account(three, "a", {"b": due}, NOW) == "c"
    assert next_account(three, "a", {"b": due, "c": parked}, NOW) == "b"
    assert next_account(three, "a", {"b": parked, "c": parked}, NOW) is None
    assert next_account(ONE, "sendgrid", {}, NOW) is None


# -- the account --------------------------------------------------------------------------------------------------


def after(*seen, policy=TWO, jitter=0.5):
    standing = Standing()
    for outcome in seen:
        standing.note(outcome, policy, NOW, jitter)
    return standing


@pytest.mark.parametrize(
    "outcome",
    [
        DOWN,
        Deferred(None, "429"),
        Rejected(Fault.QUOTA, "no"),
        Rejected(Fault.CONFIG, "no"),
        Rejected(Fault.THROTTLE, "no"),
    ],
)
def test_the_first_word_that_an_account_is_not_there_parks_it(outcome):
    standing = after(outcome)
    assert standing.is_parked(NOW)
    assert standing.since_ms == NOW
    assert standing.reason.endswith(outcome.text)


def test_a_plan_that_is_used_up_is_looked_at_again_after_an_hour():
    assert after(Rejected(Fault.QUOTA, "no")).parked_until_ms == NOW + PARK_QUOTA_MS == NOW + HOUR


def test_in_an_outage_the_parks_are_full_jitter_under_a_ceiling_that_doubles_up_to_the_longest_wait():
    standing, now, waits = Standing(), NOW, []
    for _ in range(8):
        standing.note(DOWN, TWO, now, 1.0)
        waits.append(standing.parked_until_ms - now)
        now = standing.parked_until_ms
    assert waits == [1_000, 2_000, 4_000, 8_000, 16_000, 30_000, 30_000, 30_000]
    assert standing.since_ms == NOW
    assert after(DOWN, jitter=0.25).parked_until_ms - NOW == 250


def test_calls_that_were_under_way_when_it_was_parked_tell_nothing_new():
    standing = after(DOWN)
    until_ms = standing.parked_until_ms
    for outcome in (DOWN, DOWN, Unknown("?"), Accepted(), Rejected(Fault.CONTENT, "no"), DOWN):
        assert not standing.note(outcome, TWO, NOW, 1.0)
    assert (standing.parked_until_ms, standing.parks) == (until_ms, 1)
    assert standing.is_away


def test_one_of_them_may_ask_for_longer():
    standing = after(DOWN, Deferred(NOW + HOUR, "429"))
    assert standing.parked_until_ms == NOW + HOUR
    assert standing.reason == "throttle: 429"


@pytest.mark.parametrize("asked", [HOUR, 12 * HOUR])
def test_what_the_provider_asks_for_is_waited_for_also_when_it_is_longer_than_our_longest_wait(asked):
    for outcome in (Deferred(NOW + asked, "429"), Rejected(Fault.UNAVAILABLE, "503", NOW + asked)):
        assert after(outcome).parked_until_ms == NOW + asked


@given(jitters)
def test_a_provider_that_says_now_and_refuses_again_is_asked_ever_more_rarely(jitter):
    standing, now = Standing(), NOW
    for nth in range(1, 9):
        standing.note(Deferred(now, "429"), TWO, now, jitter)
        assert standing.parked_until_ms - now == max(1, backoff_ms(TWO, nth, jitter))
        now = standing.parked_until_ms


def test_a_doubt_is_half_a_word_and_an_answer_ends_it():
    for doubt in (Unknown("?"), Rejected(Fault.TEMPORARY, "later")):
        assert not after(*[doubt] * (DOUBTS_MAX - 1)).is_parked(NOW)
        assert after(*[doubt] * DOUBTS_MAX).is_parked(NOW)
        assert not after(doubt, Accepted(), doubt, Rejected(Fault.CONTENT, "no"), doubt).is_parked(NOW)


def test_after_a_park_one_mail_probes_and_a_failed_probe_parks_it_for_longer():
    standing = after(DOWN)
    later = standing.parked_until_ms
    assert slots_free(standing, TWO, 0, NOW) == 0
    assert slots_free(standing, TWO, 0, later) == 1
    assert slots_free(standing, TWO, 1, later) == 0
    for failed in (DOWN, Unknown("?"), Rejected(Fault.TEMPORARY, "later")):
        probing = Standing(since_ms=NOW, parks=1)
        assert probing.note(failed, TWO, later, 0.5)
        assert (probing.is_parked(later), probing.parks) == (True, 2)


def test_a_probe_that_is_taken_opens_the_account_by_one_call_more_for_each_mail():
    standing, now = after(DOWN), NOW + 1_000
    assert standing.note(Accepted(), TWO, now, 0.5)
    assert (standing.is_away, standing.parks, standing.reason) == (False, 0, "")
    calls = []
    for _ in range(5):
        calls.append(slots_free(standing, TWO, 0, now))
        assert not standing.note(Accepted(), TWO, now, 0.5)
    assert calls == [2, 3, 4, 5, 5]


def test_a_mail_that_the_provider_refuses_says_nothing_against_the_account():
    assert not after(*[Rejected(Fault.CONTENT, "no")] * 50).is_parked(NOW)


def test_a_parked_account_gives_its_mail_away_unless_it_opens_soon_itself():
    assert after(Rejected(Fault.QUOTA, "no")).gives_away(NOW, 0)
    assert after(Rejected(Fault.CONFIG, "no")).gives_away(NOW, 0)
    assert after(Deferred(NOW + HOUR, "429")).gives_away(NOW, 0)
    assert not after(Deferred(NOW + 5_000, "429")).gives_away(NOW, 0)
    assert not Standing().gives_away(NOW, 5)


def test_an_account_that_is_throttled_for_a_moment_again_and_again_gives_its_mail_away_after_a_minute():
    standing, now = Standing(), NOW
    while now - NOW < 50_000:
        standing.note(Deferred(now + 5_000, "429"), TWO, now, 0.0)
        assert not standing.gives_away(now, 0)
        now = standing.parked_until_ms
    standing.note(Deferred(now + 15_000, "429"), TWO, now, 0.0)
    assert standing.gives_away(now, 0)


def test_while_it_is_probed_what_waits_behind_the_probe_may_go_to_another():
    standing = after(DOWN)
    later = standing.parked_until_ms
    assert standing.gives_away(later, 1)
    assert not standing.gives_away(later, 0)  # the probe first


def test_a_restart_honours_what_the_provider_asked_for_and_looks_again_at_once_otherwise():
    asked, down = after(Deferred(NOW + HOUR, "429")), after(DOWN, Rejected(Fault.QUOTA, "no"))
    for standing, is_parked in ((asked, True), (down, False)):
        again = Standing.restored(standing.kept(), NOW + 5)
        assert again.is_parked(NOW + 5) == is_parked
        assert again.parked_until_ms <= NOW + HOUR
        assert (again.since_ms, again.parks, again.reason) == (NOW, standing.parks, standing.reason)
        assert slots_free(again, TWO, 0, NOW + 2 * HOUR) == 1
    assert Standing.restored(asked.kept(), NOW + 5).parked_until_ms == NOW + HOUR


def test_a_clock_that_was_set_back_while_nobody_ran_makes_no_wait_longer_than_it_was():
    again = Standing.restored(after(Deferred(NOW + HOUR, "429")).kept(), NOW - 100 * HOUR)
    assert again.parked_until_ms == NOW - 99 * HOUR
    assert again.since_ms == NOW - 100 * HOUR


def test_a_clock_that_jumps_makes_no_park_longer_or_shorter():
    standing = after(DOWN)
    left = standing.parked_until_ms - NOW
    standing.shift(-HOUR)
    assert standing.parked_until_ms - (NOW - HOUR) == left
    assert standing.since_ms == NOW - HOUR


@given(st.lists(st.tuples(outcomes, st.integers(0, 10_000), jitters), max_size=60))
def test_a_park_is_never_shortened_and_never_without_a_reason(seen):
    standing, now = Standing(), NOW
    for outcome, step, jitter in seen:
        now += step
        before, was_away = standing.parked_until_ms, standing.is_away
        told = standing.note(outcome, TWO, now, jitter)
        assert standing.parked_until_ms >= before
        assert told == (standing.parked_until_ms > before or standing.is_away != was_away)
        assert standing.is_away or not standing.is_parked(now)
        assert bool(standing.reason) == standing.is_away


def test_a_queue_sleeps_until_the_first_thing_ahead_and_never_longer_than_a_poll():
    assert wake_ms(TWO, NOW, ()) == TWO.poll_ms
    assert wake_ms(TWO, NOW, (None, NOW - 5, NOW + 70, NOW + 50)) == 50
    assert wake_ms(TWO, NOW, (NOW + 10**9,)) == TWO.poll_ms


# -- rate windows -------------------------------------------------------------------------------------------------


@given(st.integers(1, 8), st.lists(st.tuples(st.integers(0, 30_000), st.integers(1, 5)), max_size=80))
def test_in_no_span_do_more_start_than_the_limit(limit, steps):
    window, now, starts = Window(60_000, limit), NOW, []
    for step, wanted in steps:
        now += step
        taken = min(wanted, window.room(now))
        if taken:
            window.add(now, taken)
            starts.extend([now] * taken)
    for first in starts:
        assert sum(first <= start < first + 60_000 for start in starts) <= limit


@given(st.integers(1, 8), st.lists(st.integers(0, 30_000), max_size=60))
def test_a_window_that_is_full_says_when_it_opens_and_is_open_then(limit, steps):
    window, now = Window(60_000, limit), NOW
    for step in steps:
        now += step
        if window.room(now):
            window.add(now, 1)
        opens = window.opens_ms(now)
        assert now <= opens <= now + 61_001
        probe = Window(60_000, limit)
        probe._slices, probe._total = window._slices.copy(), window._total
        assert probe.room(opens)


@given(st.integers(1, 8), st.lists(st.tuples(st.integers(0, 30_000), st.booleans()), max_size=80))
def test_what_came_to_nothing_is_taken_back_and_what_was_sent_is_still_held_to_the_limit(limit, steps):
    window, now, sent = Window(60_000, limit), NOW, []
    for step, came_to_nothing in steps:
        now += step
        if window.room(now):
            window.add(now, 1)
            if came_to_nothing:
                window.take_back(now)
            else:
                sent.append(now)
        assert window.used(now) >= sum(now - 60_000 < start for start in sent)
    for first in sent:
        assert sum(first <= start < first + 60_000 for start in sent) <= limit


def test_taking_back_what_no_longer_counts_is_nothing():
    window = Window(60_000, 5)
    window.add(NOW, 1)
    window.take_back(NOW + 5_000)
    assert window.used(NOW) == 1
    window.take_back(NOW)
    window.take_back(NOW)
    assert window.used(NOW) == 0


def test_a_clock_that_jumps_neither_fills_a_window_nor_empties_it():
    for step in (-HOUR, HOUR):
        window = Window(60_000, 2)
        window.add(NOW, 2)
        left = window.opens_ms(NOW) - NOW
        window.shift(step)
        assert window.opens_ms(NOW + step) - (NOW + step) == left


def test_the_narrowest_window_decides_and_a_limit_of_none_is_no_limit():
    windows = Windows(((60_000, 5), (3_600_000, 3), (86_400_000, 0)))
    assert windows.room(NOW, 100) == 3
    windows.add(NOW, 3)
    assert windows.room(NOW, 100) == 0
    assert windows.opens_ms(NOW) > NOW + 3_500_000
    assert Windows(((60_000, 0),)).room(NOW, 100) == 100
    assert Windows(()).opens_ms(NOW) == NOW
