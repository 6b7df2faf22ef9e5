"""SIGKILL at random moments: of workers, of the whole run, of the scheduler; restarts of Prefect.

``HCS_FAULTS`` says how many kills of each kind, and ``HCS_FAULTS_SEED`` when they come.
"""

import os
import random
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from hcs.run.analyse import analyse
from hcs.settings import load_settings
from hcs.simulate.plate import simulate_plate
from hcs.simulate.settings import SimulationSettings
from tests.plates import results_of
from tests.runs import (
    WITHIN_S,
    kill_family,
    log_of,
    marker_files,
    start,
    starts_of,
    wait_for,
    workers_of,
)
from tests.servers import PrefectServer, free_port

pytestmark = pytest.mark.integration

N = int(os.environ.get("HCS_FAULTS", "2"))
SEED = int(os.environ.get("HCS_FAULTS_SEED", "0"))
# a small plate where two kills are enough, the facility's where a hundred are asked for
COLUMNS = 6 if N > 10 else 2
# random kills may hit one well more often than a night forgives it
OFTEN = ("--set", "run.attempts=1000")


@pytest.fixture(scope="module")
def fresh(tmp_path_factory) -> Path:
    url = tmp_path_factory.mktemp("fresh") / "tiny.zarr"
    settings = SimulationSettings(preset="easy", columns=COLUMNS, rows=4, frames=3, size=128)
    simulate_plate(url, settings, processes=2)
    shutil.rmtree(url.with_name("tiny_truth.zarr"))
    return url


@pytest.fixture(scope="module")
def undisturbed(fresh, tmp_path_factory) -> dict[str, bytes]:
    url = Path(shutil.copytree(fresh, tmp_path_factory.mktemp("undisturbed") / "tiny.zarr"))
    settings = load_settings(overrides=["run.dask=none", "run.workers=1"])
    assert analyse(str(url), settings).exit_code == 0
    return results_of(url)


@pytest.fixture
def copies(fresh, tmp_path) -> Iterator[Path]:
    """Return an iterator over plates of one's own."""
    return (
        Path(shutil.copytree(fresh, tmp_path / str(k) / "tiny.zarr")) for k in range(10 * N + 10)
    )


class Kept:
    """Markers as they were when they were first seen: file and time."""

    def __init__(self, url: Path) -> None:
        self._url = url
        self._seen: dict[Path, tuple[int, int]] = {}

    def look(self) -> None:
        """See those that are there now."""
        for path in marker_files(self._url):
            self._seen.setdefault(path, self._identity(path))

    def check(self) -> None:
        """Find each of them as it was."""
        changed = [path for path, before in self._seen.items() if self._identity(path) != before]
        assert not changed, (changed, [self._seen[path] for path in changed])

    def _identity(self, path: Path) -> tuple[int, int]:
        found = path.stat()
        return found.st_ino, found.st_mtime_ns


def test_killed_workers_cost_a_start_each_and_nothing_else(copies, undisturbed):
    kills, dice = 0, random.Random(SEED)
    while kills < N:
        url, killed = next(copies), set[int]()
        kept = Kept(url)
        with start(url, *OFTEN) as run:
            wait_for(lambda: bool(starts_of(url)), run)  # noqa: B023 - called at once
            while kills < N and run.poll() is None:
                time.sleep(dice.uniform(0.1, 2.0))
                kept.look()
                if workers := workers_of(run):
                    victim = dice.choice(workers)
                    victim.kill()
                    killed.add(victim.pid)
                    kills += 1
            assert run.wait(WITHIN_S) == 0, log_of(url)
        assert results_of(url) == undisturbed
        kept.check()
        for name, processes in starts_of(url).items():
            hits = sum(process in killed for process in processes)
            assert len(processes) <= 1 + hits, name


def test_a_killed_run_is_gone_on_with_however_often(copies, undisturbed):
    kills, dice = 0, random.Random(SEED)
    while kills < max(1, N // 5):
        url = next(copies)
        kept = Kept(url)
        ended = False
        while not ended and kills < max(1, N // 5):
            with start(url) as run:
                try:
                    run.wait(dice.uniform(3.0, 9.0))
                    ended = True
                except subprocess.TimeoutExpired:
                    # its workers are left to find out for themselves
                    run.kill()
                    kills += 1
            kept.look()
        with start(url) as run:
            assert run.wait(WITHIN_S) == 0, log_of(url)
        assert results_of(url) == undisturbed
        kept.check()


@contextmanager
def dask_cluster(folder: Path) -> Iterator[tuple[str, subprocess.Popen[bytes]]]:
    """Start a scheduler and two workers as an operator does; yield its address and process."""
    port = free_port()
    address = f"tcp://127.0.0.1:{port}"
    dask = Path(sys.executable).with_name("dask")
    near = ["--host", "127.0.0.1", "--no-dashboard"]
    with ExitStack() as stack:
        log = stack.enter_context((folder / "dask.log").open("ab"))

        def spawn(*command: str) -> subprocess.Popen[bytes]:
            process = subprocess.Popen([dask, *command, *near], stdout=log, stderr=log)
            stack.callback(process.wait, WITHIN_S)
            stack.callback(kill_family, process.pid)
            return process

        scheduler = spawn("scheduler", "--port", str(port))
        for _ in range(2):
            spawn("worker", address, "--nthreads", "1", "--death-timeout", "60")
        yield address, scheduler


def test_a_killed_scheduler_ends_the_run_in_words_and_the_next_one_goes_on(copies, undisturbed):
    # a client looks for its scheduler again for twice as long
    quickly = {**os.environ, "DASK_DISTRIBUTED__COMM__TIMEOUTS__CONNECT": "5s"}
    dice = random.Random(SEED)
    for _ in range(max(1, N // 5)):
        url = next(copies)
        kept = Kept(url)
        with dask_cluster(url.parent) as (address, scheduler):
            with start(url, "--dask", address, environment=quickly) as run:
                wait_for(lambda: bool(starts_of(url)), run)  # noqa: B023 - called at once
                time.sleep(dice.uniform(0.0, 1.0))
                scheduler.kill()
                assert run.wait(WITHIN_S) in (1, 2), log_of(url)
            assert "scheduler" in log_of(url)
            assert "Traceback" not in log_of(url), log_of(url)
            kept.look()
        with dask_cluster(url.parent) as (address, _), start(url, "--dask", address) as run:
            assert run.wait(WITHIN_S) == 0, log_of(url)
        assert results_of(url) == undisturbed
        kept.check()


def test_a_prefect_server_that_hangs_and_restarts_costs_no_well(copies, undisturbed, tmp_path):
    dice, server = random.Random(SEED), PrefectServer(tmp_path / "prefect")
    with ExitStack() as stack:
        stack.callback(server.kill)
        server.start()
        for _ in range(max(1, N // 10)):
            url = next(copies)
            with start(url, monitor="prefect", environment=server.environment) as run:
                wait_for(lambda: bool(starts_of(url)), run)  # noqa: B023 - called at once
                server.hold()
                wait_for(lambda: measured(url) >= 2 * COLUMNS, run)  # noqa: B023 - called at once
                server.kill()
                time.sleep(dice.uniform(0.0, 2.0))
                server.start()
                assert run.wait(WITHIN_S) == 0, log_of(url)
            assert results_of(url) == undisturbed


def measured(url: Path) -> int:
    """Return how many wells are done."""
    return len(list(url.with_suffix(".hcs").glob("[A-D]/*/measure-*.json")))
