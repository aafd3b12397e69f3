"""The committer against a real PostgreSQL: what one actor brings may hurt only that actor."""

from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import asyncpg
import pytest
import trio

from greenroom.runtime import Actor, Command, Kind, StorageUnavailable, handles, open_system
from greenroom.runtime.address import Address
from greenroom.runtime.ports import CommitOutcome
from greenroom.storage.asyncio_bridge import open_asyncio_bridge
from greenroom.storage.postgres import committer as committer_module
from greenroom.storage.postgres.committer import PostgresCommitter
from greenroom.storage.postgres.conversations import Conversations
from greenroom.storage.postgres.ids import user_ids
from greenroom.storage.postgres.new_conversation import NewConversation
from greenroom.storage.postgres.pool import Postgres, open_postgres
from greenroom.storage.postgres.users import UserChange, Users
from greenroom.storage.writes import AdvanceMarker, InsertMessage, PutParticipant

COMMITTED, DUPLICATE = CommitOutcome.COMMITTED, CommitOutcome.DUPLICATE
FENCED, REFUSED = CommitOutcome.FENCED, CommitOutcome.REFUSED
UNAVAILABLE = CommitOutcome.UNAVAILABLE
USERS = (1, 2, 3)


@dataclass
class Unit:
    """A commit unit that remembers what became of it."""

    address: Address
    token: int
    writes: list
    order: list = field(default_factory=list)
    outcome: CommitOutcome | None = None
    is_void: bool = False

    def settle(self, outcome):
        assert self.outcome is None, "settled twice"
        self.outcome = outcome
        self.order.append(self)


@dataclass
class Shop:
    """A committer, rooms 1 to 5 with their owners' tokens, and what is stored."""

    committer: PostgresCommitter
    postgres: Postgres
    tokens: dict
    order: list = field(default_factory=list)

    def unit(self, room, *writes, token=None):
        address = Address("room", room)
        return Unit(address, self.tokens[room] if token is None else token, list(writes), self.order)

    async def commit(self, *units):
        """All in one batch, then wait until each is settled; the outcomes."""
        for unit in units:
            self.committer.submit(unit)
        with trio.fail_after(10):
            while any(unit.outcome is None and not unit.is_void for unit in units):  # noqa: ASYNC110
                await trio.sleep(0.002)
        return [unit.outcome for unit in units]

    async def log(self, room):
        async def run(connection):
            return await connection.fetch(
                "select seq, content from messages where conversation_id = $1 order by seq", room
            )

        return [tuple(row) for row in await self.postgres.transaction(run)]

    async def value(self, sql, *arguments):
        async def run(connection):
            return await connection.fetchval(sql, *arguments)

        return await self.postgres.transaction(run)


@asynccontextmanager
async def open_shop(database, **server_settings):
    async with (
        open_asyncio_bridge() as bridge,
        open_postgres(bridge, {**database.connect_arguments(), "server_settings": server_settings}) as postgres,
        trio.open_nursery() as nursery,
    ):
        users, conversations = Users(postgres, user_ids(postgres)), Conversations(postgres)
        for user in USERS:
            await users.put(user, UserChange(name=str(user)))
        for room in range(1, 6):
            await conversations.create(NewConversation(room, 1, (2,), True, False, "", 0))
        committer = PostgresCommitter(postgres)
        tokens = {room: await committer.ownership.claim(Address("room", room), create=False) for room in range(1, 6)}
        nursery.start_soon(committer.run)
        yield Shop(committer, postgres, tokens)
        nursery.cancel_scope.cancel()


def message(room, seq, content="hello", *, sender=1, client_id=None, number=None):
    number = room * 100_000 + seq if number is None else number
    return InsertMessage(number, room, seq, sender, client_id, content, content.encode()[:16].ljust(16), 1000)


