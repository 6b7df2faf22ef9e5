"""Many wells that do nothing, through the real flow, scheduler and Prefect server: what grows?

``HCS_WELLS`` says how many: 1000 unless it does.
"""

import os
import subprocess
import sys
import time
from bisect import bisect_right
from contextlib import suppress
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
import psutil

from tests.benchmarks.noop import write_plate
from tests.runs import kill_family, workers_of
from tests.servers import PrefectServer

N_WELLS = int(os.environ.get("HCS_WELLS", "1000"))
ROOT = Path(__file__).parents[2]
_EVERY_S = 1.0
# of what lasts through a run, as rows per well and messages to come do, kB
MOST_KB_PER_WELL = {"flow": 60, "server": 30, "worker": 10}


@dataclass(frozen=True)
class Look:
    """Resident memory and processor time of some processes at one moment, MB and seconds."""

    at: float
    rss_mb: float
    cpu_s: float


def test_neither_time_nor_memory_per_well_grows(bench, tmp_path):
    url = Path(write_plate(tmp_path / "many.zarr", N_WELLS))
    server = PrefectServer(tmp_path / "prefect")
    begun = time.time()
    try:
        server.start()
        looks = watched(url, server)
    finally:
        server.kill()
    ended = looks["flow"][-1].at
    ends = sorted(path.stat().st_mtime for path in url.with_suffix(".hcs").glob("*/*/measure-*"))
    assert len(ends) == N_WELLS
    quarters = [ends[round(share * (N_WELLS - 1))] for share in (0, 0.25, 0.5, 0.75, 1)]
    ms = [4000 * (end - start) / N_WELLS for start, end in pairwise(quarters)]
    row = {"before_s": ends[0] - begun, "after_s": ended - ends[-1], "ms_per_well": np.mean(ms)}
    row |= {"second_quarter_ms": ms[1], "last_quarter_ms": ms[3]}
    for role, seen in looks.items():
        row |= {f"{role}_{name}": value for name, value in summed_up(seen, ends).items()}
    bench.note(f"scale_{N_WELLS}", row)
    assert ms[3] < 1.25 * ms[1]
    for role, most in MOST_KB_PER_WELL.items():
        assert row[f"{role}_kb_per_well"] < most, role


def watched(url, server):
    """Run the plate as an operator does; return looks at its processes until it ended, by role."""
    command = [sys.executable, "-m", "tests.benchmarks.noop", "run", url, "--workers", "2"]
    looks = {"flow": [], "server": [], "worker": []}
    log = url.parent / "run.log"
    with log.open("wb") as said:
        run = subprocess.Popen(command, stdout=said, stderr=said, cwd=ROOT, env=server.environment)
    try:
        while run.poll() is None:
            # the scheduler of local workers lives in the flow's process
            looks["flow"].append(look_at([psutil.Process(run.pid)]))
            looks["server"].append(look_at(servers()))
            looks["worker"].append(look_at(workers_of(run)))
            time.sleep(_EVERY_S)
    finally:
        kill_family(run.pid)
        run.wait()
    assert run.returncode == 0, log.read_text()
    return looks


def servers():
    """Return the processes of Prefect's server, which this process started."""
    found = []
    for one in psutil.Process().children(recursive=True):
        # the run ends when it likes
        with suppress(psutil.NoSuchProcess):
            if "prefect" in " ".join(one.cmdline()):
                found.append(one)
    return found


def look_at(processes):
    mb, cpu_s = 0.0, 0.0
    for one in processes:
        try:
            mb = max(mb, one.memory_info().rss / 1e6)
            cpu_s += sum(one.cpu_times()[:2])
        except psutil.NoSuchProcess:
            continue
    return Look(time.time(), mb, cpu_s)


def summed_up(looks, ends):
    """Return the memory at half of the wells and at the last, and what each well between costs."""
    through = np.array([bisect_right(ends, look.at) for look in looks])
    late = (through >= N_WELLS / 2) & (through < N_WELLS)
    mb, cpu_s = np.array([(look.rss_mb, look.cpu_s) for look in looks])[late].T
    return {
        "half_mb": mb[0],
        "end_mb": mb[-1],
        "kb_per_well": 1000 * np.polyfit(through[late], mb, 1)[0],
        "cpu_ms_per_well": 1000 * np.polyfit(through[late], cpu_s, 1)[0],
    }
