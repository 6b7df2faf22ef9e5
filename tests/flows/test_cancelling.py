"""A run that is cancelled in Prefect's UI stops, and the next one goes on where it was."""

import signal
import subprocess
import time
from datetime import datetime, timedelta
from shutil import copytree
from threading import Event, Thread

import httpx
import psutil
import pytest

from flows import cancelling
from flows.analyse import run_flow
from flows.nightly import run_nightly
from hcs.errors import EXIT_STOPPED, StoppedError
from hcs.run.night_settings import NightSettings
from hcs.settings import load_settings
from tests.plates import make_plate, moving_cells, results_of
from tests.runs import (
    HCS,
    kill_family,
    log_of,
    marker_files,
    start,
    starts_of,
    wait_for,
    wait_until_heard,
    workers_of,
)

pytestmark = pytest.mark.integration

HERE = load_settings(overrides=["run.dask=none", "run.workers=1", "run.wells_in_flight=1"])


@pytest.fixture(autouse=True)
def _looking_often(monkeypatch):
    monkeypatch.setattr(cancelling, "_LOOK_S", 0.2)


def cancel_last_run(api, flow):
    """Do what the UI's button does, and wait until it is heard."""
    body = {"sort": "START_TIME_DESC", "limit": 1, "flows": {"name": {"any_": [flow]}}}
    (run,) = httpx.post(f"{api}/flow_runs/filter", json=body, timeout=30).json()
    state = {"state": {"type": "CANCELLING", "name": "Cancelling"}, "force": False}
    httpx.post(f"{api}/flow_runs/{run['id']}/set_state", json=state, timeout=30).raise_for_status()
    return f"{api}/flow_runs/{run['id']}"


def test_a_cancelled_run_ends_and_the_next_one_goes_on(prefect_api, tiny_plate, analysed_plate):
    asked = []

    def after_the_first_well(outcome, through, wells):
        if not asked:
            asked.append(cancel_last_run(prefect_api, "analyse"))
            wait_until_heard()

    with pytest.raises(StoppedError, match=r"tiny\.zarr: stopped"):
        run_flow(str(tiny_plate), HERE, after_the_first_well)
    state = httpx.get(asked[0], timeout=30).json()["state"]
    assert (state["type"], state["message"][-31:]) == (
        "CANCELLED",
        "stopped (run it again to go on)",
    )
    report = run_flow(str(tiny_plate), HERE)
    assert report.exit_code == 0
    assert "kept" in [outcome.state for outcome in report.outcomes]
    assert results_of(tiny_plate) == results_of(analysed_plate)


def test_a_cancelled_night_stops_its_plate_and_begins_no_other(prefect_api, tiny_plate):
    copytree(tiny_plate, tiny_plate.parent / "z.zarr")
    asked = []

    def after_the_first_plate(record):
        if not asked:
            asked.append(cancel_last_run(prefect_api, "nightly"))
            wait_until_heard()

    night = NightSettings(unchanged_min=0, exclude=("*_truth.zarr",))
    report = run_nightly(str(tiny_plate.parent), HERE, night, after_the_first_plate)
    first, *others = sorted(report.plates, key=lambda one: one.url)
    assert first.state == "done"
    assert [(one.state, one.why) for one in others] == [
        ("stopped", "the night was stopped before it was done")
    ]
    assert httpx.get(asked[0], timeout=30).json()["state"]["type"] == "CANCELLED"


@pytest.mark.parametrize("error", [httpx.ConnectError("no route"), ValueError("no JSON")])
def test_an_api_that_does_not_answer_cancels_nothing(monkeypatch, error):
    asked = Event()

    def gone(**_options):
        asked.set()
        raise error

    monkeypatch.setattr(cancelling, "_own_runs", lambda: ["a"])
    monkeypatch.setattr(cancelling, "get_client", gone)
    with cancelling.heeding_cancellation(lambda: pytest.fail("stopped")):
        assert asked.wait(30)


def test_a_handler_of_sigterm_that_is_not_pythons_is_left_alone(monkeypatch):
    monkeypatch.setattr(signal, "getsignal", lambda _: None)
    monkeypatch.setattr(signal, "signal", lambda *_: pytest.fail("replaced"))
    with cancelling.ending_by_signals():
        pass


def test_a_night_that_waits_for_plates_ends_when_it_is_cancelled(prefect_api, tmp_path):
    until = (datetime.now() + timedelta(hours=3)).strftime("%H:%M")
    night = NightSettings(until=until, look_every_min=60)

    def cancel() -> None:
        summary = tmp_path / "hcs.night/summary.md"
        while not summary.exists():
            time.sleep(0.1)
        cancel_last_run(prefect_api, "nightly")

    cancelling_it = Thread(target=cancel)
    cancelling_it.start()
    report = run_nightly(str(tmp_path), HERE, night)
    cancelling_it.join()
    assert report.stopped


def test_half_a_minute_after_its_cancellation_nothing_works_for_a_run(prefect_server, tmp_path):
    url = tmp_path / "tiny.zarr"
    make_plate(url, {f"A/{column:02d}": moving_cells(column, 60) for column in range(1, 5)})
    with start(url, monitor="prefect", environment=prefect_server.environment) as run:
        wait_for(lambda: bool(starts_of(url)), run)
        workers = workers_of(run)
        asked = cancel_last_run(prefect_server.api, "analyse")
        assert not psutil.wait_procs(workers, timeout=30)[1]
        # what it has left to tell
        assert run.wait(120) == EXIT_STOPPED, log_of(url)
    assert len(workers) == 2
    assert httpx.get(asked, timeout=30).json()["state"]["type"] == "CANCELLED"
    assert "Traceback" not in log_of(url)


@pytest.mark.parametrize("command", ["nightly", "run"])
def test_sigterm_ends_a_watched_command_as_ctrl_c_does(prefect_server, tiny_plate, command):
    folder = tiny_plate.parent
    place = {"nightly": [str(folder), "--unchanged-min", "0"], "run": [str(tiny_plate)]}[command]
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            [HCS, command, *place, "--workers", "1", "--monitor", "prefect"],
            stdout=log,
            stderr=log,
            env=prefect_server.environment,
        )
        try:
            wait_for(lambda: bool(marker_files(tiny_plate)), process)
            process.send_signal(signal.SIGTERM)
            assert process.wait(120) == EXIT_STOPPED, (folder / "log").read_text()
        finally:
            kill_family(process.pid)
    said = (folder / "log").read_text()
    assert "hcs: stopped; run the same command again to go on" in said
    assert "Traceback" not in said
    if command == "nightly":
        assert "stopped" in (folder / "hcs.night/summary.md").read_text()
