"""Work that hangs, or takes more memory than a worker has; an input that is protected.

With ``HCS_FAULTS`` above 2 also as whole runs: of a segmenter in a package that is installed for
the run only, which finds written in a well's first pixel what it is to do with it.
"""

import ctypes
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import psutil
import pytest

from hcs.errors import WorkerError
from hcs.plate.open import open_plate
from hcs.plate.storage import Storage
from hcs.run.analyse import analyse
from hcs.run.attempts import Attempts
from hcs.run.calls import Call, CallTimeoutError, Cluster
from hcs.run.cluster import open_cluster
from hcs.settings import RunSettings, load_settings
from tests.plates import make_plate, moving_cells, results_of
from tests.runs import HCS, starts_of

pytestmark = pytest.mark.integration

N = int(os.environ.get("HCS_FAULTS", "2"))
long = pytest.mark.skipif(N < 3, reason="long; HCS_FAULTS=3 or more")
ATTEMPTS = 2 if N < 10 else 3
# far more than a well needs that does not hang, also on a busy machine
TIMEOUT_S = 60
WORKER_BYTES = 1_200_000_000
GOOD, STUCK, STUCK_IN_C, STUCK_ONCE, GREEDY, LEAKY, NO_MEMORY = range(7)

# work by itself

kept: list[np.ndarray] = []


