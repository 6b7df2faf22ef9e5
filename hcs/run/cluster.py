"""Many wells: where calls run, how often, how long. The only file that imports distributed.

A call is small: a function, a URL, a well and settings go out, a small record comes back. Whether
it runs in a Dask worker or in a thread of this process, the same rules hold: an error that a second
try may cure (a disk, a network, a worker that died) is tried again as often as the settings allow,
an `HcsError` is final, and work that kills its worker each time is given up.
"""

from __future__ import annotations

import logging
import os
import uuid
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Protocol

from hcs.errors import HcsError, WorkerError
from hcs.run.attempts import Attempts
from hcs.run.steps import GPU
from hcs.settings import RunSettings

_log = logging.getLogger(__name__)

# The scheduler may start work again as often as it likes: `Attempts` counts, and innocents that
# stood beside a well that kills its worker are not blamed (dask's default gives up after 3).
_ALLOWED_FAILURES = 1000
_WORKERS_WITHIN_S = 60


@dataclass(frozen=True)
class Call:
    """One piece of work.

    Parameters
    ----------
    name : str
        Under which its starts are counted, ``"B/03/well"``.
    function, arguments
        Picklable, and found by import on the worker.
    resources : mapping of str to float
        What a worker must offer, ``{"GPU": 1}``; empty for any worker.
    """

    name: str
    function: Callable[..., Any]
    arguments: tuple[Any, ...]
    resources: Mapping[str, float] = field(default_factory=dict)


class Future(Protocol):
    """What Dask's and Python's own futures have in common."""

    def result(self, timeout: float | None = None) -> Any:  # noqa: ANN401 - whatever the call returns
        """Wait for the result, or raise the call's error."""

    def exception(self, timeout: float | None = None) -> BaseException | None:
        """Wait for the error of the call, None where it has none."""


class Workers(Protocol):
    """Something that runs calls."""

    @property
    def count(self) -> int:
        """Calls that run at the same time."""

    def submit(self, call: Call, attempts: Attempts) -> Future:
        """Start the call on some worker."""

    def stop(self, future: Future) -> None:
        """Stop a call that takes too long."""

    def offers(self, resources: Mapping[str, float]) -> bool:
        """Say whether any worker has what a call asks for."""

    def close(self) -> None:
        """Let the workers go."""


class Cluster:
    """Workers, and the rules by which calls are tried again.

    Parameters
    ----------
    workers : Workers
    timeout_s : float or None
        Longest time for one start of a call.
    """

    def __init__(self, workers: Workers, timeout_s: float | None = None) -> None:
        self._workers = workers
        self._timeout_s = timeout_s

    @property
    def n_workers(self) -> int:
        """How many calls run at the same time."""
        return self._workers.count

    def offers(self, resources: Mapping[str, float]) -> bool:
        """Say whether any worker has these resources."""
        return self._workers.offers(resources)

    def run(self, call: Call, attempts: Attempts) -> Any:  # noqa: ANN401 - whatever the call returns
        """Run a call to its end, in this thread, and return its result.

        Raises
        ------
        WorkerError
            If no worker has the resources, the call takes too long, or its worker died each time.
        Exception
            What the last start of the call raised.
        """
        if not self._workers.offers(call.resources):
            raise WorkerError(
                f"no worker offers {dict(call.resources)}, which {call.name} asks for",
                hint="start workers with --resources, or leave the step out of `methods`",
            )
        while True:
            future = self._workers.submit(call, attempts)
            error = self._wait(future, call, attempts)
            if error is None:
                result = future.result()
                if isinstance(result, _Refused):
                    raise result.error
                return result
            if not is_passing(error) or attempts.count(call.name) >= attempts.limit:
                raise error
            _log.warning("%s is tried again: %s", call.name, error)

    def close(self) -> None:
        """Let the workers go; calls that wait for them end with an error."""
        self._workers.close()

    def _wait(self, future: Future, call: Call, attempts: Attempts) -> BaseException | None:
        before = attempts.count(call.name) if self._timeout_s else 0
        while True:
            try:
                return future.exception(self._timeout_s)
            except TimeoutError:
                # time spent waiting for a free worker does not count
                if attempts.count(call.name) > before:
                    self._workers.stop(future)
                    return CallTimeoutError(
                        f"{call.name} took longer than {self._timeout_s:g} s",
                        hint="raise --timeout if the well is merely long",
                    )


