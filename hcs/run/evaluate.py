"""Label images against a truth: scores per frame, well and plate, and of tracks."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from hcs.errors import FramesError, MissingError, SettingsError
from hcs.ingest.findings import some
from hcs.ingest.provenance import field_source, read_sources
from hcs.labels.ctc import pair, seg_score, track_scores
from hcs.labels.match import IOU_THRESHOLDS, average_precision, overlaps, pixel_scores
from hcs.plate.open import Plate
from hcs.plate.path import FieldPath
from hcs.plate.read import read_label_image
from hcs.plate.storage import write_errors
from hcs.plate.table import read_table, table_names
from hcs.run.export import check_label, has_failed
from hcs.run.truth import Coverage, Labels, Truth

_PLACE = ["well", "field", "frame", "source_number", "truth"]
_AREA = ["f1", "precision", "recall", "iou", "mcc"]
_AP = [f"ap_{round(100 * threshold)}" for threshold in IOU_THRESHOLDS]
SCORES = [*_AREA, "ap", *_AP, "seg"]
_TRACKS = ["well", "field", "n_frames", "tra", "det", "lnk", "link_accuracy"]
# with fewer frames there is no link to be right or wrong
_MIN_TRACK_FRAMES = 2


@dataclass(frozen=True)
class Evaluation:
    """The scores of one label image of a plate.

    Parameters
    ----------
    label : str
    crop_px : int
    frames : DataFrame
        A row per frame with truth: place, coverage of the truth (``full`` or ``partial``), scores,
        and how many objects there are in truth and result. NaN where a score is not defined: only
        recall and SEG are for a partial truth.
    wells, plate : DataFrame
        Plain means over frames, complete and partial truths apart: every frame has one vote.
    tracks : DataFrame
        A row per field with true identities.
    failed : tuple of str
        Fields of wells that failed: they have no scores, which is not a score of 0.
    """

    label: str
    crop_px: int
    frames: pd.DataFrame
    wells: pd.DataFrame
    plate: pd.DataFrame
    tracks: pd.DataFrame
    failed: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """Return all tables as lists of rows, None for NaN."""
        tables = {name: getattr(self, name) for name in ("frames", "wells", "plate", "tracks")}
        rows = {name: rows_of(table) for name, table in tables.items()}
        own = {"label": self.label, "crop_px": self.crop_px, "failed": list(self.failed)}
        return own | rows


def evaluate_plate(plate: Plate, truth: Truth, label: str, *, crop_px: int = 0) -> Evaluation:
    """Return how well a label image agrees with a truth, wherever there is some.

    Parameters
    ----------
    plate : Plate
    truth : Truth
    label : str
        Name of the label image.
    crop_px : int
        Removed on each side of result and truth, but not where tracks are scored.

    Raises
    ------
    MissingError
        If a field lacks the label image, or no frame has a truth.
    FramesError
        If a truth has another shape.
    SettingsError
        If nothing is left after cropping.
    """
    fields = [field for well in plate.layout.wells for field in plate.well(well).fields]
    check_label(plate, label, fields)
    failed = [field for field in fields if has_failed(plate, field, label)]
    fields = [field for field in fields if field not in failed]
    sources = read_sources(plate)
    times = {field: field_source(sources, plate, field).times for field in fields}
    rows = [
        {"source_number": times[field][row["frame"]], **row}
        for field in fields
        for row in _frame_rows(plate, truth, field, label, crop_px)
    ]
    tracks = [row for field in fields for row in _track_rows(plate, truth, field, label)]
    if not rows and not tracks:
        raise MissingError("no frame has a truth", hint=f"the plate's frames are {_numbers(times)}")
    frames = pd.DataFrame(rows, columns=[*_PLACE, *SCORES, "n_truth", "n_objects"])
    return Evaluation(
        label=label,
        crop_px=crop_px,
        frames=frames,
        wells=_means(frames, ["well", "truth"]),
        plate=_means(frames, ["truth"]),
        tracks=pd.DataFrame(tracks, columns=_TRACKS),
        failed=tuple(map(str, failed)),
    )


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


def write_evaluation(plate: Plate, evaluation: Evaluation, output: Path | None) -> str:
    """Write the scores and return where they are.

    Parameters
    ----------
    plate : Plate
    evaluation : Evaluation
    output : Path or None
        A ``.csv`` or ``.parquet`` file for the table of frames; None writes all tables as
        ``<plate>.hcs/evaluation/<label>.json`` and that of frames as ``<label>.csv``.

    Raises
    ------
    SettingsError
        If the file's name ends otherwise.
    """
    frames = evaluation.frames
    if output is None:
        key = f"evaluation/{evaluation.label}"
        plate.companion.write(f"{key}.csv", frames.to_csv(index=False).encode())
        plate.companion.write(f"{key}.json", json.dumps(evaluation.to_json(), indent=1).encode())
        return f"{plate.companion.url}/{key}.csv"
    if output.suffix not in (".csv", ".parquet"):
        raise SettingsError(f"{output}: cannot write that", hint="name it .csv or .parquet")
    with write_errors(str(output)):
        if output.suffix == ".csv":
            frames.to_csv(output, index=False)
        else:
            frames.to_parquet(output, index=False)
    return str(output)


def rows_of(table: pd.DataFrame) -> list[dict[str, Any]]:
    """Return a table as rows, None for NaN."""
    return [
        {str(name): None if value != value else value for name, value in row.items()}
        for row in table.to_dict("records")
    ]


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


def crop(labels: NDArray[np.uint32], crop_px: int) -> NDArray[np.uint32]:
    """Return a label image without its rim.

    Examples
    --------
    >>> crop(np.arange(9, dtype=np.uint32).reshape(3, 3), 1)
    array([[4]], dtype=uint32)
    """
    if 2 * crop_px >= min(labels.shape):
        raise SettingsError(f"--crop {crop_px} leaves nothing of {labels.shape} pixels")
    return labels[crop_px : labels.shape[0] - crop_px, crop_px : labels.shape[1] - crop_px]


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
