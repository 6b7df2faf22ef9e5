"""Which plate comes next, and which are not looked at again since nothing changed."""

import os
import time
from shutil import copytree

import pytest

from hcs.errors import LockedError, StorageError
from hcs.plate.lock import Lock, acquire, look
from hcs.plate.open import open_plate
from hcs.run import night_look, night_queue
from hcs.run.analyse import analyse
from hcs.run.night_memory import digest_of
from hcs.settings import load_settings
from tests.nights import FEW, HERE, states
from tests.plates import make_plate


@pytest.fixture
def planned(monkeypatch) -> list[str]:
    """Return the plates that were planned, in order."""
    names, right = [], night_look.make_plan

    def make_plan(plate, *given):
        names.append(plate.storage.name)
        return right(plate, *given)

    monkeypatch.setattr(night_look, "make_plan", make_plan)
    return names


def finished(night, first: str, *others: str) -> None:
    """Make plates that are done: the same ones."""
    assert analyse(night.plate(first), HERE).exit_code == 0
    for name in others:
        for ending in ("zarr", "hcs"):
            copytree(night.folder / f"{first}.{ending}", night.folder / f"{name}.{ending}")


def test_new_plates_come_before_those_that_may_be_done(night, planned):
    finished(night, "a", "b", "c", "d", "e")
    night.plate("new")
    seen = []
    night.script["new"] = lambda: seen.extend(planned)
    assert states(night()) == {"new": "done"} | dict.fromkeys("abcde", "nothing to do")
    assert seen == ["new"]
    assert sorted(planned) == ["a", "b", "c", "d", "e", "new"]


def test_what_arrives_takes_the_place_that_its_priority_gives_it(night):
    for name in ("a", "b", "c"):
        night.plate(name)

    def arrive() -> None:
        night.plate("urgent")
        (night.folder / "urgent.hcs.yaml").write_text("night: {priority: 5}")

    night.script["a"] = arrive
    night()
    assert night.ran == ["a", "urgent", "b", "c"]


def test_a_priority_that_is_given_at_night_holds_from_the_next_plate_on(night):
    for name in ("a", "b", "c"):
        night.plate(name)
    night.script["a"] = lambda: (night.folder / "c.hcs.yaml").write_text("night: {priority: 1}")
    night()
    assert night.ran == ["a", "c", "b"]


def test_a_plate_that_arrives_keeps_no_other_waiting_and_is_not_forgotten(night, monkeypatch):
    looks, right = [], night_queue.look_at

    def look_at(url, *given):
        looks.append(url.rpartition("/")[2])
        return right(url, *given)

    monkeypatch.setattr(night_queue, "look_at", look_at)
    (night.folder / "a.zarr").mkdir()
    for name in ("b", "c"):
        night.plate(name)
    # looked at a minute ago: others come first; then once more, before the night ends
    night.script["c"] = lambda: (night.folder / "a.zarr").rmdir() or night.plate("a")
    assert states(night()) == dict.fromkeys("abc", "done")
    assert looks == ["a.zarr", "b.zarr", "c.zarr", "a.zarr"]


def test_a_plate_that_arrived_meanwhile_comes_first_if_its_priority_says_so(night):
    (night.folder / "a.zarr").mkdir()
    (night.folder / "a.hcs.yaml").write_text("night: {priority: 1}")
    for name in ("b", "c", "d"):
        night.plate(name)
    night.takes_s = 600
    night.script["b"] = lambda: (night.folder / "a.zarr").rmdir() or night.plate("a")
    night()
    assert night.ran == ["b", "a", "c", "d"]


def held(night, name: str) -> Lock:
    """Have another run hold a plate, until its lock is released."""
    lock = acquire(open_plate(night.folder / f"{name}.zarr").companion)

    def ask() -> None:
        if look(open_plate(night.folder / f"{name}.zarr").companion).state == "held":
            raise LockedError(f"plate {name} is locked by ann")

    night.script[name] = ask
    return lock


