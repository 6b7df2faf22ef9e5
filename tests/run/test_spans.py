"""Spans: any cut reads the same pairs; objects of a frame are described as drawn."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hcs.errors import FramesError
from hcs.plate.path import FieldPath
from hcs.run import spans
from hcs.settings import CalibrationSettings
from tests.plates import make_plate

FIELD = FieldPath.parse("A/01/0")
N = 5


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    url = tmp_path_factory.mktemp("spans") / "numbers.zarr"
    frames = np.arange(N, dtype=np.uint16)[:, None, None] * np.ones((1, 64, 64), np.uint16)
    make_plate(url, {"A/01": frames})
    return spans.Source(str(url), CalibrationSettings(), "phase", 0, token=1)


@given(n_frames=st.integers(1, 40), longest=st.integers(1, 50))
def test_spans_are_a_partition_of_the_field(n_frames, longest):
    pieces = spans.cut(FIELD, n_frames, longest)
    assert [i for piece in pieces for i in piece.frames] == list(range(n_frames))
    assert max(len(piece.frames) for piece in pieces) <= longest


@pytest.mark.parametrize("longest", range(1, N + 1))
def test_any_cut_sees_each_frame_once_against_the_one_before(source, longest):
    seen = [
        (index, int(frame[0, 0]), int(reference[0, 0]))
        for span in spans.cut(FIELD, N, longest)
        for index, frame, reference in spans._pairs(source, span)
    ]
    # the first frame has none before it: it is compared with the second
    assert seen == [(0, 0, 1), (1, 1, 0), (2, 2, 1), (3, 3, 2), (4, 4, 3)]


@pytest.mark.parametrize("longest", [1, 2, N])
def test_the_histogram_of_a_field_is_the_sum_over_its_spans(source, longest):
    pieces = spans.cut(FIELD, N, longest)
    total = spans.add_up(spans.count_grey_levels(source, span) for span in pieces)
    assert total[:N].tolist() == [64 * 64] * N
    assert total.sum() == N * 64 * 64


def test_objects_are_described_as_drawn():
    labels = np.zeros((6, 8), np.uint32)
    labels[1:3, 1:4], labels[4, 6] = 1, 2
    displacement = np.zeros((2, 6, 8), np.float32)
    displacement[0, 1:3, 1:4], displacement[1, 4, 6] = 3, -4
    table = spans.describe_objects(labels, 7, displacement)
    assert table[["time_index", "local_label", "area", "y", "x"]].to_numpy().tolist() == [
        [7, 1, 6, 1.5, 2],
        [7, 2, 1, 4, 6],
    ]
    moved = table[["displacement_y_pixel", "displacement_x_pixel", "displacement_pixel"]]
    assert moved.to_numpy().tolist() == [[3, 0, 3], [0, -4, 4]]


def test_a_frame_without_objects_has_no_rows():
    assert spans.describe_objects(np.zeros((4, 4), np.uint32), 0).empty


def test_an_error_that_names_its_field_is_left_as_it_is():
    with pytest.raises(FramesError, match=r"^field A/01/0 has 1 frame$"), spans.naming(FIELD):
        raise FramesError("field A/01/0 has 1 frame")
