import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from skimage.measure import regionprops_table

from hcs.tables.objects import channels_of, features, join_motion, measure_frame, motion, steps
from hcs.tables.schema import FEATURES, MOTION, OBJECTS
from tests.strategies import label_images


def measure(labels, time_index=0, channels=("phase",), pixel_size_um=0.5, t_second=60.0):
    rng = np.random.default_rng(time_index)
    frames = {channel: rng.integers(0, 4000, labels.shape) for channel in channels}
    return measure_frame(
        labels,
        frames,
        time_index=time_index,
        t_second=t_second,
        pixel_size_um=pixel_size_um,
    )


def square(y: int, x: int, label: int = 1, side: int = 4) -> np.ndarray:
    labels = np.zeros((40, 40), dtype=np.uint32)
    labels[y : y + side, x : x + side] = label
    return labels


def walk(*places: tuple[int, int] | None, interval_s: float | None = 1800) -> pd.DataFrame:
    """Return the objects of a square that is at these places, or missing, frame by frame."""
    tables = [
        measure(square(*place), t, t_second=None if interval_s is None else interval_s * t)
        for t, place in enumerate(places)
        if place is not None
    ]
    return pd.concat(tables, ignore_index=True)


@given(label_images(), st.sampled_from([0.1, 1.0, 2.5]))
def test_shapes_and_intensities_are_those_of_scikit_image(labels, pixel_size_um):
    table = measure(labels, pixel_size_um=pixel_size_um)
    grey = np.random.default_rng(0).integers(0, 4000, labels.shape).astype(float)
    assert len(table) == np.unique(labels[labels > 0]).size
    if table.empty:
        return
    properties = ("label", "area", "centroid", "perimeter", "solidity", "axis_major_length")
    properties += ("intensity_mean", "intensity_min", "intensity_max", "intensity_std")
    reference = regionprops_table(labels.astype(int), grey, properties=properties)
    for column, name, unit in (
        ("label", "label", 1),
        ("area_pixel", "area", 1),
        ("area", "area", pixel_size_um**2),
        ("y_pixel", "centroid-0", 1),
        ("x_micrometer", "centroid-1", pixel_size_um),
        ("perimeter", "perimeter", pixel_size_um),
        ("solidity", "solidity", 1),
        ("axis_major_length", "axis_major_length", pixel_size_um),
        ("intensity_mean-phase", "intensity_mean", 1),
        ("intensity_min-phase", "intensity_min", 1),
        ("intensity_max-phase", "intensity_max", 1),
        ("intensity_sd-phase", "intensity_std", 1),
    ):
        np.testing.assert_allclose(table[column], reference[name] * unit, atol=1e-9)


@given(label_images(), st.integers(0, 3))
def test_the_table_is_as_declared_whatever_the_objects(labels, n_channels):
    channels = [f"c{i}" for i in range(n_channels)]
    table = measure(labels, channels=channels)
    assert table.columns.tolist() == OBJECTS.names(channels)
    assert (table.dtypes == OBJECTS.empty(channels).dtypes).all()
    assert table["object_id"].is_unique
    assert channels_of(table) == channels


def test_a_square_is_measured_right():
    row = measure(square(10, 20), pixel_size_um=0.5).iloc[0]
    assert (row["area"], row["area_pixel"]) == (4, 16)
    assert (row["y_pixel"], row["x_pixel"]) == (11.5, 21.5)
    assert (row["y_micrometer"], row["x_micrometer"]) == (5.75, 10.75)
    box = [row[f"bbox_{axis}_{end}_pixel"] for axis in "yx" for end in ("start", "stop")]
    assert box == [10, 14, 20, 24]
    assert (row["extent"], row["solidity"]) == (1, 1)
    assert row["eccentricity"] == 0
    # 4-connected outline through pixel centres: 4 sides of 3 pixels
    assert row["perimeter"] == 6
    assert row["form_factor"] == pytest.approx(4 * np.pi * 16 / 12**2)


