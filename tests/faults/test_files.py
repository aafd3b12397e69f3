"""Files: uploaded, sent with a message, got by who may read it, and gone when they should be."""

import io
import json
import zipfile
from collections import Counter
from contextlib import suppress

import pytest
import trio
from wire import Socket, connect_tcp, head_of_answer, http, open_sockets, raw_http, receive_some, send_all, wait_until

from greenroom.http.errors import ApiError
from greenroom.http.file_types import DANGEROUS, TYPES, WrongType, clean_name, ending_of, type_of
from greenroom.http.places import Places
from greenroom.storage.postgres.uploads import UNSENT_MS
from greenroom.storage.sweep import sweep_some

PNG = b"\x89PNG\r\n\x1a\n" + b"\0" * 100
PDF = b"%PDF-1.7\n" + b"x" * 3000
BOUNDARY = "----a-boundary"


def form(*files, boundary=BOUNDARY):
    """(field, file name, bytes) each; the body of a form."""
    parts = []
    for field, name, data in files:
        shown = name.replace('"', "%22")
        head = f'--{boundary}\r\nContent-Disposition: form-data; name="{field}"; filename="{shown}"\r\n'
        parts.append(head.encode() + b"Content-Type: text/html\r\n\r\n" + data + b"\r\n")
    return b"".join(parts) + f"--{boundary}--\r\n".encode()


async def upload(
    house, user, data=PNG, name="a picture.png", path="/api/messages/attachments", field="file", **headers
):
    given = {name.replace("_", "-"): value for name, value in headers.items()}
    headers = {"Content-Type": f"multipart/form-data; boundary={BOUNDARY}", **given}
    return await house.ask("POST", path, user, form((field, name, data)), headers)


async def got(house, address, user, method="GET", **headers):
    client = house.app.test_client(use_cookies=False)
    given = {name.replace("_", "-"): value for name, value in headers.items()}
    if user is not None:
        given["Authorization"] = f"Bearer {house.token(user)}"
    response = await client.open(address, method=method, headers=given)
    return response.status_code, await response.get_data(), response.headers


def stored(house):
    folder = house.house.storage.directory / "blobs"
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


async def sent(house, room, user, *uploads, content="look", **headers):
    body = {"content": content, "attachments": [one.data for one in uploads]}
    return await house.post(f"/api/conversations/{room}/messages", user, body, **headers)


@pytest.fixture
def taken(monkeypatch):
    """The users of all places that have been taken."""
    take, users = Places.take, []

    def take_and_note(places, user_id):
        place = take(places, user_id)
        users.append(user_id)
        return place

    monkeypatch.setattr(Places, "take", take_and_note)
    return users


async def sweep(house, later_ms=0):
    storage = house.house.storage
    now_ms = house.house.system.clock.wall_milliseconds() + later_ms
    return await sweep_some(storage.uploads, now_ms)


# -- the way of a file ------------------------------------------------------------------------------------------------


