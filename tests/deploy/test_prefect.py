"""prefect.yaml, prefect.toml and settings.yaml: every word is one that Prefect or hcs knows."""

import asyncio
import json
import re
import subprocess
import sys
import tomllib
from datetime import timedelta
from typing import Any

import httpx
import pytest
import yaml
from prefect.client.schemas.schedules import CronSchedule
from prefect.flows import load_flow_from_entrypoint
from prefect.settings.models.root import Settings as PrefectSettings
from prefect.utilities.services import critical_service_loop

from hcs.cli import watched
from hcs.run.night_settings import check_night
from hcs.settings import check_settings
from tests.deployed import DEPLOY, ROOT, documented, load

DEPLOYMENTS = {one["name"]: one for one in load("prefect.yaml")["deployments"]}


@pytest.mark.parametrize("name", DEPLOYMENTS)
def test_flows_are_found_and_take_their_parameters(name):
    one = DEPLOYMENTS[name]
    flow = load_flow_from_entrypoint(one["entrypoint"])
    assert set(one["parameters"]) <= set(flow.parameters.properties)
    if name == "nightly":
        # as Prefect fills them in when it deploys
        filled = json.dumps(one["parameters"]).replace("{{ $HCS_DASK }}", "slurm")
        taken = flow.validate_parameters(json.loads(filled))
        assert taken["night"].until.hour == 7
        assert taken["settings"].run.timeout_s == 7200


def test_a_night_begins_every_evening_whatever_became_of_the_one_before():
    (schedule,) = DEPLOYMENTS["nightly"]["schedules"]
    cron = CronSchedule(cron=schedule["cron"], timezone=schedule["timezone"])
    # its hour is one on the same wall: containers know no other than UTC
    night = DEPLOYMENTS["nightly"]["parameters"]["night"]
    assert cron.timezone == night["time_zone"] == "Europe/Zurich"
    assert [name for name, one in DEPLOYMENTS.items() if "schedules" in one] == ["nightly"]
    # a limit is a lease in the server's memory: its restart would end the night
    assert [name for name, one in DEPLOYMENTS.items() if "concurrency_limit" in one] == []


def test_all_go_to_the_one_work_pool():
    assert {one["work_pool"]["name"] for one in DEPLOYMENTS.values()} == {"hcs"}


def test_prefect_knows_every_setting():
    values = tomllib.loads((DEPLOY / "prefect.toml").read_text())
    assert unknown(values, PrefectSettings) == []
    assert PrefectSettings.model_validate(values).server.analytics_enabled is False
    assert unknown({"server": {"analytics": 1}}, PrefectSettings) == ["server.analytics"]


def test_an_api_that_hangs_is_waited_for_equally_long_by_commands_and_deployments(monkeypatch):
    by_file = PrefectSettings.model_validate(tomllib.loads((DEPLOY / "prefect.toml").read_text()))
    for name, value in watched._ENVIRONMENT.items():
        monkeypatch.setenv(name, value)
    by_command = PrefectSettings()
    assert by_command.api.request_timeout == by_file.api.request_timeout == 30
    assert by_command.client.max_retries == by_file.client.max_retries == 3


@pytest.mark.parametrize("loop", ["query_seconds", "heartbeat_seconds"])
def test_a_worker_waits_for_its_server_for_an_hour_at_least(monkeypatch, loop):
    by_file = PrefectSettings.model_validate(tomllib.loads((DEPLOY / "prefect.toml").read_text()))
    slept = []

    async def sleep(seconds: float) -> None:
        slept.append(seconds)

    async def refused() -> None:
        raise httpx.ConnectError("no route")

    monkeypatch.setattr("prefect.utilities.services.anyio.sleep", sleep)
    # as a worker calls it, and ends with it
    asked = {"jitter_range": 0.3, "backoff": 4, "printer": lambda *_: None}
    seconds = getattr(by_file.worker, loop)
    with pytest.raises(RuntimeError, match="exceeded error threshold"):
        asyncio.run(critical_service_loop(refused, seconds, **asked))
    assert sum(slept) > 3600


