"""Workers as jobs of Slurm, which dask-jobqueue submits; the scheduler lives in this process.

What a job asks for stands in Dask's configuration, section ``jobqueue.slurm``; jobs with a GPU ask
for what ``jobqueue.hcs-gpu`` changes of it (``deploy/slurm/jobqueue.yaml`` has both).
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import dask
import dask.config
from distributed.core import Status

from hcs.errors import NoWorkersError, WorkerError
from hcs.run.calls import Workers
from hcs.run.certificate import warn_of_its_end
from hcs.run.dask_settings import DASK_SET, worker_environment
from hcs.run.scaling import Kind, Scaling, scaled
from hcs.run.steps import GPU
from hcs.run.stopping import Stop
from hcs.settings import RunSettings

_log = logging.getLogger(__name__)

# Slurm's controller is asked so often, seconds; a worker idle for a minute goes
_LOOK_S = 10.0
_IDLE_LOOKS = 6
# jobs in a row that end without ever having been a worker: the next will not be one either
_STILLBORN = 3
# a controller that restarts refuses jobs for a while, seconds
_REFUSALS_FOR_S = 900.0
_ANSWER_S = 30.0
_SQUEUE = ("squeue", "--me", "--noheader", "--format=%A %T %r")
# of jobqueue's section, what is not a job's
_NOT_OF_A_JOB = {"name", "scheduler-options", "shared-temp-directory"}


@contextmanager
def slurm_jobs(settings: RunSettings, stop: Stop) -> Iterator[Workers]:
    """Ask Slurm for workers while there is work.

    Raises
    ------
    WorkerError
        If dask-jobqueue or its settings are missing, the scheduler would be open to the network,
        Slurm refuses the jobs, or they end before they are workers.
    StoppedError
        If somebody asks for it while jobs wait.
    """
    cpu = job_options("slurm")
    with DASK_SET.inside(), _submitting(settings, cpu) as cluster:
        kinds = [Kind("cpu", cluster.new_spec, settings.bounds, size=_processes(cpu))]
        if settings.device != "cpu" and dask.config.get("jobqueue.hcs-gpu", None):
            gpu = job_options("hcs-gpu")
            spec = {**cluster.new_spec, "options": {**cluster.new_spec["options"], **gpu}}
            bounds = (0, settings.gpu_workers)
            kinds.append(Kind("gpu", spec, bounds, resources=GPU, size=_processes(gpu)))
        with scaled(cluster, [SlurmScaling(cluster, kind) for kind in kinds], stop) as workers:
            yield workers


def job_options(section: str) -> dict[str, Any]:
    """Return what dask-jobqueue makes a job from, by a section of Dask's configuration.

    Parameters
    ----------
    section : {"slurm", "hcs-gpu"}
        The second changes the first.

    Raises
    ------
    WorkerError
        If dask-jobqueue is not installed, or the section does not say how large a job is.
    """
    _import_jobqueue()
    slurm = dask.config.get("jobqueue.slurm")
    asked = slurm if section == "slurm" else {**slurm, **dask.config.get(f"jobqueue.{section}")}
    if not (asked["cores"] and asked["memory"]):
        raise WorkerError(
            f"jobqueue.{section} in Dask's configuration says no cores or no memory of a job",
            hint="begin with deploy/slurm/jobqueue.yaml in the folder of DASK_CONFIG",
        )
    options = {
        # paths may name variables, as in $HCS_FOLDER/logs
        key.replace("-", "_"): os.path.expandvars(value) if isinstance(value, str) else value
        for key, value in asked.items()
        if value is not None and key not in _NOT_OF_A_JOB
    }
    exports = [f"export {name}={value}" for name, value in worker_environment().items()]
    options["job_script_prologue"] = [*options.get("job_script_prologue", ()), *exports]
    options["job_name"] = asked["name"]
    options.setdefault("processes", options["cores"])
    if section != "slurm":
        offered = [f"{name}={value:g}" for name, value in GPU.items()]
        extra = options.get("worker_extra_args", ())
        options["worker_extra_args"] = [*extra, "--resources", *offered]
    return options


def job_scripts() -> list[str]:
    """Return the scripts that will be submitted: of plain workers, and of those with a GPU."""
    jobqueue = _import_jobqueue()
    sections = [name for name in ("slurm", "hcs-gpu") if dask.config.get(f"jobqueue.{name}", None)]
    protocol = _scheduler_options().get("protocol")
    return [
        jobqueue.slurm.SLURMJob(
            "SCHEDULER", name="NAME", protocol=protocol, **job_options(name)
        ).job_script()
        for name in sections
    ]


class SlurmScaling(Scaling):
    """Also sees jobs that Slurm refuses, and those that ended."""

    def __init__(self, cluster: Any, kind: Kind) -> None:  # noqa: ANN401 - no types
        self._queue: Mapping[str, str] = {}
        self._were_there: set[str] = set()
        self._stillborn = 0
        self._refused_since: float | None = None
        super().__init__(cluster, kind, _LOOK_S, _IDLE_LOOKS)

    async def adapt(self) -> None:
        """Take one look, and ask for more jobs or cancel some."""
        try:
            await super().adapt()
        except RuntimeError as error:
            # of dask-jobqueue, with what sbatch or scancel said
            self._note_refusal(str(error))

    async def target(self) -> int:
        """Return how many jobs are wanted, having forgotten those that ended."""
        asked_before = {name: self._job_id(name) for name in self.requested}
        queue = await _look_at_queue()
        if queue is not None:
            self._queue = queue
            for name, job in asked_before.items():
                if job not in queue:
                    self._forget(name)
        if self.observed:
            self._were_there |= self.observed
            self._stillborn, self._refused_since, self.failure = 0, None, None
        return await super().target()

    def waiting_for(self) -> str:
        """Return what the jobs wait for, by Slurm's words."""
        mine = {self._job_id(name) for name in self.requested}
        states = sorted({words for job, words in self._queue.items() if job in mine})
        return f"{len(mine)} jobs in Slurm's queue ({'; '.join(states)}), see squeue --me"

    def _job_id(self, name: str) -> str | None:
        job = self.cluster.workers.get(name)
        return getattr(job, "job_id", None)

    def _forget(self, name: str) -> None:
        """Forget a job that is not in the queue; the next look asks for another."""
        was_submitted = self._job_id(name) is not None
        self.cluster.worker_spec.pop(name, None)
        job = self.cluster.workers.pop(name)
        # a cluster that closes wants to know of all jobs that they ended
        job.status = Status.closed
        if name in self._were_there or not was_submitted:
            return
        self._stillborn += 1
        _log.warning("a job of Slurm ended before it was a worker, %d in a row", self._stillborn)
        if self._stillborn >= _STILLBORN and not (self.observed or self.failure):
            self.failure = NoWorkersError(
                f"{self._stillborn} jobs of Slurm ended before they were workers",
                hint="their logs say why: set jobqueue.slurm.log-directory; most often another "
                "certificate, a Python that nodes do not see, or a network of their own",
            )

    def _note_refusal(self, said: str) -> None:
        for name in self.requested:
            if self._job_id(name) is None:
                self._forget(name)
        begun = self._refused_since = self._refused_since or time.monotonic()
        _log.warning("Slurm refuses jobs: %s", said)
        first = not self._were_there
        if not self.observed and (first or time.monotonic() - begun > _REFUSALS_FOR_S):
            self.failure = NoWorkersError(
                f"Slurm refuses jobs: {said}",
                hint="see partition, account and times in jobqueue.yaml",
            )


