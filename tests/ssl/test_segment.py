"""The recipe, pass by pass, on drawn frames."""

import cv2
import numpy as np
import pytest

from hcs.errors import FramesError
from hcs.ssl.segment import (
    GreyRange,
    SslSettings,
    decide,
    grey_range,
    histogram,
    needs_pool,
    pair_images,
    pair_statistics,
    pool,
    reference_index,
    segment_frame,
)
from tests.drawn import crawling_cells, still_ground

SETTINGS = SslSettings()


def statistics_of(frames, settings=SETTINGS):
    grey = grey_range(sum(histogram(frame) for frame in frames), frames.dtype, settings)
    pairs = [(frame, frames[reference_index(k, len(frames))]) for k, frame in enumerate(frames)]
    return grey, pairs, [pair_statistics(*pair, grey, settings) for pair in pairs]


def segmented(frames, settings=SETTINGS, pooled=None):
    grey, pairs, statistics = statistics_of(frames, settings)
    decisions = decide(statistics, pooled, settings)
    found = [segment_frame(*p, grey, d, settings) for p, d in zip(pairs, decisions, strict=True)]
    return decisions, found


def f1(mask, truth):
    return 2 * (mask & truth).sum() / max(1, mask.sum() + truth.sum())


def same(one, two):
    return all(
        np.array_equal(getattr(one, name), getattr(two, name))
        for name in ("mask", "posterior", "displacement")
    )


@pytest.fixture(scope="module")
def scene():
    return crawling_cells(0)


@pytest.fixture(scope="module")
def plate_model(scene):
    return pool([statistics_of(scene.frames)[2]])


@pytest.mark.parametrize("seed", [1, 2])
def test_drawn_cells_are_found_in_every_frame(seed):
    scene = crawling_cells(seed)
    decisions, found = segmented(scene.frames)
    assert {d.source for d in decisions} == {"own"}
    assert min(f1(m.mask, truth) for m, truth in zip(found, scene.cells, strict=True)) > 0.85


def test_arrays_have_the_types_and_ranges_that_are_promised(scene):
    _, found = segmented(scene.frames)
    shape = scene.frames.shape[1:]
    for frame in found:
        assert (frame.mask.dtype, frame.mask.shape) == (bool, shape)
        assert (frame.posterior.dtype, frame.posterior.shape) == (np.float32, shape)
        assert (frame.displacement.dtype, frame.displacement.shape) == (np.float32, (2, *shape))
        assert 0 <= frame.posterior.min() <= frame.posterior.max() <= 1


def test_a_frame_needs_nothing_but_its_pair_and_its_decision(scene):
    grey, pairs, statistics = statistics_of(scene.frames)
    decisions = decide(statistics, None, SETTINGS)
    _, together = segmented(scene.frames)
    for k in (3, 0, 2):
        pair = [frame.copy() for frame in pairs[k]]
        assert same(segment_frame(*pair, grey, decisions[k], SETTINGS), together[k])
        images = pair_images(*pair, grey, SETTINGS)
        assert pair_statistics(*pair, grey, SETTINGS, images) == statistics[k]
        assert same(segment_frame(*pair, grey, decisions[k], SETTINGS, images), together[k])


def test_the_number_of_threads_changes_no_bit(scene):
    before = cv2.getNumThreads()
    results = []
    for n_threads in (1, 4):
        cv2.setNumThreads(n_threads)
        results.append(segmented(scene.frames))
    cv2.setNumThreads(before)
    assert results[0][0] == results[1][0]
    assert all(same(one, two) for one, two in zip(results[0][1], results[1][1], strict=True))


def test_the_layout_in_memory_changes_no_bit(scene):
    interleaved = np.stack([scene.frames, 255 - scene.frames], axis=-1)[..., 0]
    turned = np.asfortranarray(scene.frames)
    _, plain = segmented(scene.frames)
    for other in (interleaved, turned):
        assert all(same(a, b) for a, b in zip(plain, segmented(other)[1], strict=True))


def test_inputs_are_not_changed(scene):
    before = scene.frames.copy()
    segmented(scene.frames)
    assert (scene.frames == before).all()


def test_gain_offset_and_pixel_type_change_no_mask(scene):
    _, plain = segmented(scene.frames)
    for other in (scene.frames.astype(np.uint16) * 40 + 500, scene.frames.astype(np.int32)):
        assert all(
            (a.mask == b.mask).all() for a, b in zip(plain, segmented(other)[1], strict=True)
        )


def test_floats_are_segmented_like_integers(scene):
    _, found = segmented(scene.frames.astype(np.float32) / 255)
    assert min(f1(m.mask, truth) for m, truth in zip(found, scene.cells, strict=True)) > 0.85


