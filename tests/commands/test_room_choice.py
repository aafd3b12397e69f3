"""Which room `greenroom chat` goes into: by the id before any title, and by a title only where one room has it."""

import json
import re
from http.client import HTTPConnection

from greenroom.commands.room_choice import PAGE, ROOMS_MAX, every_room


class People:
    """Who makes rooms over HTTP."""

    def __init__(self, greenroom) -> None:
        self._greenroom = greenroom

    def ask(self, user: str, method: str, path: str, body: object = None):
        """`data` of the answer."""
        connection = HTTPConnection("127.0.0.1", self._greenroom.port, timeout=10)
        headers = {"Authorization": f"Bearer {self._greenroom.token(user)}", "Content-Type": "application/json"}
        connection.request(method, path, None if body is None else json.dumps(body).encode(), headers)
        response = connection.getresponse()
        answer = json.load(response)
        assert response.status in (200, 201), answer
        return answer["data"]

    def id_of(self, user: str) -> int:
        return int(self.ask(user, "GET", "/api/auth/session")["user"]["id"])

    def make(self, user: str, title: str, *others: int, is_open: bool = False) -> int:
        body = {"title": title, "participantIds": list(others), "isGroup": True, "open": is_open}
        return int(self.ask(user, "POST", "/api/conversations", body)["conversation"]["id"])

    def said_in(self, user: str, room: int) -> list[str]:
        answer = self.ask(user, "GET", f"/api/conversations/{room}/messages?after_seq=0")
        return [message["content"] for message in answer["messages"]]


def say(greenroom, user: str, room: str, line: str):
    """What `printf line | greenroom chat` has printed, and its exit code."""
    chat = greenroom.start("chat", "--user", user, room)
    chat.type(line)
    chat.end_input()
    return chat.ended(), chat.text


def test_an_id_is_that_of_a_room_whatever_others_have_called_theirs(served):
    people = People(served)
    bob = people.id_of("11")
    meant = people.make("10", "meant", bob)
    people.make("66", str(meant), bob, is_open=True)
    people.make("66", str(meant), bob)
    assert say(served, "11", str(meant), "for the meant room")[0] == 0
    assert people.said_in("10", meant) == ["for the meant room"]


def test_a_room_that_does_not_let_us_in_is_not_replaced_by_one_of_that_title(served):
    people = People(served)
    closed = people.make("10", "closed")
    trap = people.make("66", str(closed), people.id_of("11"))
    code, text = say(served, "11", str(closed), "a secret")
    assert (code, "Traceback" in text) == (1, False), text
    assert people.said_in("66", trap) == []


def test_an_open_room_is_entered_by_its_id_and_digits_that_are_no_id_are_a_title(served):
    people = People(served)
    lobby = people.make("10", "Lobby", is_open=True)
    year = people.make("10", "1984", is_open=True)
    long = people.make("10", "9" * 40, is_open=True)
    for title, room in ((str(lobby), lobby), ("1984", year), ("9" * 40, long)):
        assert say(served, "11", title, f"in {room}")[0] == 0
        assert people.said_in("10", room) == [f"in {room}"]
    assert say(served, "11", "²", "nowhere")[0] == 1


def test_a_room_is_found_however_many_newer_ones_there_are(served):
    people = People(served)
    bob = people.id_of("11")
    first = people.make("10", "the first", bob)
    for number in range(PAGE + 1):
        people.make("10", f"newer {number}", bob)
    for name in (str(first), "the first"):
        assert say(served, "11", name, name)[0] == 0
    assert people.said_in("10", first) == [str(first), "the first"]
    listed = served.start("chat", "--user", "11")
    assert listed.ended() == 0
    assert len(re.findall(r"^  \d+  ", listed.text, re.MULTILINE)) == PAGE + 2


def test_a_title_of_several_rooms_is_refused_with_what_tells_them_apart(served):
    people = People(served)
    bob, carol = people.id_of("11"), people.id_of("12")
    people.ask("20", "GET", "/api/auth/session")
    one = people.make("10", "Twice", bob, carol)
    two = people.make("20", "Twice", bob)
    three = people.make("20", "Twice", is_open=True)
    code, text = say(served, "11", "Twice", "nowhere")
    assert code == 2
    assert "3 rooms are called 'Twice': name it by its id" in text
    assert re.search(rf"^  {one}  3 members: User 10, User 11, User 12$", text, re.MULTILINE), text
    assert re.search(rf"^  {two}  2 members: User 11, User 20$", text, re.MULTILINE), text
    assert re.search(rf"^  {three}  an open room of 1 member, you are not in it$", text, re.MULTILINE), text
    direct = people.ask("11", "POST", "/api/conversations", {"recipientId": carol})["conversation"]
    people.make("10", "User 12", bob)
    code, text = say(served, "11", "User 12", "nowhere")
    assert code == 2
    assert f"  {direct['id']}  you and User 12, user {carol}\n" in text


def page_of(rooms: list[int], path: str) -> dict[str, object]:
    limit, offset = (int(number) for number in re.findall(r"=(\d+)", path))
    return {
        "conversations": [{"id": room} for room in rooms[offset : offset + limit]],
        "hasMore": len(rooms) > offset + limit,
    }


async def test_a_room_that_moves_to_the_top_while_the_pages_are_read_is_found():
    rooms = list(range(3 * PAGE))

    async def get(path: str):
        page = page_of(rooms, path)
        rooms.insert(0, rooms.pop())  # somebody speaks in the last one
        return page

    found, is_all = await every_room(get, "/rooms")
    assert (sorted(room["id"] for room in found), is_all) == (list(range(3 * PAGE)), True)


async def test_of_very_many_rooms_the_newest_are_looked_through_and_that_is_told():
    asked = []

    async def get(path: str):
        asked.append(path)
        return page_of(list(range(ROOMS_MAX + 1)), path)

    found, is_all = await every_room(get, "/rooms")
    assert (len(found), is_all, len(asked)) == (ROOMS_MAX, False, ROOMS_MAX // PAGE + 1)
