"""One client under test: a driver process, asked over its line protocol (docs/clients.md, "The driver")."""

import json
import os
import subprocess
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from typing import Any, Final

import trio

ANSWER_SECONDS_MAX: Final = 60.0
QUIT_SECONDS_MAX: Final = 10.0


class Failed(Exception):
    """The client said no."""

    def __init__(self, answer: dict[str, Any]) -> None:
        super().__init__(f"{answer['failed']}: {answer['why']}")
        self.code = answer["code"]


class Person:
    """user_id and what they have said in each room, as it should be stored. Made by `open_person`."""

    def __init__(self, process: trio.Process, user_id: int, name: str, token: Callable[[], str]) -> None:
        self.user_id = user_id
        self.name = name
        self.tokens_asked = 0
        self.said: dict[int, list[tuple[str, str]]] = {}  # room: (client id, body)
        self._process = process
        self._token = token
        self._saying = trio.Lock()
        self._serial = 0
        self._has_ended = False
        self._answers: dict[int, tuple[trio.Event, list[dict[str, Any]]]] = {}

    async def join(self, room: int, recent: int = 0) -> None:
        await self.ask("join", room=room, recent=recent)

    async def send(self, room: int, bodies: list[str], client_ids: list[str] | None = None) -> None:
        """Say all of them; they are stored when the client gets them through. client_ids: of each, else the client's.

        Raises: Failed, when the client refuses one.
        """
        given = {} if client_ids is None else {"clientIds": client_ids}
        answer = await self.ask("send", room=room, bodies=bodies, **given)
        self.said.setdefault(room, []).extend(zip(answer["clientIds"], bodies, strict=True))

    async def send_files(self, room: int, body: str, keys: list[str], **details: Any) -> None:
        """Say one thing, with files, and with what else is to be said of it."""
        answer = await self.ask("send", room=room, bodies=[body], attachments=keys, details=details)
        self.said.setdefault(room, []).append((answer["clientIds"][0], body))

    async def watch(self, *people: int) -> list[int] | None:
        """Watch these; who is refused, None when a later call has taken this one's place. Raises: Failed."""
        answer = await self.ask("watch", people=people)
        refused: list[int] | None = answer["refused"]
        return refused

    async def request(self, kind: str, room: int | None = None, **data: Any) -> dict[str, Any]:
        """Any other command; the data of its answer. Raises: Failed; with code 0 when the connection was lost."""
        answer = await self.ask("request", type=kind, data=data, **({} if room is None else {"room": room}))
        told: dict[str, Any] = answer["data"]
        return told

    async def read(self, room: int, seq: int) -> None:
        """Move the marker; lost when there is no connection."""
        await self.ask("read", room=room, seq=seq)

    async def wait_sent(self) -> None:
        await self.ask("wait_sent")

    async def report(self, room: int | None = None) -> dict[str, Any]:
        """What the client has told; without a room nothing of any room's log."""
        return await self.ask("report", **({} if room is None else {"room": room}))

    async def ask(self, what: str, **fields: Any) -> dict[str, Any]:
        """The answer to one command. Raises: Failed."""
        self._serial += 1
        arrived, box = self._answers[self._serial] = trio.Event(), []
        with suppress(trio.BrokenResourceError):  # it has ended, which `listen` notices
            await self._say({"id": self._serial, "do": what, **fields})
        if self._has_ended:
            arrived.set()
        with trio.move_on_after(ANSWER_SECONDS_MAX):
            await arrived.wait()
        assert box or not self._has_ended, f"the program of {self.name} ended before it answered to {what}"
        assert box, f"{self.name} has no answer to {what} after {ANSWER_SECONDS_MAX:g} s"
        if "failed" in box[0]:
            raise Failed(box[0])
        return box[0]

    async def listen(self) -> None:
        """Take what the driver says, until its output ends."""
        buffer = b""
        assert self._process.stdout is not None
        async for data in self._process.stdout:
            *lines, buffer = (buffer + data).split(b"\n")
            for line in lines:
                await self._heard(json.loads(line))
        self._has_ended = True
        for arrived, _ in self._answers.values():
            arrived.set()

    async def _heard(self, told: dict[str, Any]) -> None:
        if told.get("ask") == "token":
            self.tokens_asked += 1
            await self._say({"token": self._token()})
        else:
            arrived, box = self._answers.pop(told["id"])
            box.append(told)
            arrived.set()

    async def _say(self, what: dict[str, Any]) -> None:
        assert self._process.stdin is not None
        async with self._saying:
            await self._process.stdin.send_all(json.dumps(what).encode() + b"\n")


@asynccontextmanager
async def open_person(
    command: list[str], url: str, user_id: int, name: str, token: Callable[[], str]
) -> AsyncIterator[Person]:
    """Run a driver while the block lasts. It must leave in order, with exit code 0, when it is told to quit."""
    process = await trio.lowlevel.open_process(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env={**os.environ, "GREENROOM_URL": url}
    )
    person = Person(process, user_id, name, token)
    try:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(person.listen)
            yield person
            await person.ask("quit")
            with trio.fail_after(QUIT_SECONDS_MAX):
                assert await process.wait() == 0, f"{name} ended with {process.returncode}"
            nursery.cancel_scope.cancel(reason="the driver has ended")
    finally:
        if process.poll() is None:
            process.kill()
        with trio.CancelScope(shield=True):
            await process.wait()
