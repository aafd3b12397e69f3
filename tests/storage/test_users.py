"""The directory of users, on a real PostgreSQL."""

from collections.abc import AsyncIterator

import pytest
import trio
import trio.testing

from greenroom.storage.asyncio_bridge import open_asyncio_bridge
from greenroom.storage.postgres.embedded import ServerAddress
from greenroom.storage.postgres.ids import user_ids
from greenroom.storage.postgres.pool import Postgres, open_postgres
from greenroom.storage.postgres.users import (
    BATCH_USERS_MAX,
    CLOCK_SKEW_SECONDS,
    User,
    UserChange,
    Users,
)
from greenroom.storage.subjects import ISSUER_ID_LIMIT


@pytest.fixture
async def postgres(database: ServerAddress) -> AsyncIterator[Postgres]:
    async with open_asyncio_bridge() as bridge, open_postgres(bridge, database.connect_arguments()) as pool:
        yield pool


@pytest.fixture
def users(postgres: Postgres) -> Users:
    return Users(postgres, user_ids(postgres))


async def test_alice_by_name_and_then_the_number_1_are_two_users(users: Users):
    alice = await users.know("alice", {"name": "Alice"})
    one = await users.know(1, {"name": "Number one"})
    assert one.id == 1
    assert alice.id >= ISSUER_ID_LIMIT
    assert (await users.know("alice", {"name": "Alice"})).id == alice.id


async def test_a_number_that_the_issuer_may_not_give_out_is_refused(users: Users):
    for number in (0, -1, ISSUER_ID_LIMIT):
        with pytest.raises(ValueError, match="no id"):
            await users.know(number, {})


async def test_a_subject_that_looks_like_one_of_our_ids_names_another_user(users: Users):
    alice = await users.know("alice", {})
    copy = await users.know(str(alice.id), {})
    assert copy.id != alice.id


async def test_new_claims_change_the_user_and_missing_claims_change_nothing(users: Users):
    await users.know(5, {"name": "Old", "email": "old@example.org", "timezone": "Europe/Berlin"}, 100)
    user = await users.know(5, {"name": "New"}, 101)
    assert (user.name, user.email, user.timezone) == ("New", "old@example.org", "Europe/Berlin")
    assert user == await users.by_id(5)


@pytest.mark.parametrize("subject", [5, "five"])
async def test_what_was_issued_last_counts_in_whatever_order_it_is_shown(users: Users, subject: int | str):
    await users.know(subject, {"name": "Five", "role": "user"}, 200)
    user = await users.know(subject, {"name": "Vijf", "role": "admin", "locale": "nl"}, 100)
    assert (user.name, user.role, user.locale) == ("Five", "user", "nl")  # the locale nobody had told
    assert (await users.know(subject, {"role": "admin"}, 200)).role == "user"
    assert (await users.know(subject, {"role": "admin"}, 201)).role == "admin"
    assert (await users.know(subject, {"role": "user"}, 200.5)).role == "admin"


async def test_what_was_put_stands_until_the_issuer_says_something_new(postgres: Postgres):
    now = [1000.0]
    users = Users(postgres, user_ids(postgres), lambda: now[0])
    user = await users.know(5, {"name": "From the token", "role": "admin"}, 999)
    await users.change(user.id, UserChange(name="My own", role="user"))
    until = now[0] + CLOCK_SKEW_SECONDS
    for issued_at in (None, 500, 999, 1000, until):  # another live token, and one by a clock that is ahead
        user = await users.know(5, {"name": "Another", "role": "admin"}, issued_at)
        assert (user.name, user.role) == ("My own", "user")
    user = await users.know(5, {"name": "From the token", "role": "creator"}, until + 1)
    assert (user.name, user.role) == ("My own", "creator")  # the name is no news
    assert (await users.know(5, {"name": "Renamed by the issuer"}, until + 2)).name == "Renamed by the issuer"


async def test_a_put_with_a_clock_that_was_set_back_is_not_undone_by_a_token_from_before(postgres: Postgres):
    now = [1000.0]
    users = Users(postgres, user_ids(postgres), lambda: now[0])
    await users.know(5, {"role": "admin"}, 1000)
    now[0] = 500.0
    await users.put(5, UserChange(role="user"))
    assert (await users.know(5, {"role": "creator"}, 990)).role == "user"


async def test_a_service_that_puts_somebody_new_is_not_overruled_by_their_old_tokens(users: Users):
    await users.put(7, UserChange(role="creator"))
    user = await users.know(7, {"role": "admin", "name": "Seven"}, 100)
    assert (user.role, user.name) == ("creator", "Seven")  # the name nobody has put


async def test_a_token_without_a_time_fills_in_what_nobody_has_told(users: Users):
    assert (await users.know(5, {"name": "Five"})).name == "Five"
    user = await users.know(5, {"name": "Vijf", "role": "creator"})
    assert (user.name, user.role) == ("Five", "creator")


