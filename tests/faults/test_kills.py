"""SIGKILL at random moments: of workers, of the whole run, of the scheduler; restarts of Prefect.

``HCS_FAULTS`` says how many kills of each kind, and ``HCS_FAULTS_SEED`` when they come.
"""

import json
import os
import random
import re
import shutil
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Collection, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from hcs.plate.open import open_plate
from hcs.run.analyse import analyse
from hcs.settings import load_settings
from hcs.simulate.plate import simulate_plate
from hcs.simulate.settings import SimulationSettings
from tests.plates import results_of
from tests.runs import (
    HCS,
    WITHIN_S,
    Kept,
    ends_of,
    kill_family,
    log_of,
    start,
    starts_of,
    wait_for,
    well_of,
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
def whole(fresh, tmp_path_factory) -> Path:
    """Return a plate that was analysed without trouble."""
    url = Path(shutil.copytree(fresh, tmp_path_factory.mktemp("whole") / "tiny.zarr"))
    settings = load_settings(overrides=["run.dask=none", "run.workers=1"])
    assert analyse(str(url), settings).exit_code == 0
    return url


@pytest.fixture(scope="module")
def undisturbed(whole) -> dict[str, bytes]:
    return results_of(whole)


@pytest.fixture(scope="module")
def visits(whole) -> Counter[str]:
    """Return how often a well is worked on: once, or again with the plate's pooled model."""
    return ends_of(whole)


@pytest.fixture
def copies(fresh, tmp_path) -> Iterator[Path]:
    """Return an iterator over plates of one's own."""
    return (
        Path(shutil.copytree(fresh, tmp_path / str(k) / "tiny.zarr")) for k in range(10 * N + 10)
    )


def check_starts(url: Path, killed: Collection[int] = ()) -> None:
    """Find that each run began nothing again but what a killed process had in hand.

    That is what it worked on, or the record of what it had just done: until that is fetched, it is
    on its worker only, and Dask starts the work again, which finds its markers and does nothing.
    """
    for name, starts in starts_of(url).items():
        in_vain = [start for start in starts[:-1] if start.process not in killed]
        assert not in_vain, (name, starts)


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
        check_starts(url, killed)
        # a worker does one thing at a time
        cut_off = [one for found in starts_of(url).values() for one in found if not one.ended]
        assert len(cut_off) <= len(killed)


def test_a_killed_run_is_gone_on_with_however_often(copies, undisturbed, visits):
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
        check_starts(url)
        # what came to its end before a kill is not begun again after it
        assert ends_of(url) <= visits


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


# `hcs`, which looks for a scheduler that was lost not for a minute but for some seconds
IMPATIENT = """
import distributed
from hcs.cli.main import main

reconnect = distributed.Client._reconnect

async def give_up_soon(client):
    client._timeout = 5
    await reconnect(client)

distributed.Client._reconnect = give_up_soon
main()
"""
UNTIL_GIVEN_UP = (HCS,) if N > 10 else (sys.executable, "-c", IMPATIENT)


def test_a_killed_scheduler_ends_the_run_in_words_and_the_next_one_goes_on(
    copies, undisturbed, visits
):
    dice = random.Random(SEED)
    for _ in range(max(1, N // 5)):
        url = next(copies)
        kept = Kept(url)
        with dask_cluster(url.parent) as (address, scheduler):
            with start(url, "--dask", address, program=UNTIL_GIVEN_UP) as run:
                wait_for(lambda: bool(starts_of(url)), run)  # noqa: B023 - called at once
                time.sleep(dice.uniform(0.0, 1.0))
                ended = ends_of(url)
                scheduler.kill()
                assert run.wait(WITHIN_S) in (1, 2), log_of(url)
            assert "the Dask scheduler was lost, with " in log_of(url)
            assert not re.search("Traceback|report it", log_of(url)), log_of(url)
            kept.look()
        begun = set(starts_of(url))
        with dask_cluster(url.parent) as (address, _), start(url, "--dask", address) as run:
            assert run.wait(WITHIN_S) == 0, log_of(url)
        assert results_of(url) == undisturbed
        kept.check()
        check_starts(url)
        # what came to its end before the kill is not begun again after it
        assert ended + Counter(map(well_of, starts_of(url).keys() - begun)) <= visits


def test_a_prefect_server_that_hangs_and_restarts_costs_no_well(
    copies, undisturbed, visits, tmp_path
):
    dice, server = random.Random(SEED), PrefectServer(tmp_path / "prefect")
    with ExitStack() as stack:
        stack.callback(server.kill)
        server.start()
        for _ in range(max(1, N // 10)):
            url = next(copies)
            kept = Kept(url)
            with start(url, monitor="prefect", environment=server.environment) as run:
                wait_for(lambda: bool(starts_of(url)), run)  # noqa: B023 - called at once
                server.hold()
                wait_for(lambda: measured(url) >= 2 * COLUMNS, run)  # noqa: B023 - called at once
                kept.look()
                server.kill()
                time.sleep(dice.uniform(0.0, 2.0))
                server.start()
                assert run.wait(WITHIN_S) == 0, log_of(url)
            assert results_of(url) == undisturbed
            kept.check()
            check_starts(url)
            assert ends_of(url) == visits
            check_shown(server, url)


def measured(url: Path) -> int:
    """Return how many wells are done."""
    return len(list(url.with_suffix(".hcs").glob("[A-D]/*/measure-*.json")))


def check_shown(server: PrefectServer, url: Path) -> None:
    """Find the newest run as it ended in what the server's API answers."""
    (run,) = server.ask("flow_runs", sort="START_TIME_DESC", limit=1)
    artifacts = server.ask("artifacts", artifacts={"flow_run_id": {"any_": [run["id"]]}})
    shown = {artifact["key"]: artifact["data"] for artifact in artifacts}
    assert sorted(shown) == ["tiny-plate", "tiny-progress", "tiny-wells"]
    assert len(artifacts) == len(shown)
    assert shown["tiny-progress"] == 100.0
    rows = [(row["well"], row["state"]) for row in json.loads(shown["tiny-wells"])]
    assert rows == [(well.name, "done") for well in open_plate(url).layout.wells]
    assert run["state"]["name"] == "Completed"
