"""Starts are counted however the work ends, and by run."""

import os
from concurrent.futures import ThreadPoolExecutor

import pytest

from hcs.errors import WorkerError
from hcs.plate.storage import Storage
from hcs.run.attempts import Attempts


@pytest.fixture
def attempts(root_url) -> Attempts:
    return Attempts(Storage.open(f"{root_url}/plate.hcs"), token=4, limit=3)


def test_starts_are_numbered_and_the_one_too_many_is_refused(attempts):
    assert [attempts.start("B/03/1") for _ in range(3)] == [1, 2, 3]
    with pytest.raises(WorkerError, match="B/03/1 was started 3 times and its worker died"):
        attempts.start("B/03/1")
    assert attempts.count("B/03/1") == 3


def test_a_start_that_came_to_its_end_is_not_charged(attempts):
    for _ in range(5):
        attempts.end("B/03/1", attempts.start("B/03/1"))
    assert attempts.count("B/03/1") == 5
    assert [attempts.start("B/03/1") for _ in range(3)] == [6, 7, 8]
    with pytest.raises(WorkerError, match="B/03/1 was started 3 times and its worker died"):
        attempts.start("B/03/1")


def test_wells_and_runs_are_counted_apart(attempts):
    attempts.start("B/03/1")
    later = Attempts(attempts.companion, token=5, limit=3)
    assert (attempts.count("B/04/1"), later.count("B/03/1")) == (0, 0)


def test_a_well_in_spans_is_as_hard_as_its_hardest_span(attempts):
    for name in ("B/03/1/a", "B/03/1/b", "B/03/1/b"):
        attempts.start(name)
    assert attempts.most("B/03/1") == 2
    assert attempts.most("B/04/1") == 0


def test_two_starts_at_once_are_two(attempts):
    with ThreadPoolExecutor(3) as threads:
        numbers = list(threads.map(lambda _: attempts.start("B/03/1"), range(3)))
    assert sorted(numbers) == [1, 2, 3]


def test_the_latest_worker_is_that_of_the_latest_note_that_can_be_read(attempts):
    assert attempts.latest_worker("B/03/1") == ""
    attempts.start("B/03/1/0")
    known = attempts.latest_worker("B/03/1")
    assert known.endswith(f":{os.getpid()}")
    for number, content in enumerate((b"", b'{"host": "a"', b"[]", b'{"host": "a"}'), start=2):
        attempts.companion.write(f"attempts/00000004/B/03/1/0/{number}.json", content)
        attempts.companion.write("attempts/00000004/B/03/1/0/x.json", content)
        assert attempts.latest_worker("B/03/1") == known
    assert attempts.most("B/03/1") == 5
