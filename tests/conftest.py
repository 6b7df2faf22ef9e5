"""Where tests write: a folder of their own, or a bucket on an S3 server of this session."""

import socket
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from contextlib import ExitStack

import pytest


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


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
    port = _free_port()
    command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
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
