"""The client's side of the control socket: what waits for an answer, and what ends the wait."""

import json
import random
import signal
import socket
import threading
import time
from contextlib import contextmanager

import pytest

from greenroom.control.client import Running
from greenroom.control.errors import NoAnswer
from greenroom.control.protocol import PROTOCOL, encode

ASKED = 3_000
SECONDS_MAX = 2.0


@contextmanager
def running_that_says_nothing():
    """A client of what answers only when it is told to cancel."""
    ours, theirs = socket.socketpair()

    def serve() -> None:
        with theirs, theirs.makefile("rb") as lines:
            for line in lines:
                request = json.loads(line)
                if request["do"] == "cancel":
                    theirs.sendall(encode({"id": request["id"], "error": "it was cancelled"}))

    theirs.sendall(encode({"greenroom": "1", "pid": 1, "protocol": PROTOCOL}))
    server = threading.Thread(target=serve)
    server.start()
    with Running(ours) as running:
        yield running
    server.join()


def test_what_does_not_answer_in_time_is_given_up():
    with running_that_says_nothing() as running:
        began = time.monotonic()
        with pytest.raises(NoAnswer, match="does not answer"):
            running.ask("top", seconds_max=0.3)
        assert 0.3 <= time.monotonic() - began < SECONDS_MAX


def test_an_interrupt_is_heard_whenever_it_comes():
    """Python notes a signal and raises between its own steps: one after its last look and before the kernel waits
    ended no wait, 3 of 1,000 of those of the first 100 µs."""

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    chance = random.Random(0)
    slowest = 0.0
    before = signal.signal(signal.SIGALRM, interrupt)
    try:
        with running_that_says_nothing() as running:
            for _ in range(ASKED):
                began = time.monotonic()
                try:
                    signal.setitimer(signal.ITIMER_REAL, chance.uniform(5e-6, 100e-6), SECONDS_MAX)
                    running.ask("attach", seconds_max=None)
                except KeyboardInterrupt:
                    signal.setitimer(signal.ITIMER_REAL, 0)
                slowest = max(slowest, time.monotonic() - began)
                running.cancel()
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    assert slowest < SECONDS_MAX, "the second interrupt ended a wait that the first had not"