async def test_of_tokens_that_come_at_once_the_latest_issued_counts(users: Users):
    roles: dict[float, str] = {}

    async def arrive(issued_at: float, role: str) -> None:
        roles[issued_at] = (await users.know(5, {"role": role}, issued_at)).role

    async with trio.open_nursery() as nursery:
        for issued_at, role in ((100, "admin"), (300, "user"), (200, "creator")):
            nursery.start_soon(arrive, issued_at, role)
    assert (await users.know(5, {})).role == "user"
    assert roles[300] == roles[200] == "user"


async def test_who_has_no_name_is_called_by_address_by_external_id_or_by_number(users: Users):
    assert (await users.know(5, {})).name == "User 5"
    assert (await users.know(6, {"email": "alex@example.org"})).name == "alex"
    assert (await users.know("auth|1", {})).name == "auth|1"
    assert (await users.know("auth|2", {"email": "@"})).name == "auth|2"
    assert (await users.put(8, UserChange(email="sam@example.org")))[0].name == "sam"
    assert (await users.put(9, UserChange(locale="de")))[0].name == "User 9"
    assert (await users.know(9, {"name": "Nine"})).name == "Nine"


async def test_a_thousand_who_arrive_at_once_share_a_few_statements(users: Users, postgres: Postgres, monkeypatch):
    fetches: list[str] = []
    fetch = postgres.fetch

    async def counted(name: str, *args: object) -> list[object]:
        fetches.append(name)
        return await fetch(name, *args)

    monkeypatch.setattr(postgres, "fetch", counted)
    found: dict[int | str, int] = {}

    async def arrive(subject: int | str) -> None:
        found[subject] = (await users.know(subject, {"name": str(subject)})).id

    async with trio.open_nursery() as nursery:
        for number in range(1, 601):
            nursery.start_soon(arrive, number)
            nursery.start_soon(arrive, f"user-{number}")
    assert all(found[number] == number for number in range(1, 601))
    assert len(set(found.values())) == 1200
    assert len(fetches) <= 4 * (1200 // BATCH_USERS_MAX + 2)


async def test_a_thousand_who_are_looked_at_at_once_share_a_few_statements_each_begun_after_they_asked(
    users: Users, postgres: Postgres, monkeypatch
):
    for number in range(1, 41):
        await users.know(number, {"name": f"{number}"})
    fetches: list[list[int]] = []
    fetch = postgres.fetch

    async def counted(name: str, *args: object) -> list[object]:
        assert name == "find_users"
        fetches.append(list(args[0]))  # type: ignore[call-overload]
        return await fetch(name, *args)

    monkeypatch.setattr(postgres, "fetch", counted)
    found: list[tuple[int, User | None]] = []

    async def look_at(number: int) -> None:
        asked = len(fetches)
        found.append((number, await users.by_id(number)))
        assert any(number in numbers for numbers in fetches[asked:]), "an answer of before the question"

    async with trio.open_nursery() as nursery:
        for number in range(1000):
            nursery.start_soon(look_at, number % 50)
    assert len(fetches) <= 4
    assert all((user is not None and user.name == f"{number}") == (0 < number <= 40) for number, user in found)


async def test_a_cancelled_leader_leaves_the_others_of_its_batch_unharmed(users: Users):
    names: list[str] = []

    async def leave(scope: trio.CancelScope) -> None:
        with scope:
            await users.know(1, {"name": "one"})

    async def stay(number: int) -> None:
        names.append((await users.know(number, {"name": str(number)})).name)

    scope = trio.CancelScope()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(leave, scope)
        await trio.testing.wait_all_tasks_blocked()
        nursery.start_soon(stay, 2)
        nursery.start_soon(stay, 3)
        scope.cancel()
    assert sorted(names) == ["2", "3"]


async def test_a_service_puts_a_user_and_changes_only_what_it_says(users: Users):
    user, is_new = await users.put(7, UserChange(name="Seven", email="seven@example.org"))
    assert is_new
    again, is_new = await users.put(7, UserChange(locale="de"))
    assert not is_new
    assert (again.name, again.email, again.locale) == (user.name, user.email, "de")


async def test_put_makes_nobody_in_the_range_that_greenroom_gives_out(users: Users):
    with pytest.raises(ValueError, match="no id"):
        await users.put(ISSUER_ID_LIMIT + 5, UserChange(name="Mallory"))
    assert await users.change(ISSUER_ID_LIMIT + 5, UserChange(name="Mallory")) is None


async def test_names_and_existence_are_asked_for_many_at_once(users: Users):
    await users.know(1, {"name": "One"})
    nameless = await users.know("nameless", {})
    assert await users.names([1, nameless.id, 99]) == {1: "One", nameless.id: "nameless"}
    assert await users.exists([1, 99]) == {1}
    assert await users.names([]) == {}
    assert await users.exists([]) == set()


async def test_a_user_is_found_by_address_whatever_the_case(users: Users):
    await users.know(1, {"email": "Alex@Example.org"})
    found = await users.by_email("alex@example.ORG")
    assert found is not None
    assert found.id == 1
    assert await users.by_email("nobody@example.org") is None
