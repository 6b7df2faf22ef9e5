"""Schedulers of the Dask operator: asked to retire some workers, they spare those with a GPU."""

import os
import subprocess
import sys
from typing import Any

import httpx
import pytest
import yaml

from tests.deployed import DEPLOY
from tests.runs import kill_family

SERVE = """
import asyncio, sys, time
from distributed import Client, Scheduler, Worker

PLAIN = ("plain-0", "plain-1", "plain-2")

async def serve(*preload):
    asked = {"host": "127.0.0.1", "port": 0, "dashboard_address": "127.0.0.1:0"}
    async with Scheduler(**asked, dashboard=False, preload=preload) as scheduler:
        for name in (*PLAIN, "gpu-0"):
            offered = {"GPU": 1} if name == "gpu-0" else None
            await Worker(scheduler.address, name=name, nthreads=1, resources=offered)
        async with Client(scheduler.address, asynchronous=True) as client:
            busy = [client.submit(time.sleep, 600, workers=name, key=name) for name in PLAIN]
            while sum(len(one.processing) for one in scheduler.workers.values()) < len(busy):
                await asyncio.sleep(0.05)
            print(scheduler.http_server.port, flush=True)
            await asyncio.Event().wait()

asyncio.run(serve(*sys.argv[1:]))
"""


def scheduler_of(file: str) -> dict[str, Any]:
    """Return the container of the scheduler that a manifest asks the operator for."""
    clusters = yaml.safe_load_all((DEPLOY / "kubernetes" / file).read_text())
    (container,) = next(clusters)["spec"]["scheduler"]["spec"]["containers"]
    return container


@pytest.mark.integration
@pytest.mark.parametrize("file", ["base/dask.yaml", "overlays/elastic/cluster.yaml"])
def test_an_idle_worker_with_a_gpu_outlives_busy_ones_when_the_operator_wants_fewer(file, tmp_path):
    container = scheduler_of(file)
    given = [one.partition("=") for one in container["args"]]
    preload = [value for name, _, value in given if name == "--preload"]
    environment = {one["name"]: one["value"] for one in container["env"]}
    # its certificate is not here
    environment.pop("DASK_CONFIG", None)
    with subprocess.Popen(
        [sys.executable, "-c", SERVE, *preload],
        env={**os.environ, **environment, "DASK_TEMPORARY_DIRECTORY": str(tmp_path)},
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    ) as serving:
        try:
            http = f"http://127.0.0.1:{serving.stdout.readline().strip()}/api/v1/retire_workers"
            # as the operator asks; each answer names those whose pods it removes
            answers = [httpx.post(http, json={"n": n}, timeout=60).json() for n in (1, 3)]
        finally:
            kill_family(serving.pid)
    retired = [one["name"] for answer in answers for one in answer.values()]
    assert sorted(retired) == ["plain-0", "plain-1", "plain-2"]
