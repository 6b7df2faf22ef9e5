import numpy as np
import pandas as pd
import pytest

from hcs.errors import FramesError, MissingError, PlateError
from hcs.plate.create import (
    ImageSpec,
    create_empty_label_image,
    create_field_image,
    create_label_image,
    create_plate,
)
from hcs.plate.metadata import Channel, PlateLayout
from hcs.plate.open import open_plate
from hcs.plate.path import FieldPath, WellPath
from hcs.plate.table import write_table
from hcs.run.truth import open_truth, read_mask, true_label_image

S1, S2 = FieldPath.parse("A/01/0"), FieldPath.parse("A/02/0")


@pytest.fixture
def truth(sequence_plate, tmp_path):
    return open_truth(str(tmp_path / "set"), sequence_plate, "ssl_cells")


def test_masks_belong_to_frames_by_the_source_number(truth, write_mask, draw):
    write_mask("s1/masks/gold_full/man_seg021.tif", draw((7, 2, 2, 5)))
    write_mask("s1/masks/gold_full/man_seg099.tif", draw((7, 2, 2, 5)))
    assert truth.coverage(S1) == {1: "full"}
    assert truth.coverage(S2) == {}
    assert np.array_equal(truth.labels(S1, 1), draw((7, 2, 2, 5)))


def test_partial_truth_is_told_from_complete_and_the_rest_is_none(truth, write_mask, draw):
    for kind in ("gold_partial", "silver", "tra_markers", "mrcnn_pseudo_NOT_TRUTH"):
        write_mask(f"s1/masks/{kind}/man_seg022.tif", draw((1, 2, 2, 5)))
    write_mask("s1/masks/gold_full/man_seg020.tif", draw((1, 2, 2, 5)))
    assert truth.coverage(S1) == {0: "full", 2: "partial"}


def test_silver_alone_is_no_truth(truth, write_mask, draw):
    write_mask("s2/masks/silver/man_seg005.tif", draw((1, 2, 2, 5)))
    assert truth.coverage(S2) == {}


def test_manual_masks_are_complete(truth, write_mask, draw):
    write_mask("s2/masks/manual/t06.tif", draw((1, 2, 2, 5)))
    assert truth.coverage(S2) == {1: "full"}


def test_a_folder_of_one_sequence_serves_that_sequence_alone(
    sequence_plate, write_mask, draw, tmp_path
):
    write_mask("s2/masks/gold_full/man_seg005.tif", draw((1, 2, 2, 5)))
    truth = open_truth(str(tmp_path / "set/s2"), sequence_plate, "ssl_cells")
    assert truth.coverage(S1) == {}
    assert truth.coverage(S2) == {0: "full"}


def test_masks_that_lie_loose_serve_a_plate_of_one_field_alone(tmp_path, write_mask, draw):
    loose = write_mask("masks/t000.tif", draw((7, 2, 2, 5))).parent
    well = WellPath.parse("A/01")
    plate = create_plate(tmp_path / "p.zarr", PlateLayout("p", "0.4", ("A",), ("01",), (well,)))
    spec = ImageSpec(("t", "c", "y", "x"), (1, 1, 24, 32), "uint16", (Channel("phase"),))
    for name, found in (("0", {0: "full"}), ("1", {})):
        create_field_image(plate, FieldPath(well, name), spec)
        opened = open_plate(plate.storage.url)
        assert open_truth(str(loose), opened, "ssl_cells").coverage(S1) == found


@pytest.mark.parametrize("kind", ["silver", "tra_markers", "made_by_net_NOT_TRUTH"])
def test_masks_made_by_programs_are_refused_as_outlines(sequence_plate, write_mask, draw, kind):
    folder = write_mask(f"s1/masks/{kind}/man_seg020.tif", draw((1, 2, 2, 5))).parent
    with pytest.raises(PlateError, match=f"{kind} is no truth for outlines"):
        open_truth(str(folder), sequence_plate, "ssl_cells").coverage(S1)


@pytest.mark.parametrize(("kind", "coverage"), [("gold_full", "full"), ("gold_partial", "partial")])
def test_one_kind_of_masks_can_be_asked_for(sequence_plate, write_mask, draw, kind, coverage):
    folder = write_mask(f"s1/masks/{kind}/man_seg020.tif", draw((1, 2, 2, 5))).parent
    truth = open_truth(str(folder), sequence_plate, "ssl_cells")
    assert truth.coverage(S1) == {0: coverage}
    assert truth.coverage(S2) == {}


def test_two_masks_of_one_frame_are_refused(truth, write_mask, draw):
    write_mask("s1/masks/gold_full/man_seg020.tif", draw())
    write_mask("s1/masks/gold_full/t20.tif", draw())
    with pytest.raises(
        PlateError, match=r"two masks of frame 20: .*man_seg020\.tif and .*t20\.tif"
    ):
        truth.coverage(S1)


