"""greenroom's side of the scenario `commit`: actors whose messages are stored, through its own committer."""

import itertools
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import trio

from greenroom.runtime import Actor, Command, Kind, Ref, handles, open_system

WRITERS = 200


async def commit(scale: float) -> dict[str, float]:
    """200 actors, one write under way in each, on greenroom's own committer and PostgreSQL, fsync on."""
    from greenroom.storage.asyncio_bridge import open_asyncio_bridge
    from greenroom.storage.postgres.committer import PostgresCommitter
    from greenroom.storage.postgres.conversations import Conversations
    from greenroom.storage.postgres.embedded import open_embedded
    from greenroom.storage.postgres.ids import user_ids
    from greenroom.storage.postgres.migrate import apply_migrations
    from greenroom.storage.postgres.new_conversation import NewConversation
    from greenroom.storage.postgres.pool import open_postgres
    from greenroom.storage.postgres.users import UserChange, Users
    from greenroom.storage.writes import InsertMessage

    @dataclass(frozen=True, slots=True)
    class Post(Command[int]):
        content: str

    ids = itertools.count(1)

    class Room(Actor):
        def __init__(self, key: int | str) -> None:
            assert isinstance(key, int)
            self.key, self.seq = key, 0

        @handles(Post)
        def post(self, command: Post) -> int:
            seq, content = self.seq + 1, command.content
            digest = content[:16].encode()
            self.ctx.write(InsertMessage(next(ids), self.key, seq, 1, None, content, digest, self.ctx.now_ms()))
            self.seq = seq
            return seq

    latencies: list[float] = []
    rooms = range(1, WRITERS + 1)
    with tempfile.TemporaryDirectory(prefix="greenroom-bench-commit-", dir="/var/tmp") as folder:
        Path(folder).chmod(0o755)  # noqa: ASYNC240 (PostgreSQL may run as a user of its own)
        async with (
            open_embedded(Path(folder) / "data") as server,
            open_asyncio_bridge() as bridge,
            open_postgres(bridge, dict(server.address.connect_arguments())) as postgres,
            trio.open_nursery() as nursery,
        ):
            await apply_migrations(postgres)
            await Users(postgres, user_ids(postgres)).put(1, UserChange(name="one"))
            conversations = Conversations(postgres)
            for room in rooms:
                await conversations.create(NewConversation(room, 1, (), True, False, "", 0))
            committer = PostgresCommitter(postgres)
            nursery.start_soon(committer.run)
            async with open_system([Kind("room", Room, ownership="existing")], committer=committer) as system:
                errors: list[BaseException] = []
                refs, is_measured, goes_on = [system.ref("room", room) for room in rooms], False, True
                in_flight, quiet, post = 0, trio.Event(), Post("x" * 100)

                def send(ref: Ref) -> None:
                    nonlocal in_flight
                    began = time.perf_counter()

                    def stored(_: int | None, error: BaseException | None) -> None:
                        nonlocal in_flight
                        in_flight -= 1
                        if error is not None:
                            errors.append(error)
                        elif is_measured:
                            latencies.append(time.perf_counter() - began)
                        if goes_on and not errors:
                            send(ref)
                        elif not in_flight:
                            quiet.set()

                    in_flight += 1
                    ref.request(post, stored, deadline=trio.current_time() + 30)

                for ref in refs:
                    send(ref)
                await trio.sleep(2)  # PostgreSQL's plans are renewed, its files have grown
                seconds, is_measured = 10 * scale, True
                began = time.perf_counter()
                await trio.sleep(seconds)
                is_measured, seconds = False, time.perf_counter() - began
                goes_on = False
                await quiet.wait()
                assert not errors, errors[0]
            stored_count = await postgres.transaction(lambda c: c.fetchval("select count(*) from messages"))
            assert stored_count == committer.statistics().committed >= len(latencies), "acknowledged and not stored"
            nursery.cancel_scope.cancel()
    latencies.sort()
    return {
        "per_second": len(latencies) / seconds,
        "p50_ms": 1000 * latencies[len(latencies) // 2],
        "p99_ms": 1000 * latencies[int(len(latencies) * 0.99)],
    }