async def test_the_way_of_a_file(live_house):
    await live_house.people(1, 2, 3)
    room = await live_house.conversation(1, 2)
    async with open_sockets() as nursery:
        sock, page = await Socket.open(nursery, live_house, 2), await Socket.open(nursery, live_house, 2, protocol=None)
        await sock.start(room)
        await page.expect("connected")
        await page.settle()
        taken = await upload(live_house, 1)
        assert taken.status == 201
        told = taken.data
        key = told["key"]
        assert key.startswith("messages/1/")
        assert key.endswith(".png")
        expected = {"originalName": "a picture.png", "fileSize": len(PNG), "mimeType": "image/png", "key": key}
        assert told == expected | {"url": "/api/media/file/" + key.replace("/", "%2F")}
        # Before it is sent it is its uploader's alone.
        assert [(await got(live_house, told["url"], user))[0] for user in (1, 2, 3, None)] == [200, 404, 404, 401]
        answer = await sent(live_house, room, 1, taken, Idempotency_Key="k")
        assert answer.status == 201, answer.json
        assert answer.data["message"]["attachments"] == [told]
        assert (await sock.expect("message", seq=1))["data"]["attachments"] == [told]
        assert (await page.expect("new_message", seq=1))["attachments"] == [told]
        assert [(await got(live_house, told["url"], user))[0] for user in (1, 2, 3, None)] == [200, 200, 404, 401]
        _, data, headers = await got(live_house, told["url"], 2)
        assert data == PNG
        assert headers["Content-Type"] == "image/png"
        assert headers["X-Content-Type-Options"] == "nosniff"
        assert "sandbox" in headers["Content-Security-Policy"]
        assert headers["Content-Disposition"].startswith('inline; filename="a picture.png"')
        assert headers["Cache-Control"] == "private, no-cache"
        # Again the same, and from every path.
        again = await sent(live_house, room, 1, taken, Idempotency_Key="k")
        assert (again.headers["Idempotency-Replay"], again.data["message"]["attachments"]) == ("true", [told])
        for forget in (False, True):
            if forget:
                system = live_house.house.system
                system.kill(system.ref("room", room))
                live_house.house.hub.channels[room].recent.clear()
            back = await Socket.open(nursery, live_house, 2)
            await back.start(resume={"rooms": {str(room): {"seq": 0}}})
            assert back.of("message")[0]["data"]["attachments"] == [told]
        assert (await sock.ask("history", room))["data"]["messages"][0]["attachments"] == [told]
        rows = (await live_house.get(f"/api/conversations/{room}", 2)).data["messages"]
        assert rows[0]["attachments"] == [told]
        # Deleted: nobody gets it, at once, and it goes.
        assert not await sweep(live_house, 2 * UNSENT_MS)
        assert stored(live_house) == [key]
        message = answer.data["messageId"]
        assert (await live_house.put(f"/api/messages/{message}", 1, {"content": "x"})).data["message"][
            "attachments"
        ] == [told]
        assert (await live_house.delete(f"/api/messages/{message}", 1)).status == 200
        assert [(await got(live_house, told["url"], user))[0] for user in (1, 2)] == [404, 404]
        await sweep(live_house)
        assert stored(live_house) == []
        late = await Socket.open(nursery, live_house, 2)
        await late.start(resume={"rooms": {str(room): {"seq": 0}}})
        for text in (late.events, (await live_house.get(f"/api/messages/{room}", 2)).json):
            assert key not in json.dumps(text)


async def test_a_file_is_sent_over_a_socket_too_once_and_by_its_uploader(live_house):
    await live_house.people(1, 2)
    room = await live_house.conversation(1, 2)
    mine, other = await upload(live_house, 1, PDF, "a.pdf"), await upload(live_house, 1)
    theirs = await upload(live_house, 2)
    key = mine.data["key"]
    async with open_sockets() as nursery:
        sock = await Socket.open(nursery, live_house, 1)
        await sock.start(room)
        reply = await sock.ask("send", room, body="x", clientId="c", attachments=[key, other.data["key"]])
        assert reply["type"] == "ack", reply
        told = (await sock.expect("message", seq=1))["data"]["attachments"]
        assert told == [mine.data, other.data]
        again = await sock.ask("send", room, body="x", clientId="c", attachments=[key, other.data["key"]])
        assert again["data"]["duplicate"] is True
        reply = await sock.ask("send", room, body="x", clientId="c", attachments=[key])
        assert reply["data"]["error"] == "CLIENT_ID_CONFLICT"
        for keys in ([key], [theirs.data["key"]], ["messages/1/0-00.png"], [other.data["key"], "nothing"]):
            reply = await sock.ask("send", room, body="y", attachments=keys)
            assert (reply["data"]["code"], reply["data"]["error"]) == (3014, "FILE_NOT_FOUND")
        reply = await sock.ask("send", room, body="plain")
        assert reply["data"]["seq"] == 2
    refused = await live_house.post(
        f"/api/conversations/{room}/messages", 1, {"content": "x", "attachments": [{"key": key}]}
    )
    assert (refused.status, refused.code) == (404, "FILE_NOT_FOUND")
    eleven = {"content": "x", "attachments": [{"key": f"k{number}"} for number in range(11)]}
    assert (await live_house.post(f"/api/conversations/{room}/messages", 1, eleven)).status == 400


async def test_a_page_uploads_and_shows_with_its_cookie_alone(house):
    await house.people(1, 2)
    room = await house.conversation(1, 2)
    session, _ = await house.house.storage.sessions.create(1, seconds=600)
    cookie = {"Cookie": f"pitchey-session={session}"}
    headers = cookie | {"Content-Type": f"multipart/form-data; boundary={BOUNDARY}"}
    own = {"Origin": f"http://127.0.0.1:{house.port}"}
    taken = await house.ask("POST", "/api/messages/attachments", None, form(("file", "a.png", PNG)), headers | own)
    assert taken.status == 201, taken.json
    for origin in ({}, {"Origin": "https://evil.example"}):
        refused = await house.ask(
            "POST", "/api/messages/attachments", None, form(("file", "a.png", PNG)), headers | origin
        )
        assert refused.status == 403
    await sent(house, room, 1, taken)
    assert (await got(house, taken.data["url"], None, **cookie))[:2] == (200, PNG)
    assert (await got(house, taken.data["url"], None, Cookie="pitchey-session=other"))[0] == 401


