"""A night: which plates are begun, in which order, and what becomes of them; runs are scripted."""

import threading
import uuid
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from hcs.errors import (
    LockedError,
    MissingError,
    NoWorkersError,
    PlateError,
    StoppedError,
    WorkerError,
)
from hcs.plate.lock import acquire
from hcs.plate.open import open_plate
from hcs.plate.output import make_output
from hcs.plate.path import WellPath
from hcs.plate.sister import make_sister
from hcs.plate.storage import Storage
from hcs.run.analyse import analyse
from hcs.run.budget import NIGHT_FOLDER, Rates
from hcs.run.night import run_night
from hcs.run.night_look import is_done
from hcs.run.night_run import PlateRun
from hcs.run.night_settings import NightSettings
from hcs.run.outcome import Failure, OnOutcome, Report, WellOutcome, failure_of
from hcs.run.plan import make_plan
from hcs.run.stopping import Stop
from hcs.settings import Settings, load_settings
from tests.nights import FEW, HERE, NOW, WELL, states, stop
from tests.plates import make_plate, results_of

# which plates


def test_every_plate_that_has_arrived_is_analysed_once(night):
    night.plate("a")
    night.plate("may/b")
    report = night()
    assert states(report) == {"a": "done", "b": "done"}
    assert night.ran == night.heard == ["a", "b"]
    assert report.plates[0].link == "http://ui/a"
    assert report.exit_code == 0


def test_plates_that_still_arrive_are_left_and_named(night):
    night.plate("a")
    (night.folder / "b.zarr").mkdir()
    report = night(unchanged_min=30)
    assert night.ran == []
    assert states(report) == {"a": "still arriving", "b": "still arriving"}
    assert [plate.why for plate in report.plates][1] == "it has no metadata yet"
    assert report.exit_code == 0
    assert not report.had_work


def test_a_sentinel_is_asked_before_the_plate_is_opened(night):
    (night.folder / "a.zarr").mkdir()
    night.plate("b")
    (night.folder / "b.done").touch()
    report = night(sentinel="{plate}.done", unchanged_min=60)
    assert states(report) == {"b": "done", "a": "still arriving"}
    assert report.plates[1].why == "a.done is not there yet"


def test_what_steps_made_and_what_is_excluded_is_no_input(night):
    plate = open_plate(night.plate("a"))
    make_sister(plate, "isl-x")
    make_output(plate, str(night.folder / "results.zarr"))
    night.plate("a_truth")
    night.plate("test_b")
    assert states(night(exclude=("*_truth.zarr", "test_*"))) == {"a": "done"}


def test_a_plate_that_cannot_be_read_is_told_and_stops_no_other(night):
    night.plate("a")
    (night.folder / "b.zarr").mkdir()
    (night.folder / "b.zarr/.zattrs").write_text('{"plate": {"version": "0.4"}}')
    report = night()
    assert states(report) == {"b": "unreadable", "a": "done"}
    assert "rows" in report.plates[0].why
    assert report.exit_code == 2


def test_a_folder_that_is_not_there_ends_the_night(night):
    night.folder /= "nowhere"
    with pytest.raises(MissingError, match="there is no folder"):
        night()


def test_a_plate_is_no_folder_of_plates_and_nothing_is_written_into_it(night):
    night.folder = Path(night.plate("a"))
    before = sorted(night.folder.rglob("*"))
    with pytest.raises(PlateError, match=r"a\.zarr is a plate, not a folder of plates"):
        night()
    assert sorted(night.folder.rglob("*")) == before


def test_a_plan_that_cannot_be_made_is_a_failure_once_the_plate_is_there(night):
    night.plate("a")
    settings = load_settings(overrides=["channel=dic", "run.dask=none"])
    report = night(settings)
    assert states(report) == {"a": "failed"}
    assert "dic" in report.plates[0].why
    assert states(night(settings, unchanged_min=9)) == {"a": "still arriving"}


# in which order, by which settings


def test_priority_goes_first_then_the_name(night):
    for name in ("a", "b", "c", "d"):
        night.plate(name)
    (night.folder / "c.hcs.yaml").write_text("night: {priority: 5}")
    (night.folder / "a.hcs.yaml").write_text("night: {priority: -1}")
    night()
    assert night.ran == ["c", "b", "d", "a"]


def test_files_beside_a_plate_change_its_settings(night):
    night.plate("may/a")
    night.plate("b")
    (night.folder / "may/hcs.yaml").write_text("{channel: phase, ssl: {min_area_px: 9}}")
    (night.folder / "may/a.hcs.yaml").write_text("{ssl: {min_area_px: 8}}")
    report = night()
    assert night.ran == ["b", "a"]
    b, a = night.settings
    assert (b.channel, a.channel, a.ssl.min_area_px) == (None, "phase", 8)
    assert len(report.plates[1].settings_files) == 2


