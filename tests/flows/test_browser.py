"""What an operator sees and presses in Prefect's UI, in a real browser.

``HCS_PICTURES=docs/pictures pytest tests/flows/test_browser.py`` makes the pictures of the docs.
"""

import json
import os
import shutil
import signal
from pathlib import Path

import httpx
import psutil
import pytest
from prefect import flow

from flows.nightly import run_nightly
from flows.progress import Progress
from hcs.plate.path import WellPath
from hcs.run.analyse import analyse
from hcs.run.night_settings import NightSettings
from hcs.run.outcome import Failure, WellOutcome
from hcs.settings import load_settings
from hcs.simulate.plate import simulate_plate
from hcs.simulate.settings import SimulationSettings
from tests.plates import results_of
from tests.runs import WITHIN_S, log_of, start, starts_of, wait_for, workers_of

browser = pytest.importorskip("tests.browser", reason="needs selenium", exc_type=ImportError)

pytestmark = pytest.mark.integration

FOR_DOCS = "HCS_PICTURES" in os.environ
HERE = load_settings(overrides=["run.dask=none", "run.workers=1"])
# what a page would run that shows it as it is
HOSTILE = "phase <img src=x onerror=window.hostile=1>"


@pytest.fixture(scope="module")
def ui(prefect_server, tmp_path_factory):
    with browser.browser(prefect_server.address, tmp_path_factory.mktemp("chromium")) as ui:
        yield ui


class Api:
    """What the server's API answers."""

    def __init__(self, api: str) -> None:
        self._api = api

    def last(self, flow: str) -> dict:
        only = {"name": {"any_": [flow]}}
        return self._filter("flow_runs", flows=only, sort="EXPECTED_START_TIME_DESC", limit=1)[0]

    def artifacts(self, run: dict) -> dict[str, str]:
        found = self._filter("artifacts", artifacts={"flow_run_id": {"any_": [run["id"]]}})
        return {one["key"].rpartition("-")[2]: one["id"] for one in found}

    def task(self, run: dict, well: str) -> str:
        found = self._filter(
            "task_runs",
            flow_runs={"id": {"any_": [run["id"]]}},
            task_runs={"name": {"any_": [well]}},
        )
        return found[0]["id"]

    def _filter(self, what: str, **body: object) -> list[dict]:
        answer = httpx.post(f"{self._api}/{what}/filter", json=body, timeout=60)
        answer.raise_for_status()
        return answer.json()


@pytest.fixture(scope="module")
def api(prefect_server) -> Api:
    return Api(prefect_server.api)


@pytest.fixture(scope="module")
def night(ui, tmp_path_factory) -> Path:
    """Analyse a folder of one plate, one chunk of which is damaged."""
    folder = tmp_path_factory.mktemp("night") / "plates"
    size = {"rows": 3, "columns": 4, "size": 384} if FOR_DOCS else {"rows": 1, "columns": 3}
    given = {"preset": "easy", "frames": 3, "size": 128, "edge_effect": 0.3, **size}
    plate = folder / "march.zarr"
    simulate_plate(plate, SimulationSettings(**given), processes=1)
    shutil.rmtree(folder / "march_truth.zarr")
    for path in [] if FOR_DOCS else plate.rglob(".zattrs"):
        path.write_text(path.read_text().replace('"phase"', json.dumps(HOSTILE)))
    (plate / "A/02/0/0/1/0/0/0/0").write_bytes(b"no chunk")
    report = run_nightly(str(folder), HERE, NightSettings(unchanged_min=0))
    assert [one.state for one in report.plates] == ["partly done"]
    return folder


def test_a_run_shows_its_state_its_wells_and_what_their_workers_said(ui, api, night):
    run = api.last("analyse")
    ui.open(f"runs/flow-run/{run['id']}", "march.zarr", "Partial", "A/01 done")
    ui.keep("ui-run", 900, night.parent)
    ui.press("Task Runs")
    ui.text("A/01", "A/02", "A/03")
    ui.open(f"runs/task-run/{api.task(run, 'A/01')}", "A/01: ssl, not done yet", "A/01 done")
    assert "copy it anew" in ui.open(f"runs/task-run/{api.task(run, 'A/02')}", "A/02 failed")
    assert ui.driver.execute_script("return window.hostile") is None


def test_the_artifacts_show_progress_a_row_per_well_and_pictures(ui, api, night):
    shown = api.artifacts(api.last("analyse"))
    ui.open(f"artifacts/artifact/{shown['progress']}", "Progress: 100%")
    columns = ("well", "state", "seconds", "attempts", "worker", "cause")
    table = ui.open(f"artifacts/artifact/{shown['wells']}", *columns, "A03")
    assert "is damaged" in table
    ui.keep("ui-wells", 860, night.parent)
    ui.open(f"artifacts/artifact/{shown['plate']}", "objects per frame, mean", "tables/wells")
    assert min(ui.pictures(3)) > 0
    ui.keep("ui-plate", 1300, night.parent)
    assert ui.driver.execute_script("return window.hostile") is None


def test_a_night_shows_its_summary_and_leads_to_its_plates(ui, api, night):
    shown = api.artifacts(api.last("nightly"))
    ui.open(f"artifacts/artifact/{shown['night']}", "march.zarr", "partly done", "damaged data")
    ui.keep("ui-night", 690, night.parent)
    (link,) = ui.driver.find_elements("link text", "march.zarr")
    assert str(link.get_attribute("href")).endswith(f"/runs/flow-run/{api.last('analyse')['id']}")
    assert ui.driver.execute_script("return window.hostile") is None


def test_what_strangers_name_is_text_in_rows_and_beside_bars(ui, api):
    strange = "![x](http://evil.example/x.png) [log in](http://evil.example) <b>_x_</b> plate_1"
    well = WellPath.parse("B/03")
    outcome = WellOutcome(well, "failed", failure=Failure("damaged data", strange, "copy it anew"))

    @flow(name="strange")
    def shows() -> None:
        watched = Progress("strange")
        watched.move(outcome, 1, 1)
        with watched.showing({well: outcome}):
            pass

    shows()
    shown = api.artifacts(api.last("strange"))
    for kind in ("progress", "wells"):
        ui.open(f"artifacts/artifact/{shown[kind]}", strange)
        assert not ui.driver.find_elements("css selector", "img[src*='evil']")
        # an address is a link by itself, and says where it leads
        assert not ui.driver.find_elements("link text", "log in")


def test_cancel_pressed_ends_a_run_whose_workers_hang(ui, api, tiny_plate, analysed_plate):
    with start(tiny_plate, monitor="prefect") as run:
        wait_for(lambda: bool(starts_of(tiny_plate)), run)
        workers = workers_of(run)
        for worker in workers:
            worker.send_signal(signal.SIGSTOP)
        shown = api.last("analyse")
        table = api.artifacts(shown)["wells"]
        ui.open(f"artifacts/artifact/{table}", "0 of 3 wells through", "A01", "A02", "B01")
        ui.open(f"runs/flow-run/{shown['id']}", "tiny.zarr", "Running")
        ui.press("Cancel")
        ui.press("Confirm")
        assert run.wait(WITHIN_S) == 130, log_of(tiny_plate)
        assert not psutil.wait_procs(workers, WITHIN_S)[1]
    assert api.last("analyse")["state"]["name"] == "Cancelled"
    ui.open(f"runs/flow-run/{shown['id']}", "Cancelled")
    assert analyse(str(tiny_plate), HERE).exit_code == 0
    assert results_of(tiny_plate) == results_of(analysed_plate)
