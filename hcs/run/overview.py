"""A plate at a glance: cells per well as a heat map, and two fields with their outlines."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import islice

import pandas as pd

from hcs.plate.open import Plate, open_plate
from hcs.plate.path import WellPath
from hcs.plate.table import read_table, table_names
from hcs.report.heatmap import draw_heat_map
from hcs.report.overlay import encode_png
from hcs.run.picture import LabelSource, field_overlay

_COUNT = "n_objects_mean-"


@dataclass(frozen=True)
class Picture:
    """One picture, as the bytes of a PNG file, and what it shows."""

    title: str
    png: bytes


def pictures_of(url: str) -> tuple[Picture, ...]:
    """Return the heat map of each label image, and the fields with the most and fewest objects.

    Of the first label image, the middle frame of the first field of the two wells. Nothing where
    no well is done.

    Parameters
    ----------
    url : str
        Of a plate that was analysed.

    Raises
    ------
    HcsError
        If the plate, its table or a field cannot be read.
    """
    plate = open_plate(url)
    if "wells" not in table_names(plate, None):
        return ()
    wells = read_table(plate, None, "wells")
    there = [str(name) for name in wells if wells[name].notna().any()]
    counted = [name for name in there if name.startswith(_COUNT)]
    maps = [_heat_map(plate, wells, name) for name in counted]
    ends = [picture for name in counted[:1] for picture in _ends(plate, wells, name)]
    return (*maps, *ends)


def _heat_map(plate: Plate, wells: pd.DataFrame, name: str) -> Picture:
    layout, title = plate.layout, f"{name.removeprefix(_COUNT)}: objects per frame, mean"
    places = list(zip(wells["row"], wells["column"], strict=True))
    values = wells[name].astype("float64")
    failed = [
        place for place, state in zip(places, wells["state"], strict=True) if state == "failed"
    ]
    png = draw_heat_map(
        dict(zip(places, values, strict=True)), layout.rows, layout.columns, title, failed
    )
    return Picture(title, png)


def _ends(plate: Plate, wells: pd.DataFrame, name: str) -> list[Picture]:
    in_order = wells[wells[name].notna()].sort_values(name, kind="stable")
    chosen = in_order.iloc[[-1, 0]] if len(in_order) > 1 else in_order
    return [
        _overlay(plate, WellPath(row, column), name.removeprefix(_COUNT))
        for row, column in islice(zip(chosen["row"], chosen["column"], strict=True), 2)
    ]


def _overlay(plate: Plate, well: WellPath, label: str) -> Picture:
    field = plate.well(well).fields[0]
    image = plate.field_image(field)
    frame, channel = image.n_frames // 2, image.channels[0].label
    drawn = field_overlay(field, channel, [frame], LabelSource(plate, label))
    return Picture(f"{field}, frame {frame}: {label} over {channel}", encode_png(drawn))
