import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from hcs.image.pyramid import halve, halved_shape, shrink_labels

DTYPES = ["uint8", "int16", "uint16", "uint32", "int32", "uint64", "float32", "float64"]
frames = st.sampled_from(DTYPES).flatmap(
    lambda dtype: hnp.arrays(
        dtype,
        hnp.array_shapes(min_dims=2, max_dims=3, min_side=1, max_side=9),
        elements=st.integers(0, 200),
    )
)
label_images = hnp.arrays(
    np.uint32,
    hnp.array_shapes(min_dims=2, max_dims=3, min_side=1, max_side=9),
    elements=st.integers(0, 2**32 - 1),
)


@given(frames)
def test_halving_keeps_type_and_stays_within_the_range(stack):
    half = halve(stack)
    assert half.dtype == stack.dtype
    assert half.shape[-2:] == halved_shape(stack.shape[-2:])
    assert stack.min() <= half.min()
    assert half.max() <= stack.max()


@given(frames)
def test_halving_is_the_mean_rounded_half_up(stack):
    even = stack[..., : stack.shape[-2] // 2 * 2, : stack.shape[-1] // 2 * 2]
    if 0 in even.shape:
        return
    y, x = halved_shape(stack.shape[-2:])
    mean = even.reshape(*stack.shape[:-2], y, 2, x, 2).astype(float).mean(axis=(-3, -1))
    expected = mean if stack.dtype.kind == "f" else np.floor(mean + 0.5)
    np.testing.assert_allclose(halve(stack), expected, rtol=1e-6)


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "int16", "uint32"])
def test_halving_does_not_overflow(dtype):
    top = np.iinfo(dtype).max
    assert halve(np.full((2, 2), top, dtype)).item() == top


def test_halving_a_mask_asks_the_majority():
    mask = np.array([[True, True, True, False], [False, False, False, False]])
    assert halve(mask).tolist() == [[True, False]]


@given(label_images, st.integers(1, 9), st.integers(1, 9))
def test_a_coarse_level_holds_no_value_that_the_fine_one_lacks(labels, y, x):
    small = shrink_labels(labels, (y, x))
    assert small.shape == (*labels.shape[:-2], y, x)
    assert small.dtype == np.uint32
    assert set(np.unique(small)) <= set(np.unique(labels))


@given(label_images)
def test_labels_of_the_same_shape_stay_as_they_are(labels):
    np.testing.assert_array_equal(shrink_labels(labels, labels.shape[-2:]), labels)


@given(hnp.arrays(np.uint32, (3, 4), elements=st.integers(0, 9)))
def test_an_object_of_whole_blocks_keeps_its_place(blocks):
    fine = np.kron(blocks, np.ones((2, 2), np.uint32))
    np.testing.assert_array_equal(shrink_labels(fine, blocks.shape), blocks)