async def test_the_document_says_how_files_come_and_go(house):
    document = (await house.get("/openapi.json")).json
    body = document["paths"]["/api/messages/attachments"]["post"]["requestBody"]["content"]
    assert list(body) == ["multipart/form-data"]
    assert body["multipart/form-data"]["schema"]["properties"]["file"]["format"] == "binary"
    got_file = document["paths"]["/api/media/file/messages/{user}/{name}"]["get"]["responses"]["200"]["content"]
    assert got_file == {"*/*": {"schema": {"type": "string", "format": "binary"}}}


async def test_two_messages_that_are_sent_at_once_do_not_share_a_file(live_house):
    await live_house.people(1)
    room = await live_house.conversation(1)
    key = (await upload(live_house, 1)).data["key"]
    async with open_sockets() as nursery:
        sock = await Socket.open(nursery, live_house, 1)
        await sock.start(room)
        commands = [await sock.command("send", room, body=f"{number}", attachments=[key]) for number in range(5)]
        await sock.settle()
        with trio.fail_after(5):
            while any(command not in sock.replies for command in commands):  # noqa: ASYNC110
                await trio.sleep(0.01)
        assert [sock.replies[command]["type"] for command in commands] == ["ack"] + ["error"] * 4


async def test_messages_in_different_rooms_at_once_do_not_share_a_file_either(live_house):
    await live_house.people(1)
    rooms = [await live_house.conversation(1, title=f"{number}") for number in range(6)]
    async with open_sockets() as nursery:
        sock = await Socket.open(nursery, live_house, 1)
        await sock.start(*rooms)
        for _ in range(5):
            taken = await upload(live_house, 1)
            key = taken.data["key"]
            commands = [await sock.command("send", room, body="x", attachments=[key]) for room in rooms]
            with trio.fail_after(5):
                while any(command not in sock.replies for command in commands):  # noqa: ASYNC110
                    await trio.sleep(0.01)
            replies = [sock.replies[command] for command in commands]
            assert sorted(reply["type"] for reply in replies) == ["ack"] + ["error"] * 5
            assert {reply["data"]["error"] for reply in replies if reply["type"] == "error"} == {"FILE_NOT_FOUND"}
        await sock.settle()
        assert sum(key in json.dumps(event["data"]) for event in sock.of("message")) == 1


async def test_who_leaves_or_blocks_gets_it_no_more(house):
    await house.people(1, 2, 3)
    room = await house.conversation(1, 2, 3)
    taken = await upload(house, 2)
    await sent(house, room, 2, taken)
    address = taken.data["url"]
    assert [(await got(house, address, user))[0] for user in (1, 2, 3)] == [200, 200, 200]
    await house.post("/api/users/2/block", 1, {})
    await house.delete(f"/api/conversations/{room}/participants/3", 3)
    assert [(await got(house, address, user))[0] for user in (1, 2, 3)] == [404, 200, 404]


async def test_parts_of_a_file_and_what_has_not_changed(house):
    await house.people(1)
    data = b"%PDF-" + bytes(range(256)) * 1500  # in fewer parts than the test client holds
    address = (await upload(house, 1, data, "a.pdf")).data["url"]
    status, whole, headers = await got(house, address, 1)
    assert (status, whole == data, headers["Content-Length"]) == (200, True, str(len(data)))
    assert headers["Content-Disposition"].startswith("attachment; ")
    size = len(data)
    for asked, start, end in (
        ("0-9", 0, 10),
        (f"{size - 5}-", size - 5, size),
        ("-7", size - 7, size),
        ("1-", 1, size),
    ):
        status, part, headers = await got(house, address, 1, Range=f"bytes={asked}")
        assert (status, part) == (206, data[start:end])
        assert headers["Content-Range"] == f"bytes {start}-{end - 1}/{size}"
    for asked in (f"bytes={size}-", f"bytes={size + 9}-{size + 99}", "bytes=-0"):
        status, _, headers_of_it = await got(house, address, 1, Range=asked)
        assert (status, headers_of_it["Content-Range"]) == (416, f"bytes */{size}")
    for asked in ("bytes=9-1", "bytes=-", "lines=1-2", "bytes=1-2,4-5", "bytes=x"):
        status, part, _ = await got(house, address, 1, Range=asked)
        assert (status, len(part)) == (200, size)
    tag = headers["ETag"]
    for unless in (tag, f'"other", {tag}', "*"):
        assert (await got(house, address, 1, If_None_Match=unless))[:2] == (304, b"")
    assert (await got(house, address + "x", 1, If_None_Match="*"))[0] == 404
    assert (await got(house, address, 1, Range="bytes=0-1", If_Range='"other"'))[0] == 200
    assert (await got(house, address, 1, "HEAD"))[:2] == (200, b"")


