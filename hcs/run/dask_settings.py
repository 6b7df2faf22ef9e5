"""What Dask must be told where this process starts a scheduler and its workers."""

from __future__ import annotations

import os
from contextlib import AbstractContextManager

from hcs.run.overlap import Overlapping

# The scheduler may start work again as often as it likes: `Attempts` counts, and innocents that
# stood beside a well that kills its worker are not blamed (dask's default gives up after 3).
_ALLOWED_FAILURES = 1000
# Dask closes the nanny of a worker that is not back in time (its default is 15 s, less than a start
# takes on a busy machine), and nobody starts another
_BACK_WITHIN = "10 minutes"
# bytes; freed memory up to the first, and single buffers up to the second, are used again
_KEEP_MEMORY = {"MALLOC_TRIM_THRESHOLD_": "268435456", "MALLOC_MMAP_THRESHOLD_": "33554432"}
# for Dask's developers; its default is 1000, and each message may hold a well and all its settings
_KEPT_MESSAGES = 100


def dask_settings() -> dict[str, object]:
    """Return settings of Dask, by name."""
    return {
        "distributed.scheduler.allowed-failures": _ALLOWED_FAILURES,
        "distributed.deploy.lost-worker-timeout": _BACK_WITHIN,
        "distributed.nanny.pre-spawn-environ": worker_environment(),
        # a worker keeps nothing between two wells that pausing would free: it would wait for ever
        "distributed.worker.memory.pause": False,
        "distributed.admin.large-graph-warning-threshold": "10MB",
        "distributed.admin.low-level-log-length": _KEPT_MESSAGES,
        # Dask looks a hundred times a second at what its workers do, which nobody asked for
        "distributed.worker.profile.enabled": False,
        "distributed.admin.tick.interval": "200ms",
    }


def worker_environment() -> dict[str, str]:
    """Return what a worker's process is started with.

    One thread each: processes are the parallelism. And memory of frames is kept for the next one:
    Dask's own threshold, 64 kB, returns every frame to the system, and a well takes half again.
    """
    names = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS")
    cache = {k: os.environ[k] for k in ("NUMBA_CACHE_DIR",) if k in os.environ}
    return dict.fromkeys(names, "1") | _KEEP_MEMORY | cache


def _set_dask() -> AbstractContextManager[object]:
    import dask
    import distributed  # noqa: F401 - else its defaults are set later, and taken away with ours

    context: AbstractContextManager[object] = dask.config.set(dask_settings())
    return context


# while any plate of this process has a scheduler that this process started
DASK_SET = Overlapping(_set_dask)
