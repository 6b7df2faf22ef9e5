"""What listens does so on this machine alone, or asks who knocks.

That a scheduler with certificates lets nobody else in is tested in tests/deploy/test_dask.py.
"""

import json
import subprocess
from pathlib import Path

import httpx
import pytest

from tests.plates import make_plate, moving_cells
from tests.runs import HCS
from tests.security.canaries import watched
from tests.servers import free_port

LOCAL = {"127.0.0.1", "::1"}


@pytest.mark.integration
def test_a_run_listens_on_this_machine_alone(tmp_path: Path):
    """Scheduler, its dashboard, workers and nannies."""
    make_plate(tmp_path / "p.zarr", {"A/01": moving_cells(0)})
    command = [HCS, "run", tmp_path / "p.zarr", "--monitor", "none", "--workers", "1"]
    command += ["--set", f"run.dashboard={free_port()}"]
    output = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
    with subprocess.Popen(command, **output) as run, watched(run.pid) as seen:
        told, _ = run.communicate(timeout=500)
    assert run.returncode == 0, told.decode()
    programs = {name for _, name in seen.listening}
    assert any("hcs run" in name for name in programs)
    assert any("spawn_main" in name for name in programs)
    assert {address for address, _ in seen.listening} <= LOCAL


@pytest.mark.integration
def test_a_server_with_a_password_answers_nobody_else(guarded_server, canaries, tmp_path):
    url = f"{guarded_server.api}/flows/filter"
    right = ("admin", canaries["prefect"])
    asked = [httpx.post(url, json={}, auth=auth) for auth in (None, ("admin", "x"), right)]
    assert [answer.status_code for answer in asked] == [401, 401, 200]
    assert "401" not in json.dumps(asked[2].json())


@pytest.mark.integration
def test_a_run_shows_itself_to_a_server_with_its_password(guarded_server, canaries, tmp_path):
    make_plate(tmp_path / "shown.zarr", {"A/01": moving_cells(0)})
    command = [HCS, "run", tmp_path / "shown.zarr", "--dask", "none", "--workers", "1"]
    subprocess.run(command, env=guarded_server.environment, check=True, capture_output=True)
    answer = httpx.post(
        f"{guarded_server.api}/flow_runs/filter",
        json={"flow_runs": {"name": {"any_": ["shown.zarr"]}}},
        auth=("admin", canaries["prefect"]),
    )
    assert [run["state_type"] for run in answer.json()] == ["COMPLETED"]
