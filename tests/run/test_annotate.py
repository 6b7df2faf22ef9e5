import json

import numpy as np
import pytest
import tifffile

from hcs.errors import MissingError, TrainingError
from hcs.plate.path import FieldPath
from hcs.run.annotate import check_annotations, labels_digest, read_annotations, read_labels
from hcs.run.annotation_index import AnnotationIndex, IndexedFrame, write_index

FIELD = FieldPath.parse("B/02/0")


@pytest.fixture
def folder(tmp_path, draw):
    """Two annotated frames as they are proposed: one square each."""
    frames = []
    for k in range(2):
        image, labels = f"B02_0/images/t00{k}.tif", f"B02_0/masks/manual/t00{k}.tif"
        for name, pixels in ((image, draw().astype(np.uint16)), (labels, draw((1, 2, 2, 5)))):
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            tifffile.imwrite(tmp_path / name, pixels)
        proposal = labels_digest(draw((1, 2, 2, 5)))
        frames.append(
            IndexedFrame(
                field=str(FIELD),
                frame=k,
                image=image,
                labels=labels,
                shape=(24, 32),
                pixel_size_um=0.65,
                proposal=proposal,
            )
        )
    index = AnnotationIndex(
        plate="demo", kind="nuclei", stain="DAPI", segmenter="threshold", frames=tuple(frames)
    )
    write_index(tmp_path, index)
    return tmp_path


@pytest.fixture
def correct(folder):
    """Replace the label image of a frame, as a tool that corrects it does."""

    def write(labels, frame=0):
        tifffile.imwrite(folder / f"B02_0/masks/manual/t00{frame}.tif", labels)

    return write


def test_annotations_are_what_was_written(folder, draw):
    first, second = read_annotations(folder)
    assert (first.plate, first.kind, first.field, first.frame) == ("demo", "nuclei", FIELD, 0)
    assert (second.frame, second.shape, second.pixel_size_um) == (1, (24, 32), 0.65)
    assert np.array_equal(read_labels(first), draw((1, 2, 2, 5)))


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "int64", "float32"])
def test_labels_are_taken_as_any_tool_writes_whole_numbers(folder, correct, draw, dtype):
    correct(draw((3, 2, 2, 5)).astype(dtype))
    labels = read_labels(read_annotations(folder)[0])
    assert labels.dtype == np.uint32
    assert np.array_equal(labels, draw((3, 2, 2, 5)))


def test_an_object_more_is_a_correction_and_another_pixel_type_is_none(folder, correct, draw):
    correct(draw((1, 2, 2, 5)).astype(np.uint8), frame=0)
    correct(draw((1, 2, 2, 5), (2, 12, 12, 4)), frame=1)
    told = [(one.state, one.n_objects) for one in check_annotations(folder)]
    assert told == [("as proposed", 1), ("corrected", 2)]


def test_an_object_in_pieces_is_a_warning_that_names_it(folder, correct, draw):
    correct(draw((1, 2, 2, 5), (4, 12, 12, 4), (4, 18, 18, 4), (4, 12, 18, 4)))
    first, second = check_annotations(folder)
    assert first.warnings == ("objects in several pieces: 4",)
    assert second.warnings == ()


@pytest.mark.parametrize(
    ("labels", "words"),
    [
        (np.zeros((24, 32), np.uint16), "annotated image with no objects"),
        (np.ones((24, 30), np.uint16), r"its shape is \(24, 30\), the image's is \(24, 32\)"),
        (np.ones((24, 32, 3), np.uint8), r"its shape is \(24, 32, 3\)"),
        (np.full((24, 32), 0.5, np.float32), "negative numbers or fractions"),
        (np.full((24, 32), np.nan, np.float32), "negative numbers or fractions"),
        (np.full((24, 32), -1, np.int16), "negative numbers or fractions"),
        (np.ones((2, 24, 32), np.uint16), "a mask is one plane, this has 2 pages"),
    ],
)
def test_a_label_file_that_cannot_be_used_is_named(folder, correct, labels, words):
    correct(labels)
    with pytest.raises(TrainingError, match=rf"1 problem: .*t000\.tif: .*{words}"):
        read_annotations(folder)


def test_all_problems_come_in_one_message(folder, correct, draw):
    correct(draw(), frame=0)
    (folder / "B02_0/masks/manual/t001.tif").unlink()
    (folder / "B02_0/images/t001.tif").unlink()
    with pytest.raises(TrainingError, match="3 problems") as caught:
        read_annotations(folder)
    assert "manual/t000.tif: annotated image with no objects" in caught.value.message
    assert "manual/t001.tif: no such file" in caught.value.message
    assert "images/t001.tif: no such file" in caught.value.message
    assert "take their entries out of annotations.json" in caught.value.hint


def test_a_file_that_is_no_tiff_is_named(folder):
    (folder / "B02_0/masks/manual/t000.tif").write_text("no picture")
    with pytest.raises(TrainingError, match=r"t000\.tif: not a TIFF file"):
        read_annotations(folder)


def test_a_folder_without_an_index_says_how_to_make_one(tmp_path):
    with pytest.raises(MissingError, match=r"no annotations in .*hcs annotate make"):
        read_annotations(tmp_path)


def test_a_damaged_index_is_told_part_by_part(folder):
    index = json.loads((folder / "annotations.json").read_text())
    index["frames"][1]["shape"] = [24]
    index["kind"] = "mice"
    (folder / "annotations.json").write_text(json.dumps(index))
    with pytest.raises(TrainingError, match=r"annotations\.json is damaged: kind: .*frames\.1\."):
        read_annotations(folder)
