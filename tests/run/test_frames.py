import pytest

from hcs.plate.commit import Marker
from hcs.plate.metadata import FieldImage
from hcs.run.frames import frames_from_json, frames_to_json, summarise_frames
from hcs.tables.schema import OBJECTS


def decision(source, *, model=None, blank=False):
    return {"source": source, "model": model, "blank": blank, "empty": False}


@pytest.fixture
def image(sequence_plate) -> FieldImage:
    """Three frames of a field."""
    well = sequence_plate.well(sequence_plate.layout.wells[0])
    return sequence_plate.field_image(well.fields[0])


def summary(image, decisions):
    record = {"decisions": {image.path.name: decisions}} if decisions else {}
    return summarise_frames(OBJECTS.empty(), image, Marker("ssl", "", {}, record))


def test_a_frame_says_whose_model_labelled_it(image):
    sources = ["own", "carried", "pooled"]
    frames = summary(image, [decision(source, model={}) for source in sources])
    assert frames["model"].tolist() == sources
    assert frames["qc_reason"].tolist() == [""] * 3


def test_a_frame_that_no_model_labelled_says_why(image):
    frames = summary(image, [decision("own"), decision("none", blank=True), decision("none")])
    # the paper's models are made in the last pass: here there is a source, but none yet
    assert frames["qc_reason"].iloc[0] == ""
    assert frames["qc_reason"].iloc[1].startswith("blank or missing: ")
    assert frames["qc_reason"].iloc[2].startswith("not separable: ")


def test_a_segmenter_that_decides_nothing_has_no_models(image):
    frames = summary(image, None)
    assert frames["model"].isna().all()
    assert (frames["qc_reason"] == "").all()


def test_what_a_marker_keeps_of_the_frames_is_all_of_them(image):
    frames = summary(image, [decision("own"), decision("none", blank=True), decision("carried")])
    kept = frames_from_json(frames_to_json(frames))
    assert kept[frames.columns.tolist()].equals(frames)


def test_markers_of_before_frames_named_their_model_can_be_read(image):
    columns = frames_to_json(summary(image, [decision("own")] * 3))
    del columns["model"]
    assert frames_from_json(columns)["model"].tolist() == [None] * 3