@dataclass(frozen=True)
class _Refused:
    """What a call answers to bad input; an error that is raised, Dask prints with a traceback."""

    error: HcsError


class CallTimeoutError(WorkerError):
    """A call took longer than the settings allow; its worker was stopped."""


def is_passing(error: BaseException) -> bool:
    """Say whether a second try may cure an error.

    Examples
    --------
    >>> is_passing(ConnectionResetError()), is_passing(HcsError("bad input"))
    (True, False)
    """
    from distributed import KilledWorker

    if isinstance(error, HcsError):
        return isinstance(error, CallTimeoutError)
    return isinstance(error, OSError | MemoryError | KilledWorker)


def start_call(call: Call, attempts: Attempts) -> Any:  # noqa: ANN401 - whatever the call returns
    """Note the start of a call, then do it; this is what runs on the worker."""
    import dask

    try:
        number = attempts.start(call.name)
        try:
            # a library that computes with dask (ngio does) would ask this very cluster and hang
            with dask.config.set(scheduler="synchronous"):
                return call.function(*call.arguments)
        finally:
            attempts.end(call.name, number)
    except HcsError as error:
        return _Refused(error)


class ThreadWorkers:
    """Threads of this process: for laptops, and to follow a run with a debugger.

    Parameters
    ----------
    count : int
    resources : mapping of str to float
        What one more thread offers, for calls that ask for it and for nothing else.
    """

    def __init__(self, count: int, resources: Mapping[str, float] | None = None) -> None:
        self._count = count
        self._pool = ThreadPoolExecutor(count, thread_name_prefix="well")
        self._resources = dict(resources or {})
        self._asked_for = ThreadPoolExecutor(1, thread_name_prefix="gpu")

    @property
    def count(self) -> int:
        """Threads."""
        return self._count

    def submit(self, call: Call, attempts: Attempts) -> Future:
        """Start the call in some thread."""
        pool = self._asked_for if call.resources else self._pool
        return pool.submit(start_call, call, attempts)

    def stop(self, future: Future) -> None:
        """Leave the thread alone: Python cannot stop one. It holds its place until it ends."""

    def offers(self, resources: Mapping[str, float]) -> bool:
        """Say whether the thread for it has what a call asks for."""
        return _has(self._resources, resources)

    def close(self) -> None:
        """Drop what has not begun."""
        for pool in (self._pool, self._asked_for):
            pool.shutdown(wait=False, cancel_futures=True)


class DaskWorkers:
    """Workers of a Dask cluster, by the client that is connected to it."""

    def __init__(self, client: Any) -> None:  # noqa: ANN401 - distributed has no types
        self._client = client

    @property
    def count(self) -> int:
        """Threads of all workers that are there now, at least one."""
        threads: int = sum(worker["nthreads"] for worker in self._described())
        return max(1, threads)

    def submit(self, call: Call, attempts: Attempts) -> Future:
        """Start the call on a worker that has its resources."""
        future: Future = self._client.submit(
            start_call,
            call,
            attempts,
            key=f"{call.name}-{uuid.uuid4().hex[:8]}",
            resources=dict(call.resources) or None,
            pure=False,
        )
        return future

    def stop(self, future: Any) -> None:  # noqa: ANN401 - distributed has no types
        """Cancel the call and restart the worker process that is busy with it."""
        processing = self._client.processing()
        busy = [worker for worker, keys in processing.items() if future.key in keys]
        future.cancel(force=True)
        if busy:
            self._client.restart_workers(busy, timeout=_WORKERS_WITHIN_S, raise_for_error=False)

    def offers(self, resources: Mapping[str, float]) -> bool:
        """Say whether any worker has what a call asks for; a call that none can take would hang."""
        if not resources:
            return True
        return any(_has(worker["resources"], resources) for worker in self._described())

    def close(self) -> None:
        """Disconnect."""
        self._client.close()

    def _described(self) -> list[dict[str, Any]]:
        return list(self._client.scheduler_info(n_workers=-1)["workers"].values())


