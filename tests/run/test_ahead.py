"""Calls a few ahead: in order, bounded, in other threads, and errors come through."""

import logging
import threading

import pytest

from hcs.errors import CorruptError
from hcs.run.ahead import in_step
from hcs.run.log import listen


def test_results_come_in_order_whoever_is_first():
    second_done = threading.Event()

    def slow_first(item):
        if item == 0:
            assert second_done.wait(10)
        if item == 1:
            second_done.set()
        return item

    assert list(in_step(slow_first, range(6), at_most=3)) == list(range(6))


@pytest.mark.parametrize("at_most", [1, 3])
def test_never_more_are_under_way_than_allowed(at_most):
    taken, yielded, most = 0, 0, 0

    def items():
        nonlocal taken
        for item in range(10):
            taken += 1
            yield item

    for _ in in_step(str, items(), at_most):
        most = max(most, taken - yielded)
        yielded += 1
    assert (taken, yielded, most) == (10, 10, at_most)


def test_it_runs_beside_the_thread_that_asks():
    names = set(in_step(lambda _: threading.current_thread().name, range(3), at_most=2))
    assert threading.current_thread().name not in names


def test_an_error_of_the_function_comes_in_its_turn():
    def fail_at_three(item):
        if item == 3:
            raise CorruptError("frame 3 is damaged")
        return item

    found = []
    with pytest.raises(CorruptError, match="frame 3 is damaged"):
        found.extend(in_step(fail_at_three, range(9), at_most=4))
    assert found == [0, 1, 2]


def test_an_error_of_the_items_comes_through():
    def items():
        yield 0
        raise CorruptError("no more")

    with pytest.raises(CorruptError, match="no more"):
        list(in_step(str, items(), at_most=1))


def test_who_stops_listening_ends_it():
    begun = []
    results = in_step(begun.append, range(1000), at_most=2)
    next(results)
    results.close()
    assert len(begun) <= 2


def test_what_the_other_threads_say_is_heard_by_the_well_that_they_work_for():
    log = logging.getLogger("hcs.plate")
    with listen() as lines:
        list(in_step(lambda item: log.warning("frame %d is empty", item), range(2), at_most=2))
    with listen() as others:
        pass
    assert lines == ["WARNING frame 0 is empty", "WARNING frame 1 is empty"]
    assert others == []
