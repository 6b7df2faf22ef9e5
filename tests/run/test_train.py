"""A training from plate to weights file: what it writes, resumes, keeps and refuses."""

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

import hcs.run.train
from hcs.errors import (
    LockedError,
    RanAwayError,
    SettingsError,
    TrainingError,
    WeightsError,
    WorkerError,
)
from hcs.isl.card import InputPlane
from hcs.isl.header import read_card
from hcs.isl.weights import load_network
from hcs.plate.lock import acquire
from hcs.plate.path import FieldPath
from hcs.plate.storage import Storage
from hcs.plate.write import write_label_frames
from hcs.run.annotate import Annotation
from hcs.run.train import LAST_GOOD, TrainingReport, train_model, training_folder
from hcs.run.training import check_training
from tests.stained import SIDE_PX, discs, make_stained_plate, training_values


@pytest.fixture(autouse=True, scope="module")
def one_thread() -> Iterator[None]:
    """Compute on one thread: sums of several differ in the last bit."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(autouse=True)
def undrawn(monkeypatch) -> None:
    """Draw nothing after the first training: drawing takes longer than these steps."""
    for name in ("draw_curves", "draw_examples"):
        monkeypatch.setattr(f"hcs.run.diary.{name}", lambda *_: b"\x89PNG")


@pytest.fixture(scope="module")
def plate(tmp_path_factory) -> str:
    return make_stained_plate(tmp_path_factory.mktemp("train") / "stained.zarr").storage.url


@pytest.fixture(scope="module")
def stain(plate, tmp_path_factory) -> TrainingReport:
    output = tmp_path_factory.mktemp("stain") / "stain.safetensors"
    return train_model(check_training(training_values(plate)), output)


def test_the_card_says_what_was_trained_on_what_and_how_good_it_is(stain):
    card = read_card(stain.path)
    assert card == stain.card
    assert (card.name, card.head, card.inputs) == ("tiny", "stain", (InputPlane(channel="phase"),))
    (target,) = card.targets
    assert target.stain == "nuclei"
    assert abs(target.offset - 92) < 5
    assert abs(target.scale - 920) < 30
    assert card.pixel_size_um == 0.65
    assert (card.training.n_images, card.training.started_from) == (4, "random")
    assert card.training.recipe["steps"] == 4
    assert set(card.scores) == {"pcc", "ssim"}
    assert stain.state == "trained"
    assert stain.warnings == ()


def test_curve_pictures_and_page_lie_beside_the_weights(stain):
    folder = training_folder(stain.path)
    curve = json.loads((folder / "curve.json").read_text())
    assert [row["step"] for row in curve["rows"]] == [2, 4] == [row.step for row in stain.curve]
    assert curve["scores"] == stain.scores
    for name in ("curves.png", "examples.png"):
        assert (folder / name).read_bytes()[1:4] == b"PNG"
    page = (folder / "index.html").read_text()
    assert "ended at step 4" in page
    assert "refresh" not in page
    # the weights are there: what a resumed training would need is not
    assert not list(folder.glob("checkpoint*"))


def test_what_is_trained_already_is_kept(plate, stain):
    before = stain.path.stat().st_mtime_ns
    again = train_model(check_training(training_values(plate)), stain.path)
    assert (again.state, again.card, again.curve) == ("kept", stain.card, stain.curve)
    assert stain.path.stat().st_mtime_ns == before


def test_weights_of_another_training_are_never_replaced(plate, stain):
    other = check_training(training_values(plate, seed=1))
    with pytest.raises(
        SettingsError, match=r"stain\.safetensors holds weights of another training"
    ):
        train_model(other, stain.path)


def test_a_plate_may_move_but_not_change(plate, stain, tmp_path):
    moved = make_stained_plate(tmp_path / "stained.zarr")
    settings = check_training(training_values(moved.storage.url))
    assert train_model(settings, stain.path).state == "kept"
    changed = make_stained_plate(tmp_path / "new" / "stained.zarr", frames=3)
    with pytest.raises(SettingsError, match="of other settings or images"):
        train_model(check_training(training_values(changed.storage.url)), stain.path)


def test_corrected_labels_are_other_images(tmp_path):
    plate = make_stained_plate(tmp_path / "stained.zarr", ("A/01", "A/02"), frames=1)
    values = training_values(
        plate.storage.url,
        head="nuclei",
        target={"labels": "nuclei"},
        split={"validation": 0.5, "test": "none"},
    )
    values["recipe"] |= {"steps": 1}
    output = tmp_path / "n.safetensors"
    assert set(train_model(check_training(values), output).scores) == {
        "validation_iou",
        "validation_map",
    }
    write_label_frames(plate, FieldPath.parse("A/02/0"), "nuclei", 0, discs(77)[None])
    with pytest.raises(SettingsError, match="of other settings or images"):
        train_model(check_training(values), output)


@pytest.mark.parametrize(("head", "scores"), [("nuclei", {"iou"}), ("cells", {"iou", "mse"})])
def test_a_stain_network_learns_objects(plate, stain, tmp_path, head, scores):
    values = training_values(
        plate,
        head=head,
        target={"labels": "nuclei"},
        start_from=str(stain.path),
        architecture=None,
    )
    values["recipe"] |= {"steps": 2}
    report = train_model(check_training(values), tmp_path / f"{head}.safetensors")
    assert set(report.scores) == scores | {"map"}
    assert report.card.architecture.encoder == "resnet18"
    assert report.card.architecture.last == "repaired"
    assert len(report.card.training.started_from) == 64


def test_a_network_learns_on_from_its_own_weights(plate, stain, tmp_path):
    values = training_values(plate, start_from=str(stain.path), architecture=None, seed=3)
    report = train_model(check_training(values), tmp_path / "on.safetensors")
    assert report.card.architecture == stain.card.architecture


def test_one_annotated_image_is_enough(plate, tmp_path, monkeypatch):
    field, where = FieldPath.parse("A/02/0"), tmp_path / "x.tif"
    one = Annotation("stained", "nuclei", field, 1, where, where, (SIDE_PX, SIDE_PX), 0.65, "")
    monkeypatch.setattr("hcs.run.sources.read_annotations", lambda folder: (one,))
    monkeypatch.setattr("hcs.run.sources.read_labels", lambda annotation: discs(1))
    monkeypatch.setattr("hcs.run.examples.read_labels", lambda annotation: discs(1))
    values = training_values(
        plate,
        head="nuclei",
        target={"masks": "drawn"},
        split={"validation": "none", "test": "none"},
    )
    report = train_model(check_training(values), tmp_path / "one.safetensors")
    assert report.card.training.n_images == 1
    assert report.card.training.n_steps == 4
    assert report.scores == {}
    assert any("there is no validation part" in warning for warning in report.warnings)
    folder = training_folder(report.path)
    assert (folder / "examples.png").exists()
    assert "training frames" not in (folder / "index.html").read_text()


KILLED = """
import os, signal, sys
from pathlib import Path
from hcs.run.train import train_model
from hcs.run.training import check_training
from tests.stained import training_values

