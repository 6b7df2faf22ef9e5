from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hcs.image.tiles import UNIT_PX, TileGrid, blend, pad, taper, tile_grid
from tests.strategies import tile_grids


def cut(field, grid):
    return [field[:, *place] for place in grid.slices()]


@given(tile_grids())
@settings(max_examples=40)
def test_windows_are_a_partition_of_unity(grid):
    total = np.zeros(grid.shape)
    for place, window in zip(grid.slices(), grid.windows(), strict=True):
        assert window.min() >= 0
        total[place] += window
    np.testing.assert_allclose(total, 1, atol=1e-6)


@given(tile_grids())
def test_tiles_lie_on_the_coarsest_pixels_of_a_network(grid):
    assert all(start % UNIT_PX == 0 for axis in grid.starts for start in axis)
    assert all(side % UNIT_PX == 0 for side in grid.tile)


@given(tile_grids())
def test_neighbours_overlap_by_the_halo_and_the_field_is_covered(grid):
    for side, length, starts in zip(grid.shape, grid.tile, grid.starts, strict=True):
        assert starts[0] == 0
        assert starts[-1] + length == side
        assert all(b - a <= length - grid.halo_px for a, b in pairwise(starts))


@given(tile_grids())
@settings(max_examples=40)
def test_the_outermost_pixels_of_a_tile_count_for_nothing_but_at_the_fields_rim(grid):
    unseen = 3 * grid.halo_px // 8
    for (y, x), window in zip(grid.slices(), grid.windows(), strict=True):
        inner = window[
            0 if y.start == 0 else unseen : None if y.stop == grid.shape[0] else -unseen or None,
            0 if x.start == 0 else unseen : None if x.stop == grid.shape[1] else -unseen or None,
        ]
        assert np.count_nonzero(inner) == np.count_nonzero(window)


@given(st.integers(1, 40), st.integers(2, 10), st.integers(0, 200))
def test_there_are_no_more_tiles_and_no_larger_ones_than_it_takes(side, tile, halo_px):
    grid = tile_grid((side * UNIT_PX, UNIT_PX), tile * UNIT_PX, halo_px)
    (length, _), (starts, _) = grid.tile, grid.starts
    assert length <= tile * UNIT_PX

    def covered(count, length_px):
        return count * length_px - (count - 1) * grid.halo_px

    assert len(starts) == 1 or covered(len(starts) - 1, tile * UNIT_PX) < side * UNIT_PX
    assert covered(len(starts), length - UNIT_PX) < side * UNIT_PX


@given(tile_grids(), st.integers(0, 9))
@settings(max_examples=30)
def test_the_tiles_of_a_field_blend_to_the_field(grid, seed):
    field = np.random.default_rng(seed).standard_normal((2, *grid.shape)).astype(np.float32)
    np.testing.assert_allclose(blend(cut(field, grid), grid), field, atol=2e-6)


def test_a_single_tile_is_the_field_bit_for_bit():
    field = np.random.default_rng(0).standard_normal((1, 64, 96)).astype(np.float32)
    grid = tile_grid((64, 96), 96, 32)
    assert len(grid) == 1
    assert (blend(cut(field, grid), grid) == field).all()


def test_a_step_between_tiles_becomes_a_smooth_ramp():
    grid = tile_grid((32, 224), 128, 32)
    left, right = (np.full((1, 32, 128), level, np.float32) for level in (0, 1))
    row = blend([left, right], grid)[0, 16]
    assert (np.diff(row) >= 0).all()
    assert np.diff(row).max() < 0.21


def test_a_blend_of_other_tiles_than_the_grids_is_refused():
    grid = tile_grid((32, 224), 128, 32)
    with pytest.raises(ValueError, match="zip"):
        blend([np.zeros((1, 32, 128), np.float32)], grid)


def test_a_blend_of_no_tiles_is_refused():
    nothing = TileGrid((0, 0), (0, 0), ((), ()), 0)
    with pytest.raises(ValueError, match="a grid has at least one tile, got none"):
        blend([], nothing)


def test_a_taper_without_a_halo_is_flat():
    assert (taper(5, 0) == 1).all()


@given(st.integers(1, 70), st.integers(1, 70))
def test_padding_keeps_the_image_and_mirrors_it(height, width):
    image = np.arange(2 * height * width).reshape(2, height, width)
    padded = pad(image)
    assert padded.shape[0] == 2
    assert all(side % UNIT_PX == 0 for side in padded.shape[1:])
    assert (padded[:, :height, :width] == image).all()
    assert set(padded.ravel()) == set(image.ravel())
    if 1 < height < padded.shape[1]:
        assert (padded[:, height, :width] == image[:, height - 2]).all()
