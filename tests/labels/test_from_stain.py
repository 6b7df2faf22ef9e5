import os
from pathlib import Path

import cv2
import numpy as np
import pytest
import tifffile

from hcs.errors import FramesError
from hcs.labels.from_stain import cells_from_stain, nuclei_from_stain
from hcs.labels.match import average_precision, overlaps, pixel_scores

SHAPE = (160, 200)
# (y, x, radius, grey levels above the background): touching, dim, cut by the rim
NUCLEI = [(40, 40, 14, 900), (40, 66, 14, 800), (110, 50, 12, 80), (100, 140, 15, 2000)]
NUCLEI += [(30, 199, 12, 600), (126, 160, 13, 1500)]


def drawn(objects, shape=SHAPE):
    y, x = np.indices(shape)
    labels = np.zeros(shape, np.uint32)
    for k, (cy, cx, radius, _) in enumerate(objects, 1):
        labels[np.hypot(y - cy, x - cx) < radius] = k
    return labels


def stained(labels, levels, noise=6.0, seed=0):
    """Blur by a point spread function, add haze, uneven light and noise."""
    rng = np.random.default_rng(seed)
    stain = np.array([0, *levels], float)[labels]
    image = cv2.GaussianBlur(stain, (0, 0), 1.2) + 0.05 * cv2.GaussianBlur(stain, (0, 0), 12)
    image += 300 + np.linspace(0, 30, labels.shape[1])
    return np.rint(image + rng.normal(0, noise, labels.shape)).astype(np.uint16)


@pytest.fixture(scope="module")
def truth():
    return drawn(NUCLEI)


@pytest.fixture(scope="module")
def image(truth):
    return stained(truth, [level for *_, level in NUCLEI])


def test_drawn_nuclei_are_found_bright_dim_touching_and_cut(image, truth):
    labels = nuclei_from_stain(image)
    assert labels.dtype == np.uint32
    assert pixel_scores(labels > 0, truth > 0).iou > 0.9
    assert average_precision(labels, truth, [0.8]).tolist() == [1.0]


def test_labels_count_from_1_in_raster_order(image):
    labels = nuclei_from_stain(image)
    first = np.unique(labels[labels > 0], return_index=True)[1]
    assert np.array_equal(np.unique(labels), np.arange(labels.max() + 1))
    assert (np.diff(first) > 0).all()


@pytest.mark.parametrize("turn", [lambda a: a[::-1], lambda a: a[:, ::-1], lambda a: a.T])
def test_a_mirrored_image_has_mirrored_nuclei(image, turn):
    turned = nuclei_from_stain(np.ascontiguousarray(turn(image)))
    iou = overlaps(turned, np.ascontiguousarray(turn(nuclei_from_stain(image)))).iou()
    assert (iou.max(axis=1).toarray() > 0.97).all()


@pytest.mark.parametrize("dtype", ["float32", "float64", "int32"])
def test_gain_offset_and_pixel_type_change_next_to_nothing(image, dtype):
    scaled = nuclei_from_stain((image.astype(dtype) * 5 - 700).astype(dtype))
    assert np.mean((scaled > 0) != (nuclei_from_stain(image) > 0)) < 1e-3


@pytest.mark.parametrize("ground", ["zeros", "constant", "noise", "slope"])
def test_an_image_without_objects_gives_none(ground):
    rng = np.random.default_rng(1)
    image = {
        "zeros": np.zeros(SHAPE, np.uint8),
        "constant": np.full(SHAPE, 300, np.uint16),
        "noise": rng.normal(300, 20, SHAPE),
        "slope": np.linspace(0, 400, SHAPE[1]) + rng.normal(0, 5, SHAPE),
    }[ground]
    assert not nuclei_from_stain(image).any()
    assert not cells_from_stain(image).any()


def test_dim_bumps_are_no_objects_where_a_least_contrast_is_known(truth):
    # as a network predicts them for an empty field: without noise, so nothing tells them from cells
    bumps = 300 + 4 * cv2.GaussianBlur((truth > 0).astype(np.float32), (0, 0), 3)
    assert nuclei_from_stain(bumps).any()
    assert not nuclei_from_stain(bumps, min_contrast=50).any()


