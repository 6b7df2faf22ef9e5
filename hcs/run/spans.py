"""Work on a span: a run of frames of one field, with the frame before as context.

Each function here runs on a worker, opens the plate itself, and sends back a small record. What is
large waits as a scratch file beside the plate until the ids of the whole field are known.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Literal

import cv2
import numpy as np
import pandas as pd
from numpy.typing import NDArray

from hcs.errors import HcsError
from hcs.labels.settings import SplitSettings
from hcs.labels.split import split
from hcs.labels.track import Tracks, relabel
from hcs.plate.open import Plate, open_plate
from hcs.plate.path import FieldPath
from hcs.plate.read import read_channels, read_frames, read_label_image
from hcs.plate.write import write_label_frames
from hcs.run import scratch
from hcs.run.stopping import between_frames
from hcs.settings import CalibrationSettings
from hcs.ssl.grey import N_KEYS
from hcs.ssl.segment import (
    FrameDecision,
    GreyRange,
    PairStatistics,
    SslSettings,
    histogram,
    pair_statistics,
    segment_frame,
)
from hcs.tables.objects import measure_frame


@dataclass(frozen=True)
class Source:
    """Where a run reads: the plate, and which of its pixels.

    Parameters
    ----------
    url : str
    calibration : CalibrationSettings
    channel : str
    plane : int or {"max", "mean"}
    token : int
        Of the run's lock; an opened plate is kept for one run only.
    """

    url: str
    calibration: CalibrationSettings
    channel: str
    plane: int | Literal["max", "mean"]
    token: int


@dataclass(frozen=True)
class Span:
    """Frames ``start`` to ``stop`` (not included) of a field of ``n_frames``.

    Examples
    --------
    >>> from hcs.plate.path import FieldPath
    >>> field = FieldPath.parse("B/03/0")
    >>> [(span.start, span.stop) for span in cut(field, n_frames=7, longest=3)]
    [(0, 3), (3, 6), (6, 7)]
    """

    field: FieldPath
    start: int
    stop: int
    n_frames: int

    @property
    def frames(self) -> range:
        """The frames themselves, without context."""
        return range(self.start, self.stop)


def cut(field: FieldPath, n_frames: int, longest: int) -> tuple[Span, ...]:
    """Cut a field into spans of at most so many frames."""
    starts = range(0, n_frames, longest)
    return tuple(Span(field, s, min(s + longest, n_frames), n_frames) for s in starts)


@lru_cache(maxsize=2)
def opened(source: Source) -> Plate:
    """Open the plate of a run, once per process, to write to it while the run holds it."""
    # threads inside OpenCV would change the order of sums, and compete with the other workers
    cv2.setNumThreads(1)
    plate = open_plate(
        source.url,
        pixel_size_um=source.calibration.pixel_size_um,
        interval_s=source.calibration.interval_s,
    )
    plate.hold(source.token)
    return plate


# keys of `hcs.ssl.segment.histogram` that occur, and how often: what fits into a small record
GreyCounts = tuple[NDArray[np.intp], NDArray[np.int64]]


def count_grey_levels(source: Source, span: Span) -> GreyCounts:
    """Return which grey levels occur in a span, and how often."""
    counts = np.zeros(N_KEYS, np.int64)
    with naming(span.field):
        for frame in between_frames(_frames(source, span.field, span.frames)):
            counts += histogram(frame)
    keys = np.flatnonzero(counts)
    return keys, counts[keys]


def add_up(counted: Iterable[GreyCounts]) -> NDArray[np.int64]:
    """Return the histogram of a field from those of its spans.

    Examples
    --------
    >>> one = np.array([3]), np.array([2])
    >>> add_up([one, one])[2:5].tolist()
    [0, 4, 0]
    """
    total = np.zeros(N_KEYS, np.int64)
    for keys, counts in counted:
        total[keys] += counts
    return total


def compare_frames(
    source: Source, span: Span, grey: GreyRange, settings: SslSettings
) -> tuple[PairStatistics, ...]:
    """Return the statistics of each frame of a span against the one before."""
    with naming(span.field):
        return tuple(
            pair_statistics(frame, reference, grey, settings)
            for _, frame, reference in between_frames(_pairs(source, span))
        )


def segment_span(
    source: Source,
    span: Span,
    grey: GreyRange,
    decisions: tuple[FrameDecision, ...],
    settings: tuple[SslSettings, SplitSettings],
) -> int:
    """Find the objects of each frame of a span; return how many.

    Label images with ids that count from 1 in each frame, and a table of the objects, are left as
    scratch files.

    Parameters
    ----------
    decisions : tuple of FrameDecision
        Of the whole field.
    """
    plate, tables = opened(source), []
    with naming(span.field):
        for index, frame, reference in between_frames(_pairs(source, span)):
            found = segment_frame(frame, reference, grey, decisions[index], settings[0])
            labels = split(found.mask, settings[1])
            scratch.write_labels(plate, span.field, "ssl", index, labels)
            tables.append(describe_objects(labels, index, found.displacement))
    return keep_tables(plate, span, "ssl/objects", tables)


def write_span(source: Source, span: Span, step: str, label_image: str) -> dict[str, str]:
    """Give the objects of a span their final ids, write their label images, return the manifest.

    The ids are those of the scratch table ``<step>/tracks``.
    """
    plate, manifest = opened(source), dict[str, str]()
    tracks = Tracks(scratch.read_table(plate, span.field, f"{step}/tracks"))
    with naming(span.field):
        for index in span.frames:
            local = scratch.read_labels(plate, span.field, step, index)
            final = relabel(local, tracks.ids(index))[None]
            manifest |= write_label_frames(plate, span.field, label_image, index, final)
    return manifest


def measure_span(
    source: Source,
    span: Span,
    label_image: str,
    channels: tuple[str, ...] | None,
    stains: tuple[str, ...] = (),
) -> int:
    """Measure each object of a span in every channel; leave a scratch table, return its length.

    Parameters
    ----------
    channels : tuple of str or None
        Of the plate; None for all of them.
    stains : tuple of str
        Steps whose predicted stains are measured, too.
    """
    plate, tables = opened(source), []
    image = plate.field_image(span.field)
    with naming(span.field):
        grey = [read_channels(plate, span.field, span.frames, source.plane)]
        grey += [read_channels(plate.sister(step), span.field, span.frames) for step in stains]
        found = read_label_image(plate, span.field, label_image, span.frames)
        frames = zip(span.frames, found, *grey, strict=True)
        for index, labels, pixels, *predicted in between_frames(frames):
            wanted = {name: pixels[name] for name in channels or pixels}
            for stain in predicted:
                wanted |= stain
            tables.append(
                measure_frame(
                    labels,
                    wanted,
                    time_index=index,
                    t_second=None if image.interval_s is None else image.interval_s * index,
                    pixel_size_um=image.pixel_size_um,
                )
            )
    return keep_tables(plate, span, f"measure-{label_image}/objects", tables)


def keep_objects(plate: Plate, field: FieldPath, step: str, labels: NDArray[np.uint32]) -> int:
    """Leave label images that came from elsewhere as `segment_span` does; return their objects."""
    for index, frame in enumerate(labels):
        scratch.write_labels(plate, field, step, index, frame)
    tables = [describe_objects(frame, index) for index, frame in enumerate(labels)]
    return keep_tables(plate, Span(field, 0, len(labels), len(labels)), f"{step}/objects", tables)


def describe_objects(
    labels: NDArray[np.uint32],
    time_index: int,
    displacement: NDArray[np.float32] | None = None,
    spread: NDArray[np.float32] | None = None,
) -> pd.DataFrame:
    """Return what linking needs of each object of a frame.

    Parameters
    ----------
    labels : ndarray of uint32, shape (y, x)
    time_index : int
    displacement : ndarray of float32, shape (2, y, x), or None
        Since the frame before, pixels; None where it is not known.
    spread : ndarray of float32, shape (y, x), or None
        Of the probability of foreground; None where it is not known.

    Returns
    -------
    DataFrame
        By ``local_label``: centroid, area, mean displacement and its mean length, mean spread as
        ``uncertainty``.

    Examples
    --------
    >>> table = describe_objects(np.array([[0, 1], [0, 1]], np.uint32), time_index=4)
    >>> table[["local_label", "y", "x", "area"]].to_numpy().tolist()
    [[1.0, 0.5, 1.0, 2.0]]
    """
    flat = labels.ravel()
    area = np.bincount(flat, minlength=1)
    objects = np.flatnonzero(area[1:]) + 1
    rows, columns = np.indices(labels.shape, dtype=np.float64)
    unknown = np.full((2, *labels.shape), np.nan)
    dy, dx = unknown if displacement is None else displacement.astype(np.float64)
    doubt = unknown[0] if spread is None else spread.astype(np.float64)
    means = {
        name: np.bincount(flat, values.ravel(), minlength=1)[objects] / area[objects]
        for name, values in {
            "y": rows,
            "x": columns,
            "displacement_y_pixel": dy,
            "displacement_x_pixel": dx,
            "displacement_pixel": np.hypot(dy, dx),
            "uncertainty": doubt,
        }.items()
    }
    table = {"time_index": time_index, "local_label": objects, "area": area[objects]} | means
    return pd.DataFrame(table, index=range(len(objects)))


@contextmanager
def naming(field: FieldPath, frame: int | None = None) -> Iterator[None]:
    """Add field and frame to an error of the core, which knows arrays only.

    Examples
    --------
    >>> with naming(FieldPath.parse("B/03/0")):
    ...     raise HcsError("the frame is constant")
    Traceback (most recent call last):
    hcs.errors.HcsError: field B/03/0: the frame is constant
    """
    try:
        yield
    except HcsError as error:
        if str(field) in error.message:
            raise
        place = f"field {field}" if frame is None else f"field {field}, frame {frame}"
        raise type(error)(f"{place}: {error.message}", error.hint) from error


def keep_tables(plate: Plate, span: Span, folder: str, tables: Sequence[pd.DataFrame]) -> int:
    """Leave the tables of a span's frames as one scratch file; return how many rows there are."""
    # pandas warns of frames without rows among those with some
    full = [table for table in tables if len(table)] or tables[:1]
    objects = pd.concat(full, ignore_index=True)
    scratch.write_table(plate, span.field, f"{folder}/{span.start:08d}", objects)
    return len(objects)


def _frames(source: Source, field: FieldPath, frames: range) -> Iterator[NDArray[Any]]:
    return read_frames(opened(source), field, source.channel, frames, source.plane)


def _pairs(source: Source, span: Span) -> Iterator[tuple[int, NDArray[Any], NDArray[Any]]]:
    """Yield (index, frame, reference): the frame before, or for the first frame the second."""
    first = max(0, span.start - 1)
    stop = max(span.stop, 2)
    frames = _frames(source, span.field, range(first, stop))
    previous = next(frames)
    for index, frame in enumerate(frames, start=first + 1):
        if index == 1 and span.start == 0:
            yield 0, previous, frame
        if index < span.stop:
            yield index, frame, previous
        previous = frame
