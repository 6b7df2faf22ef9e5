"""Slurm: the scripts that will be submitted, and the night's own with a stand-in for hcs."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.deployed import DEPLOY, ROOT, documented

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

TOLD = (
    "--export=HOME,USER,LOGNAME,SHELL,LANG,TMPDIR,PATH,LD_LIBRARY_PATH,PYTHONPATH,DASK_CONFIG,"
    "NUMBA_CACHE_DIR,AWS_ACCESS_KEY_ID,AWS_SECRET_ACCESS_KEY,AWS_SESSION_TOKEN,AWS_PROFILE,"
    "AWS_ENDPOINT_URL,AWS_DEFAULT_REGION"
)

CPU = """\
#!/usr/bin/env bash

#SBATCH -J hcs-worker
#SBATCH -e {folder}/logs/hcs-worker-%J.err
#SBATCH -o {folder}/logs/hcs-worker-%J.out
#SBATCH -n 1
#SBATCH --cpus-per-task=8
#SBATCH --mem=30G
#SBATCH -t 04:00:00
#SBATCH {told}
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
#SBATCH {told}
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
    values = {"folder": tmp_path, "exports": EXPORTS, "told": TOLD, "python": sys.executable}
    assert done.stdout.decode() == (CPU + GPU).format(**values)


@pytest.fixture
def cluster(tmp_path: Path) -> dict[str, str]:
    """Return the environment of a user whose hcs says how it was called."""
    home = tmp_path / "hcs"
    (home / "venv/bin").mkdir(parents=True)
    stand_in = home / "venv/bin/hcs"
    stand_in.write_text(
        '#!/bin/sh\necho "$@"\necho "${PREFECT_API_URL-none} $DASK_CONFIG"\necho "$PREFECT_HOME"\n'
    )
    stand_in.chmod(0o755)
    text = (FOLDER / "environment.example").read_text()
    (home / "environment").write_text(text)
    (tmp_path / "node").mkdir()
    return {"HOME": str(tmp_path), "PATH": "/usr/bin:/bin", "TMPDIR": str(tmp_path / "node")}


def submit(environment: dict[str, str], *arguments: str) -> list[str]:
    command = ["bash", FOLDER / "nightly.sbatch", *arguments]
    done = subprocess.run(command, env=environment, capture_output=True)
    assert done.returncode == 0, done.stderr.decode()
    return done.stdout.decode().splitlines()


def test_the_nights_job_runs_a_night(cluster):
    called, seen, _ = submit(cluster, "--unchanged-min", "0")
    home = f"{cluster['HOME']}/hcs"
    assert called == (
        f"nightly /shared/plates --settings {home}/settings.yaml --dask slurm --unchanged-min 0"
    )
    # without a server of one's own a temporary one serves the night
    assert seen == f"none {home}/dask"


def test_the_temporary_server_of_a_night_has_its_database_on_the_nodes_disk(cluster, tmp_path):
    node = tmp_path / "node"
    left, others = node / "hcs-prefect.of-a-killed-night", node / "somebody.else"
    for folder in (left, others):
        folder.mkdir()
        os.utime(folder, (0, 0))
    # blocks of messages, made once where people log in
    made = Path(cluster["HOME"], "hcs/prefect")
    made.mkdir()
    (made / "prefect.db").write_text("blocks")
    home = Path(submit(cluster)[2])
    assert home.parent == node
    assert home.stat().st_mode & 0o077 == 0
    assert (home / "prefect.db").read_text() == "blocks"
    assert sorted(node.iterdir()) == sorted([home, others])


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
    _, seen, home = submit(cluster)
    assert seen.startswith("https://prefect/api ")
    assert home == f"{cluster['HOME']}/hcs/prefect"


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


TAKEN = """
from flows.notify import Messenger
messenger = Messenger(["apprise/screens"])
print([*messenger._blocks], messenger.warnings)
"""


@pytest.mark.integration
def test_a_block_that_is_made_without_a_server_sends_the_messages_of_a_night(cluster, tmp_path):
    home = Path(cluster["HOME"], "hcs")
    shutil.copy(DEPLOY / "prefect.toml", home)
    python = home / "venv/bin/python"
    python.write_text(f'#!/bin/sh\nexec {sys.executable} "$@"\n')
    python.chmod(0o755)
    environment = {**cluster, "PYTHONPATH": str(ROOT)}
    made = subprocess.run(["sh", "-c", documented("block")], env=environment, capture_output=True)
    assert made.returncode == 0, made.stderr.decode()
    # the stand-in says where the night's job put its copy
    of_the_night = {**environment, "PREFECT_HOME": submit(cluster)[2], "PREFECT_API_URL": ""}
    taken = subprocess.run(
        [sys.executable, "-c", TAKEN], cwd=home, env=of_the_night, capture_output=True, text=True
    )
    assert taken.stdout == "['apprise/screens'] []\n", taken.stderr
