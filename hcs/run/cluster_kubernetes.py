"""Workers as pods, kept by the Dask operator: a cluster of Dask per run, removed with it.

What it is made from stands in files that Dask's configuration names: ``kubernetes.custom-cluster-
spec``, and ``kubernetes.hcs-gpu-workers`` for workers with a GPU (``deploy/kubernetes/overlays/
elastic`` has both). The operator knows how to scale the first; those with a GPU stay for the run.
"""

from __future__ import annotations

import copy
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import dask.config
import yaml

from hcs.errors import NoWorkersError, WorkerError
from hcs.run.calls import Workers
from hcs.run.missing import Missing
from hcs.run.steps import GPU
from hcs.run.stopping import Stop
from hcs.run.workers import Coming, DaskWorkers
from hcs.settings import RunSettings

_CPU_FILE = "kubernetes.custom-cluster-spec"
_GPU_FILE = "kubernetes.hcs-gpu-workers"
# nodes are started for pods, or other work ends first, seconds
_NODES_WITHIN_S = 6 * 3600
_LOOK = "`kubectl describe pods -l dask.org/cluster-name={}` says what its pods wait for"


@contextmanager
def kubernetes_pods(settings: RunSettings, stop: Stop) -> Iterator[Workers]:
    """Ask the Dask operator for a cluster, and for workers while there is work.

    Raises
    ------
    WorkerError
        If dask-kubernetes or the files are missing, no Kubernetes answers, it refuses, or the
        operator does not act.
    StoppedError
        If somebody asks for it while the operator acts.
    """
    from distributed import Client

    spec = cluster_spec(settings)
    fewest, most = settings.bounds
    coming = [Coming(most)]
    with _cluster(spec, stop) as cluster:
        if fewest < most:
            cluster.adapt(minimum=fewest, maximum=most)
        group = gpu_workers(settings)
        if group:
            cluster.add_worker_group("gpu", custom_spec=group)
            coming.append(Coming(settings.gpu_workers, GPU))
        with Client(cluster, set_as_default=False) as client:
            # a pod that waits for a node is waited for
            name = spec["metadata"]["name"]
            missing = Missing(client, f"DaskCluster {name}", _LOOK.format(name))
            missing.patience_s = _NODES_WITHIN_S
            yield DaskWorkers(client, coming, missing.look)


def cluster_spec(settings: RunSettings) -> dict[str, Any]:
    """Return the ``DaskCluster`` that the operator is asked for, under a name of its own.

    Raises
    ------
    WorkerError
        If Dask's configuration names no file for it, or it cannot be read.
    """
    path = dask.config.get(_CPU_FILE, None)
    if not path:
        raise WorkerError(
            f"run.dask is kubernetes, and {_CPU_FILE} in Dask's configuration names no file",
            hint="see deploy/kubernetes/overlays/elastic",
        )
    spec = _read(path)
    name = f"{spec['metadata']['name']}-{uuid.uuid4().hex[:8]}"
    spec["metadata"]["name"] = name
    spec["spec"]["scheduler"]["service"]["selector"]["dask.org/cluster-name"] = name
    spec["spec"]["worker"]["replicas"] = settings.bounds[0]
    return spec


def gpu_workers(settings: RunSettings) -> dict[str, Any] | None:
    """Return the workers with a GPU that are asked for; None where none are wanted or set up."""
    path = dask.config.get(_GPU_FILE, None)
    if settings.device == "cpu" or not path:
        return None
    worker: dict[str, Any] = _read(path)["spec"]["worker"]
    return {**worker, "replicas": settings.gpu_workers}


def _read(path: str) -> dict[str, Any]:
    try:
        read: dict[str, Any] = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise WorkerError(
            f"cannot read {path}: {error.strerror}", hint="Dask's configuration names it"
        ) from error
    return read


@contextmanager
def _cluster(spec: Mapping[str, Any], stop: Stop) -> Iterator[Any]:
    """Create a cluster of Dask, and remove it at the end."""
    try:
        import httpx
        import kr8s
        from dask_kubernetes.operator.kubecluster.kubecluster import CreateMode, KubeCluster
    except ImportError as error:
        raise WorkerError(
            "run.dask is kubernetes, and dask-kubernetes is not installed",
            hint="pip install 'hcs[kubernetes]'",
        ) from error
    refusals = (
        httpx.HTTPError,
        kr8s.APITimeoutError,
        kr8s.NotFoundError,
        kr8s.ServerError,
        OSError,
        RuntimeError,
        ValueError,
    )
    try:
        cluster = stop.unless_asked(
            lambda: KubeCluster(
                custom_cluster_spec=copy.deepcopy(spec),
                create_mode=CreateMode.CREATE_ONLY,
                shutdown_on_close=True,
                quiet=True,
            )
        )
    except refusals as error:
        _forget(KubeCluster, spec["metadata"]["name"])
        raise NoWorkersError(
            f"Kubernetes gives no cluster of Dask: {type(error).__name__}: {error}",
            hint="try `kubectl get daskclusters` with the same rights; is the Dask operator there?",
        ) from error
    with cluster:
        yield cluster


def _forget(kind: Any, name: str) -> None:  # noqa: ANN401 - dask-kubernetes has no types
    """Let dask-kubernetes not remove at exit, with a traceback, what it could not make.

    What was made all the same the operator removes, after the ``idleTimeout`` of its specification.
    """
    from distributed.core import Status

    for cluster in kind._instances:
        if cluster.name == name:
            cluster.status = Status.closed
            cluster._loop_runner.stop()