async def test_messages_of_many_rooms_commit_as_one_batch(database):
    async with open_shop(database) as shop:
        units = [shop.unit(room, message(room, seq)) for seq in (1, 2, 3) for room in range(1, 6)]
        assert await shop.commit(*units) == [COMMITTED] * 15
        assert shop.order == units
        assert shop.committer.statistics().batches == 1
        for room in range(1, 6):
            assert await shop.log(room) == [(1, "hello"), (2, "hello"), (3, "hello")]
            assert await shop.value("select top_seq from conversations where id = $1", room) == 3


REFUSED_WRITES = {
    "a seq that is taken": lambda: message(3, 1, number=999),
    "an id that is taken": lambda: message(3, 2, number=300_001),
    "a seq below 1": lambda: message(3, 0),
    "a member that does not exist": lambda: PutParticipant(3, 5, 777, "member", True, 1000),
    "a time beyond what is": lambda: InsertMessage(9, 3, 2, 1, None, "x", b"x" * 16, 2**62),
}


@pytest.mark.parametrize("what", REFUSED_WRITES)
async def test_a_value_that_postgresql_refuses_breaks_its_actor_and_no_other(database, what):
    async with open_shop(database) as shop:
        taken = "taken" in what
        if taken:
            assert await shop.commit(shop.unit(3, message(3, 1))) == [COMMITTED]
        good = [shop.unit(room, message(room, 1)) for room in (1, 2, 4, 5)]
        beside = shop.unit(3, message(3, 7, "the same actor's good one"))
        bad = shop.unit(3, REFUSED_WRITES[what]())
        after = [shop.unit(room, message(room, 2)) for room in (1, 5)]
        outcomes = await shop.commit(good[0], good[1], beside, bad, good[2], good[3], *after)
        assert outcomes == [COMMITTED, COMMITTED, REFUSED, REFUSED, COMMITTED, COMMITTED, COMMITTED, COMMITTED]
        assert await shop.log(3) == ([(1, "hello")] if taken else [])
        assert await shop.log(1) == await shop.log(5) == [(1, "hello"), (2, "hello")]
        assert await shop.value("select count(*) from participants where conversation_id = 3") == 2


@pytest.mark.parametrize("bad_rooms", [(1,), (5,), (1, 5), (2, 3, 4), (1, 2, 3, 4, 5)])
async def test_however_many_actors_bring_such_a_value_the_others_commit(database, bad_rooms):
    async with open_shop(database) as shop:
        units = [
            shop.unit(room, message(room, 0 if room in bad_rooms and seq == 2 else seq))
            for seq in (1, 2, 3)
            for room in range(1, 6)
        ]
        outcomes = await shop.commit(*units)
        for unit, outcome in zip(units, outcomes, strict=True):
            assert outcome is (REFUSED if unit.address.key in bad_rooms else COMMITTED)
        for room in range(1, 6):
            assert len(await shop.log(room)) == (0 if room in bad_rooms else 3)


async def test_a_fenced_actor_stores_nothing_and_the_others_commit(database):
    async with open_shop(database) as shop:
        newer = await shop.committer.ownership.claim(Address("room", 3), create=False)
        assert newer == shop.tokens[3] + 1
        stale = [shop.unit(3, message(3, seq)) for seq in (1, 2)]
        outcomes = await shop.commit(
            shop.unit(1, message(1, 1)), *stale, shop.unit(3, PutParticipant(3, 3, 3, "member", True, 1)),
            shop.unit(3, AdvanceMarker(3, 1, 1, 1)), shop.unit(5, message(5, 1)),
        )  # fmt: skip
        assert outcomes == [COMMITTED, FENCED, FENCED, FENCED, FENCED, COMMITTED]
        assert await shop.log(3) == []
        assert await shop.value("select count(*) from participants where conversation_id = 3") == 2
        assert await shop.value("select top_seq from conversations where id = 3") == 0
        assert await shop.commit(shop.unit(3, message(3, 1), token=newer)) == [COMMITTED]


