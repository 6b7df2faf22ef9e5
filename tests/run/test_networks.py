"""Runs with trained networks: what is written, what is done again, and what fails."""

import json
import os
import shutil
import subprocess
import sys
import threading
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import zarr

from hcs.errors import MissingError, SettingsError, WeightsError, WorkerError, WriteError
from hcs.isl.card import InputPlane
from hcs.isl.settings import IslSettings
from hcs.plate.commit import read_marker
from hcs.plate.create import ImageSpec, create_field_image, create_plate
from hcs.plate.metadata import Channel, PlateLayout
from hcs.plate.open import Plate, open_plate
from hcs.plate.path import FieldPath, WellPath
from hcs.plate.read import read_frames, read_label_image
from hcs.plate.table import read_table, table_names
from hcs.plate.write import write_frames
from hcs.run import networks
from hcs.run.analyse import analyse
from hcs.run.evaluate import evaluate_plate
from hcs.run.export import export_labels
from hcs.run.outcome import Report
from hcs.run.picture import LabelSource, field_overlay
from hcs.run.plan import make_plan
from hcs.run.truth import open_truth
from hcs.settings import Settings, load_settings
from tests.networks import write_weights
from tests.plates import make_plate, moving_cells, rechunk, results_of, sisters_of

N_FRAMES = 3
WELLS = {"A/01": moving_cells(0, N_FRAMES), "B/01": moving_cells(1, N_FRAMES)}
A01, B01 = WellPath.parse("A/01"), WellPath.parse("B/01")
FIELD, OTHER = FieldPath(A01, "0"), FieldPath(B01, "0")
STAIN = "dna_prediction"
STEPS = ("isl-stain", "isl-nuclei", "measure-isl_nuclei")


def here(files: list[Path], *overrides: str) -> Settings:
    """Return settings of a run with networks in this process."""
    named = f"isl.weights=[{', '.join(map(str, files))}]"
    here = ["run.dask=none", "run.workers=1", "methods=[isl]", named]
    return load_settings(overrides=[*here, *overrides])


@pytest.fixture(scope="module")
def two(weights) -> list[Path]:
    """The networks of most runs here."""
    return [weights["stain"], weights["nuclei"]]


@pytest.fixture(scope="module")
def _done(two, tmp_path_factory) -> Path:
    url = tmp_path_factory.mktemp("isl") / "tiny.zarr"
    make_plate(url, WELLS)
    assert analyse(str(url), here(two)).exit_code == 0
    return url


@pytest.fixture
def done(_done: Path, tmp_path: Path) -> Path:
    """A plate of one's own, with results of both networks."""
    shutil.copytree(_done.parent, tmp_path / "done")
    return tmp_path / "done" / "tiny.zarr"


@pytest.fixture
def fresh(tmp_path: Path) -> Path:
    make_plate(tmp_path / "tiny.zarr", WELLS)
    return tmp_path / "tiny.zarr"


def stains(plate: Plate, field: FieldPath = FIELD, channel: str = STAIN) -> np.ndarray:
    sister = plate.sister("isl-stain")
    frames = range(sister.field_image(field).n_frames)
    return np.stack(list(read_frames(sister, field, channel, frames)))


def labels(plate: Plate, field: FieldPath = FIELD, name: str = "isl_nuclei") -> np.ndarray:
    frames = range(plate.field_image(field).n_frames)
    return np.stack(list(read_label_image(plate, field, name, frames)))


def steps(report: Report) -> list[tuple[str, ...]]:
    return [outcome.steps for outcome in report.outcomes]


def messages(report: Report) -> list[str]:
    return [outcome.failure.message for outcome in report.failed]


def parts_of_crate(url: Path) -> list[str]:
    crate = json.loads((url.with_suffix(".hcs") / "ro-crate-metadata.json").read_text())
    entities = {entity["@id"]: entity for entity in crate["@graph"]}
    return [part["@id"] for part in entities["./"]["hasPart"]]


# what a run leaves


