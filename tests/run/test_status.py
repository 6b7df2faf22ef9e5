"""How a plate stands, without settings: never run, being run, killed, failed, done."""

import json
import os
from dataclasses import replace

import pytest

from hcs.cli.main import main
from hcs.errors import StorageError, WriteError
from hcs.plate.lock import acquire, look
from hcs.plate.open import open_plate
from hcs.plate.path import WellPath
from hcs.run.analyse import analyse
from hcs.run.attempts import Attempts
from hcs.run.history import History, read_history
from hcs.run.outcome import Failure, Report, WellOutcome
from hcs.run.plan import make_plan
from hcs.run.status import plate_status
from hcs.settings import Settings, load_settings

STEPS = ("ssl-statistics", "ssl", "measure-ssl_cells")
BROKEN = Failure("damaged data", "field A/02/0: a chunk is damaged", "copy it anew")
A02 = WellPath.parse("A/02")


def states(url):
    return {str(well.well): well.state for well in plate_status(open_plate(url)).wells}


def mark(plate, well, *steps):
    for step in steps:
        plate.companion.write(f"{well}/{step}.json", b"{}")


@pytest.fixture
def begun(tiny_plate):
    """Return a plate that a run holds: A/01 has come to its second step, A/02 has failed."""
    plate = open_plate(tiny_plate)
    with acquire(plate.companion) as lock:
        history = History(plate.companion, lock.token)
        history.begin(make_plan(plate, Settings()))
        attempts = Attempts(plate.companion, lock.token, 3)
        attempts.start("A/01/1/0")
        mark(plate, "A/01", "ssl-statistics")
        attempts.end("A/02/1/0", attempts.start("A/02/1/0"))
        history.hearing(None)(WellOutcome(A02, "failed", failure=BROKEN), 1, 3)
        yield plate, lock, history


def test_a_plate_that_nobody_ran_is_not_begun(tiny_plate):
    status = plate_status(open_plate(tiny_plate))
    assert status.lock.state == "free"
    assert (status.run, status.steps, status.finished) == (None, (), False)
    assert {well.state for well in status.wells} == {"not begun"}


def test_a_plate_that_is_done_says_by_which_run(analysed_plate):
    status = plate_status(open_plate(analysed_plate))
    assert status.steps == STEPS
    assert {well.state for well in status.wells} == {"done"}
    assert status.finished
    assert status.lock.state == "free"
    assert status.run.wells == ("A/01", "A/02", "B/01")
    assert (status.run.ended.exit_code, status.run.ended.done, status.run.ended.failed) == (0, 3, 0)
    assert status.quarantine == ()


def test_a_run_that_goes_on_is_seen_well_by_well_and_step_by_step(begun):
    plate, lock, _ = begun
    status = plate_status(plate)
    assert (status.lock.state, status.lock.token) == ("held", lock.token)
    assert status.run.ended is None
    wells = {str(well.well): well for well in status.wells}
    assert dict(wells["A/01"].steps) == dict(
        zip(STEPS, ("done", "running", "not begun"), strict=True)
    )
    assert wells["A/02"].state == "failed"
    assert wells["A/02"].failure == BROKEN
    assert wells["B/01"].state == "waiting"


def test_what_a_killed_run_began_is_interrupted(begun):
    plate, lock, _ = begun
    lock.release()
    assert states(plate.storage.url) == {
        "A/01": "interrupted",
        "A/02": "failed",
        "B/01": "not begun",
    }


def test_a_holder_whose_process_is_gone_is_dead(begun):
    plate, lock, _ = begun
    key = f"lock/{lock.token:08d}.json"
    claim = json.loads(plate.companion.read(key))
    if not claim["process"]:
        pytest.skip("this system has no /proc")
    # the same number, started at another time
    claim["process"] += "1"
    plate.companion.write(key, json.dumps(claim).encode())
    assert look(plate.companion).state == "dead"
    assert states(plate.storage.url)["A/01"] == "interrupted"


def test_a_result_that_was_taken_away_is_not_begun(analysed_plate):
    (analysed_plate.with_suffix(".hcs") / "A/02/measure-ssl_cells.json").unlink()
    assert states(analysed_plate) == {"A/01": "done", "A/02": "not begun", "B/01": "done"}


def test_the_run_that_looked_at_a_well_last_tells_of_it(tiny_plate):
    """A/02 failed yesterday; today's run is for A/01 alone."""
    next((tiny_plate / "A/02/0").glob("*/0/0/0/0/0")).write_bytes(b"no chunk")
    here = ("run.dask=none", "run.workers=1")
    analyse(str(tiny_plate), load_settings(overrides=[*here, "wells=[A/02]"]))
    analyse(str(tiny_plate), load_settings(overrides=[*here, "wells=[A/01]"]))
    status = plate_status(open_plate(tiny_plate))
    assert states(tiny_plate) == {"A/01": "done", "A/02": "failed", "B/01": "not begun"}
    assert "is damaged" in status.wells[1].failure.message
    assert [row["well"] for row in status.quarantine] == ["A02"]


