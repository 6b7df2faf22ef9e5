"""What a night leaves beside the plates."""

import os
from datetime import timedelta

import pytest

from hcs.errors import LockedError
from hcs.run.budget import NIGHT_FOLDER
from hcs.run.night_notes import with_warnings
from hcs.run.night_summary import to_text
from tests.nights import states, stop


def test_the_summary_lies_beside_the_plates(night):
    night.plate("a")
    report = night()
    text = (night.folder / NIGHT_FOLDER / "summary.md").read_text()
    assert text.startswith("# 1 plate done\n")
    assert report.warnings == ()


def test_what_is_warned_of_later_reaches_the_summary_beside_the_plates(night):
    report = night()
    folder = night.folder / NIGHT_FOLDER
    assert with_warnings(report, []) == report
    assert with_warnings(report, ["nobody is told"]).warnings == ("nobody is told",)
    (dated,) = (folder / "summaries").iterdir()
    assert dated.read_text() == (folder / "summary.md").read_text()
    assert "- warning: nobody is told\n" in dated.read_text()
    (folder / "summary.md").unlink()
    (folder / "summary.md").mkdir()
    warned = with_warnings(report, ["nobody is told"]).warnings
    assert len(warned) == 2
    assert warned[1].startswith("the summary is not left beside the plates: ")


def test_while_a_night_goes_on_its_summary_says_how_far_it_is(night):
    for name in ("a", "b", "c"):
        night.plate(name)
    summary, seen = night.folder / NIGHT_FOLDER / "summary.md", []
    night.script["b"] = lambda: seen.append(summary.read_text())
    night()
    (so_far,) = seen
    assert so_far.startswith("# so far: 1 plate done, 1 under way, 1 to come\n")
    assert "; the night goes on: as of " in so_far
    assert "to come: c.zarr" in so_far
    assert "so far" not in summary.read_text()


def test_the_summaries_of_earlier_nights_stay_for_two_months(night):
    night.plate("a")
    summaries = night.folder / NIGHT_FOLDER / "summaries"
    for _ in range(3):
        report = night()
        night.time += timedelta(days=1)
    names = sorted(path.name for path in summaries.iterdir())
    assert len(names) == 3
    assert names[-1] == f"{report.began:%Y-%m-%d_%H-%M-%S}.md"
    assert (summaries / names[-1]).read_text() == (summaries.parent / "summary.md").read_text()
    for day in range(70):
        (summaries / f"2020-01-01_18-00-{day:02}.md").touch()
    night()
    kept = sorted(path.name for path in summaries.iterdir())
    assert (len(kept), kept[-4:-1]) == (60, names)


def test_what_nights_that_were_killed_left_is_swept_and_what_another_writes_is_not(night):
    folder = night.folder / NIGHT_FOLDER
    (folder / "summaries").mkdir(parents=True)
    left = [folder / ".summary.md.0.partial", folder / "summaries" / ".2026.md.0.partial"]
    written = folder / ".rates.json.1.partial"
    for path in (*left, written):
        path.touch()
    for path in left:
        os.utime(path, (0, 0))
    assert night().warnings == ()
    assert list(folder.rglob("*.partial")) == [written]


def test_a_plate_that_arrives_or_is_in_use_for_days_is_trouble(night):
    night.plate("a")
    (night.folder / "b.zarr").mkdir()
    night.script["a"] = stop(LockedError("plate a is locked by ann"))
    first = night()
    assert not first.is_trouble
    night.time += timedelta(hours=71)
    assert not night().is_trouble
    night.time += timedelta(hours=2)
    late = night()
    assert (late.is_trouble, late.exit_code) == (True, 0)
    assert [plate.overdue for plate in late.plates] == [True, True]
    told = f"still arriving: b.zarr: since {first.ended:%d %b %Y %H:%M}, it has no metadata yet"
    assert told in to_text(late)
    assert not night(overdue_after_h=None).is_trouble

    # another state is another wait
    night.script.clear()
    assert states(night()) == {"a": "done", "b": "still arriving"}
    night.script["a"] = stop(LockedError("plate a is locked by bob"))
    assert [plate.overdue for plate in night().plates] == [False, True]


@pytest.mark.parametrize("content", ["no JSON", '{"in use: a": "monday"}'])
def test_damaged_notes_of_nights_are_forgotten(night, content, caplog):
    (night.folder / NIGHT_FOLDER).mkdir()
    (night.folder / NIGHT_FOLDER / "waiting.json").write_text(content)
    (night.folder / "a.zarr").mkdir()
    assert states(night()) == {"a": "still arriving"}
    assert "since when plates wait is forgotten" in caplog.text


def test_no_piece_of_work_hangs_for_ever_in_a_night(night):
    for name in ("a", "b"):
        night.plate(name)
    (night.folder / "b.hcs.yaml").write_text("run: {timeout_s: 60}")
    (night.folder / "c.hcs.yaml").write_text("run: {timeout_s: 1000000}")
    night.plate("c")
    night()
    assert [one.run.timeout_s for one in night.settings] == [6 * 3600, 60, 6 * 3600]
    night(stuck_after_h=None)
    assert night.settings[3].run.timeout_s is None


def test_a_folder_that_cannot_be_written_costs_the_summary_only(night):
    night.plate("a")
    (night.folder / NIGHT_FOLDER).write_text("in the way")
    report = night()
    assert states(report) == {"a": "done"}
    assert "the summary is not left beside the plates: cannot write" in report.warnings[0]
