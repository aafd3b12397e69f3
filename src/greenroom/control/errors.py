"""What can go wrong on the way into a running greenroom. The messages are for the user of the command line.

ControlError
├── NothingRuns      no greenroom serves that data directory
├── NotAllowed       it runs as somebody else
├── NoAnswer         it is there and does not answer
├── OtherProtocol    it is another version of greenroom
└── Refused          it answered, with a sentence that says why not
"""


class ControlError(Exception):
    """Root of them."""


class NothingRuns(ControlError):
    """There is no socket, or nobody behind it."""


class NotAllowed(ControlError):
    """The operating system, or the server, lets only the user it runs as and root in."""


class NoAnswer(ControlError):
    """The server has gone, or its loop is held."""


class OtherProtocol(ControlError):
    """The two cannot talk to each other."""


class Refused(ControlError):
    """The server's own words."""