async def test_a_client_id_that_exists_leaves_out_its_actor_whole_and_no_other(database):
    async with open_shop(database) as shop:
        assert await shop.commit(shop.unit(3, message(3, 1, client_id="a"))) == [COMMITTED]
        burst = [shop.unit(3, message(3, seq, client_id=str(seq))) for seq in (2, 3)]
        again = shop.unit(3, message(3, 4, client_id="a"))
        marker = shop.unit(3, AdvanceMarker(3, 2, 1, 1))
        outcomes = await shop.commit(
            shop.unit(2, message(2, 1, client_id="a")),
            *burst,
            again,
            marker,
            shop.unit(4, message(4, 1, client_id="a")),
        )
        assert outcomes == [COMMITTED, DUPLICATE, DUPLICATE, DUPLICATE, DUPLICATE, COMMITTED]
        assert await shop.log(3) == [(1, "hello")]
        assert await shop.value("select read_seq from participants where conversation_id = 3 and user_id = 2") == 0


async def test_the_same_client_id_of_two_senders_or_rooms_is_two_messages(database):
    async with open_shop(database) as shop:
        outcomes = await shop.commit(
            shop.unit(1, message(1, 1, client_id="a", sender=1)), shop.unit(1, message(1, 2, client_id="a", sender=2)),
            shop.unit(2, message(2, 1, client_id="a", sender=1)),
        )  # fmt: skip
        assert outcomes == [COMMITTED] * 3


async def test_refused_fenced_and_duplicate_in_one_batch_each_hurt_one_actor(database):
    async with open_shop(database) as shop:
        await shop.commit(shop.unit(2, message(2, 1, client_id="a")))
        await shop.committer.ownership.claim(Address("room", 3), create=False)
        outcomes = await shop.commit(
            shop.unit(1, message(1, 1)),
            shop.unit(2, message(2, 2, client_id="a")),
            shop.unit(3, message(3, 1)),
            shop.unit(4, message(4, 0)),
            shop.unit(5, message(5, 1)),
        )
        assert outcomes == [COMMITTED, DUPLICATE, FENCED, REFUSED, COMMITTED]
        assert shop.order[-5:] != []


@pytest.mark.parametrize(
    "write",
    [
        lambda: message(1, 1, "a\0b"),
        lambda: message(1, 1, client_id="\0"),
        lambda: InsertMessage(1, 1, 1, 1, None, "\ud800", b"", 1),
        lambda: InsertMessage(1, 1, 1, 1, "\ud800", "x", b"", 1),
        lambda: message(1, 2**63),
        lambda: message(1, -1),
        lambda: PutParticipant(1, 1, 2**63, "member", True, 1),
        lambda: PutParticipant(1, 2**63, 1, "member", True, 1),
        lambda: AdvanceMarker(1, 1, 2**63, 1),
        lambda: object(),
    ],
)
async def test_what_cannot_be_encoded_never_joins_a_batch(database, write):
    async with open_shop(database) as shop:
        with pytest.raises(ValueError, match=r"NUL|surrogates|bigint|does not know"):
            shop.committer.submit(shop.unit(1, write()))
        assert shop.committer.statistics().waiting == 0
        assert await shop.commit(shop.unit(1, message(1, 1))) == [COMMITTED]


async def test_a_unit_that_became_void_is_not_stored(database):
    async with open_shop(database) as shop:
        void = shop.unit(2, message(2, 1))
        void.is_void = True
        assert await shop.commit(shop.unit(1, message(1, 1)), void, shop.unit(3, message(3, 1))) == [
            COMMITTED, None, COMMITTED,
        ]  # fmt: skip
        assert await shop.log(2) == []


