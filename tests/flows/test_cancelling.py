"""A run that is cancelled in Prefect's UI stops, and the next one goes on where it was."""

import time
from shutil import copytree
from threading import Event

import httpx
import pytest

from flows import cancelling
from flows.analyse import run_flow
from flows.nightly import run_nightly
from hcs.errors import StoppedError
from hcs.run.night_settings import NightSettings
from hcs.settings import load_settings
from tests.plates import results_of

pytestmark = pytest.mark.integration

HERE = load_settings(overrides=["run.dask=none", "run.workers=1", "run.wells_in_flight=1"])


@pytest.fixture(autouse=True)
def _looking_often(monkeypatch):
    monkeypatch.setattr(cancelling, "_LOOK_S", 0.2)


def cancel_last_run(api, flow):
    """Do what the UI's button does, and wait until it is heard."""
    body = {"sort": "START_TIME_DESC", "limit": 1, "flows": {"name": {"any_": [flow]}}}
    (run,) = httpx.post(f"{api}/flow_runs/filter", json=body, timeout=30).json()
    state = {"state": {"type": "CANCELLING", "name": "Cancelling"}, "force": False}
    httpx.post(f"{api}/flow_runs/{run['id']}/set_state", json=state, timeout=30).raise_for_status()
    return f"{api}/flow_runs/{run['id']}"


def test_a_cancelled_run_ends_and_the_next_one_goes_on(prefect_api, tiny_plate, analysed_plate):
    asked = []

    def after_the_first_well(outcome, through, wells):
        if not asked:
            asked.append(cancel_last_run(prefect_api, "analyse"))
            time.sleep(2)

    with pytest.raises(StoppedError, match=r"tiny\.zarr: stopped"):
        run_flow(str(tiny_plate), HERE, after_the_first_well)
    state = httpx.get(asked[0], timeout=30).json()["state"]
    assert (state["type"], state["message"][-31:]) == (
        "CANCELLED",
        "stopped (run it again to go on)",
    )
    report = run_flow(str(tiny_plate), HERE)
    assert report.exit_code == 0
    assert "kept" in [outcome.state for outcome in report.outcomes]
    assert results_of(tiny_plate) == results_of(analysed_plate)


def test_a_cancelled_night_stops_its_plate_and_begins_no_other(prefect_api, tiny_plate):
    copytree(tiny_plate, tiny_plate.parent / "z.zarr")
    asked = []

    def after_the_first_plate(record):
        if not asked:
            asked.append(cancel_last_run(prefect_api, "nightly"))
            time.sleep(2)

    night = NightSettings(unchanged_min=0, exclude=("*_truth.zarr",))
    report = run_nightly(str(tiny_plate.parent), HERE, night, after_the_first_plate)
    first, *others = sorted(report.plates, key=lambda one: one.url)
    assert first.state == "done"
    assert [(one.state, one.why) for one in others] == [
        ("stopped", "the night was stopped before it was done")
    ]
    assert httpx.get(asked[0], timeout=30).json()["state"]["type"] == "CANCELLED"


def test_an_api_that_does_not_answer_cancels_nothing(monkeypatch):
    asked = Event()

    def gone(**_options):
        asked.set()
        raise httpx.ConnectError("no route")

    monkeypatch.setattr(cancelling, "_own_runs", lambda: ["a"])
    monkeypatch.setattr(cancelling, "get_client", gone)
    with cancelling.heeding_cancellation(lambda: pytest.fail("stopped")):
        assert asked.wait(30)