def _has(offered: Mapping[str, float], asked: Mapping[str, float]) -> bool:
    return all(offered.get(name, 0) >= need for name, need in asked.items())


@contextmanager
def open_cluster(settings: RunSettings) -> Iterator[Cluster]:
    """Start or join the workers that the settings name, and let them go at the end.

    Raises
    ------
    WorkerError
        If there is no scheduler at the address, or it has no workers.
    """
    opened = {"none": _threads, "local": _local_processes}.get(settings.dask, _existing)
    with opened(settings) as workers:
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
    share: int = MEMORY_LIMIT // (settings.n_workers + _gpus_here(settings))
    return parse_bytes(settings.memory_per_worker) if settings.memory_per_worker else share


@contextmanager
def _threads(settings: RunSettings) -> Iterator[Workers]:
    yield ThreadWorkers(settings.n_workers, GPU if _gpus_here(settings) else None)


@contextmanager
def _local_processes(settings: RunSettings) -> Iterator[Workers]:
    import dask
    from distributed import Client, LocalCluster

    # read by nannies and scheduler when they start
    config = {
        "distributed.scheduler.allowed-failures": _ALLOWED_FAILURES,
        "distributed.nanny.pre-spawn-environ": _one_thread_each(),
        "distributed.admin.large-graph-warning-threshold": "10MB",
    }
    with (
        dask.config.set(config),
        LocalCluster(
            n_workers=settings.n_workers,
            threads_per_worker=1,
            processes=True,
            host="127.0.0.1",
            dashboard_address=f"127.0.0.1:{settings.dashboard or 0}",
            worker_dashboard_address="127.0.0.1:0",
            scheduler_kwargs={"dashboard": settings.dashboard is not None},
            memory_limit=settings.memory_per_worker or worker_memory(settings),
            silence_logs=logging.ERROR,
        ) as processes,
        Client(processes, set_as_default=False) as client,
    ):
        _add_gpu_workers(processes, client, _gpus_here(settings))
        yield DaskWorkers(client)


def _add_gpu_workers(processes: Any, client: Any, count: int) -> None:  # noqa: ANN401 - untyped
    """Start one more worker process per GPU, which sees no other."""
    for gpu in range(count):
        ((_, spec),) = processes.new_worker_spec().items()
        seen = {"env": {"CUDA_VISIBLE_DEVICES": str(gpu)}, "resources": dict(GPU)}
        options = {**spec["options"], **seen}
        processes.worker_spec[f"gpu-{gpu}"] = {**spec, "options": options}
    if count:
        n_workers = len(processes.worker_spec)
        processes.scale(n_workers)
        client.wait_for_workers(n_workers, timeout=_WORKERS_WITHIN_S)


def _gpus_here(settings: RunSettings) -> int:
    if settings.device == "cpu":
        return 0
    # loads torch
    from hcs.isl.device import count_gpus

    return count_gpus()


@contextmanager
def _existing(settings: RunSettings) -> Iterator[Workers]:
    from distributed import Client

    try:
        client = Client(settings.dask, timeout=_WORKERS_WITHIN_S, set_as_default=False)
    except (OSError, ValueError) as error:
        raise WorkerError(
            f"no Dask scheduler at {settings.dask}: {error}",
            hint="start one with `dask scheduler`, or leave --dask away for local processes",
        ) from error
    with client:
        try:
            client.wait_for_workers(1, timeout=_WORKERS_WITHIN_S)
        except TimeoutError as error:
            raise WorkerError(
                f"the scheduler at {settings.dask} has no workers after {_WORKERS_WITHIN_S} s",
                hint=f"start some with `dask worker {settings.dask} --nthreads 1`",
            ) from error
        yield DaskWorkers(client)


def _one_thread_each() -> dict[str, str]:
    names = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS")
    cache = {k: os.environ[k] for k in ("NUMBA_CACHE_DIR",) if k in os.environ}
    return dict.fromkeys(names, "1") | cache