def test_a_wrong_file_beside_a_plate_costs_that_plate(night):
    night.plate("a")
    night.plate("b")
    (night.folder / "a.hcs.yaml").write_text("chanel: phase")
    report = night()
    assert states(report) == {"a": "failed", "b": "done"}
    assert report.plates[0].why.endswith("a.hcs.yaml: chanel is no setting")


# what becomes of them


def test_a_plate_that_fails_stops_no_other(night):
    for name in ("a", "b", "c", "d"):
        night.plate(name)
    night.script["a"] = stop(PlateError("it burns", hint="water"))
    night.script["b"] = stop(ZeroDivisionError("oh"))
    broken = Failure("damaged data", "chunk 0 is damaged")
    night.script["c"] = lambda: WellOutcome(WELL, "failed", failure=broken)
    report = night()
    assert night.ran == ["a", "b", "c", "d"]
    assert states(report) == {"a": "failed", "b": "failed", "c": "failed", "d": "done"}
    assert [plate.why for plate in report.plates[:3]] == [
        "it burns",
        "ZeroDivisionError: oh",
        "damaged data (1)",
    ]
    assert report.exit_code == 2


def test_a_plate_in_use_is_told_and_no_failure(night):
    night.plate("a")
    night.script["a"] = stop(LockedError("plate a is locked by ann"))
    report = night()
    assert states(report) == {"a": "in use"}
    assert report.plates[0].why.endswith(": plate a is locked by ann")
    assert report.exit_code == 0
    assert night.ran == ["a"]


def test_a_plate_that_arrives_while_another_is_analysed_is_done_in_the_same_night(night):
    night.plate("b")
    night.script["b"] = lambda: night.plate("a")
    assert states(night()) == {"a": "done", "b": "done"}
    assert night.ran == ["b", "a"]


def test_plates_at_once_run_at_once_and_share_the_workers(night):
    night.plate("a")
    night.plate("b")
    both = threading.Barrier(2, timeout=20)
    night.script |= {"a": both.wait, "b": both.wait}
    settings = load_settings(overrides=["run.dask=none", "run.workers=4"])
    assert states(night(settings, at_once=2)) == {"a": "done", "b": "done"}
    assert [one.run.workers for one in night.settings] == [2, 2]


def test_ctrl_c_ends_the_night_which_is_summed_up_all_the_same(night):
    for name in ("a", "b", "c"):
        night.plate(name)
    night.script["b"] = stop(KeyboardInterrupt())
    report = night()
    assert night.ran == ["a", "b"]
    assert states(report) == {"b": "stopped", "c": "stopped", "a": "done"}
    assert report.plates[0].why == "the night was stopped before it was done"
    assert report.exit_code == 130
    summary = (night.folder / NIGHT_FOLDER / "summary.md").read_text()
    assert summary.startswith("# 2 plates stopped, 1 done\n")


@pytest.mark.parametrize("error", [KeyboardInterrupt(), StoppedError("stopped")])
def test_a_plate_that_is_stopped_tells_how_far_it_was(night, error):
    url = night.plate("a", "A/01", "A/02", "A/03", "A/04")
    night.plate("b")
    broken = Failure("damaged data", "chunk 0 is damaged")
    # A/01 by an earlier night
    assert analyse(url, load_settings(overrides=["wells=[A/01]"])).exit_code == 0

    def work() -> None:
        for well, state, failure in (("A/02", "done", None), ("A/03", "failed", broken)):
            night.hear(WellOutcome(WellPath.parse(well), state, failure=failure), 1, 4)
        raise error

    night.script["a"] = work
    report = night()
    stopped = {Path(one.url).stem: one for one in report.plates}["a"]
    assert (stopped.state, stopped.wells, stopped.done, stopped.seconds) == ("stopped", 4, 2, 60)
    assert [str(one.well) for one in stopped.failed] == ["A/03"]


def test_what_a_night_has_not_counted_it_does_not_tell_as_nothing(night):
    for name in ("a", "b", "c"):
        night.plate(name, "A/01", "A/02")
    (night.folder / "a.hcs.yaml").write_text("chanel: phase")
    (night.folder / "d.zarr").mkdir()
    (night.folder / "d.zarr/.zattrs").write_text("no JSON")
    night.script["b"] = stop(LockedError("plate b is locked by ann"))
    night.script["c"] = stop(KeyboardInterrupt())
    night.plate("e")
    counted = {
        Path(one.url).stem: (one.state, one.wells, one.done, one.seconds) for one in night().plates
    }
    assert counted == {
        "a": ("failed", None, None, None),
        "b": ("in use", 2, None, None),
        "c": ("stopped", 2, 0, 60),
        "d": ("stopped", None, None, None),
        "e": ("stopped", None, None, None),
    }


