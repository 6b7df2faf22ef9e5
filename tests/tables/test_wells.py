import numpy as np
import pandas as pd
import pytest

from hcs.tables.fields import field_frames
from hcs.tables.schema import CONDITION, OBJECTS, WELL_FRAMES, WELLS
from hcs.tables.wells import (
    FieldRecord,
    MeasuredWell,
    Quarantined,
    WellKey,
    WellRecord,
    flagged,
    growth_per_hour,
    quarantine,
    wells,
)
from hcs.tables.wells import well_frames as frames_of


def well_frames(key, label_image, fields) -> pd.DataFrame:
    return frames_of([MeasuredWell(key, label_image, fields)])


B03, B04 = WellKey("B", "03", "0"), WellKey("B", "04", "0")
HOUR = 3600


def field(
    *counts: int, acquisition=None, reasons=None, models=None, area_pixel=100, uncertainty=np.nan
) -> FieldRecord:
    """Return a field of 1000 pixels with so many objects of 100 pixels, 25 um^2, per frame."""
    rows = [
        {"label": i, "time_index": t, "t_second": t * HOUR, "area_pixel": area_pixel,
         "area": area_pixel / 4, "y_micrometer": 3.0 * t, "x_micrometer": 0.0, "parent_label": 0,
         "uncertainty": uncertainty}
        for t, count in enumerate(counts)
        for i in range(1, count + 1)
    ]  # fmt: skip
    frames = field_frames(
        pd.DataFrame(rows) if rows else OBJECTS.empty(),
        qc_reasons=reasons or [""] * len(counts),
        models=models,
        interval_s=HOUR,
        field_area_pixel=1000,
    )
    return FieldRecord(acquisition, frames)


def test_fields_add_up_to_their_well():
    table = well_frames(B03, "ssl_cells", [field(1, 2), field(3, 4)])
    assert table.columns.tolist() == WELL_FRAMES.names()
    assert table["n_objects"].tolist() == [4, 6]
    assert table["n_fields"].tolist() == [2, 2]
    assert table["confluence"].tolist() == [0.2, 0.3]
    assert table["area_mean"].tolist() == [25, 25]
    assert table["speed_mean"].tolist() == pytest.approx([np.nan, 3], nan_ok=True)
    assert table["t_second"].tolist() == [0, HOUR]
    assert set(table["well"]) == {"B03"}
    assert set(table["path_in_well"]) == {"0"}
    assert table["acquisition"].isna().all()


def test_the_uncertainty_of_a_well_is_that_of_its_objects():
    fields = [field(1, 3, uncertainty=0.1), field(3, 0, uncertainty=0.3)]
    table = well_frames(B03, "isl_nuclei", fields)
    assert table["uncertainty_mean"].tolist() == pytest.approx([0.25, 0.1])
    (row,) = wells([WellRecord(B03, "done", 2)], table, ["isl_nuclei"]).to_dict("records")
    assert row["uncertainty_mean-isl_nuclei"] == pytest.approx((4 * 0.25 + 3 * 0.1) / 7)


def test_an_uncertainty_that_nobody_asked_for_is_missing():
    table = well_frames(B03, "ssl_cells", [field(2, 0), field(0, 1)])
    assert table["uncertainty_mean"].isna().all()


def test_acquisitions_stay_apart():
    table = well_frames(B03, "ssl_cells", [field(1, 2, acquisition=1), field(3, acquisition=0)])
    assert table["acquisition"].tolist() == [0, 1, 1]
    assert table["n_objects"].tolist() == [3, 1, 2]


def test_a_field_without_an_answer_does_not_count():
    blank = field(0, 0, reasons=["", "blank frame"])
    table = well_frames(B03, "ssl_cells", [field(2, 2), blank])
    assert table["n_fields"].tolist() == [2, 1]
    assert table["confluence"].tolist() == [0.1, 0.2]
    assert table["qc_pass"].tolist() == [True, False]
    assert table["qc_reason"].tolist() == ["", "blank frame"]


