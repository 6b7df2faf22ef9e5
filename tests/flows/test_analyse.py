"""The flow on a real Prefect server: every well to be seen, and the same result as without."""

import json
import subprocess
import sys
import time
from pathlib import Path

import httpx
import pytest
from prefect import flow
from prefect.artifacts import create_table_artifact

import flows.analyse
from flows.analyse import analyse_plate, run_flow
from flows.progress import replace_artifact
from hcs.errors import PlateError
from hcs.run.night_summary import escaped
from hcs.settings import Settings, load_settings
from tests.plates import results_of

pytestmark = pytest.mark.integration


def here(*overrides: str) -> Settings:
    return load_settings(overrides=["run.dask=none", "run.workers=1", *overrides])


class Server:
    """What the server's API answers."""

    def __init__(self, api: str) -> None:
        self._api = api

    def filter(self, what: str, **body: object) -> list[dict]:
        answer = httpx.post(f"{self._api}/{what}/filter", json=body, timeout=30)
        answer.raise_for_status()
        return answer.json()

    def last_run(self) -> dict:
        return self.filter("flow_runs", sort="START_TIME_DESC", limit=1)[0]

    def task_states(self, run: dict, count: int) -> list[tuple[str, str, str]]:
        """Return name, state and message of a run's tasks; they reach the server a bit late."""
        for _ in range(100):
            tasks = self.filter("task_runs", flow_runs={"id": {"any_": [run["id"]]}})
            states = [(t["name"], t["state"]["type"], t["state"]["message"]) for t in tasks]
            ended = [state for state in states if state[1] in ("COMPLETED", "FAILED")]
            if len(ended) >= count:
                return sorted(ended)
            time.sleep(0.1)
        return sorted(states)

    def bury(self, run: dict) -> None:
        """Call a run that goes on dead, as an automation does."""
        state = {"state": {"type": "CRASHED"}}
        answer = httpx.post(f"{self._api}/flow_runs/{run['id']}/set_state", json=state, timeout=30)
        assert answer.json()["status"] == "ACCEPT"

    def logs(self, run: dict, ending: str) -> list[str]:
        for _ in range(100):
            only = {"flow_run_id": {"any_": [run["id"]]}}
            messages = [log["message"] for log in self.filter("logs", logs=only)]
            if ending in messages:
                return messages
            time.sleep(0.1)
        return messages

    def artifacts(self, run: dict) -> dict[str, dict]:
        only = {"flow_run_id": {"any_": [run["id"]]}}
        return {artifact["key"]: artifact for artifact in self.filter("artifacts", artifacts=only)}


@pytest.fixture
def server(prefect_api) -> Server:
    return Server(prefect_api)


def test_a_run_under_prefect_is_the_run_without_it_and_can_be_watched(
    server, tiny_plate, analysed_plate
):
    heard = []
    chunk = next((tiny_plate / "A/02/0").glob("*/0/0/0/0/0"))
    content = chunk.read_bytes()
    chunk.write_bytes(content[:40])
    report = run_flow(str(tiny_plate), here(), lambda *told: heard.append(told))
    assert report.exit_code == 2
    assert heard[-1][1:] == (3, 3)

    run = server.last_run()
    assert run["name"] == "tiny.zarr"
    assert (run["state"]["name"], run["state"]["message"]) == ("Partial", "2 of 3 wells done")
    tasks = server.task_states(run, count=4)
    # B/01 waits for the pooled model, and is visited twice
    assert [task[:2] for task in tasks] == [
        ("A/01", "COMPLETED"),
        ("A/02", "FAILED"),
        ("B/01", "COMPLETED"),
        ("B/01", "COMPLETED"),
    ]
    assert tasks[1][2].startswith("A/02 failed: field A/02/0")
    assert "A/01: ssl, not done yet" in server.logs(run, ending="B/01 done")

    artifacts = server.artifacts(run)
    assert artifacts["tiny-progress"]["data"] == 100.0
    assert artifacts["tiny-progress"]["description"].startswith("2 of 3 wells done in ")
    assert '"well": "A02"' in artifacts["tiny-wells"]["data"]
    page = artifacts["tiny-plate"]["data"]
    assert page.count("](data:image/") == 3
    assert escaped(f"{tiny_plate}/tables/wells") in page

    chunk.write_bytes(content)
    assert run_flow(str(tiny_plate), here()).exit_code == 0
    assert server.last_run()["state"]["name"] == "Completed"
    assert results_of(tiny_plate) == results_of(analysed_plate)