def test_ctrl_c_stops_the_plates_in_other_threads(night):
    night.plate("a")
    night.plate("b")

    def wait_for_the_end() -> None:
        assert night.stop.wait(60)
        raise WorkerError("the workers are gone")

    night.script |= {"a": stop(KeyboardInterrupt()), "b": wait_for_the_end}
    report = night(at_once=2)
    assert states(report) == {"a": "stopped", "b": "stopped"}


def test_a_night_that_is_stopped_while_it_looks_or_analyses_begins_nothing_more(night):
    for name in ("a", "b"):
        night.plate(name)
    night.script["a"] = night.stop.ask
    report = night()
    assert night.ran == ["a"]
    assert states(report) == {"a": "done", "b": "stopped"}
    again = night()
    assert states(again) == {"a": "stopped", "b": "stopped"}
    assert (again.exit_code, night.ran) == (130, ["a"])


def test_a_night_that_is_stopped_while_it_looks_at_a_plate_tells_so(night, monkeypatch):
    night.plate("a")

    def looking(*_of: object) -> None:
        night.stop.ask()
        night.stop.check()

    monkeypatch.setattr("hcs.run.night_queue.look_at", looking)
    report = night()
    assert (states(report), report.exit_code, night.ran) == ({"a": "stopped"}, 130, [])


@pytest.mark.parametrize("how", ["no scheduler", "each well", "the last well"])
def test_plates_that_found_no_workers_are_taken_up_again_when_there_are_some(night, how):
    for name in ("a", "b"):
        night.plate(name)
    begun = night.time
    lacking = NoWorkersError("the scheduler at tls://there:8786 has no workers", hint="start some")

    def away() -> object:
        if night.time - begun > timedelta(minutes=10):
            return None
        if how == "no scheduler":
            raise lacking
        if how == "the last well":
            night.hear(WellOutcome(WellPath.parse("A/02"), "done"), 1, 2)
        return WellOutcome(WELL, "failed", failure=failure_of(lacking))

    night.script |= {"a": away, "b": away}
    first = night()
    assert states(first) == {"a": "no workers", "b": "no workers"}
    assert (first.exit_code, first.is_trouble) == (1, True)
    night.time = begun
    night.ran.clear()
    report = night(until=night.until(minutes=100), time_zone="UTC", look_every_min=30)
    assert night.ran == ["a", "b"] * 2
    assert states(report) == {"a": "done", "b": "done"}
    assert report.exit_code == 0


def test_what_wells_warned_of_stands_in_the_summary(night):
    night.plate("a")
    log = ("INFO ssl, not done yet", "WARNING frame 3 has no chunk", "WARNING frame 4 has no chunk")
    night.script["a"] = lambda: WellOutcome(WELL, "done", log=log)
    (record,) = night().plates
    assert (record.state, record.why) == ("done", "warned of (2): A/01: frame 3 has no chunk")


def test_ctrl_c_while_nothing_is_there_to_do_ends_the_night(night):
    night.script["sleep"] = stop(KeyboardInterrupt())
    report = night(until=night.until(minutes=100), time_zone="UTC", look_every_min=30)
    assert (report.plates, report.exit_code) == ((), 130)


# the hour


def test_a_plate_that_cannot_be_done_by_the_hour_is_not_begun(night):
    night.plate("a")
    night.plate("b", "A/01", "A/02", "A/03")
    night.takes_s = 600
    until = night.until(minutes=25)
    report = night(until=until, time_zone="UTC", margin=1.0)
    # the first one is the measurement: 10 minutes for a third of the other's bytes
    assert night.ran == ["a"]
    assert states(report) == {"b": "no time left", "a": "done"}
    late = report.plates[0]
    assert late.why == "needs about 30 min, 15 min are left"
    assert (late.wells, late.done, late.seconds) == (3, 0, None)
    assert late.expected_s == pytest.approx(1800)
    assert report.exit_code == 2
    assert (night.folder / NIGHT_FOLDER / "rates.json").is_file()

    # the measured rate holds the next night, for which a smaller plate comes
    night.plate("c")
    night.ran.clear()
    night(until=night.until(minutes=11), time_zone="UTC", margin=1.0, exclude=("a*",))
    assert night.ran == ["c"]


