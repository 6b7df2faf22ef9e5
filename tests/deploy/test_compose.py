"""compose.yaml: what the compose specification knows, closed to the outside, no secret inside."""

import json
import re
from pathlib import Path

import botocore.session
import check_jsonschema
import pytest
from jsonschema.validators import validator_for

from tests.deployed import DEPLOY, SECRET, load, prefect_variables

TEXT = (DEPLOY / "compose.yaml").read_text()
COMPOSE = load("compose.yaml")
SERVICES = COMPOSE["services"]
OURS = {name: one for name, one in SERVICES.items() if "build" in one}
# ${NAME}, ${NAME:-default} and ${NAME:?message}
VARIABLE = re.compile(r"\$\{([A-Z0-9_]+)(?::([-?])([^}]*))?\}")


def specification() -> dict:
    vendored = Path(check_jsonschema.__file__).with_name("builtin_schemas")
    return json.loads((vendored / "vendor/compose-spec.json").read_text())


def test_compose_knows_every_word():
    schema = specification()
    check = validator_for(schema)(schema)
    assert [error.message for error in check.iter_errors(COMPOSE)] == []
    wrong = COMPOSE | {"services": {"x": {"image": "x", "restarts": "always"}}}
    assert [error.validator for error in check.iter_errors(wrong)] == ["unevaluatedProperties"]


def test_there_is_all_that_a_night_needs():
    assert set(SERVICES) == {
        "postgres",
        "prefect-server",
        "prefect-worker",
        "dask-scheduler",
        "dask-worker",
        "dask-worker-gpu",
        "dask-worker-gpu-2",
        "prefect-worker-gpu",
        "s3",
    }
    optional = {name: one["profiles"] for name, one in SERVICES.items() if "profiles" in one}
    assert optional == {
        "dask-worker-gpu": ["gpu", "gpus"],
        "dask-worker-gpu-2": ["gpus"],
        "prefect-worker-gpu": ["gpu", "gpus"],
        "s3": ["s3"],
    }


def test_each_gpu_has_one_worker_of_dask():
    asked = {
        name: device["device_ids"]
        for name, one in SERVICES.items()
        if "deploy" in one
        for device in one["deploy"]["resources"]["reservations"]["devices"]
    }
    assert asked == {
        "dask-worker-gpu": ["${HCS_GPU:-0}"],
        "dask-worker-gpu-2": ["${HCS_GPU_2:-1}"],
        # trains while no night is there
        "prefect-worker-gpu": ["${HCS_GPU:-0}"],
    }
    first, second = (SERVICES[f"dask-worker-gpu{end}"] for end in ("", "-2"))
    assert first["command"] == second["command"]
    assert "--resources=GPU=1" in first["command"]


def test_only_prefects_ui_can_be_reached_and_from_this_machine_only():
    published = {name: one["ports"] for name, one in SERVICES.items() if "ports" in one}
    assert published == {"prefect-server": ["127.0.0.1:4200:4200"]}
    assert COMPOSE["networks"]["inside"] == {"internal": "${HCS_NO_WAY_OUT:-true}"}
    outside = {name for name, one in SERVICES.items() if one["networks"] != ["inside"]}
    assert outside == {"prefect-server", "prefect-worker", "prefect-worker-gpu"}


def test_no_container_is_root_or_may_more_than_it_needs():
    for name, one in SERVICES.items():
        assert one["user"] not in ("root", "0"), name
        assert one["read_only"] is True, name
        assert one["cap_drop"] == ["ALL"], name
        assert one["security_opt"] == ["no-new-privileges:true"], name
        assert "privileged" not in one, name
        # where the image has programs write
        assert "/tmp:mode=1777" in one["tmpfs"], name


def test_the_server_of_s3_writes_where_it_may():
    # by itself it makes ~/.minio/certs, and has no home: an error where all is read only
    s3 = SERVICES["s3"]
    words = s3["command"]
    assert words[words.index("--certs-dir") + 1].startswith("/tmp/")
    assert s3["environment"]["HOME"] == "/tmp"


@pytest.mark.parametrize(
    "name", ["dask-scheduler", "dask-worker", "dask-worker-gpu", "dask-worker-gpu-2"]
)
def test_schedulers_and_workers_ask_for_the_certificate(name):
    one = SERVICES[name]
    assert "--protocol tls" in " ".join(one["command"]).replace("=", " ")
    assert one["environment"]["DASK_CONFIG"] == "/etc/hcs/tls.yaml"
    assert "./tls:/etc/hcs/tls:ro" in one["volumes"]


