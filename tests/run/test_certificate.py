"""A certificate that ends soon is said, at an address and on Slurm, and nothing else is."""

import gc
import subprocess
from datetime import UTC, datetime, timedelta
from pathlib import Path

import dask
import distributed  # noqa: F401 - else its defaults are taken away with what is set here
import pytest

from hcs.errors import WorkerError
from hcs.run.certificate import warn_of_its_end, warn_of_none
from hcs.run.cluster import open_cluster
from hcs.settings import RunSettings
from tests.deployed import documented


def certificate(folder: Path, days: int) -> str:
    """Make one as the README does, good for so many days."""
    commands = documented("certificate").replace("-days 730", f"-days {days}")
    assert f"-days {days} " in commands
    subprocess.run(["sh", "-ec", commands], cwd=folder, check=True, stderr=subprocess.DEVNULL)
    return str(folder / "tls/cert.pem")


@pytest.mark.parametrize("days", [29, 1])
def test_a_certificate_that_ends_within_thirty_days_is_said(days, tmp_path, caplog):
    path = certificate(tmp_path, days)
    ends = (datetime.now(UTC) + timedelta(days=days)).date()
    warn_of_its_end(path)
    (said,) = caplog.messages
    assert said.startswith(f"the certificate {path} is good until {ends}: make another in time")


def test_a_certificate_of_the_readme_is_good_for_long(tmp_path, caplog):
    warn_of_its_end(certificate(tmp_path, 730))
    assert caplog.messages == []


@pytest.mark.parametrize(
    ("address", "is_said"),
    [
        ("tcp://10.0.0.1:8786", True),
        ("tcp://cluster:8786", True),
        ("tcp://127.0.0.1:8786", False),
        ("tcp://localhost:8786", False),
        ("tls://10.0.0.1:8786", False),
    ],
)
def test_a_scheduler_elsewhere_that_asks_for_no_certificate_is_said(address, is_said, caplog):
    warn_of_none(address)
    said = [f"the scheduler at {address} asks for no certificate: whoever can reach it"]
    assert [one[: len(said[0])] for one in caplog.messages] == said * is_said


def test_what_is_no_certificate_is_left_to_dask(tmp_path, caplog):
    (tmp_path / "text").write_text("no certificate")
    for path in (None, str(tmp_path / "text"), str(tmp_path / "missing")):
        warn_of_its_end(path)
    assert caplog.messages == []


@pytest.mark.integration
@pytest.mark.filterwarnings("ignore:unclosed cluster:ResourceWarning")
@pytest.mark.parametrize("dask_is", ["tls://127.0.0.1:1", "slurm"])
def test_it_is_said_before_workers_are_waited_for(dask_is, tmp_path, caplog, monkeypatch):
    if dask_is == "slurm":
        pytest.importorskip("dask_jobqueue")
    monkeypatch.setattr("hcs.run.cluster._WORKERS_WITHIN_S", 1)
    path = certificate(tmp_path, 3)
    pair = {"cert": path, "key": f"{tmp_path}/tls/key.pem"}
    known = {
        "distributed.comm.tls.ca-file": path,
        "distributed.comm.tls.client": pair,
        "distributed.comm.tls.scheduler": pair,
        # no such word: Slurm is not asked for anything
        "jobqueue.slurm.colour": "red",
        "jobqueue.slurm.scheduler-options": {"protocol": "tls://"},
        "jobqueue.slurm.cores": 1,
        "jobqueue.slurm.memory": "1GB",
    }
    with (
        dask.config.set(known),
        pytest.raises(WorkerError, match=r"no .*scheduler"),
        open_cluster(RunSettings(dask=dask_is)),
    ):
        pass
    # what dask-jobqueue began and left, before another test meets it
    gc.collect()
    assert [path in message for message in caplog.messages if "good until" in message] == [True]