async def test_writes_of_one_turn_are_stored_together_and_a_marker_never_moves_back(database):
    async with open_shop(database) as shop:
        turn = shop.unit(
            1, message(1, 1), PutParticipant(1, 2, 3, "member", True, 5), PutParticipant(1, 3, 3, "member", False, 6),
            AdvanceMarker(1, 2, 9, 1), AdvanceMarker(1, 2, 4, 2),
        )  # fmt: skip
        assert await shop.commit(turn, shop.unit(1, AdvanceMarker(1, 2, 3, 3))) == [COMMITTED, COMMITTED]
        assert await shop.value("select read_seq from participants where conversation_id = 1 and user_id = 2") == 9
        assert await shop.value("select is_active from participants where conversation_id = 1 and user_id = 3") is False
        assert await shop.commit(shop.unit(1, AdvanceMarker(1, 2, 8, 3))) == [COMMITTED]
        assert await shop.value("select read_seq from participants where conversation_id = 1 and user_id = 2") == 9


async def test_what_others_are_told_of_a_marker_is_kept_apart_and_never_moves_back(database):
    async with open_shop(database) as shop:

        async def stored():
            return await shop.value(
                "select array[read_seq, shown_read_seq] from participants where conversation_id = 1 and user_id = 2"
            )

        for marker, stands in (
            (AdvanceMarker(1, 2, 3, 1, 3), [3, None]),
            (AdvanceMarker(1, 2, 5, 1, 3), [5, 3]),
            (AdvanceMarker(1, 2, 4, 1, 3), [5, 3]),
            (AdvanceMarker(1, 2, 5, 1, 4), [5, 4]),
            (AdvanceMarker(1, 2, 5, 1, 5), [5, None]),
            (AdvanceMarker(1, 2, 7, 1, 5), [7, 5]),
            (AdvanceMarker(1, 2, 8, 1), [8, None]),
        ):
            assert await shop.commit(shop.unit(1, marker)) == [COMMITTED]
            assert await stored() == stands
        turn = shop.unit(1, AdvanceMarker(1, 2, 9, 1, 8), AdvanceMarker(1, 2, 10, 1, 8), AdvanceMarker(1, 2, 10, 1, 9))
        assert await shop.commit(turn) == [COMMITTED]
        assert await stored() == [10, 9]


async def test_a_membership_keeps_when_it_began_and_who_ended_it(database):
    async with open_shop(database) as shop:
        row = (
            "select (role, (extract(epoch from joined_at) * 1000)::bigint, removed_by_id)::text"
            " from participants where conversation_id = 1 and user_id = 3"
        )
        for put, stored in (
            (PutParticipant(1, 1, 3, "member", True, 5), "(member,5,)"),
            (PutParticipant(1, 2, 3, "admin", True, 6), "(admin,5,)"),
            (PutParticipant(1, 3, 3, "admin", False, 7, removed_by_id=1), "(admin,5,1)"),
            (PutParticipant(1, 4, 3, "member", True, 8), "(member,8,)"),
            (PutParticipant(1, 5, 3, "member", False, 9), "(member,8,)"),
        ):
            assert await shop.commit(shop.unit(1, put)) == [COMMITTED]
            assert await shop.value(row) == stored
        assert await shop.commit(shop.unit(1, PutParticipant(1, 6, 3, "member", False, 9, removed_by_id=777))) == [
            REFUSED
        ]


async def test_each_who_comes_or_goes_has_a_place_in_the_log_and_changes_no_time_that_is_listed(database):
    async with open_shop(database) as shop:
        updated = "select updated_at from conversations where id = 1"
        before = await shop.value(updated)
        turn = shop.unit(1, PutParticipant(1, 1, 3, "member", True, 5), PutParticipant(1, 2, 3, "member", False, 6))
        assert await shop.commit(turn, shop.unit(1, message(1, 3))) == [COMMITTED, COMMITTED]
        assert await shop.value("select top_seq from conversations where id = 1") == 3
        again = shop.unit(1, PutParticipant(1, 4, 2, "admin", True, 7))
        said_at = await shop.value(updated)
        assert said_at != before
        assert await shop.commit(again) == [COMMITTED]
        assert await shop.value("select top_seq from conversations where id = 1") == 4
        assert await shop.value(updated) == said_at
        noted = "select array_agg((seq, kind, user_id, role)::text order by seq) from member_changes"
        assert await shop.value(noted) == ["(1,joined,3,member)", "(2,left,3,member)", "(4,joined,2,admin)"]
        assert await shop.commit(shop.unit(1, PutParticipant(1, 4, 3, "member", True, 8))) == [REFUSED]