def test_a_row_for_each_of_ten_thousand_wells_is_put_in_the_place_of_others(server):
    # an event of Prefect, which its own client makes of each change, ends at 1.5 MB
    rows = [{"well": f"A{k:05d}", "message": "x" * 160} for k in range(10_000)]

    @flow
    def shows() -> None:
        replace_artifact(create_table_artifact([], "many-wells"), rows, "all wells")

    shows()
    (shown,) = server.filter("artifacts", artifacts={"key": {"any_": ["many-wells"]}})
    assert (json.loads(shown["data"]), shown["description"]) == (rows, "all wells")


def test_a_run_with_networks_is_seen_as_any_other(server, tiny_plate, weights):
    file = weights["nuclei"]
    settings = here("methods=[isl]", f"isl.weights=[{file}]", "wells=[A/01, A/02]")
    (tiny_plate / "A/02/0/0/2/0/0/0/0").write_bytes(b"no chunk")
    assert run_flow(str(tiny_plate), settings).exit_code == 2
    run = server.last_run()
    assert run["state"]["message"] == "1 of 2 wells done"
    tasks = server.task_states(run, count=2)
    assert [task[:2] for task in tasks] == [("A/01", "COMPLETED"), ("A/02", "FAILED")]
    assert "A/01: isl-nuclei, not done yet" in server.logs(run, ending="A/01 done")


def test_a_run_that_was_taken_for_dead_goes_on_and_its_end_puts_that_right(server, tiny_plate):
    def bury(_outcome: object, through: int, wells: int) -> None:
        if through < wells:
            server.bury(server.last_run())

    settings = here("run.wells_in_flight=1", "wells=[A/01, A/02]")
    assert run_flow(str(tiny_plate), settings, bury).exit_code == 0
    run = server.last_run()
    assert run["state"]["name"] == "Completed"
    assert [task[1] for task in server.task_states(run, count=2)] == ["COMPLETED"] * 2


def test_what_stops_a_run_is_raised_and_shown(server, tmp_path):
    (tmp_path / "no.zarr").mkdir()
    with pytest.raises(PlateError, match=r"no\.zarr"):
        run_flow(str(tmp_path / "no.zarr"), here())
    state = server.last_run()["state"]
    assert state["name"] == "Failed"
    assert "no.zarr" in state["message"]


def test_a_deployment_passes_settings_as_plain_values(prefect_api, analysed_plate):
    parameters = analyse_plate.validate_parameters(
        {"plate": str(analysed_plate), "settings": {"run": {"dask": "none"}}}
    )
    state = analyse_plate(**parameters, return_state=True)
    assert state.is_completed()


@pytest.mark.parametrize("error", [ConnectionError("all attempts failed"), ValueError("no JSON")])
def test_an_api_that_is_gone_costs_no_well(prefect_api, tiny_plate, monkeypatch, caplog, error):
    def gone(*_arguments, **_options):
        raise error

    monkeypatch.setattr("flows.progress.create_progress_artifact", gone)
    monkeypatch.setattr("flows.analyse.ThreadPoolTaskRunner", gone)
    report = run_flow(str(tiny_plate), here("wells=[A/01]"))
    assert report.exit_code == 0
    warnings = [r for r in caplog.records if "Prefect's API does not answer" in r.message]
    assert len(warnings) == 1


def test_an_api_that_never_was_costs_no_well(prefect_api, tiny_plate, monkeypatch):
    def gone(*_arguments, **_options):
        raise ConnectionError("all connection attempts failed")

    monkeypatch.setattr(flows.analyse, "run_from_command", gone)
    assert run_flow(str(tiny_plate), here("wells=[A/01]")).exit_code == 0


def test_the_command_line_runs_under_prefect_and_keeps_its_output_to_itself(server, tiny_plate):
    (tiny_plate / "A/02/0/0/2/0/0/0/0").write_bytes(b"no chunk")
    command = [Path(sys.executable).with_name("hcs"), "run", tiny_plate, "--workers", "1"]
    ended = subprocess.run([*command, "--well", "A/01", "--well", "A/02"], capture_output=True)
    assert ended.returncode == 2
    assert b"1 done, 1 failed" in ended.stdout
    told = ended.stderr.decode().splitlines()
    assert [line for line in told if line.startswith("A/02 failed: ")] == told
    assert server.last_run()["state"]["name"] == "Partial"