def test_a_quarantine_table_that_cannot_be_read_is_said(analysed_plate):
    (analysed_plate / "tables/quarantine/table.parquet").write_bytes(b"PAR1")
    status = plate_status(open_plate(analysed_plate))
    assert "quarantine/table.parquet is damaged" in status.problem


def test_old_runs_are_dropped_with_their_starts(begun):
    plate, lock, _ = begun
    plan = replace(make_plan(plate, Settings()), wells=())
    for token in range(lock.token + 1, lock.token + 15):
        History(plate.companion, token).begin(plan)
    kept = [run.token for run in read_history(plate.companion)]
    assert kept == list(range(lock.token + 14, lock.token, -1))
    assert not plate.companion.sizes("attempts")


def test_a_folder_that_is_numbered_in_other_digits_is_no_record(begun):
    plate, lock, _ = begun
    plate.companion.write("runs/\N{SUPERSCRIPT TWO}/run.json", b"{}")
    assert [run.token for run in read_history(plate.companion)] == [lock.token]


def test_a_record_that_is_damaged_is_left_out(begun):
    plate, lock, _ = begun
    key = f"runs/{lock.token:08d}/run.json"
    plate.companion.write(key, b"{")
    assert read_history(plate.companion) == ()
    os.truncate(f"{plate.companion.url}/{key}", 200 * 2**30)
    assert read_history(plate.companion) == ()


def test_a_disk_that_is_full_costs_the_record_only(begun, monkeypatch, caplog):
    plate, _, history = begun

    def full(*_arguments, **_options):
        raise WriteError("no space left to write tiny.hcs")

    monkeypatch.setattr(type(plate.companion), "write", full)
    history.end(Report("tiny", (), ()), 1.0)
    assert "the record of this run is not complete: no space left" in caplog.text


def test_records_that_cannot_be_dropped_cost_the_run_nothing(begun, monkeypatch, caplog):
    plate, lock, _ = begun

    def gone(*_arguments, **_options):
        raise StorageError("cannot list tiny.hcs: Input/output error")

    history = History(plate.companion, lock.token + 1)
    monkeypatch.setattr(type(plate.companion), "sizes", gone)
    history.begin(replace(make_plan(plate, Settings(wells=("A/01",))), wells=()))
    assert "records of old runs stay: cannot list tiny.hcs" in caplog.text


def test_status_is_printed_for_people_and_as_json(begun, capsys):
    plate, _, _ = begun
    with pytest.raises(SystemExit) as ended:
        main(["status", plate.storage.url])
    printed = capsys.readouterr().out
    assert ended.value.code == 0
    assert printed.splitlines()[0].endswith("tiny.zarr: 1 running, 1 failed, 1 waiting")
    assert "held by " in printed
    assert "field A/02/0: a chunk is damaged (copy it anew)" in printed
    with pytest.raises(SystemExit):
        main(["status", plate.storage.url, "--json"])
    told = json.loads(capsys.readouterr().out)
    assert told["lock"]["state"] == "held"
    assert told["run"]["ended"] is None
    assert [well["state"] for well in told["wells"]] == ["running", "failed", "waiting"]


def lines_of(url, capsys):
    with pytest.raises(SystemExit):
        main(["status", str(url)])
    return capsys.readouterr().out.splitlines()


def test_a_plate_that_is_done_names_its_steps_and_what_its_run_came_to(analysed_plate, capsys):
    _, steps, _, run = lines_of(analysed_plate, capsys)
    assert steps == "steps: ssl-statistics, ssl, measure-ssl_cells"
    # locks are counted, not runs
    assert run.startswith("the latest run: begun ")
    assert run.endswith(" s, exit code 0, 3 wells done")


def test_what_was_taken_back_since_the_run_is_not_told_as_done(analysed_plate, capsys):
    for well in ("A/01", "A/02"):
        (analysed_plate.with_suffix(".hcs") / well / "measure-ssl_cells.json").unlink()
    counted, steps, _, run, *_ = lines_of(analysed_plate, capsys)
    assert counted.endswith(": 2 not begun, 1 done")
    assert steps == "steps: ssl-statistics, ssl, measure-ssl_cells"
    assert run.endswith("3 wells done then; results were taken back since")


def test_a_plate_that_nobody_ran_has_no_steps(tiny_plate, capsys):
    assert not any("steps" in line for line in lines_of(tiny_plate, capsys))
