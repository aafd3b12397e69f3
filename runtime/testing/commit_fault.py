"""What can become of a commit besides being one.

REFUSED          storage refuses a value: nothing stored, the callers are told
DUPLICATE        a unique key is there already: nothing stored, decided again
FENCED           another owner claimed the address between the statement and the commit: nothing stored, decided again
UNAVAILABLE      storage did not take the batch, or said that it rolled it back (a serialization failure, a deadlock, a
                 lock or a statement that took too long): nothing stored
UNKNOWN_STORED   stored, and the connection was lost before the answer
UNKNOWN_LOST     not stored, and the connection was lost before the answer: nobody can tell the two apart
"""

import enum

from greenroom.runtime.ports import CommitOutcome


class CommitFault(enum.Enum):
    """The module's docstring says what each is."""

    REFUSED = CommitOutcome.REFUSED, False
    DUPLICATE = CommitOutcome.DUPLICATE, False
    FENCED = CommitOutcome.FENCED, False
    UNAVAILABLE = CommitOutcome.UNAVAILABLE, False
    UNKNOWN_STORED = CommitOutcome.UNKNOWN, True
    UNKNOWN_LOST = CommitOutcome.UNKNOWN, False

    @property
    def outcome(self) -> CommitOutcome:
        """What the actor's gate is told."""
        return self.value[0]

    @property
    def is_stored(self) -> bool:
        """The writes are there all the same."""
        return self.value[1]