async def test_a_claim_of_what_is_not_there_is_none_and_many_claims_share_a_statement(database):
    async with open_shop(database) as shop:
        found = {}

        async def claim(room):
            found[room] = await shop.committer.ownership.claim(Address("room", room), create=False)

        async with trio.open_nursery() as nursery:
            for room in range(1, 60):
                nursery.start_soon(claim, room)
        assert {room for room, token in found.items() if token is not None} == set(range(1, 6))
        assert all(found[room] == shop.tokens[room] + 1 for room in range(1, 6))


async def test_two_owners_at_once_never_both_commit(database):
    async with open_shop(database) as shop:
        for round_number in range(1, 21):
            old = shop.tokens[1]

            async def claim(_=None):
                shop.tokens[1] = await shop.committer.ownership.claim(Address("room", 1), create=False)

            unit = shop.unit(1, message(1, round_number), token=old)
            async with trio.open_nursery() as nursery:
                nursery.start_soon(claim)
                (outcome,) = await shop.commit(unit)
            if outcome is FENCED:
                assert await shop.commit(shop.unit(1, message(1, round_number))) == [COMMITTED]
        assert [seq for seq, _ in await shop.log(1)] == list(range(1, 21))


# -- what PostgreSQL rolls back by itself -----------------------------------------------------------------------------

OWNER_OF_1 = "select from ownership where kind = 'room' and key = '1' for update"
MEMBER_OF_1 = "select from participants where conversation_id = 1 and user_id = 2 for update"


@dataclass
class Other:
    """Somebody else's transaction, in the committer's way. Its own waits have no end."""

    shop: Shop
    connection: Any
    lock: str
    trouble: Any

    async def run(self, sql):
        await self.connection.execute(sql)

    async def begin(self):
        await self.run("set statement_timeout = 0; set lock_timeout = 0; set deadlock_timeout = '1min'; begin")
        await self.run(self.lock)

    async def end(self):
        await self.run("rollback")

    async def committer_waits(self):
        with trio.fail_after(10):
            while not await self.shop.value("select count(*) from pg_locks where not granted"):  # noqa: ASYNC110
                await trio.sleep(0.002)


async def hold_too_long(other):
    """Until the committer has given up."""


async def change_first(other):
    """What the committer has already looked at."""
    await other.committer_waits()
    await other.run("update ownership set commits = commits where kind = 'room' and key = '1'; commit")


async def want_what_it_holds(other):
    await other.committer_waits()
    await other.run(f"{OWNER_OF_1}; commit")


ROLLED_BACK = {
    "40001": ({"default_transaction_isolation": "repeatable read"}, OWNER_OF_1, change_first),
    "40P01": ({"deadlock_timeout": "2s"}, MEMBER_OF_1, want_what_it_holds),
    "55P03": ({"lock_timeout": "500ms"}, OWNER_OF_1, hold_too_long),
    "57014": ({"statement_timeout": "3s"}, OWNER_OF_1, hold_too_long),
}


@asynccontextmanager
async def in_the_way(database, monkeypatch, code):
    """A shop, the SQLSTATEs that its committer was told, and somebody in its way, whose trouble ends with *code*."""
    server_settings, lock, trouble = ROLLED_BACK[code]
    codes, write = [], committer_module._write

    async def noting(connection, batch):
        try:
            return await write(connection, batch)
        except asyncpg.PostgresError as error:
            codes.append(error.sqlstate)
            raise

    monkeypatch.setattr(committer_module, "_write", noting)
    async with open_shop(database, **server_settings) as shop:
        other = Other(shop, await shop.postgres.connect(), lock, trouble)
        yield shop, codes, other
        other.connection.terminate()


