"""The control socket: real sockets, a real client in a thread, and a system on memory storage."""

import json
import os
import socket
import stat
import subprocess
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import pytest
import structlog
import trio
from trio.testing import wait_all_tasks_blocked

from greenroom.control.client import Running, connect
from greenroom.control.console import console_operation
from greenroom.control.errors import ControlError, NoAnswer, NothingRuns, OtherProtocol, Refused
from greenroom.control.operations import operations_of
from greenroom.control.protocol import LINE_BYTES_MAX
from greenroom.control.server import CONNECTIONS_MAX, open_control
from greenroom.runtime import Actor, ActorSystem, Command, Kind, handles, open_system
from greenroom.runtime.testing import MemoryCommitter

T = TypeVar("T")

UNTIL_CANCELLED = "seen['began'] = True\ntry:\n    await trio.sleep_forever()\nfinally:\n    seen['ended'] = True\n"


@dataclass(frozen=True, slots=True)
class Note(Command[int]):
    secret: str = "nobody may read this"


class Room(Actor):
    @handles(Note)
    def note(self, _: Note) -> int:
        return 1


class Door(Actor):
    """Its key is a text of digits."""

    @handles(Note)
    def note(self, _: Note) -> int:
        raise ValueError("on purpose")


@dataclass
class House:
    system: ActorSystem
    directory: Path
    is_served: bool
    seen: dict[str, Any] = field(default_factory=dict)

    async def with_client(self, use: Callable[[Running], T]) -> T:
        """What *use* returns, in a thread of its own."""

        def run() -> T:
            with connect(self.directory) as running:
                return use(running)

        return await trio.to_thread.run_sync(run)

    async def ask(self, do: str, **arguments: Any) -> Any:
        return await self.with_client(lambda running: running.ask(do, **arguments))


@asynccontextmanager
async def open_house(directory: Path) -> AsyncIterator[House]:
    committer, seen = MemoryCommitter(), {}
    async with trio.open_nursery() as nursery:
        nursery.start_soon(committer.run)
        kinds = [Kind("room", lambda _: Room()), Kind("door", lambda _: Door())]
        async with open_system(kinds, committer=committer, alarms=committer.alarms) as system:
            names = {"system": system, "seen": seen}
            made = lambda: {**operations_of(system), "attach": console_operation(names, None)}  # noqa: E731
            async with open_control(directory, made) as is_served:
                yield House(system, directory, is_served, seen)
        nursery.cancel_scope.cancel()


@pytest.fixture
def directory(open_folder: Path) -> Path:
    return open_folder


async def in_thread(fn: Callable[..., T], *args: object) -> T:
    """What *fn* returns. What it has written to a socket was heard by the server, as far as that waits for nothing."""
    found = await trio.to_thread.run_sync(partial(fn, *args))
    await wait_all_tasks_blocked()
    return found


async def test_the_tree_the_top_and_pages_can_be_asked_for(directory: Path):
    async with open_house(directory) as house:
        for key in range(5):
            await house.system.ref("room", key).ask(Note(), deadline=trio.current_time() + 5)
        tree = await house.ask("tree", limit=2)
        assert tree["tree"]["name"] == "system"
        room = tree["tree"]["children"][0]
        assert (room["name"], room["counts"]["loaded"], len(room["actors"]), room["has_more"]) == ("room", 5, 2, True)
        page = await house.ask("actors", kind="room", after="room/2", limit=10)
        assert [actor["address"] for actor in page["actors"]] == ["room/3", "room/4"]
        top = await house.ask("top", by="turns", seconds=0.1)
        assert (top["by"], top["cells"], top["system"]["storage_is_away"]) == ("turns", 5, False)
        assert set(top["system"]["alarms"]) == {"armed", "due", "asked", "postponed", "fired", "failed", "put_off"}


async def test_a_trace_comes_bit_by_bit_and_shows_no_values(directory: Path):
    async with open_house(directory) as house:
        with await in_thread(connect, directory) as running:
            items = await in_thread(partial(running.follow, "trace", address="room/7", seconds=2))
            await house.system.ref("room", 7).ask(Note(), deadline=trio.current_time() + 5)
            entries = await in_thread(list, items)
        assert [(entry["command"], entry["outcome"]) for entry in entries] == [("Note", "handled")]
        assert "nobody may read this" not in json.dumps(entries)


async def test_a_trace_ends_when_its_client_goes(directory: Path):
    async with open_house(directory) as house:
        running = await in_thread(connect, directory)
        await in_thread(partial(running.follow, "trace", address="room/7", seconds=3000))
        [cell] = house.system.activations.values()
        assert cell.gauges.trace is not None
        await in_thread(running._door.close)
        assert cell.gauges.trace is None


