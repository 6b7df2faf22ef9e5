"""Where tests write: a folder of their own, or a bucket on an S3 server of this session."""

import shutil
import socket
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from hypothesis import settings

from hcs.run.analyse import analyse
from hcs.settings import RunSettings, Settings
from tests.plates import make_plate, moving_cells, still_ground
from tests.servers import free_port
from tests.sinks import mail_sink, web_sink

# fixtures of every test
__all__ = ["mail_sink", "web_sink"]

# a slow moment of a shared machine is no failure
settings.register_profile("hcs", deadline=None)
settings.load_profile("hcs")


def _wait_for(port: int, server: subprocess.Popen[bytes]) -> None:
    for _ in range(300):
        if server.poll() is not None:
            raise RuntimeError(f"the S3 server ended with exit code {server.returncode}")
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
        except OSError:
            time.sleep(0.1)
        else:
            return
    raise RuntimeError(f"the S3 server did not answer on port {port} within 30 s")


@pytest.fixture(scope="session")
def s3_bucket() -> Iterator[str]:
    """Yield ``s3://<bucket>`` on a moto server of its own; processes find it by environment."""
    s3fs = pytest.importorskip("s3fs")
    port = free_port()
    command = [sys.executable, "-m", "tests.s3_server", str(port)]
    with ExitStack() as stack, pytest.MonkeyPatch.context() as environment:
        server = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        stack.callback(server.wait, 10)
        stack.callback(server.terminate)
        _wait_for(port, server)
        environment.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{port}")
        environment.setenv("AWS_ACCESS_KEY_ID", "test")
        environment.setenv("AWS_SECRET_ACCESS_KEY", "test")
        environment.setenv("AWS_DEFAULT_REGION", "us-east-1")
        s3fs.S3FileSystem(use_listings_cache=False).mkdir("plates")
        yield "s3://plates"


@pytest.fixture(params=["local", pytest.param("s3", marks=pytest.mark.integration)])
def root_url(request: pytest.FixtureRequest) -> str:
    """Return the URL of an empty place for one test: on local disk, then on S3."""
    if request.param == "local":
        return str(request.getfixturevalue("tmp_path"))
    return f"{request.getfixturevalue('s3_bucket')}/{uuid.uuid4().hex}"


@pytest.fixture(scope="session")
def _tiny_plate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    url = tmp_path_factory.mktemp("tiny") / "tiny.zarr"
    wells = {"A/01": moving_cells(0), "A/02": moving_cells(1), "B/01": still_ground(3)}
    make_plate(url, wells)
    return url


@pytest.fixture
def tiny_plate(_tiny_plate: Path, tmp_path: Path) -> Path:
    """Return a plate of one's own: cells move in A/01 and A/02, nothing does in B/01."""
    return Path(shutil.copytree(_tiny_plate, tmp_path / "tiny.zarr"))


@pytest.fixture(scope="session")
def _analysed_plate(_tiny_plate: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("analysed")
    url = Path(shutil.copytree(_tiny_plate, folder / "tiny.zarr"))
    analyse(str(url), Settings(run=RunSettings(dask="none", workers=1)))
    return url


@pytest.fixture(scope="session")
def weights(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Return weights files of tiny networks, by head; they take the channel "phase"."""
    # loads torch, which most tests do without
    from tests.networks import write_weights

    folder = tmp_path_factory.mktemp("weights")
    heads = ("stain", "nuclei", "cells")
    return {head: write_weights(folder / f"{head}.safetensors", head) for head in heads}


@pytest.fixture
def analysed_plate(_analysed_plate: Path, tmp_path: Path) -> Path:
    """Return the same plate after a run with default settings."""
    shutil.copytree(_analysed_plate.with_suffix(".hcs"), tmp_path / "done" / "tiny.hcs")
    return Path(shutil.copytree(_analysed_plate, tmp_path / "done" / "tiny.zarr"))
