"""One pair of 1216 x 1920 through statistics, decision and mask, against the plain way."""

import numpy as np
import pytest

from hcs.ssl.features import entropy
from hcs.ssl.segment import (
    SslSettings,
    decide,
    grey_range,
    histogram,
    pair_images,
    pair_statistics,
    segment_frame,
)
from tests.benchmarks import plain_ssl
from tests.drawn import crawling_cells

SETTINGS = SslSettings()


@pytest.fixture(scope="module")
def scene():
    return crawling_cells(0, (1216, 1920), n_frames=2, radius_px=24)


@pytest.fixture(scope="module")
def grey(scene):
    counts = sum(histogram(frame) for frame in scene.frames)
    return grey_range(counts, scene.frames.dtype, SETTINGS)


def ours(frame, reference, grey):
    images = pair_images(frame, reference, grey, SETTINGS)
    statistics = pair_statistics(frame, reference, grey, SETTINGS, images)
    decision = decide([statistics, statistics], None, SETTINGS)[1]
    return segment_frame(frame, reference, grey, decision, SETTINGS, images).mask


def ours_in_two_passes(frame, reference, grey):
    statistics = pair_statistics(frame, reference, grey, SETTINGS)
    decision = decide([statistics, statistics], None, SETTINGS)[1]
    return segment_frame(frame, reference, grey, decision, SETTINGS).mask


def test_a_pair_is_at_least_three_times_faster_than_written_plainly(bench, scene, grey):
    reference, frame = scene.frames

    def plain():
        return plain_ssl.segment_pair(frame, reference, grey.low, grey.high)

    found, expected = ours(frame, reference, grey), plain()
    overlap = 2 * (found & expected).sum() / (found.sum() + expected.sum())
    assert found.any()
    assert overlap > 0.99
    assert (ours_in_two_passes(frame, reference, grey) == found).all()
    assert bench.compare("ssl_pair", lambda: ours(frame, reference, grey), plain) >= 3
    name = "ssl_pair_passes_apart"
    assert bench.compare(name, lambda: ours_in_two_passes(frame, reference, grey), plain, 1) >= 3


def test_entropy_is_ten_times_faster_than_scikit_images(bench, scene):
    frame = scene.frames[1]
    assert np.abs(entropy(frame) - plain_ssl.entropy(frame)).max() < 2e-4
    assert (
        bench.compare("ssl_entropy", lambda: entropy(frame), lambda: plain_ssl.entropy(frame)) > 5
    )
