import numpy as np
from scipy import ndimage as ndi

from hcs.labels.distance import distance_target


def discs(*circles: tuple[int, int, int, int]) -> np.ndarray:
    y, x = np.mgrid[:60, :80]
    labels = np.zeros((60, 80), np.uint32)
    for label, cy, cx, radius in circles:
        labels[np.hypot(y - cy, x - cx) <= radius] = label
    return labels


def test_every_object_has_its_own_summit_at_one_and_the_background_is_zero():
    labels = discs((7, 20, 20, 12), (70_012, 35, 60, 5))
    depth = distance_target(labels)
    assert depth.dtype == np.float32
    assert (depth[labels == 0] == 0).all()
    assert (depth[labels > 0] > 0).all()
    for label in (7, 70_012):
        assert depth[labels == label].max() == 1


def test_touching_objects_are_outside_of_each_other_as_in_an_exact_transform_of_each():
    labels = discs((1, 30, 30, 14), (2, 30, 48, 13))
    depth = distance_target(labels)
    for label in (1, 2):
        exact = ndi.distance_transform_edt(labels == label)
        np.testing.assert_allclose(
            depth[labels == label], (exact / exact.max())[labels == label], atol=1e-3
        )


def test_an_object_cut_by_the_rim_keeps_its_depth_there():
    labels = np.zeros((20, 20), np.uint32)
    labels[:, :6] = 3
    depth = distance_target(labels)
    assert (depth[:, 0] == 1).all()
    assert np.allclose(depth[:, 5], 1 / 6)


def test_nothing_and_one_object_that_is_everything():
    assert not distance_target(np.zeros((5, 6), np.uint32)).any()
    assert (distance_target(np.full((5, 6), 9, np.uint32)) == 1).all()
