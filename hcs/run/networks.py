"""A trained network on frames of a well: read, predict and write, all at the same time.

Each function runs on a worker and gets all spans of a well at once, so that batches fill across
frames and fields; a network is loaded once in a process.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any, Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from hcs.isl.heads import Prediction
from hcs.isl.segment import objects_of, prepare, stains_of
from hcs.isl.settings import IslSettings
from hcs.plate.blocks import reading_of
from hcs.plate.path import FieldPath
from hcs.plate.read import read_frames
from hcs.plate.write import write_product_frames
from hcs.run import scratch
from hcs.run.ahead import in_step
from hcs.run.models import Model, planes_of
from hcs.run.spans import Source, Span, describe_objects, keep_tables, naming, opened
from hcs.run.stains import channels_of
from hcs.run.stopping import between_frames

# predictions that are split and written meanwhile: beside a GPU that takes more than computing
_WRITTEN_BEHIND = {"cpu": 2, "gpu": 4}


@dataclass(frozen=True)
class Network:
    """A network as a worker is to use it.

    Parameters
    ----------
    model : Model
    settings : IslSettings
    device : {"cpu", "gpu"}
    """

    model: Model
    settings: IslSettings
    device: Literal["cpu", "gpu"]


@dataclass(frozen=True)
class Found:
    """What a network did with spans of a well.

    Parameters
    ----------
    manifest : mapping of str to str
        Of the files written; empty for objects, which wait for their ids.
    n_objects : int
    blank : tuple of (FieldPath, int)
        Frames without a prediction: a plane of them has one grey level only.
    """

    manifest: dict[str, str]
    n_objects: int
    blank: tuple[tuple[FieldPath, int], ...]


@dataclass(frozen=True)
class _Frame:
    """A frame with its prediction; None for a blank one."""

    field: FieldPath
    index: int
    prediction: Prediction | None


def predict_stains(source: Source, spans: Sequence[Span], network: Network) -> Found:
    """Predict the stains of each frame and write them to the step's own plate.

    The fields' images are there already; those of blank frames are zero.
    """
    plate = opened(source)
    sister = plate.sister(network.model.card.step)
    n_channels = len(channels_of(network.model.card, network.settings))
    blank: list[tuple[FieldPath, int]] = []

    def write(one: _Frame) -> dict[str, str]:
        shape = plate.field_image(one.field).frame_shape
        planes = np.zeros((n_channels, *shape), np.float32)
        if one.prediction is None:
            blank.append((one.field, one.index))
        else:
            stains, spread = stains_of(one.prediction, network.model.card, shape)
            planes = stains if spread is None else np.concatenate([stains, spread])
        with naming(one.field, one.index):
            return write_product_frames(sister, one.field, one.index, planes[None, :, None])

    manifest: dict[str, str] = {}
    behind = _WRITTEN_BEHIND[network.device]
    for files in in_step(write, _predicted(source, spans, network), behind):
        manifest |= files
    return Found(manifest, 0, _in_order(blank))


def find_objects(source: Source, spans: Sequence[Span], network: Network) -> Found:
    """Find the objects of each frame, as `hcs.run.spans.segment_span` does for SSL.

    Label images with ids that count from 1 in each frame, and a table of the objects of each span,
    are left as scratch files.
    """
    plate, step = opened(source), network.model.card.step
    blank: list[tuple[FieldPath, int]] = []

    def keep(one: _Frame) -> pd.DataFrame:
        shape = plate.field_image(one.field).frame_shape
        labels, spread = np.zeros(shape, np.uint32), None
        if one.prediction is None:
            blank.append((one.field, one.index))
        else:
            found = objects_of(one.prediction, network.model.card, shape, network.settings)
            labels, spread = found.labels, found.spread
        scratch.write_labels(plate, one.field, step, one.index, labels)
        return describe_objects(labels, one.index, spread=spread)

    behind = _WRITTEN_BEHIND[network.device]
    tables = in_step(keep, _predicted(source, spans, network), behind)
    n_objects = 0
    for span in spans:
        own = list(islice(tables, len(span.frames)))
        n_objects += keep_tables(plate, span, f"{step}/objects", own)
    return Found({}, n_objects, _in_order(blank))


def _in_order(blank: list[tuple[FieldPath, int]]) -> tuple[tuple[FieldPath, int], ...]:
    return tuple(sorted(blank, key=lambda one: (str(one[0]), one[1])))


def _predicted(source: Source, spans: Sequence[Span], network: Network) -> Iterator[_Frame]:
    """Yield each frame with its prediction, in order; reading goes on meanwhile."""
    from hcs.isl.predict import loaded

    model, settings = network.model, network.settings
    predictor = loaded(model.path, model.digest, settings, network.device).predictor
    frames = _frames_of(spans)
    inputs = _inputs(source, spans, network)
    waiting: deque[tuple[tuple[FieldPath, int], bool]] = deque()

    def not_blank() -> Iterator[NDArray[np.float32]]:
        for frame, image in zip(frames, between_frames(inputs), strict=True):
            waiting.append((frame, image is None))
            if image is not None:
                yield image

    for prediction in predictor.predict(not_blank()):
        yield from _blank_ones(waiting)
        yield _Frame(*waiting.popleft()[0], prediction)
    yield from _blank_ones(waiting)


def _frames_of(spans: Sequence[Span]) -> list[tuple[FieldPath, int]]:
    return [(span.field, index) for span in spans for index in span.frames]


def _blank_ones(waiting: deque[tuple[tuple[FieldPath, int], bool]]) -> Iterator[_Frame]:
    """Take the blank frames from the head of those that wait for their prediction."""
    while waiting and waiting[0][1]:
        yield _Frame(*waiting.popleft()[0], None)


def _inputs(
    source: Source, spans: Sequence[Span], network: Network
) -> Iterator[NDArray[np.float32] | None]:
    """Yield what the network takes of each frame, in order; None for one that is blank.

    A batch is read while one is computed, also where a batch is one frame.
    """
    ahead = network.settings.batch + 1
    if not _share_chunks(source, spans):
        return in_step(lambda frame: _input(source, *frame, network), _frames_of(spans), ahead)
    # one after the other: readers side by side would each decode the chunk that their frame is in
    read = (
        (span.field, index, planes)
        for span in spans
        for index, planes in enumerate(
            _read(source, span.field, span.frames, network), span.frames.start
        )
    )
    return in_step(lambda one: _prepared(source, *one, network), read, ahead)


def _share_chunks(source: Source, spans: Sequence[Span]) -> bool:
    """Tell whether several frames of a field lie in one chunk."""
    images = [opened(source).field_image(span.field) for span in spans]
    return any(reading_of(image).n_together > 1 for image in images)


def _input(
    source: Source, field: FieldPath, index: int, network: Network
) -> NDArray[np.float32] | None:
    (planes,) = _read(source, field, range(index, index + 1), network)
    return _prepared(source, field, index, planes, network)


def _read(
    source: Source, field: FieldPath, frames: range, network: Network
) -> Iterator[NDArray[Any]]:
    """Yield the planes of each frame that the network takes, (c, y, x)."""
    with naming(field):
        streams = [
            read_frames(opened(source), field, channel, frames, plane)
            for channel, plane in planes_of(network.model.card, network.settings.channels)
        ]
        for planes in zip(*streams, strict=True):
            yield np.stack(planes)


def _prepared(
    source: Source, field: FieldPath, index: int, planes: NDArray[Any], network: Network
) -> NDArray[np.float32] | None:
    with naming(field, index):
        if any(plane.min() == plane.max() for plane in planes):
            return None
        pixel_size_um = opened(source).field_image(field).pixel_size_um
        return prepare(planes, network.model.card, pixel_size_um, network.settings)