def test_a_plate_in_use_takes_its_place_as_soon_as_it_is_free(night):
    for name in ("a", "b", "c", "d"):
        night.plate(name)
    (night.folder / "a.hcs.yaml").write_text("night: {priority: 1}")
    night.script["b"] = held(night, "a").release
    assert states(night()) == dict.fromkeys("abcd", "done")
    assert night.ran == ["a", "b", "a", "c", "d"]


def test_a_plate_that_stays_in_use_is_asked_for_once_more_when_nothing_else_is_ready(night):
    for name in ("a", "b", "c", "d"):
        night.plate(name)
    with held(night, "a"), held(night, "c"):
        report = night()
    assert states(report) == {"a": "in use", "c": "in use", "b": "done", "d": "done"}
    assert night.ran == ["a", "b", "c", "d", "a", "c"]
    assert report.plates[1].why == f"asked for at {report.ended:%H:%M}: plate c is locked by ann"
    assert report.exit_code == 0


def test_a_plate_in_use_is_told_so_also_when_there_is_no_time_left_for_it(night):
    for name in ("a", "b"):
        night.plate(name)
    night.takes_s = 600
    hour = {"until": night.until(minutes=21), "time_zone": "UTC"}
    with held(night, "a"):
        report = night(**hour)
    assert states(report) == {"a": "in use", "b": "done"}
    assert report.plates[0].why.endswith("another run has it, and no time is left to wait for it")
    assert (night.ran, report.exit_code) == (["a", "b"], 0)
    assert states(night(**hour)) == {"a": "no time left", "b": "no time left"}


def test_plates_in_use_are_not_asked_for_again_where_nothing_happened_meanwhile(night):
    for name in ("a", "b"):
        night.plate(name)
    with held(night, "a"), held(night, "b"):
        assert states(night()) == {"a": "in use", "b": "in use"}
    assert night.ran == ["a", "b"]


def test_a_plate_whose_lock_only_seems_to_be_held_is_asked_for_all_the_same(night):
    for name in ("a", "b"):
        night.plate(name)
    with held(night, "a"):
        answers = iter([LockedError("plate a is locked by ann"), None])

        def ask() -> None:
            if error := next(answers):
                raise error

        # on another machine: its heart has stopped meanwhile
        night.script["a"] = ask
        assert states(night()) == {"a": "done", "b": "done"}


def test_a_plate_that_another_run_has_done_meanwhile_is_told_as_done(night):
    night.plate("b")
    url = night.plate("a")
    lock = held(night, "a")

    def do_it() -> None:
        lock.release()
        analyse(url, HERE)

    night.script["b"] = do_it
    report = night()
    assert states(report) == {"b": "done", "a": "nothing to do"}
    assert (report.plates[1].wells, report.plates[1].done, night.ran) == (1, 1, ["a", "b"])


def test_plates_in_use_are_asked_for_again_by_who_is_through_last(night):
    for name in ("a", "b"):
        night.plate(name)
    lock = held(night, "a")

    def let_go() -> None:
        # the other one has asked for it, and ends
        end = time.monotonic() + 20
        while "a" not in night.heard and time.monotonic() < end:
            time.sleep(0.01)
        lock.release()

    night.script["b"] = let_go
    assert states(night(at_once=2)) == {"a": "done", "b": "done"}
    assert sorted(night.ran) == ["a", "a", "b"]


def test_a_lock_that_cannot_be_read_counts_as_held(night, monkeypatch):
    for name in ("a", "b", "c"):
        night.plate(name)

    def unreadable(_companion: object) -> None:
        raise StorageError("cannot read a.hcs/lock: Input/output error")

    monkeypatch.setattr(night_look, "look", unreadable)
    with held(night, "a"):
        night()
    assert night.ran == ["a", "b", "c", "a"]


def test_a_night_that_is_stopped_names_what_is_new_and_counts_what_was_done_before(night):
    finished(night, "a", "b")
    for name in ("new", "newer"):
        night.plate(name)
    night.script["new"] = night.stop.ask
    report = night()
    assert states(report) == {"new": "done", "newer": "stopped"}
    assert report.warnings == ("2 plates that were finished before were not looked at again",)


