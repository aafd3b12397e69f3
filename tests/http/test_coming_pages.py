"""What is kept for pages that are coming, once a message of it was changed."""

from typing import Any, cast

from greenroom.http.ws.blocks import SocketBlocks
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
    assert pages.take(PAGE, 7, SocketBlocks()) == expected


def test_who_is_kept_apart_by_a_block_is_kept_out_of_what_was_kept_too() -> None:
    pages, blocks = ComingPages(), SocketBlocks()
    pages.expect(PAGE, 7)
    for sender_id in (1, 2, 3):
        pages.keep(7, sender_id, b"said by %d" % sender_id, (42, sender_id))
        pages.keep(7, sender_id, b"read by %d" % sender_id)
    assert pages.keep_own(PAGE, 7, b"one's own")
    blocks.put(7, [1], [2])
    expected = [b"said by 2", b"said by 3", b"read by 3", b"one's own"]
    assert pages.take(PAGE, 7, blocks) == expected
    assert not pages.keep_own(PAGE, 7, b"the page is there")


def test_a_reaction_is_kept_until_its_message_is_deleted_and_hidden_from_who_blocks_one_of_both() -> None:
    for blocked, expected in (([], [1, 2, 3, 4]), ([1], [2, 3]), ([2], [1, 3, 4])):
        pages, blocks = ComingPages(), SocketBlocks()
        pages.expect(PAGE, 7)
        pages.keep_reaction(7, (1, 3), b"1", (42, 5))
        pages.keep_reaction(7, (3, 2), b"2", (42, 6))
        pages.keep_reaction(7, (3, 4), b"3", (42, 6))
        pages.keep_reaction(7, (4, 1), b"4", (42, 7))
        pages.keep_reaction(7, (4, 4), b"SECRET", (42, 8))
        pages.retell(7, (42, 5), b"an edit leaves reactions alone")
        pages.forget_reactions(7, (42, 8))
        pages.forget_reactions(8, (42, 5))
        blocks.put(7, blocked, [])
        assert pages.take(PAGE, 7, blocks) == [b"%d" % number for number in expected]