def test_a_stain_is_what_the_network_says_of_each_frame(done, weights):
    from hcs.isl.predict import loaded
    from hcs.isl.segment import prepare, stains_of
    from hcs.run.models import find_models

    (model,) = find_models(here([weights["stain"]]))
    network = loaded(model.path, model.digest, IslSettings(), "cpu")
    planes = [prepare(f[None], model.card, 0.65, IslSettings()) for f in WELLS["A/01"]]
    expected = [
        stains_of(one, model.card, (128, 128))[0][0] for one in network.predictor.predict(planes)
    ]
    np.testing.assert_array_equal(stains(open_plate(done)), expected)


def test_a_stain_shows_the_cells(done):
    predicted = stains(open_plate(done))
    for stain, frame in zip(predicted, WELLS["A/01"], strict=True):
        assert np.corrcoef(stain.ravel(), frame.ravel())[0, 1] > 0.5


def test_the_stain_plate_is_complete_and_lies_on_the_input(done):
    plate = open_plate(done)
    sister = plate.sister("isl-stain")
    assert sister.layout.wells == plate.layout.wells
    for field in (FIELD, OTHER):
        image, of_input = sister.field_image(field), plate.field_image(field)
        assert (image.dtype, image.frame_shape) == ("float32", of_input.frame_shape)
        assert [level.scale for level in image.levels] == [x.scale for x in of_input.levels]
        (channel,) = image.channels
        assert (channel.label, channel.window) == (STAIN, (0, 900, 100, 500))
    own = sister.attributes(str(FIELD))["hcs"]
    assert own["step"] == "isl-stain"
    assert own["depends_on"]["fields"]["0"] == {"inputs": [[0, 0]], "scale": 1.0, "tiles": None}
    assert "torch" in own["versions"]


def test_objects_are_found_followed_and_measured_in_the_stain(done):
    plate = open_plate(done)
    found = labels(plate)
    ids = [set(np.unique(frame)) - {0} for frame in found]
    assert all(4 <= len(one) <= 8 for one in ids)
    assert all(len(a & b) >= 4 for a, b in pairwise(ids))
    objects = read_table(plate, FIELD, "isl_nuclei_objects")
    row = objects.iloc[0]
    inside = found[row["time_index"]] == row["label"]
    stained = stains(plate)[row["time_index"]][inside].astype(float)
    assert row[f"intensity_mean-{STAIN}"] == pytest.approx(stained.mean())
    assert objects["displacement_pixel"].isna().all()
    assert objects["uncertainty"].isna().all()
    assert "isl_nuclei_motion" in table_names(plate, FIELD)
    wells = plate.table("wells")
    assert wells["state"].tolist() == ["done"] * 2
    assert (wells["n_tracks-isl_nuclei"] >= 4).all()


def test_markers_vouch_for_every_chunk(done):
    plate = open_plate(done)
    marker = read_marker(plate, A01, "isl-stain")
    assert marker.sister == "isl-stain"
    chunks = {f"A/01/0/0/{t}/0/0/0/0" for t in range(N_FRAMES)}
    assert chunks <= set(marker.manifest)
    assert read_marker(plate, A01, "isl-nuclei").sister == ""


def test_nothing_but_labels_and_tables_is_added_to_the_plate(fresh, done):
    before = {k: v for k, v in results_of(fresh).items() if k.startswith("plate/")}
    after = {k: v for k, v in results_of(done).items() if k.startswith("plate/")}
    assert before.items() <= after.items()
    assert all("/labels/" in key or "/tables/" in key for key in after.keys() - before.keys())


def test_uncertainty_is_a_channel_of_the_stain_and_a_column_of_objects_and_wells(
    fresh, two, tmp_path
):
    report = analyse(str(fresh), here(two, "isl.uncertainty=flips", "wells=[A/01]"))
    assert report.exit_code == 0
    plate = open_plate(fresh)
    spread = stains(plate, channel="dna_uncertainty")
    assert (spread >= 0).all()
    assert spread.any()
    objects = read_table(plate, FIELD, "isl_nuclei_objects")
    assert objects["uncertainty"].between(0, 0.5).all()
    wells = plate.table("wells").set_index("well")
    assert wells.loc["A01", "uncertainty_mean-isl_nuclei"] == pytest.approx(
        objects["uncertainty"].mean()
    )
    frames = plate.table("well_frames")
    assert frames["uncertainty_mean"].between(0, 0.5).all()
    assert f"intensity_mean-{STAIN}" in objects
    assert "intensity_mean-dna_uncertainty" in objects


