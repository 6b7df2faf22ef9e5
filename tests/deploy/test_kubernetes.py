"""The manifests, as kustomize renders them where it is installed: known to Kubernetes, closed."""

import re
import shutil
import subprocess
from collections.abc import Iterator
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import jsonschema
import kubernetes_validate
import pytest
import yaml

from tests.deployed import DEPLOY, SECRET, load, prefect_variables

FOLDER = DEPLOY / "kubernetes"
VERSION = "1.31"
PLACES = ("base", "overlays/s3", "overlays/gpu", "overlays/elastic")
# what the elastic flow process asks the operator for
CLUSTER = "overlays/elastic/cluster.yaml"
OPERATOR = "kubernetes.dask.org/v1"

needs_kubectl = pytest.mark.skipif(
    shutil.which("kubectl") is None, reason="images and patches need kubectl"
)

Object = dict[str, Any]


@cache
def render(place: str) -> list[Object]:
    """Return the objects of a kustomization: by kubectl, else its files as they stand."""
    if place == CLUSTER:
        return [load(f"kubernetes/{CLUSTER}")]
    if not shutil.which("kubectl"):
        return list(_files(FOLDER / place))
    return kustomize(FOLDER / place)


def kustomize(folder: Path) -> list[Object]:
    done = subprocess.run(["kubectl", "kustomize", folder], capture_output=True)
    assert done.returncode == 0, done.stderr.decode()
    return list(yaml.load_all(done.stdout, yaml.CSafeLoader))


def _files(folder: Path) -> Iterator[Object]:
    """Give the resources of a kustomization without its patches and components."""
    for name in yaml.safe_load((folder / "kustomization.yaml").read_text())["resources"]:
        path = folder / name
        if path.is_dir():
            yield from _files(path.resolve())
        else:
            yield from yaml.safe_load_all(path.read_text())


def name_of(one: Object) -> str:
    return f"{one['kind']}/{one['metadata']['name']}"


@cache
def every() -> dict[str, Object]:
    """Return each object once; those of the base are in the overlays too."""
    found = dict[str, Object]()
    for place in (*PLACES, CLUSTER):
        for one in render(place):
            if one not in found.values():
                found[f"{place} {name_of(one)}"] = one
    return found


def pods_of(one: Object) -> list[Object]:
    """Return the pod specifications of an object."""
    spec = one.get("spec", {})
    if one["apiVersion"] == OPERATOR:
        return [spec[part]["spec"] for part in ("scheduler", "worker") if part in spec]
    return [spec["template"]["spec"]] if "template" in spec else []


def pods() -> list[tuple[str, Object]]:
    return [(where, pod) for where, one in every().items() for pod in pods_of(one)]


def containers() -> list[tuple[str, Object]]:
    return [(where, container) for where, pod in pods() for container in pod["containers"]]


def variables() -> list[Object]:
    return [variable for _, container in containers() for variable in container.get("env", [])]


def problem(one: Object) -> str:
    try:
        kubernetes_validate.validate(one, VERSION, strict=True)
    except kubernetes_validate.ValidationError as error:
        return f"{'.'.join(map(str, error.path))}: {error.message}"
    return ""


def test_there_is_what_a_night_needs():
    assert {name_of(one) for one in render("base")} >= {
        "Namespace/hcs",
        "StatefulSet/postgres",
        "Deployment/prefect-server",
        "Deployment/prefect-worker",
        "DaskCluster/hcs",
        "DaskAutoscaler/hcs",
    }
    assert "DaskWorkerGroup/hcs-gpu" in {name_of(one) for one in render("overlays/gpu")}


# known


def test_every_object_is_known_to_kubernetes():
    plain = {k: one for k, one in every().items() if one["apiVersion"] != OPERATOR}
    assert len(plain) > 12
    assert {where: text for where, one in plain.items() if (text := problem(one))} == {}


def test_every_pod_of_a_dask_cluster_is_known_to_kubernetes():
    found = [
        {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "x"}, "spec": pod}
        for one in every().values()
        if one["apiVersion"] == OPERATOR
        for pod in pods_of(one)
    ]
    assert [text for pod in found if (text := problem(pod))] == []
    assert len(found) >= 5


def test_what_kubernetes_does_not_know_is_seen():
    service = next(one for one in render("base") if one["kind"] == "Service")
    assert "nodePorts" in problem(service | {"spec": service["spec"] | {"nodePorts": 1}})


