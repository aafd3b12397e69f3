"""What a queue decides: the table in its module, as properties that hold for any outcome at any time."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from greenroom.actors.provider_queue.state import (
    FAILURES_MAX,
    PARK_CONFIG_MS,
    PARK_QUOTA_MS,
    QueuePolicy,
    Standing,
    backoff_ms,
    judge,
    next_account,
    slots_free,
    wake_ms,
)
from greenroom.actors.provider_queue.windows import Window, Windows
from greenroom.actors.providers.provider import Accepted, Deferred, Fault, Rejected, Unknown
from greenroom.storage.postgres.outbox import Claimed

NOW = 1_800_000_000_000
TWO = QueuePolicy(("sendgrid", "sendgrid_fallback"))
ONE = QueuePolicy(("sendgrid",))
ALONE = QueuePolicy(("folder",))

outcomes = st.one_of(
    st.builds(Accepted, st.none() | st.just("id")),
    st.builds(Unknown, st.just("?")),
    st.builds(Deferred, st.none() | st.integers(NOW, NOW + 86_400_000), st.just("429")),
    st.builds(Rejected, st.sampled_from(Fault), st.just("no")),
)
jitters = st.floats(0, 1)


def claimed(tries=0, policy=TWO, expires_ms=NOW + 86_400_000):
    return Claimed("em_1", "at_1", "{}", tries, policy.attempts_max, expires_ms)


def verdict(outcome, *, account="sendgrid", tries=0, policy=TWO, parked=(), jitter=0.5, **more):
    known = dict.fromkeys(parked, NOW + 10**9)
    mail = claimed(tries, policy, **more)
    return judge(outcome, mail, account, policy=policy, parked=known, now_ms=NOW, jitter=jitter)


@given(jitters, st.integers(0, 5))
def test_an_unknown_mail_stays_unknown_and_where_it_is(jitter, tries):
    decided = verdict(Unknown("?"), tries=tries, jitter=jitter)
    assert decided.move == "unknown"
    assert (decided.result.state, decided.result.status) == ("unknown", "unknown")
    assert decided.result.account == "sendgrid"


@given(outcomes, jitters, st.integers(0, 5), st.booleans())
def test_only_a_mail_that_was_surely_not_taken_is_ever_sent_again(outcome, jitter, tries, other_parked):
    decided = verdict(outcome, tries=tries, jitter=jitter, parked=("sendgrid_fallback",) if other_parked else ())
    if decided.result.status == "pending":
        assert isinstance(outcome, Deferred | Rejected)
    if isinstance(outcome, Accepted):
        assert decided.result.status == "sent"


@given(outcomes, jitters)
def test_the_folder_never_takes_over_from_a_provider_nor_a_provider_from_the_folder(outcome, jitter):
    assert verdict(outcome, account="folder", policy=ALONE, jitter=jitter).result.account == "folder"
    assert verdict(outcome, policy=ONE, jitter=jitter).result.account == "sendgrid"


@pytest.mark.parametrize("fault", [Fault.QUOTA, Fault.CONFIG, Fault.UNAVAILABLE])
def test_what_is_the_accounts_fault_fails_over_at_once(fault):
    decided = verdict(Rejected(fault, "no"))
    assert decided.move == "fail_over"
    assert decided.result.account == "sendgrid_fallback"
    assert decided.result.not_before_ms == NOW


@pytest.mark.parametrize(("fault", "wait"), [(Fault.QUOTA, PARK_QUOTA_MS), (Fault.CONFIG, PARK_CONFIG_MS)])
def test_without_another_account_quota_and_config_wait_and_use_no_try(fault, wait):
    for decided in (verdict(Rejected(fault, "no"), policy=ONE), verdict(Rejected(fault, "no"), parked=TWO.accounts)):
        assert decided.move == "retry"
        assert decided.result.not_before_ms == NOW + wait
        assert decided.result.tries == 0


def test_a_throttle_waits_for_its_reset_when_it_is_near_and_fails_over_when_it_is_far():
    near, far = verdict(Deferred(NOW + 30_000, "429")), verdict(Deferred(NOW + 3_600_000, "429"))
    assert (near.move, near.result.not_before_ms, near.result.account) == ("retry", NOW + 30_000, "sendgrid")
    assert (far.move, far.result.account) == ("fail_over", "sendgrid_fallback")
    assert near.result.tries == far.result.tries == 0


@pytest.mark.parametrize("fault", [Fault.CONTENT, Fault.RECIPIENT])
def test_what_no_provider_will_ever_take_is_given_up_at_once(fault):
    decided = verdict(Rejected(fault, "no"))
    assert (decided.move, decided.result.status, decided.result.state) == ("give_up", "failed", "rejected")


@given(st.integers(1, 6), st.lists(jitters, min_size=40, max_size=40), st.sampled_from([ONE, TWO]))
def test_an_outage_of_everything_ends_after_the_tries_of_the_settings(tries_max, jitters, policy):
    policy = QueuePolicy(policy.accounts, tries_max=tries_max)
    account, tries, attempts = policy.accounts[0], 0, []
    for jitter in jitters:
        decided = verdict(
            Rejected(Fault.UNAVAILABLE, "down"), account=account, tries=tries, policy=policy, jitter=jitter
        )
        attempts.append(account)
        account, tries = decided.result.account, decided.result.tries
        if decided.move == "give_up":
            break
    assert len(attempts) == tries_max * len(policy.accounts)
    assert all(attempts.count(name) == tries_max for name in policy.accounts)


def test_a_mail_that_is_a_day_old_is_given_up_instead_of_waiting_on():
    decided = verdict(Deferred(NOW + 10_000, "429"), expires_ms=NOW + 5_000)
    assert (decided.move, decided.result.status) == ("give_up", "failed")


@given(st.integers(1, 200), jitters)
def test_backoff_is_full_jitter_between_nothing_and_a_ceiling_that_doubles(nth, jitter):
    wait = backoff_ms(TWO, nth, jitter)
    assert 0 <= wait <= min(1000 * 2 ** (nth - 1), 30_000)
    assert backoff_ms(TWO, nth, 1.0) == min(1000 * 2 ** (nth - 1), 30_000)


def test_the_next_account_is_the_next_open_one_in_the_ring():
    three = QueuePolicy(("a", "b", "c"))
    assert next_account(three, "a", {}, NOW) == "b"
    assert next_account(three, "c", {}, NOW) == "a"
    assert next_account(three, "a", {"b": NOW + 1}, NOW) == "c"
    assert next_account(three, "a", {"b": NOW + 1, "c": NOW + 1}, NOW) is None
    assert next_account(ONE, "sendgrid", {}, NOW) is None


# -- the account --------------------------------------------------------------------------------------------------


def after(*seen, policy=TWO):
    standing = Standing()
    for outcome in seen:
        standing.note(outcome, policy, NOW, 0.5)
    return standing


DOWN = Rejected(Fault.UNAVAILABLE, "down")


def test_failures_in_a_row_park_the_account_and_one_success_forgets_them():
    assert not after(*[DOWN] * 4).is_parked(NOW)
    assert after(*[DOWN] * 5).is_parked(NOW)
    assert not after(*[DOWN] * 4, Accepted(), *[DOWN] * 4).is_parked(NOW)


def test_an_unknown_outcome_counts_half():
    assert not after(*[Unknown("?")] * int(FAILURES_MAX * 2 - 1)).is_parked(NOW)
    assert after(*[Unknown("?")] * int(FAILURES_MAX * 2)).is_parked(NOW)


def test_after_a_park_one_mail_probes_until_one_goes_through():
    standing = after(*[DOWN] * 5)
    later = standing.parked_until_ms
    assert slots_free(standing, TWO, 0, NOW) == 0
    assert slots_free(standing, TWO, 0, later) == 1
    assert slots_free(standing, TWO, 1, later) == 0
    assert standing.note(DOWN, TWO, later, 0.5)
    assert standing.is_parked(later)
    standing.note(Accepted(), TWO, standing.parked_until_ms, 0.5)
    assert slots_free(standing, TWO, 0, standing.parked_until_ms) == TWO.concurrent


def test_a_mail_that_the_provider_refuses_says_nothing_against_the_account():
    assert not after(*[Rejected(Fault.CONTENT, "no")] * 50).is_parked(NOW)


def test_a_parked_account_gives_its_mail_away_unless_it_opens_soon_itself():
    assert after(Rejected(Fault.QUOTA, "no")).gives_away(NOW)
    assert after(Rejected(Fault.CONFIG, "no")).gives_away(NOW)
    assert after(Deferred(NOW + 3_600_000, "429")).gives_away(NOW)
    assert not after(Deferred(NOW + 5_000, "429")).gives_away(NOW)
    assert not Standing().gives_away(NOW)


@given(st.lists(st.tuples(outcomes, st.integers(0, 10_000), jitters), max_size=60))
def test_a_park_is_never_shortened_and_never_without_a_reason(seen):
    standing, now = Standing(), NOW
    for outcome, step, jitter in seen:
        now += step
        before = standing.parked_until_ms
        parked = standing.note(outcome, TWO, now, jitter)
        assert standing.parked_until_ms >= before
        assert parked == (standing.parked_until_ms > before)
        assert standing.reason or not standing.parked_until_ms


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


def test_the_narrowest_window_decides_and_a_limit_of_none_is_no_limit():
    windows = Windows(((60_000, 5), (3_600_000, 3), (86_400_000, 0)))
    assert windows.room(NOW, 100) == 3
    windows.add(NOW, 3)
    assert windows.room(NOW, 100) == 0
    assert windows.opens_ms(NOW) > NOW + 3_500_000
    assert Windows(((60_000, 0),)).room(NOW, 100) == 100
    assert Windows(()).opens_ms(NOW) == NOW