def test_flows_find_the_scheduler_and_the_api_with_its_password():
    flows = SERVICES["prefect-worker"]["environment"]
    assert flows["HCS_DASK"] == "tls://dask-scheduler:8786"
    assert flows["DASK_CONFIG"] == "/etc/hcs/tls.yaml"
    server = SERVICES["prefect-server"]["environment"]
    assert flows["PREFECT_API_AUTH_STRING"] == server["PREFECT_SERVER_API_AUTH_STRING"]
    assert flows["PREFECT_API_AUTH_STRING"].startswith("${PREFECT_AUTH:?")


def test_workers_are_not_given_prefects_password():
    given = {name for name, one in SERVICES.items() if "AUTH_STRING" in str(one.get("environment"))}
    assert given == {"prefect-server", "prefect-worker", "prefect-worker-gpu"}


def test_secrets_come_from_the_environment_only():
    for name, one in SERVICES.items():
        for variable, value in one.get("environment", {}).items():
            if SECRET.search(variable) or "ROOT_USER" in variable:
                assert VARIABLE.fullmatch(str(value)), f"{name} {variable}"


def test_every_variable_is_explained_and_secrets_are_left_empty():
    lines = (DEPLOY / "env.example").read_text().splitlines()
    given = dict(line.split("=", 1) for line in lines if line and not line.startswith("#"))
    used = {found[1]: found for found in VARIABLE.finditer(TEXT)}
    assert set(given) == set(used)
    defaults = {name: found[3] for name, found in used.items() if found[2] == "-" and found[3]}
    # a file that nobody changed is as good as none, but for the server that comes with compose
    assert {name: given[name] for name in defaults} == defaults
    assert {name for name, value in given.items() if not value} == {
        "HCS_PLATES_FOLDER",
        "POSTGRES_PASSWORD",
        "PREFECT_AUTH",
        "S3_KEY",
        "S3_SECRET",
    }


@pytest.mark.parametrize(
    ("filled_in", "asked"),
    [
        ({}, "https://s3.amazonaws.com"),
        ({"S3_REGION": "eu-central-2"}, "https://s3.eu-central-2.amazonaws.com"),
        ({"S3_ENDPOINT": "http://s3:9000"}, "http://s3:9000"),
    ],
)
def test_storage_is_what_the_endpoint_and_the_region_say(filled_in, asked, monkeypatch):
    for name, value in SERVICES["dask-worker"]["environment"].items():
        if name.startswith("AWS_"):
            monkeypatch.setenv(name, VARIABLE.sub(lambda v: filled_in.get(v[1], v[3]), value))
    client = botocore.session.Session().create_client("s3")
    assert client.meta.endpoint_url == asked


def test_runs_of_a_queue_have_a_worker_with_what_they_need():
    targets = {
        queue: one["build"]["target"]
        for one in SERVICES.values()
        for queue in re.findall(r"--work-queue=(\S+)", " ".join(one.get("command", [])))
    }
    assert targets == {"default": "cpu", "networks": "gpu"}
    asked = {
        one["name"]: one["work_pool"].get("work_queue_name", "default")
        for one in load("prefect.yaml")["deployments"]
    }
    # its flow imports torch; the others ask Dask's workers
    assert asked == {"nightly": "default", "plate": "default", "network": "networks"}


def test_variables_are_settings_that_prefect_has():
    named = {v for one in SERVICES.values() for v in one.get("environment", {})}
    named = {name for name in named if name.startswith("PREFECT_")}
    assert len(named) > 8
    assert named - prefect_variables() == set()


def test_services_and_volumes_that_are_named_are_there():
    for name, one in SERVICES.items():
        assert set(one.get("depends_on", [])) <= set(SERVICES), name
        assert set(one["networks"]) <= set(COMPOSE["networks"]), name
    healthy = {
        needed
        for one in SERVICES.values()
        if isinstance(one.get("depends_on"), dict)
        for needed, how in one["depends_on"].items()
        if how["condition"] == "service_healthy"
    }
    assert healthy == {name for name in healthy if "healthcheck" in SERVICES[name]}


def test_images_of_ours_are_targets_of_the_dockerfile():
    text = (DEPLOY / "Dockerfile").read_text()
    for name, one in OURS.items():
        assert re.search(rf"^FROM \S+ AS {one['build']['target']}$", text, re.MULTILINE), name
        assert (DEPLOY / one["build"]["context"] / one["build"]["dockerfile"]).is_file(), name


def test_no_container_fills_the_disk_with_its_log():
    for name, one in COMPOSE["services"].items():
        options = one["logging"]["options"]
        assert (options["max-size"], options["max-file"]) == ("10m", "5"), name
