"""A room that went to sleep and woke again: no client can tell."""

from house_fixture import open_house_under_test
from wire import Socket, open_sockets, wait_until


async def claims_of(house, room):
    async def run(connection):
        return await connection.fetchval("select token from ownership where kind = 'room' and key = $1", str(room))

    return await house.house.storage.postgres.transaction(run)


async def test_a_room_that_forgets_everything_after_each_command_is_the_same_room(database, tmp_path):
    async with open_house_under_test(database, tmp_path, listens=True) as house:
        house.house.system.passivates_at_once = True
        await house.people(1, 2)
        room = await house.conversation(1, 2)
        async with open_sockets() as nursery:
            one, two = await Socket.open(nursery, house, 1), await Socket.open(nursery, house, 2)
            await one.start(room)
            await two.start(room)
            for number in range(30):
                ack = await one.ask("send", room, body=str(number), clientId=str(number))
                assert ack["data"]["seq"] == number + 1
                again = await one.ask("send", room, body=str(number), clientId=str(number))
                assert again["data"]["duplicate"] is True
                assert (await two.ask("read", room, seq=number + 1))["data"]["seq"] == number + 1
            assert await claims_of(house, room) > 60  # each waking is one
            await wait_until(lambda: [sock for sock in (one, two) if len(sock.of("message")) < 30])
            for sock in (one, two):
                assert [event["seq"] for event in sock.of("message")] == list(range(1, 31))
            assert (await two.ask("history", room, limit=5))["data"]["top"] == 30


async def test_a_room_that_sleeps_between_any_two_commands_knows_whom_it_removed(database, tmp_path):
    async with open_house_under_test(database, tmp_path, listens=False) as house:
        house.house.system.passivates_at_once = True
        await house.people(1, 2, 3)
        lobby = await house.conversation(1, 2, 3, open=True)
        path = f"/api/conversations/{lobby}"
        await house.delete(f"{path}/participants/2", 1)
        await house.delete(f"{path}/participants/3", 3)
        assert [(await house.post(f"{path}/join", user)).status for user in (2, 3, 2)] == [403, 200, 403]
        await house.post(f"{path}/participants", 1, {"userIds": [2]})
        await house.delete(f"{path}/participants/2", 2)
        assert (await house.post(f"{path}/join", 2)).status == 200
