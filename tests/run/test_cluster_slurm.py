"""Workers as jobs of a real Slurm of one node, where its programs are installed."""

import gc
import os
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import dask
import pytest
import yaml

from hcs.errors import StoppedError, WorkerError
from hcs.plate.storage import Storage
from hcs.run import cluster_slurm
from hcs.run.attempts import Attempts
from hcs.run.calls import Call
from hcs.run.cluster import open_cluster
from hcs.run.cluster_slurm import job_options
from hcs.run.stopping import Stop
from hcs.settings import RunSettings
from tests.deployed import DEPLOY
from tests.slurm import missing, one_node, seen_job, wait_once

pytest.importorskip("dask_jobqueue")

FILE = yaml.safe_load((DEPLOY / "slurm/jobqueue.yaml").read_text())["jobqueue"]
# on this node alone, small, and soon
HERE = {
    "cores": 2,
    "processes": 2,
    "memory": "2GB",
    "death-timeout": 20,
    "python": sys.executable,
    "log-directory": None,
    "job-extra-directives": [*FILE["slurm"]["job-extra-directives"], "--output=/dev/null"],
    "scheduler-options": {"host": "127.0.0.1"},
}
GPU_HERE = {
    "job-cpu": 1,
    "job-extra-directives": [*HERE["job-extra-directives"], "--gres=gpu:1"],
}
needs_slurm = pytest.mark.skipif(bool(missing()), reason=f"not installed: {', '.join(missing())}")


@contextmanager
def configured(slurm: dict | None = None, gpu: dict | None = None):
    sections = {"slurm": FILE["slurm"] | HERE | (slurm or {})}
    if gpu is not None:
        sections["hcs-gpu"] = FILE["hcs-gpu"] | GPU_HERE | gpu
    defaults = dask.config.get("jobqueue.slurm")
    known = {"slurm": defaults | sections.pop("slurm"), "hcs-gpu": None, **sections}
    with dask.config.set({f"jobqueue.{name}": section for name, section in known.items()}):
        yield


@pytest.fixture(scope="module")
def slurm(tmp_path_factory):
    with (
        one_node(tmp_path_factory.mktemp("slurm")) as environment,
        pytest.MonkeyPatch.context() as patch,
    ):
        for name, value in environment.items():
            patch.setenv(name, value)
        patch.setattr(cluster_slurm, "_LOOK_S", 0.5)
        yield


@pytest.fixture
def attempts(tmp_path) -> Attempts:
    return Attempts(Storage.open(tmp_path / "plate.hcs"), token=1, limit=3)


def begun(folder: Path) -> str:
    while not (folder / "first").exists() or not (folder / "first").read_text():
        time.sleep(0.05)
    return (folder / "first").read_text()


@needs_slurm
@pytest.mark.integration
def test_workers_with_and_without_a_gpu_are_jobs_side_by_side(slurm, attempts, monkeypatch):
    # the night's alone
    monkeypatch.setenv("PREFECT_API_AUTH_STRING", "operator:swordfish")
    settings = RunSettings(dask="slurm", adaptive=(0, 2), device="gpu")
    with configured(gpu={}), open_cluster(settings) as cluster:
        # no worker with a GPU is there yet, and one can come
        assert cluster.offers({"GPU": 1})
        assert not cluster.offers({"GPU": 2})
        assert cluster.n_workers == 3
        plain = [Call(f"plain-{i}", seen_job, ()) for i in range(2)]
        asking = [Call(f"gpu-{i}", seen_job, (), resources={"GPU": 1}) for i in range(2)]
        with ThreadPoolExecutor(4) as threads:
            seen = list(threads.map(lambda one: cluster.run(one, attempts), [*plain, *asking]))
    assert seen[0] == ("hcs-worker", None, "1", None)
    assert seen[2:] == [("hcs-gpu-worker", "0", "1", None)] * 2


@needs_slurm
@pytest.mark.integration
@pytest.mark.parametrize("end", ["scancel", "lifetime"])
def test_a_well_whose_job_ends_goes_on_in_another(slurm, attempts, tmp_path, end):
    extra = ["--lifetime", "6s"] if end == "lifetime" else []
    small = {"cores": 1, "processes": 1, "worker-extra-args": extra}
    settings = RunSettings(dask="slurm", adaptive=(0, 1))
    call = Call("well", wait_once, (str(tmp_path),))
    with configured(small), open_cluster(settings) as cluster, ThreadPoolExecutor(1) as thread:
        found = thread.submit(cluster.run, call, attempts)
        first = begun(tmp_path)
        if end == "scancel":
            subprocess.run(["scancel", first], check=True)
        assert found.result() != first
    # started twice, charged once
    assert attempts.most("well") == 2
    assert attempts.count("well") == 1


@needs_slurm
@pytest.mark.integration
def test_jobs_that_slurm_refuses_are_reported_in_its_words(slurm):
    with (
        configured({"queue": "nowhere"}),
        pytest.raises(WorkerError, match=r"(?s)Slurm refuses jobs: .*invalid partition"),
        open_cluster(RunSettings(dask="slurm", workers=1)),
    ):
        pass


