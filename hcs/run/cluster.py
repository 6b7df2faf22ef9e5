"""Where a run's workers are: threads, processes here, Slurm, Kubernetes, or at an address."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from typing import Any

from hcs.errors import NoWorkersError, WorkerError
from hcs.run.calls import Cluster, Workers
from hcs.run.certificate import warn_of_its_end, warn_of_none
from hcs.run.dask_settings import DASK_SET
from hcs.run.missing import Missing
from hcs.run.steps import GPU
from hcs.run.stopping import Stop
from hcs.run.workers import Coming, DaskWorkers, ThreadWorkers
from hcs.settings import RunSettings

_log = logging.getLogger(__name__)

# until workers of this machine, or of a scheduler that is there already, answer, seconds
_WORKERS_WITHIN_S = 60
# until workers are given up that others start when there is work, seconds
_COME_WITHIN_S = 6 * 3600
# states of a nanny that starts no worker any more
_ENDED = frozenset({"closed", "closing", "failed"})
# a worker that is killed while it starts takes the others along
_STARTS = 3
# a worker of this machine that had nothing to do for so many looks goes
_LOOK_S = 1.0
_IDLE_LOOKS = 10


@contextmanager
def open_cluster(settings: RunSettings, stop: Stop | None = None) -> Iterator[Cluster]:
    """Start or join the workers that the settings name, and let them go at the end.

    Raises
    ------
    WorkerError
        If there is no scheduler at the address, it has no workers, or none can be started.
    StoppedError
        If somebody asks for it while workers are waited for.
    """
    # connections that end with a run that ends early: Dask tells of each with a trace
    logging.getLogger("distributed.batched").setLevel(logging.WARNING)
    with _open(settings, stop or Stop()) as workers:
        cluster = Cluster(workers, settings.timeout_s)
        try:
            yield cluster
        finally:
            cluster.close()


def worker_memory(settings: RunSettings) -> int | None:
    """Return what a worker on this machine may use, in bytes; None for workers elsewhere."""
    from dask.utils import parse_bytes
    from distributed.system import MEMORY_LIMIT

    if settings.dask not in ("local", "none"):
        return None
    share: int = MEMORY_LIMIT // (settings.n_workers + gpus_here(settings))
    return parse_bytes(settings.memory_per_worker) if settings.memory_per_worker else share


def _open(settings: RunSettings, stop: Stop) -> AbstractContextManager[Workers]:
    if settings.dask == "none":
        return _threads(settings, stop)
    if settings.dask == "local":
        return _local_processes(settings, stop)
    if settings.dask == "slurm":
        from hcs.run.cluster_slurm import slurm_jobs

        return slurm_jobs(settings, stop)
    if settings.dask == "kubernetes":
        from hcs.run.cluster_kubernetes import kubernetes_pods

        return kubernetes_pods(settings, stop)
    return _existing(settings, stop)


@contextmanager
def _threads(settings: RunSettings, stop: Stop) -> Iterator[Workers]:
    yield ThreadWorkers(settings.n_workers, stop, GPU if gpus_here(settings) else None)


@contextmanager
def _local_processes(settings: RunSettings, stop: Stop) -> Iterator[Workers]:
    fewest, most = settings.bounds
    # read by nannies and scheduler when they start
    with DASK_SET.inside(), _started(settings) as processes:
        gpus = _add_gpu_workers(processes, gpus_here(settings))
        if fewest < most:
            given = _coming_and_going(processes, settings.bounds, stop)
        else:
            given = _standing(processes, most + gpus, stop)
        with given as workers:
            yield workers


def _started(settings: RunSettings, starts: int = _STARTS) -> Any:  # noqa: ANN401 - untyped
    """Return processes of this machine; Dask gives up where one of them dies while it starts."""
    from distributed import LocalCluster

    fewest, most = settings.bounds
    try:
        return LocalCluster(
            n_workers=0 if fewest < most else most,
            threads_per_worker=1,
            processes=True,
            host="127.0.0.1",
            dashboard_address=f"127.0.0.1:{settings.dashboard or 0}",
            worker_dashboard_address="127.0.0.1:0",
            scheduler_kwargs={"dashboard": settings.dashboard is not None},
            memory_limit=settings.memory_per_worker or worker_memory(settings),
            silence_logs=logging.ERROR,
        )
    except RuntimeError as error:
        if starts == 1:
            raise NoWorkersError(
                f"worker processes do not start, tried {_STARTS} times: {error}",
                hint="most often the memory: fewer --workers; --dask none goes without them",
            ) from error
        _log.warning("worker processes are started again: %s", error)
    return _started(settings, starts - 1)


@contextmanager
def _standing(processes: Any, count: int, stop: Stop) -> Iterator[Workers]:  # noqa: ANN401
    from distributed import Client

    with Client(processes, set_as_default=False) as client:
        _wait_for_workers(client, count, stop)
        yield DaskWorkers(client, look=lambda resources: _check_nannies(processes, resources))


def _check_nannies(processes: Any, resources: Mapping[str, float]) -> None:  # noqa: ANN401
    """Raise a WorkerError where all workers with the resources ended, and nobody starts others."""
    named = processes.worker_spec.items()
    able = [name for name, spec in named if resources.items() <= _offered(spec).items()]
    nannies = [processes.workers.get(name) for name in able]
    if all(nanny is None or nanny.status.name in _ENDED for nanny in nannies):
        raise WorkerError(
            "all worker processes ended for good",
            hint="their first error says why, most often that hcs was changed while it ran; run "
            "again: what is finished is kept",
        )


def _offered(spec: Mapping[str, Any]) -> dict[str, float]:
    return spec["options"].get("resources") or {}


@contextmanager
def _coming_and_going(
    processes: Any,  # noqa: ANN401 - distributed has no types
    bounds: tuple[int, int],
    stop: Stop,
) -> Iterator[Workers]:
    from hcs.run.scaling import Kind, Scaling, scaled

    # those with a GPU stay: they are few, and slow to start
    kind = Kind("cpu", processes.new_spec, bounds)
    with scaled(processes, [Scaling(processes, kind, _LOOK_S, _IDLE_LOOKS)], stop) as workers:
        yield workers


def _add_gpu_workers(processes: Any, count: int) -> int:  # noqa: ANN401 - untyped
    """Start one more worker process per GPU, which sees no other; return how many."""
    for gpu in range(count):
        ((_, spec),) = processes.new_worker_spec().items()
        seen = {"env": {"CUDA_VISIBLE_DEVICES": str(gpu)}, "resources": dict(GPU)}
        options = {**spec["options"], **seen}
        processes.worker_spec[f"gpu-{gpu}"] = {**spec, "options": options}
    if count:
        processes.scale(len(processes.worker_spec))
    return count


def gpus_here(settings: RunSettings) -> int:
    """Return how many GPUs of this machine a run takes."""
    if settings.device == "cpu":
        return 0
    try:
        # loads torch
        from hcs.isl.device import count_gpus
    except ModuleNotFoundError:
        # what asks for a GPU is then told that none is offered
        return 0
    return count_gpus()


@contextmanager
def _existing(settings: RunSettings, stop: Stop) -> Iterator[Workers]:
    import dask
    from distributed import Client

    if settings.dask.startswith("tls://"):
        warn_of_its_end(dask.config.get("distributed.comm.tls.ca-file"))
    warn_of_none(settings.dask)
    try:
        client = Client(settings.dask, timeout=_WORKERS_WITHIN_S, set_as_default=False)
    except (OSError, ValueError) as error:
        raise NoWorkersError(
            f"no Dask scheduler at {settings.dask}: {error}",
            hint="start one with `dask scheduler`, or leave --dask away for local processes",
        ) from error
    with client:
        missing = Missing(client, f"the scheduler at {settings.dask}")
        if settings.adaptive:
            # somebody else starts them when there is work, perhaps from a queue
            missing.patience_s = _COME_WITHIN_S
            yield DaskWorkers(client, _said_to_come(settings), missing.look)
            return
        try:
            _wait_for_workers(client, 1, stop)
        except TimeoutError as error:
            raise NoWorkersError(
                f"the scheduler at {settings.dask} has no workers after {_WORKERS_WITHIN_S} s",
                hint=f"start some with `dask worker {settings.dask} --nthreads 1`; or set "
                "run.adaptive, if they are started when there is work",
            ) from error
        yield DaskWorkers(client, look=missing.look)


def _wait_for_workers(client: Any, count: int, stop: Stop) -> None:  # noqa: ANN401 - untyped
    """Wait until so many workers are there.

    Raises
    ------
    TimeoutError
        If they are not in time.
    """
    end = time.monotonic() + _WORKERS_WITHIN_S
    while True:
        stop.check()
        left = end - time.monotonic()
        try:
            # without end, if it were 0
            client.wait_for_workers(count, timeout=min(_LOOK_S, max(left, 0.01)))
        except TimeoutError:
            if left <= 0:
                raise
        else:
            return


def _said_to_come(settings: RunSettings) -> list[Coming]:
    gpu: Mapping[str, float] = GPU if settings.device == "gpu" else {}
    return [Coming(settings.n_workers, gpu)]
