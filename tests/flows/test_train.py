"""A training on a real Prefect server: its bar, its pictures, and the same weights as without."""

import base64
import re
import subprocess
import sys
from collections.abc import Iterator
from queue import Queue
from threading import Event
from uuid import uuid4

import cloudpickle
import httpx
import pytest
import torch

import flows.train
from flows import progress
from flows.curves import Curves
from flows.train import run_training, train_network
from hcs.errors import RanAwayError
from hcs.isl.train import Progress
from hcs.run.train import look_first, train_model, training_folder
from hcs.run.training import check_training
from tests.stained import make_stained_plate, training_values


@pytest.fixture(autouse=True, scope="module")
def one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def settings(tmp_path_factory):
    plate = make_stained_plate(tmp_path_factory.mktemp("flow") / "stained.zarr", frames=1)
    values = training_values(plate.storage.url)
    values["recipe"] |= {"steps": 2}
    return check_training(values)


@pytest.fixture
def artifacts(prefect_api):
    """Return the artifacts of the last run by key, and the run's state."""

    def read() -> tuple[dict[str, dict], dict]:
        def filtered(what: str, **body: object) -> list[dict]:
            answer = httpx.post(f"{prefect_api}/{what}/filter", json=body, timeout=30)
            answer.raise_for_status()
            return answer.json()

        (run,) = filtered("flow_runs", sort="START_TIME_DESC", limit=1)
        found = filtered("artifacts", artifacts={"flow_run_id": {"any_": [run["id"]]}})
        return {one["key"]: one for one in found}, run

    return read


def train_watched(settings, output, on_progress=None):
    return run_training(look_first(settings, output), output, on_progress=on_progress)


@pytest.mark.integration
def test_a_training_under_prefect_is_the_one_without_it_and_can_be_watched(
    artifacts, settings, tmp_path
):
    heard = []
    watched = train_watched(settings, tmp_path / "a.safetensors", heard.append)
    plain = train_model(settings, tmp_path / "b.safetensors")
    assert watched.path.read_bytes() == plain.path.read_bytes()
    assert [progress.step for progress in heard] == [1, 2]
    found, run = artifacts()
    assert (run["name"], run["state"]["name"]) == ("a.safetensors", "Completed")
    assert found["tiny-progress"]["data"] == 100.0
    page = found["tiny-training"]
    assert page["type"] == "markdown"
    assert page["description"].startswith("a.safetensors trained; pcc ")
    pictures = re.findall(r"!\[[^]]*\]\(data:image/(png|jpeg);base64,([^)]+)\)", page["data"])
    assert [kind for kind, _ in pictures] == ["png", "jpeg"]
    curves = (training_folder(watched.path) / "curves.png").read_bytes()
    assert base64.b64decode(pictures[0][1]) == curves


@pytest.mark.integration
def test_what_stops_a_training_is_raised_and_shown(artifacts, settings, tmp_path):
    rates = {"learning_rate": 1e30, "clip": None, "warm_up": 0}
    wild = settings.model_copy(update={"recipe": settings.recipe.model_copy(update=rates)})
    with pytest.raises(RanAwayError, match="ran away at step 2"):
        train_watched(wild, tmp_path / "w.safetensors")
    assert artifacts()[1]["state"]["name"] == "Failed"


@pytest.mark.integration
def test_a_training_that_breaks_tells_no_secret(artifacts, settings, tmp_path, monkeypatch):
    def breaks(*_arguments):
        raise RuntimeError("GET https://host/a?sig=s3cr3t0123456789 failed")

    monkeypatch.setattr(flows.train, "train_prepared", breaks)
    train_network(settings, str(tmp_path / "a.safetensors"), return_state=True)
    message = artifacts()[1]["state"]["message"]
    assert message.endswith("RuntimeError: GET https://host/a?*** failed")


@pytest.mark.integration
def test_an_api_that_is_gone_costs_no_training(
    prefect_api, settings, tmp_path, monkeypatch, caplog
):
    def gone(*_arguments, **_options):
        raise ConnectionError("all connection attempts failed")

    monkeypatch.setattr("flows.progress.create_progress_artifact", gone)
    assert train_watched(settings, tmp_path / "a.safetensors").state == "trained"
    warnings = [r for r in caplog.records if "Prefect's API does not answer" in r.message]
    assert len(warnings) == 1
    monkeypatch.setattr(flows.train, "train_network", gone)
    assert train_watched(settings, tmp_path / "b.safetensors").state == "trained"


def test_pictures_are_shown_neither_always_nor_never(tmp_path, monkeypatch):
    now = [0.0]
    told: list[str] = []
    curves = Curves("tiny", tmp_path / "w.safetensors", clock=lambda: now[0])
    monkeypatch.setattr(curves, "_call", lambda function, *_: told.append(function.__name__) or 1)
    for step in range(1, 1001):
        now[0] += 0.5
        looked = {"loss": 0.1} if step % 10 == 0 else None
        curves.move(Progress(step, 1000, 0.1, looked, step, now[0], 9.0))
        curves.show_due()
    pages = told.count("create_markdown_artifact") + told.count("replace_artifact")
    assert 10 <= pages <= 18


def test_an_api_that_hangs_holds_up_no_training(tmp_path, monkeypatch):
    answers, shares = Event(), Queue()

    def create(share, *_):
        answers.wait()
        shares.put(share)
        return uuid4()

    monkeypatch.setattr(progress, "create_progress_artifact", create)
    monkeypatch.setattr(
        progress, "update_progress_artifact", lambda _, share, __: shares.put(share)
    )
    monkeypatch.setattr(progress, "_PARTING_S", 0.0)
    curves = Curves("tiny", tmp_path / "w.safetensors")
    with curves.showing():
        for step in range(1, 101):
            curves.move(Progress(step, 100, 0.1, None, step, step, 9.0))
    answers.set()
    while shares.get(timeout=60) < 100.0:
        pass


READ = """
import pickle, sys
flow = pickle.load(sys.stdin.buffer)
given = flow.validate_parameters({
    "settings": {
        "name": "a",
        "inputs": [{"channel": "p"}],
        "target": {"stains": ["s"]},
        "plates": [{"plate": "x.zarr"}],
    },
    "output": "w.safetensors",
})
print(type(given["settings"]).__module__, given["settings"].recipe.name)
"""


def test_a_served_training_knows_its_settings_in_a_new_process():
    content = cloudpickle.dumps(train_network)
    read = subprocess.run([sys.executable, "-c", READ], input=content, capture_output=True)
    assert read.returncode == 0, read.stderr.decode()
    assert read.stdout.decode().split() == ["hcs.run.training", "default"]