@needs_slurm
@pytest.mark.integration
def test_jobs_that_end_before_they_are_workers_are_reported(slurm):
    with (
        configured({"python": "/no/such/python"}),
        pytest.raises(WorkerError, match="3 jobs of Slurm ended before they were workers"),
        open_cluster(RunSettings(dask="slurm", workers=1)),
    ):
        pass


def hold_the_node() -> str:
    """Submit a job that takes all there is; return its number."""
    command = ["sbatch", "--parsable", "--exclusive", "--output=/dev/null", "--wrap=sleep 600"]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


def queued() -> list[str]:
    """Return the jobs in the queue."""
    command = ["squeue", "--me", "--noheader", "--format=%A"]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()


@needs_slurm
@pytest.mark.integration
def test_a_run_whose_jobs_wait_for_their_place_takes_them_back_when_it_is_stopped(slurm):
    hold, stop = hold_the_node(), Stop()

    def ask() -> None:
        while set(queued()) <= {hold}:
            time.sleep(0.1)
        stop.ask()

    try:
        with ThreadPoolExecutor(1) as thread, configured():
            asked = thread.submit(ask)
            settings = RunSettings(dask="slurm", adaptive=(0, 2))
            with pytest.raises(StoppedError), open_cluster(settings, stop):
                pass
            asked.result()
        assert queued() == [hold]
    finally:
        subprocess.run(["scancel", hold], check=True)


@needs_slurm
@pytest.mark.integration
def test_a_job_that_waits_for_its_place_is_waited_for(slurm, attempts, monkeypatch, caplog):
    monkeypatch.setattr("hcs.run.scaling._SAY_AGAIN_S", 1)
    hold = hold_the_node()

    def let_go() -> None:
        while "Resources" not in caplog.text and "Priority" not in caplog.text:
            time.sleep(0.1)
        subprocess.run(["scancel", hold], check=True)

    with ThreadPoolExecutor(1) as thread, configured():
        freed = thread.submit(let_go)
        with open_cluster(RunSettings(dask="slurm", adaptive=(0, 2))) as cluster:
            assert cluster.run(Call("well", abs, (-3,)), attempts) == 3
        freed.result()
    assert "still no cpu worker: 1 jobs in Slurm's queue (PENDING" in caplog.text


# without Slurm


def test_a_job_with_a_gpu_differs_by_its_section_alone():
    with configured(gpu={}):
        plain, gpu = job_options("slurm"), job_options("hcs-gpu")
    assert gpu["worker_extra_args"] == [*plain["worker_extra_args"], "--resources", "GPU=1"]
    assert (gpu["job_name"], plain["job_name"]) == ("hcs-gpu-worker", "hcs-worker")
    assert {name for name in plain if plain[name] != gpu[name]} == {
        "cores",
        "processes",
        "job_name",
        "worker_extra_args",
        "job_extra_directives",
    }


def test_a_scheduler_that_is_open_to_the_network_is_refused():
    with (
        configured({"scheduler-options": {}}),
        pytest.raises(WorkerError, match="open to the network, without a certificate") as caught,
        open_cluster(RunSettings(dask="slurm")),
    ):
        pass
    assert "tls.yaml" in caught.value.hint


def test_jobs_of_no_size_are_refused():
    with (
        configured({"cores": None}),
        pytest.raises(WorkerError, match=r"jobqueue\.slurm .* says no cores or no memory"),
        open_cluster(RunSettings(dask="slurm")),
    ):
        pass


def test_a_certificate_that_is_not_there_is_said():
    with (
        configured({"scheduler-options": {"protocol": "tls://"}}),
        pytest.raises(WorkerError, match=r"no certificate for the scheduler of .*: none is named"),
        open_cluster(RunSettings(dask="slurm")),
    ):
        pass


@pytest.mark.filterwarnings("ignore:unclosed cluster:ResourceWarning")
def test_words_that_dask_jobqueue_does_not_know_are_said():
    with (
        configured({"colour": "red"}),
        pytest.raises(WorkerError, match=r"(?s)no scheduler for Slurm's workers: .*colour"),
        open_cluster(RunSettings(dask="slurm")),
    ):
        pass
    # what dask-jobqueue began and left, before another test meets it
    gc.collect()


_IN_A_THREAD = """
import signal
from concurrent.futures import ThreadPoolExecutor
from hcs.run.cluster_slurm import job_scripts
with ThreadPoolExecutor(1) as thread:
    scripts = thread.submit(job_scripts).result()
print(len(scripts), signal.getsignal(signal.SIGINT) is signal.default_int_handler)
"""


def test_dask_jobqueue_leaves_ctrl_c_alone_and_serves_every_thread():
    # in a process of its own, where nobody imported it yet
    told = subprocess.run(
        [sys.executable, "-c", _IN_A_THREAD],
        capture_output=True,
        text=True,
        check=True,
        env=os.environ | {"DASK_CONFIG": str(DEPLOY / "slurm"), "HCS_FOLDER": "."},
    )
    assert told.stdout == "2 True\n"


def test_dask_jobqueue_that_is_missing_is_said(monkeypatch):
    monkeypatch.setitem(sys.modules, "dask_jobqueue", None)
    with (
        pytest.raises(WorkerError, match="dask-jobqueue is not installed") as caught,
        open_cluster(RunSettings(dask="slurm")),
    ):
        pass
    assert "hcs[slurm]" in caught.value.hint
