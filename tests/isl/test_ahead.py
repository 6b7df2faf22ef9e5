"""Items made ahead: the same, in order, no more than asked for, and errors in their turn."""

from contextlib import closing
from threading import Event

import pytest

from hcs.isl.ahead import ahead


def test_items_and_their_order_stay():
    assert list(ahead(range(1, 20), at_most=3)) == list(range(1, 20))
    assert list(ahead([], at_most=3)) == []


def counting(made):
    for number in range(1, 1000):
        made.append(number)
        yield number


def test_no_more_is_made_than_asked_for():
    made = []
    with closing(ahead(counting(made), at_most=4)) as items:
        for number in items:
            assert len(made) <= number + 4
            if number == 10:
                break
    assert len(made) <= 14


def test_the_next_is_made_while_the_last_is_used():
    begun = Event()

    def two():
        yield 1
        begun.set()
        yield 2

    items = ahead(two(), at_most=1)
    assert next(items) == 1
    assert begun.wait(timeout=30)  # without asking for the second
    assert list(items) == [2]


def test_an_error_comes_when_it_is_its_turn():
    def failing():
        yield 1
        yield 2
        raise OSError("the disk is gone")

    items = ahead(failing(), at_most=5)
    assert [next(items), next(items)] == [1, 2]
    with pytest.raises(OSError, match="the disk is gone"):
        next(items)