async def _look_at_queue() -> dict[str, str] | None:
    """Return this user's jobs by id with state and reason; None where Slurm does not answer."""
    try:
        asked = await asyncio.create_subprocess_exec(
            *_SQUEUE, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.DEVNULL
        )
    except FileNotFoundError:
        return None
    try:
        async with asyncio.timeout(_ANSWER_S):
            said, _ = await asked.communicate()
    except TimeoutError:
        asked.kill()
        await asked.wait()
    if asked.returncode:
        return None
    rows = (line.split(maxsplit=1) for line in said.decode().splitlines() if line.strip())
    return {row[0]: row[-1] for row in rows}


@contextmanager
def _submitting(settings: RunSettings, options: Mapping[str, Any]) -> Iterator[Any]:
    """Open a scheduler here whose workers are jobs; none is asked for yet."""
    scheduler = _scheduler_options()
    protocol = scheduler.get("protocol")
    _check_closed(scheduler)
    warn_of_its_end(dask.config.get("distributed.comm.tls.ca-file"))
    scheduler["dashboard"] = settings.dashboard is not None
    scheduler["dashboard_address"] = f"127.0.0.1:{settings.dashboard or 0}"
    jobqueue = _import_jobqueue()
    try:
        cluster = jobqueue.SLURMCluster(protocol=protocol, scheduler_options=scheduler, **options)
    except (RuntimeError, ValueError, OSError) as error:
        raise WorkerError(
            f"no scheduler for Slurm's workers: {error}",
            hint="see jobqueue.yaml and tls.yaml in the folder of DASK_CONFIG",
        ) from error
    with cluster:
        yield cluster


def _scheduler_options() -> dict[str, Any]:
    return dict(dask.config.get("jobqueue.slurm.scheduler-options", None) or {})


def _check_closed(scheduler: Mapping[str, Any]) -> None:
    """Refuse a scheduler that anybody on the network could send work to."""
    closed = str(scheduler.get("protocol")).startswith("tls")
    certificate = dask.config.get("distributed.comm.tls.scheduler.cert")
    if closed and not (certificate and Path(certificate).is_file()):
        raise WorkerError(
            "no certificate for the scheduler of Slurm's workers: "
            f"{certificate or 'none is named'}",
            hint="deploy/README.md says how to make one; deploy/dask/tls.yaml names it",
        )
    if not closed and scheduler.get("host") not in ("127.0.0.1", "localhost"):
        raise WorkerError(
            "the scheduler of Slurm's workers would be open to the network, without a certificate",
            hint="take scheduler-options of deploy/slurm/jobqueue.yaml, and deploy/dask/tls.yaml",
        )


def _processes(options: Mapping[str, Any]) -> int:
    processes: int = options["processes"]
    return processes


def _import_jobqueue() -> Any:  # noqa: ANN401 - dask-jobqueue has no types
    try:
        with _ctrl_c_left_alone():
            import dask_jobqueue
            import dask_jobqueue.slurm
    except ImportError as error:
        raise WorkerError(
            "run.dask is slurm, and dask-jobqueue is not installed",
            hint="pip install 'hcs[slurm]'",
        ) from error
    return dask_jobqueue


@contextmanager
def _ctrl_c_left_alone() -> Iterator[None]:
    """Import dask-jobqueue, which would end this process with exit code 0 at Ctrl-C.

    Its ``runner``, which nobody uses here, says so when it is imported; outside of the main thread
    it could not be imported at all.
    """
    ours = signal.signal

    def unless_by_runner(number: int, handler: Any) -> Any:  # noqa: ANN401 - as `signal` has it
        if getattr(handler, "__module__", "") == "dask_jobqueue.runner":
            return signal.getsignal(number)
        return ours(number, handler)

    signal.signal = unless_by_runner  # type: ignore[assignment] # names its arguments otherwise
    try:
        yield
    finally:
        signal.signal = ours
