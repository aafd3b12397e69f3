"""A session for tests of connections and their engine."""

import math


class Silent:
    """A session of user 1 that says nothing by itself, and takes as much of the loop as it likes."""

    user_id = 1
    principal = None
    is_v1 = True
    is_present = False
    device = ""
    first_beat_seconds = math.inf

    def seconds_left(self):
        return math.inf

    def pause_for(self, seconds):
        """It does not."""

    def farewell(self, code):
        return b""

    def closed(self):
        """Nobody has to be told."""
