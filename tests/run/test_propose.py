import importlib.metadata
from importlib.metadata import EntryPoint

import numpy as np
import pytest
import tifffile

from hcs.errors import FramesError, MissingError, SettingsError, WriteError
from hcs.ingest.ome_tiff import read_tiff_facts
from hcs.labels.from_stain import nuclei_from_stain
from hcs.labels.match import average_precision
from hcs.plate.create import ImageSpec, create_field_image, create_plate
from hcs.plate.metadata import Channel, PlateLayout
from hcs.plate.path import FieldPath, WellPath
from hcs.plate.write import write_frames
from hcs.run.annotate import check_annotations, read_annotations, read_labels
from hcs.run.evaluate import evaluate_plate
from hcs.run.imagej import write_labels
from hcs.run.propose import Recipe, make_annotations
from hcs.run.truth import open_truth
from tests.run.conftest import put_labels

FIELD, OTHER = FieldPath.parse("B/02/0"), FieldPath.parse("C/03/1")
NUCLEI = Recipe("DAPI", "nuclei")
SIDE, N_FRAMES, N_PLANES = 96, 3, 2
CENTRES = [(30, 30), (30, 64), (66, 48)]


def discs(radius, shift=0):
    y, x = np.indices((SIDE, SIDE))
    labels = np.zeros((SIDE, SIDE), np.uint32)
    for k, (cy, cx) in enumerate(CENTRES, 1):
        labels[np.hypot(y - cy, x - cx - shift) <= radius] = k
    return labels


def pixels():
    """Phase, and stained discs that move a pixel a frame, in the second plane only."""
    rng = np.random.default_rng(0)
    frames = rng.normal(300, 5, (N_FRAMES, 3, N_PLANES, SIDE, SIDE))
    for t in range(N_FRAMES):
        frames[t, 1, 1] += 2000 * (discs(9, t) > 0)
        frames[t, 2, 1] += 900 * (discs(15, t) > 0)
    return np.rint(frames).astype(np.uint16)


@pytest.fixture
def plate(tmp_path):
    wells = (FIELD.well, OTHER.well)
    plate = create_plate(
        tmp_path / "screen.zarr", PlateLayout("screen", "0.4", ("B", "C"), ("02", "03"), wells)
    )
    for field in (FIELD, OTHER):
        spec = ImageSpec(
            ("t", "c", "z", "y", "x"),
            pixels().shape,
            "uint16",
            tuple(map(Channel, ("phase", "DAPI", "CellMask"))),
            pixel_size_um=0.65,
            z_step_um=2.0,
            interval_s=600,
        )
        create_field_image(plate, field, spec)
        write_frames(plate, field, 0, pixels())
    return plate


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "annotated"


def test_proposals_are_read_back_as_they_were_made(plate, folder):
    made = make_annotations(plate, [(FIELD, 0), (OTHER, 2)], NUCLEI, folder)
    assert [one.n_objects for one in made] == [3, 3]
    assert [one.annotation for one in made] == list(read_annotations(folder))
    assert {one.state for one in check_annotations(folder)} == {"as proposed"}
    first, second = read_annotations(folder)
    assert (first.plate, first.kind, first.field, first.frame) == ("screen", "nuclei", FIELD, 0)
    assert average_precision(read_labels(first), discs(9), [0.75]).tolist() == [1.0]
    assert average_precision(read_labels(second), discs(9, 2), [0.75]).tolist() == [1.0]


def test_the_image_shows_every_channel_and_plane_with_its_pixel_size(plate, folder):
    (made,) = make_annotations(plate, [(FIELD, 1)], NUCLEI, folder)
    facts = read_tiff_facts(made.annotation.image)
    assert facts.page_axes == {"z": N_PLANES, "c": 3}
    assert facts.calibration.pixel_size_um == 0.65
    assert facts.calibration.z_step_um == 2
    shown = tifffile.imread(made.annotation.image)
    assert np.array_equal(shown, pixels()[1].swapaxes(0, 1))
    with tifffile.TiffFile(made.annotation.image) as file:
        assert file.imagej_metadata["Labels"][:3] == ["phase", "DAPI", "CellMask"]
    assert read_tiff_facts(made.annotation.labels).calibration.pixel_size_um == 0.65


def test_cells_are_told_apart_by_their_nuclei(plate, folder):
    recipe = Recipe("CellMask", "cells", nuclei_stain="DAPI")
    (made,) = make_annotations(plate, [(FIELD, 0)], recipe, folder)
    assert average_precision(read_labels(made.annotation), discs(15), [0.75]).tolist() == [1.0]
    (alone,) = make_annotations(plate, [(FIELD, 0)], Recipe("CellMask", "cells"), folder)
    assert alone.n_objects == 3


def test_a_folder_is_added_to_and_mere_proposals_are_made_anew(plate, folder):
    make_annotations(plate, [(OTHER, 0)], NUCLEI, folder)
    make_annotations(plate, [(FIELD, 1), (OTHER, 0), (FIELD, 1)], NUCLEI, folder)
    places = [(one.field, one.frame) for one in read_annotations(folder)]
    assert places == [(FIELD, 1), (OTHER, 0)]


def test_a_corrected_label_image_is_never_overwritten(plate, folder):
    made = make_annotations(plate, [(FIELD, 0), (FIELD, 1), (FIELD, 2)], NUCLEI, folder)
    corrected, broken = made[0].annotation.labels, made[1].annotation.labels
    tifffile.imwrite(corrected, discs(8).astype(np.uint8))
    broken.write_text("no picture")
    before = corrected.read_bytes()
    with pytest.raises(
        WriteError, match=r"no mere proposals: .*t000\.tif, .*t001\.tif \("
    ) as caught:
        make_annotations(plate, [(FIELD, 0), (FIELD, 1), (FIELD, 2)], NUCLEI, folder)
    assert "give another folder" in caught.value.hint
    assert corrected.read_bytes() == before
    make_annotations(plate, [(FIELD, 2), (OTHER, 0)], NUCLEI, folder)
    assert corrected.read_bytes() == before


