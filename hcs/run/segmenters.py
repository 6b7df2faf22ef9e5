"""Segmenters that a user plugs in: frames of a field in, label images out.

A package names its segmenter in the entry point group ``hcs.segmenters``; the name is what stands
in the setting ``methods``, and the name of the label image unless the segmenter has an attribute
``label_image``. It is called with the frames of one field, (t, y, x) as they are on disk, and
returns label images of the same shape, 0 for background; ids need not agree from frame to frame.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import EntryPoint, entry_points
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hcs.errors import FramesError, SettingsError

GROUP = "hcs.segmenters"

# label images of the methods that are always there
_TAKEN = ("ssl_cells", "isl_nuclei", "isl_cells")

Segmenter = Callable[[NDArray[Any]], NDArray[Any]]


@dataclass(frozen=True)
class Plugin:
    """An installed segmenter.

    Parameters
    ----------
    method : str
        Its name in the settings.
    label_image : str
        Where its objects go.
    version : str
        Of the package that brings it; part of the step's fingerprint.
    segment : callable
        Frames (t, y, x) of a field -> label images (t, y, x).
    """

    method: str
    label_image: str
    version: str
    segment: Segmenter


def find_segmenter(method: str) -> Plugin:
    """Return the installed segmenter of that name.

    Raises
    ------
    SettingsError
        If there is none, naming those there are, or it names its label image badly.
    """
    installed = {point.name: point for point in entry_points(group=GROUP)}
    if method not in installed:
        known = ", ".join(["ssl", "isl", *sorted(installed)])
        raise SettingsError(
            f"methods: {method!r} is not known",
            hint=f"there are: {known}; others come with packages that name them in {GROUP}",
        )
    return _load(installed[method])


def segment(plugin: Plugin, frames: NDArray[Any]) -> NDArray[np.uint32]:
    """Call a segmenter and check what it returns.

    Raises
    ------
    FramesError
        If the result has another shape, is no integer, or has negative ids.
    """
    labels = np.asarray(plugin.segment(frames))
    if labels.shape != frames.shape or labels.dtype.kind not in "bui":
        raise FramesError(
            f"segmenter {plugin.method!r} returned {labels.dtype} of shape {labels.shape} "
            f"for frames of shape {frames.shape}",
            hint="it must return one integer label image per frame",
        )
    if labels.size and (labels.min() < 0 or labels.max() > np.iinfo(np.uint32).max):
        raise FramesError(
            f"segmenter {plugin.method!r} returned label ids from {labels.min()} to {labels.max()}",
            hint="ids are 0 for background and positive, within 32 bits",
        )
    return labels.astype(np.uint32)


def _load(point: EntryPoint) -> Plugin:
    loaded = point.load()
    label_image = getattr(loaded, "label_image", point.name)
    if not re.fullmatch(r"[A-Za-z0-9_-]+", label_image) or label_image in _TAKEN:
        raise SettingsError(
            f"segmenter {point.name!r} names its label image {label_image!r}",
            hint=f"letters, digits, _ and - only, and not {', '.join(_TAKEN)}",
        )
    version = f"{point.dist.name} {point.dist.version}" if point.dist else "unknown"
    return Plugin(point.name, label_image, version, loaded)
