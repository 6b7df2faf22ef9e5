import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy import ndimage as ndi
from skimage.morphology import h_maxima

from hcs.labels.peaks import peaks
from tests.strategies import masks

EIGHT = np.ones((3, 3))


@st.composite
def maps(draw):
    """A mask and whole heights, so that plateaus and ties are common."""
    mask = draw(masks())
    heights = draw(hnp.arrays(np.float32, mask.shape, elements=st.integers(0, 6)))
    return heights, mask


@given(masks(), st.integers(0, 2**32 - 1), st.integers(1, 200))
def test_without_ties_they_are_the_h_maxima_of_scikit_image(mask, seed, h):
    heights = np.random.default_rng(seed).permutation(mask.size).reshape(mask.shape)
    # far below everything, so that no path leads over the background
    sunken = np.pad(np.where(mask, heights, -10_000), 1, constant_values=-10_000)
    reference = h_maxima(sunken, h, EIGHT)[1:-1, 1:-1]
    np.testing.assert_array_equal(peaks(heights.astype(np.float32), mask, h), reference & mask)


def test_of_two_equal_peaks_with_a_shallow_saddle_one_is_kept():
    ridge, all_of_it = np.array([[2, 1, 2]], dtype=np.float32), np.ones((1, 3), dtype=bool)
    assert peaks(ridge, all_of_it, h=2).tolist() == [[True, False, False]]
    assert peaks(ridge, all_of_it, h=1).tolist() == [[True, False, True]]


@given(maps(), st.floats(0.1, 20))
def test_every_component_has_its_highest_pixel(drawn, h):
    heights, mask = drawn
    components, n = ndi.label(mask, EIGHT)
    found = peaks(heights, mask, h)
    assert not found[~mask].any()
    for i in range(1, n + 1):
        here = components == i
        assert heights[found & here].max() == heights[here].max()


@given(maps())
def test_a_larger_depth_only_takes_peaks_away(drawn):
    heights, mask = drawn
    fewer, more = peaks(heights, mask, 3), peaks(heights, mask, 1)
    assert not (fewer & ~more).any()