def on_progress(progress):
    if progress.step == 3:
        os.kill(os.getpid(), signal.SIGKILL)

settings = check_training(training_values(sys.argv[1]))
train_model(settings, Path(sys.argv[2]), on_progress=on_progress)
"""


@pytest.mark.integration
def test_a_killed_training_goes_on_to_the_same_bytes(plate, stain, tmp_path):
    output = tmp_path / "killed.safetensors"
    command = [sys.executable, "-c", KILLED, plate, str(output)]
    here = Path(__file__).parents[2]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    killed = subprocess.run(command, cwd=here, env=environment, capture_output=True)
    assert killed.returncode == -signal.SIGKILL, killed.stderr.decode()
    assert not output.exists()
    steps = []
    settings = check_training(training_values(plate))
    train_model(settings, output, on_progress=lambda progress: steps.append(progress.step))
    assert steps == [3, 4]
    assert output.read_bytes() == stain.path.read_bytes()


def test_a_stopped_training_is_not_gone_on_with_under_other_settings(plate, tmp_path):
    def stop(progress):
        if progress.step == 3:
            raise KeyboardInterrupt

    output = tmp_path / "stopped.safetensors"
    with pytest.raises(KeyboardInterrupt):
        train_model(check_training(training_values(plate)), output, on_progress=stop)
    other = check_training(training_values(plate, licence="CC-BY-4.0"))
    with pytest.raises(TrainingError, match=r"licence was unknown, is CC-BY-4\.0"):
        train_model(other, output)


def test_two_trainings_to_one_file_at_once_are_refused(plate, tmp_path):
    output = tmp_path / "one.safetensors"
    with (
        acquire(Storage.open(training_folder(output)), heartbeat_s=0.05),
        pytest.raises(LockedError, match=r"one\.safetensors is being trained: .* is locked by"),
    ):
        train_model(check_training(training_values(plate)), output)


@pytest.mark.parametrize("name", ["weights.pt", "s3://bucket/weights.safetensors"])
def test_weights_go_to_a_local_safetensors_file(plate, name):
    with pytest.raises(SettingsError, match="cannot write weights to"):
        train_model(check_training(training_values(plate)), Path(name))


def test_numbers_that_run_away_stop_the_training_and_name_the_frames(plate, tmp_path):
    values = training_values(plate)
    values["recipe"] |= {"learning_rate": 1e30, "clip": None, "validate_every": 4, "warm_up": 0}
    with pytest.raises(RanAwayError, match=r"ran away at step 2: .* on crops of A/0"):
        train_model(check_training(values), tmp_path / "w.safetensors")
    # nobody had looked at weights yet: none of them is told to be good
    assert not (training_folder(tmp_path / "w.safetensors") / LAST_GOOD).exists()


def test_a_training_that_ran_away_leaves_its_best_weights_as_a_file(plate, tmp_path, monkeypatch):
    """Steps 1 and 2 are good, step 3 is on crops of NaN."""
    output, whole = tmp_path / "w.safetensors", hcs.run.train.batches

    def spoilt(*arguments):
        for number, batch in enumerate(whole(*arguments), start=arguments[-1]):
            bad = np.full_like(batch.inputs, np.nan)
            yield replace(batch, inputs=bad) if number >= 2 else batch

    settings = check_training(training_values(plate))
    with monkeypatch.context() as patched:
        patched.setattr("hcs.run.train.batches", spoilt)
        with pytest.raises(RanAwayError, match="the best, of step 2, are a weights file: ") as told:
            train_model(settings, output)
    file = training_folder(output) / LAST_GOOD
    assert told.value.message.endswith(str(file))
    network, card = load_network(file)
    assert isinstance(network, torch.nn.Module)
    assert (card.name, card.training.n_steps) == ("tiny", 2)
    assert set(card.scores) >= {"validation_loss", "validation_pcc"}
    # it never passes for the whole training
    shutil.copy(file, output)
    with pytest.raises(SettingsError, match="holds weights of another training"):
        train_model(settings, output)
    output.unlink()
    assert train_model(settings, output).card.training.fingerprint != card.training.fingerprint
    assert not file.exists()


@pytest.mark.skipif(torch.cuda.device_count() > 0, reason="there is a GPU here")
def test_a_gpu_that_is_not_there_is_refused_before_the_first_step(plate, tmp_path):
    settings = check_training(training_values(plate))
    with pytest.raises(WorkerError, match="a GPU was asked for"):
        train_model(settings, tmp_path / "w.safetensors", device="gpu")


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        (
            {"inputs": [{"channel": "phase"}, {"channel": "nuclei"}]},
            "it takes 'phase' plane 0, the training has 'phase' plane 0, 'nuclei' plane 0",
        ),
        ({"start_stain": "cells"}, r"start_stain 'cells' is none of its stains \['nuclei'\]"),
        ({"target": {"stains": ["phase"]}}, r"gives the stains \['nuclei'\], the training \['ph"),
        (
            {"architecture": {"encoder": "resnet34", "depth": 3, "decoder_channels": [16, 8, 8]}},
            "its encoder is resnet18, not resnet34",
        ),
        (
            {
                "head": "nuclei",
                "target": {"labels": "nuclei"},
                "architecture": {"encoder": "resnet18", "depth": 3, "decoder_channels": [16, 8, 8]},
            },
            "needs architecture.last: published or repaired",
        ),
    ],
)
def test_weights_that_do_not_fit_are_no_start(plate, stain, tmp_path, changes, words):
    values = training_values(plate, start_from=str(stain.path), architecture=None) | changes
    with pytest.raises(WeightsError, match=words):
        train_model(check_training(values), tmp_path / "w.safetensors")


def test_objects_of_another_kind_are_no_start(plate, stain, tmp_path):
    values = training_values(
        plate, head="nuclei", target={"labels": "nuclei"}, start_from=str(stain.path)
    )
    values |= {"architecture": None}
    values["recipe"] |= {"steps": 1}
    nuclei = train_model(check_training(values), tmp_path / "n.safetensors").path
    values |= {"head": "cells", "start_from": str(nuclei)}
    with pytest.raises(
        WeightsError, match="it is for nuclei, and cells cannot be learnt from that"
    ):
        train_model(check_training(values), tmp_path / "c.safetensors")


def test_plates_without_pixel_size_are_warned_of_and_other_sizes_than_the_start(stain, tmp_path):
    unknown = make_stained_plate(tmp_path / "unknown.zarr", pixel_size_um=None, frames=1)
    values = training_values(unknown.storage.url)
    values["recipe"] |= {"steps": 1}
    report = train_model(check_training(values), tmp_path / "u.safetensors")
    assert any("no plate tells its pixel size" in warning for warning in report.warnings)
    values |= {"pixel_size_um": 1.3, "start_from": str(stain.path), "architecture": None}
    report = train_model(check_training(values), tmp_path / "v.safetensors")
    assert any("pixels are 1.3 um, those that" in warning for warning in report.warnings)


@pytest.mark.integration
def test_a_training_that_cannot_begin_loads_no_torch(plate, tmp_path):
    script = (
        "import sys\nfrom pathlib import Path\nfrom hcs.errors import TrainingError\n"
        "from hcs.run.train import train_model\nfrom hcs.run.training import check_training\n"
        "from tests.stained import training_values\n"
        "values = training_values(sys.argv[1], target={'stains': ['dapi']})\n"
        "try:\n    train_model(check_training(values), Path(sys.argv[2]))\n"
        "except TrainingError:\n    print('torch' in sys.modules)\n"
    )
    command = [sys.executable, "-c", script, plate, str(tmp_path / "w.safetensors")]
    here = Path(__file__).parents[2]
    done = subprocess.run(command, cwd=here, capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"
    assert not list(tmp_path.iterdir())
