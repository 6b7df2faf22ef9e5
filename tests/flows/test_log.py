"""What hcs warns of stands in the log of the flow run that it concerns, once."""

import logging
import time
from threading import Thread

import httpx
import pytest
from prefect import flow
from prefect.runtime import flow_run

from flows.analyse import run_flow
from flows.log import repeating_warnings
from hcs.run.log import listen
from hcs.settings import load_settings

pytestmark = pytest.mark.integration

LOG = logging.getLogger("hcs.run.night")


def lines_of(api: str, run: str, count: int) -> list[str]:
    """Return what the server was told; it hears of it a bit late."""
    only = {"flow_run_id": {"any_": [run]}}
    for _ in range(100):
        answer = httpx.post(f"{api}/logs/filter", json={"logs": only}, timeout=30)
        found = [log["message"] for log in answer.json() if log["level"] >= logging.WARNING]
        if len(found) >= count:
            break
        time.sleep(0.1)
    return sorted(found)


@flow
def plate() -> str:
    with repeating_warnings():
        LOG.warning("the plate has no workers, see https://me:pw@host/a\x1b[2J")
        with listen():
            LOG.warning("a well's own, which its task repeats")
        return str(flow_run.id)


@flow
def night() -> tuple[str, str]:
    with repeating_warnings():
        LOG.warning("the folder cannot be listed")
        LOG.info("nobody is to be warned of this")
        inner = plate()
        unknown = Thread(target=LOG.warning, args=("no heartbeat",))
        unknown.start()
        unknown.join()
        return str(flow_run.id), inner


def test_each_run_has_its_own_warnings_without_secrets(prefect_api):
    outer, inner = night()
    LOG.warning("nobody runs any more")
    assert lines_of(prefect_api, inner, 1) == [
        "the plate has no workers, see https://***@host/a?[2J"
    ]
    assert lines_of(prefect_api, outer, 2) == ["no heartbeat", "the folder cannot be listed"]


def test_what_a_run_warns_of_is_seen_in_the_ui(prefect_api, tiny_plate):
    def broken(*_of: object) -> None:
        raise KeyError("monitor")

    settings = load_settings(overrides=["run.dask=none", "run.workers=1", "wells=[A/01]"])
    run_flow(str(tiny_plate), settings, broken)
    body = {"sort": "START_TIME_DESC", "limit": 1}
    (run,) = httpx.post(f"{prefect_api}/flow_runs/filter", json=body, timeout=30).json()
    (line,) = lines_of(prefect_api, run["id"], 1)
    assert line.startswith("the run goes on, and its monitor failed\nTraceback")
