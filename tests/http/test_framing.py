"""Frames as Server-Sent Events and as the answer to a poll: the same JSON, whole, whatever it says."""

import json

from hypothesis import given
from hypothesis import strategies as st

from greenroom.http.streams.framing import data_lines, event_end, payloads, poll_answer, stream_head
from greenroom.http.ws.frames import text_frame

LINE_ENDS = "\v\f\x1c\x1d\x1e\x85\u2028\u2029"  # besides \r and \n, of str.splitlines
texts = st.text() | st.text(LINE_ENDS + "a“€") | st.text(min_size=200, max_size=300)
values = st.lists(st.dictionaries(st.text(max_size=10), texts | st.integers(), max_size=4))


def frames(objects):
    """As the server makes them, but of any JSON: frames_seen.py would look at what events.py makes."""
    texts = (json.dumps(each, separators=(",", ":"), ensure_ascii=False) for each in objects)
    return b"".join(text_frame(text.encode()) for text in texts)


@given(values)
def test_joined_frames_are_taken_apart(objects):
    assert [json.loads(payload) for payload in payloads(frames(objects))] == objects


def test_long_frames_are_taken_apart_too():
    objects = [{"body": "x" * size} for size in (0, 100, 114, 115, 116, 65_000, 65_525, 65_526, 70_000)]
    assert [json.loads(payload) for payload in payloads(frames(objects))] == objects


@given(values)
def test_each_frame_is_one_line_of_its_event(objects):
    event = data_lines(frames(objects)) + event_end("1~1.1.1")
    *lines, cursor, blank, rest = event.split(b"\n")
    assert [json.loads(line.removeprefix(b"data: ")) for line in lines] == objects
    assert (cursor, blank, rest) == (b"id: 1~1.1.1", b"", b"")
    assert b"\r" not in event
    assert len(event.decode().splitlines()) == len(objects) + 2
    assert event_end(None) == b"\n"


@given(values)
def test_the_answer_to_a_poll_is_json_of_the_length_that_it_says(objects):
    answer = poll_answer({"X-Request-Id": "r"}, payloads(frames(objects)), "1~1.1.1", "r")
    head, _, body = answer.partition(b"\r\n\r\n")
    envelope = json.loads(body)
    assert envelope["data"] == {"events": objects, "cursor": "1~1.1.1"}
    assert (envelope["success"], envelope["meta"]["requestId"]) == (True, "r")
    assert f"Content-Length: {len(body)}".encode() in head.split(b"\r\n")


def test_the_head_of_a_stream_says_what_it_is_and_when_to_come_back():
    head, _, body = stream_head({"Cache-Control": "no-store"}, 700).partition(b"\r\n\r\n")
    lines = head.split(b"\r\n")
    assert lines[0] == b"HTTP/1.1 200 OK"
    assert {b"Content-Type: text/event-stream", b"Cache-Control: no-store", b"Connection: close"} <= set(lines)
    assert body == b"retry: 700\n"