@pytest.mark.skipif(find_spec("dask_kubernetes") is None, reason="dask-kubernetes is not installed")
def test_clusters_are_known_to_the_operator():
    found = [one for one in every().values() if one["apiVersion"] == OPERATOR]
    assert {one["kind"] for one in found} == {"DaskCluster", "DaskWorkerGroup", "DaskAutoscaler"}
    for one in found:
        schema = _definition(one["kind"])
        jsonschema.Draft202012Validator(schema).validate(one)
        assert set(one["spec"]) <= set(schema["properties"]["spec"]["properties"])


@pytest.mark.skipif(find_spec("dask_kubernetes") is None, reason="dask-kubernetes is not installed")
def test_the_operator_follows_replicas_and_nothing_else_as_the_readme_says():
    text = _of_the_operator("controller/controller.py").read_text()
    followed = re.findall(r'@kopf\.on\.field\(\s*"(dask\w+)\.\S+", field="([\w.]+)"', text)
    of_the_specification = [(kind, field) for kind, field in followed if "spec." in field]
    assert of_the_specification == [
        ("daskcluster", "spec.worker.replicas"),
        ("daskworkergroup", "spec.worker.replicas"),
    ]
    assert "kopf.on.update" not in text


def _of_the_operator(path: str) -> Path:
    # the package is heavy to import, and what is looked at are files
    (package,) = find_spec("dask_kubernetes").submodule_search_locations
    return Path(package) / "operator" / path


def _definition(kind: str) -> Object:
    charts = _of_the_operator("deployment/helm/dask-kubernetes-operator/crds")
    text = (charts / f"{kind.lower()}.yaml").read_text()
    (version,) = yaml.load(text, yaml.CSafeLoader)["spec"]["versions"]
    return version["schema"]["openAPIV3Schema"]


# closed


def test_no_pod_is_root_or_talks_to_the_cluster_but_the_elastic_flow_process():
    talks = [where for where, pod in pods() if pod.get("automountServiceAccountToken", True)]
    kubectl = shutil.which("kubectl")
    assert talks == (["overlays/elastic Deployment/prefect-worker"] if kubectl else [])
    for where, pod in pods():
        context = pod["securityContext"]
        assert context["runAsNonRoot"] is True, where
        assert context["runAsUser"] > 0, where
        assert context["seccompProfile"] == {"type": "RuntimeDefault"}, where


def test_no_container_may_more_than_it_needs():
    for where, container in containers():
        context = container["securityContext"]
        assert context["allowPrivilegeEscalation"] is False, where
        assert context["readOnlyRootFilesystem"] is True, where
        assert context["capabilities"] == {"drop": ["ALL"]}, where
        assert container["resources"]["limits"]["memory"], where


def test_every_container_may_write_where_the_image_has_programs_write():
    for where, pod in pods():
        emptied = {volume["name"] for volume in pod["volumes"] if "emptyDir" in volume}
        for container in pod["containers"]:
            mounted = {one["mountPath"]: one["name"] for one in container["volumeMounts"]}
            assert mounted["/tmp"] in emptied, where


def test_workers_are_not_given_prefects_password():
    given = {where.split("/")[-1] for where, one in containers() if "AUTH_STRING" in str(one)}
    assert given == {"prefect-server", "prefect-worker", "prefect-worker-gpu"}


def test_no_secret_stands_in_a_manifest():
    assert "Secret" not in {one["kind"] for one in every().values()}
    by_value = {one["name"] for one in variables() if "value" in one}
    by_name = {one["name"] for one in variables() if "valueFrom" in one}
    assert [name for name in by_value if SECRET.search(name)] == []
    assert len([name for name in by_name if SECRET.search(name)]) == len(by_name) == 4


def test_the_readme_makes_every_secret_that_is_asked_for():
    readme = (DEPLOY / "README.md").read_text()
    keys = [one["valueFrom"]["secretKeyRef"] for one in variables() if "valueFrom" in one]
    volumes = [volume for _, pod in pods() for volume in pod.get("volumes", [])]
    sources = [one for _, container in containers() for one in container.get("envFrom", [])]
    asked = {volume["secret"]["secretName"] for volume in volumes if "secret" in volume}
    asked |= {key["name"] for key in keys} | {one["secretRef"]["name"] for one in sources}
    assert asked == {"hcs-postgres", "hcs-prefect", "hcs-s3", "hcs-dask-tls"}
    assert [name for name in asked if f"secret generic {name} " not in readme] == []
    assert [k for k in keys if f"{k['name']} --from-literal={k['key']}=" not in readme] == []


