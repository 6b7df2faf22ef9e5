"""Label images against a truth: scores per frame, well and plate, and of tracks."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from dataclasses import field as dataclass_field
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from hcs.errors import FramesError, MissingError, SettingsError
from hcs.ingest.findings import some
from hcs.ingest.provenance import FieldSource, field_source, read_sources
from hcs.labels.ctc import pair, seg_score, track_scores
from hcs.labels.match import IOU_THRESHOLDS, average_precision, overlaps, pixel_scores
from hcs.plate.open import Plate
from hcs.plate.path import FieldPath, WellPath
from hcs.plate.read import read_label_image
from hcs.plate.table import read_table, table_names
from hcs.run.by_well import by_well
from hcs.run.export import check_label, has_failed
from hcs.run.scores import Evaluation
from hcs.run.truth import Coverage, Labels, Truth

_PLACE = ["well", "field", "frame", "source_number", "truth"]
_AREA = ["f1", "precision", "recall", "iou", "mcc"]
_AP = [f"ap_{round(100 * threshold)}" for threshold in IOU_THRESHOLDS]
SCORES = [*_AREA, "ap", *_AP, "seg"]
_TRACKS = ["well", "field", "n_frames", "tra", "det", "lnk", "link_accuracy"]
# with fewer frames there is no link to be right or wrong
_MIN_TRACK_FRAMES = 2


@dataclass(frozen=True)
class _WellScores:
    """What one well adds to the tables, its rows in the order of the fields."""

    frames: list[dict[str, Any]] = dataclass_field(default_factory=list)
    tracks: list[dict[str, Any]] = dataclass_field(default_factory=list)
    failed: list[FieldPath] = dataclass_field(default_factory=list)
    times: dict[FieldPath, tuple[int, ...]] = dataclass_field(default_factory=dict)


def evaluate_plate(
    plate: Plate,
    truth: Truth,
    label: str,
    *,
    crop_px: int = 0,
    without: Sequence[WellPath] = (),
) -> Evaluation:
    """Return how well a label image agrees with a truth, wherever there is some.

    Parameters
    ----------
    plate : Plate
    truth : Truth
    label : str
        Name of the label image.
    crop_px : int
        Removed on each side of result and truth, but not where tracks are scored.
    without : sequence of WellPath
        Wells that are not scored, such as those that a network was trained on.

    Raises
    ------
    MissingError
        If no field has the label image, no frame has a truth, or the plate lacks a well that is
        left out.
    HcsError
        What is wrong with the first well that has none, where no well has scores.
    SettingsError
        If nothing is left after cropping.
    """
    check_label(plate, label)
    sources = read_sources(plate)
    skipped = known_wells(plate, without)

    def score(well: WellPath) -> _WellScores:
        if well in skipped:
            return _WellScores()
        return _score_well(plate, truth, label, crop_px, well, sources)

    wells, left_out = by_well(plate, score)
    rows = [row for well in wells for row in well.frames]
    tracks = [row for well in wells for row in well.tracks]
    if not rows and not tracks:
        if left_out:
            raise left_out[0].cause
        times = {field: own for well in wells for field, own in well.times.items()}
        raise MissingError("no frame has a truth", hint=f"the plate's frames are {_numbers(times)}")
    frames = pd.DataFrame(rows, columns=[*_PLACE, *SCORES, "n_truth", "n_objects"])
    return Evaluation(
        label=label,
        truth=truth.name,
        crop_px=crop_px,
        frames=frames,
        wells=_means(frames, ["well", "truth"]),
        plate=_means(frames, ["truth"]),
        tracks=pd.DataFrame(tracks, columns=_TRACKS),
        failed=tuple(str(field) for well in wells for field in well.failed),
        left_out=left_out,
        without=tuple(map(str, without)),
    )


def known_wells(plate: Plate, wells: Sequence[WellPath]) -> frozenset[WellPath]:
    """Return wells as a set; `MissingError` names those that the plate lacks."""
    unknown = sorted(str(well) for well in set(wells) - set(plate.layout.wells))
    if unknown:
        raise MissingError(
            f"plate {plate.storage.name} has no well {some(unknown)}",
            hint=f"it has {some(plate.layout.wells)}",
        )
    return frozenset(wells)


def _score_well(
    plate: Plate,
    truth: Truth,
    label: str,
    crop_px: int,
    well: WellPath,
    sources: Mapping[FieldPath, FieldSource],
) -> _WellScores:
    scores = _WellScores()
    for field in plate.well(well).fields:
        times = field_source(sources, plate, field).times
        scores.times[field] = times
        if not truth.coverage(field) and truth.tracks(field) is None:
            continue
        if has_failed(plate, field, label):
            scores.failed.append(field)
            continue
        scores.frames.extend(
            {"source_number": times[row["frame"]], **row}
            for row in _frame_rows(plate, truth, field, label, crop_px)
        )
        scores.tracks.extend(_track_rows(plate, truth, field, label))
    return scores


def score_frame(labels: Labels, truth: Labels, coverage: Coverage) -> dict[str, float]:
    """Return the scores of one frame.

    Parameters
    ----------
    labels, truth : ndarray of uint32, shape (y, x)
    coverage : {"full", "partial"}
        Of a partial truth the background is unknown: only recall and SEG are defined.

    Examples
    --------
    >>> truth = np.array([[1, 1, 0, 0]], np.uint32)
    >>> labels = np.array([[4, 4, 4, 0]], np.uint32)
    >>> scores = score_frame(labels, truth, "full")
    >>> scores["f1"], scores["recall"], scores["ap_50"], scores["ap_95"]
    (0.8, 1.0, 1.0, 0.0)
    >>> sorted(name for name, score in score_frame(labels, truth, "partial").items() if score)
    ['n_objects', 'n_truth', 'recall', 'seg']
    """
    found = overlaps(labels, truth)
    area = pixel_scores(labels > 0, truth > 0)
    counts = {"n_truth": found.truth.size, "n_objects": found.labels.size}
    seg = seg_score([pair(found)])
    if coverage == "partial":
        return {"recall": area.recall, "seg": seg, **counts}
    precision = average_precision(labels, truth)
    return {
        **asdict(area),
        # nothing found of something is no precision, so that such a frame lowers the mean
        "precision": 0.0 if math.isnan(area.precision) else area.precision,
        "ap": float(precision.mean()),
        **dict(zip(_AP, precision.tolist(), strict=True)),
        "seg": seg,
        **counts,
    }


def _frame_rows(
    plate: Plate, truth: Truth, field: FieldPath, label: str, crop_px: int
) -> Iterator[dict[str, Any]]:
    for frame, coverage in truth.coverage(field).items():
        true = truth.labels(field, frame)
        labels = _labels(plate, field, label, frame, true.shape)
        scores = score_frame(crop(labels, crop_px), crop(true, crop_px), coverage)
        place = {"well": field.well.name, "field": field.name, "frame": frame, "truth": coverage}
        yield place | scores


def _labels(
    plate: Plate, field: FieldPath, label: str, frame: int, shape: tuple[int, ...]
) -> Labels:
    labels = next(iter(read_label_image(plate, field, label, range(frame, frame + 1))))
    if labels.shape != shape:
        raise FramesError(
            f"{field} frame {frame}: the truth is {shape} pixels, the labels are {labels.shape}"
        )
    return labels


def crop(image: NDArray[Any], crop_px: int) -> NDArray[Any]:
    """Return an image without its rim.

    Examples
    --------
    >>> crop(np.arange(9, dtype=np.uint32).reshape(3, 3), 1)
    array([[4]], dtype=uint32)
    """
    if 2 * crop_px >= min(image.shape):
        raise SettingsError(f"--crop {crop_px} leaves nothing of {image.shape} pixels")
    return image[crop_px : image.shape[0] - crop_px, crop_px : image.shape[1] - crop_px]


def _track_rows(
    plate: Plate, truth: Truth, field: FieldPath, label: str
) -> Iterator[dict[str, Any]]:
    true = truth.tracks(field)
    if true is None or len(true.frames) < _MIN_TRACK_FRAMES:
        return
    pairs = []
    for frame in true.frames:
        markers = truth.markers(field, frame)
        labels = _labels(plate, field, label, frame, markers.shape)
        pairs.append(pair(overlaps(labels, markers)))
    known = pd.DataFrame({"label": list(true.parents), "parent_label": list(true.parents.values())})
    scores = track_scores(pairs, _own_tracks(plate, field, label), known)
    place = {"well": field.well.name, "field": field.name, "n_frames": len(true.frames)}
    yield place | asdict(scores)


def _own_tracks(plate: Plate, field: FieldPath, label: str) -> pd.DataFrame:
    """Return a row per id with its parent; none where the table with the parents is missing."""
    name = f"{label}_motion"
    if name not in table_names(plate, field):
        return pd.DataFrame({"label": [], "parent_label": []}, dtype=np.int64)
    objects = read_table(plate, field, name)[["label", "parent_label"]]
    return objects.drop_duplicates("label").fillna(0).astype(np.int64)


def _means(frames: pd.DataFrame, by: list[str]) -> pd.DataFrame:
    groups = frames.groupby(by)
    means = groups[SCORES].mean()
    means.insert(0, "n_frames", groups.size())
    return means.reset_index()


def _numbers(times: Mapping[FieldPath, tuple[int, ...]]) -> str:
    return some(f"{own[0]} to {own[-1]} of {field}" for field, own in times.items())
