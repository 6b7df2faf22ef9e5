"""Dask's configuration: known words, and a scheduler that only the certificate's holders reach."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dask
import distributed  # noqa: F401 - brings the defaults to compare with
import pytest

from hcs.run.dask_settings import dask_settings, worker_environment
from tests.deployed import DEPLOY, documented, load

# whatever it holds is passed on
_FREE = ("distributed.nanny.pre-spawn-environ",)
# of the processes that a `LocalCluster` starts
_OF_LOCAL_ONES = ("distributed.deploy.lost-worker-timeout",)

SERVE = """
import asyncio, sys
from distributed import Client, Scheduler, Worker

async def serve():
    try:
        await Scheduler(protocol="tcp", host="127.0.0.1", port=0, dashboard=False)
    except RuntimeError as error:
        print(error.__cause__, flush=True)
    async with Scheduler(protocol="tls", host="127.0.0.1", port=0, dashboard=False) as scheduler:
        async with Worker(scheduler.address, nthreads=1) as worker:
            async with Client(scheduler.address, asynchronous=True) as client:
                print(await client.submit(sum, [1, 2]), flush=True)
            print(scheduler.address, worker.address, flush=True)
            await asyncio.to_thread(sys.stdin.read)

if __name__ == "__main__":
    asyncio.run(serve())
"""

KNOCK = """
import asyncio, sys
from distributed import rpc
from distributed.security import Security

async def knock(address, security):
    try:
        async with asyncio.timeout(10):
            async with rpc(address, connection_args=security.get_connection_args("client")) as door:
                await door.identity()
    except (OSError, TimeoutError) as error:
        return "turned away"
    return "let in"

async def main(folder, *addresses):
    plain = Security()
    for address in addresses:
        print(await knock(address.replace("tls://", "tcp://"), plain))
    for place in (f"{folder}/other", folder):
        shown = Security(
            tls_ca_file=f"{folder}/tls/cert.pem",
            tls_client_cert=f"{place}/tls/cert.pem",
            tls_client_key=f"{place}/tls/key.pem",
            require_encryption=True,
        )
        for address in addresses:
            print(await knock(address, shown))

asyncio.run(main(*sys.argv[1:]))
"""


@pytest.mark.parametrize("name", ["dask/hcs.yaml", "dask/tls.yaml"])
def test_dask_knows_every_word(name):
    assert unknown(load(name), dask.config.config) == []


def test_workers_have_the_environment_of_local_ones(monkeypatch):
    monkeypatch.delenv("NUMBA_CACHE_DIR", raising=False)
    given = load("dask/hcs.yaml")["distributed"]["nanny"]["pre-spawn-environ"]
    assert {name: str(value) for name, value in given.items()} == worker_environment()


def test_schedulers_and_workers_are_told_all_that_local_ones_are():
    given = load("dask/hcs.yaml")
    for name, value in dask_settings().items():
        if name not in (*_FREE, *_OF_LOCAL_ONES):
            assert dask.config.get(name, config=given) == value, name


def test_what_dask_does_not_know_is_seen():
    assert unknown({"distributed": {"com": 1}}, dask.config.config) == ["distributed.com"]


def unknown(values: dict[str, Any], known: dict[str, Any], place: str = "") -> list[str]:
    found = []
    for name, value in values.items():
        path = f"{place}{name}"
        if name not in known:
            found.append(path)
        elif isinstance(value, dict) and path not in _FREE:
            found += unknown(value, known[name], f"{path}.")
    return found


@pytest.fixture
def served(tmp_path: Path) -> Iterator[tuple[Path, list[str]]]:
    """Yield a folder with two certificates, and what a scheduler with the first says."""
    for folder in (tmp_path, tmp_path / "other"):
        folder.mkdir(exist_ok=True)
        subprocess.run(["sh", "-ec", documented("certificate")], cwd=folder, check=True, stderr=-3)
    text = (DEPLOY / "dask/tls.yaml").read_text().replace("/etc/hcs/tls", f"{tmp_path}/tls")
    (tmp_path / "tls.yaml").write_text(text)
    (tmp_path / "serve.py").write_text(SERVE)
    server = subprocess.Popen(
        [sys.executable, tmp_path / "serve.py"],
        env={**os.environ, "DASK_CONFIG": str(tmp_path / "tls.yaml")},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    with server:
        yield tmp_path, [server.stdout.readline().strip() for _ in range(3)]
        server.stdin.close()


@pytest.mark.integration
def test_only_who_holds_the_certificate_reaches_scheduler_and_worker(served):
    folder, (refused, result, addresses) = served
    assert "encryption required" in refused
    assert result == "3"
    assert [address[:6] for address in addresses.split()] == ["tls://"] * 2
    command = [sys.executable, "-c", KNOCK, folder, *addresses.split()]
    told = subprocess.run(command, capture_output=True, text=True)
    # without one, with another one, with this one
    assert told.stdout.split("\n")[:-1] == ["turned away"] * 4 + ["let in"] * 2, told.stderr
