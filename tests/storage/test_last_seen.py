"""When users were last seen: written in batches, and read as it is, whatever is being written."""

import trio

from greenroom.storage.postgres.last_seen import LastSeen, Seen


async def test_who_has_gone_is_seen_before_while_and_after_that_is_written(house, monkeypatch):
    await house.people(1)
    postgres = house.house.storage.postgres
    last_seen, execute = LastSeen(postgres), postgres.execute
    await execute("insert_node_run", last_seen._run_id)
    is_writing, may_write = trio.Event(), trio.Event()

    async def held(name, *arguments):
        is_writing.set()
        await may_write.wait()
        await execute(name, *arguments)

    monkeypatch.setattr(postgres, "execute", held)
    gone = {1: Seen("user-1", 1_700_000_000_000)}
    last_seen.put(1, is_online=False, at_ms=1_700_000_000_000)
    assert await last_seen.of([1]) == gone
    async with trio.open_nursery() as nursery:
        nursery.start_soon(last_seen.flush)
        await is_writing.wait()
        assert await last_seen.of([1]) == gone
        may_write.set()
    assert await last_seen.of([1]) == gone


async def test_who_reads_while_a_batch_is_stored_reads_no_older_one(house, monkeypatch):
    """The rows are of before, and the batch is stored by the time they are here."""
    await house.people(1)
    postgres = house.house.storage.postgres
    last_seen, fetch = LastSeen(postgres), postgres.fetch
    await postgres.execute("insert_node_run", last_seen._run_id)

    async def slow(name, *arguments):
        rows = await fetch(name, *arguments)
        await last_seen.flush()
        return rows

    monkeypatch.setattr(postgres, "fetch", slow)
    last_seen.put(1, is_online=False, at_ms=1_700_000_000_000)
    assert await last_seen.of([1]) == {1: Seen("user-1", 1_700_000_000_000)}


async def test_who_was_never_here_has_a_name_and_no_time(house):
    await house.people(1, 2)
    await house.conversation(1, 2)
    last_seen = LastSeen(house.house.storage.postgres)
    assert await last_seen.of([2, 99]) == await last_seen.seen_by(1, [2, 99]) == {2: Seen("user-2", None)}
