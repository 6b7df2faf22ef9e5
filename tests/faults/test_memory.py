"""What a worker's memory comes to, against what `hcs plan` says, and from well to well.

``HCS_FAULTS`` over 10 asks for fields of full size, for networks, and for 500 wells in a row.
"""

import json
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from hcs.simulate.plate import simulate_plate
from hcs.simulate.settings import SimulationSettings
from tests.plates import make_plate, moving_cells, rechunk
from tests.runs import HCS, log_of, marker_files, start, workers_of

pytestmark = [
    pytest.mark.integration,
    pytest.mark.skipif(sys.platform != "linux", reason="peaks of memory are read from /proc"),
]

IS_LONG = int(os.environ.get("HCS_FAULTS", "2")) > 10
AT_LENGTH = pytest.mark.skipif(not IS_LONG, reason="minutes: HCS_FAULTS=100 asks for it")
# what the planner may be off by
WITHIN = 0.15
N_WELLS, EARLY = 500, 50


def simulated(folder: Path, size: int) -> Path:
    """Return a plate of one well with one field."""
    url = folder / "plate.zarr"
    settings = SimulationSettings(preset="moderate", columns=1, rows=1, frames=3, size=size)
    simulate_plate(url, settings, processes=1)
    return url


def planned(url: Path, *flags: str) -> int:
    """Return the bytes that `hcs plan` says a worker needs."""
    command = [HCS, "plan", url, "--json", "--workers", "1", *flags]
    said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    return int(json.loads(said)["memory_per_worker"])


def peak(url: Path, *flags: str) -> int:
    """Return the most bytes that the worker of a run ever held."""
    found = 0
    with start(url, *flags, workers=1) as run:
        while run.poll() is None:
            found = max([found, *map(peak_so_far, workers_of(run))])
            time.sleep(0.1)
        assert run.returncode == 0, log_of(url)
    return found


def peak_so_far(process: psutil.Process) -> int:
    try:
        status = Path(f"/proc/{process.pid}/status").read_text()
    except OSError:
        return 0
    lines = [line for line in status.splitlines() if line.startswith("VmHWM")]
    return 1024 * int(lines[0].split()[1]) if lines else 0


@pytest.mark.parametrize(
    "size", [512, pytest.param(1080, marks=AT_LENGTH), pytest.param(2160, marks=AT_LENGTH)]
)
def test_a_worker_of_ssl_needs_what_the_plan_says(tmp_path, size):
    url = simulated(tmp_path, size)
    said = planned(url)
    assert said == pytest.approx(peak(url), rel=WITHIN)


@AT_LENGTH
def test_chunks_that_are_larger_than_a_frame_are_in_the_plan(tmp_path):
    url = simulated(tmp_path, 512)
    ordinary = planned(url)
    # as large as they may be, for a movie that was cut short
    (array,) = url.glob("*/*/0/0")
    rechunk(array, (190, 3, 1, 512, 512))
    said = planned(url)
    assert said > 1.3 * ordinary
    assert said == pytest.approx(peak(url), rel=WITHIN)


@pytest.fixture
def untrained(tmp_path) -> Path:
    """Return a weights file of the network that the planner's figures are of: the default one."""
    from hcs.isl.card import Architecture, InputPlane, ModelCard, TargetScale, Training
    from hcs.isl.network import build_network
    from hcs.isl.weights import save_weights

    card = ModelCard(
        name="dna",
        head="stain",
        inputs=(InputPlane(channel="phase"),),
        pixel_size_um=0.65,
        targets=(TargetScale(stain="dna", offset=100, scale=400),),
        architecture=Architecture(),
        training=Training(
            fingerprint="none", n_images=1, n_steps=1, seed=0, started_from="random", recipe={}
        ),
    )
    path = tmp_path / "dna.safetensors"
    save_weights(path, build_network("stain", 1, 1, card.architecture).eval(), card)
    return path


@AT_LENGTH
@pytest.mark.parametrize(("size", "batch"), [(512, 1), (512, 4), (1080, 1)])
def test_a_worker_with_a_network_needs_what_the_plan_says(tmp_path, untrained, size, batch):
    url = simulated(tmp_path, size)
    named = f"isl.weights=[{untrained}]"
    flags = [f for one in ("methods=[isl]", named, f"isl.batch={batch}") for f in ("--set", one)]
    said = planned(url, *flags)
    assert said == pytest.approx(peak(url, *flags), rel=WITHIN)


@AT_LENGTH
def test_a_network_of_smaller_pixels_needs_what_the_plan_says(tmp_path, untrained):
    url = simulated(tmp_path, 512)
    named = f"isl.weights=[{untrained}]"
    # twice as many pixels along each side
    sizes = "calibration.pixel_size_um=1.3"
    settings = ("methods=[isl]", named, "isl.batch=1", sizes)
    flags = [f for one in settings for f in ("--set", one)]
    said = planned(url, *flags)
    assert said == pytest.approx(peak(url, *flags), rel=WITHIN)


@AT_LENGTH
def test_no_well_leaves_anything_behind_in_its_worker(tmp_path):
    names = [f"{row}/{column:02d}" for row in "ABCDEFGHIJKLMNOPQRST" for column in range(1, 26)]
    url = tmp_path / "tiny.zarr"
    make_plate(url, {name: moving_cells(0, n_frames=2, side=96) for name in names[:N_WELLS]})
    held: dict[int, list[tuple[int, int]]] = {}
    with start(url, workers=1) as run:
        while run.poll() is None:
            done = len([path for path in marker_files(url) if path.stem.startswith("measure")])
            for worker in workers_of(run):
                held.setdefault(worker.pid, []).append((done, resident(worker)))
            time.sleep(0.5)
        assert run.returncode == 0, log_of(url)
    (looks,) = (own for own in held.values() if own[-1][0] > EARLY)
    early = statistics.median(rss for done, rss in looks if EARLY <= done < 2 * EARLY)
    late = statistics.median(rss for done, rss in looks if done >= N_WELLS - EARLY)
    assert late == pytest.approx(early, rel=0.05)


def resident(process: psutil.Process) -> int:
    try:
        return int(process.memory_info().rss)
    except psutil.NoSuchProcess:
        return 0
