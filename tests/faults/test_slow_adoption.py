"""50 ms of work between the 101 and the engine, in the real process: what is said meanwhile is not lost in silence.

The work is put into the process from outside, before greenroom is imported: a busy machine does the same.
"""

import sys

import pytest
import trio
from server_process import ServerProcess  # type: ignore[import-not-found]
from wire import V1, Socket, frame, open_sockets, wait_until  # type: ignore[import-not-found]

CONNECTS = 200
AT_ONCE = 20

WORK = {
    "between the 101 and letting go of Hypercorn": """
from quart.wrappers import Websocket
accept = Websocket.accept
async def accept_slowly(self, *args, **kwargs):
    await accept(self, *args, **kwargs)
    await trio.sleep(0.05)
Websocket.accept = accept_slowly
""",
    "between letting go of Hypercorn and the engine": """
from greenroom.http.ws import route
adopt = route.adopt
async def adopt_slowly(*args, **kwargs):
    adopted = await adopt(*args, **kwargs)
    await trio.sleep(0.05)
    return adopted
route.adopt = adopt_slowly
""",
    "of the whole process, which does nothing else": """
import time
from quart.wrappers import Websocket
accept = Websocket.accept
async def accept_slowly(self, *args, **kwargs):
    await accept(self, *args, **kwargs)
    time.sleep(0.05)
    await trio.lowlevel.checkpoint()
Websocket.accept = accept_slowly
""",
}
START = """
import runpy, sys, trio, trio.lowlevel
{work}
sys.argv = ["greenroom", "serve"]
runpy.run_module("greenroom", run_name="__main__")
"""


class SlowServer(ServerProcess):
    """A greenroom with work to do at the wrong moment."""

    def __init__(self, work: str) -> None:
        super().__init__()
        self._work = work

    def _command(self) -> list[str]:
        return [sys.executable, "-c", START.format(work=self._work)]


@pytest.mark.parametrize(
    "work",
    [*list(WORK)[:2], pytest.param(list(WORK)[2], marks=pytest.mark.slow(seconds=40))],
    ids=lambda work: work[:14],
)
async def test_a_frame_on_receipt_of_the_101_and_one_in_the_segment_of_the_request_are_answered(work):
    with SlowServer(WORK[work]) as server:
        await trio.to_thread.run_sync(server.start)
        await server.make_people(1)
        unanswered, waited = [], []

        async def connect(number, limit):
            async with limit:
                protocol, is_early = (V1, None)[number % 2], number % 4 < 2
                said = frame(f'{{"type":"ping","id":"{number}"}}' if protocol else '{"type":"ping","timestamp":"x"}')
                asked_at = trio.current_time()  # a busy client reads the 101 late: the work would be half over
                sock = await Socket.open(nursery, server, 1, protocol=protocol, early=said if is_early else b"")
                if not is_early:
                    await sock.send_bytes(said)
                try:
                    await wait_until(lambda: not sock.of("pong") and f"the pong; closed with {sock.close_code}", 5)
                except AssertionError as error:
                    unanswered.append((number, protocol, is_early, str(error)))
                waited.append(trio.current_time() - asked_at)
                sock.cut()

        async with open_sockets() as nursery:
            limit = trio.CapacityLimiter(AT_ONCE)
            async with trio.open_nursery() as connects:
                for number in range(CONNECTS):
                    connects.start_soon(connect, number, limit)
        assert not unanswered, f"{len(unanswered)} of {CONNECTS}: {unanswered[:3]}"
        assert not server.faults(), server.faults()[0]
        assert len(waited) == CONNECTS
        assert min(waited) > 0.04, "the work was not done where it should have been"
