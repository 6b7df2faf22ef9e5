"""Slurm: the scripts that will be submitted, and the night's own with a stand-in for hcs."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.deployed import DEPLOY

FOLDER = DEPLOY / "slurm"

PRINT = """
from hcs.run.cluster_slurm import job_scripts
print("".join(job_scripts()), end="")
"""

EXPORTS = """\
export OMP_NUM_THREADS=1
export OPENBLAS_NUM_THREADS=1
export MKL_NUM_THREADS=1
export NUMBA_NUM_THREADS=1
export MALLOC_TRIM_THRESHOLD_=268435456
export MALLOC_MMAP_THRESHOLD_=33554432
"""

CPU = """\
#!/usr/bin/env bash

#SBATCH -J hcs-worker
#SBATCH -e {folder}/logs/hcs-worker-%J.err
#SBATCH -o {folder}/logs/hcs-worker-%J.out
#SBATCH -n 1
#SBATCH --cpus-per-task=8
#SBATCH --mem=30G
#SBATCH -t 04:00:00
#SBATCH --export=ALL
{exports}{python} -m distributed.cli.dask_worker SCHEDULER --name NAME --nthreads 1 \
--memory-limit 3.73GiB --nworkers 8 --nanny --death-timeout 120 --local-directory /tmp \
--lifetime 225m --lifetime-stagger 5m --protocol tls://
"""

GPU = """\
#!/usr/bin/env bash

#SBATCH -J hcs-gpu-worker
#SBATCH -e {folder}/logs/hcs-gpu-worker-%J.err
#SBATCH -o {folder}/logs/hcs-gpu-worker-%J.out
#SBATCH -n 1
#SBATCH --cpus-per-task=4
#SBATCH --mem=30G
#SBATCH -t 04:00:00
#SBATCH --export=ALL
#SBATCH --gres=gpu:1
{exports}{python} -m distributed.cli.dask_worker SCHEDULER --name NAME --nthreads 1 \
--memory-limit 29.80GiB --nanny --death-timeout 120 --local-directory /tmp \
--lifetime 225m --lifetime-stagger 5m --resources GPU=1 --protocol tls://
"""


def test_workers_are_submitted_with_these_scripts(tmp_path):
    # a home of its own: jobqueue copies its defaults there
    own = {"DASK_CONFIG": str(FOLDER / "jobqueue.yaml"), "HOME": str(tmp_path)}
    environment = {**os.environ, **own, "HCS_FOLDER": str(tmp_path)}
    environment.pop("NUMBA_CACHE_DIR", None)
    done = subprocess.run([sys.executable, "-c", PRINT], env=environment, capture_output=True)
    assert done.returncode == 0, done.stderr.decode()
    values = {"folder": tmp_path, "exports": EXPORTS, "python": sys.executable}
    assert done.stdout.decode() == (CPU + GPU).format(**values)


@pytest.fixture
def cluster(tmp_path: Path) -> dict[str, str]:
    """Return the environment of a user whose hcs says how it was called."""
    home = tmp_path / "hcs"
    (home / "venv/bin").mkdir(parents=True)
    stand_in = home / "venv/bin/hcs"
    stand_in.write_text('#!/bin/sh\necho "$@"\necho "${PREFECT_API_URL-none} $DASK_CONFIG"\n')
    stand_in.chmod(0o755)
    text = (FOLDER / "environment.example").read_text()
    (home / "environment").write_text(text)
    return {"HOME": str(tmp_path), "PATH": "/usr/bin:/bin"}


def submit(environment: dict[str, str], *arguments: str) -> list[str]:
    command = ["bash", FOLDER / "nightly.sbatch", *arguments]
    done = subprocess.run(command, env=environment, capture_output=True)
    assert done.returncode == 0, done.stderr.decode()
    return done.stdout.decode().splitlines()


def test_the_nights_job_runs_a_night(cluster):
    called, seen = submit(cluster, "--unchanged-min", "0")
    home = f"{cluster['HOME']}/hcs"
    assert called == (
        f"nightly /shared/plates --settings {home}/settings.yaml --dask slurm --unchanged-min 0"
    )
    # without a server of one's own a temporary one serves the night
    assert seen == f"none {home}/dask"


def test_the_nights_job_drops_the_logs_of_nights_long_past(cluster, tmp_path):
    old, new = ["hcs-1.out", "hcs-1.err", "hcs-nightly-1.log"], ["hcs-2.out", "hcs-nightly-2.log"]
    others = ["notes.log", "hcs-plates.csv"]
    folder = Path(cluster["HOME"], "hcs/logs")
    folder.mkdir()
    for name in (*old, *new, *others):
        (folder / name).touch()
        if name not in new:
            os.utime(folder / name, (0, 0))
    submit({**cluster, "SLURM_SUBMIT_DIR": str(folder)})
    assert sorted(path.name for path in folder.iterdir()) == sorted(new + others)


def test_the_nights_job_uses_the_server_that_is_named(cluster):
    path = Path(cluster["HOME"], "hcs/environment")
    text = path.read_text().replace("PREFECT_API_URL=", "PREFECT_API_URL=https://prefect/api")
    path.write_text(text)
    assert submit(cluster)[1].startswith("https://prefect/api ")


def test_the_nights_job_ends_early_enough_to_be_gone_on_with():
    lines = (FOLDER / "nightly.sbatch").read_text().splitlines()
    asked = dict(
        line.removeprefix("#SBATCH --").split("=", 1)
        for line in lines
        if line.startswith("#SBATCH")
    )
    assert asked["signal"] == "B:INT@600"
    assert asked["dependency"] == "singleton"
    # from six in the evening until seven, and an hour for the last plate
    assert asked["time"] == "14:00:00"
    # the signal reaches the night, not a shell around it
    assert lines[-1].startswith("exec hcs nightly ")


def test_no_secret_stands_in_the_example():
    lines = (FOLDER / "environment.example").read_text().splitlines()
    assert "export PREFECT_API_AUTH_STRING=" in lines