def test_cells_are_another_label_image(fresh, weights):
    report = analyse(str(fresh), here([weights["cells"]], "wells=[A/01]"))
    assert steps(report) == [("isl-cells", "measure-isl_cells")]
    plate = open_plate(fresh)
    assert plate.label_names(FIELD) == ("isl_cells",)
    assert labels(plate, name="isl_cells").any()
    assert sisters_of(fresh) == []


def test_the_crate_names_stain_plate_and_weights(done, two):
    crate = json.loads((done.with_suffix(".hcs") / "ro-crate-metadata.json").read_text())
    entities = {entity["@id"]: entity for entity in crate["@graph"]}
    action = entities["#analysis"]
    assert {"@id": "../tiny_isl-stain.zarr/"} in action["result"]
    assert {"@id": "#isl-nuclei"} in action["object"]
    referred = [part["@id"] for part in [*action["result"], *action["object"]]]
    assert set(referred) <= set(entities)
    assert entities["#isl-nuclei"]["identifier"].startswith("sha256:")
    assert str(two[0].parent) not in json.dumps(crate)


def test_its_nuclei_are_scored_exported_and_drawn_as_any_objects(done, tmp_path, put):
    plate, truth = open_plate(done), make_plate(tmp_path / "truth.zarr", WELLS)
    for field in (FIELD, OTHER):
        put(truth, str(field), list(labels(plate, field)), "nuclei")
    scores = evaluate_plate(plate, open_truth(truth.storage.url, plate, "isl_nuclei"), "isl_nuclei")
    (row,) = scores.to_json()["plate"]
    assert row["f1"] == 1
    done_fields = []
    export_labels(plate, tmp_path / "tiff", "isl_nuclei", done_fields.append)
    assert len(done_fields) == 2
    picture = field_overlay(FIELD, "phase", [0, 1], LabelSource(plate, "isl_nuclei"))
    assert picture.any()


# the cut of the work never changes a byte


@pytest.mark.parametrize("override", ["run.span_frames=2", "run.workers=2"])
def test_spans_and_workers_never_change_a_byte(fresh, done, two, override):
    assert analyse(str(fresh), here(two, override)).exit_code == 0
    assert results_of(fresh) == results_of(done)


# what is done again


def test_a_second_run_does_nothing(done, two):
    before = {path: path.stat() for path in done.parent.rglob("*") if path.is_file()}
    report = analyse(str(done), here(two))
    assert [outcome.state for outcome in report.outcomes] == ["kept"] * 2
    now = [path for path in done.parent.rglob("*") if path.is_file()]
    changed = [
        str(path)
        for path in now
        if path not in before or path.stat().st_mtime_ns != before[path].st_mtime_ns
    ]
    # every run leaves a record of itself
    assert [p for p in changed if "/lock/" not in p and "/runs/" not in p] == []


@pytest.mark.parametrize(
    ("override", "redone"),
    [
        ("isl.threshold=0.4", ("isl-nuclei", "measure-isl_nuclei")),
        ("track.max_step=2", ("isl-nuclei", "measure-isl_nuclei")),
        ("measure.channels=[phase]", ("measure-isl_nuclei",)),
        ("calibration.pixel_size_um=0.66", ("measure-isl_nuclei",)),
        ("calibration.pixel_size_um=1.3", STEPS),
        ("isl.tile_px=96", STEPS),
        # of cells, of frames computed together, of fields larger than these, of where and how
        ("isl.h=0.3", ()),
        ("isl.batch=1", ()),
        ("isl.halo_px=32", ()),
        ("run.span_frames=1", ()),
    ],
)
def test_a_changed_setting_runs_what_depends_on_it(done, two, override, redone):
    report = analyse(str(done), here(two, override, "isl.precision=auto", "wells=[A/01]"))
    assert report.exit_code == 0
    assert steps(report) == [redone]


def test_weights_that_moved_run_nothing_again(done, two, tmp_path):
    moved = [Path(shutil.copy(file, tmp_path)) for file in two]
    assert steps(analyse(str(done), here(moved))) == [(), ()]


