"""deploy/prefect.yaml on a real server: what it makes, and a night that a worker runs from it."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.deployed import DEPLOY, ROOT
from tests.plates import make_plate, still_ground

pytestmark = pytest.mark.integration

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


@pytest.fixture
def plates(tmp_path: Path) -> Path:
    make_plate(tmp_path / "plates/try.zarr", {"A/01": FEW})
    return tmp_path / "plates"


def test_a_worker_runs_the_night_that_prefect_yaml_describes(prefect_api, plates):
    place = {"HCS_HOME": str(ROOT), "HCS_PLATES": str(plates), "HCS_DASK": "none"}
    ask(prefect_api, "work_pools/", name="hcs", type="process")
    file = str(DEPLOY / "prefect.yaml")
    prefect("--no-prompt", "deploy", "--all", "--prefect-file", file, **place)
    made = {one["name"]: one for one in ask(prefect_api, "deployments/filter")}
    assert set(made) >= {"nightly", "plate", "network"}

    night = made["nightly"]
    assert night["parameters"]["folder"] == str(plates)
    assert night["parameters"]["settings"]["run"]["dask"] == "none"
    assert night["parameters"]["night"]["until"] == "07:00"
    (schedule,) = night["schedules"]
    assert (schedule["schedule"]["cron"], schedule["active"]) == ("0 18 * * *", True)
    assert night["concurrency_options"]["collision_strategy"] == "CANCEL_NEW"
    assert set(night["parameter_openapi_schema"]["properties"]) == {"folder", "night", "settings"}

    # without `until` the night waits for no more plates
    given = {"night": {"unchanged_min": 0}}
    run = ask(prefect_api, f"deployments/{night['id']}/create_flow_run", parameters=given)
    run_once = ("--run-once", "--install-policy", "never")
    prefect("worker", "start", "--pool", "hcs", "--type", "process", *run_once, **place)
    ended = httpx.get(f"{prefect_api}/flow_runs/{run['id']}", timeout=30).json()
    assert (ended["name"], ended["state"]["name"]) == ("plates", "Completed")
    assert ended["state"]["message"] == "1 plate done"
    assert (plates / "hcs.night/summary.md").is_file()
