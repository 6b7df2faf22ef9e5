"""What the artifacts say."""

from itertools import count
from queue import Queue
from threading import Event, Thread
from uuid import uuid4

import httpx
import pytest

from flows import nightly, progress
from flows.progress import Progress, artifact_key
from hcs.plate.path import WellPath
from hcs.run.outcome import Failure, WellOutcome


@pytest.mark.parametrize(("name", "key"), [("Plate 7", "plate-7"), ("__", "plate"), ("éa", "a")])
def test_keys_hold_lower_case_letters_digits_and_dashes_only(name, key):
    assert artifact_key(name) == key


def test_the_bar_moves_now_and_then_however_many_wells_end_and_to_its_end(monkeypatch):
    shares = []
    begun = []
    monkeypatch.setattr(
        progress, "create_progress_artifact", lambda *told: begun.append(told) or uuid4()
    )
    monkeypatch.setattr(progress, "create_table_artifact", lambda *_: uuid4())
    monkeypatch.setattr(
        progress, "update_progress_artifact", lambda _, share, __: shares.append(share)
    )
    watched = Progress("p")
    watched.show_bar()
    assert begun == [(0.0, "p-progress", "wells analysed")]
    with watched.showing({}):
        for through in range(1, 101):
            watched.move(WellOutcome(WellPath("A", f"{through:03d}"), "done"), through, 100)
    assert shares[-1] == 100.0
    assert len(shares) <= 2


def test_an_api_that_hangs_holds_up_no_well(monkeypatch):
    answers, shares = Event(), Queue()
    monkeypatch.setattr(
        progress, "create_progress_artifact", lambda share, *_: shares.put(share) or uuid4()
    )
    monkeypatch.setattr(progress, "create_table_artifact", lambda *_: answers.wait() and uuid4())
    monkeypatch.setattr(
        progress, "update_progress_artifact", lambda _, share, __: shares.put(share)
    )
    monkeypatch.setattr(progress, "_PARTING_S", 0.0)
    watched = Progress("p")
    with watched.showing({}):
        for through in range(1, 101):
            watched.move(WellOutcome(WellPath("A", f"{through:03d}"), "done"), through, 100)
    answers.set()
    share = 0.0
    while share < 100.0:
        share = shares.get(timeout=60)


def test_while_a_plate_is_worked_on_the_time_left_is_told(monkeypatch):
    told = []

    def hear(*arguments):
        told.append(arguments)
        return uuid4()

    for name in ("create_progress_artifact", "update_progress_artifact"):
        monkeypatch.setattr(progress, name, hear)
    # planned, and waited for workers
    seconds = count(7200, 20)
    watched = Progress("p", lambda: next(seconds))
    # two wells were done before this run
    for through, well in enumerate(("A/01", "A/02", "A/03"), start=3):
        watched.move(WellOutcome(WellPath.parse(well), "done", seconds=20.0), through, 6)
        watched.show_bar()
    assert [arguments[2].split(";")[0] for arguments in told] == [
        "3 of 6 wells, 1 min left",
        "4 of 6 wells, 40 s left",
        "5 of 6 wells, 20 s left",
    ]


@pytest.fixture
def tables(monkeypatch):
    """Yield the tables that were shown: text, and state and seconds of the wells."""
    shown = Queue()

    def show(_, rows, text):
        shown.put((text, {row["well"]: (row["state"], row["seconds"]) for row in rows}))

    def create(rows, key, text):
        assert key == "p-wells"
        show(key, rows, text)
        return uuid4()

    monkeypatch.setattr(progress, "create_progress_artifact", lambda *_: uuid4())
    monkeypatch.setattr(progress, "create_table_artifact", create)
    monkeypatch.setattr(progress, "replace_artifact", show)
    return shown