@pytest.mark.parametrize(
    "address",
    [
        "/api/media/file/messages/1/../../secrets",
        "/api/media/file/messages%2F1%2F..%2F..%2Fjwt",
        "/api/media/file/messages/1/x",
        "/api/media/file/messages/x/1-00000000000000000000000000000000.png",
        "/api/media/file/messages/1/1-00000000000000000000000000000000.png",
        "/api/media/file/messages/1/1-00000000000000000000000000000000.png%00",
        "/api/media/file/",
    ],
)
async def test_an_address_that_is_none(house, address):
    await house.people(1)
    assert (await got(house, address, 1))[0] in (400, 404)


async def test_what_is_never_sent_goes_after_a_day_and_not_before(house):
    await house.people(1)
    room = await house.conversation(1)
    taken, kept = await upload(house, 1), await upload(house, 1, PDF, "b.pdf")
    await sent(house, room, 1, kept)
    await sweep(house, UNSENT_MS - 60_000)
    assert len(stored(house)) == 2
    await sweep(house, UNSENT_MS + 60_000)
    assert stored(house) == [kept.data["key"]]
    assert (await got(house, taken.data["url"], 1))[0] == 404
    assert (await got(house, kept.data["url"], 1))[0] == 200


async def test_an_upload_that_is_repeated_under_its_key_is_the_same_file(house):
    await house.people(1, 2)
    room = await house.conversation(1)
    first = await upload(house, 1, Idempotency_Key="k")
    again = await upload(house, 1, Idempotency_Key="k")
    assert (first.status, again.status, again.data) == (201, 201, first.data)
    assert (first.headers.get("Idempotency-Replay"), again.headers["Idempotency-Replay"]) == (None, "true")
    for other in ({"data": PNG + b"x"}, {"name": "another.png"}):
        refused = await upload(house, 1, Idempotency_Key="k", **other)
        assert (refused.status, refused.code) == (409, "CONFLICT")
    assert len(stored(house)) == 1
    elsewhere = "/api/messaging/attachments"
    others = [
        await upload(house, 2, Idempotency_Key="k"),
        await upload(house, 1, Idempotency_Key="k2"),
        await upload(house, 1),
        await upload(house, 1, path=elsewhere, field="files", Idempotency_Key="k"),
    ]
    keys = {one.data.get("key") or one.data["attachments"][0]["key"] for one in others}
    assert len(keys | {first.data["key"]}) == len(stored(house)) == 5
    replayed = await upload(house, 1, path=elsewhere, field="files", Idempotency_Key="k")
    assert replayed.data == others[-1].data
    assert (await upload(house, 1, Idempotency_Key="a key")).status == 400
    # A refusal keeps no key; what was sent is told again, and what was erased is not.
    assert (await upload(house, 1, b"<html>", Idempotency_Key="wrong")).status == 415
    assert (await upload(house, 1, PNG, Idempotency_Key="wrong")).status == 201
    message = (await sent(house, room, 1, first)).data["messageId"]
    assert (await upload(house, 1, Idempotency_Key="k")).data == first.data
    assert (await house.delete(f"/api/messages/{message}", 1)).status == 200
    gone = await upload(house, 1, Idempotency_Key="k")
    assert (gone.status, gone.code) == (404, "FILE_NOT_FOUND")


async def test_two_uploads_at_once_under_one_key_are_one_file(house):
    await house.people(1)
    answers = []

    async def one():
        answers.append(await upload(house, 1, Idempotency_Key="k"))

    async with trio.open_nursery() as nursery:
        for _ in range(3):
            nursery.start_soon(one)
    assert {answer.status for answer in answers} <= {201, 409}
    assert len({answer.data["key"] for answer in answers if answer.status == 201}) == len(stored(house)) == 1
    for answer in answers:
        assert answer.status == 201 or answer.headers["Retry-After"] == "1"


async def test_what_was_uploaded_may_be_sent_for_a_day(house):
    await house.people(1)
    taken = await upload(house, 1)
    uploads, now_ms = house.house.storage.uploads, house.house.system.clock.wall_milliseconds()
    day_ms = 24 * 3600 * 1000
    assert len(await uploads.to_send([taken.data["key"]], 1, now_ms + day_ms - 60_000)) == 1
    assert await uploads.to_send([taken.data["key"]], 1, now_ms + day_ms + 60_000) == []
    await sweep(house, day_ms + 60_000)
    assert len(stored(house)) == 1


