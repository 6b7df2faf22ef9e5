"""The server that a command starts for itself: there while it runs, and never any longer."""

import os
import sqlite3
from contextlib import closing
from pathlib import Path

import psutil
import pytest

from hcs.errors import EXIT_STOPPED
from tests.runs import WITHIN_S, log_of, start, starts_of, wait_for

pytestmark = pytest.mark.integration

# Prefect's settings that tests before these made for another server
_NOT_OURS = ("PREFECT_API_URL", "PREFECT_SERVER_UI_API_URL")


@pytest.fixture(scope="module")
def home(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("prefect")


@pytest.fixture
def environment(home) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if name not in _NOT_OURS}
    return {**kept, "PREFECT_HOME": str(home)}


def servers_of(process: int) -> list[psutil.Process]:
    try:
        family = psutil.Process(process).children()
        return [one for one in family if "flows.temporary_server" in one.cmdline()]
    except psutil.NoSuchProcess:
        return []


def test_what_a_run_told_its_own_server_is_there_in_the_morning(tiny_plate, home, environment):
    one_well = ("--well", "A/01", "--dask", "none")
    with start(tiny_plate, *one_well, monitor="prefect", environment=environment) as run:
        wait_for(lambda: bool(servers_of(run.pid)), run)
        (server,) = servers_of(run.pid)
        assert run.wait(WITHIN_S) == 0, log_of(tiny_plate)
    assert not server.is_running()
    with closing(sqlite3.connect(home / "prefect.db")) as database:
        states = database.execute("select name, state_name from flow_run").fetchall()
        said = {row[0] for row in database.execute("select message from log")}
    assert states == [("tiny.zarr", "Completed")]
    assert "A/01 done" in said


def test_a_server_ends_with_its_run_however_that_ends(tiny_plate, environment):
    with start(tiny_plate, monitor="prefect", environment=environment) as run:
        wait_for(lambda: bool(servers_of(run.pid)), run)
        (server,) = servers_of(run.pid)
        wait_for(lambda: bool(server.net_connections()), run)
        run.kill()
        gone, _ = psutil.wait_procs([server], WITHIN_S)
        assert gone == [server]


def test_a_signal_to_every_process_ends_a_run_as_ctrl_c_does(tiny_plate, home, environment):
    with start(tiny_plate, monitor="prefect", environment=environment) as run:
        wait_for(lambda: bool(starts_of(tiny_plate)), run)
        first = psutil.Process(run.pid)
        # as Slurm's scancel does, or a machine that goes down
        for one in [first, *first.children(recursive=True)]:
            one.terminate()
        assert run.wait(120) == EXIT_STOPPED, log_of(tiny_plate)
    assert "hcs: stopped; run the same command again to go on" in log_of(tiny_plate)
    with closing(sqlite3.connect(home / "prefect.db")) as database:
        states = [name for (name,) in database.execute("select state_name from flow_run")]
    assert "Cancelled" in states
