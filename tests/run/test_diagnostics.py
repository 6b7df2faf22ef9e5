from dataclasses import replace

import numpy as np
import pytest

from hcs.run.diagnostics import frame_diagnostics
from hcs.ssl.features import FEATURES
from hcs.ssl.segment import FrameDecision, Model, PairStatistics
from hcs.tables.schema import SSL_FRAMES

MODEL = Model((5.0, 3.0, 2.0), (4.0, 0.25, 1.0), (1.0, 0.5, 0.2), (0.01, 0.04, 0.09), 0.3, 400.0)
PAIR = PairStatistics(
    blank=False,
    noise=2.0,
    blur_px=0.6,
    change_threshold=3.0,
    displacement_threshold=0.5,
    n_cell=900,
    n_background=9000,
    fitted=MODEL,
    model=MODEL,
    separability=(0.9, 0.8, 0.7),
    change_separability=0.95,
    drift_px=(0.25, -0.5),
    moving_area_px=0.0,
    accepted=True,
)
DECISION = FrameDecision(
    model=MODEL,
    source="own",
    min_area_px=100,
    drift_px=PAIR.drift_px,
    reference="previous",
    separable=True,
    empty=False,
    blank=False,
)


def test_a_row_says_what_was_found_and_whose_model_decided():
    first = replace(DECISION, reference="next")
    table = frame_diagnostics([PAIR, PAIR], [first, DECISION], interval_s=600)
    assert table["t_second"].tolist() == [0, 600]
    assert table["reference"].tolist() == ["next", "previous"]
    row = table.iloc[1]
    assert (row["drift_y_pixel"], row["drift_x_pixel"]) == (0.25, -0.5)
    assert [row[f"separability_{name}"] for name in FEATURES] == [0.9, 0.8, 0.7]
    assert [row[f"cell_mean_{name}"] for name in FEATURES] == [5, 3, 2]
    assert [row[f"cell_sd_{name}"] for name in FEATURES] == [2, 0.5, 1]
    assert [row[f"background_mean_{name}"] for name in FEATURES] == [1, 0.5, 0.2]
    assert [row[f"background_sd_{name}"] for name in FEATURES] == pytest.approx([0.1, 0.2, 0.3])
    assert (row["n_cell"], row["n_background"], row["min_area_pixel"]) == (900, 9000, 100)
    assert (row["model"], bool(row["separable"])) == ("own", True)
    assert np.isnan(row["moving_area_pixel"])


def test_a_pair_that_is_not_separable_says_so_beside_what_was_found():
    rejected = replace(PAIR, accepted=False, separability=(0.6, 0.5, 0.5))
    nowhere = replace(DECISION, model=None, source="none", separable=False)
    row = frame_diagnostics([rejected], [nowhere], interval_s=None).iloc[0]
    assert (row["model"], bool(row["separable"])) == ("none", False)
    assert row["separability_entropy"] == 0.6
    assert np.isnan(row["cell_mean_entropy"])
    assert np.isnan(row["t_second"])


def test_what_the_paper_learns_later_is_missing_never_zero():
    later = replace(PAIR, separability=(), n_cell=0, change_threshold=0.0, moving_area_px=70.0)
    row = frame_diagnostics([later], [replace(DECISION, model=None)], interval_s=60).iloc[0]
    assert row["moving_area_pixel"] == 70
    assert row[["n_cell", "change_threshold", "separability_change", "prior"]].isna().all()
    assert row["model"] == "own"


def test_columns_are_those_declared_also_without_a_frame():
    assert frame_diagnostics([], [], interval_s=60).columns.tolist() == SSL_FRAMES.names()
