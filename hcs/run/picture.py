"""A field with what was found in it, as one picture."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hcs.plate.open import Plate
from hcs.plate.path import FieldPath
from hcs.plate.read import read_frames, read_label_image
from hcs.report.overlay import draw_outlines, montage


@dataclass(frozen=True)
class LabelSource:
    """A label image of a plate: the one that a run wrote, or the truth's."""

    plate: Plate
    name: str


def field_overlay(
    field: FieldPath,
    channel: str,
    frames: Sequence[int],
    found: LabelSource,
    truth: LabelSource | None = None,
) -> NDArray[np.uint8]:
    """Draw chosen frames of a field, each with the outlines of what was found.

    Parameters
    ----------
    field : FieldPath
        In the plate of ``found``, and of ``truth`` where it is given.
    channel : str
        Shown below the outlines.
    frames : sequence of int
        Frame indices, at least one.
    found : LabelSource
        Outlines in colour, one per track.
    truth : LabelSource, optional
        Outlines in white dots.

    Returns
    -------
    ndarray of uint8, shape (rows, columns, 3)
        RGB, at most three frames in a row.
    """
    pictures = []
    for index in frames:
        one = range(index, index + 1)
        (frame,) = read_frames(found.plate, field, channel, one)
        (labels,) = read_label_image(found.plate, field, found.name, one)
        true = next(read_label_image(truth.plate, field, truth.name, one)) if truth else None
        pictures.append(draw_outlines(frame, labels, true))
    return montage(pictures, columns=min(3, len(pictures)))