def test_every_planned_well_has_a_row_that_is_renewed_while_it_runs(monkeypatch, tables):
    monkeypatch.setattr(progress, "_LOOK_S", 0.01)
    monkeypatch.setattr(progress, "_TABLE_S", 0.01)
    now, well = [100.0], WellPath.parse("A/02")
    states = {WellPath("A", "01"): "kept", well: "waiting", WellPath("A", "03"): "waiting"}
    outcomes = {path: WellOutcome(path, state) for path, state in states.items()}
    watched = Progress("p", lambda: now[0])
    rows = {"A01": ("kept", ""), "A02": ("waiting", ""), "A03": ("waiting", "")}
    with watched.showing(outcomes):
        assert tables.get() == ("1 of 3 wells through, 0 running, 2 waiting", rows)
        with watched.running(well):
            for seconds in (2.5, 200.0):
                now[0] = 100.0 + seconds
                rows["A02"] = ("running", seconds)
                while tables.get() != ("1 of 3 wells through, 1 running, 1 waiting", rows):
                    pass
            outcomes[well] = WellOutcome(well, "done", seconds=4.0, attempts=1)
            rows["A02"] = ("done", 4.0)
            while tables.get() != ("2 of 3 wells through, 0 running, 1 waiting", rows):
                pass
    watched.stop()
    assert tables.queue[-1] == ("stopped: 2 of 3 wells through, 0 running, 1 waiting", rows)


def test_an_api_in_trouble_is_left_alone_for_a_while_and_hears_the_end(monkeypatch, caplog):
    now, asked, is_there = [0.0], [], [False]

    def answer(*arguments):
        asked.append(arguments)
        if not is_there[0]:
            # it hangs before it fails
            now[0] += 20
            raise httpx.ReadTimeout("no answer")
        return uuid4()

    for name in ("create_progress_artifact", "update_progress_artifact", "create_table_artifact"):
        monkeypatch.setattr(progress, name, answer)
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    watched = Progress("p", lambda: now[0])
    watched.show_bar()
    # ten times what it let us wait, it is not asked
    for through in range(1, 10):
        now[0] += 20
        watched.move(WellOutcome(WellPath("A", f"{through:02d}"), "done"), through, 12)
        watched.show_bar()
    assert len(asked) == 1
    is_there[0] = True
    now[0] += 20
    watched.move(WellOutcome(WellPath("A", "10"), "done"), 10, 12)
    watched.show_bar()
    assert [arguments[1] for arguments in asked[1:2]] == ["p-progress"]
    is_there[0] = False
    now[0] += 20
    watched.move(WellOutcome(WellPath("A", "11"), "done"), 11, 12)
    watched.show_bar()
    is_there[0] = True
    watched.stop()
    assert asked[-1][1] == "p-wells"
    assert caplog.text.count("Prefect's API does not answer") == 1


def test_the_last_table_of_a_stopped_run_is_shown_though_a_call_before_it_hangs(monkeypatch):
    hangs, answers, shown = Event(), Event(), []

    def create(*arguments):
        if not hangs.is_set():
            hangs.set()
            answers.wait()
            raise httpx.ReadTimeout("no answer")
        shown.append(arguments)
        return uuid4()

    monkeypatch.setattr(progress, "create_table_artifact", create)
    watched = Progress("p")
    hanging, stopping = Thread(target=watched._show_wells), Thread(target=watched.stop)
    hanging.start()
    hangs.wait()
    stopping.start()
    # it waits for the call, or has done what it could
    stopping.join(0.2)
    answers.set()
    stopping.join()
    hanging.join()
    assert [text.split(":")[0] for _, _, text in shown] == ["stopped"]


def test_trouble_that_two_threads_meet_together_is_told_once(monkeypatch):
    watched, told = Progress("p"), []

    def tell(*words):
        told.append(words)
        # another thread comes to it while this one is telling
        if len(told) < 5:
            other = Thread(target=watched.warn, args=(OSError("gone, too"),))
            other.start()
            other.join()

    monkeypatch.setattr(progress._log, "warning", tell)
    watched.warn(OSError("gone"))
    assert [str(error) for _, error in told] == ["gone"]


def test_what_stands_beside_artifacts_is_no_markdown(monkeypatch):
    told = []

    def hear(*arguments):
        told.append(arguments[2])
        return uuid4()

    for name in ("create_progress_artifact", "update_progress_artifact"):
        monkeypatch.setattr(progress, name, hear)
    monkeypatch.setattr(nightly, "create_markdown_artifact", hear)
    failure = Failure("damaged data", "![x](http://evil.example/x.png)", "copy plate_1 anew")
    outcome = WellOutcome(WellPath.parse("B/03"), "failed", failure=failure)
    watched = Progress("p", lambda: 0.0)
    for wells in (3, 2):
        watched.move(outcome, 1, wells)
        watched.show_bar()
    nightly.Summary("p").show("page", outcome.line)
    line = r"B/03 failed: \!\[x\](http://evil.example/x.png) (copy plate_1 anew)"
    assert len(told) == 3
    assert all(one.endswith(line) for one in told)