# what is remembered


def test_what_is_done_is_not_planned_again_and_told_all_the_same(night, planned):
    finished(night, "a")
    bad = night.plate("bad", "A/01", "A/02")
    next((night.folder / "bad.zarr/A/02/0").glob("*/0/0/0/0/0")).write_bytes(b"no chunk")
    analyse(bad, HERE)
    night()
    first = night(exclude=("bad*",))
    planned.clear()
    again = night(exclude=("bad*",))
    assert planned == []
    assert again.plates == first.plates
    assert (again.plates[0].wells, again.plates[0].done) == (1, 1)
    assert (again.plates[0].quarantined, night.ran) == (first.plates[0].quarantined, ["bad"])


def rewritten(night, key: str) -> None:
    path = night.folder / key
    content, before = path.read_bytes(), path.stat()
    path.write_bytes(bytes([content[0] ^ 1]) + content[1:])
    # of the same size and date
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


CHUNK = "a.zarr/A/01/0/0/0/0/0/0/0"


@pytest.mark.parametrize(
    "change",
    [
        lambda night: rewritten(night, CHUNK),
        lambda night: (night.folder / CHUNK).unlink(),
        lambda night: rewritten(night, "a.zarr/A/01/0/.zattrs"),
        lambda night: rewritten(night, "a.hcs/plate/finish.json"),
        lambda night: next((night.folder / "a.hcs/A/01").glob("ssl.json")).unlink(),
        lambda night: (night.folder / "hcs.yaml").write_text("{ssl: {min_area_px: 9}}"),
        lambda night: (night.folder / "a.hcs.yaml").write_text("{calibration: {interval_s: 9}}"),
        lambda night: (night.folder / "hcs.night/done.json").write_text("no JSON"),
        lambda night: (night.folder / "hcs.night/done.json").unlink(),
    ],
)
def test_whatever_changes_of_a_plate_it_is_looked_at_again(night, planned, change):
    finished(night, "a")
    assert states(night()) == {"a": "nothing to do"}
    planned.clear()
    night()
    assert planned == []
    change(night)
    night()
    assert planned == ["a"]


def test_how_work_is_spread_and_results_that_lie_there_change_nothing(night):
    finished(night, "a")
    url = str(night.folder / "a.zarr")
    digest = digest_of(url, HERE)
    assert digest_of(url, load_settings(overrides=["run.workers=7"])) == digest
    (night.folder / "a.zarr/tables/mine").mkdir()
    (night.folder / "a.zarr/tables/mine/x.csv").touch()
    assert digest_of(url, HERE) == digest
    assert digest_of(url, load_settings(overrides=["plane=max"])) != digest


def test_a_weights_file_of_another_content_is_another_method(night, weights, tmp_path):
    finished(night, "a")
    url = str(night.folder / "a.zarr")
    names = [weights[head] for head in ("nuclei", "cells")]
    digests = {
        digest_of(url, load_settings(overrides=["methods=[isl]", f"isl.weights=['{name}']"]))
        for name in names
    }
    assert len(digests) == 2


def test_what_cannot_be_remembered_costs_time_only(night, planned, caplog):
    finished(night, "a")
    (night.folder / "hcs.night").write_text("in the way")
    assert states(night()) == states(night()) == {"a": "nothing to do"}
    assert planned == ["a", "a"]
    assert "what is done is not remembered: cannot write" in caplog.text


@pytest.mark.integration
def test_what_is_done_on_s3_is_remembered_there(s3_bucket, planned):
    from hcs.run.night import run_night
    from hcs.run.night_settings import NightSettings

    folder = f"{s3_bucket}/remembered"
    make_plate(f"{folder}/a.zarr", {"A/01": FEW})
    analyse(f"{folder}/a.zarr", HERE)
    now = NightSettings(unchanged_min=0)
    for expected in (["a"], []):
        planned.clear()
        assert states(run_night(folder, HERE, now)) == {"a": "nothing to do"}
        assert planned == expected
