"""Operations on masks against scikit-image's and drawn truths."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy import ndimage
from skimage.measure import label
from skimage.morphology import closing

from hcs.image.mask import (
    clear_border,
    close,
    component_areas,
    dilate,
    disk,
    fill_holes,
    keep_large,
    typical_area,
)

masks = hnp.arrays(bool, hnp.array_shapes(min_dims=2, max_dims=2, min_side=1, max_side=14))


@given(masks, st.integers(0, 20))
def test_components_are_kept_by_size_whole_or_not_at_all(mask, least):
    components = label(mask, connectivity=2)
    sizes = np.bincount(components.ravel())
    sizes[0] = 0
    assert (keep_large(mask, least) == (sizes >= max(least, 1))[components]).all()


@given(masks)
def test_all_holes_are_filled_as_scipy_does(mask):
    assert (fill_holes(mask) == ndimage.binary_fill_holes(mask)).all()


@given(masks, st.integers(0, 6))
def test_holes_up_to_a_size_are_filled_and_larger_ones_stay(mask, most):
    filled = fill_holes(mask, most)
    holes = label(ndimage.binary_fill_holes(mask) & ~mask, connectivity=1)
    sizes = np.bincount(holes.ravel())
    sizes[0] = 0
    small = (sizes > 0) & (sizes <= most)
    assert (filled == (mask | small[holes])).all()


@given(masks)
def test_closing_covers_the_mask_and_is_scikit_images(mask):
    closed = close(mask, 2)
    assert (closed >= mask).all()
    padded = np.pad(mask, 6)
    assert (closed == closing(padded, disk(2))[6:-6, 6:-6]).all()


@given(masks)
def test_growing_by_a_disk_reaches_as_far_as_its_radius(mask):
    distance = ndimage.distance_transform_edt(~np.pad(mask, 4))[4:-4, 4:-4]
    expected = distance <= 3 if mask.any() else np.zeros_like(mask)
    assert (dilate(mask, 3) == expected).all()


@given(masks)
def test_no_component_touches_a_cleared_border(mask):
    cleared = clear_border(mask)
    assert not cleared[[0, -1]].any()
    assert not cleared[:, [0, -1]].any()
    components = label(mask, connectivity=2)
    kept = np.unique(components[cleared])
    assert (cleared == np.isin(components, kept[kept > 0])).all()


@given(masks)
def test_areas_sum_to_the_mask(mask):
    assert component_areas(mask).sum() == mask.sum()


def test_debris_does_not_lower_the_typical_area():
    cells, debris = np.full(20, 400), np.full(100, 20)
    assert typical_area(np.r_[cells, debris], 16) == 400.0


def test_no_object_has_no_typical_area():
    assert typical_area(np.array([3, 3]), 16) == 0.0
