"""Workers that are not there: told once in a while, and given up in the end."""

import logging
from types import SimpleNamespace

import pytest

from hcs.errors import WorkerError
from hcs.run import missing
from hcs.run.missing import Missing


class Scheduler:
    """A scheduler's client, and a clock."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 1000.0
        self.offered: list[dict[str, float]] = []
        clock = SimpleNamespace(monotonic=lambda: self.now)
        monkeypatch.setattr(missing, "time", clock)
        self.missing = Missing(self, "the scheduler", "start one")

    def scheduler_info(self, n_workers: int) -> dict:
        return {"workers": {str(i): {"resources": one} for i, one in enumerate(self.offered)}}

    def wait(self, seconds: float, resources: dict[str, float] | None = None) -> None:
        """Wait as a call does that looks every five seconds."""
        end = self.now + seconds
        while self.now < end:
            self.missing.look(resources or {})
            self.now += 5


@pytest.fixture
def scheduler(monkeypatch) -> Scheduler:
    return Scheduler(monkeypatch)


def test_who_waits_says_so_every_ten_minutes(scheduler, caplog):
    scheduler.wait(1500)
    assert caplog.messages == ["the scheduler has no workers: waiting for them; start one"] * 3
    caplog.clear()
    scheduler.offered = [{}]
    scheduler.wait(1500)
    assert caplog.messages == []


def test_workers_that_never_come_are_given_up(scheduler, caplog):
    caplog.set_level(logging.ERROR)
    with pytest.raises(WorkerError, match="the scheduler has had no workers for 3600 s") as caught:
        scheduler.wait(7200)
    assert scheduler.now == pytest.approx(1000 + 3600, abs=10)
    assert caught.value.hint == "start one, and run again: what is finished is kept"


def test_time_in_which_nobody_waited_does_not_count(scheduler):
    scheduler.wait(3000)
    # no call waited for long meanwhile, so nobody looked
    scheduler.now += 3600
    scheduler.wait(3000)


def test_a_kind_of_worker_is_missed_by_itself(scheduler, caplog):
    scheduler.offered = [{}]
    scheduler.wait(100, {"GPU": 1})
    assert caplog.messages == ["the scheduler has no workers with GPU: waiting for them; start one"]
    scheduler.offered = [{"GPU": 1}]
    scheduler.wait(7200, {"GPU": 1})