def test_a_frame_without_any_answer_is_missing():
    table = well_frames(B03, "ssl_cells", [field(2, 0, reasons=["", "blank frame"])])
    assert table["n_objects"].isna().tolist() == [False, True]
    assert table["n_fields"].tolist() == [1, 0]


def test_reasons_are_named_once():
    bad = ["", "saturated"]
    table = well_frames(B03, "x", [field(1, 1, reasons=bad), field(1, 1, reasons=bad)])
    assert table["qc_reason"].tolist() == ["", "saturated"]


def test_a_frame_says_whose_models_labelled_its_fields():
    fields = [field(1, 1, models=["own", "own"]), field(1, 1, models=["own", "carried"])]
    frames = well_frames(B03, "ssl_cells", fields)
    assert frames["model"].tolist() == ["own", "own; carried"]
    assert summary(frames)["own_model_share-ssl_cells"] == 0.5


def test_a_segmenter_without_models_leaves_them_missing():
    frames = well_frames(B03, "ssl_cells", [field(1, 1)])
    assert frames["model"].tolist() == [None, None]
    assert np.isnan(summary(frames)["own_model_share-ssl_cells"])


def test_wells_stay_apart_in_their_order():
    table = frames_of(
        [
            MeasuredWell(B04, "ssl_cells", [field(1, 2)]),
            MeasuredWell(B03, "ssl_cells", []),
            MeasuredWell(B03, "isl_nuclei", [field(5)]),
        ]
    )
    assert table["well"].tolist() == ["B04", "B04", "B03"]
    assert table["label_image"].tolist() == ["ssl_cells", "ssl_cells", "isl_nuclei"]
    assert table["n_objects"].tolist() == [1, 2, 5]


def test_a_well_without_fields_has_no_frames():
    assert len(well_frames(B03, "x", [])) == 0


def summary(frames, **changes) -> pd.Series:
    table = wells([WellRecord(B03, "done", 3)], frames, ["ssl_cells"], **changes)
    assert table.columns.tolist()[: len(WELLS.names(["ssl_cells"]))] == WELLS.names(["ssl_cells"])
    return table.iloc[0]


def test_a_well_is_summed_up_over_time():
    row = summary(well_frames(B03, "ssl_cells", [field(1, 2, 4)]))
    names = ["n_objects_first", "n_objects_last", "n_tracks", "n_divisions"]
    assert [row[f"{name}-ssl_cells"] for name in names] == [1, 4, 4, 0]
    assert row["n_objects_mean-ssl_cells"] == pytest.approx(7 / 3)
    assert row["confluence_last-ssl_cells"] == 0.4
    assert row["growth_count-ssl_cells"] == pytest.approx(1)
    assert row["growth_confluence-ssl_cells"] == pytest.approx(1)
    assert row["area_mean-ssl_cells"] == 25
    assert row["speed_mean-ssl_cells"] == 3
    assert row["qc_pass_share-ssl_cells"] == 1
    assert (row["state"], row["n_frames"]) == ("done", 3)


def test_an_empty_well_has_zeros_and_no_growth():
    row = summary(well_frames(B03, "ssl_cells", [field(0, 0, 0)]))
    assert row["n_objects_last-ssl_cells"] == 0
    assert row["confluence_mean-ssl_cells"] == 0
    assert np.isnan(row["growth_count-ssl_cells"])
    assert np.isnan(row["area_mean-ssl_cells"])


def test_the_ends_are_those_that_have_an_answer():
    reasons = ["blank", "", "blank"]
    row = summary(well_frames(B03, "ssl_cells", [field(0, 2, 0, reasons=reasons)]))
    assert row["n_objects_first-ssl_cells"] == row["n_objects_last-ssl_cells"] == 2
    assert row["qc_pass_share-ssl_cells"] == pytest.approx(1 / 3)


