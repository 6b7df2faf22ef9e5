"""Hypothesis strategies that several rooms' tests share."""

from __future__ import annotations

from itertools import product
from typing import Any

import numpy as np
import pandas as pd
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray

from hcs.image.tiles import UNIT_PX, TileGrid, tile_grid
from hcs.plate.metadata import AXES, Acquisition, Channel, PlateLayout, Version
from hcs.plate.path import WellPath

ALPHANUMERIC = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"


def names() -> st.SearchStrategy[str]:
    """Names of rows, columns and fields, as OME-Zarr allows them."""
    return st.text(ALPHANUMERIC, min_size=1, max_size=4)


def versions() -> st.SearchStrategy[Version]:
    return st.sampled_from(("0.4", "0.5"))


def axes_subsets() -> st.SearchStrategy[tuple[str, ...]]:
    """Every legal set of axes, in order: y and x, and any of t c z."""
    subsets = st.sets(st.sampled_from("tcz"))
    return subsets.map(lambda some: tuple(a for a in AXES if a in some or a in "yx"))


def channels(n: int) -> st.SearchStrategy[tuple[Channel, ...]]:
    labels = st.text(min_size=1, max_size=8).filter(str.strip)
    colors = st.text("0123456789ABCDEF", min_size=6, max_size=6)
    many = st.lists(
        st.builds(Channel, labels, colors), min_size=n, max_size=n, unique_by=lambda c: c.label
    )
    return many.map(tuple)


@st.composite
def plate_layouts(draw: st.DrawFn) -> PlateLayout:
    rows = draw(st.lists(names(), min_size=1, max_size=4, unique=True))
    columns = draw(st.lists(names(), min_size=1, max_size=4, unique=True))
    grid = [WellPath(row, column) for row, column in product(rows, columns)]
    some = draw(st.sets(st.sampled_from(grid), min_size=1))
    ids = draw(st.lists(st.integers(0, 99), max_size=2, unique=True))
    return PlateLayout(
        draw(names()),
        draw(versions()),
        tuple(rows),
        tuple(columns),
        tuple(well for well in grid if well in some),
        tuple(Acquisition(number, draw(names())) for number in ids),
    )


def json_objects() -> st.SearchStrategy[dict[str, Any]]:
    """What a JSON file can hold, with finite numbers."""
    numbers = st.integers() | st.floats(allow_nan=False, allow_infinity=False)
    words = st.text(max_size=3)
    values = st.recursive(
        st.none() | st.booleans() | numbers | words,
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(words, inner, max_size=3),
        max_leaves=6,
    )
    return st.dictionaries(words, values, max_size=4)


def tables() -> st.SearchStrategy[pd.DataFrame]:
    """Small tables with the same columns: numbers, some missing, truth values, text."""
    columns = {
        "i": (st.integers(-5, 5), "int64"),
        "f": (st.floats(width=32) | st.just(float("nan")), "float64"),
        "b": (st.booleans(), "bool"),
        "s": (st.text(max_size=2), "object"),
    }
    types = {name: dtype for name, (_, dtype) in columns.items()}
    row = st.fixed_dictionaries({name: values for name, (values, _) in columns.items()})
    return st.lists(row, max_size=4).map(
        lambda rows: pd.DataFrame(rows, columns=list(types)).astype(types)
    )


def frame_shapes() -> st.SearchStrategy[tuple[int, int]]:
    """Height and width, down to a single pixel."""
    return st.tuples(st.integers(1, 24), st.integers(1, 24))


@st.composite
def masks(draw: st.DrawFn) -> NDArray[np.bool_]:
    """Masks of blobs with single pixels set and cleared; also none, and all."""
    height, width = draw(frame_shapes())
    y, x = np.indices((height, width))
    mask = np.zeros((height, width), dtype=bool)
    centre = st.tuples(st.integers(0, height - 1), st.integers(0, width - 1), st.integers(0, 8))
    for cy, cx, radius in draw(st.lists(centre, max_size=4)):
        mask |= np.hypot(y - cy, x - cx) <= radius
    flipped = draw(hnp.arrays(bool, mask.shape, elements=st.booleans(), fill=st.just(False)))
    return mask ^ flipped


def label_images(max_label: int = 5) -> st.SearchStrategy[NDArray[np.uint32]]:
    """Label images whose objects need neither be connected nor numbered without gaps."""
    return hnp.arrays(
        np.uint32, frame_shapes(), elements=st.integers(0, max_label), fill=st.just(0)
    )


def tile_grids() -> st.SearchStrategy[TileGrid]:
    """Grids over fields of up to 640 pixels, with tiles from 64 pixels and any halo."""
    sides = st.integers(1, 20).map(lambda units: units * UNIT_PX)
    tiles = st.integers(2, 10).map(lambda units: units * UNIT_PX)
    return st.builds(tile_grid, st.tuples(sides, sides), tiles, st.integers(0, 200))


def json_values() -> st.SearchStrategy[object]:
    leaves = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=3)
    return st.recursive(
        leaves,
        lambda v: st.lists(v, max_size=3) | st.dictionaries(st.text(max_size=3), v, max_size=3),
    )


@st.composite
def damaged_json(draw: st.DrawFn, document: object) -> object:
    """A JSON document with one of its parts changed, or left out."""
    if not isinstance(document, dict | list) or not document:
        return draw(json_values())
    keys = list(document) if isinstance(document, dict) else range(len(document))
    key = draw(st.sampled_from(keys))
    changed = document.copy()
    if draw(st.integers(0, 4)) == 0:
        changed.pop(key)
    else:
        # the top level stays an object: that much is looked at before
        changed[key] = draw(damaged_json(document[key]))
    return changed


@st.composite
def damaged_bytes(draw: st.DrawFn, content: bytes) -> bytes:
    """A file's content, cut short, made longer, or with some of its bytes changed."""
    end = draw(st.integers(0, len(content)) | st.just(len(content)))
    changed = bytearray(content[:end]) + draw(st.binary(max_size=8) | st.just(b""))
    if changed:
        places = st.integers(0, len(changed) - 1)
        for place in draw(st.lists(places, max_size=3)):
            changed[place] = draw(st.integers(0, 255))
    return bytes(changed)
