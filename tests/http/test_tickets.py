"""Tickets: one use, one minute, one user."""

import pytest

from greenroom.http.auth import Principal
from greenroom.http.errors import ApiError
from greenroom.http.tickets import TICKET_SECONDS, TICKETS_PER_USER_MAX, Tickets


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def alice(user_id: int | None = 17) -> Principal:
    return Principal(user_id, "creator", "Alice", "session", session_id="s1")


def test_a_ticket_is_good_once():
    tickets = Tickets()
    text = tickets.issue(alice())
    assert tickets.redeem(text) == alice()
    assert tickets.redeem(text) is None


def test_a_ticket_is_good_for_a_minute():
    clock = Clock()
    tickets = Tickets(clock)
    early, late = tickets.issue(alice()), tickets.issue(alice())
    clock.now = TICKET_SECONDS - 0.001
    assert tickets.redeem(early) == alice()
    clock.now = TICKET_SECONDS
    assert tickets.redeem(late) is None


def test_a_ticket_holds_256_random_bits_and_is_kept_as_a_hash():
    tickets = Tickets()
    texts = {tickets.issue(alice()) for _ in range(50)}
    assert len(texts) == 50
    assert {len(text) for text in texts} == {43}
    assert not any(text in repr(vars(tickets)) for text in texts)


@pytest.mark.parametrize("text", ["", "x", "s1", "\udcff", "a" * 10_000])
def test_anything_else_is_no_ticket(text: str):
    tickets = Tickets()
    tickets.issue(alice())
    assert tickets.redeem(text) is None


def test_an_api_key_that_acts_for_nobody_gets_none():
    with pytest.raises(ApiError) as fault:
        Tickets().issue(alice(None))
    assert fault.value.status == 403


def test_a_user_can_hold_only_so_many_and_others_are_not_harmed():
    clock = Clock()
    tickets = Tickets(clock)
    texts = [tickets.issue(alice()) for _ in range(TICKETS_PER_USER_MAX)]
    with pytest.raises(ApiError) as fault:
        tickets.issue(alice())
    assert fault.value.status == 429
    tickets.issue(alice(18))
    tickets.redeem(texts[0])
    tickets.issue(alice())
    clock.now = TICKET_SECONDS
    tickets.issue(alice())
    assert len(tickets) == 1


def test_in_all_there_can_be_only_so_many(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("greenroom.http.tickets.TICKETS_MAX", 3)
    tickets = Tickets()
    for user_id in (1, 2, 3):
        tickets.issue(alice(user_id))
    with pytest.raises(ApiError) as fault:
        tickets.issue(alice(4))
    assert fault.value.status == 503


def test_all_tickets_of_a_user_are_taken_back_and_nobody_elses():
    tickets = Tickets()
    mine, others = [tickets.issue(alice()) for _ in range(3)], tickets.issue(alice(18))
    tickets.void(17)
    tickets.void(19)
    assert [tickets.redeem(text) for text in mine] == [None] * 3
    assert len(tickets) == 1
    assert tickets.redeem(others) == alice(18)
    for _ in range(TICKETS_PER_USER_MAX):  # what was taken back does not count
        tickets.issue(alice())
