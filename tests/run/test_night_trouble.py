"""What nobody wishes a night: it costs a plate at most, and is told."""

import importlib
import re

import pandas as pd
import pytest

from hcs.errors import HcsError, MissingError, StorageError
from hcs.plate.arrivals import find_plates
from hcs.plate.open import open_plate
from hcs.plate.table import write_table
from hcs.run.budget import NIGHT_FOLDER
from hcs.run.night_look import look_at, with_quarantine
from hcs.run.night_report import PlateRecord
from tests.nights import states


@pytest.mark.parametrize(
    ("where", "what"),
    [
        ("hcs.run.night_queue.look_at", KeyError("wells")),
        ("hcs.run.night.share_of", ModuleNotFoundError("No module named 'torch'")),
        ("hcs.run.night.with_quarantine", KeyError("cause")),
    ],
)
def test_what_nobody_thought_of_costs_its_plate_and_not_the_night(night, monkeypatch, where, what):
    module, _, name = where.rpartition(".")
    right = getattr(importlib.import_module(module), name)

    def wrong(*given: object) -> object:
        if "a.zarr" in str(given[0]) or getattr(given[0], "channel", "") == "phase":
            raise what
        return right(*given)

    night.plate("a")
    night.plate("b")
    (night.folder / "a.hcs.yaml").write_text("channel: phase")
    monkeypatch.setattr(where, wrong)
    report = night()
    assert states(report) == {"a": "failed", "b": "done"}
    assert report.plates[0].why.startswith(type(what).__name__)
    assert (report.exit_code, report.warnings) == (2, ())
    assert (night.folder / NIGHT_FOLDER / "summary.md").is_file()


def test_a_plate_that_asks_for_what_is_not_its_to_say_costs_that_plate(night):
    night.plate("a")
    night.plate("b")
    (night.folder / "a.hcs.yaml").write_text("run: {memory_per_worker: lots}")
    report = night()
    assert states(report) == {"a": "failed", "b": "done"}
    assert "run.memory_per_worker is not a plate's to say" in report.plates[0].why


def test_a_quarantine_that_somebody_else_wrote_is_not_counted(analysed_plate):
    write_table(
        open_plate(analysed_plate), None, "quarantine", pd.DataFrame({"x": [1]}), "generic_table"
    )
    record = PlateRecord(str(analysed_plate), "done")
    assert with_quarantine(record) == record


def test_who_watches_the_night_never_stops_it(night):
    night.plate("a")
    night.plate("b")
    night.heard = None
    assert states(night()) == {"a": "done", "b": "done"}


def test_a_plate_that_could_not_be_looked_at_for_a_moment_is_looked_at_again(night, monkeypatch):
    looks = []

    def shaky(*given: object) -> object:
        looks.append(given)
        if len(looks) == 1:
            raise StorageError("cannot read a.zarr: Input/output error", hint="look at the disk")
        return look_at(*given)

    night.plate("a")
    monkeypatch.setattr("hcs.run.night_queue.look_at", shaky)
    report = night(until=night.until(minutes=45), time_zone="UTC", look_every_min=20)
    assert (night.ran, states(report)) == (["a"], {"a": "done"})


def failing(monkeypatch, *answers: object) -> None:
    """Have looks into the folder answer so, one after the other, and then as it is."""
    left = list(answers)

    def listed(*given: object) -> tuple[str, ...]:
        answer = left.pop(0) if left else None
        if isinstance(answer, Exception):
            raise answer
        return find_plates(*given)

    monkeypatch.setattr("hcs.run.night_queue.find_plates", listed)


GONE = StorageError("cannot read plates: Input/output error")


@pytest.mark.parametrize("problem", [GONE, MissingError("there is no folder plates")])
def test_a_folder_that_cannot_be_listed_any_more_is_told_of_and_ends_no_night(
    night, monkeypatch, problem
):
    night.plate("a")
    night.plate("b")
    night.script["b"] = lambda: night.plate("c")
    failing(monkeypatch, None, *[problem] * 6)
    report = night(until=night.until(minutes=100), time_zone="UTC", look_every_min=30)
    assert states(report) == {"a": "done", "b": "done", "c": "done"}
    (warning,) = report.warnings
    assert re.fullmatch(rf"new plates were not looked for at \d\d:\d\d: {problem.message}", warning)


def test_a_listing_that_fails_for_a_moment_is_tried_again(night, monkeypatch):
    night.plate("a")
    failing(monkeypatch, GONE, None, GONE, GONE)
    report = night()
    assert (states(report), report.warnings) == ({"a": "done"}, ())


def test_a_night_whose_folder_cannot_be_listed_at_all_says_so(night, monkeypatch):
    failing(monkeypatch, *[GONE] * 3)
    with pytest.raises(HcsError, match="cannot read plates: Input/output error"):
        night()


def test_whatever_ends_a_night_it_is_summed_up(night, monkeypatch):
    night.plate("a")
    failing(monkeypatch, None, ZeroDivisionError("oh"))
    report = night()
    assert states(report) == {"a": "done"}
    assert report.warnings == ("the night ended before its time: ZeroDivisionError: oh",)
    assert (report.exit_code, report.stopped) == (2, False)
    summary = (night.folder / NIGHT_FOLDER / "summary.md").read_text()
    assert "warning: the night ended before its time" in summary
