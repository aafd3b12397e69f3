"""What must hold in the simulation, by name. `test_mutations.py` plants bugs that break each of them.

All of it holds as well when a node dies, or lives on displaced while the next one serves.
"""

from typing import Final

INVARIANTS: Final = {
    "reply before commit": "nobody hears of an op that is not stored, in whatever way",
    "acknowledged writes": "what somebody was told is done stays stored where it was, and who looks later sees it",
    "memory": "an actor at rest remembers what is stored at its address, in that order",
    "order": "ops of one sender are stored in the order sent",
    "sequence": "what an address stores is numbered without a gap, whichever node wrote it",
    "activations": "one actor for each address on a node, and one writable epoch of all nodes",
    "alarms": "each that is stored comes, not early, and what its handler does is done once",
    "beats": "of one that comes again each time comes or is counted as missed, once, and none comes late",
    "account": "what was accepted is stored, told of, or a dead letter",
    "timers": "none outlives the activation that set it; nobody is told twice that another ended",
    "leaks": "at rest nothing is left of anybody",
    "answers": 'every ask has one answer, and an answer that says "not stored" is true',
    "faults of the runtime": "nothing that the runtime does by itself raises",
}


class Violation(AssertionError):
    """What must hold does not. It begins with the name of the invariant and a colon."""