def test_the_margin_makes_room_for_surprises(night):
    night.plate("a")
    night.takes_s = 600
    night(until=night.until(minutes=1000), time_zone="UTC")
    night.ran.clear()
    assert states(night(until=night.until(minutes=12), time_zone="UTC")) == {"a": "no time left"}
    assert states(night(until=night.until(minutes=13), time_zone="UTC")) == {"a": "done"}


def test_a_plate_is_not_measured_while_it_waits(night):
    for name in ("a", "b"):
        night.plate(name)
    night.takes_s = 11 * 3600

    def after_a_long_queue() -> None:
        night.hear(WellOutcome(WELL, "done", seconds=600), 1, 1)

    night.script["a"] = after_a_long_queue
    night(until=night.until(minutes=13 * 60), time_zone="UTC", margin=1.0, exclude=("b*",))
    night.ran.clear()
    assert states(night(until=night.until(minutes=11), time_zone="UTC", exclude=("a*",))) == {
        "b": "no time left"
    }
    report = night(until=night.until(minutes=13), time_zone="UTC", exclude=("a*",))
    assert states(report) == {"b": "done"}
    assert report.plates[0].expected_s == pytest.approx(600)


def test_one_slow_plate_does_not_end_all_nights(night):
    night.plate("a")
    night.takes_s = 12.5 * 3600
    night(until=night.until(minutes=13 * 60), time_zone="UTC")
    night.takes_s, tried = 3600, 0
    night.plate("b")
    while "b" not in night.ran:
        tried += 1
        assert tried < 10
        # the next evening
        night.time += timedelta(days=1)
        night(until=night.until(minutes=13 * 60), time_zone="UTC", exclude=("a*",))
    assert tried > 1
    night.plate("c")
    assert states(
        night(until=night.until(minutes=8 * 60), time_zone="UTC", exclude=("[ab]*",))
    ) == {"c": "done"}


def test_nothing_is_begun_after_the_hour(night):
    night.plate("a")
    night.plate("b")
    night.takes_s = 3600
    report = night(until=night.until(minutes=30), time_zone="UTC")
    assert states(report) == {"b": "no time left", "a": "done"}
    assert report.plates[0].why.endswith("0 s are left")


def test_a_plate_of_a_kind_that_was_never_measured_is_begun_by_the_planners_guess(
    night, monkeypatch
):
    url = night.plate("a")
    n_bytes = sum(well.bytes_read for well in make_plan(open_plate(url), HERE).wells)
    monkeypatch.setattr("hcs.run.budget._GUESS_S_PER_BYTE", 6000 / n_bytes)
    # 100 minutes as guessed, a fourth of it at best
    report = night(until=night.until(minutes=24), time_zone="UTC", margin=1)
    assert states(report) == {"a": "no time left"}
    assert report.plates[0].why == "needs about 1 h 40 min, 24 min are left"
    assert states(night(until=night.until(minutes=26), time_zone="UTC", margin=1)) == {"a": "done"}


def at(hour: int, minute: int = 0, day: int = 21) -> datetime:
    return datetime(2026, 11, day, hour, minute, tzinfo=UTC)


@pytest.mark.parametrize(
    ("scheduled", "begins", "longest_h", "until"),
    [
        (at(18), at(18, 1), None, at(7, day=22)),
        # the server was down: the hour is not that of the next day
        (at(18), at(7, 5, day=22), None, at(7, day=22)),
        (at(18), at(2, day=22), None, at(7, day=22)),
        # nobody says when it should have begun
        (None, at(7, 5), None, at(7, day=22)),
        (None, at(7, 5), 16, at(7)),
        (None, at(18), 16, at(7, day=22)),
        # a clock that is behind the server's
        (at(7, 1), at(6, 59), None, at(7)),
    ],
)
def test_a_night_that_begins_late_ends_when_it_should_have(
    night, scheduled, begins, longest_h, until
):
    night.plate("a")
    night.time, night.scheduled = begins, scheduled
    report = night(until="07:00", time_zone="UTC", longest_h=longest_h)
    assert report.until == until
    late = until < begins
    assert states(report) == {"a": "no time left" if late else "done"}
    assert report.warnings == (("it is 07:05, the night should be over by 07:00",) if late else ())


def test_a_plate_of_which_half_was_done_measures_that_half(night):
    night.plate("a", "A/01", "A/02")
    night()
    one = night.plate("b")
    n_bytes = sum(well.bytes_read for well in make_plan(open_plate(one), HERE).wells)
    assert Rates(str(night.folder)).seconds(n_bytes, HERE) == pytest.approx(night.takes_s)


