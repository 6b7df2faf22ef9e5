"""A server that answers with something else than Prefect's API, and flows that crash."""

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from prefect.settings import PREFECT_API_URL, PREFECT_HOME, temporary_settings

from flows.analyse import analyse_plate, run_flow
from flows.nightly import run_nightly
from hcs.run.night_settings import NightSettings
from hcs.settings import load_settings
from tests.plates import make_plate, still_ground

pytestmark = pytest.mark.integration

HERE = load_settings(overrides=["run.dask=none", "run.workers=1", "wells=[A/01]"])
NOW = NightSettings(unchanged_min=0)


class _Login(BaseHTTPRequestHandler):
    """What a proxy says to who is not logged in."""

    def _answer(self) -> None:
        page = b"<html><body>Please log in</body></html>"
        self.send_response(200)
        self.send_header("Content-Type", "text/html")
        self.send_header("Content-Length", str(len(page)))
        self.end_headers()
        self.wfile.write(page)

    do_GET = do_POST = do_PATCH = do_PUT = do_DELETE = _answer

    def log_message(self, *_of: object) -> None:
        """Say nothing."""


@pytest.fixture
def login_page(tmp_path: Path) -> Iterator[None]:
    with ThreadingHTTPServer(("127.0.0.1", 0), _Login) as server:
        threading.Thread(target=server.serve_forever).start()
        api = f"http://127.0.0.1:{server.server_port}/api"
        with temporary_settings({PREFECT_API_URL: api, PREFECT_HOME: tmp_path / "home"}):
            yield
        server.shutdown()


@pytest.mark.usefixtures("login_page")
def test_a_page_that_is_no_answer_costs_neither_a_well_nor_a_plate(tmp_path, tiny_plate):
    assert run_flow(str(tiny_plate), HERE).exit_code == 0
    make_plate(tmp_path / "plates/a.zarr", {"A/01": still_ground(0, n_frames=2, side=32)})
    report = run_nightly(str(tmp_path / "plates"), HERE, NOW)
    assert [plate.state for plate in report.plates] == ["done"]
    assert report.warnings[0].startswith("Prefect's API did not answer: ")


# a flow that crashes is not done again


class Crash:
    """Counts how often it was begun."""

    def __init__(self) -> None:
        self.begun = 0

    def __call__(self, *_of: object, **_options: object) -> None:
        self.begun += 1
        raise ZeroDivisionError("nobody thought of it")


@pytest.mark.parametrize(
    ("where", "run"),
    [
        ("flows.nightly.run_night", lambda plate: run_nightly(str(plate.parent), HERE, NOW)),
        ("flows.analyse.analyse", lambda plate: run_flow(str(plate), HERE)),
    ],
)
def test_a_run_that_crashes_is_raised_and_not_begun_again(
    prefect_api, tiny_plate, monkeypatch, where, run
):
    crash = Crash()
    monkeypatch.setattr(where, crash)
    with pytest.raises(ZeroDivisionError, match="nobody thought of it"):
        run(tiny_plate)
    assert crash.begun == 1


@pytest.mark.parametrize("where", ["to_markdown", "to_text"])
def test_a_night_whose_summary_crashes_is_not_begun_again(
    prefect_api, tmp_path, monkeypatch, where
):
    make_plate(tmp_path / "a.zarr", {"A/01": still_ground(0, n_frames=2, side=32)})
    crash, begun = Crash(), []
    monkeypatch.setattr(f"flows.nightly.{where}", crash)
    report = run_nightly(str(tmp_path), HERE, NOW, begun.append)
    assert crash.begun == 1
    assert [plate.state for plate in report.plates] == ["done"]
    assert len(begun) == 1


def test_pictures_that_cannot_be_made_leave_a_plate_done(prefect_api, tiny_plate, monkeypatch):
    crash = Crash()
    monkeypatch.setattr("flows.progress.pictures_of", crash)
    assert analyse_plate(str(tiny_plate), HERE, return_state=True).is_completed()
    assert crash.begun == 1
