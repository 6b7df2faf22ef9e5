"""Self-labels of drawn pairs."""

import numpy as np

from hcs.ssl.change import temporal_change
from hcs.ssl.displacement import displacement
from hcs.ssl.features import entropy
from hcs.ssl.self_label import self_label
from tests.drawn import crawling_cells


def labels_of(frame, reference):
    moved = displacement(frame, reference)
    return self_label(temporal_change(frame, reference), moved, entropy(frame))


def test_labels_agree_with_what_was_drawn():
    scene = crawling_cells(0)
    labels = labels_of(scene.frames[1], scene.frames[0])
    touched = scene.cells[0] | scene.cells[1]
    assert labels.cell.sum() > 500
    assert touched[labels.cell].mean() > 0.9
    assert (~touched)[labels.background].mean() > 0.99


def test_no_pixel_is_both_and_thresholds_are_in_their_units():
    scene = crawling_cells(1)
    labels = labels_of(scene.frames[1], scene.frames[0])
    assert not (labels.cell & labels.background).any()
    assert 1.5 < labels.change_threshold < 60
    assert 0 < labels.displacement_threshold < 5


def test_flat_pixels_are_never_labelled():
    scene = crawling_cells(2)
    flat = np.zeros(scene.frames[0].shape, bool)
    flat[:60] = True
    frame, reference = (np.where(flat, 255, f).astype(np.uint8) for f in scene.frames[1::-1])
    labels = labels_of(frame, reference)
    inside = np.s_[:56]
    assert not labels.cell[inside].any()
    assert not labels.background[inside].any()


def test_a_pair_without_texture_labels_nothing():
    flat = np.full((40, 50), 7, np.uint8)
    labels = labels_of(flat, flat)
    assert not labels.cell.any()
    assert not labels.background.any()