async def test_a_form_of_too_many_parts_is_told_so(house):
    await house.people(1)
    parts = [("other", f"{number}.txt", b"x") for number in range(33)]
    headers = {"Content-Type": f"multipart/form-data; boundary={BOUNDARY}"}
    refused = await house.ask("POST", "/api/messages/attachments", 1, form(*parts), headers)
    assert (refused.status, refused.message) == (400, "the form has too many parts: at most 32")


async def test_a_sweep_that_dies_between_the_bytes_and_the_row_is_done_again(house, monkeypatch):
    await house.people(1)
    await upload(house, 1)
    storage = house.house.storage

    async def dies(keys):
        raise OSError("killed")

    with monkeypatch.context() as patch:
        patch.setattr(storage.uploads, "forget", dies)
        with pytest.raises(OSError, match="killed"):
            await sweep(house, 2 * UNSENT_MS)
    assert stored(house) == []
    now_ms = house.house.system.clock.wall_milliseconds() + 2 * UNSENT_MS
    assert len(await storage.uploads.expired(now_ms, 10)) == 1
    await sweep(house, 2 * UNSENT_MS)
    assert await storage.uploads.expired(now_ms, 10) == []


async def test_over_the_wire_as_it_comes(live_house):
    """In small chunks and of unknown length, as large as may be; got whole, and its head alone."""
    await live_house.people(1)
    data = b"%PDF-" + b"x" * (10_485_760 - 5)
    body = form(("file", "large.pdf", data))
    head = (
        "POST /api/messages/attachments HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n"
        f"Authorization: Bearer {live_house.token(1)}\r\n"
        f"Content-Type: multipart/form-data; boundary={BOUNDARY}\r\nTransfer-Encoding: chunked\r\n\r\n"
    )
    chunks = [body[at : at + 50_000] for at in range(0, len(body), 50_000)]
    chunked = b"".join(b"%x\r\n%b\r\n" % (len(chunk), chunk) for chunk in chunks) + b"0\r\n\r\n"
    taken = await raw_http(live_house.port, head.encode() + chunked)
    assert taken.status == 201, taken
    address = taken.json()["data"]["url"]
    whole = await http(live_house, "GET", address, user=1)
    assert (whole.status, whole.body == data) == (200, True)
    only_head = f"HEAD {address} HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n"
    sock = await connect_tcp(live_house.port)
    await send_all(sock, f"{only_head}Authorization: Bearer {live_house.token(1)}\r\n\r\n".encode())
    received = await head_of_answer(sock, 200)
    assert b"content-length: 10485760" in received.lower()
    assert await receive_some(sock) == b""
    sock.close()
    folder = live_house.house.storage.directory / "uploads"
    assert list(folder.iterdir()) == []  # what was coming has no name


async def test_so_many_uploads_at_once_and_no_more(live_house, taken):
    """Whoever sends slowly has the places of one user at most, and only for a while."""
    await live_house.people(1, 2)
    head = (
        "POST /api/messages/attachments HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n"
        f"Authorization: Bearer {live_house.token(1)}\r\n"
        f"Content-Type: multipart/form-data; boundary={BOUNDARY}\r\nContent-Length: 5000\r\n\r\n"
    )
    slow = [await connect_tcp(live_house.port) for _ in range(3)]
    for sock in slow:
        await send_all(sock, head.encode() + b"--" + BOUNDARY.encode())
    await wait_until(lambda: len(taken) < 3 and "their places")
    refused = await upload(live_house, 1)
    assert (refused.status, refused.headers["Retry-After"]) == (429, "1")
    assert (await upload(live_house, 2)).status == 201
    for sock in slow:
        sock.close()
    with trio.fail_after(10):
        while (await upload(live_house, 1)).status != 201:  # noqa: ASYNC110
            await trio.sleep(0.1)


async def test_who_asks_for_files_and_does_not_take_them_has_so_many_places(live_house):
    await live_house.people(1, 2)
    room = await live_house.conversation(1, 2)
    taken = await upload(live_house, 1, b"%PDF-" + b"x" * 10_000_000, "large.pdf")
    await sent(live_house, room, 1, taken)
    address = taken.data["url"]
    lines = []
    for _ in range(16):
        lines.append(await connect_tcp(live_house.port, receive_buffer=4096))
        head = f"GET {address} HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer {live_house.token(1)}\r\n\r\n"
        await send_all(lines[-1], head.encode())
        await head_of_answer(lines[-1], 200)
    refused = await http(live_house, "GET", address, user=1)
    assert (refused.status, refused.headers["retry-after"]) == (429, "1")
    assert (await http(live_house, "GET", address, user=2)).status == 200
    for line in lines:
        line.close()
    with trio.fail_after(20):
        while (await http(live_house, "GET", address, user=1)).status != 200:  # noqa: ASYNC110
            await trio.sleep(0.2)


