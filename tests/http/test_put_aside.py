"""What is put aside while a room is too full to be asked: in order, bounded for one and for all; pings are not."""

import json

import pytest

from greenroom.http.ws import put_aside
from greenroom.http.ws.put_aside import ASIDE_BYTES_MAX, Aside, AsideBudget, is_sign_of_life


@pytest.mark.parametrize(
    "frame",
    [
        {"type": "ping"},
        {"type": "pong"},
        {"type": "ping", "id": "x" * 64, "data": {}},
        {"type": "ping", "requestId": "1", "timestamp": 5},
        {"id": "ping", "type": "ping"},
    ],
    ids=str,
)
def test_a_ping_of_either_protocol_need_not_wait(frame):
    assert is_sign_of_life(json.dumps(frame))


@pytest.mark.parametrize(
    "text",
    [
        '{"type":"send","id":"ping","room":1,"data":{"body":"x"}}',
        '{"data":{"type":"ping"},"type":"read"}',
        '[{"type":"ping"},{"type":"leave","room":1}]',
        '{"type":["ping"]}',
        '{"type":"ping"',
        '"ping"',
        json.dumps({"type": "ping", "id": "x" * 600}),
        "",
    ],
)
def test_whatever_else_waits_for_its_turn(text):
    assert not is_sign_of_life(text)


def test_it_comes_back_in_order_and_gives_back_what_it_took():
    budget = AsideBudget()
    aside = Aside(budget)
    texts = [f"{number}" * 50 for number in range(20)]
    for text in texts:
        aside.put(text)
    assert budget.bytes > sum(map(len, texts))
    assert [aside.take() for _ in texts[:5]] == texts[:5]
    assert aside
    aside.drop()
    assert (budget.bytes, bool(aside), aside.has_room) == (0, False, True)


def test_empty_messages_and_long_ones_are_bounded_alike():
    for text in ("", "x" * 1000, "\U0001f600" * 1000):
        aside, count = Aside(AsideBudget()), 0
        while aside.has_room:
            aside.put(text)
            count += 1
        assert count <= ASIDE_BYTES_MAX / 49
        assert count * len(text.encode()) <= 2 * ASIDE_BYTES_MAX


def test_all_share_what_there_is(monkeypatch):
    monkeypatch.setattr(put_aside, "ASIDE_TOGETHER_BYTES_MAX", 2000)
    budget = AsideBudget()
    one, other = Aside(budget), Aside(budget)
    one.put("x" * 2000)
    assert not other.has_room
    one.drop()
    assert other.has_room