@pytest.mark.parametrize("place", ["base", "overlays/s3", "overlays/gpu"])
def test_schedulers_and_workers_ask_for_the_certificate(place):
    found = [pod for one in render(place) if one["apiVersion"] == OPERATOR for pod in pods_of(one)]
    assert len(found) >= 2
    for pod in found:
        (container,) = pod["containers"]
        assert "--protocol tls" in " ".join(container["args"]).replace("=", " ")
        assert {"name": "DASK_CONFIG", "value": "/etc/hcs/tls.yaml"} in container["env"]
        assert "/etc/hcs/tls" in {mount["mountPath"] for mount in container["volumeMounts"]}


@pytest.mark.parametrize("place", PLACES)
def test_nobody_reaches_a_pod_but_by_a_policy_that_names_who(place):
    found = [one for one in render(place) if one["kind"] == "NetworkPolicy"]
    policies = {one["metadata"]["name"]: one["spec"] for one in found}
    assert policies["nobody"] == {"podSelector": {}, "policyTypes": ["Ingress"]}
    rules = [rule for spec in policies.values() for rule in spec.get("ingress", [])]
    assert [rule for rule in rules if not rule.get("from")] == []


def test_http_of_the_scheduler_which_knows_no_password_is_for_the_operator_alone():
    found = [one for one in render("base") if one["kind"] == "NetworkPolicy"]
    policies = {one["metadata"]["name"]: one["spec"] for one in found}
    assert set(policies) == {"nobody", "database", "prefect", "dask-scheduler", "dask-workers"}
    who = {
        port["port"]: [*rule["from"][0]]
        for rule in policies["dask-scheduler"]["ingress"]
        for port in rule["ports"]
    }
    assert who == {8786: ["podSelector"], 8787: ["namespaceSelector"]}
    (only,) = policies["dask-workers"]["ingress"]
    assert [*only["from"][0]] == ["podSelector"]


# where plates are


def of_plates(pod: Object) -> list[Object]:
    """Return a pod's volumes that are claims, and its mounts of plates."""
    mounts = [one for container in pod["containers"] for one in container.get("volumeMounts", [])]
    claims = [one for one in pod.get("volumes", []) if "persistentVolumeClaim" in one]
    return [*claims, *(one for one in mounts if one["name"] == "plates")]


@pytest.mark.parametrize("place", ["base", "overlays/gpu", CLUSTER])
def test_flows_and_workers_alone_mount_the_plates_of_a_disk(place):
    found = [pod for one in render(place) for pod in pods_of(one)]
    mounting = [pod["containers"][0]["name"] for pod in found if len(of_plates(pod)) == 2]
    assert mounting == [name for pod in found if (name := pod["containers"][0]["name"]) == "worker"]
    assert mounting


@needs_kubectl
@pytest.mark.parametrize("place", ["overlays/s3", "overlays/gpu", "overlays/elastic"])
def test_plates_on_s3_alone_need_no_storage_that_many_pods_can_mount(place, tmp_path):
    folder = shutil.copytree(FOLDER, tmp_path / "kubernetes") / place
    if place != "overlays/s3":
        # as the README says
        path = folder / "kustomization.yaml"
        changed = yaml.safe_load(path.read_text())
        changed.setdefault("components", []).append("../../components/s3")
        path.write_text(yaml.safe_dump(changed))
    found = kustomize(folder)
    kinds = {one["kind"] for one in found}
    assert "PersistentVolumeClaim" not in kinds
    assert kinds >= {"overlays/s3": {"DaskCluster"}, "overlays/gpu": {"DaskWorkerGroup"}}.get(
        place, {"ConfigMap"}
    )
    assert [of_plates(pod) for one in found for pod in pods_of(one) if of_plates(pod)] == []
    (flows,) = [one for one in found if name_of(one) == "Deployment/prefect-worker"]
    environment = pods_of(flows)[0]["containers"][0]["env"]
    assert [one["value"] for one in environment if one["name"] == "HCS_PLATES"] == ["s3://plates"]


