"""Wells with networks on real workers: who computes what, SIGKILL, and the same bytes after it."""

import json
import os
import shutil
import time
from dataclasses import replace
from pathlib import Path

import pytest

from hcs.run import networks
from hcs.run.analyse import analyse
from hcs.settings import Settings, load_settings
from tests.plates import make_plate, moving_cells, results_of
from tests.runs import start, wait_for

pytestmark = pytest.mark.integration

_WELLS = {f"A/{column:02d}": moving_cells(column, 3) for column in range(1, 3)}
_WITHIN_S = 900


@pytest.fixture(scope="module")
def files(weights) -> list[Path]:
    return [weights["stain"], weights["nuclei"]]


@pytest.fixture(scope="module")
def undisturbed(files, tmp_path_factory) -> dict[str, bytes]:
    url = tmp_path_factory.mktemp("undisturbed") / "tiny.zarr"
    make_plate(url, _WELLS)
    assert analyse(str(url), settings(files, "run.dask=none")).exit_code == 0
    return results_of(url)


@pytest.fixture
def plate(tmp_path) -> Path:
    make_plate(tmp_path / "tiny.zarr", _WELLS)
    return tmp_path / "tiny.zarr"


def settings(files: list[Path], *overrides: str) -> Settings:
    named = f"isl.weights=[{', '.join(map(str, files))}]"
    return load_settings(overrides=["methods=[isl]", named, "run.workers=1", *overrides])


def flags(files: list[Path]) -> list[str]:
    return ["--method", "isl", *(text for file in files for text in ("--weights", str(file)))]


def test_a_killed_run_is_gone_on_with_by_the_next(plate, files, undisturbed):
    half_done = plate.parent / "tiny_isl-stain.zarr/A/01/0/0/1"
    with start(plate, *flags(files), workers=1) as run:
        wait_for(half_done.exists, run, _WITHIN_S)
        run.kill()
        run.wait(_WITHIN_S)
    with start(plate, *flags(files), workers=1) as second:
        assert second.wait(_WITHIN_S) == 0
    assert results_of(plate) == undisturbed
    assert not list(plate.parent.rglob("*.partial"))


def noted(source, name: str) -> None:
    """Note what is called, when, and which GPU its process sees."""
    call = {"name": name, "gpu": os.environ.get("CUDA_VISIBLE_DEVICES")}
    here = Path(source.url).parent / "calls"
    here.mkdir(exist_ok=True)
    (here / f"{time.time_ns()}.json").write_text(json.dumps(call))


def predict_stains(source, spans, network):
    """Do it on this machine's processor, but note what was asked for, and where."""
    noted(source, f"{spans[0].field.well} stain on {network.device}")
    return networks.predict_stains(source, spans, replace(network, device="cpu"))


def find_objects(source, spans, network):
    noted(source, f"{spans[0].field.well} objects on {network.device}")
    return networks.find_objects(source, spans, replace(network, device="cpu"))


class Here:
    """What `hcs.run.well` sees in place of the module of networks."""

    Network = networks.Network
    Found = networks.Found
    predict_stains = staticmethod(predict_stains)
    find_objects = staticmethod(find_objects)


def test_networks_run_on_the_gpu_s_worker_and_a_well_s_steps_in_order(
    plate, files, undisturbed, monkeypatch
):
    monkeypatch.setattr("hcs.isl.device.count_gpus", lambda: 1)
    monkeypatch.setattr("hcs.run.well.networks", Here)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    assert analyse(str(plate), settings(files, "run.device=gpu")).exit_code == 0
    calls = [json.loads(p.read_text()) for p in sorted((plate.parent / "calls").glob("*.json"))]
    assert {call["gpu"] for call in calls} == {"0"}
    for well in _WELLS:
        own = [call["name"] for call in calls if call["name"].startswith(well)]
        assert own == [f"{well} stain on gpu", f"{well} objects on gpu"]
    shutil.rmtree(plate.parent / "calls")
    assert results_of(plate) == undisturbed