def test_a_new_network_runs_its_own_step_again_and_what_reads_it(done, two, tmp_path):
    new = write_weights(tmp_path / "new.safetensors", "stain", seed=1)
    before = labels(open_plate(done))
    report = analyse(str(done), here([new, two[1]], "wells=[A/01]"))
    assert steps(report) == [("isl-stain", "measure-isl_nuclei")]
    assert (labels(open_plate(done)) == before).all()


def test_a_stain_that_is_not_in_this_run_is_no_stain_that_changed(done, two):
    _, nuclei = two
    (well,) = make_plan(open_plate(done), here([nuclei], "wells=[A/01]")).wells
    (status,) = well.todo
    assert status.step.name == "measure-isl_nuclei"
    assert status.why == "isl-stain is not predicted in this run"


def test_networks_never_run_ssl_again(analysed_plate, two, tmp_path):
    before = results_of(analysed_plate)
    both = "methods=[ssl, isl]"
    first = analyse(str(analysed_plate), here(two, both, "wells=[A/01]"))
    assert steps(first) == [STEPS]
    new = write_weights(tmp_path / "new.safetensors", "nuclei", seed=1)
    second = analyse(str(analysed_plate), here([two[0], new], both, "wells=[A/01]"))
    assert steps(second) == [("isl-nuclei", "measure-isl_nuclei")]
    after = results_of(analysed_plate)
    ssl = {k: v for k, v in before.items() if "ssl" in k and "plate/tables" not in k}
    assert ssl.items() <= after.items()


def test_a_run_of_one_method_leaves_the_tables_of_another(analysed_plate, two):
    assert analyse(str(analysed_plate), here(two, "methods=[ssl, isl]")).exit_code == 0
    before = results_of(analysed_plate)
    labels_told = {"ssl_cells", "isl_nuclei"}
    assert set(open_plate(analysed_plate).table("well_frames")["label_image"]) == labels_told
    for override in ("methods=[isl]", "methods=[ssl]"):
        files = two if "isl" in override else []
        assert analyse(str(analysed_plate), here(files, override)).exit_code == 0
        assert results_of(analysed_plate) == before
    analyse(str(analysed_plate), here([], "methods=[ssl]", "wells=[A/01]", "track.max_step=2"))
    plate = open_plate(analysed_plate)
    assert set(plate.table("well_frames")["label_image"]) == labels_told
    assert plate.table("wells")["n_objects_last-isl_nuclei"].notna().all()
    assert "../tiny_isl-stain.zarr/" in parts_of_crate(analysed_plate)


def test_objects_whose_segmentation_is_gone_are_not_in_the_tables_of_the_plate(fresh, two):
    analyse(str(fresh), here(two, "methods=[ssl, isl]"))
    for well in WELLS:
        (fresh.with_suffix(".hcs") / well / "isl-nuclei.json").unlink()
        analyse(str(fresh), here([], "methods=[ssl]"))
        plate = open_plate(fresh)
        frames = plate.table("well_frames")
        left = set(frames.loc[frames["label_image"] == "isl_nuclei", "well"])
        assert left == ({"B01"} if well == "A/01" else set())
        assert ("n_objects_last-isl_nuclei" in plate.table("wells")) == bool(left)