@pytest.mark.parametrize("file", ["cluster.yaml", "gpu-workers.yaml"])
def test_what_runs_ask_the_operator_for_does_without_its_entries_of_plates(file):
    worker = load(f"kubernetes/overlays/elastic/{file}")["spec"]["worker"]["spec"]
    worker["volumes"].remove({"name": "plates", "persistentVolumeClaim": {"claimName": "plates"}})
    worker["containers"][0]["volumeMounts"].remove({"name": "plates", "mountPath": "/plates"})
    assert of_plates(worker) == []
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "x"}, "spec": worker}
    assert problem(pod) == ""


# of one piece


@pytest.mark.parametrize("place", PLACES)
def test_selectors_meet_their_pods(place):
    templates = [one for one in render(place) if "template" in one.get("spec", {})]
    labels = [one["spec"]["template"]["metadata"]["labels"] for one in templates]
    wanted = [one["spec"]["selector"]["matchLabels"] for one in templates]
    assert wanted == labels
    services = [one for one in render(place) if one["kind"] == "Service"]
    assert [name_of(one) for one in services if one["spec"]["selector"] not in labels] == []
    (policy,) = [one for one in render(place) if one["metadata"]["name"] == "database"]
    assert policy["spec"]["podSelector"]["matchLabels"] in labels


def test_variables_are_settings_that_prefect_has():
    named = {one["name"] for one in variables() if one["name"].startswith("PREFECT_")}
    assert len(named) > 8
    assert named - prefect_variables() == set()


@needs_kubectl
def test_images_and_patches_reach_their_objects():
    images = {container["image"] for _, container in containers()}
    assert images == {"hcs:cpu", "hcs:gpu", "postgres:17-bookworm"}
    elastic = render("overlays/elastic")
    assert [one for one in elastic if one["apiVersion"] == OPERATOR] == []
    (worker,) = [one for one in elastic if name_of(one) == "Deployment/prefect-worker"]
    (container,) = pods_of(worker)[0]["containers"]
    environment = {one["name"]: one.get("value") for one in container["env"]}
    assert environment["HCS_DASK"] == "kubernetes"
    assert environment["DASK_CONFIG"] == "/etc/hcs/dask/kubernetes.yaml"
    assert environment["PREFECT_API_URL"]
    (config,) = [one for one in elastic if one["kind"] == "ConfigMap"]
    assert yaml.safe_load(config["data"]["cluster.yaml"]) == render(CLUSTER)[0]


def test_images_are_named_in_one_place():
    named = {
        path.parent.relative_to(FOLDER).as_posix()
        for path in FOLDER.rglob("kustomization.yaml")
        if "images" in yaml.safe_load(path.read_text())
    }
    assert named == {"components/images"}
    readme = (DEPLOY / "README.md").read_text()
    for one in load("kubernetes/components/images/kustomization.yaml")["images"]:
        target = one["newTag"]
        assert one["name"] == f"hcs-{target}"
        assert f"--target {target} --tag $REGISTRY/hcs:{target} . && docker push" in readme


@needs_kubectl
@pytest.mark.parametrize("place", PLACES)
def test_the_one_place_that_names_images_reaches_all_pods(place, tmp_path):
    folder = shutil.copytree(FOLDER, tmp_path / "kubernetes")
    path = folder / "components/images/kustomization.yaml"
    path.write_text(path.read_text().replace("newName: hcs", "newName: registry.example.org/hcs"))
    found = [pod for one in kustomize(folder / place) for pod in pods_of(one)]
    images = {container["image"] for pod in found for container in pod["containers"]}
    assert {image for image in images if not image.startswith("registry.example.org/hcs:")} == {
        "postgres:17-bookworm"
    }


def test_a_worker_is_stopped_by_its_nanny_before_its_pod_is():
    workers = [(where, one) for where, one in containers() if one["name"] == "worker"]
    limited = 0
    for where, container in workers:
        for argument in container.get("args", []):
            name, _, limit = argument.partition("=")
            if name == "--memory-limit":
                limited += 1
                pod = container["resources"]["limits"]["memory"]
                assert _bytes(limit.removesuffix("B")) < _bytes(pod), where
    assert limited >= 3


def _bytes(text: str) -> int:
    return int(text[:-2]) * {"Mi": 2**20, "Gi": 2**30}[text[-2:]]