@pytest.mark.parametrize("house_settings", [{"uploads_per_minute": 1}])
async def test_uploads_that_trickle_keep_no_other_user_from_theirs_and_end(live_house, monkeypatch):
    monkeypatch.setattr("greenroom.http.multipart.STEP_SECONDS_MAX", 1.5)
    await live_house.people(*range(1, 14))
    slow = []
    for user in range(1, 13):
        slow.append(await connect_tcp(live_house.port))
        head = (
            "POST /api/messages/attachments HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n"
            f"Authorization: Bearer {live_house.token(user)}\r\n"
            f"Content-Type: multipart/form-data; boundary={BOUNDARY}\r\nContent-Length: 5000\r\n\r\n"
        )
        await send_all(slow[-1], head.encode() + b"--" + BOUNDARY.encode())
    assert (await upload(live_house, 13)).status == 201
    with trio.fail_after(10), suppress(OSError):
        for _ in range(6):
            for sock in slow:
                await send_all(sock, b"a")
            await trio.sleep(0.5)
    assert b" 408 " in (await receive_some(slow[0]))[:20]


@pytest.mark.parametrize(
    "house_settings", [{"uploads_per_minute": 1, "max_file_size": 500_000, "uploads_disk_bytes": 1_000_000}]
)
async def test_uploads_under_way_have_so_much_of_the_disk(live_house, taken):
    await live_house.people(1, 2, 3, 4)
    slow = []
    for user, length in ((1, "Content-Length: 300000"), (2, "Transfer-Encoding: chunked")):
        slow.append(await connect_tcp(live_house.port))
        head = (
            "POST /api/messages/attachments HTTP/1.1\r\nHost: 127.0.0.1\r\n"
            f"Authorization: Bearer {live_house.token(user)}\r\n"
            f"Content-Type: multipart/form-data; boundary={BOUNDARY}\r\n{length}\r\n\r\n"
        )
        await send_all(slow[-1], head.encode())
    await wait_until(lambda: len(taken) < 2 and "their places")
    large, small = PNG + b"x" * 300_000, PNG + b"x" * 50_000
    typed = {"Content-Type": f"multipart/form-data; boundary={BOUNDARY}"}

    async def told(user, data):
        body = form(("file", "a.png", data))
        return await http(live_house, "POST", "/api/messages/attachments", body, user=user, headers=typed)

    refused = await told(3, large)
    assert (refused.status, refused.headers["retry-after"]) == (503, "1")
    assert (await told(3, small)).status == 201, "and what was refused was not counted"
    slow[1].close()  # nobody knows how long it would have been
    with trio.fail_after(10):
        while (last := await told(4, large)).status == 503:  # noqa: ASYNC110
            await trio.sleep(0.1)
    assert last.status == 201
    slow[0].close()


@pytest.mark.parametrize("house_settings", [{"max_file_size": 100_000, "uploads_disk_bytes": 1024}])
async def test_one_of_the_largest_files_may_always_come(house):
    await house.people(1)
    assert (await upload(house, 1, PNG + b"x" * 90_000)).status == 201


@pytest.mark.parametrize("house_settings", [{"uploads_per_minute": 1}])
async def test_an_upload_that_finds_no_place_is_not_counted(house, monkeypatch):
    await house.people(1)
    with monkeypatch.context() as patch:
        patch.setattr(Places, "take", no_place)
        refused = await upload(house, 1)
        assert (refused.status, refused.headers["Retry-After"]) == (503, "1")
    assert [(await upload(house, 1)).status for _ in range(2)] == [201, 429]


def no_place(places, user_id):
    raise ApiError("SERVICE_UNAVAILABLE", "too many uploads at once: try again soon", retry_after=1)


async def asked_at_once(house, address, users, count):
    """The statuses of *count* requests of each user, in their order; nobody reads more of the answers than a head."""
    lines = []
    for _ in range(count):
        for user in users:
            sock = await connect_tcp(house.port, receive_buffer=4096)
            head = f"GET {address} HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer {house.token(user)}\r\n\r\n"
            await send_all(sock, head.encode())
            lines.append(sock)
    statuses = [int((await receive_some(sock)).split(b" ", 2)[1]) for sock in lines]
    return lines, statuses