@pytest.mark.parametrize("jitter_px", [0.0, 0.15, 0.5])
@pytest.mark.parametrize("seed", [0, 1])
def test_static_texture_under_a_jittering_stage_is_never_believed(jitter_px, seed):
    _, _, statistics = statistics_of(still_ground(seed, jitter_px=jitter_px).frames)
    assert needs_pool(statistics, SETTINGS)
    decisions, found = segmented(still_ground(seed, jitter_px=jitter_px).frames)
    assert {d.source for d in decisions} == {"none"}
    assert not any(frame.mask.any() or frame.posterior.any() for frame in found)


def test_the_plates_model_finds_no_cells_in_a_field_of_noise(plate_model):
    noise = np.random.default_rng(0).normal(100, 1.5, (4, 192, 224)).astype(np.uint8)
    decisions, found = segmented(noise, pooled=plate_model)
    assert {d.source for d in decisions} == {"pooled"}
    assert max(frame.mask.mean() for frame in found) < 0.01


def test_cells_that_stand_still_are_found_by_the_plates_model(scene, plate_model):
    rng = np.random.default_rng(0)
    still = scene.frames[0] + np.rint(rng.normal(0, 1.5, (4, *scene.frames[0].shape)))
    decisions, found = segmented(still.clip(0, 255).astype(np.uint8), pooled=plate_model)
    assert {(d.source, d.separable) for d in decisions} == {("pooled", False)}
    assert min(f1(frame.mask, scene.cells[0]) for frame in found) > 0.8


def test_a_blank_frame_is_said_to_be_blank_and_spoils_only_itself():
    scene = crawling_cells(3, n_frames=7)
    frames = scene.frames.copy()
    frames[3] = 100
    decisions, found = segmented(frames)
    assert [d.blank for d in decisions] == [k == 3 for k in range(7)]
    assert not found[3].mask.any()
    others = [k for k in range(7) if k != 3]
    assert min(f1(found[k].mask, scene.cells[k]) for k in others) > 0.8


def test_drift_is_taken_off_the_displacement():
    frames = still_ground(0, n_frames=2).frames
    shifted = np.stack([frames[0], np.roll(frames[0], (3, -2), axis=(0, 1))])
    decisions, found = segmented(shifted)
    assert decisions[1].drift_px == pytest.approx((3, -2), abs=0.2)
    assert np.abs(np.median(found[1].displacement, axis=(1, 2))).max() < 0.2


def test_the_first_frames_displacement_looks_ahead(scene):
    _, found = segmented(scene.frames)
    towards = [
        frame.displacement[:, scene.cells[0] & scene.cells[1]].ravel() for frame in found[:2]
    ]
    assert np.corrcoef(*towards)[0, 1] > 0.8


def test_clearing_the_border_is_a_choice(scene):
    _, found = segmented(scene.frames, SslSettings(border="clear"))
    assert found[0].mask.any()
    assert not found[0].mask[[0, -1]].any()


@pytest.mark.parametrize("flow_reference", ["previous", "black"])
@pytest.mark.parametrize("prior", ["empirical", "equal"])
def test_paper_mode_runs_with_a_blank_first_frame_and_clear_borders(flow_reference, prior):
    settings = SslSettings(thresholds="paper", flow_reference=flow_reference, prior=prior)
    scene = crawling_cells(0, (260, 280), n_frames=3, radius_px=24)
    decisions, found = segmented(scene.frames, settings)
    assert not found[0].mask.any()
    assert [d.source for d in decisions] == ["none", "own", "own"]
    for frame in found:
        assert not frame.mask[[0, -1]].any()
        assert not frame.mask[:, [0, -1]].any()


def test_paper_mode_with_a_black_reference_finds_drawn_cells():
    settings = SslSettings(thresholds="paper", flow_reference="black", border="keep")
    scene = crawling_cells(0, (260, 280), n_frames=3, radius_px=24)
    _, found = segmented(scene.frames, settings)
    assert f1(found[1].mask, scene.cells[1]) > 0.6


def test_frames_of_two_shapes_are_refused():
    small, large = np.zeros((40, 40), np.uint8), np.zeros((40, 50), np.uint8)
    with pytest.raises(FramesError, match=r"shape \(40, 40\) against reference of \(40, 50\)"):
        pair_images(small, large, GreyRange(0, 255), SETTINGS)


def test_frames_smaller_than_the_windows_are_refused():
    tiny = np.zeros((20, 500), np.uint8)
    with pytest.raises(FramesError, match=r"shape \(20, 500\): 32 pixels are the least"):
        pair_images(tiny, tiny, GreyRange(0, 255), SETTINGS)


def test_a_series_of_one_frame_is_refused():
    with pytest.raises(FramesError, match=r"1 frame\(s\) in the series \(SSL needs two\)"):
        reference_index(0, 1)