def test_the_night_waits_for_plates_until_the_hour(night):
    until, seen = night.until(minutes=100), []

    def arrive() -> None:
        summary = (night.folder / NIGHT_FOLDER / "summary.md").read_text()
        seen.append(summary.partition("\n")[0])
        if len(night.slept) == 2:
            night.plate("a")

    night.script["sleep"] = arrive
    report = night(until=until, time_zone="UTC", look_every_min=30)
    assert night.slept == [1800] * 3
    assert seen == ["# so far: no plates", "# so far: no plates", "# so far: 1 plate done"]
    assert night.ran == ["a"]
    assert states(report) == {"a": "done"}


def test_a_plate_in_use_is_tried_again_at_the_next_look(night):
    night.plate("a")
    answers = iter([LockedError("plate a is locked by ann"), None])

    def answer() -> None:
        error = next(answers)
        if error:
            raise error

    night.script["a"] = answer
    report = night(until=night.until(minutes=45), time_zone="UTC", look_every_min=20)
    assert night.ran == ["a", "a"]
    assert states(report) == {"a": "done"}


# for real


def test_two_nights_of_a_real_plate(tiny_plate):
    folder, locked = tiny_plate.parent, tiny_plate.with_name("busy.zarr")
    make_plate(locked, {"A/01": FEW})
    with acquire(open_plate(locked).companion, heartbeat_s=0.2):
        report = run_night(str(folder), HERE, NightSettings(**NOW))
    assert states(report) == {"busy": "in use", "tiny": "done"}
    assert "locked by" in report.plates[0].why
    tiny = report.plates[1]
    assert (tiny.wells, tiny.done, tiny.quarantined) == (3, 3, 0)
    assert Rates(str(folder)).is_measured(1, HERE)

    before = results_of(tiny_plate)
    ran = []
    again = run_night(
        str(folder),
        HERE,
        NightSettings(exclude=("busy*",), unchanged_min=60),
        on_plate=ran.append,
    )
    assert states(again) == {"tiny": "nothing to do"}
    assert (again.plates[0].done, again.plates[0].quarantined, ran) == (3, 0, [])
    assert results_of(tiny_plate) == before


def test_a_plate_whose_tables_were_not_summed_up_is_not_done(analysed_plate):
    def done(settings: Settings = HERE) -> bool:
        plate = open_plate(analysed_plate)
        return is_done(plate, make_plan(plate, settings))

    assert done()
    assert not done(load_settings(overrides=["ssl.min_area_px=5"]))
    companion = analysed_plate.with_suffix(".hcs")
    marker = companion / "plate/finish.json"
    marker.write_text(marker.read_text().replace('"done"', '"pending"'))
    assert not done()
    marker.unlink()
    assert not done()


def test_tables_that_another_version_of_hcs_summed_up_are_made_anew(analysed_plate, monkeypatch):
    plate = open_plate(analysed_plate)
    plan = make_plan(plate, HERE)
    for record in ({}, {"parts": {}}, {"parts": {"wells": [["A/01", "done"]]}}):
        monkeypatch.setattr("hcs.run.night_look.record_of", lambda _, record=record: record)
        assert not is_done(plate, plan)


@pytest.mark.integration
def test_a_night_on_s3(s3_bucket):
    folder = f"{s3_bucket}/{uuid.uuid4().hex}"
    make_plate(f"{folder}/may/a.zarr", {"A/01": FEW})
    make_plate(f"{folder}/b.zarr", {"A/01": FEW})
    Storage.open(f"{folder}/may").write("hcs.yaml", b"{channel: phase, night: {priority: 1}}")
    Storage.open(f"{folder}/may").write("a.done", b"")
    ran = []

    def run(url: str, settings: Settings, _stop: Stop, _on_outcome: OnOutcome) -> PlateRun:
        ran.append((url, settings.channel))
        return PlateRun(Report(url, (WELL,), (WellOutcome(WELL, "done"),), seconds=1))

    report = run_night(f"{folder}/", HERE, NightSettings(sentinel="{plate}.done"), run=run)
    assert states(report) == {"a": "done", "b": "still arriving"}
    report = run_night(folder, HERE, NightSettings(**NOW), run=run)
    assert states(report) == {"a": "done", "b": "done"}
    first = (f"{folder}/may/a.zarr", "phase")
    assert ran == [first, first, (f"{folder}/b.zarr", None)]
    night_folder = Storage.open(f"{folder}/{NIGHT_FOLDER}")
    assert night_folder.read("summary.md").startswith(b"# 2 plates done\n")
    assert Rates(folder).is_measured(1, HERE)
