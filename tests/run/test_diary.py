"""What a training tells while it runs."""

import json

import numpy as np
import pytest

from hcs.isl.history import CurvePoint
from hcs.isl.train import Progress, Trained
from hcs.isl.validate import Shown
from hcs.plate.storage import Storage
from hcs.report.training import CurveRow
from hcs.run.diary import CURVE, CURVES, EXAMPLES, PAGE, Diary, read_curve
from hcs.run.training import check_training
from tests.stained import training_values

SETTINGS = check_training(training_values("x.zarr"))
IMAGE = np.random.default_rng(0).normal(size=(1, 40, 40)).astype(np.float32)


def progress(step: int, *, looked: bool = True, loss: float = 0.5) -> Progress:
    return Progress(
        step=step,
        steps=10,
        loss=loss,
        validation={"loss": 0.4, "pcc": 0.8} if looked else None,
        best_step=step,
        seconds=5,
        seconds_left=7000,
        shown=(Shown("A/01/0, frame 3", IMAGE, IMAGE, IMAGE),) if looked else (),
    )


def test_a_look_writes_curve_pictures_and_a_page_that_comes_again(tmp_path):
    diary = Diary(tmp_path, SETTINGS)
    diary.note(progress(1, looked=False, loss=0.7))
    assert not list(tmp_path.iterdir())
    diary.note(progress(2, loss=0.3))
    (row,) = json.loads((tmp_path / CURVE).read_text())["rows"]
    assert row == {"step": 2, "loss": 0.5, "validation": {"loss": 0.4, "pcc": 0.8}}
    page = (tmp_path / PAGE).read_text()
    for words in ('http-equiv="refresh"', "step 2 of 10, 1 h 57 min left", CURVES, EXAMPLES, "0.8"):
        assert words in page


def test_what_a_killed_training_noted_after_its_checkpoint_is_noted_anew(tmp_path):
    first = Diary(tmp_path, SETTINGS)
    for step in (2, 4):
        first.note(progress(step))
    assert [row.step for row in read_curve(Storage.open(tmp_path))] == [2, 4]
    second = Diary(tmp_path, SETTINGS)
    second.note(progress(3, looked=False))
    second.note(progress(4))
    assert [row.step for row in read_curve(Storage.open(tmp_path))] == [2, 4]


def test_drawing_takes_a_small_part_of_the_time(tmp_path, monkeypatch):
    drawn = []
    monkeypatch.setattr(Diary, "_draw", lambda self, rows, *_: drawn.append(rows[-1].step))
    ticks = iter([0, 0, 2, 10, 41, 45, 43])
    monkeypatch.setattr("hcs.run.diary.time.monotonic", lambda: next(ticks))
    diary = Diary(tmp_path, SETTINGS)
    for step in (1, 2, 3):
        diary.note(progress(step))
    # the first took 2 s of the clock: nothing for 40 s
    assert drawn == [1]
    diary.note(progress(4))
    assert drawn == [1, 4]
    # what is cheap is told each time
    assert [row.step for row in read_curve(Storage.open(tmp_path))] == [1, 2, 3, 4]


def test_without_validation_the_last_weights_are_kept_and_no_line_marks_them(tmp_path):
    curve = (CurvePoint(5, 0.5, 1e-3, {}), CurvePoint(10, 0.25, 1e-3, {}))
    trained = Trained(None, curve, 10, {}, 10, "steps", 61.0)
    Diary(tmp_path, SETTINGS).end(trained, "training", {}, ())
    told = json.loads((tmp_path / CURVE).read_text())
    assert told["best_step"] is None
    assert told["state"] == (
        "ended at step 10 (all steps made) after 1 min; the weights of step 10 are kept"
    )
    assert read_curve(Storage.open(tmp_path))[1] == CurveRow(10, 0.25, {})


def test_an_early_end_says_why(tmp_path):
    curve = (CurvePoint(5, 0.5, 1e-3, {"loss": 0.1}),)
    trained = Trained(None, curve, 5, {"loss": 0.1}, 9, "patience", 1.0)
    Diary(tmp_path, SETTINGS).end(trained, "test", {"pcc": 0.5}, ())
    assert "ended at step 9 (it got no better)" in (tmp_path / PAGE).read_text()


@pytest.mark.parametrize("content", [b"", b"{}", b'{"rows": 3}'])
def test_a_damaged_curve_is_begun_anew(tmp_path, content):
    (tmp_path / CURVE).write_bytes(content)
    assert read_curve(Storage.open(tmp_path)) == []
