import numpy as np
import pandas as pd
import pytest
from hypothesis import given

from hcs.tables.fields import field_frames
from hcs.tables.objects import measure_frame
from hcs.tables.schema import OBJECTS
from tests.strategies import label_images


def frames_of(objects, n_frames=3, **changes):
    options = {"qc_reasons": [""] * n_frames, "interval_s": 1800, "field_area_pixel": 400}
    return field_frames(objects, **(options | changes))


def row(label, time_index, y=0.0, x=0.0, area=50, parent=0, uncertainty=np.nan):
    return {
        "label": label,
        "time_index": time_index,
        "t_second": 1800.0 * time_index,
        "y_micrometer": y,
        "x_micrometer": x,
        "area_pixel": area,
        "area": area / 4,
        "parent_label": parent,
        "uncertainty": uncertainty,
    }


@given(label_images())
def test_the_covered_area_is_that_of_the_label_image(labels):
    objects = measure_frame(labels, {}, time_index=1, t_second=0, pixel_size_um=2)
    table = frames_of(objects, field_area_pixel=labels.size)
    assert table["area_pixel"].tolist() == [0, np.count_nonzero(labels), 0]
    assert table["n_objects"].tolist() == [0, np.unique(labels[labels > 0]).size, 0]


def test_what_happened_is_counted():
    objects = pd.DataFrame(
        [
            row(1, 0), row(2, 0),
            row(1, 1, y=3, x=4), row(3, 1, parent=2), row(4, 1, parent=2),
            row(1, 2, y=3, x=4), row(3, 2, x=10), row(5, 2),
        ]
    )  # fmt: skip
    table = frames_of(objects)
    assert table["n_objects"].tolist() == [2, 3, 3]
    assert table["n_new"].tolist() == [2, 2, 1]
    assert table["n_linked"].tolist() == [0, 1, 2]
    assert table["n_divisions"].tolist() == [0, 1, 0]
    # 5 um in half an hour; then 0 and 10 um
    assert table["speed"].tolist() == [0, 10, 20]


def test_the_uncertainty_of_a_frame_without_objects_is_missing():
    known = pd.DataFrame([row(1, 0, uncertainty=0.1), row(2, 0, uncertainty=0.3)])
    unknown = pd.DataFrame([row(1, 0), row(2, 0)])
    assert frames_of(known)["uncertainty"].tolist() == pytest.approx(
        [0.4, np.nan, np.nan], nan_ok=True
    )
    assert frames_of(unknown)["uncertainty"].isna().all()


def test_an_object_that_was_away_is_neither_new_nor_linked():
    table = frames_of(pd.DataFrame([row(1, 0), row(1, 2, x=9)]))
    assert table["n_new"].tolist() == [1, 0, 0]
    assert table["n_linked"].tolist() == [0, 0, 0]
    assert table["speed"].tolist() == [0, 0, 0]


def test_an_empty_frame_holds_zero_and_one_without_an_answer_nothing():
    table = frames_of(OBJECTS.empty(), qc_reasons=["", "not separable", ""])
    assert table["n_objects"].tolist() == pytest.approx([0, np.nan, 0], nan_ok=True)
    assert table["n_fields"].tolist() == [1, 0, 1]
    assert table["t_second"].tolist() == [0, 1800, 3600]


def test_a_flagged_frame_with_objects_keeps_its_numbers():
    table = frames_of(pd.DataFrame([row(1, 1)]), qc_reasons=["", "out of focus", ""])
    assert table["n_objects"].tolist() == [0, 1, 0]
    assert table["qc_reason"].tolist() == ["", "out of focus", ""]


def test_what_is_not_known_is_missing():
    unknown = pd.DataFrame([row(1, 0), row(1, 1)]).assign(area=np.nan, t_second=np.nan)
    table = frames_of(unknown, interval_s=None)
    assert table["t_second"].isna().all()
    assert table["area"].tolist() == pytest.approx([np.nan, np.nan, 0], nan_ok=True)
    assert np.isnan(table["speed"].iloc[1])
    assert table["area_pixel"].tolist() == [50, 50, 0]


def test_an_object_after_the_last_frame_is_refused():
    with pytest.raises(ValueError, match="an object lies in frame 3 of a field of 3 frames"):
        frames_of(pd.DataFrame([row(1, 3)]))
