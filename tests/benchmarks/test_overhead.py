"""What running a well costs beyond the well, what a second worker gains, what `verify` takes.

Through the pool that `hcs run` opens: local Dask processes, one thread each. A pool is opened once
for several plates, so that what is timed begins with workers that are warm.
"""

import importlib.util
import json
import shutil
import time
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from itertools import count
from multiprocessing import get_context
from pathlib import Path
from unittest.mock import patch

import psutil
import pytest

from hcs.plate import commit
from hcs.plate.lock import acquire
from hcs.plate.open import open_plate
from hcs.run.analyse import analyse
from hcs.run.cluster import open_cluster
from hcs.run.plan import make_plan
from hcs.run.verify import verify_plate
from hcs.run.well import WellJob
from hcs.settings import load_settings
from hcs.simulate.plate import simulate_plate
from hcs.simulate.settings import SimulationSettings
from tests.benchmarks.noop import noop_wells, write_plate
from tests.runs import workers_of
from tests.servers import PrefectServer

N_NOOP = 96
SSL = SimulationSettings(preset="moderate", columns=6, rows=4, frames=10, size=512)
# without C/04, which is empty and waits for what all others tell, alone at the end; the same
# number for each of two workers
WELLS = [f"{row}/{column:02}" for row in "ABCD" for column in range(1, 7)]
BUSY = [well for well in WELLS if well not in ("C/04", "D/06")]
MOST_MS, MOST_SHARE, MOST_VERIFIED = 20, 0.02, 0.05
ROUNDS = 2


@dataclass(frozen=True)
class Wells:
    """Wells that went through a pool: how long each took by itself, and all of them, seconds."""

    seconds: tuple[float, ...]
    # from the start of the first piece of work to the end of the last well
    wall_s: float

    @property
    def bare_ms(self):
        return 1000 * sum(self.seconds) / len(self.seconds)

    @property
    def overhead_ms(self):
        """Between wells, where one worker does one after the other."""
        return 1000 * (self.wall_s - sum(self.seconds)) / (len(self.seconds) - 1)


@contextmanager
def pool(n_workers):
    """Open local workers for several plates; yield the settings of runs that go there."""
    settings = load_settings(overrides=[f"run.workers={n_workers}"])
    with (
        open_cluster(settings.run) as cluster,
        patch("hcs.run.analyse.open_cluster", lambda run, stop: nullcontext(cluster)),
    ):
        yield settings


def through(run, url, settings):
    """Run a plate, and return its wells."""
    seconds, end = {}, 0.0

    def hear(outcome, *_):
        nonlocal end
        end = time.time()
        # a well that waits for the plate's pool is heard of twice, then with all of its time
        seconds[outcome.well] = outcome.seconds

    assert run(url, settings, on_outcome=hear).exit_code == 0
    # a worker leaves a note before it begins
    notes = Path(url).with_suffix(".hcs").glob("attempts/**/*.json")
    begun = min(json.loads(note.read_bytes())["time"] for note in notes)
    return Wells(tuple(seconds.values()), end - begun)


@pytest.fixture(scope="module")
def plates(tmp_path_factory):
    """Return an iterator over plates of nothing."""
    return (
        write_plate(tmp_path_factory.mktemp("noop") / "noop.zarr", n_wells)
        for n_wells in count(N_NOOP, 0)
    )


@pytest.fixture(scope="module")
def prefect_api(tmp_path_factory):
    home = tmp_path_factory.mktemp("prefect")
    server = PrefectServer(home)
    with pytest.MonkeyPatch.context() as environment:
        for name, value in server.variables.items():
            environment.setenv(name, value)
        try:
            server.start()
            from prefect.settings import PREFECT_API_URL, PREFECT_HOME, temporary_settings

            with temporary_settings({PREFECT_API_URL: server.api, PREFECT_HOME: home}):
                yield server.api
        finally:
            server.kill()


def test_a_well_costs_little_beyond_itself(bench, plates, prefect_api):
    from flows.analyse import run_flow

    with pool(1) as settings, noop_wells():
        through(analyse, next(plates), settings)
        plain = through(analyse, next(plates), settings)
        watched = through(run_flow, next(plates), settings)
    row = {
        "bare_ms": plain.bare_ms,
        "overhead_ms": plain.overhead_ms,
        "watched_bare_ms": watched.bare_ms,
        "watched_overhead_ms": watched.overhead_ms,
    }
    if importlib.util.find_spec("prefect_dask"):
        theirs = through_prefect_dask(next(plates))
        row |= {"prefect_dask_bare_ms": theirs.bare_ms, "prefect_dask_ms": theirs.overhead_ms}
    bench.note("overhead_noop", row)
    assert row["overhead_ms"] <= MOST_MS
    assert row["watched_overhead_ms"] <= MOST_MS


def through_prefect_dask(url):
    """Run the same wells as prefect-dask would: a Prefect task for each, on a Dask worker."""
    from distributed import LocalCluster

    from tests.benchmarks.prefect_dask_side import night

    plate, settings = open_plate(url), load_settings()
    with acquire(plate.companion) as lock:
        plan = make_plan(plate, settings)
        source, steps = plan.source(lock.token), tuple(step.name for step in plan.steps)
        jobs = [WellJob(source, one.wanted, steps) for one in plan.wells]
        with LocalCluster(1, threads_per_worker=1, dashboard_address=None) as cluster:
            ended = night(cluster.scheduler_address, jobs)
    ends, seconds = zip(*ended, strict=True)
    begun = min(end - own for end, own in ended)
    return Wells(seconds, max(ends) - begun)


