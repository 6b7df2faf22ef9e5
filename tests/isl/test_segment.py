import subprocess
import sys

import cv2
import numpy as np
import pytest

from hcs.errors import FramesError, WeightsError
from hcs.isl.card import TargetScale
from hcs.isl.heads import Prediction
from hcs.isl.segment import objects_of, pixel_scale, prepare, resampled, stains_of
from hcs.isl.settings import IslSettings
from tests.isl.tiny import tiny_card

SETTINGS = IslSettings()
PLANES = np.random.default_rng(0).integers(100, 4000, (2, 60, 90)).astype(np.uint16)


def smooth(planes, sigma=4):
    return np.stack([cv2.GaussianBlur(p.astype(np.float32), (0, 0), sigma) for p in planes])


@pytest.mark.parametrize(
    ("plate_um", "card_um", "scale"),
    [(0.65, 0.65, 1), (0.7, 0.65, 1), (None, 0.65, 1), (0.3, None, 1), (0.325, 0.65, 0.5)],
)
def test_pixels_are_rescaled_only_where_both_sizes_are_known_and_differ(plate_um, card_um, scale):
    assert pixel_scale(tiny_card(pixel_size_um=card_um), plate_um, SETTINGS) == scale


def test_a_difference_within_the_tolerance_does_not_matter():
    card = tiny_card(pixel_size_um=1.0)
    strict = IslSettings(pixel_size_tolerance=0.01)
    assert pixel_scale(card, 1.05, SETTINGS) == 1
    assert pixel_scale(card, 1.05, strict) == 1.05


def test_another_pixel_size_is_refused_where_so_set():
    refusing = IslSettings(pixel_size="refuse")
    said = r"dapi was trained at 0.65 um per pixel, the plate has 0.325 \(set isl.pixel_size: resc"
    with pytest.raises(WeightsError, match=said):
        prepare(PLANES, tiny_card(), 0.325, refusing)


@pytest.mark.parametrize("plate_um", [650, 0.00065])
def test_a_pixel_size_in_another_unit_is_refused(plate_um):
    said = r"0.65 um per pixel, the plate has .*: 1000 times .*in micrometres"
    with pytest.raises(WeightsError, match=said):
        pixel_scale(tiny_card(), plate_um, SETTINGS)


@pytest.mark.parametrize(
    ("plate_um", "shape"), [(0.65, (60, 90)), (0.325, (30, 45)), (1.3, (120, 180))]
)
def test_the_network_sees_its_own_pixel_size_at_mean_zero_and_spread_one(plate_um, shape):
    image = prepare(PLANES, tiny_card(), plate_um, SETTINGS)
    assert image.dtype == np.float32
    assert image.shape == (2, *shape)
    np.testing.assert_allclose(image.mean((1, 2)), 0, atol=1e-5)
    np.testing.assert_allclose(image.std((1, 2)), 1, atol=1e-5)


def test_gain_and_offset_of_a_plate_change_nothing():
    brighter = PLANES * np.float64(7) + 300
    image, other = (prepare(p, tiny_card(), 0.325, SETTINGS) for p in (PLANES, brighter))
    np.testing.assert_allclose(other, image, atol=1e-3)


def test_a_finer_plate_shows_the_network_what_it_was_trained_on():
    fine = smooth(PLANES, 8)
    coarse = fine.reshape(2, 30, 2, 45, 2).mean((2, 4))
    expected = prepare(coarse, tiny_card(), 0.65, SETTINGS)
    np.testing.assert_allclose(prepare(fine, tiny_card(), 0.325, SETTINGS), expected, atol=0.01)


@pytest.mark.parametrize("plate_um", [0.65, 0.325])
def test_a_constant_plane_is_refused(plate_um):
    planes = PLANES.copy()
    planes[1] = 77
    with pytest.raises(FramesError, match="plane 1 is constant at 77"):
        prepare(planes, tiny_card(), plate_um, SETTINGS)


@pytest.mark.parametrize("shape", [(30, 45), (120, 180), (61, 89), (1, 1)])
def test_a_flat_image_stays_flat_at_any_size(shape):
    flat = np.full((2, 60, 90), 3.5, np.float32)
    assert (resampled(flat, shape) == np.full((2, *shape), 3.5)).all()


def test_nothing_is_moved_by_resampling_there_and_back():
    image = smooth(PLANES, 8)
    back = resampled(resampled(image, (30, 45)), (60, 90))
    inner = (slice(None), slice(4, -4), slice(4, -4))
    assert np.corrcoef(back[inner].ravel(), image[inner].ravel())[0, 1] > 0.999


def test_shrinking_takes_means_so_fine_noise_goes():
    noise = np.random.default_rng(0).standard_normal((1, 80, 80)).astype(np.float32)
    assert resampled(noise, (20, 20)).std() == pytest.approx(0.25, rel=0.1)


def test_stains_come_back_on_the_grey_scale_of_training():
    targets = (
        TargetScale(stain="DAPI", offset=100, scale=800),
        TargetScale(stain="Cy5", offset=0, scale=50),
    )
    output = np.stack([np.full((30, 45), 0.5), np.full((30, 45), 2.0)]).astype(np.float32)
    card = tiny_card(targets=targets)
    stains, spread = stains_of(Prediction(output, output / 5), card, (60, 90))
    assert stains.dtype == np.float32
    assert stains.shape == (2, 60, 90)
    assert [set(np.unique(plane)) for plane in stains] == [{500}, {100}]
    np.testing.assert_allclose(spread[:, 0, 0], [80, 20], rtol=1e-6)
    assert stains_of(Prediction(output, None), card, (60, 90))[1] is None


def discs(shape, scale=1.0):
    y, x = np.mgrid[: shape[0], : shape[1]] / scale
    inside = np.maximum(12 - np.hypot(y - 30, x - 25), 12 - np.hypot(y - 30, x - 48))
    return inside.astype(np.float32)


@pytest.mark.parametrize("head", ["nuclei", "cells"])
def test_objects_are_those_of_the_output_on_the_frames_own_pixels(head):
    depth = discs((30, 45), 0.5)
    output = np.stack([depth / 12, depth])[-1 if head == "nuclei" else 0 :]
    spread = np.full((1, 30, 45), 0.1, np.float32)
    found = objects_of(Prediction(output, spread), tiny_card(head), (60, 90), SETTINGS)
    assert found.labels.dtype == np.uint32
    assert found.labels.shape == found.spread.shape == (60, 90)
    assert found.labels.max() == 2
    truth = discs((60, 90)) > 0
    assert ((found.labels > 0) & truth).sum() / ((found.labels > 0) | truth).sum() > 0.9
    assert (found.spread == np.float32(0.1)).all()
    assert objects_of(Prediction(output, None), tiny_card(head), (60, 90), SETTINGS).spread is None


def test_the_smallest_area_is_in_the_plates_pixels():
    output = discs((30, 45), 0.5)[None]
    settings = IslSettings(min_area_px=300)
    found = objects_of(Prediction(output, None), tiny_card("nuclei"), (60, 90), settings)
    assert found.labels.max() == 2
    found = objects_of(Prediction(output, None), tiny_card("nuclei"), (30, 45), settings)
    assert found.labels.max() == 0


def test_the_recipe_is_there_without_torch():
    code = "import sys, hcs.isl.segment; print('torch' in sys.modules)"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "False"