def test_a_label_file_that_no_index_knows_is_not_overwritten(plate, folder):
    path = folder / "B02_0/masks/manual/t000.tif"
    path.parent.mkdir(parents=True)
    tifffile.imwrite(path, discs(9).astype(np.uint16))
    with pytest.raises(WriteError, match="would overwrite"):
        make_annotations(plate, [(FIELD, 0)], NUCLEI, folder)


def test_a_killed_run_is_gone_on_with(plate, folder, monkeypatch):
    class KilledError(Exception):
        pass

    def killed(*_):
        raise KilledError

    with monkeypatch.context() as patch:
        patch.setattr("hcs.run.propose.write_frame", killed)
        with pytest.raises(KilledError):
            make_annotations(plate, [(FIELD, 0)], NUCLEI, folder)
    make_annotations(plate, [(FIELD, 0)], NUCLEI, folder)
    assert len(read_annotations(folder)) == 1


def test_one_folder_holds_one_kind_of_one_stain(plate, folder):
    make_annotations(plate, [(FIELD, 0)], NUCLEI, folder)
    with pytest.raises(
        WriteError, match="annotations of nuclei in stain 'DAPI' of plate 'screen', not of cells"
    ):
        make_annotations(plate, [(OTHER, 0)], Recipe("CellMask", "cells"), folder)


def test_all_that_the_plate_lacks_is_told_at_once(plate, folder):
    gone = FieldPath(WellPath("B", "02"), "7")
    with pytest.raises(MissingError) as caught:
        make_annotations(plate, [(FIELD, 3), (gone, 0)], NUCLEI, folder)
    assert "field B/02/0 has no frame 3, but 3 from 0" in caught.value.message
    assert "well B/02 has no field 7" in caught.value.message
    with pytest.raises(MissingError, match="no channel 'GFP'"):
        make_annotations(plate, [(FIELD, 0)], Recipe("GFP", "nuclei"), folder)
    assert not folder.exists()


def test_a_corrected_folder_is_a_truth(plate, folder):
    for field in (FIELD, OTHER):
        put_labels(plate, str(field), [discs(9, t) for t in range(N_FRAMES)], "isl_nuclei")
    (made,) = make_annotations(plate, [(OTHER, 1)], NUCLEI, folder)
    tifffile.imwrite(made.annotation.labels, discs(9, 1).astype(np.uint16))
    scores = evaluate_plate(plate, open_truth(str(folder), plate, "isl_nuclei"), "isl_nuclei")
    (row,) = scores.frames.to_dict("records")
    assert (row["well"], row["frame"], row["truth"], row["ap"]) == ("C03", 1, "full", 1)


def test_annotations_are_no_truth_for_other_objects_or_another_plate(plate, folder, tmp_path):
    make_annotations(plate, [(FIELD, 0)], NUCLEI, folder)
    with pytest.raises(MissingError, match="annotated nuclei of plate 'screen': no truth for isl_"):
        open_truth(str(folder), plate, "isl_cells")
    other = create_plate(tmp_path / "other.zarr", plate.layout)
    with pytest.raises(MissingError, match="no truth for isl_nuclei of plate 'other'"):
        open_truth(str(folder), other, "isl_nuclei")


@pytest.fixture
def installed(monkeypatch):
    """Install segmenters of a user's own: one that thresholds, one that returns fractions."""
    functions = {
        "bright": lambda frames: 7 * (frames > 1000).astype(np.int64),
        "wrong": lambda frames: frames / 2,
    }
    points = [EntryPoint(name, f"mine:{name}", "hcs.segmenters") for name in functions]
    monkeypatch.setattr(EntryPoint, "load", lambda self: functions[self.name])
    monkeypatch.setattr(
        "hcs.run.segmenters.entry_points",
        lambda group: points if group == "hcs.segmenters" else importlib.metadata.EntryPoints(),
    )


@pytest.mark.usefixtures("installed")
def test_a_segmenter_of_ones_own_is_given_the_stain(plate, folder):
    recipe = Recipe("DAPI", "nuclei", segmenter="bright")
    (made,) = make_annotations(plate, [(FIELD, 0)], recipe, folder)
    assert np.array_equal(read_labels(made.annotation), (discs(9) > 0).astype(np.uint32))
    with pytest.raises(FramesError, match="segmenter 'wrong' returned float64"):
        make_annotations(plate, [(OTHER, 0)], Recipe("DAPI", "nuclei", None, "wrong"), folder)


def test_a_segmenter_that_is_not_installed_is_refused_before_anything_is_written(plate, folder):
    with pytest.raises(SettingsError, match="'cellpose' is not known"):
        make_annotations(plate, [(FIELD, 0)], Recipe("DAPI", "nuclei", None, "cellpose"), folder)
    assert not folder.exists()


def test_ids_beyond_16_bits_are_whole_in_the_file(plate, tmp_path):
    labels = np.array([[0, 70_012], [3, 0]], np.uint32)
    write_labels(tmp_path / "t0.tif", labels, plate.field_image(FIELD))
    assert np.array_equal(tifffile.imread(tmp_path / "t0.tif"), labels)


def test_the_brightest_plane_counts(plate, folder):
    (made,) = make_annotations(plate, [(FIELD, 0)], NUCLEI, folder)
    brightest = pixels()[0, 1].max(axis=0)
    assert np.array_equal(read_labels(made.annotation), nuclei_from_stain(brightest))