@pytest.mark.parametrize(("y", "x"), [(0, 10), (10, 0), (36, 10), (10, 36)])
def test_an_object_at_the_edge_is_marked(y, x):
    assert measure(square(y, x)).iloc[0]["touches_border"]
    assert not measure(square(1, 1)).iloc[0]["touches_border"]


def test_without_a_pixel_size_micrometers_are_missing_and_pixels_are_not():
    row = measure(square(1, 1), pixel_size_um=None, t_second=None).iloc[0]
    missing = ["area", "perimeter", "y_micrometer", "axis_major_length", "t_second"]
    assert row[missing].isna().all()
    assert row[["area_pixel", "y_pixel", "form_factor", "solidity"]].notna().all()


def test_a_single_pixel_has_no_outline():
    row = measure(square(5, 5, side=1)).iloc[0]
    assert row["area_pixel"] == 1
    assert np.isnan(row["form_factor"])


def test_a_channel_of_another_shape_is_refused():
    frames = {"phase": np.zeros((4, 4)), "dapi": np.zeros((4, 5))}
    with pytest.raises(ValueError, match=r"channel 'dapi' is \(4, 5\) pixels, the label image"):
        measure_frame(np.ones((4, 4), int), frames, time_index=0, t_second=None, pixel_size_um=None)


def test_the_motion_table_joins_by_object():
    objects = walk((5, 5), (5, 9))
    moved = motion(
        pd.DataFrame(
            {
                "label": [1],
                "time_index": [1],
                "parent_label": [7],
                "displacement_y_pixel": [0.5],
                "displacement_x_pixel": [4.0],
                "displacement_pixel": [4.2],
                "uncertainty": [0.25],
            }
        )
    )
    assert moved.columns.tolist() == MOTION.names()
    joined = join_motion(objects, moved)
    assert joined["displacement_x_pixel"].tolist() == pytest.approx([np.nan, 4.0], nan_ok=True)
    assert joined["parent_label"].tolist() == [0, 7]
    assert joined["uncertainty"].tolist() == pytest.approx([np.nan, 0.25], nan_ok=True)
    assert joined.columns.tolist() == objects.columns.tolist()


def test_a_motion_table_of_an_earlier_version_joins():
    objects = walk((5, 5), (5, 9))
    moved = motion(objects).drop(columns="uncertainty")
    assert join_motion(objects, moved)["uncertainty"].isna().all()


def test_a_track_is_summed_up():
    objects = walk((0, 0), (6, 8), (6, 20))
    row = features(objects).iloc[0]
    assert (row["label"], row["n_frames"], row["first_frame"], row["last_frame"]) == (1, 3, 0, 2)
    # steps of 10 and 12 pixels of 0.5 um in one hour
    assert row["path_length"] == 11
    assert row["speed_mean"] == 11
    assert row["net_displacement"] == pytest.approx(np.hypot(3, 10))
    assert row["area"] == 4
    assert row["intensity_mean-phase"] == objects["intensity_mean-phase"].mean()


def test_a_gap_counts_with_the_time_it_took():
    moved = steps(walk((0, 0), None, (0, 12)))
    assert moved["n_frames"].tolist() == pytest.approx([np.nan, 2], nan_ok=True)
    assert moved["duration_hour"].iloc[1] == 1
    assert features(walk((0, 0), None, (0, 12))).iloc[0]["speed_mean"] == 6


def test_an_object_seen_once_has_no_speed():
    row = features(walk((3, 3))).iloc[0]
    assert row[["path_length", "net_displacement", "speed_mean"]].isna().all()


def test_without_an_interval_there_is_no_speed_but_a_path():
    row = features(walk((0, 0), (0, 2), interval_s=None)).iloc[0]
    assert row["path_length"] == 1
    assert np.isnan(row["speed_mean"])


def test_the_order_of_the_rows_does_not_matter():
    objects = pd.concat([walk((0, 0), (6, 8), (6, 20)), walk((9, 9)).assign(label=2)])
    pd.testing.assert_frame_equal(features(objects.iloc[::-1]), features(objects))


def test_no_objects_have_no_features():
    table = features(OBJECTS.empty(["phase"]))
    assert len(table) == 0
    assert table.columns.tolist() == FEATURES.names(["phase"])