def test_a_failed_well_has_its_state_and_nothing_else():
    frames = frames_of([MeasuredWell(key, "ssl_cells", [field(1, 2)]) for key in (B03, B04)])
    records = [WellRecord(B03, "failed", 2), WellRecord(B04, "done", 2)]
    table = wells(records, frames, ["ssl_cells", "isl_nuclei"])
    failed, done = table.iloc[0], table.iloc[1]
    assert failed["state"] == "failed"
    assert failed.drop(["row", "column", "path_in_well", "well", "state"]).isna().all()
    assert done["n_objects_last-ssl_cells"] == 2
    assert done.filter(like="-isl_nuclei").isna().all()


def test_a_plate_where_all_failed_has_every_column():
    table = wells([WellRecord(B03, "failed", 0)], WELL_FRAMES.empty(), ["ssl_cells"])
    assert table.columns.tolist() == WELLS.names(["ssl_cells"])
    assert len(table) == 1


def test_the_plate_map_follows():
    condition = CONDITION.arrange(
        pd.DataFrame({"row": ["B"], "column": ["04"], "path_in_well": ["0"], "drug": ["x"]})
    )
    records = [WellRecord(B03, "done", 2), WellRecord(B04, "failed", 2)]
    table = wells(records, WELL_FRAMES.empty(), [], condition)
    assert table.columns[-1] == "drug"
    assert table["drug"].isna().tolist() == [True, False]


def test_a_plate_map_that_does_not_fit_is_refused():
    condition = pd.DataFrame(
        {"row": ["B", "B"], "column": ["03", "03"], "path_in_well": ["0", "0"], "state": ["a", "b"]}
    )
    with pytest.raises(
        ValueError, match="plate map: its column 'state' is one of ours; well B03 is in it twice"
    ):
        wells([WellRecord(B03, "done", 1)], WELL_FRAMES.empty(), [], condition)


def failing(*reasons: str, key=B03, label_image="ssl_cells") -> pd.DataFrame:
    return well_frames(key, label_image, [field(*[0] * len(reasons), reasons=reasons)])


def test_a_well_most_of_whose_frames_failed_is_flagged_with_the_numbers():
    frames = pd.concat([failing("blank", "dim", "dim", ""), failing("", "", key=B04)])
    (row,) = flagged(frames)
    assert (row.well, row.cause) == ("B03", "quality")
    assert row.message == "ssl_cells: 3 of 4 frames failed quality control, 2 of them: dim"
    assert "hcs overlay" in row.hint


def test_half_of_the_frames_is_enough():
    assert flagged(failing("", "blank")) == []
    assert flagged(WELL_FRAMES.empty()) == []


def test_a_well_flagged_by_two_label_images_has_one_row():
    both = pd.concat([failing("blank"), failing("dim", label_image="mine")])
    (row,) = flagged(both)
    assert "ssl_cells: 1 of 1 frames" in row.message
    assert "mine: 1 of 1 frames" in row.message


def test_of_reasons_that_are_equally_frequent_the_first_in_time_is_named():
    (row,) = flagged(failing("dim", "blank"))
    assert row.message.endswith("1 of them: dim")


def test_growth_is_pooled_over_acquisitions_with_levels_of_their_own():
    frames = pd.DataFrame(
        {
            "acquisition": pd.array([0, 0, 1, 1], dtype="Int64"),
            "t_second": [0.0, HOUR, 0.0, HOUR],
            "n": pd.array([1, 2, 100, 200], dtype="Int64"),
        }
    )
    assert growth_per_hour(frames, "n") == pytest.approx(1)


def test_growth_needs_two_times():
    frames = pd.DataFrame({"acquisition": [0, 0], "t_second": [0.0, np.nan], "n": [1, 2]})
    assert np.isnan(growth_per_hour(frames, "n"))


def test_quarantine_has_its_columns_without_rows_too():
    assert quarantine([]).columns.tolist() == ["well", "cause", "message", "hint"]
    assert len(quarantine([Quarantined("B03", "c", "m", "h")] * 2)) == 2
