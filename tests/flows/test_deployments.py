"""deploy/prefect.yaml on a real server: what it makes, and a night that a worker runs from it."""

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import httpx
import psutil
import pytest

from hcs.run.analyse import analyse
from hcs.settings import load_settings
from tests.deployed import DEPLOY, ROOT, in_containers
from tests.plates import make_plate, moving_cells, still_ground
from tests.runs import kill_family, starts_of, wait_for, workers_of

pytestmark = pytest.mark.integration

LONG = pytest.mark.skipif(
    int(os.environ.get("HCS_FAULTS", "2")) < 3, reason="long; HCS_FAULTS=3 or more"
)
FEW = still_ground(0, n_frames=2, side=32)


def prefect(*arguments: str, **environment: str) -> str:
    command = [sys.executable, "-m", "prefect", *arguments]
    done = subprocess.run(
        command, cwd=ROOT, env={**os.environ, **environment}, capture_output=True, timeout=300
    )
    assert done.returncode == 0, done.stdout.decode() + done.stderr.decode()
    return done.stdout.decode()


def ask(api: str, what: str, **body: object) -> Any:
    answer = httpx.post(f"{api}/{what}", json=body, timeout=30)
    answer.raise_for_status()
    return answer.json()


WORKER = ("worker", "start", "--pool", "hcs", "--work-queue", "default", "--type", "process")
WORKER += ("--install-policy", "never")


