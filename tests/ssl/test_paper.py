"""The released algorithm with its constants as stated."""

import numpy as np

from hcs.ssl.features import entropy, forward_differences
from hcs.ssl.paper import flow_magnitude, moving_area, paper_features, paper_labels, paper_model
from tests.drawn import crawling_cells

SCENE = crawling_cells(0, (300, 340), n_frames=2, radius_px=22)
BLACK = np.zeros_like(SCENE.frames[0])


def labels_against(reference, extra_entropy=4e3):
    magnitude = flow_magnitude(SCENE.frames[1], reference)
    return paper_labels(magnitude, entropy(reference), 300, extra_entropy)


def test_features_are_entropy_and_raw_gradient():
    stack = paper_features(SCENE.frames[0])
    assert (stack[0] == entropy(SCENE.frames[0])).all()
    assert (stack[1] == forward_differences(SCENE.frames[0])).all()


def test_flow_from_black_is_larger_in_cells_than_beside_them():
    magnitude = flow_magnitude(SCENE.frames[1], BLACK)
    inside = SCENE.cells[1]
    assert np.median(magnitude[inside]) > 5 * np.median(magnitude[~inside])


def test_the_cell_ladder_always_goes_down_a_step():
    none_extra = labels_against(SCENE.frames[0], extra_entropy=0.0)
    assert none_extra.displacement_threshold < 0.04


def test_more_entropy_asked_for_means_more_cell_labels():
    few, many = (labels_against(SCENE.frames[0], extra) for extra in (0.0, 1e9))
    assert (many.cell >= few.cell).all()
    assert many.displacement_threshold == 2e-5


def test_flat_pixels_never_train():
    reference = SCENE.frames[0].copy()
    reference[:150] = 80
    magnitude = flow_magnitude(SCENE.frames[1], reference)
    labels = paper_labels(magnitude, entropy(reference), 300, 4e3)
    assert not labels.cell[:146].any()
    assert not labels.background[:146].any()


def test_without_a_second_class_there_is_no_model():
    labels = paper_labels(
        np.ones_like(SCENE.frames[0], np.float32), entropy(SCENE.frames[0]), 1, 0.0
    )
    assert not labels.background.any()
    assert paper_model(paper_features(SCENE.frames[0]), labels, 0.5) is None


def test_the_empirical_prior_is_the_share_of_cell_labels():
    labels = labels_against(BLACK + SCENE.frames[0])
    model = paper_model(paper_features(SCENE.frames[1]), labels, None)
    n_cell, n_background = labels.cell.sum(), labels.background.sum()
    assert n_background > 0
    assert model.prior == n_cell / (n_cell + n_background)


def test_moving_area_is_zero_when_nothing_moves():
    assert moving_area(np.zeros((50, 60), np.float32)) == 0.0