async def test_dead_letters_can_be_read(directory: Path):
    async with open_house(directory) as house:
        house.system.ref("door", "17").tell(Note())
        await wait_all_tasks_blocked()
        found = await house.ask("dead_letters")
        assert found["counts"] == {"crashed": 1}
        [letter] = found["newest"]["crashed"]
        assert (letter["to"], letter["command"], letter["reason"]) == ('door/"17"', "Note", "crashed")


@pytest.mark.parametrize(
    ("do", "arguments", "told"),
    [
        ("fly", {}, "there is no 'fly': this greenroom knows tree, actors, top"),
        ("tree", {"limit": -1}, "limit: Input should be greater than or equal to 0"),
        ("tree", {"colour": "red"}, "colour: Extra inputs are not permitted"),
        ("tree", {"kind": "nobody"}, "no kind named 'nobody'"),
        ("top", {"by": "size"}, "ranked by busy, turns"),
        ("top", {"seconds": 1e9}, "seconds: Input should be less than or equal to 60"),
        ("trace", {"address": "room"}, "an address is a kind and a key"),
        ("trace", {"address": "nobody/1"}, "no kind named 'nobody'"),
        ("actors", {}, "kind: Field required"),
    ],
)
async def test_bad_questions_are_told_and_the_next_is_answered(directory: Path, do: str, arguments: dict, told: str):
    async with open_house(directory) as house:

        def use(running: Running) -> None:
            with pytest.raises(Refused) as caught:
                running.ask(do, **arguments)
            assert told in str(caught.value)
            assert "tree" in running.ask("tree")

        await house.with_client(use)


@pytest.mark.parametrize("line", [b"hello\n", b"GET / HTTP/1.1\r\n\r\n", b"x" * (LINE_BYTES_MAX + 10)])
async def test_what_is_no_request_ends_the_connection_and_nothing_else(directory: Path, line: bytes):
    async with open_house(directory) as house:

        def talk() -> bytes:
            with socket.socket(socket.AF_UNIX) as door:
                door.settimeout(10)
                door.connect(str(directory / "control" / "socket"))
                said = door.recv(4096)
                with suppress(BrokenPipeError, ConnectionResetError):
                    door.sendall(line)
                with suppress(ConnectionResetError):
                    while data := door.recv(4096):
                        said += data
                return said

        said = (await trio.to_thread.run_sync(talk)).splitlines()
        assert json.loads(said[0])["protocol"] == 1
        if len(said) > 1:  # the kernel may drop it when the server hangs up on what it has not read
            assert "a request is" in said[1].decode() or "a line is at most" in said[1].decode()
        assert "tree" in await house.ask("tree")


async def test_one_request_at_a_time(directory: Path):
    async with open_house(directory) as house:

        def use(running: Running) -> None:
            running._begin("attach", {"source": "await trio.sleep_forever()"})
            with pytest.raises(Refused, match="one request at a time"):
                running.ask("tree")

        await house.with_client(use)


async def test_a_statement_is_cancelled_by_its_client_which_goes_on(directory: Path):
    async with open_house(directory) as house:
        with await in_thread(connect, directory) as running:
            await in_thread(running._begin, "attach", {"source": UNTIL_CANCELLED})
            assert house.seen == {"began": True}
            await in_thread(running.cancel)
            assert house.seen == {"began": True, "ended": True}
            assert await in_thread(partial(running.ask, "attach", source="1 + 1")) == "2\n"


async def test_a_client_that_dies_takes_its_statement_with_it_and_nothing_else(directory: Path):
    async with open_house(directory) as house:
        running = await in_thread(connect, directory)
        await in_thread(running._begin, "attach", {"source": UNTIL_CANCELLED})
        assert house.seen == {"began": True}
        await in_thread(running._door.close)
        assert house.seen == {"began": True, "ended": True}
        assert await house.ask("attach", source="system.is_stopped") == "False\n"


async def test_so_many_may_look_and_no_more(directory: Path):
    async with open_house(directory) as house:
        others = [await in_thread(connect, directory) for _ in range(CONNECTIONS_MAX)]
        with pytest.raises(Refused, match=f"{CONNECTIONS_MAX} others look into this greenroom already"):
            await house.ask("tree")
        await in_thread(others[0]._door.close)
        assert "tree" in await house.ask("tree")
        for other in others[1:]:
            await in_thread(other._door.close)


# -- who may come in, and where it stands --------------------------------------------------------------------------


