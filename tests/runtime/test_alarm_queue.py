"""The queue of alarms: at most one time each, out in the order of time."""

from hypothesis import given
from hypothesis import strategies as st

from greenroom.runtime import Address
from greenroom.runtime.alarm_queue import REBUILD_ENTRIES_MIN, AlarmQueue


def key(number):
    return Address("bell", number), "a"


STEPS = st.lists(
    st.tuples(st.sampled_from(["put", "put_earlier", "forget", "pop"]), st.integers(0, 5), st.integers(0, 50))
)


@given(steps=STEPS)
def test_it_is_a_table_of_times_from_which_the_first_come_out(steps):
    queue, model = AlarmQueue(), {}
    for what, number, time in steps:
        if what == "put":
            queue.put(key(number), time)
            model[key(number)] = time
        elif what == "put_earlier":
            queue.put_earlier(key(number), time)
            model[key(number)] = min(time, model.get(key(number), time))
        elif what == "forget":
            queue.forget(key(number))
            model.pop(key(number), None)
        else:
            popped = queue.pop_due(time, number)
            due = sorted(model[one] for one in model if model[one] <= time)[:number]
            assert [model.pop(one) for one in popped] == due
        assert len(queue) == len(model)
        assert queue.next_ms() == min(model.values(), default=None)
        assert all(
            queue.due_of(key(n)) == model.get(key(n)) and (key(n) in queue) == (key(n) in model) for n in range(6)
        )


def test_one_that_is_moved_for_ever_takes_room_once():
    queue = AlarmQueue()
    for time in range(100_000):
        queue.put(key(1), time)
    assert len(queue._heap) <= REBUILD_ENTRIES_MIN + 1
    assert queue.pop_due(10**6, 10) == [key(1)]
    assert queue.pop_due(10**6, 10) == []


def test_what_is_due_is_counted_without_being_taken():
    queue = AlarmQueue()
    for number in range(50):
        queue.put(key(number), number % 10)
    queue.put(key(0), 99)
    queue.forget(key(1))
    assert queue.count_due(-1) == 0
    assert queue.count_due(4) == 23
    assert len(queue.pop_due(4, 100)) == 23
    assert queue.count_due(4) == 0