def test_specks_beside_nuclei_are_dropped(image):
    speckled = image.copy()
    for y, x in ((80, 20), (75, 100), (150, 20)):
        speckled[y : y + 3, x : x + 3] += 900
    assert nuclei_from_stain(speckled).max() == nuclei_from_stain(image).max()


def test_a_dark_nucleolus_makes_no_hole(truth):
    holed = truth.copy()
    holed[97:104, 137:144] = 0
    labels = nuclei_from_stain(stained(holed, [level for *_, level in NUCLEI]))
    assert labels[100, 140] > 0
    assert labels[100, 140] == labels[100, 130]


@pytest.fixture(scope="module")
def cells():
    """Cells of three parts each that touch, and a nucleus in every one but the last."""
    bodies = drawn([(50, 40, 24, 0), (50, 84, 24, 0), (110, 60, 24, 0), (120, 160, 20, 0)])
    nuclei = np.where(drawn([(50, 36, 8, 0), (54, 88, 8, 0), (112, 60, 8, 0)]) > 0, bodies, 0)
    thick = cv2.GaussianBlur((bodies > 0).astype(np.float32), (0, 0), 3)
    for label in range(1, 5):
        own = cv2.distanceTransform((bodies == label).astype(np.uint8), cv2.DIST_L2, 5)
        thick += 2 * own / own.max()
    noise = np.random.default_rng(2).normal(0, 8, SHAPE)
    return np.where(bodies > 0, 400 * thick, 0) + 200 + noise, nuclei, bodies


def test_every_nucleus_is_part_of_a_cell_of_its_own(cells):
    image, nuclei, bodies = cells
    labels = cells_from_stain(image, nuclei)
    owners = [np.unique(labels[nuclei == k]) for k in (1, 2, 3)]
    assert [len(own) for own in owners] == [1, 1, 1]
    assert len({int(own[0]) for own in owners} - {0}) == 3
    assert average_precision(labels, bodies, [0.8]).tolist() == [1.0]


def test_stain_without_a_nucleus_is_a_cell_of_its_own(cells):
    image, nuclei, _ = cells
    labels = cells_from_stain(image, nuclei)
    assert labels.max() == 4
    assert labels[120, 160] > 0


def test_cells_are_found_without_nuclei_too(cells):
    image, _, bodies = cells
    assert average_precision(cells_from_stain(image), bodies, [0.7]).tolist() == [1.0]


def test_nuclei_without_any_stain_around_are_their_own_cells(truth):
    labels = cells_from_stain(np.full(SHAPE, 9), truth * 3)
    assert np.array_equal(labels > 0, truth > 0)
    assert labels.max() == len(NUCLEI)


def test_nuclei_of_another_shape_are_refused():
    with pytest.raises(ValueError, match=r"the nuclei are \(4, 5\) pixels, the stain is \(5, 4\)"):
        cells_from_stain(np.zeros((5, 4)), np.zeros((4, 5), np.uint32))


def test_pixels_that_are_not_finite_are_refused():
    with pytest.raises(FramesError, match="20 of 20 pixels of the stain are not finite"):
        nuclei_from_stain(np.full((5, 4), np.nan))


# what it reached, less a little: (folder, image, mask), IoU of the area, AP at an IoU of .5
REAL = [
    ("ctc_fluo_n2dh_gowt1/01_t020-041", "t031", "man_seg031", 0.84, 0.78),
    ("ctc_fluo_n2dl_hela/01_t044-062", "t052", "man_seg052", 0.84, 0.88),
]


@pytest.mark.real_data
@pytest.mark.skipif("HCS_DATA" not in os.environ, reason="HCS_DATA names no folder")
@pytest.mark.parametrize(("folder", "image", "mask", "iou", "ap"), REAL)
def test_nuclei_of_real_stains(folder, image, mask, iou, ap):
    root = Path(os.environ["HCS_DATA"]) / folder
    truth = tifffile.imread(root / f"masks/gold_full/{mask}.tif").astype(np.uint32)
    labels = nuclei_from_stain(tifffile.imread(root / f"images/{image}.tif"))
    assert pixel_scores(labels > 0, truth > 0).iou >= iou
    assert average_precision(labels, truth, [0.5])[0] >= ap
