"""What SSL found in each frame, as a table: why a frame was segmented as it was."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain

import numpy as np
import pandas as pd

from hcs.ssl.features import FEATURES
from hcs.ssl.segment import FrameDecision, Model, PairStatistics
from hcs.tables.schema import SSL_FRAMES

_NAN = float("nan")
_MOMENTS = ("cell_mean", "background_mean", "cell_sd", "background_sd")


def frame_diagnostics(
    pairs: Sequence[PairStatistics],
    decisions: Sequence[FrameDecision],
    interval_s: float | None,
) -> pd.DataFrame:
    """Return a row per frame of a field (:data:`hcs.tables.schema.SSL_FRAMES`).

    Parameters
    ----------
    pairs : sequence of PairStatistics
        Of pass a, one per frame.
    decisions : sequence of FrameDecision
        Of pass b, one per frame.
    interval_s : float or None
        Between frames.
    """
    rows = [
        {"time_index": index, "t_second": _NAN if interval_s is None else index * interval_s}
        | _of_pair(pair)
        | _of_decision(decision)
        for index, (pair, decision) in enumerate(zip(pairs, decisions, strict=True))
    ]
    return SSL_FRAMES.arrange(pd.DataFrame(rows, columns=SSL_FRAMES.names()))


def _of_pair(pair: PairStatistics) -> dict[str, object]:
    drift_y, drift_x = pair.drift_px
    found: dict[str, object] = {
        "noise": pair.noise,
        "drift_y_pixel": drift_y,
        "drift_x_pixel": drift_x,
    }
    if not pair.separability:
        # thresholds: paper learns in pass c, so that nothing else is known yet
        return found | {"moving_area_pixel": pair.moving_area_px}
    named = zip(FEATURES, pair.separability, strict=True)
    return found | {
        "blur_pixel": pair.blur_px,
        "change_threshold": pair.change_threshold,
        "displacement_threshold_pixel": pair.displacement_threshold,
        "n_cell": pair.n_cell,
        "n_background": pair.n_background,
        "separability_change": pair.change_separability,
        **{f"separability_{feature}": value for feature, value in named},
    }


def _of_decision(decision: FrameDecision) -> dict[str, object]:
    return {
        "reference": decision.reference,
        "blank": decision.blank,
        "separable": decision.separable,
        "empty": decision.empty,
        "model": decision.source,
        "min_area_pixel": decision.min_area_px,
        **(_of_model(decision.model) if decision.model else {}),
    }


def _of_model(model: Model) -> dict[str, float]:
    spread = chain(model.cell_variance, model.background_variance)
    moments = chain(model.cell_mean, model.background_mean, np.sqrt(list(spread)).tolist())
    names = (f"{of}_{feature}" for of in _MOMENTS for feature in FEATURES)
    return {
        "prior": model.prior,
        "typical_area_pixel": model.typical_area_px,
        **dict(zip(names, moments, strict=True)),
    }
