"""What the Dask operator is asked for, as its own client sends it, and what is said without one.

No Kubernetes is here: a server that knows the words of its API takes down what it is sent, and
refuses.
"""

import json
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.util import find_spec

import dask
import kubernetes_validate
import pytest

from hcs.errors import WorkerError
from hcs.run.cluster import open_cluster
from hcs.run.cluster_kubernetes import cluster_spec, gpu_workers
from hcs.settings import RunSettings
from tests.deployed import DEPLOY

FOLDER = DEPLOY / "kubernetes/overlays/elastic"
if find_spec("dask_kubernetes"):
    # its defaults join Dask's configuration before a test changes that
    import dask_kubernetes.operator  # noqa: F401
needs_client = pytest.mark.skipif(
    find_spec("dask_kubernetes") is None, reason="dask-kubernetes is not installed"
)
ELASTIC = RunSettings(dask="kubernetes", adaptive=(0, 4), device="any", gpu_workers=2)

KIND = {"name": "daskclusters", "singularName": "daskcluster", "namespaced": True}
VERSION = {"groupVersion": "kubernetes.dask.org/v1", "version": "v1"}
GROUP = {"name": "kubernetes.dask.org", "versions": [VERSION], "preferredVersion": VERSION}
ANSWERS = {
    "/version": {"major": "1", "minor": "31", "gitVersion": "v1.31.0"},
    "/api": {"kind": "APIVersions", "versions": ["v1"]},
    "/api/v1": {"kind": "APIResourceList", "groupVersion": "v1", "resources": []},
    "/apis": {"kind": "APIGroupList", "groups": [GROUP]},
    "/apis/kubernetes.dask.org/v1": {
        "kind": "APIResourceList",
        "groupVersion": "kubernetes.dask.org/v1",
        "resources": [{**KIND, "kind": "DaskCluster", "verbs": ["get", "create"]}],
    },
}


@contextmanager
def configured(gpu: bool = True):
    files = {"kubernetes.custom-cluster-spec": str(FOLDER / "cluster.yaml")}
    files["kubernetes.hcs-gpu-workers"] = str(FOLDER / "gpu-workers.yaml") if gpu else None
    with dask.config.set(files | {"kubernetes.namespace": "hcs"}):
        yield


@pytest.fixture
def api(tmp_path, monkeypatch) -> Iterator[list[tuple[str, dict]]]:
    """Yield what is sent to an API that lets nobody make anything."""
    sent = []

    class Api(BaseHTTPRequestHandler):
        def do_GET(self):
            known = ANSWERS.get(self.path.partition("?")[0].rstrip("/"))
            self.answer(200 if known else 404, known or {"kind": "Status", "code": 404})

        def do_POST(self):
            body = self.rfile.read(int(self.headers["Content-Length"]))
            sent.append((self.path, json.loads(body)))
            self.answer(403, {"kind": "Status", "code": 403, "message": "not for you"})

        def answer(self, code, content):
            self.send_response(code)
            self.send_header("Content-Type", "application/json")
            self.end_headers()
            self.wfile.write(json.dumps(content).encode())

        def log_message(self, *_):
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Api) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        config = {
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": "x",
            "clusters": [
                {"name": "x", "cluster": {"server": f"http://127.0.0.1:{server.server_port}"}}
            ],
            "contexts": [{"name": "x", "context": {"cluster": "x", "user": "x"}}],
            "users": [{"name": "x", "user": {"token": "t"}}],
        }
        (tmp_path / "config").write_text(json.dumps(config))
        monkeypatch.setenv("KUBECONFIG", str(tmp_path / "config"))
        yield sent
        server.shutdown()


def refusal(settings: RunSettings = ELASTIC) -> WorkerError:
    with pytest.raises(WorkerError) as caught, open_cluster(settings):
        pass
    return caught.value


@needs_client
@pytest.mark.integration
def test_the_operator_is_asked_for_a_cluster_of_the_runs_own(api):
    with configured():
        said = str(refusal())
        again = str(refusal())
    assert said.startswith("Kubernetes gives no cluster of Dask: ")
    assert "not for you" in said + again or "403" in said + again
    paths = {path.partition("?")[0] for path, _ in api}
    assert paths == {"/apis/kubernetes.dask.org/v1/namespaces/hcs/daskclusters"}
    # the client asks again when it is refused, the same
    clusters = {body["metadata"]["name"]: body["spec"] for _, body in api}
    assert len(clusters) == 2
    for name, spec in clusters.items():
        assert spec["scheduler"]["service"]["selector"]["dask.org/cluster-name"] == name
        assert spec["worker"]["replicas"] == 0


@needs_client
@pytest.mark.integration
def test_no_kubernetes_is_said(tmp_path, monkeypatch):
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "none"))
    monkeypatch.setenv("HOME", str(tmp_path))
    with configured():
        error = refusal()
    assert str(error).startswith("Kubernetes gives no cluster of Dask: ")
    assert "kubectl get daskclusters" in error.hint


@pytest.mark.parametrize(("bounds", "replicas"), [({"workers": 3}, 3), ({"adaptive": (1, 4)}, 1)])
def test_there_are_as_many_pods_as_the_settings_say(bounds, replicas):
    with configured():
        spec = cluster_spec(RunSettings(dask="kubernetes", **bounds))
    assert spec["spec"]["worker"]["replicas"] == replicas
    assert spec["metadata"]["name"].startswith("hcs-run-")


def test_workers_with_a_gpu_offer_it_and_are_known_to_kubernetes():
    with configured():
        group = gpu_workers(ELASTIC)
    assert group["replicas"] == 2
    (container,) = group["spec"]["containers"]
    assert "--resources=GPU=1" in container["args"]
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "x"}, "spec": group["spec"]}
    kubernetes_validate.validate(pod, "1.31", strict=True)


def test_no_gpu_is_asked_for_where_none_is_wanted_or_set_up():
    with configured():
        assert gpu_workers(RunSettings(dask="kubernetes")) is None
    with configured(gpu=False):
        assert gpu_workers(ELASTIC) is None


def test_a_file_that_is_not_named_or_not_there_is_said():
    with dask.config.set({"kubernetes.custom-cluster-spec": None}):
        error = refusal()
    assert "kubernetes.custom-cluster-spec in Dask's configuration names no file" in str(error)
    with dask.config.set({"kubernetes.custom-cluster-spec": "/no/such.yaml"}):
        assert "cannot read /no/such.yaml: No such file" in str(refusal())


def test_dask_kubernetes_that_is_missing_is_said(monkeypatch):
    monkeypatch.setitem(sys.modules, "dask_kubernetes.operator.kubecluster.kubecluster", None)
    with configured():
        error = refusal()
    assert "dask-kubernetes is not installed" in str(error)
    assert "hcs[kubernetes]" in error.hint
