"""What is kept for pages that are coming, once a message of it was changed."""

from typing import Any, cast

from greenroom.http.ws.coming_pages import ComingPages

PAGE = cast("Any", "a page")


def test_what_a_message_said_before_it_was_changed_is_not_kept() -> None:
    pages = ComingPages()
    pages.expect(PAGE, 7)
    pages.keep(7, 1, b"new_message SECRET", (42, 5))
    pages.keep(7, 2, b"another", (42, 6))
    pages.keep(7, 7, b"a receipt")
    pages.retell(7, (42, 5), b"new_message better")
    pages.keep(7, 1, b"edited better", (42, 5))
    pages.keep(7, 3, b"of another room", (43, 5))
    pages.retell(7, (42, 5), b"new_message of nothing")
    pages.keep(7, 1, b"deleted", (42, 5))
    pages.retell(7, (42, 99), b"not kept: it was read over HTTP")
    pages.retell(8, (42, 5), b"nobody comes")
    expected = [b"new_message of nothing", b"another", b"a receipt", b"of another room", b"deleted"]
    assert [frame for _, frame in pages.take(PAGE, 7)] == expected