@pytest.fixture(scope="module")
def ssl_plate(tmp_path_factory):
    url = tmp_path_factory.mktemp("ssl") / "ssl.zarr"
    simulate_plate(url, SSL, processes=2)
    return url


@pytest.fixture
def copies(ssl_plate, tmp_path):
    """Return an iterator over copies of a plate that nobody analysed."""
    return (
        str(shutil.copytree(ssl_plate, tmp_path / str(number) / "ssl.zarr")) for number in count()
    )


def test_two_workers_do_almost_twice_the_wells_of_one(bench, copies):
    """In turn, and the best round counts: a machine that others use is slower for minutes."""
    runs, apart_s = {1: [], 2: []}, []
    for _ in range(ROUNDS):
        for n_workers, found in runs.items():
            found.append(through_workers(n_workers, copies))
        apart_s.append(through_processes(copies))
    wells = {n: min((one for one, _ in runs[n]), key=lambda one: one.wall_s) for n in runs}
    cpu_s = {n: min(used for _, used in runs[n]) for n in runs}
    share = wells[1].overhead_ms / 1000 * len(BUSY) / wells[1].wall_s
    row = {
        "well_s": wells[1].bare_ms / 1000,
        "well_s_two": wells[2].bare_ms / 1000,
        "s_per_mpx": wells[1].bare_ms / 1000 / (SSL.frames * SSL.size**2 / 1e6),
        "overhead_ms": wells[1].overhead_ms,
        "overhead_share": share,
        "speedup": wells[1].wall_s / wells[2].wall_s,
        "speedup_without_cluster": wells[1].wall_s / min(apart_s),
        "cpu_s_one": cpu_s[1],
        "cpu_s_two": cpu_s[2],
    }
    bench.note("overhead_ssl", row)
    assert row["overhead_ms"] <= MOST_MS
    assert share <= MOST_SHARE
    assert row["speedup"] >= 1.7
    assert cpu_s[2] == pytest.approx(cpu_s[1], rel=0.05)


def through_workers(n_workers, copies):
    """Run the busy wells, and return them and the processor seconds of each."""
    with pool(n_workers) as settings:
        through(analyse, next(copies), settings.model_copy(update={"wells": tuple(BUSY[:4])}))
        before = cpu_of_workers()
        found = through(analyse, next(copies), settings.model_copy(update={"wells": tuple(BUSY)}))
        return found, (cpu_of_workers() - before) / len(BUSY)


def cpu_of_workers():
    """Return the processor seconds that the workers of this process have used so far."""
    return sum(sum(one.cpu_times()[:2]) for one in workers_of(psutil.Process()))


def through_processes(copies):
    """Return the seconds that two processes take which know of each other as little as can be.

    That is what the machine has to give: their memory and their disk are the same.
    """
    jobs = [(BUSY[half::2], next(copies), next(copies)) for half in range(2)]
    with get_context("spawn").Pool(2) as processes:
        return max(processes.starmap(through_one, jobs, chunksize=1))


def through_one(wells, warm_up, url):
    settings = load_settings(overrides=["run.dask=none", "run.workers=1"])
    through(analyse, warm_up, settings.model_copy(update={"wells": tuple(wells[:2])}))
    return through(analyse, url, settings.model_copy(update={"wells": tuple(wells)})).wall_s


def test_verifying_is_a_small_part_of_a_run(bench, copies):
    url, spent = next(copies), []
    verify = commit.verify

    def timed(*arguments):
        begun = time.perf_counter()
        found = verify(*arguments)
        spent.append(time.perf_counter() - begun)
        return found

    settings = load_settings(overrides=["run.dask=none", "run.workers=1"])
    with patch.object(commit, "verify", timed):
        run_s = sum(through(analyse, url, settings).seconds)
    begun = time.perf_counter()
    plate = open_plate(url)
    assert verify_plate(plate, plate.layout.wells).exit_code == 0
    row = {
        "run_s": run_s,
        "before_markers_share": sum(spent) / run_s,
        "hcs_verify_share": (time.perf_counter() - begun) / run_s,
    }
    bench.note("verify", row)
    assert row["before_markers_share"] <= MOST_VERIFIED
    assert row["hcs_verify_share"] <= MOST_VERIFIED


def test_the_rate_of_fields_of_full_size(bench, tmp_path):
    """For docs/scale.md; a figure, no bar."""
    size, frames = 2160, 4
    url = tmp_path / "large.zarr"
    simulate_plate(
        url, SSL.model_copy(update={"columns": 1, "rows": 1, "size": size, "frames": frames})
    )
    settings = load_settings(overrides=["run.dask=none", "run.workers=1"])
    (seconds,) = through(analyse, str(url), settings).seconds
    bench.note("ssl_full_size", {"s_per_mpx": seconds / (frames * size**2 / 1e6)})
