"""A well that kills its workers, and a run that is told to stop; see also tests/faults."""

import os
import signal
from pathlib import Path

import pytest

from hcs.errors import EXIT_STOPPED
from hcs.plate.open import open_plate
from hcs.run.analyse import analyse
from hcs.run.well import analyse_well
from hcs.settings import RunSettings, Settings
from tests.plates import make_plate, moving_cells, results_of
from tests.runs import log_of, marker_files, start, wait_for, workers_of

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
    """Analyse a well, but kill the worker that meets A/02."""
    if str(job.wanted.well) == "A/02":
        os.kill(os.getpid(), signal.SIGKILL)
    return analyse_well(job)


def test_a_well_that_kills_each_worker_is_quarantined_and_the_others_are_done(plate, monkeypatch):
    monkeypatch.setattr("hcs.run.visits.analyse_well", poisoned)
    report = analyse(str(plate), Settings(run=RunSettings(workers=2)))
    assert report.exit_code == 2
    attempts = {str(outcome.well): outcome.attempts for outcome in report.outcomes}
    # 3 starts, then it is given up
    assert attempts.pop("A/02") == 3
    # who stood beside it is done; started again only where a worker died with the record that it
    # was about to send, once per kill at most
    assert {str(well) for well in report.done} == set(attempts) == {"A/01", "A/03", "A/04"}
    assert max(attempts.values()) <= 1 + 3
    assert "A/02/1/0 was started 3 times and its worker died" in report.failed[0].line
    quarantine = open_plate(plate).table("quarantine")
    assert quarantine["well"].tolist() == ["A02"]
    assert quarantine["cause"].tolist() == ["worker failure"]


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