def test_databases_end_in_all_worlds_where_a_server_stays(monkeypatch):
    file = tomllib.loads((DEPLOY / "prefect.toml").read_text())
    by_file = PrefectSettings.model_validate(file).server.services.db_vacuum
    assert by_file.enabled_vacuum_types == {"events", "flow_runs", "orphans"}
    # as many nights as summaries beside the plates
    assert by_file.retention_period == timedelta(days=60)
    container = load("compose.yaml")["services"]["prefect-server"]["environment"]
    (server,) = [
        one
        for one in yaml.safe_load_all((DEPLOY / "kubernetes/base/prefect-server.yaml").read_text())
        if one["kind"] == "Deployment"
    ]
    (pod,) = server["spec"]["template"]["spec"]["containers"]
    pod_environment = {one["name"]: one.get("value") for one in pod["env"]}
    for environment in (container, pod_environment):
        for name in ("ENABLED", "RETENTION_PERIOD"):
            variable = f"PREFECT_SERVER_SERVICES_DB_VACUUM_{name}"
            monkeypatch.setenv(variable, environment[variable])
        by_environment = PrefectSettings().server.services.db_vacuum
        assert by_environment.enabled_vacuum_types == by_file.enabled_vacuum_types
        assert by_environment.retention_period == by_file.retention_period


# in the place of `prefect`, says what it would go by
SAY = """\
import json
from prefect.settings import get_current_settings
settings = get_current_settings()
vacuum = settings.server.services.db_vacuum
said = [settings.server.analytics_enabled, vacuum.retention_period.days, settings.ui_url]
print(json.dumps([*said, sorted(vacuum.enabled_vacuum_types)]))
"""


@pytest.mark.integration
@pytest.mark.parametrize(
    ("world", "address"),
    [("one machine", "http://127.0.0.1:4200"), ("Slurm", "https://prefect.example.org")],
)
def test_a_server_that_is_started_by_hand_goes_by_the_file(world, address, tmp_path):
    (tmp_path / "hcs").mkdir()
    stand_in = tmp_path / "bin/prefect"
    stand_in.parent.mkdir()
    stand_in.write_text(f"#!{sys.executable}\n{SAY}")
    stand_in.chmod(0o755)
    environment = {"HOME": str(tmp_path), "PATH": f"{stand_in.parent}:/usr/bin:/bin"}
    readme = (DEPLOY / "README.md").read_text()
    copies = re.findall(r"^cp .*deploy/settings\.yaml .*~/hcs/$", readme, re.MULTILINE)
    (copy,) = [line for line in copies if ("slurm" in line) == (world == "Slurm")]
    subprocess.run(["sh", "-c", copy], cwd=ROOT, env=environment, check=True)
    (tmp_path / "elsewhere").mkdir()
    done = subprocess.run(
        ["sh", "-c", documented(f"server of {world}")],
        cwd=tmp_path / "elsewhere",
        env=environment,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout)
    assert said == [False, 60, address, ["events", "flow_runs", "orphans"]]


def test_links_in_messages_lead_to_the_ui_whoever_sends_them(monkeypatch):
    """Runs send summaries, and the server what automations tell."""
    services = load("compose.yaml")["services"]
    containers = [services[name]["environment"] for name in ("prefect-server", "prefect-worker")]
    for name in ("server", "worker"):
        path = DEPLOY / f"kubernetes/base/prefect-{name}.yaml"
        found = [one for one in yaml.safe_load_all(path.read_text()) if one["kind"] == "Deployment"]
        (pod,) = found[0]["spec"]["template"]["spec"]["containers"]
        containers.append({one["name"]: one.get("value", "") for one in pod["env"]})
    for environment in containers:
        with monkeypatch.context() as one:
            for variable in ("PREFECT_API_URL", "PREFECT_UI_URL"):
                one.delenv(variable, raising=False)
                if variable in environment:
                    one.setenv(variable, environment[variable])
            assert PrefectSettings().ui_url == "http://127.0.0.1:4200"


def unknown(values: dict[str, Any], model: Any, place: str = "") -> list[str]:
    found = []
    for name, value in values.items():
        field = model.model_fields.get(name)
        if field is None:
            found.append(f"{place}{name}")
        elif isinstance(value, dict):
            found += unknown(value, field.annotation, f"{place}{name}.")
    return found


def test_a_night_is_the_same_in_all_three_worlds():
    values = load("settings.yaml")
    night = check_night(values.pop("night"))
    settings = check_settings(values)
    parameters = DEPLOYMENTS["nightly"]["parameters"]
    # a machine's own clock is on the wall
    of_containers = check_night(parameters["night"])
    assert of_containers.model_copy(update={"time_zone": None}) == night
    assert parameters["settings"]["run"]["timeout_s"] == settings.run.timeout_s