async def test_files_that_are_asked_for_in_one_go_have_no_more_places(live_house):
    """Places are counted before anything is waited for."""
    await live_house.people(1)
    address = (await upload(live_house, 1, b"%PDF-" + b"x" * 10_000_000, "large.pdf")).data["url"]
    before = rss_bytes()
    lines, statuses = await asked_at_once(live_house, address, [1], 100)
    assert Counter(statuses) == {200: 16, 429: 84}
    assert rss_bytes() - before < 30 * 2**20
    for line in lines:
        line.close()
    with trio.fail_after(20):
        while (await http(live_house, "GET", address, user=1)).status != 200:  # noqa: ASYNC110
            await trio.sleep(0.2)


@pytest.mark.slow(seconds=70)
async def test_downloads_of_which_a_byte_a_second_is_read_end_and_give_their_places_back(live_house):
    await live_house.people(1)
    address = (await upload(live_house, 1, b"%PDF-" + b"x" * 10_000_000, "large.pdf")).data["url"]
    lines, statuses = await asked_at_once(live_house, address, [1], 17)
    assert Counter(statuses) == {200: 16, 429: 1}
    began_at = trio.current_time()
    with trio.fail_after(60):
        while (await http(live_house, "GET", address, user=1)).status != 200:
            for line in lines:
                with suppress(OSError):
                    line.recv(1)
            await trio.sleep(1)
    assert trio.current_time() - began_at > 20, "they had their time"
    for line in lines:
        line.close()


@pytest.mark.slow(seconds=70)
async def test_256_downloads_that_nobody_reads_take_little_memory_and_disturb_nobody(live_house):
    """Each holds a part or two of 64 KiB, and what the kernel has of it."""
    users = list(range(1, 66))
    await live_house.people(*users)
    room = await live_house.conversation(*users)
    taken = await upload(live_house, 1, b"%PDF-" + b"x" * 10_000_000, "large.pdf")
    await sent(live_house, room, 1, taken)
    address = taken.data["url"]
    assert (await http(live_house, "GET", address, user=65)).status == 200
    before = rss_bytes()
    lines, statuses = await asked_at_once(live_house, address, users[:64], 4)
    assert Counter(statuses) == {200: 256}
    refused = await http(live_house, "GET", address, user=65)
    assert (refused.status, refused.headers["retry-after"]) == (503, "1")
    peak = rss_bytes()
    assert peak - before < 256 * 3 * 64 * 1024, f"{(peak - before) / 2**20:.1f} MiB"
    with trio.fail_after(5):
        for number in range(20):
            said = await live_house.post(f"/api/conversations/{room}/messages", 65, {"content": f"{number}"})
            assert said.status == 201
    with trio.fail_after(60):  # without their doing anything
        while (await http(live_house, "GET", address, user=65)).status != 200:  # noqa: ASYNC110
            await trio.sleep(1)
    assert rss_bytes() - before < 256 * 3 * 64 * 1024
    for line in lines:
        line.close()


def rss_bytes():
    with open("/proc/self/statm") as told:
        return int(told.read().split()[1]) * 4096


# -- what is not taken ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("house_settings", [{"max_file_size": 10_000}])
async def test_a_file_that_is_too_large_or_none(house):
    await house.people(1)
    fits = PDF + b"x" * (10_000 - len(PDF))
    assert (await upload(house, 1, fits, "a.pdf")).status == 201
    refused = await upload(house, 1, fits + b"x", "a.pdf")
    assert (refused.status, refused.code, refused.message) == (400, "UPLOAD_ERROR", "File too large (max 10000 bytes)")
    assert refused.json["error"]["details"] == {"number": 3101, "name": "ATTACHMENT_TOO_LARGE"}
    assert (await upload(house, 1, fits * 50, "a.pdf")).message == "File too large (max 10000 bytes)"
    assert (await upload(house, 1, PNG, field="other")).message == "No file provided"
    assert (await upload(house, 1, b"")).message == "the file is empty"
    many = form(("file", "a.png", PNG), ("file", "b.png", PNG))
    headers = {"Content-Type": f"multipart/form-data; boundary={BOUNDARY}"}
    assert (await house.ask("POST", "/api/messages/attachments", 1, many, headers)).status == 400
    assert (await house.ask("POST", "/api/messages/attachments", None, many, headers)).status == 401
    for body, content_type, status in (
        (b"{}", "application/json", 415),
        (many, "multipart/form-data", 400),
        (many[:-30], headers["Content-Type"], 400),
        (b"", headers["Content-Type"], 400),
        (b"\r\n".join([b"--" + BOUNDARY.encode(), b"x" * 9000]), headers["Content-Type"], 400),
        (many.replace(b"form-data;", b"form-data"), headers["Content-Type"], 400),
    ):
        answer = await house.ask("POST", "/api/messages/attachments", 1, body, {"Content-Type": content_type})
        assert answer.status == status, (body[:50], answer.json)
    listed = form(("files", "a.png", PNG), ("files", "b.pdf", PDF))
    answer = await house.ask("POST", "/api/messaging/attachments", 1, listed, headers)
    assert answer.status == 201
    assert [one["originalName"] for one in answer.data["attachments"]] == ["a.png", "b.pdf"]
    assert len(stored(house)) == 3


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("a.exe", b"MZ" + PNG),
        ("a.png.exe", PNG),
        ("a.svg", b"<svg/>"),
        ("a.html", b"<html>"),
        ("a.png", b"<html><script>"),
        ("a.png", PDF),
        ("a.pdf", PNG),
        ("a.jpg", PNG),
        ("a.pdf", b"MZ%PDF-"),
        ("png", PNG),
        ("a.", PNG),
        ("a.docx", b"PK\x03\x04 nothing of it"),
    ],
)
async def test_a_file_that_is_not_what_it_says_or_is_not_allowed(house, name, data):
    await house.people(1)
    refused = await upload(house, 1, data, name)
    assert (refused.status, refused.code) == (415, "INVALID_FILE_TYPE")
    assert refused.json["error"]["details"] == {"number": 3102, "name": "TYPE_NOT_ALLOWED"}
    assert stored(house) == []