async def test_the_socket_is_for_our_user_alone_and_goes_with_the_server(directory: Path):
    async with open_house(directory):
        path = directory / "control" / "socket"
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    assert not path.exists()
    with pytest.raises(NothingRuns, match="no greenroom runs with the data in"):
        connect(directory)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")
async def test_whoever_gets_past_the_folder_is_asked_by_the_kernel_who_they_are(directory: Path):
    async with open_house(directory):
        path = directory / "control" / "socket"
        stranger = f"""
import socket
door = socket.socket(socket.AF_UNIX)
door.settimeout(10)
door.connect({str(path)!r})
said = b""
while data := door.recv(4096):
    said += data
print(said.decode().splitlines()[1])
"""
        run = partial(
            subprocess.run, ["/usr/bin/env", "python3", "-c", stranger], user=65534, group=65534, extra_groups=[],
            capture_output=True, text=True,
        )  # fmt: skip
        done = await trio.to_thread.run_sync(run)
        assert "PermissionError" in done.stderr
        path.parent.chmod(0o755)
        path.chmod(0o666)
        done = await trio.to_thread.run_sync(run)
        assert "only the user that greenroom runs as, and root" in done.stdout, done.stderr


async def test_a_socket_that_a_killed_process_left_is_replaced(directory: Path):
    (directory / "control").mkdir(mode=0o700)
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(directory / "control" / "socket"))
        dead.listen()
    with pytest.raises(NothingRuns):
        connect(directory)
    async with open_house(directory) as house:
        assert house.is_served
        assert "tree" in await house.ask("tree")


async def test_a_second_greenroom_leaves_the_socket_to_the_first_and_runs(directory: Path):
    with structlog.testing.capture_logs() as logs:
        async with open_house(directory) as first:
            await first.system.ref("room", 1).ask(Note(), deadline=trio.current_time() + 5)
            async with open_house(directory) as second:
                assert not second.is_served
                await second.system.ref("room", 1).ask(Note(), deadline=trio.current_time() + 5)
            assert (await first.ask("tree"))["system"]["cells"] == 1
    assert [entry["event"] for entry in logs] == ["control.taken"]


async def test_a_folder_that_cannot_be_had_does_not_keep_greenroom_from_running(directory: Path):
    elsewhere = directory / "elsewhere"
    elsewhere.mkdir()
    elsewhere.chmod(0o755)
    (directory / "control").symlink_to(elsewhere)
    with structlog.testing.capture_logs() as logs:
        async with open_house(directory) as house:
            assert not house.is_served
    assert [entry["event"] for entry in logs] == ["control.not_served"]
    assert stat.S_IMODE(elsewhere.stat().st_mode) == 0o755


async def test_a_path_that_is_too_long_for_a_socket_is_reached_through_a_link(directory: Path):
    long = directory / ("long" * 30)
    long.mkdir()
    async with open_house(long) as house:
        link = long / "control" / "socket"
        assert link.is_symlink()
        assert len(os.fsencode(link.readlink())) < 100
        assert "tree" in await house.ask("tree")
        short = link.readlink()
    assert not link.is_symlink()
    assert not short.parent.exists()


async def test_what_the_house_raises_goes_through(directory: Path):
    with pytest.RaisesGroup(OSError, flatten_subgroups=True):
        async with open_control(directory, dict):
            raise OSError("of the house")
    assert not (directory / "control" / "socket").exists()


# -- servers that are none ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("hello", "error", "told"),
    [
        (b'{"greenroom": "9.0", "protocol": 2, "pid": 1}\n', OtherProtocol, "greenroom 9.0 runs there"),
        (b"SSH-2.0\n", OtherProtocol, "no greenroom"),
        (b"[]\n", OtherProtocol, "no greenroom"),
        (b"", NoAnswer, "has gone"),
    ],
)
def test_what_answers_otherwise_is_told(directory: Path, hello: bytes, error: type[ControlError], told: str):
    (directory / "control").mkdir(mode=0o700)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(directory / "control" / "socket"))
        listener.listen()

        def serve() -> None:
            connection, _ = listener.accept()
            with connection:
                connection.sendall(hello)

        server = threading.Thread(target=serve)
        server.start()
        with pytest.raises(error, match=told):
            connect(directory)
        server.join()


def test_one_that_is_silent_is_given_up(directory: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("greenroom.control.client.ANSWER_SECONDS_MAX", 0.05)
    (directory / "control").mkdir(mode=0o700)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(directory / "control" / "socket"))
        listener.listen()
        with pytest.raises(NoAnswer, match=r"loop\.held"):
            connect(directory)
