"""Seconds that are promised to others, and that no test can afford to wait for."""

from greenroom.actors.presence import actor
from greenroom.http.ws import connection, overdue, presence_news, receipts, summaries


def test_they_are_what_the_documents_say():
    assert presence_news.TOLD_SECONDS == 1.0, "diffs of presence are told once a second"
    assert summaries.TOLD_SECONDS == receipts.TOLD_SECONDS == overdue.TOLD_SECONDS == 1.0
    assert actor.HEARTBEAT_SECONDS == 300.0, "the existing client says once a minute that it is there"
    assert connection.LINGER_SECONDS == 5.0