@pytest.mark.parametrize("house_settings", [{"uploads_per_minute": 2}])
async def test_uploads_are_counted(house):
    await house.people(1, 2)
    assert [(await upload(house, 1)).status for _ in range(3)] == [201, 201, 429]
    assert (await upload(house, 2)).status == 201


@pytest.mark.parametrize("house_settings", [{"max_file_size": 1024, "uploads_per_minute": 0}])
async def test_who_sends_nothing_may_not_fill_the_disk(house):
    await house.people(1)
    data = PNG + b"x" * (1000 - len(PNG))
    answers = [await upload(house, 1, data) for _ in range(21)]
    assert [one.status for one in answers] == [201] * 20 + [403]
    room = await house.conversation(1)
    await sent(house, room, 1, *answers[:5])
    assert (await upload(house, 1, data)).status == 201


async def test_a_store_that_is_away_is_said_so_and_what_was_begun_is_swept(house):
    await house.people(1)
    folder = house.house.storage.directory / "blobs"
    folder.rmdir()
    folder.write_text("not a folder")
    refused = await upload(house, 1)
    assert (refused.status, refused.code) == (503, "SERVICE_UNAVAILABLE")
    folder.unlink()
    folder.mkdir()
    await sweep(house, 2 * UNSENT_MS)
    assert (await upload(house, 1)).status == 201


# -- names and types --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "name"),
    [
        ("../../etc/passwd.pdf", "passwd.pdf"),
        ("C:\\Users\\me\\a.pdf", "a.pdf"),
        ("a\r\nSet-Cookie: x.pdf", "aSet-Cookie: x.pdf"),
        ("gpj\u202egnp.exe", "gpjgnp.exe"),
        (" . a b .pdf. ", "a b.pdf"),
        ("\0", "file"),
        (".pdf", "file.pdf"),
        ("ü\ud800.png", "ü?.png"),
        ("x" * 500 + ".png", "x" * 196 + ".png"),
        ("a." + "x" * 500, "file"),
    ],
)
def test_names_are_cleaned(given, name):
    assert clean_name(given) == name


def test_an_ending_that_something_runs_is_never_allowed():
    for ending in DANGEROUS:
        with pytest.raises(WrongType):
            ending_of(f"a.{ending.upper()}", [*DANGEROUS, "png"])
    assert not DANGEROUS & TYPES.keys()
    assert ending_of("a.b.PNG", ["png"]) == "png"


def document(*names):
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w") as archive:
        for name in names:
            archive.writestr(name, "x" * 100)
    return made


def test_documents_are_known_by_what_they_hold():
    assert type_of(document("[Content_Types].xml", "word/document.xml"), "docx").endswith("wordprocessingml.document")
    for names, ending in ((("xl/workbook.xml",), "docx"), (("word/document.xml", "word/vbaProject.bin"), "docx")):
        with pytest.raises(WrongType):
            type_of(document(*names), ending)
    assert type_of(io.BytesIO(b"anything"), "csv") == "application/octet-stream"
    for data in (b"#!/bin/sh", b"\x7fELF", b" \n<html>"):
        with pytest.raises(WrongType):
            type_of(io.BytesIO(data), "csv")
