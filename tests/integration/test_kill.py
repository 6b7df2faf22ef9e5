"""A well that kills its workers, and a run that is told to stop; see also tests/faults."""

import json
import os
import signal
import time
from pathlib import Path

import pytest

from hcs.errors import EXIT_STOPPED
from hcs.plate.open import open_plate
from hcs.run.analyse import analyse
from hcs.run.well import analyse_well
from hcs.settings import RunSettings, Settings
from tests.plates import make_plate, moving_cells, results_of
from tests.runs import (
    Kept,
    finished_files,
    log_of,
    marker_files,
    start,
    starts_of,
    wait_for,
    well_of,
    workers_of,
)

pytestmark = pytest.mark.integration

_WELLS = {f"A/{column:02d}": moving_cells(column) for column in range(1, 5)}
_WITHIN_S = 120


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory) -> dict[str, bytes]:
    url = tmp_path_factory.mktemp("undisturbed") / "tiny.zarr"
    make_plate(url, _WELLS)
    assert analyse(str(url), Settings(run=RunSettings(dask="none", workers=1))).exit_code == 0
    return results_of(url)


@pytest.fixture
def plate(tmp_path) -> Path:
    make_plate(tmp_path / "tiny.zarr", _WELLS)
    return tmp_path / "tiny.zarr"


def markers(url: Path) -> int:
    return len(marker_files(url))


def poisoned(job):
    """Analyse a well, but kill the worker that meets A/02 as soon as something is finished.

    It leaves a note of how that was then.
    """
    if str(job.wanted.well) == "A/02":
        kept, end = Kept(Path(job.source.url)), time.monotonic() + _WITHIN_S
        while not kept.seen and time.monotonic() < end:
            kept.look()
            time.sleep(0.01)
        Path(job.source.url).with_name(f"seen-{os.getpid()}.json").write_text(json.dumps(kept.seen))
        os.kill(os.getpid(), signal.SIGKILL)
    return analyse_well(job)


def test_a_well_that_kills_each_worker_is_quarantined_and_the_others_are_done(
    plate, undisturbed, monkeypatch
):
    monkeypatch.setattr("hcs.run.visits.analyse_well", poisoned)
    report = analyse(str(plate), Settings(run=RunSettings(workers=2)))
    assert report.exit_code == 2
    starts = {well_of(name): found for name, found in starts_of(plate).items()}
    # 3 starts, each with its worker, then it is given up
    poison = starts.pop("A/02")
    killed = {start.process for start in poison}
    assert len(killed) == len(poison) == 3
    assert not any(start.ended for start in poison)
    assert "A/02/1/0 was started 3 times and its worker died" in report.failed[0].line
    quarantine = open_plate(plate).table("quarantine")
    assert quarantine["well"].tolist() == ["A02"]
    assert quarantine["cause"].tolist() == ["worker failure"]
    # who stood beside it is done, and not charged: all its starts came to their end
    assert {str(well) for well in report.done} == set(starts) == {"A/01", "A/03", "A/04"}
    assert all(start.ended for found in starts.values() for start in found)
    # started again only where the poison killed the worker that was about to send the record
    lost = {start.process for found in starts.values() for start in found[:-1]}
    assert lost <= killed
    attempts = {str(outcome.well): outcome.attempts for outcome in report.outcomes}
    assert attempts == {well: len(found) for well, found in starts.items()} | {"A/02": 3}
    # and what was finished was never written again
    seen = [json.loads(path.read_text()) for path in plate.parent.glob("seen-*.json")]
    assert [bool(one) for one in seen] == [True] * 3
    now = finished_files(plate)
    assert all(now[path] == tuple(then) for one in seen for path, then in one.items())
    fields = [f"plate/{well}/0/" for well in starts]
    results = results_of(plate)
    assert all(results[k] == undisturbed[k] for k in undisturbed if k.startswith(tuple(fields)))


def test_a_run_that_is_told_to_stop_says_so_and_the_next_goes_on(plate, undisturbed):
    for how in (signal.SIGINT, signal.SIGTERM):
        before = markers(plate)
        with start(plate) as run:
            wait_for(lambda: markers(plate) > before, run, _WITHIN_S)  # noqa: B023 - called at once
            workers = workers_of(run)
            run.send_signal(how)
            assert run.wait(_WITHIN_S) == EXIT_STOPPED
        last = log_of(plate).splitlines()[-1]
        assert last.startswith("hcs: stopped; run the same command again")
        assert not any(worker.is_running() for worker in workers)
    with start(plate) as third:
        assert third.wait(_WITHIN_S) == 0
    assert results_of(plate) == undisturbed
