"""Grey range of a field and the common 8-bit scale."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from hcs.errors import FramesError
from hcs.ssl.grey import N_KEYS, GreyRange, grey_range, histogram, to_grey
from hcs.ssl.settings import SslSettings

SETTINGS = SslSettings()
NO_CLIPPING = SslSettings(low_percentile=0, high_percentile=100)
finite = st.floats(width=32, allow_nan=False, allow_infinity=False)


@given(hnp.arrays(np.float32, (1, 2), elements=finite))
def test_keys_of_floats_keep_their_order(frame):
    first, second = (int(np.flatnonzero(histogram(frame[:, i : i + 1]))[0]) for i in (0, 1))
    if frame[0, 0] < frame[0, 1]:
        assert first <= second
    if frame[0, 0] == frame[0, 1]:
        assert first == second


@given(hnp.arrays(np.float32, (3, 3), elements=st.floats(-1e6, 1e6, width=32)))
def test_the_range_of_floats_covers_them_and_little_more(frame):
    counts = histogram(frame)
    if np.count_nonzero(counts) < 2:
        return
    found = grey_range(counts, frame.dtype, NO_CLIPPING)
    assert found.low <= frame.min()
    assert found.high >= frame.max()
    slack = max(abs(float(frame.min())), abs(float(frame.max()))) / 64 + 1e-30
    assert found.high - found.low <= float(frame.max()) - float(frame.min()) + 2 * slack


@given(hnp.arrays(np.uint16, (4, 5)))
def test_histograms_count_every_pixel_and_add_up(frame):
    counts = histogram(frame)
    assert counts.shape == (N_KEYS,)
    assert counts.sum() == frame.size
    halves = histogram(frame[:2]) + histogram(frame[2:])
    assert (counts == halves).all()


def test_all_integer_types_of_one_frame_count_alike():
    frame = np.arange(12, dtype=np.uint8).reshape(3, 4)
    for dtype in (np.uint16, np.int32, np.int64):
        assert (histogram(frame.astype(dtype)) == histogram(frame)).all()


def test_gain_and_offset_do_not_change_the_scaled_frame():
    frame = np.random.default_rng(0).integers(0, 200, (50, 60)).astype(np.uint16)
    brighter = frame * 3 + 1000
    scaled = [to_grey(f, grey_range(histogram(f), f.dtype, SETTINGS)) for f in (frame, brighter)]
    assert (scaled[0] == scaled[1]).all()


def test_a_few_hot_pixels_do_not_set_the_range():
    frame = np.random.default_rng(0).integers(100, 200, (200, 200)).astype(np.uint16)
    frame[0, :10] = 60000
    assert grey_range(histogram(frame), frame.dtype, SETTINGS).high < 200


def test_when_nearly_all_pixels_are_equal_the_others_set_the_range():
    frame = np.full((200, 200), 7, np.uint8)
    frame[0, 0] = 9
    assert grey_range(histogram(frame), frame.dtype, SETTINGS) == GreyRange(7.0, 9.0)


@pytest.mark.parametrize(
    ("dtype", "high"), [(np.uint8, 255.0), (np.uint16, 65535.0), (np.float32, 1.0)]
)
def test_the_paper_takes_the_full_range_of_the_type(dtype, high):
    frame = np.array([[0, 1]], dtype)
    paper = SslSettings(thresholds="paper")
    assert grey_range(histogram(frame), frame.dtype, paper) == GreyRange(0.0, high)


def test_floats_are_scaled_like_integers():
    frame = np.arange(256, dtype=np.float32).reshape(16, 16)
    assert (to_grey(frame, GreyRange(0, 255)) == frame.astype(np.uint8)).all()


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_values_that_are_not_finite_are_counted_and_refused(bad):
    frame = np.zeros((4, 5), np.float32)
    frame[1, :3] = bad
    with pytest.raises(FramesError, match="3 of 20 pixels are NaN or infinite"):
        histogram(frame)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
def test_constant_frames_are_refused_with_their_grey_value(dtype):
    frame = np.full((4, 5), 12, dtype)
    with pytest.raises(FramesError, match="all 20 pixels of the field have the grey value 12"):
        grey_range(histogram(frame), frame.dtype, SETTINGS)


def test_a_field_without_pixels_has_no_range():
    with pytest.raises(FramesError, match="all 0 pixels of the field"):
        grey_range(np.zeros(N_KEYS, np.int64), np.uint8, SETTINGS)


def test_integers_beyond_16_bits_are_refused():
    with pytest.raises(FramesError, match="grey values -1 to 70000 of type int32 do not fit"):
        histogram(np.array([[-1, 70000]], np.int32))


def test_other_pixel_types_are_refused():
    with pytest.raises(FramesError, match="cannot use pixel type complex128"):
        histogram(np.zeros((2, 2), complex))


def test_a_frame_has_two_axes():
    with pytest.raises(FramesError, match=r"two axes \(y, x\) and pixels, got shape \(2, 3, 4\)"):
        histogram(np.zeros((2, 3, 4), np.uint8))
