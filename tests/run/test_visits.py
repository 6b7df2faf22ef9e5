"""How many wells are on their way at once, while workers come and go."""

import time
from concurrent.futures import Future
from threading import Event, Thread

import pytest

from hcs.plate.path import WellPath
from hcs.run import visits
from hcs.run.calls import scheduler_lost
from hcs.run.outcome import WellOutcome
from hcs.run.stopping import Stop
from hcs.run.visits import Visits, spread

WELLS = [WellPath("A", f"{column:02d}") for column in range(1, 13)]


def test_as_many_wells_are_on_their_way_as_there_may_be_at_that_moment():
    begun: dict[WellPath, Future[WellPath]] = {}
    allowed, most = [2], list[int]()

    def under_way() -> list[WellPath]:
        return [well for well, future in begun.items() if not future.done()]

    def begin(well: WellPath) -> Future[WellPath]:
        begun[well] = Future()
        most.append(len(under_way()))
        if len(under_way()) == allowed[-1] or well == WELLS[-1]:
            for path in under_way():
                begun[path].set_result(path)
        return begun[well]

    seen = []
    for future in spread(begin, WELLS, lambda: allowed[-1]):
        seen.append(future.result())
        # workers come
        allowed.append(2 if len(seen) < 4 else 5)
    assert list(begun) == WELLS
    assert sorted(map(str, seen)) == list(map(str, WELLS))
    assert most[:4] == [1, 2, 1, 2]
    assert max(most) == 5


def test_who_hears_of_wells_hears_of_more_and_more_that_are_through():
    outcomes = {well: WellOutcome(well, "waiting") for well in WELLS[:2]}
    heard, second_asked = list[int](), Event()

    def hear(outcome: WellOutcome, through: int, wells: int) -> None:
        if outcome.well == WELLS[0]:
            # as long as a disk may take to note a failure
            second_asked.wait(60)
            time.sleep(0.1)
        heard.append(through)

    visits = Visits(None, None, None, outcomes, hear, Stop())
    first = Thread(target=visits._note, args=(WellOutcome(WELLS[0], "failed"), 1))
    first.start()
    while outcomes[WELLS[0]].state == "waiting":
        time.sleep(0.01)
    second = Thread(target=visits._note, args=(WellOutcome(WELLS[1], "done"), 1))
    second.start()
    second_asked.set()
    first.join()
    second.join()
    assert heard == [1, 2]


class Workers:
    """A cluster whose workers come and go."""

    def __init__(self) -> None:
        self.there: int | None = 1

    @property
    def n_workers(self) -> int:
        if self.there is None:
            raise scheduler_lost("all")
        return self.there


def test_wells_follow_the_workers_that_are_there(monkeypatch):
    monkeypatch.setattr(visits, "_COUNT_S", 0.0)
    workers = Workers()
    at_once = visits._PerWorker(workers)
    seen = []
    for there in (1, 4, 32, None, 2):
        workers.there = there
        seen.append(at_once())
    # a scheduler that is lost is told of by each well, not here
    assert seen == [2, 8, 64, 64, 4]


def test_an_error_of_a_visit_is_its_futures():
    def begin(well: WellPath) -> Future[None]:
        future: Future[None] = Future()
        future.set_exception(ZeroDivisionError(str(well)))
        return future

    (ended,) = spread(begin, WELLS[:1], lambda: 1)
    with pytest.raises(ZeroDivisionError, match="A/01"):
        ended.result()
