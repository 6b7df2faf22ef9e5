"""Pass b: what each frame needs from its sequence, decided once per field in one place."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

from hcs.errors import FramesError
from hcs.ssl.naive_bayes import Model, pool_models
from hcs.ssl.paper import smallest_object
from hcs.ssl.settings import SslSettings

Source = Literal["own", "carried", "pooled", "none"]

# [ours] chance lets single pairs of an empty field pass as separable, a spoiled frame spoils two
# pairs of a good one: a field is believed when half of its pairs agree
MIN_SEPARABLE_FRACTION = 0.5


@dataclass(frozen=True)
class PairStatistics:
    """Pass a: what one pair of frames tells, in plain numbers.

    Attributes
    ----------
    blank : bool
        The frame has one grey level only.
    noise : float
        Standard deviation in grey levels; ``blur_px`` is the Gaussian that answers it.
    change_threshold, displacement_threshold : float
        See :class:`hcs.ssl.self_label.Labels`.
    n_cell, n_background : int
        Self-labelled pixels.
    fitted, model : Model or None
        The classifier as fitted to them, and after the EM rounds; None with too few of them.
    separability : tuple of float
        Per feature, area under the ROC curve of the two label sets.
    change_separability : float
        The same of the temporal change, the mask found against the rest.
    drift_px : tuple of float
        Shift of the frame since its reference, along y and x.
    moving_area_px : float
        ``thresholds: paper`` only, see :func:`hcs.ssl.paper.moving_area`.
    accepted : bool
        Whether the pair is separable: its model may be used.
    """

    blank: bool
    noise: float
    blur_px: float
    change_threshold: float
    displacement_threshold: float
    n_cell: int
    n_background: int
    fitted: Model | None
    model: Model | None
    separability: tuple[float, ...]
    change_separability: float
    drift_px: tuple[float, float]
    moving_area_px: float
    accepted: bool


@dataclass(frozen=True)
class FrameDecision:
    """How one frame is to be segmented; with the frame and its reference all that pass c needs.

    Attributes
    ----------
    model : Model or None
        None: the mask is empty, for a reason that the flags tell; under ``thresholds: paper`` the
        frame's own pair is trained in pass c, with the minimum area of the first one.
    source : {"own", "carried", "pooled", "none"}
        The frame's own pair, the field's accepted pairs, the plate's, or nowhere.
    min_area_px : int
        Smaller objects are dropped.
    drift_px : tuple of float
        Shift of the frame since its reference, along y and x.
    reference : {"previous", "next"}
        Which frame that is: the first frame has no previous one.
    separable : bool
        Whether the frame's own pair was; a frame that was not is said to be so, never guessed.
    empty : bool
        The pair is separable, but what it calls cells is nearer to the field's background: no
        cells, or no focus. The field's model decides.
    blank : bool
        The frame has one grey level only.
    """

    model: Model | None
    source: Source
    min_area_px: int
    drift_px: tuple[float, float]
    reference: Literal["previous", "next"]
    separable: bool
    empty: bool
    blank: bool


def needs_pool(statistics: Sequence[PairStatistics], settings: SslSettings) -> bool:
    """Tell whether no pair of a field is believed, so that it takes the plate's pooled model."""
    return settings.thresholds == "adaptive" and not _believed(statistics)


def pool(fields: Iterable[Sequence[PairStatistics]]) -> Model | None:
    """Return the plate's model: every believed pair of every field, in the order given.

    None when no field has one.
    """
    models = [model for statistics in fields for model in _believed(statistics)]
    return pool_models(models) if models else None


def decide(
    statistics: Sequence[PairStatistics], pooled: Model | None, settings: SslSettings
) -> tuple[FrameDecision, ...]:
    """Decide for every frame of a field, in order.

    A pair that is not separable takes the model of the field's accepted pairs, pooled; a field
    that is not believed that of the plate; failing that, none.

    Parameters
    ----------
    statistics : sequence of PairStatistics
        One per frame: frame k against k - 1, the first against the second.
    pooled : Model or None
        The plate's model; used only where :func:`needs_pool` says so.

    Raises
    ------
    FramesError
        If there are fewer than two.
    """
    if len(statistics) < 2:
        raise FramesError(f"{len(statistics)} frame(s) in the series", hint="SSL needs two")
    if settings.thresholds == "paper":
        return _decide_paper(statistics)
    believed = _believed(statistics)
    base = pool_models(believed) if believed else pooled
    shared: Source = "carried" if believed else "pooled" if pooled else "none"
    return tuple(
        _decide_frame(pair, index, base, shared, settings) for index, pair in enumerate(statistics)
    )


def min_area_px(typical_area_px: float, settings: SslSettings) -> int:
    """Return the smallest area that is kept, a part of the typical one within limits (A5.7).

    Examples
    --------
    >>> [min_area_px(area, SslSettings()) for area in (0.0, 400.0, 1e6)]
    [16, 100, 550]
    """
    wanted = round(settings.min_area_fraction * typical_area_px)
    return max(settings.min_area_px, min(settings.max_min_area_px, wanted))


def _believed(statistics: Sequence[PairStatistics]) -> list[Model]:
    seen = [pair for pair in statistics if not pair.blank]
    models = [pair.model for pair in seen if pair.accepted and pair.model is not None]
    return models if len(models) >= MIN_SEPARABLE_FRACTION * len(seen) else []


def _decide_frame(
    pair: PairStatistics, index: int, base: Model | None, shared: Source, settings: SslSettings
) -> FrameDecision:
    learned = shared == "carried" and pair.accepted
    empty = learned and _empty_ratio(pair.model, base) < settings.min_empty_ratio
    own = learned and not empty
    model = None if pair.blank else pair.model if own else base
    return FrameDecision(
        model=model,
        source="none" if model is None else "own" if own else shared,
        min_area_px=min_area_px(base.typical_area_px if base else 0.0, settings),
        drift_px=pair.drift_px,
        reference="previous" if index else "next",
        separable=pair.accepted,
        empty=empty,
        blank=pair.blank,
    )


def _empty_ratio(model: Model | None, base: Model | None) -> float:
    """How far from the background to the cells of the field this pair's cells are, in entropy."""
    if model is None or base is None:
        return 1.0
    background = base.background_mean[0]
    span = base.cell_mean[0] - background
    return (model.cell_mean[0] - background) / span if span else 1.0


def _decide_paper(statistics: Sequence[PairStatistics]) -> tuple[FrameDecision, ...]:
    smallest = smallest_object(statistics[1].moving_area_px)
    return tuple(
        FrameDecision(
            model=None,
            source="own" if index else "none",  # the first mask is blank (A1)
            min_area_px=smallest,
            drift_px=pair.drift_px,
            reference="previous" if index else "next",
            separable=pair.accepted,
            empty=False,
            blank=pair.blank,
        )
        for index, pair in enumerate(statistics)
    )
