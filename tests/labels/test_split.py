import os
from pathlib import Path

import numpy as np
import pytest
import tifffile
from hypothesis import given
from hypothesis import strategies as st
from scipy import ndimage as ndi

from hcs.labels.ctc import pair, seg_score
from hcs.labels.match import average_precision, overlaps
from hcs.labels.settings import SplitSettings
from hcs.labels.split import (
    distance_map,
    in_raster_order,
    split,
    split_by_distance,
    typical_radius,
)
from tests.strategies import label_images, masks


def discs(*circles: tuple[int, int, int], shape: tuple[int, int] = (60, 60)) -> np.ndarray:
    y, x = np.indices(shape)
    return np.any([np.hypot(y - cy, x - cx) <= r for cy, cx, r in circles], axis=0)


@given(masks())
def test_the_objects_are_exactly_the_mask(mask):
    labels = split(mask)
    assert labels.dtype == np.uint32
    np.testing.assert_array_equal(labels > 0, mask)


@given(masks(), st.floats(0.01, 3), st.floats(0, 1))
def test_labels_count_from_1_in_raster_order_whatever_the_settings(mask, h, smoothing):
    labels = split(mask, SplitSettings(h=h, smoothing=smoothing))
    np.testing.assert_array_equal(labels > 0, mask)
    values, first = np.unique(labels[labels > 0], return_index=True)
    assert values.tolist() == list(range(1, values.size + 1))
    assert (np.diff(first) > 0).all()


@given(masks())
def test_an_object_lies_in_one_component(mask):
    components, n = ndi.label(mask, np.ones((3, 3)))
    labels = split(mask)
    pairs = np.unique(np.stack([labels[mask], components[mask]]), axis=1)
    assert pairs.shape[1] == labels.max() >= n


@given(masks())
def test_an_object_is_connected(mask):
    labels = split(mask)
    for i in range(1, labels.max() + 1):
        assert ndi.label(labels == i, np.ones((3, 3)))[1] == 1


@given(masks())
def test_a_depth_that_nothing_reaches_leaves_the_components(mask):
    labels = split(mask, SplitSettings(h=1e3, smoothing=0))
    assert labels.max() == ndi.label(mask, np.ones((3, 3)))[1]


def test_touching_discs_come_apart_where_they_touch():
    mask = discs((30, 18, 12), (30, 41, 12))
    labels = split(mask)
    assert labels.max() == 2
    assert set(np.unique(labels[:, :29])) == {0, labels[30, 18]}
    assert set(np.unique(labels[:, 31:])) == {0, labels[30, 41]}


def test_a_long_cell_with_a_ragged_outline_stays_whole():
    y, x = np.indices((60, 120))
    bar = (abs(y - 30) <= 10 + 0.6 * np.sin(x)) & (abs(x - 60) < 55)
    assert split(bar).max() == 1
    assert split(bar, SplitSettings(h=0.01, smoothing=0)).max() > 1


def test_scale_does_not_matter():
    small = discs((30, 18, 12), (30, 41, 12))
    assert split(np.kron(small, np.ones((4, 4), dtype=bool))).max() == split(small).max()


def test_the_frame_edge_is_no_outline():
    half = discs((0, 30, 20))
    assert distance_map(half)[0, 30] == distance_map(half).max()
    assert split(half).max() == 1


def test_specks_do_not_set_the_typical_radius():
    mask = discs((30, 30, 15))
    alone = typical_radius(mask, distance_map(mask))
    mask[2:58:4, 2] = True
    assert typical_radius(mask, distance_map(mask)) == alone


def test_a_foreign_distance_map_splits_a_mask_that_shows_no_neck():
    mask = np.ones((5, 20), dtype=bool)
    x = np.arange(20)
    distance = np.tile(1 - np.minimum(abs(x - 5), abs(x - 14)) / 5, (5, 1)).astype(np.float32)
    labels = split_by_distance(distance, mask, h=0.5)
    assert labels.max() == 2
    np.testing.assert_array_equal(labels > 0, mask)


@given(label_images())
def test_renumbering_keeps_the_objects(labels):
    renumbered = in_raster_order(labels)
    pairs = np.unique(np.stack([labels.ravel(), renumbered.ravel()]), axis=1)
    assert pairs.shape[1] == np.unique(labels).size == np.unique(renumbered).size
    np.testing.assert_array_equal(labels > 0, renumbered > 0)


# SEG and AP50 of the split of true masks; what the components alone reach is in brackets
REAL = {
    "ctc_dic_c2dh_hela": (0.90, 0.87),  # .73, .63
    "ctc_fluo_n2dh_gowt1": (0.99, 0.99),  # .95, .95
    "ctc_fluo_n2dl_hela": (0.98, 0.98),  # .96, .96
    "ctc_phc_c2dl_psc": (0.95, 0.90),  # .83, .79
    "ctc_fluo_c2dl_msc": (0.84, 0.62),  # .93, .86: thin branches come off
}


@pytest.mark.real_data
@pytest.mark.parametrize("name", REAL)
def test_true_masks_of_real_cells_come_apart_as_people_drew_them(name):
    folder = os.environ.get("HCS_DATA")
    if folder is None:
        pytest.skip("HCS_DATA names no folder of real data")
    scores = []
    for path in sorted((Path(folder) / name).rglob("gold_full/*.tif"))[::2]:
        truth = tifffile.imread(path)
        labels = split(truth > 0)
        scores.append(
            (seg_score([pair(overlaps(labels, truth))]), average_precision(labels, truth, [0.5])[0])
        )
    assert scores
    seg, ap50 = np.mean(scores, axis=0)
    assert (seg >= REAL[name][0], ap50 >= REAL[name][1]) == (True, True), (seg, ap50)
