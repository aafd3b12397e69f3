"""Kill -9 in the middle of it all: acknowledged e-mails survive, and none is sent twice.

A process of its own posts mails and prints each id when it is acknowledged; it is killed at a moment that nobody
chose, several times; then another owner takes over, and provider, outbox and acknowledgements are laid side by side.
"""

import json
import random
import runpy
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import trio

house = runpy.run_path(str(Path(__file__).parent / "test_provider_queue.py"))
open_house, hosted, open_fake_sendgrid = house["open_house"], house["hosted"], house["open_fake_sendgrid"]

KILLS = 4
FAULTS = ("202", "202", "slow:0.02", "503", "accept_then_reset", "slow:0.05")


async def acknowledged_until_killed(database, folder, fake, count):
    """The ids that a process acknowledged before it was killed, after *count* of them."""
    arguments = json.dumps({"connect": database.connect_arguments(), "folder": str(folder), "port": fake.port})
    process = await trio.lowlevel.open_process([sys.executable, __file__, arguments], stdout=subprocess.PIPE)
    received = b""
    with trio.fail_after(60):
        while received.count(b"\n") < count:
            part = await process.stdout.receive_some()
            assert part, "the process ended by itself"
            received += part
    process.kill()
    while part := await process.stdout.receive_some():
        received += part
    await process.wait()
    return [line.decode() for line in received.split(b"\n")[:-1]]


async def test_acknowledged_mails_survive_kill_9_and_none_is_sent_twice(database, tmp_path, seed):
    chance = random.Random(seed)
    async with open_fake_sendgrid() as fake:
        acknowledged = []
        for _ in range(KILLS):
            fake.script.extend(chance.choices(FAULTS, k=200))
            acknowledged += await acknowledged_until_killed(database, tmp_path, fake, chance.randint(10, 40))
            fake.script.clear()
        async with open_house(database, hosted(tmp_path, fake)) as running:
            stories = {}
            with trio.fail_after(30):
                while any(stories.get(email_id) not in ("sent", "unknown") for email_id in acknowledged):
                    for email_id in acknowledged:
                        stories[email_id] = (await running.story(email_id))["status"]
    taken = fake.accepted_by_email()
    assert max(taken.values()) == 1
    assert [email_id for email_id in acknowledged if stories[email_id] == "sent" and taken[email_id] != 1] == []
    assert "sent" in stories.values()


async def _post_for_ever(arguments):
    given = json.loads(arguments)
    database = SimpleNamespace(connect_arguments=lambda: given["connect"])
    fake = SimpleNamespace(key="SG.fake", url=f"http://127.0.0.1:{given['port']}")
    async with open_house(database, hosted(Path(given["folder"]), fake)) as running:
        while True:
            print(await running.post(), flush=True)


if __name__ == "__main__":
    trio.run(_post_for_ever, sys.argv[1])