def test_markers_tell_of_tracks(truth, write_mask, draw):
    for time in (20, 21, 22):
        path = write_mask(f"s1/masks/tra_markers/man_track{time:03d}.tif", draw((3, 2, 2, 5)))
    path.with_name("man_track.txt").write_text("3 20 22 0\n4 22 22 3\n")
    tracks = truth.tracks(S1)
    assert tracks is not None
    assert (tracks.frames, dict(tracks.parents)) == ((0, 1, 2), {3: 0, 4: 3})
    assert np.array_equal(truth.markers(S1, 2), draw((3, 2, 2, 5)))
    assert truth.tracks(S2) is None
    with pytest.raises(MissingError, match="no markers of A/02/0"):
        truth.markers(S2, 0)


def test_no_truth_at_all_is_said(sequence_plate, tmp_path):
    with pytest.raises(MissingError, match=r"no truth at .*nowhere"):
        open_truth(str(tmp_path / "nowhere"), sequence_plate, "ssl_cells")


def test_a_truth_plate_answers_with_the_label_image_that_fits(sequence_plate, put, draw):
    put(sequence_plate, "A/01/0", [draw((1, 2, 2, 5))] * 3, "cells")
    put(sequence_plate, "A/01/0", [draw((2, 2, 2, 5))] * 3, "nuclei")
    truth = open_truth(sequence_plate.storage.url, sequence_plate, "ssl_cells")
    assert truth.coverage(S1) == {0: "full", 1: "full", 2: "full"}
    assert truth.labels(S1, 0).max() == 1
    assert truth.tracks(S1) is None
    tracks = pd.DataFrame({"label": [1, 4], "parent_label": [0, 1]})
    write_table(sequence_plate, S1, "tracks", tracks, "generic_table")
    known = truth.tracks(S1)
    assert known is not None
    assert (known.frames, dict(known.parents)) == ((0, 1, 2), {1: 0, 4: 1})
    assert np.array_equal(truth.markers(S1, 1), draw((1, 2, 2, 5)))
    for label, largest in (("isl_cells", 1), ("isl_nuclei", 2)):
        own = open_truth(sequence_plate.storage.url, sequence_plate, label)
        assert own.labels(S1, 0).max() == largest
    other = open_truth(sequence_plate.storage.url, sequence_plate, "something")
    with pytest.raises(MissingError, match=r"no label image for 'something' .*cells, nuclei"):
        other.labels(S1, 0)


def test_what_a_run_wrote_into_a_truth_plate_is_not_the_truth(sequence_plate, draw):
    plate = sequence_plate
    written = {"cells": {"simulated": "easy"}, "nuclei": {}, "ssl_cells": {"step": "ssl"}}
    for name, provenance in written.items():
        create_label_image(plate, S1, name, provenance)
    assert true_label_image(plate, S1, "ssl_cells") == "cells"
    assert true_label_image(plate, S1, "isl_nuclei") == "nuclei"
    create_label_image(plate, S2, "cells", {})
    create_empty_label_image(plate, S2, "ssl_cells", "failed")
    assert true_label_image(plate, S2, "ssl_cells") == "cells"


def test_the_results_of_two_runs_may_be_compared(sequence_plate):
    for name in ("ssl_cells", "isl_nuclei"):
        create_label_image(sequence_plate, S1, name, {"step": "any"})
    assert true_label_image(sequence_plate, S1, "ssl_cells") == "ssl_cells"


def test_label_images_that_fit_equally_well_are_named(sequence_plate):
    for name in ("cells", "nuclei", "l_cells"):
        create_label_image(sequence_plate, S1, name, {})
    with pytest.raises(
        MissingError, match=r"several label images that fit 'ssl_cells' .*01/0 has cells, l_cells\)"
    ):
        true_label_image(sequence_plate, S1, "ssl_cells")


@pytest.mark.parametrize(
    ("mask", "words"),
    [
        (np.full((8, 8), 0.5, np.float32), "negative numbers or fractions"),
        (np.full((8, 8), -1, np.int16), "negative numbers or fractions"),
        (np.zeros((2, 8, 8), np.uint8), "a mask is one plane, this has 2 pages"),
    ],
)
def test_masks_hold_labels(write_mask, mask, words):
    with pytest.raises(FramesError, match=words):
        read_mask(write_mask("mask.tif", mask))


def test_a_truth_is_called_by_its_plate_or_folder(sequence_plate, write_mask, draw, tmp_path):
    write_mask("s1/masks/manual/t020.tif", draw())
    names = {
        "set.zarr": "set",
        "set": "set",
        "set/s1": "s1",
        "set/s1/masks": "s1-masks",
        "set/s1/masks/manual": "s1-masks-manual",
    }
    for where, name in names.items():
        assert open_truth(str(tmp_path / where), sequence_plate, "ssl_cells").name == name