def do(folder: str, name: str, script: Sequence[str]) -> str:
    """Do what the script says for this start."""
    start = len(list(Path(folder).glob(f"{name}-*")))
    Path(folder, f"{name}-{start}").touch()
    act = script[min(start, len(script) - 1)]
    if act == "hold":
        # PyDLL keeps the interpreter's lock: no other thread of the worker runs any more
        ctypes.PyDLL(None).sleep(100_000)
    elif act == "eat":
        while True:
            kept.append(np.ones(5_000_000))
            time.sleep(0.02)
    elif act == "keep":
        free = int(0.87 * WORKER_BYTES) - psutil.Process().memory_info().rss
        kept.append(np.ones(max(0, free) // 8))
    elif act == "ask":
        np.ones(1 << 50)
    return "done"


@pytest.fixture(scope="module")
def processes() -> Iterator[Cluster]:
    memory = str(WORKER_BYTES)
    with open_cluster(RunSettings(dask="local", workers=2, memory_per_worker=memory)) as cluster:
        yield cluster


@pytest.fixture
def attempts(tmp_path) -> Attempts:
    return Attempts(Storage.open(tmp_path / "plate.hcs"), token=1, limit=2)


def call(folder: Path, name: str, *script: str) -> Call:
    return Call(name, do, (str(folder), name, script))


def test_work_that_holds_the_interpreter_is_stopped_with_its_worker(processes, attempts, tmp_path):
    hurried = Cluster(processes._workers, timeout_s=2)
    assert hurried.run(call(tmp_path, "once", "hold", ""), attempts) == "done"
    assert attempts.count("once") == 2
    with pytest.raises(CallTimeoutError, match=r"always took longer than 2 s .raise --timeout"):
        hurried.run(call(tmp_path, "always", "hold"), attempts)
    assert attempts.count("always") == 2


def test_work_that_takes_too_much_memory_is_given_up_and_others_not_charged(
    processes, attempts, tmp_path
):
    with ThreadPoolExecutor(2) as threads:
        greedy = threads.submit(processes.run, call(tmp_path, "greedy", "eat"), attempts)
        calls = [call(tmp_path, f"well-{k}", "") for k in range(8)]
        assert [processes.run(one, attempts) for one in calls] == ["done"] * 8
        with pytest.raises(WorkerError, match="greedy was started 2 times and its worker died"):
            greedy.result()
    assert attempts.count("greedy") == 2
    assert [attempts.count(one.name) for one in calls] == [1] * 8


def test_memory_that_is_not_there_is_told(processes, attempts, tmp_path):
    with pytest.raises(WorkerError, match="well ran out of memory: Unable to allocate") as told:
        processes.run(call(tmp_path, "well", "ask"), attempts)
    assert "fewer workers" in told.value.hint
    assert attempts.count("well") == 2
    # which Dask would print with a trace and all settings
    assert "Compute Failed" not in str(processes._workers._client.get_worker_logs())


def test_workers_that_keep_most_of_their_memory_go_on_working(processes, attempts, tmp_path):
    hurried = Cluster(processes._workers, timeout_s=300)
    for name in ("keep", "keep", "", ""):
        with ThreadPoolExecutor(2) as threads:
            two = [call(tmp_path, f"{name}-{k}", name) for k in range(2)]
            found = [threads.submit(hurried.run, one, attempts) for one in two]
            assert [one.result() for one in found] == ["done"] * 2


# whole runs

SEGMENTER = """
import ctypes, os, pathlib, threading, time
import numpy as np
import psutil

kept = []

def stuck():
    threading.Event().wait()

def stuck_in_c():
    # PyDLL keeps the interpreter's lock: no other thread of this process runs any more
    ctypes.PyDLL(None).sleep(100_000)

def stuck_once():
    try:
        (pathlib.Path(os.environ["SEEN"]) / "once").mkdir()
    except FileExistsError:
        return
    stuck_in_c()

def greedy():
    while True:
        kept.append(np.ones(10_000_000))
        time.sleep(0.02)

def leaky():
    # most of what a worker may have, which it never gives back
    kept.append(np.ones((MOST - psutil.Process().memory_info().rss) // 8))

def no_memory():
    np.ones(1 << 50)

ACTS = [lambda: None, stuck, stuck_in_c, stuck_once, greedy, leaky, no_memory]

def segment(frames):
    ACTS[int(frames[0, 0, 0])]()
    return (frames > 500).astype(np.uint32)
"""


@pytest.fixture
def installed(tmp_path) -> dict[str, str]:
    """Return an environment in which the segmenter ``odd`` is installed."""
    site, seen = tmp_path / "site", tmp_path / "seen"
    about = site / "odd-1.0.dist-info"
    about.mkdir(parents=True)
    seen.mkdir()
    (site / "odd.py").write_text(f"MOST = {int(0.87 * WORKER_BYTES)}\n{SEGMENTER}")
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: odd\nVersion: 1.0\n")
    (about / "entry_points.txt").write_text("[hcs.segmenters]\nodd = odd:segment\n")
    path = os.pathsep.join(filter(None, (str(site), os.environ.get("PYTHONPATH", ""))))
    return {**os.environ, "PYTHONPATH": path, "SEEN": str(seen)}


def plate_of(url: Path, acts: Mapping[str, int]) -> Path:
    """Write a plate whose wells say what is done to them."""
    wells = {}
    for seed, (well, act) in enumerate(acts.items()):
        wells[well] = moving_cells(seed, 2, 64)
        wells[well][0, 0, 0] = act
    make_plate(url, wells)
    return url


def run(
    url: Path, environment: Mapping[str, str], *flags: str, workers: int = 2
) -> tuple[int, dict[str, dict[str, object]]]:
    """Run the segmenter as an operator does; return the exit code, and outcomes by well."""
    command = [HCS, "run", url, "--method", "odd", "--monitor", "none", "--json"]
    often = ["--set", f"run.attempts={ATTEMPTS}", "--workers", str(workers)]
    memory = ["--memory", f"{WORKER_BYTES}"]
    told = subprocess.run(
        [*command, *often, *memory, *flags], env=dict(environment), capture_output=True, text=True
    )
    assert "Traceback" not in told.stderr, told.stderr
    outcomes = json.loads(told.stdout)["wells"]
    return told.returncode, {outcome["well"]: outcome for outcome in outcomes}


def starts(url: Path) -> dict[str, int]:
    """Return how often each well was started in a run of its own."""
    return {"/".join(name.split("/")[1:3]): len(found) for name, found in starts_of(url).items()}


@long
def test_stuck_wells_are_stopped_tried_again_and_given_up(installed, tmp_path):
    acts = {"A/01": STUCK, "A/02": STUCK_IN_C, "A/03": STUCK_ONCE, "A/04": GOOD, "A/05": GOOD}
    url = plate_of(tmp_path / "tiny.zarr", acts)
    code, outcomes = run(url, installed, "--timeout", str(TIMEOUT_S))
    assert code == 2
    states = {well: outcome["state"] for well, outcome in outcomes.items()}
    assert states == {well: "failed" if well < "A/03" else "done" for well in acts}
    expected = {"A/01": ATTEMPTS, "A/02": ATTEMPTS, "A/03": 2, "A/04": 1, "A/05": 1}
    assert starts(url) == {well: expected[well] for well in acts}
    stuck = [well for well in acts if well < "A/03"]
    for well in stuck:
        failure = outcomes[well]["failure"]
        assert failure["cause"] == "worker failure"
        assert f"{well}/1/0 took longer than {TIMEOUT_S} s" in failure["message"]
        assert "raise --timeout" in failure["hint"]
    quarantine = open_plate(url).table("quarantine")
    assert quarantine["well"].tolist() == [well.replace("/", "") for well in stuck]


@long
def test_wells_that_take_too_much_memory_are_given_up_and_others_not_charged(installed, tmp_path):
    acts = {"A/01": GREEDY, "A/02": NO_MEMORY, "A/03": GOOD, "A/04": GOOD}
    url = plate_of(tmp_path / "tiny.zarr", acts)
    code, outcomes = run(url, installed)
    assert code == 2
    assert [outcome["state"] for outcome in outcomes.values()] == ["failed"] * 2 + ["done"] * 2
    assert starts(url) == {"A/01": ATTEMPTS, "A/02": ATTEMPTS, "A/03": 1, "A/04": 1}
    greedy, none = (outcomes[well]["failure"] for well in ("A/01", "A/02"))
    assert f"was started {ATTEMPTS} times and its worker died" in greedy["message"]
    assert "more with --memory" in greedy["hint"]
    assert "A/02/1/0 ran out of memory: Unable to allocate" in none["message"]
    assert {greedy["cause"], none["cause"]} == {"worker failure"}


@long
def test_a_worker_that_keeps_most_of_its_memory_goes_on_working(installed, tmp_path):
    acts = {"A/01": LEAKY, "A/02": GOOD, "A/03": GOOD}
    url = plate_of(tmp_path / "tiny.zarr", acts)
    code, outcomes = run(url, installed, "--timeout", "120", workers=1)
    assert code == 0, outcomes
    assert {outcome["state"] for outcome in outcomes.values()} == {"done"}


# an input that is protected

PROTECTED = """
import subprocess, sys
protect, folder, *command = sys.argv[1:]
for options in (["--bind", protect, protect], ["-o", "remount,bind,ro", protect]):
    subprocess.run(["mount", *options], check=True)
sys.exit(subprocess.run(command, cwd=folder).returncode)
"""


def protected(what: Path, *command: object) -> subprocess.CompletedProcess[str]:
    """Run a command that sees a folder as one that nobody may write to."""
    own = ["unshare", "--mount", "--map-root-user"]
    inside = [sys.executable, "-c", PROTECTED, str(what), str(what.parent)]
    return subprocess.run([*own, *inside, *map(str, command)], capture_output=True, text=True)


@pytest.fixture(scope="module")
def protecting(tmp_path_factory) -> None:
    try:
        trial = protected(tmp_path_factory.mktemp("input"), "true")
    except FileNotFoundError:
        pytest.skip("needs unshare (util-linux) to protect a folder")
    if trial.returncode:
        pytest.skip("needs user namespaces to protect a folder")


@pytest.fixture
def fresh(tmp_path) -> Path:
    url = tmp_path / "in" / "tiny.zarr"
    make_plate(url, {"A/01": moving_cells(0, 2), "A/02": moving_cells(1, 2)})
    return url


HERE = ("--dask", "none", "--workers", "1", "--monitor", "none")


def test_a_protected_input_is_refused_with_what_to_do_and_that_works(protecting, fresh, tmp_path):
    inputs = fresh.parent
    before = results_of(fresh)
    # the plate alone, then the folder that it lies in
    for what in (fresh, inputs):
        refused = protected(what, HCS, "run", fresh, *HERE)
        assert refused.returncode == 1
        assert "it is read-only" in refused.stderr
        assert "hcs run --output PLATE" in refused.stderr
        assert "Traceback" not in refused.stderr
    assert results_of(fresh) == before
    output = tmp_path / "out" / "results.zarr"
    done = protected(inputs, HCS, "run", fresh, "--output", output, *HERE)
    assert done.returncode == 0, done.stderr
    verified = protected(inputs, HCS, "verify", output)
    assert verified.returncode == 0, verified.stdout
    assert same_results(results_of(output), run_unprotected(fresh, tmp_path / "open"))
    assert results_of(fresh) == before


def run_unprotected(fresh: Path, folder: Path) -> dict[str, bytes]:
    url = Path(shutil.copytree(fresh, folder / "tiny.zarr"))
    settings = load_settings(overrides=["run.dask=none", "run.workers=1"])
    assert analyse(str(url), settings).exit_code == 0
    return results_of(url)


def same_results(found: Mapping[str, bytes], expected: Mapping[str, bytes]) -> bool:
    """Compare label images and tables of two plates, of which one has no pixels."""

    def ours(files: Mapping[str, bytes]) -> dict[str, bytes]:
        return {k: v for k, v in files.items() if "/labels/" in k or "/tables/" in k}

    return bool(ours(found)) and ours(found) == ours(expected)
