"""A run that is asked to end, at whatever it is just then."""

import shutil
import threading

import pytest

from hcs.errors import StoppedError
from hcs.plate.open import open_plate
from hcs.plate.path import WellPath
from hcs.run.analyse import analyse
from hcs.run.plan import make_plan
from hcs.run.stopping import Stop
from hcs.settings import load_settings
from tests.plates import results_of

HERE = load_settings(overrides=["run.dask=none", "run.workers=1"])
# of all looks of a run
PLACES = 4


class AskedAt(Stop):
    """Asked for at its nth look."""

    def __init__(self, look: int | None = None) -> None:
        super().__init__()
        self.looks = 0
        self._at = look

    def check(self) -> None:
        self.looks += 1
        if self.looks == self._at:
            self.ask()
        super().check()


def test_who_wants_to_be_called_is_called_once_inside_of_the_block_only():
    called, stop = list[str](), Stop()
    with stop.calling(lambda: called.append("too early")):
        pass
    with stop.calling(lambda: called.append("in time")):
        asking = threading.Thread(target=stop.ask)
        asking.start()
        asking.join()
        stop.ask()
    with stop.calling(lambda: called.append("late, but not too late")):
        assert stop.is_asked
    assert called == ["in time", "late, but not too late"]


def test_all_are_called_though_one_of_them_fails():
    called, stop = list[str](), Stop()

    def fails():
        raise OSError("one that just left")

    with (
        stop.calling(lambda: called.append("first")),
        stop.calling(fails),
        stop.calling(lambda: called.append("last")),
        pytest.raises(OSError, match="just left"),
    ):
        stop.ask()
    assert called == ["last", "first"]


def test_what_is_gone_through_ends_when_somebody_asks():
    stop, seen = Stop(), list[int]()
    items = stop.heeded(range(5))
    seen += [next(items), next(items)]
    stop.ask()
    with pytest.raises(StoppedError, match="stopped"):
        next(items)
    assert seen == [0, 1]


def test_a_call_that_cannot_be_ended_is_left():
    stop, over = Stop(), threading.Event()
    assert stop.unless_asked(lambda: 3) == 3
    with pytest.raises(ZeroDivisionError):
        stop.unless_asked(lambda: 1 / 0)
    threading.Timer(0.1, stop.ask).start()
    with pytest.raises(StoppedError):
        stop.unless_asked(over.wait)
    over.set()


def test_a_run_that_is_stopped_anywhere_is_finished_by_the_next_one(
    tiny_plate, analysed_plate, tmp_path
):
    undisturbed = results_of(analysed_plate)
    looks = AskedAt()
    whole = shutil.copytree(tiny_plate, tmp_path / "whole" / "tiny.zarr")
    assert analyse(str(whole), HERE, stop=looks).exit_code == 0
    # planning, visits, the pooled model, the end: at least once for each of three wells
    assert looks.looks > 3 * PLACES
    for look in range(1, looks.looks + 1, looks.looks // PLACES):
        url = shutil.copytree(tiny_plate, tmp_path / str(look) / "tiny.zarr")
        with pytest.raises(StoppedError, match=r"tiny\.zarr: stopped"):
            analyse(str(url), HERE, stop=AskedAt(look))
        assert analyse(str(url), HERE).exit_code == 0
        assert results_of(url) == undisturbed, f"stopped at look {look} of {looks.looks}"


def test_threads_that_work_for_a_stopped_run_begin_no_other_frame(tiny_plate, monkeypatch):
    stop, begun = Stop(), list[int]()

    def ask(*_of: object) -> None:
        begun.append(len(begun))
        stop.ask()

    monkeypatch.setattr("hcs.run.spans.pair_statistics", ask)
    with pytest.raises(StoppedError):
        analyse(str(tiny_plate), HERE, stop=stop)
    before = begun.copy()
    # who was at its first frame when the run ended has nothing left to do
    for thread in threading.enumerate():
        if thread.name.startswith("well"):
            thread.join(30)
    assert (before, begun) == ([0], [0])


def test_a_plan_of_many_wells_is_left_when_somebody_asks(tiny_plate, monkeypatch):
    described = list[WellPath]()
    monkeypatch.setattr("hcs.run.plan.describe_well", lambda plate, well: described.append(well))
    with pytest.raises(StoppedError):
        make_plan(open_plate(tiny_plate), HERE, AskedAt(2))
    # several are looked at at once, but none any more
    assert len(described) == 1
