"""The heartbeat of v1, second by second: one ping in 25 s of silence on either side, and an end after 35 s."""

import socket
from collections import Counter
from types import SimpleNamespace
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st
from trio.testing import wait_all_tasks_blocked

from greenroom.http.adoption import Adopted
from greenroom.http.ws.connection import NEVER
from greenroom.http.ws.engine import SocketEngine
from greenroom.http.ws.services import SettingLimits
from greenroom.http.ws.v1 import V1Session
from greenroom.http.ws.wheel import WHEEL_SLOTS, Wheel


class OnWheel:
    """What the wheel and the session need of a connection."""

    is_open, is_closing, is_paused = True, False, False

    def __init__(self, wheel=None, signal=None):
        self.beats_at = self.looks_at = NEVER
        self.heard_at = self.spoken_at = 0.0
        self.engine, self.signal = SimpleNamespace(wheel=wheel), signal


class Peer:
    """A session without its socket, and what it was sent."""

    def __init__(self, answers):
        self.answers, self.now, self.pings, self.beats = answers, 0.0, [], 0
        self.wheel = Wheel()
        self.connection = OnWheel(self.wheel, self.signal)
        self.session = V1Session.__new__(V1Session)
        self.session.connection = self.connection  # type: ignore[assignment]
        self.session.principal = None
        self.session.rooms, self.session._first_ping_at = (), 0.0

    def signal(self, frame):
        self.pings.append(self.now)
        if self.answers:
            self.connection.heard_at = self.now

    def live(self, seconds, every=lambda connection, now: None):
        """Let the wheel turn; when it ended, or None."""
        connection = cast("Any", self.connection)
        self.wheel.call_within(connection, 1.0)
        for second in range(1, seconds):
            self.now = float(second)
            every(self.connection, self.now)
            if connection in self.wheel.turn() and self.wheel.is_due(connection, self.now):
                self.beats += 1
                wait_seconds = self.session.beat(self.now)
                if wait_seconds is None:
                    return self.now
                self.wheel.call_within(connection, wait_seconds)
        return None


def gaps(peer):
    return [round(later - earlier) for earlier, later in zip(peer.pings, peer.pings[1:], strict=False)]


def test_who_answers_has_a_ping_in_25_seconds_and_no_more():
    peer = Peer(answers=True)
    assert peer.live(600) is None
    assert set(gaps(peer)) <= {25, 26}
    assert peer.beats == len(peer.pings), "of a healthy peer nothing is looked at between two pings"


def test_who_is_heard_all_the_time_and_told_nothing_has_one_in_25_seconds_too():
    def speaks(connection, now):
        connection.heard_at = now

    peer = Peer(answers=True)
    assert peer.live(600, speaks) is None
    assert set(gaps(peer)) <= {25, 26}


def test_who_is_heard_and_spoken_to_is_not_pinged():
    def talks(connection, now):
        connection.heard_at = connection.spoken_at = now

    peer = Peer(answers=True)
    assert peer.live(600, talks) is None
    assert len(peer.pings) == 1  # the first, at its random moment


@pytest.mark.parametrize("is_told_things", [False, True])
def test_who_is_silent_ends_after_35_seconds_whatever_it_is_told(is_told_things):
    def told(connection, now):
        if is_told_things:
            connection.spoken_at = now

    peer = Peer(answers=False)
    ended_at = peer.live(600, told)
    assert ended_at is not None
    assert 35 <= ended_at <= 37


def test_who_is_not_read_by_us_is_pinged_and_never_ended():
    peer = Peer(answers=False)
    peer.connection.is_paused = True
    assert peer.live(600) is None
    assert set(gaps(peer)) <= {25, 26}
    assert len(peer.pings) > 20


turns = st.tuples(st.sampled_from(("call", "look")), st.floats(0, 2 * WHEEL_SLOTS))


@given(st.lists(st.one_of(st.none(), turns), max_size=60))
def test_whatever_turns_it_was_given_the_wheel_calls_in_time_and_forgets_who_is_over(steps):
    wheel, one = Wheel(), OnWheel()
    connection, turn = cast("Any", one), 0
    for step in steps:
        if step is None:
            turn += 1
            slot = wheel.turn()
            is_called = connection in slot and wheel.is_due(connection, now=100.0)
            assert is_called == (turn in (one.beats_at, one.looks_at))
            assert turn <= one.beats_at, "a turn that was given has come, and nobody was called"
            if is_called and turn == one.beats_at:
                wheel.call_within(connection, 7)
        elif step[0] == "call":
            before = one.beats_at
            wheel.call_within(connection, step[1])
            assert one.beats_at <= min(before, turn + WHEEL_SLOTS - 1)
        else:
            wheel.look_within(connection, step[1])
    one.is_open = False
    wheel.forget(connection)
    assert not any(connection in wheel.turn() for _ in range(WHEEL_SLOTS))


def test_who_was_heard_is_not_called_for_a_look():
    wheel, one = Wheel(), cast("Any", OnWheel())
    wheel.look_within(one, 11)
    one.heard_at = 1.5
    slots = [wheel.turn() for _ in range(11)]
    assert one in slots[-1]
    assert not wheel.is_due(one, now=11.0)
    assert wheel.is_due(one, now=21.6), "unless that is long ago"


STORM = 300
PING = b'{"type":"ping"}'


def session_of(engine, connection):
    """A session of v1 that has started, and has nothing to do."""
    limits = SimpleNamespace(per_minute=0)
    services = SimpleNamespace(
        engine=engine,
        node="here",
        setting_limits=SettingLimits(),
        clock=SimpleNamespace(wall_milliseconds=lambda: 0),
        limits=SimpleNamespace(messages=limits, commands=limits, typing=limits),
        summaries=SimpleNamespace(drop=lambda connection: None),
        watches=SimpleNamespace(end=lambda connection: None),
    )
    session = V1Session(cast("Any", services), connection, None)
    session.user_id, session.rooms = 1, ()
    return session


async def test_those_who_came_together_are_first_pinged_spread_over_25_seconds(nursery, mock_clock):
    """By chance, but for one time in a million."""
    engine, silent, pinged = SocketEngine(nursery), [], Counter()
    nursery.start_soon(engine.run)
    for _ in range(STORM):
        near, far = socket.socketpair()
        for sock in (near, far):
            sock.setblocking(False)
        silent.append(far)
        engine.adopt(Adopted(near, b"", ("here", 1), None), lambda one: session_of(engine, one), "here")
    for second in range(1, 28):
        mock_clock.jump(1)
        await wait_all_tasks_blocked()
        heard = [far for far in silent if PING in received(far)]
        pinged[second] = len(heard)
        silent = [far for far in silent if far not in heard]
    for connection in engine.all_connections():
        connection.sock.close()
    assert not silent, "everybody had its first by then"
    assert max(pinged.values()) < STORM / 6, pinged
    assert sum(count > 0 for count in pinged.values()) >= 20, pinged


def received(sock):
    try:
        return sock.recv(65536)
    except BlockingIOError:
        return b""
