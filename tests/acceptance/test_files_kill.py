"""Kill -9 around files: a message that was acknowledged has its files, and what was deleted goes, though late."""

import trio
from server_process import ServerProcess
from wire import http

PDF = b"%PDF-1.7\n" + b"x" * 3000
BOUNDARY = "a-boundary"


async def upload(server, user):
    head = f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="file"; filename="a.pdf"\r\n\r\n'
    body = head.encode() + PDF + f"\r\n--{BOUNDARY}--\r\n".encode()
    headers = {"Content-Type": f"multipart/form-data; boundary={BOUNDARY}"}
    answer = await http(server, "POST", "/api/messages/attachments", body, user=user, headers=headers)
    assert answer.status == 201, answer
    return answer.json()["data"]


async def test_files_survive_kill_9_and_those_of_deleted_messages_do_not():
    with ServerProcess(uploads_per_minute=0) as server:
        await trio.to_thread.run_sync(server.start)
        await server.make_room(7800, [81, 82])
        files, messages = [await upload(server, 81) for _ in range(4)], []
        for file in files[:3]:
            body = {"content": "look", "attachments": [file]}
            answer = await http(server, "POST", "/api/conversations/7800/messages", body, user=81)
            assert answer.status == 201
            messages.append(answer.json()["data"]["messageId"])
        assert (await http(server, "DELETE", f"/api/messages/{messages[0]}", user=81)).status == 200
        await trio.to_thread.run_sync(server.kill)  # most likely before the sweep
        await trio.to_thread.run_sync(server.start)
        statuses = [(await http(server, "GET", file["url"], user=82)).status for file in files]
        assert statuses == [404, 200, 200, 404]  # the last one was not sent: it is its uploader's alone
        answer = await http(server, "GET", files[1]["url"], user=82)
        assert answer.body == PDF
        assert (await http(server, "GET", files[3]["url"], user=81)).body == PDF

        async def left():
            return {row["key"] for row in await server.query("select key from uploads")}

        keys = {file["key"] for file in files[1:]}
        with trio.fail_after(30):
            while await left() != keys:  # noqa: ASYNC110
                await trio.sleep(0.2)
        assert not server.faults(), server.faults()
