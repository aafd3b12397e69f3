"""The Python client behind the line protocol of the conformance script (docs/clients.md, "The driver").

GREENROOM_URL names the server. One JSON object a line: commands come in on stdin, answers go out on stdout.
"""

import json
import os
import sys
from typing import Any

import trio

from greenroom.client import (
    CaughtUp,
    Changed,
    Client,
    ClientRefused,
    Confirmed,
    Connected,
    Disconnected,
    Member,
    Missed,
    Other,
    Personal,
    Refused,
    Replaced,
    Said,
    ServerAway,
    Undelivered,
    Watched,
    open_client,
)


class Driver:
    """What the client has told, and what the script asks."""

    def __init__(self) -> None:
        self.asked_for: list[tuple[trio.Event, list[str]]] = []
        self.logs: dict[int, list[list[Any]]] = {}
        self.states: dict[int, dict[int, list[Any]]] = {}  # room: seq: [names of files, is edited, is deleted, details]
        self.report: dict[str, Any] = {
            "confirmed": {},
            "undelivered": {},
            "changes": [],
            "members": [],
            "personal": [],
            "missed": [],
            "caughtUp": [],
            "watched": None,
            "other": [],
            "connects": 0,
            "closes": [],
            "expected": [],
            "replaced": 0,
            "ended": None,
        }

    async def token(self) -> str:
        """Ask the script for one."""
        arrived, box = trio.Event(), list[str]()
        self.asked_for.append((arrived, box))
        say({"ask": "token"})
        await arrived.wait()
        return box[0]

    async def listen(self, client: Client) -> None:
        async for event in client.events:
            match event:
                case Said() | Changed() | Replaced() | CaughtUp():
                    self._heard_in_room(event)
                case Member():
                    self.report["members"].append([event.room_id, event.seq, event.user_id, event.is_active])
                case Connected():
                    self.report["connects"] += 1
                case Disconnected():
                    self.report["closes"].append(event.code)
                    self.report["expected"].append(event.is_expected)
                case Confirmed():
                    self.report["confirmed"][event.client_id] = event.seq
                case Undelivered():
                    self.report["undelivered"][event.client_id] = event.code
                case Personal():
                    self.report["personal"].append([event.useq, event.what, event.room_id])
                case Missed():
                    self.report["missed"].append([event.first_useq, event.last_useq])
                case Watched():
                    self.report["watched"] = sorted([person.user_id, person.status] for person in event.people)
                case Other():
                    self.report["other"].append([event.what, event.room_id])

    def _heard_in_room(self, event: Said | Changed | Replaced | CaughtUp) -> None:
        match event:
            case Said():
                entry = [event.seq, event.sender_id, event.client_id, event.body]
                self.logs.setdefault(event.room_id, []).append(entry)
                files = [file["originalName"] for file in event.attachments]
                state = [files, event.edited_at_ms is not None and not event.is_deleted, event.is_deleted]
                state.append(dict(event.details))
                self.states.setdefault(event.room_id, {})[event.seq] = state
            case Changed():
                self.report["changes"].append([event.room_id, event.seq, event.of])
                for entry in self.logs.get(event.room_id, []):
                    if entry[0] == event.of:
                        entry[3] = event.body or ""
                        self._stand(event)
            case CaughtUp():
                self.report["caughtUp"].append([event.room_id, len(self.logs.get(event.room_id, []))])
            case Replaced():
                self.report["replaced"] += 1
                self.logs[event.room_id] = []
                self.states.pop(event.room_id, None)

    def _stand(self, event: Changed) -> None:
        """How the message stands from here on: what is deleted has no files, and no details."""
        state = self.states[event.room_id][event.of]
        state[:] = [[], False, True, {}] if event.body is None else [state[0], True, False, state[3]]

    async def act(self, client: Client | None, command: dict[str, Any]) -> None:
        what, answer = command["do"], dict[str, Any]()
        try:
            if what == "report":
                answer = self._report(client, command.get("room"))
            elif client is None:
                raise Refused(self.report["ended"], "the client has ended")
            elif what == "join":
                await client.join(command["room"], recent=command.get("recent", 0))
            elif what == "send":
                answer = {"clientIds": self._send(client, **command)}
            elif what == "request":
                answer = {"data": await client.request(command["type"], command.get("room"), command.get("data"))}
            elif what == "watch":
                answer = {"refused": await client.watch(command["people"])}
            elif what == "read":
                client.read(command["room"], command["seq"])
            elif what == "wait_sent":
                await client.wait_sent()
        except (Refused, ServerAway, ValueError) as fault:
            say({"id": command["id"], "failed": what, "code": getattr(fault, "code", 0), "why": str(fault)})
        else:
            say({"id": command["id"], "did": what, **answer})

    def _send(self, client: Client, room: int, bodies: list[str], **given: Any) -> list[str]:
        """Files and details are of the first. Of no bodies nothing is sent."""
        client_ids = given.get("clientIds", [None] * len(bodies))
        first = {"attachments": given.get("attachments", ()), "details": given.get("details")}
        lines = enumerate(zip(bodies, client_ids, strict=True))
        return [client.send(room, body, client_id=id_, **({} if at else first)) for at, (body, id_) in lines]

    def _report(self, client: Client | None, room_id: int | None) -> dict[str, Any]:
        here = client.here(room_id) if client is not None and room_id is not None else None
        return self.report | {
            "log": [] if room_id is None else self.logs.get(room_id, []),
            "states": self._states(room_id),
            "here": None if here is None else sorted(here),
            "unsent": client.unsent if client is not None else 0,
            "isConnected": client is not None and client.is_connected,
        }

    def _states(self, room_id: int | None) -> list[list[Any]]:
        states = {} if room_id is None else self.states.get(room_id, {})
        return [[seq, *state] for seq, state in sorted(states.items()) if any(state)]

    async def run(self) -> None:
        """Serve the script until it says quit; when the server refuses the client, reports are still answered."""
        send, commands = trio.open_memory_channel[dict[str, Any]](1000)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._read, send)
            try:
                async with (
                    open_client(os.environ["GREENROOM_URL"], self.token, device="driver") as client,
                    trio.open_nursery() as work,
                ):
                    work.start_soon(self.listen, client)
                    async for command in commands:
                        if command["do"] == "quit":
                            break
                        work.start_soon(self.act, client, command)
                    work.cancel_scope.cancel(reason="the script is done")
            except ClientRefused as refused:
                self.report["ended"] = refused.code
                async for command in commands:
                    if command["do"] == "quit":
                        break
                    await self.act(None, command)
            say({"id": command["id"], "did": "quit"})
            nursery.cancel_scope.cancel(reason="the script is done")

    async def _read(self, commands: trio.MemorySendChannel[dict[str, Any]]) -> None:
        while line := await trio.to_thread.run_sync(sys.stdin.readline, abandon_on_cancel=True):
            command = json.loads(line)
            if "token" in command:
                arrived, box = self.asked_for.pop(0)
                box.append(command["token"])
                arrived.set()
            else:
                await commands.send(command)
        await commands.send({"id": 0, "do": "quit"})


def say(answer: dict[str, Any]) -> None:
    print(json.dumps(answer), flush=True)


trio.run(Driver().run)