@pytest.fixture(scope="module")
def plates(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("here") / "plates"
    make_plate(folder / "try.zarr", {"A/01": FEW})
    return folder


@pytest.fixture(scope="module")
def place(plates: Path) -> dict[str, str]:
    return {"HCS_HOME": str(ROOT), "HCS_PLATES": str(plates), "HCS_DASK": "none"}


@pytest.fixture(scope="module")
def made(prefect_server, place, tmp_path_factory) -> Iterator[dict[str, Any]]:
    """Yield what the README's command makes of the file, by name; it is gone afterwards.

    With it go the nights to come, which tests of other runs on this server would take for theirs.
    """
    ask(prefect_server.api, "work_pools/", name="hcs", type="process")
    send_deployments(DEPLOY / "prefect.yaml", tmp_path_factory.mktemp("container"), place)
    found = {one["name"]: one for one in ask(prefect_server.api, "deployments/filter")}
    yield found
    for name in ("nightly", "plate", "network"):
        httpx.delete(f"{prefect_server.api}/deployments/{found[name]['id']}").raise_for_status()


def send_deployments(file: Path, folder: Path, place: dict[str, str]) -> None:
    """Run what the README runs in containers, with a folder in the place of their /tmp."""
    (command,) = in_containers("deploy --all")
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    with file.open() as sent:
        done = subprocess.run(
            ["sh", "-c", command.replace("/tmp", str(folder))],
            stdin=sent,
            env={**os.environ, "PATH": path, **place},
            capture_output=True,
            timeout=300,
        )
    assert done.returncode == 0, done.stdout.decode() + done.stderr.decode()


def test_a_change_of_the_file_reaches_the_server(prefect_api, made, place, tmp_path):
    text = (DEPLOY / "prefect.yaml").read_text()
    changed = tmp_path / "prefect.yaml"
    changed.write_text(
        text.replace("Europe/Zurich", "Asia/Tokyo").replace("at_once: 1", "at_once: 2")
    )
    (folder := tmp_path / "container").mkdir()
    send_deployments(changed, folder, place)
    try:
        night = httpx.get(f"{prefect_api}/deployments/{made['nightly']['id']}", timeout=30).json()
        assert night["schedules"][0]["schedule"]["timezone"] == "Asia/Tokyo"
        assert night["parameters"]["night"]["at_once"] == 2
    finally:
        send_deployments(DEPLOY / "prefect.yaml", folder, place)


def test_deployments_that_are_not_sent_are_missed(prefect_api, tmp_path):
    """The image holds no file of its own that would be taken for the changed one."""
    command = [sys.executable, "-m", "prefect", "--no-prompt", "deploy", "--all"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, timeout=300)
    assert done.returncode != 0


def state_of(api: str, run: dict[str, Any]) -> dict[str, Any]:
    return httpx.get(f"{api}/flow_runs/{run['id']}", timeout=30).json()["state"]


def test_a_worker_runs_the_night_that_prefect_yaml_describes(prefect_api, made, place, plates):
    assert set(made) >= {"nightly", "plate", "network"}
    night = made["nightly"]
    assert night["parameters"]["folder"] == str(plates)
    assert night["parameters"]["settings"]["run"]["dask"] == "none"
    assert night["parameters"]["night"]["until"] == "07:00"
    (schedule,) = night["schedules"]
    assert (schedule["schedule"]["cron"], schedule["active"]) == ("0 18 * * *", True)
    assert night["global_concurrency_limit"] is None
    # the worker below leaves runs that need torch to others
    queues = {name: made[name]["work_queue_name"] for name in ("nightly", "plate", "network")}
    assert queues == {"nightly": "default", "plate": "default", "network": "networks"}
    assert set(night["parameter_openapi_schema"]["properties"]) == {"folder", "night", "settings"}

    # without `until` the night waits for no more plates
    given = {"night": {"unchanged_min": 0}}
    run = ask(prefect_api, f"deployments/{night['id']}/create_flow_run", parameters=given)
    prefect(*WORKER, "--run-once", **place)
    ended = httpx.get(f"{prefect_api}/flow_runs/{run['id']}", timeout=30).json()
    assert (ended["name"], ended["state"]["name"]) == ("plates", "Completed")
    assert ended["state"]["message"] == "1 plate done"
    assert (plates / "hcs.night/summary.md").is_file()


def test_its_nights_are_scheduled_by_the_server(prefect_server, made):
    of_nightly = {"id": {"any_": [made["nightly"]["id"]]}}
    state = {"state": {"type": {"any_": ["SCHEDULED"]}}}
    end = time.monotonic() + 120
    while not (runs := prefect_server.ask("flow_runs", deployments=of_nightly, flow_runs=state)):
        assert time.monotonic() < end, "no night is to come"
        time.sleep(0.5)
    starts = [datetime.fromisoformat(run["expected_start_time"]) for run in runs]
    assert {one.astimezone(ZoneInfo("Europe/Zurich")).hour for one in starts} == {18}


@pytest.mark.parametrize("how", ["cancelled", pytest.param("worker ends", marks=LONG)])
def test_a_run_of_a_worker_that_is_stopped_leaves_nobody_at_work(
    prefect_server, made, place, tmp_path, how
):
    api, url = prefect_server.api, tmp_path / "tiny.zarr"
    make_plate(url, {f"A/{column:02d}": moving_cells(column, 60) for column in range(1, 5)})
    given = {"plate": str(url), "settings": {"run": {"dask": "local", "workers": 2}}}
    run = ask(api, f"deployments/{made['plate']['id']}/create_flow_run", parameters=given)
    often = {"PREFECT_WORKER_QUERY_SECONDS": "1"}
    with (tmp_path / "log").open("wb") as log:
        worker = subprocess.Popen(
            [sys.executable, "-m", "prefect", *WORKER],
            cwd=ROOT,
            env={**prefect_server.environment, **place, **often},
            stdout=log,
            stderr=log,
        )
    try:
        wait_for(lambda: bool(starts_of(url)), worker)
        workers = workers_of(worker)
        assert len(workers) == 2
        if how == "cancelled":
            body = {"state": {"type": "CANCELLING", "name": "Cancelling"}}
            ask(api, f"flow_runs/{run['id']}/set_state", **body)
        else:
            worker.terminate()
        # the 30 s that a run may take to stop
        assert not psutil.wait_procs(workers, timeout=30)[1]
        if how == "cancelled":
            end = time.monotonic() + 60
            while (state := state_of(api, run))["type"] in ("RUNNING", "CANCELLING"):
                assert time.monotonic() < end, state
                time.sleep(0.2)
            assert state["type"] == "CANCELLED"
    finally:
        kill_family(worker.pid)
        worker.wait()
    settings = load_settings(overrides=["run.dask=none", "run.workers=1"])
    report = analyse(str(url), settings)
    assert (report.exit_code, len(report.done)) == (0, 4)
