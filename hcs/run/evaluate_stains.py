"""Predicted stains against measured ones: scores per frame, well and plate, and nuclei counted."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from dataclasses import field as dataclass_field
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from hcs.errors import FramesError, MissingError
from hcs.image.similarity import pearson, rmse, ssim
from hcs.ingest.provenance import FieldSource, field_source, read_sources
from hcs.labels.from_stain import nuclei_from_stain
from hcs.plate.metadata import Channel, FieldImage
from hcs.plate.open import Plate
from hcs.plate.path import FieldPath, WellPath
from hcs.plate.read import Plane, read_frames
from hcs.plate.sister import product_state
from hcs.run.by_well import by_well
from hcs.run.evaluate import crop, known_wells
from hcs.run.scores import StainEvaluation

_PLACE = ["well", "field", "frame", "source_number", "stain"]
SCORES = ["pcc", "ssim", "rmse"]
_COUNTS = ["n_truth", "n_objects"]
_SUFFIX = "_prediction"
_RUN_FIRST = "predict them first: hcs run"
# as people and simulated plates name nuclear stains
_NUCLEAR = re.compile(r"nucle[iu]|dapi|hoechst|draq|h2b|(?<![a-z])dna", re.IGNORECASE)
# of the stain's range that the network was trained on: less is no nucleus, neither true nor
# predicted. A prediction has no noise that would tell (ours)
_MIN_CONTRAST = 0.05


@dataclass(frozen=True)
class Part:
    """Which part of a plate is scored.

    Parameters
    ----------
    crop_px : int
        Removed on each side.
    frames : tuple of int
        Indices; empty for all.
    without : tuple of WellPath
        Wells that are not, such as those that the network was trained on.
    """

    crop_px: int = 0
    frames: tuple[int, ...] = ()
    without: tuple[WellPath, ...] = ()


@dataclass(frozen=True)
class _Asked:
    """What is compared with what."""

    plate: Plate
    sister: Plate
    truth: Plate
    plane: Plane
    part: Part
    sources: Mapping[FieldPath, FieldSource]


@dataclass(frozen=True)
class _WellScores:
    """What one well adds to the tables."""

    rows: list[dict[str, Any]] = dataclass_field(default_factory=list)
    failed: list[FieldPath] = dataclass_field(default_factory=list)


def evaluate_stains(
    plate: Plate,
    model: str,
    *,
    truth: Plate | None = None,
    plane: Plane = 0,
    part: Part | None = None,
) -> StainEvaluation:
    """Return how alike the stains that a network predicted are to the measured ones.

    Each channel ``<stain>_prediction`` of the plate ``<plate>_isl-<model>.zarr`` is compared with
    the channel ``<stain>``, wherever that was measured: a frame where it is constant was not. In
    stains whose name says that they are nuclear, nuclei are counted in both by the same rule.

    Parameters
    ----------
    plate : Plate
    model : str
        Name of the network.
    truth : Plate, optional
        With the measured stains, under the same fields; the plate itself where it is not given.
    plane : int or {"max", "mean"}
        Of the measured stain's z stack; the network predicts what it was trained on.
    part : Part, optional
        All of the plate where it is not given.

    Raises
    ------
    PlateError
        If the network predicted nothing for this plate.
    MissingError
        If no frame has a measured stain to compare with, or the plate lacks a well to leave out.
    HcsError
        What is wrong with the first well that has none, where no well has scores.
    """
    model = model.removeprefix("isl-")
    sister = plate.sister(f"isl-{model}")
    measured, part = truth or plate, part or Part()
    asked = _Asked(plate, sister, measured, plane, part, read_sources(plate))
    skipped = known_wells(plate, part.without)

    def score(well: WellPath) -> _WellScores:
        return _WellScores() if well in skipped else _score_well(asked, well)

    wells, left_out = by_well(plate, score)
    rows = [row for well in wells for row in well.rows]
    if not rows:
        if left_out:
            raise left_out[0].cause
        raise MissingError(
            f"no frame of {measured.storage.name} has a measured stain to compare with",
            hint="channels that are constant were not measured; give a plate with --truth",
        )
    frames = pd.DataFrame(rows, columns=[*_PLACE, *SCORES, *_COUNTS])
    return StainEvaluation(
        model=model,
        truth=measured.storage.name,
        crop_px=part.crop_px,
        frames=frames,
        wells=_means(frames, ["well", "stain"]),
        plate=_of_plate(frames),
        failed=tuple(str(field) for well in wells for field in well.failed),
        left_out=left_out,
        without=tuple(map(str, part.without)),
    )


def score_stain(predicted: NDArray[Any], measured: NDArray[Any]) -> dict[str, float]:
    """Return the scores of one frame; NaN where nothing was predicted.

    Parameters
    ----------
    predicted, measured : ndarray of any real type, shape (y, x)
        Grey levels.

    Examples
    --------
    >>> measured = np.add.outer(np.arange(16), np.arange(16)) % 5
    >>> score_stain(measured, measured)
    {'pcc': 1.0, 'ssim': 1.0, 'rmse': 0.0}
    >>> score_stain(np.zeros((16, 16)), measured)
    {'pcc': nan, 'ssim': nan, 'rmse': nan}
    """
    if np.ptp(predicted) == 0:
        return dict.fromkeys(SCORES, float("nan"))
    return {
        "pcc": pearson(predicted, measured),
        "ssim": ssim(predicted, measured),
        "rmse": rmse(predicted, measured),
    }


def count_correlation(frames: pd.DataFrame) -> float:
    """Return the correlation of two counts over frames; NaN where either does not vary.

    Examples
    --------
    >>> counts = {"n_truth": [3, 5, 9, 4], "n_objects": [6, 10, 18, np.nan]}
    >>> round(count_correlation(pd.DataFrame(counts)), 6)
    1.0
    """
    both = frames[_COUNTS].dropna().to_numpy(dtype=float)
    return pearson(both[:, 0], both[:, 1]) if len(both) > 1 else float("nan")


def _score_well(asked: _Asked, well: WellPath) -> _WellScores:
    scores = _WellScores()
    if well not in asked.truth.layout.wells:
        return scores
    for field in asked.plate.well(well).fields:
        state = product_state(asked.sister, field)
        if state is None:
            raise MissingError(f"field {field} has no predicted stains", hint=_RUN_FIRST)
        if state:
            scores.failed.append(field)
            continue
        for channel in asked.sister.field_image(field).channels:
            if channel.label.endswith(_SUFFIX):
                scores.rows.extend(_rows(asked, field, channel))
    return scores


def _rows(asked: _Asked, field: FieldPath, channel: Channel) -> Iterator[dict[str, Any]]:
    """Yield the scores of one stain of a field, frame by frame."""
    image, stain = asked.truth.field_image(field), channel.label.removesuffix(_SUFFIX)
    _check_shapes(field, asked.sister.field_image(field), image)
    times = field_source(asked.sources, asked.plate, field).times
    for frame in asked.part.frames or range(image.n_frames):
        one = range(frame, frame + 1)
        (whole,) = read_frames(asked.sister, field, channel.label, one)
        (true,) = read_frames(asked.truth, field, stain, one, asked.plane)
        predicted, measured = (crop(pixels, asked.part.crop_px) for pixels in (whole, true))
        if np.ptp(measured) == 0:
            continue
        yield {
            "well": field.well.name,
            "field": field.name,
            "frame": frame,
            "source_number": times[frame],
            "stain": stain,
            **score_stain(predicted, measured),
            **_counts(stain, predicted, measured, channel),
        }


def _check_shapes(field: FieldPath, predicted: FieldImage, measured: FieldImage) -> None:
    shapes = [(one.n_frames, *one.frame_shape) for one in (predicted, measured)]
    if shapes[0] != shapes[1]:
        raise FramesError(
            f"field {field}: the stain is measured in frames {shapes[1]}, predicted in {shapes[0]}"
        )


def _counts(
    stain: str, predicted: NDArray[Any], measured: NDArray[Any], channel: Channel
) -> dict[str, int]:
    """Return how many nuclei there are in both; nothing for other stains and blank predictions."""
    if not _NUCLEAR.search(stain) or np.ptp(predicted) == 0:
        return {}
    _, _, dark, bright = channel.window or (0, 0, 0, 0)
    least = _MIN_CONTRAST * (bright - dark)
    images = {"n_truth": measured, "n_objects": predicted}
    return {name: int(nuclei_from_stain(one, least).max()) for name, one in images.items()}


def _means(frames: pd.DataFrame, by: list[str]) -> pd.DataFrame:
    groups = frames.groupby(by)
    means = groups[[*SCORES, *_COUNTS]].mean()
    means.insert(0, "n_frames", groups.size())
    return means.reset_index()


def _of_plate(frames: pd.DataFrame) -> pd.DataFrame:
    means = _means(frames, ["stain"])
    own = {str(stain): count_correlation(rows) for stain, rows in frames.groupby("stain")}
    return means.assign(count_correlation=means["stain"].map(own))
