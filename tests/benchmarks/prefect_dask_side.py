"""The other side of the benchmark of the overhead: one Prefect task per well on prefect-dask."""

import time

from prefect import flow, task
from prefect.cache_policies import NO_CACHE
from prefect_dask import DaskTaskRunner

from tests.benchmarks.noop import noop_well


@task(cache_policy=NO_CACHE)
def well(job):
    seconds = noop_well(job).seconds
    return time.monotonic(), seconds


def night(address, jobs):
    """Return when each well ended, and how long it took by itself, in the order of their ends."""

    @flow(name="other-side", task_runner=DaskTaskRunner(address=address))
    def all_wells():
        futures = [well.submit(job) for job in jobs]
        return [future.result() for future in futures]

    return sorted(all_wells())
