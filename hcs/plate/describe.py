"""Our model as OME-Zarr 0.4 and 0.5 attributes: strict, checked by ome-zarr-models."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
from ome_zarr_models import v04, v05
from pydantic import BaseModel

from hcs.plate.metadata import Channel, Level, PlateLayout, Version
from hcs.plate.path import FieldPath

if TYPE_CHECKING:
    from hcs.plate.commit import JSON

    Attributes = dict[str, JSON]


_AXIS_TYPES = {"t": "time", "c": "channel", "z": "space", "y": "space", "x": "space"}
_V04: dict[str, type[BaseModel]] = {
    "plate": v04.hcs.HCSAttrs,
    "well": v04.well.WellAttrs,
    "image": v04.image.ImageAttrs,
    "labels": v04.labels.LabelsAttrs,
    "image-label": v04.image_label.ImageLabelAttrs,
}
_V05: dict[str, type[BaseModel]] = {
    "plate": v05.hcs.HCSAttrs,
    "well": v05.well.WellAttrs,
    "image": v05.image.ImageAttrs,
    "labels": v05.labels.LabelsAttrs,
    "image-label": v05.image_label.ImageLabelAttrs,
}


def _checked(kind: str, version: Version, part: Attributes) -> Attributes:
    if version == "0.4":
        _V04[kind].model_validate(part)
        return part
    part = {"version": version} | part
    _V05[kind].model_validate(part)
    return {"ome": part}


def _versioned(version: Version, section: Attributes) -> Attributes:
    # 0.5 says it once per group, above its sections
    return section if version == "0.5" else section | {"version": version}


def plate_attributes(layout: PlateLayout) -> Attributes:
    """Return the attributes of a plate's root group."""
    rows = {name: place for place, name in enumerate(layout.rows)}
    columns = {name: place for place, name in enumerate(layout.columns)}
    plate: Attributes = {
        "name": layout.name,
        "rows": [{"name": row} for row in layout.rows],
        "columns": [{"name": column} for column in layout.columns],
        "wells": [
            {
                "path": str(well),
                "rowIndex": rows[well.row],
                "columnIndex": columns[well.column],
            }
            for well in layout.wells
        ],
    }
    if layout.acquisitions:
        plate["acquisitions"] = [
            {"id": a.id, "name": a.name} if a.name else {"id": a.id} for a in layout.acquisitions
        ]
    # also in 0.5: ome-zarr-models asks for it here
    section: Attributes = plate | {"version": layout.version}
    return _checked("plate", layout.version, {"plate": section})


def well_attributes(
    version: Version, fields: Sequence[FieldPath], acquisitions: Sequence[int | None]
) -> Attributes:
    """Return the attributes of a well group."""
    images: list[JSON] = [
        {"path": field.name}
        if acquisition is None
        else {"path": field.name, "acquisition": acquisition}
        for field, acquisition in zip(fields, acquisitions, strict=True)
    ]
    return _checked("well", version, {"well": _versioned(version, {"images": images})})


def image_attributes(
    version: Version,
    name: str,
    axes: Mapping[str, str | None],
    levels: Sequence[Level],
    channels: Sequence[Channel],
    dtype: str,
) -> Attributes:
    """Return the attributes of a field's image group.

    Parameters
    ----------
    version : {"0.4", "0.5"}
    name : str
    axes : mapping of str to str or None
        The unit of each axis, None where it is unknown.
    levels : sequence of Level
    channels : sequence of Channel
    dtype : str
        Gives the display window of channels that have none.
    """
    part: Attributes = {
        "multiscales": [_multiscale(version, name, axes, levels, "mean of 2 x 2 pixels")],
        "omero": {"channels": [_channel(channel, dtype) for channel in channels]},
    }
    return _checked("image", version, part)


def labels_attributes(version: Version, names: Sequence[str]) -> Attributes:
    """Return the attributes of a field's ``labels`` group."""
    part = _checked("labels", version, {"labels": list(names)})
    # vizarr looks for the list at the top level in 0.5 too
    return part | {"labels": list(names)}


def label_image_attributes(
    version: Version,
    name: str,
    axes: Mapping[str, str | None],
    levels: Sequence[Level],
    own: Mapping[str, JSON],
) -> Attributes:
    """Return the attributes of a label image; `own` are ours, outside of what OME-Zarr says."""
    part: Attributes = {
        "multiscales": [_multiscale(version, name, axes, levels, "nearest pixel")],
        "image-label": {"version": version, "source": {"image": "../../"}},
    }
    return _checked("image-label", version, part) | dict(own)


def _multiscale(
    version: Version,
    name: str,
    axes: Mapping[str, str | None],
    levels: Sequence[Level],
    method: str,
) -> Attributes:
    section: Attributes = {
        "name": name,
        "type": method.split()[0],
        "metadata": {"description": f"each level is the {method} of the level before"},
        "axes": [_axis(axis, unit) for axis, unit in axes.items()],
        "datasets": [
            {"path": level.path, "coordinateTransformations": _transformations(level)}
            for level in levels
        ],
    }
    return _versioned(version, section)


def _axis(name: str, unit: str | None) -> JSON:
    axis: Attributes = {"name": name, "type": _AXIS_TYPES[name]}
    return axis | {"unit": unit} if unit else axis


def _transformations(level: Level) -> list[JSON]:
    scale: JSON = {"type": "scale", "scale": list(level.scale)}
    if not any(level.translation):
        return [scale]
    return [scale, {"type": "translation", "translation": list(level.translation)}]


def _channel(channel: Channel, dtype: str) -> JSON:
    kind = np.dtype(dtype)
    full = (0.0, 1.0) if kind.kind in "fb" else (np.iinfo(kind).min, np.iinfo(kind).max)
    low, high, start, end = channel.window or (*full, *full)
    return {
        "label": channel.label,
        "color": channel.color,
        "active": True,
        "window": {"min": float(low), "max": float(high), "start": float(start), "end": float(end)},
    }
