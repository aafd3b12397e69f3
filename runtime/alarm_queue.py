"""The alarms of the next while by their time, and nothing of them but their time. Pure.

Times are wall times, so a clock that is set moves no alarm: who asks what is due says what time it is now. An alarm
that is moved or forgotten leaves its old entry in the heap; when most are such, the heap is rebuilt.
"""

import heapq

from greenroom.runtime.address import Address

REBUILD_ENTRIES_MIN = 512

AlarmKey = tuple[Address, str]


class AlarmQueue:
    """At most one time for each alarm."""

    __slots__ = ("_count", "_due", "_heap")

    def __init__(self) -> None:
        self._due: dict[AlarmKey, tuple[int, int]] = {}
        self._heap: list[tuple[int, int, AlarmKey]] = []
        self._count = 0

    def __len__(self) -> int:
        return len(self._due)

    def __contains__(self, key: AlarmKey) -> bool:
        return key in self._due

    def due_of(self, key: AlarmKey) -> int | None:
        """When it is due, if it is here."""
        found = self._due.get(key)
        return None if found is None else found[0]

    def put(self, key: AlarmKey, due_ms: int) -> None:
        """Have it due at *due_ms*, whatever was before."""
        self._count += 1
        self._due[key] = due_ms, self._count
        heapq.heappush(self._heap, (due_ms, self._count, key))
        if len(self._heap) > REBUILD_ENTRIES_MIN and len(self._heap) > 2 * len(self._due):
            self._heap = [(due, count, key) for key, (due, count) in self._due.items()]
            heapq.heapify(self._heap)

    def put_earlier(self, key: AlarmKey, due_ms: int) -> None:
        """Have it due at *due_ms*, unless it is due before."""
        found = self._due.get(key)
        if found is None or due_ms < found[0]:
            self.put(key, due_ms)

    def forget(self, key: AlarmKey) -> None:
        """Have it not due at all."""
        self._due.pop(key, None)

    def next_ms(self) -> int | None:
        """When the first of them is due."""
        while self._heap and self._is_old(self._heap[0]):
            heapq.heappop(self._heap)
        return self._heap[0][0] if self._heap else None

    def count_due(self, now_ms: int) -> int:
        """How many are due. O(of those): what is due stands at the top of the heap."""
        count, places = 0, [0]
        while places:
            place = places.pop()
            if place < len(self._heap) and self._heap[place][0] <= now_ms:
                count += not self._is_old(self._heap[place])
                places += (2 * place + 1, 2 * place + 2)
        return count

    def pop_due(self, now_ms: int, keys_max: int) -> list[AlarmKey]:
        """Take out at most *keys_max* that are due, the first first; of one time, in the order put."""
        due: list[AlarmKey] = []
        while len(due) < keys_max:
            first_ms = self.next_ms()
            if first_ms is None or first_ms > now_ms:
                break
            key = heapq.heappop(self._heap)[2]
            del self._due[key]
            due.append(key)
        return due

    def _is_old(self, entry: tuple[int, int, AlarmKey]) -> bool:
        found = self._due.get(entry[2])
        return found is None or found[1] != entry[1]