@pytest.mark.parametrize("code", ROLLED_BACK)
async def test_what_postgresql_rolls_back_is_said_to_be_not_stored_and_the_next_batch_is(database, monkeypatch, code):
    async with in_the_way(database, monkeypatch, code) as (shop, codes, other):
        await other.begin()
        outcomes = []

        async def commit():
            put = PutParticipant(1, 1, 2, "admin", True, 1000)
            outcomes.extend(await shop.commit(shop.unit(1, message(1, 1), put), shop.unit(2, message(2, 1))))

        async with trio.open_nursery() as nursery:
            nursery.start_soon(commit)
            await other.trouble(other)
        await other.end()
        assert (outcomes, codes) == ([UNAVAILABLE] * 2, [code])
        assert (await shop.log(1), await shop.log(2)) == ([], [])
        assert await shop.commit(shop.unit(2, message(2, 1))) == [COMMITTED]
        assert await shop.log(2) == [(1, "hello")]


@dataclass(frozen=True, slots=True)
class Say(Command[int]):
    text: str


class Room(Actor):
    """Numbers what is said, behind what is stored."""

    def __init__(self, shop):
        self.shop, self.seq = shop, 0

    async def start(self):
        self.seq = len(await self.shop.log(self.ctx.address.key))

    @handles(Say)
    def say(self, command: Say) -> int:
        self.seq += 1
        self.ctx.write(message(self.ctx.address.key, self.seq, command.text))
        self.ctx.write(PutParticipant(1, 1000 + self.seq, 2, "admin", True, 1000))
        return self.seq


@pytest.mark.parametrize("code", ROLLED_BACK)
async def test_who_asked_is_told_to_send_it_again_and_nothing_is_lost_or_doubled(database, monkeypatch, code):
    async with (
        in_the_way(database, monkeypatch, code) as (shop, codes, other),
        open_system([Kind("room", lambda _: Room(shop), ownership="existing")], committer=shop.committer) as system,
    ):
        room, deadline = system.ref("room", 1), trio.current_time() + 20
        assert await room.ask(Say("before"), deadline=deadline) == 1
        await other.begin()

        async def say_in_vain():
            with pytest.raises(StorageUnavailable, match="Say was not stored, send it again"):
                await room.ask(Say("in vain"), deadline=deadline)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(say_in_vain)
            await other.trouble(other)
        assert codes == [code]
        await other.end()
        assert await room.ask(Say("after"), deadline=deadline) == 2
        assert await shop.log(1) == [(1, "before"), (2, "after")]


async def test_a_committer_that_postgresql_does_not_let_in_says_so_and_asks_again(database, monkeypatch):
    async with open_shop(database) as shop:
        connect, refused = shop.postgres.connect, []

        async def refuse():
            if len(refused) < 2:
                refused.append(asyncpg.InvalidPasswordError("password authentication failed"))
                raise refused[-1]
            return await connect()

        monkeypatch.setattr(shop.postgres, "connect", refuse)
        for _ in range(2):
            assert await shop.commit(shop.unit(1, message(1, 1))) == [UNAVAILABLE]
        assert await shop.commit(shop.unit(1, message(1, 1))) == [COMMITTED]
        assert await shop.log(1) == [(1, message(1, 1).content)]


@pytest.mark.parametrize("fault", [asyncpg.QueryCanceledError, ConnectionResetError])
async def test_a_connection_whose_plans_cannot_be_settled_is_ended_and_another_is_made(database, monkeypatch, fault):
    async with open_shop(database) as shop:
        made, connect = [], shop.postgres.connect

        async def connect_and_fail_once():
            made.append(await connect())
            if len(made) == 1:
                made[0].execute = refuse
            return made[-1]

        async def refuse(sql):
            raise fault("no")

        monkeypatch.setattr(shop.postgres, "connect", connect_and_fail_once)
        assert await shop.commit(shop.unit(1, message(1, 1))) == [UNAVAILABLE]
        assert made[0].is_closed()
        assert await shop.commit(shop.unit(1, message(1, 1))) == [COMMITTED]
        assert len(made) == 2