def test_objects_of_other_pixels_are_not_in_the_tables_of_the_plate(fresh, two):
    analyse(str(fresh), here(two, "methods=[ssl, isl]"))
    field = FieldPath(A01, "0")
    pixels = np.stack([WELLS["B/01"], WELLS["B/01"] // 2], axis=1)[:, :, None]
    write_frames(open_plate(fresh), field, 0, pixels)
    analyse(str(fresh), here([], "methods=[ssl]"))
    frames = open_plate(fresh).table("well_frames")
    assert set(frames.loc[frames["label_image"] == "isl_nuclei", "well"]) == {"B01"}


@pytest.mark.parametrize("step", STEPS)
def test_a_lost_marker_leads_back_to_the_same_bytes(done, two, step):
    before = results_of(done)
    (done.with_suffix(".hcs") / "A/01" / f"{step}.json").unlink()
    assert analyse(str(done), here(two)).exit_code == 0
    assert results_of(done) == before


def test_wells_that_were_not_selected_have_empty_images_until_they_are(fresh, done, two):
    analyse(str(fresh), here(two, "wells=[A/01]"))
    plate = open_plate(fresh)
    assert plate.sister("isl-stain").attributes(str(OTHER))["state"] == "pending"
    assert not stains(plate, OTHER).any()
    assert plate.table("wells")["state"].tolist() == ["done", "pending"]
    assert analyse(str(fresh), here(two)).exit_code == 0
    assert results_of(fresh) == results_of(done)


def test_a_run_of_stains_alone_knows_which_wells_are_done(fresh, weights):
    analyse(str(fresh), here([weights["stain"]], "wells=[A/01]"))
    assert open_plate(fresh).table("wells")["state"].tolist() == ["done", "pending"]
    report = analyse(str(fresh), here([weights["stain"]], "wells=[B/01]"))
    assert open_plate(fresh).table("wells")["state"].tolist() == ["earlier", "done"]
    assert str(fresh.with_name("tiny_isl-stain.zarr")) in report.outputs


def test_leftovers_of_a_killed_writer_are_swept(done, two):
    partial = done.with_name("tiny_isl-stain.zarr") / "A/01/0/0/0/.0.1234.partial"
    partial.write_bytes(b"half")
    analyse(str(done), here(two))
    assert not partial.exists()


# frames that cannot be asked about


def test_a_blank_frame_has_no_prediction_and_no_objects(tmp_path, two):
    pixels = WELLS["A/01"].copy()
    pixels[1] = 400
    make_plate(tmp_path / "tiny.zarr", {"A/01": pixels})
    report = analyse(str(tmp_path / "tiny.zarr"), here(two))
    assert report.exit_code == 0
    told = "field A/01/0: nothing is predicted for blank frames 1"
    assert set(report.warnings) == {f"A/01: {told}"}
    plate = open_plate(tmp_path / "tiny.zarr")
    assert [frame.any() for frame in stains(plate)] == [True, False, True]
    assert [frame.any() for frame in labels(plate)] == [True, False, True]
    frames = plate.table("well_frames")
    assert frames["qc_pass"].tolist() == [True, False, True]
    assert frames["qc_reason"][1].startswith("blank or missing")
    assert frames["n_objects"].isna().tolist() == [False, True, False]


@pytest.mark.parametrize("name", [("phase",), ("TL 4x",)])
def test_a_plate_of_single_frames_without_a_label_free_name_is_enough(tmp_path, two, name):
    """No second frame, no time axis, no channel that SSL would choose."""
    url = tmp_path / "still.zarr"
    plate = create_plate(url, PlateLayout("still", "0.4", ("A",), ("01",), (A01,)))
    channels = (Channel("C0"), Channel("C1"))
    create_field_image(plate, FIELD, ImageSpec(("c", "y", "x"), (2, 128, 128), "uint16", channels))
    frame = WELLS["A/01"][0]
    write_frames(plate, FIELD, 0, np.stack([frame, frame[::-1]])[None, :, None])
    report = analyse(str(url), here(two, "isl.channels={phase: C0}"))
    assert report.exit_code == 0
    assert labels(open_plate(url)).any()
    assert open_plate(url).sister("isl-stain").field_image(FIELD).axes == ("c", "y", "x")


def test_planes_are_those_that_the_network_names(tmp_path):
    url = tmp_path / "stack.zarr"
    plate = create_plate(url, PlateLayout("stack", "0.4", ("A",), ("01",), (A01,)))
    stack = np.stack([moving_cells(seed, 1)[0] for seed in range(3)])
    spec = ImageSpec(("z", "y", "x"), stack.shape, "uint16", (Channel("channel_0"),))
    create_field_image(plate, FIELD, spec)
    write_frames(plate, FIELD, 0, stack[None, None])
    inputs = (InputPlane(channel="channel_0", plane=2),)
    file = write_weights(tmp_path / "two.safetensors", "stain", inputs=inputs)
    assert analyse(str(url), here([file])).exit_code == 0
    (predicted,) = stains(open_plate(url))
    assert np.corrcoef(predicted.ravel(), stack[2].ravel())[0, 1] > 0.5
    assert abs(np.corrcoef(predicted.ravel(), stack[0].ravel())[0, 1]) < 0.5
    image = open_plate(url).sister("isl-stain").field_image(FIELD)
    assert (image.axes, image.length("z")) == (("c", "z", "y", "x"), 1)


# bad input


def test_one_bad_well_never_stops_the_others(fresh, done, two):
    chunk = next((fresh / "A/01/0/0").glob("1/0/0/0/0"))
    content = chunk.read_bytes()
    chunk.write_bytes(content[: len(content) // 2])
    report = analyse(str(fresh), here(two))
    assert report.exit_code == 2
    assert report.done == (B01,)
    assert "field A/01/0, channel 'phase', frame 1" in messages(report)[0]
    plate = open_plate(fresh)
    assert plate.sister("isl-stain").attributes(str(FIELD))["state"] == "failed"
    assert plate.attributes(f"{FIELD}/labels/isl_nuclei")["state"] == "failed"
    assert not stains(plate).any()
    chunk.write_bytes(content)
    assert analyse(str(fresh), here(two)).exit_code == 0
    assert results_of(fresh) == results_of(done)


def test_a_well_that_fails_later_keeps_nothing_of_earlier_settings(done, two):
    chunk = next((done / "A/01/0/0").glob("1/0/0/0/0"))
    content = chunk.read_bytes()
    chunk.write_bytes(content[:-3] + b"xyz")
    report = analyse(str(done), here(two, "isl.uncertainty=flips"))
    assert report.done == (B01,)
    plate = open_plate(done)
    assert plate.sister("isl-stain").attributes(str(FIELD))["state"] == "failed"
    assert read_marker(plate, A01, "isl-stain") is None


def test_a_frame_that_is_not_finite_fails_its_well_by_name(tmp_path, weights):
    url = tmp_path / "odd.zarr"
    plate = create_plate(url, PlateLayout("odd", "0.4", ("A",), ("01",), (A01,)))
    frame = WELLS["A/01"][:1].astype(np.float32)
    frame[0, 3, 4] = np.nan
    spec = ImageSpec(("t", "y", "x"), frame.shape, "float32", (Channel("channel_0"),))
    create_field_image(plate, FIELD, spec)
    write_frames(plate, FIELD, 0, frame[:, None, None])
    settings = here([weights["stain"]], "isl.channels={phase: channel_0}")
    (message,) = messages(analyse(str(url), settings))
    assert message == "field A/01/0, frame 0: input plane 0 has 1 pixels that are not finite"


def test_a_channel_that_the_plate_lacks_is_said_with_those_that_are_there(fresh, tmp_path):
    inputs = (InputPlane(channel="phase"), InputPlane(channel="BF"))
    file = write_weights(tmp_path / "one.safetensors", "stain", inputs=inputs[:1])
    card = {"inputs": (InputPlane(channel="BF"),)}
    other = write_weights(tmp_path / "two.safetensors", "nuclei", **card)
    with pytest.raises(MissingError, match="lacks channels: network nuclei takes 'BF'") as caught:
        analyse(str(fresh), here([file, other]))
    assert "it has 'phase', 'nuclei'" in caught.value.hint
    assert "isl.channels={BF: phase}" in caught.value.hint
    renamed = here([file], "isl.channels={phase: TL}")
    with pytest.raises(MissingError, match="lacks channels: network stain takes 'TL'") as caught:
        analyse(str(fresh), renamed)
    assert "isl.channels={phase: phase}" in caught.value.hint
    assert sisters_of(fresh) == []


def test_a_plane_that_the_plate_lacks_fails_its_wells(fresh, tmp_path):
    inputs = (InputPlane(channel="phase", plane=3),)
    file = write_weights(tmp_path / "deep.safetensors", "stain", inputs=inputs)
    report = analyse(str(fresh), here([file]))
    assert report.exit_code == 1
    assert messages(report)[0] == "network stain takes plane 3, field A/01/0 has 1, from 0"


def test_another_pixel_size_is_refused_where_it_is_to_be(fresh, two):
    settings = here(two, "isl.pixel_size=refuse", "calibration.pixel_size_um=1.3")
    report = analyse(str(fresh), settings)
    assert "was trained at 0.65 um per pixel, the plate has 1.3" in messages(report)[0]


def test_another_pixel_size_is_rescaled_onto_the_same_pixels(fresh, two):
    report = analyse(str(fresh), here(two, "calibration.pixel_size_um=1.3", "wells=[A/01]"))
    assert report.exit_code == 0
    assert stains(open_plate(fresh)).shape == (N_FRAMES, 128, 128)


def test_a_name_that_no_network_takes_is_said(fresh, two):
    with pytest.raises(SettingsError, match="renames 'BF', and the networks take 'phase'"):
        analyse(str(fresh), here(two, "isl.channels={BF: phase}"))


def test_isl_without_weights_and_weights_without_isl_are_said(fresh, two):
    with pytest.raises(SettingsError, match=r"isl needs trained networks") as caught:
        analyse(str(fresh), here([]))
    assert "--weights" in caught.value.hint
    with pytest.raises(SettingsError, match=r"names 2, and isl is not among the methods"):
        analyse(str(fresh), here(two, "methods=[ssl]"))


def test_networks_that_would_write_the_same_are_said(fresh, two, tmp_path):
    other = write_weights(tmp_path / "other.safetensors", "nuclei", "other")
    with pytest.raises(SettingsError, match="2 networks fill isl_nuclei"):
        analyse(str(fresh), here([*two, other]))
    again = Path(shutil.copy(two[0], tmp_path))
    with pytest.raises(SettingsError, match="2 networks are called stain"):
        analyse(str(fresh), here([two[0], again]))
    twice = write_weights(tmp_path / "twice.safetensors", "stain", "twice")
    with pytest.raises(SettingsError, match="2 networks predict dna"):
        analyse(str(fresh), here([*two, twice]))


def test_weights_that_are_a_url_are_to_be_copied_first(fresh):
    with pytest.raises(WeightsError, match="s3://b/w is a URL") as caught:
        analyse(str(fresh), here(["s3://b/w"]))
    assert "copy it first" in caught.value.hint


def test_weights_that_are_not_there_or_damaged_are_said_before_anything_begins(
    fresh, two, tmp_path
):
    before = results_of(fresh)
    with pytest.raises(WeightsError, match=r"cannot read .*lost\.safetensors: No such file"):
        analyse(str(fresh), here([tmp_path / "lost.safetensors"]))
    damaged = Path(shutil.copy(two[0], tmp_path))
    damaged.write_bytes(damaged.read_bytes()[:100])
    with pytest.raises(WeightsError, match=r"stain\.safetensors"):
        analyse(str(fresh), here([damaged]))
    assert results_of(fresh) == before


def test_weights_that_change_during_the_run_are_not_used(fresh, tmp_path):
    file = write_weights(tmp_path / "n.safetensors", "nuclei")
    heard = []

    def swap(outcome, through, wells):
        heard.append(outcome)
        if len(heard) == 1:
            from hcs.isl import predict

            predict._loaded.cache_clear()
            write_weights(file, "nuclei", seed=1)

    report = analyse(str(fresh), here([file], "run.wells_in_flight=1"), on_outcome=swap)
    assert report.done == (A01,)
    assert report.failed[0].failure.cause == "network weights"
    again = analyse(str(fresh), here([file]))
    assert steps(again) == [("isl-nuclei", "measure-isl_nuclei")] * 2


def test_a_plate_of_that_name_that_is_no_stain_plate_is_left_alone(fresh, two):
    make_plate(fresh.with_name("tiny_isl-stain.zarr"), {"A/01": WELLS["A/01"]})
    with pytest.raises(WriteError, match="is not what step isl-stain makes of this plate"):
        analyse(str(fresh), here(two))


# where networks run


def test_a_gpu_that_no_worker_offers_is_said_before_anything_begins(fresh, two, monkeypatch):
    monkeypatch.setattr("hcs.isl.device.count_gpus", lambda: 0)
    with pytest.raises(WorkerError, match="device is gpu, and no worker offers a GPU") as caught:
        analyse(str(fresh), here(two, "run.device=gpu"))
    assert "--resources GPU=1" in caught.value.hint
    assert not list(fresh.with_suffix(".hcs").glob("attempts/**/*.json"))


def test_any_device_is_a_processor_where_there_is_no_gpu(fresh, done, two, monkeypatch):
    monkeypatch.setattr("hcs.isl.device.count_gpus", lambda: 0)
    assert analyse(str(fresh), here(two, "run.device=any")).exit_code == 0
    assert results_of(fresh) == results_of(done)


def test_a_run_without_networks_never_loads_torch(tmp_path):
    make_plate(tmp_path / "tiny.zarr", {"A/01": WELLS["A/01"]})
    code = (
        "import sys; from hcs.cli.main import main\n"
        "try: main(sys.argv[1:])\n"
        "except SystemExit as end: assert not end.code, end.code\n"
        "loaded = {'torch', 'segmentation_models_pytorch', 'safetensors', 'openvino'}\n"
        "assert not loaded & set(sys.modules), loaded & set(sys.modules)\n"
    )
    flags = ["--monitor", "none", "--dask", "none", "--workers", "1", "--device", "any"]
    command = [sys.executable, "-c", code, "run", str(tmp_path / "tiny.zarr"), *flags]
    subprocess.run(command, check=True, env=os.environ | {"DO_NOT_TRACK": "1"})
    assert open_plate(tmp_path / "tiny.zarr").table("wells")["state"].tolist() == ["done"]


def test_a_plan_with_networks_never_loads_torch(tmp_path, two):
    make_plate(tmp_path / "tiny.zarr", {"A/01": WELLS["A/01"]})
    code = (
        "import sys; from hcs.cli.main import main\n"
        "try: main(sys.argv[1:])\n"
        "except SystemExit as end: assert not end.code, end.code\n"
        "assert 'torch' not in sys.modules\n"
    )
    flags = ["--method", "isl", "--weights", str(two[0]), "--weights", str(two[1])]
    command = [sys.executable, "-c", code, "plan", str(tmp_path / "tiny.zarr"), *flags]
    told = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    assert "isl-stain" in told
    assert "channel" not in told.splitlines()[0]


def test_a_frame_is_read_while_the_one_before_is_computed(monkeypatch):
    read = [threading.Event() for _ in range(2)]

    def note(source, field, index, network):
        read[index].set()
        return np.zeros((1, 32, 32), np.float32)

    class OneByOne:
        @staticmethod
        def predict(images):
            for index, _ in enumerate(images):
                assert read[min(index + 1, 1)].wait(60)
                yield index

    monkeypatch.setattr("hcs.run.networks._input", note)
    monkeypatch.setattr("hcs.run.networks._share_chunks", lambda source, spans: False)
    monkeypatch.setattr("hcs.isl.predict.loaded", lambda *file: SimpleNamespace(predictor=OneByOne))
    model = SimpleNamespace(path="x", digest="y")
    network = networks.Network(model, IslSettings(batch=1), "cpu")
    span = SimpleNamespace(field=FIELD, frames=range(2))
    frames = list(networks._predicted(None, [span], network))
    assert [(frame.index, frame.prediction) for frame in frames] == [(0, 0), (1, 1)]


# every kind of plate


def test_chunks_of_several_frames_never_change_a_result(tmp_path, done, two):
    url = tmp_path / "new.zarr"
    make_plate(url, {"A/01": WELLS["A/01"]})
    array = url / "A/01/0/0"
    rechunk(array, (3, *zarr.open_array(str(array), mode="r").shape[1:]))
    assert analyse(str(url), here(two)).exit_code == 0
    assert (stains(open_plate(url)) == stains(open_plate(done))).all()


@pytest.mark.parametrize("storage", ["chunked", "sharded"])
def test_the_format_of_the_plate_never_changes_a_result(tmp_path, done, two, storage):
    url = tmp_path / "new.zarr"
    make_plate(url, {"A/01": WELLS["A/01"]}, version="0.5", storage=storage)
    assert analyse(str(url), here(two, "run.span_frames=2")).exit_code == 0
    new, old = open_plate(url), open_plate(done)
    assert new.sister("isl-stain").layout.version == "0.5"
    assert (stains(new) == stains(old)).all()
    assert (labels(new) == labels(old)).all()


@pytest.mark.integration
def test_a_plate_on_s3_is_analysed_there(s3_bucket, done, two):
    url = f"{s3_bucket}/isl/tiny.zarr"
    make_plate(url, {"A/01": WELLS["A/01"]})
    assert analyse(url, here(two)).exit_code == 0
    assert analyse(url, here(two)).outcomes[0].state == "kept"
    assert (stains(open_plate(url)) == stains(open_plate(done))).all()
