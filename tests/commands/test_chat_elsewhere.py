"""`greenroom chat` with what is no greenroom, or one that means harm: its words show something, and do nothing."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

COPY = "\x1b]52;c;aGk=\x07"  # into the clipboard of whoever sees it
CLEAR = "\x9b2J"


@contextmanager
def answering(status: int, answer: object) -> Iterator[str]:
    """The address of a server that answers everything so, but for sockets."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = json.dumps(answer).encode()
            self.send_response(404 if self.path == "/ws" else status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        do_POST = do_GET  # noqa: N815 - its name

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        serving = threading.Thread(target=server.serve_forever)
        serving.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            serving.join()


def asked(greenroom, url: str, *arguments: str) -> tuple[int, str]:
    """The exit code of a chat, and what it has printed."""
    chat = greenroom.start("chat", "--token", "a.b.c", "--url", url, *arguments)
    return chat.ended(), chat.text


@pytest.mark.parametrize("status", [401, 403])
def test_why_it_is_refused_is_shown_in_one_line_and_does_nothing(greenroom, status):
    with answering(status, {"error": {"message": f"no{COPY}\nentry{CLEAR}"}}) as url:
        code, text = asked(greenroom, url, "42")
    assert (code, text.count("\n")) == (1, 1), text
    assert "no\ufffd]52;c;aGk=\ufffd entry\ufffd2J" in text


def test_rooms_of_whatever_kind_are_listed_and_do_nothing(greenroom):
    room = {"id": f"4{COPY}", "title": f"a{CLEAR}\nb", "participantCount": CLEAR, "unreadCount": COPY}
    with answering(200, {"data": {"conversations": [room], "hasMore": False}}) as url:
        code, text = asked(greenroom, url)
    assert code == 0, text
    assert "  4\ufffd]52;c;aGk=\ufffd  a\ufffd2J b  (\ufffd2J members, \ufffd]52;c;aGk=\ufffd unread)\n" in text
    assert not {"\x1b", "\x07", "\x9b"} & set(text)


def test_what_tells_rooms_of_one_title_apart_does_nothing(greenroom):
    room = {"title": "Twice", "participantCount": 1, "participantId": COPY}
    rooms = [{**room, "id": f"{at}\n{CLEAR}"} for at in range(2)]
    with answering(200, {"data": {"conversations": rooms, "hasMore": False}}) as url:
        code, text = asked(greenroom, url, "Twice")
    assert (code, text.count("\n")) == (2, 3), text
    assert "  0 \ufffd2J  you and Twice, user \ufffd]52;c;aGk=\ufffd\n" in text


@pytest.mark.parametrize(
    ("arguments", "data"),
    [
        ((), {}),
        ((), {"conversations": [7], "hasMore": False}),
        (("Lobby",), {"conversations": None, "hasMore": False}),
        (("4",), {"conversation": []}),
        (("--new", "Lobby"), {"conversation": {"id": "four", "title": "x"}}),
    ],
    ids=str,
)
def test_an_answer_that_none_of_greenroom_is_ends_with_one_sentence(greenroom, arguments, data):
    with answering(200, {"data": data}) as url:
        code, text = asked(greenroom, url, *arguments)
    assert (code, text) == (1, f"greenroom: what answers at {url} is no greenroom: name another one, --url\n")
