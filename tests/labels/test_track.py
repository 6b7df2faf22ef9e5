import os
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import tifffile
from hypothesis import given, settings
from hypothesis import strategies as st

from hcs.labels.ctc import pair, track_scores
from hcs.labels.match import overlaps
from hcs.labels.settings import TrackSettings
from hcs.labels.track import link, relabel

DIAMETER = 10
AREA = np.pi * DIAMETER**2 / 4


def objects(*rows: tuple) -> pd.DataFrame:
    """Return objects from (frame, label, y, x) or (frame, label, y, x, area)."""
    filled = [(*row, AREA)[:5] for row in rows]
    table = pd.DataFrame(filled, columns=["time_index", "label", "y", "x", "area"])
    return table.assign(dy=np.nan, dx=np.nan)


def still(n_frames: int) -> np.ndarray:
    return np.zeros((n_frames, 2))


def ids(tracks) -> dict[tuple[int, int], int]:
    rows = tracks.objects
    return {
        (int(t), int(i)): int(label)
        for t, i, label in zip(rows["time_index"], rows["local_label"], rows["label"], strict=True)
    }


@st.composite
def fields(draw):
    """Objects anywhere in some frames; frames without any are likely."""
    n_frames = draw(st.integers(1, 5))
    place = st.floats(0, 60)
    rows = [
        (t, i, draw(place), draw(place), draw(st.integers(20, 200)))
        for t in range(n_frames)
        for i in range(1, 1 + draw(st.integers(0, 4)))
    ]
    return objects(*rows), n_frames


@given(fields())
@settings(deadline=None, max_examples=30)
def test_every_object_has_an_id_and_no_id_is_twice_in_a_frame(field):
    table, n_frames = field
    tracks = link(table, still(n_frames)).objects
    assert len(tracks) == len(table)
    assert not tracks.duplicated(["time_index", "label"]).any()
    assert sorted(tracks["label"].unique()) == list(range(1, tracks["label"].nunique() + 1))


@given(fields(), st.randoms(use_true_random=False))
@settings(deadline=None, max_examples=30)
def test_the_order_of_the_rows_does_not_matter(field, random):
    table, n_frames = field
    order = list(range(len(table)))
    random.shuffle(order)
    shuffled = link(table.iloc[order], still(n_frames))
    pd.testing.assert_frame_equal(shuffled.objects, link(table, still(n_frames)).objects)


@given(fields())
@settings(deadline=None, max_examples=30)
def test_a_mother_ends_before_her_daughters_begin_and_has_two(field):
    table, n_frames = field
    tracks = link(table, still(n_frames)).objects
    time = tracks.groupby("label")["time_index"]
    first, last = time.min(), time.max()
    parents = tracks.groupby("label")["parent_label"].agg(["min", "max"])
    assert (parents["min"] == parents["max"]).all()
    born = parents["max"][parents["max"] > 0]
    assert (born.value_counts() == 2).all()
    assert all(last[mother] < first[label] for label, mother in born.items())


def test_objects_keep_their_ids_when_labels_are_shuffled():
    field = objects((0, 1, 5, 5), (0, 2, 5, 40), (1, 2, 8, 6), (1, 1, 4, 43), (2, 7, 10, 9))
    found = ids(link(field, still(3)))
    assert found == {(0, 1): 1, (0, 2): 2, (1, 1): 2, (1, 2): 1, (2, 7): 1}


def test_an_object_that_moved_too_far_is_a_new_one():
    field = objects((0, 1, 5, 5), (1, 1, 5, 5 + 1.1 * DIAMETER))
    assert ids(link(field, still(2))) == {(0, 1): 1, (1, 1): 2}
    far = TrackSettings(max_step=1.2)
    assert ids(link(field, still(2), far)) == {(0, 1): 1, (1, 1): 1}


def test_the_drift_of_the_stage_is_no_motion():
    field = objects((0, 1, 20, 20), (0, 2, 20, 33), (1, 1, 20, 33), (1, 2, 20, 46))
    drift = np.array([[np.nan, np.nan], [0, 13]])
    assert ids(link(field, drift)) == {(0, 1): 1, (0, 2): 2, (1, 1): 1, (1, 2): 2}


def test_the_displacement_tells_who_was_where():
    field = objects((0, 1, 20, 20), (0, 2, 20, 32), (1, 1, 20, 31), (1, 2, 20, 43))
    field.loc[field["time_index"] == 1, ["dy", "dx"]] = 0, 11
    moved = link(field, still(2), TrackSettings(displacement_weight=1))
    assert ids(moved) == {(0, 1): 1, (0, 2): 2, (1, 1): 1, (1, 2): 2}


def test_the_drift_is_not_counted_twice_where_the_displacement_has_it():
    field = objects((0, 1, 20, 20), (1, 1, 20, 60)).assign(dy=0, dx=40)
    assert ids(link(field, np.array([[0, 0], [0, 40]]))) == {(0, 1): 1, (1, 1): 1}


def test_of_two_candidates_the_one_of_like_area_goes_on():
    field = objects((0, 1, 20, 20, 80), (1, 1, 20, 16, 10), (1, 2, 20, 25, 80))
    assert ids(link(field, still(2)))[1, 2] == 1


@pytest.mark.parametrize("gap", [1, 2, 3])
def test_an_id_survives_a_gap_of_two_frames(gap):
    field = objects((0, 1, 5, 5), (gap + 1, 1, 6, 6))
    kept = ids(link(field, still(gap + 2)))[gap + 1, 1] == 1
    assert kept == (gap <= 2)


def test_no_gap_is_closed_where_none_is_allowed():
    field = objects((0, 1, 5, 5), (2, 1, 5, 5))
    assert ids(link(field, still(3), TrackSettings(max_gap_frames=0)))[2, 1] == 2


def divided(*areas: float, daughter_frames: int = 3) -> pd.DataFrame:
    """Return a cell of two frames and then two daughters of given areas, side by side."""
    mother = [(t, 1, 20, 20) for t in (0, 1)]
    daughters = [
        (2 + t, i + 1, 20, 16 + 8 * i, area)
        for t in range(daughter_frames)
        for i, area in enumerate(areas)
    ]
    return objects(*mother, *daughters)


def test_daughters_get_ids_of_their_own_and_know_their_mother():
    tracks = link(divided(40, 40), still(5)).objects
    assert tracks["label"].tolist() == [1, 1, 2, 3, 2, 3, 2, 3]
    assert tracks["parent_label"].tolist() == [0, 0, 1, 1, 1, 1, 1, 1]


def test_a_small_fragment_is_no_daughter():
    tracks = link(divided(70, 8), still(5)).objects
    assert tracks["label"].tolist() == [1, 1, 1, 2, 1, 2, 1, 2]
    assert (tracks["parent_label"] == 0).all()


def test_a_cell_cut_in_two_for_a_frame_does_not_divide():
    field = pd.concat([divided(40, 40, daughter_frames=1), objects((3, 1, 20, 20), (4, 1, 20, 20))])
    tracks = link(field, still(5)).objects
    assert (tracks["parent_label"] == 0).all()
    assert tracks["label"].nunique() == 2


def test_daughters_at_the_end_of_the_sequence_are_believed():
    tracks = link(divided(40, 40, daughter_frames=1), still(3)).objects
    assert tracks["parent_label"].tolist() == [0, 0, 1, 1]


def test_nothing_divides_where_that_is_switched_off():
    tracks = link(divided(40, 40), still(5), TrackSettings(max_daughter_step=0)).objects
    assert (tracks["parent_label"] == 0).all()


@pytest.mark.parametrize("n_frames", [0, 1, 4])
def test_a_field_without_objects_has_no_ids(n_frames):
    tracks = link(objects(), still(n_frames))
    assert len(tracks.objects) == 0
    assert tracks.ids(0).tolist() == [0]


def test_an_object_outside_the_frames_is_refused():
    with pytest.raises(ValueError, match="an object lies in frame 2, but the drift has 2 frames"):
        link(objects((2, 1, 5, 5)), still(2))


def test_a_label_that_occurs_twice_is_refused():
    with pytest.raises(ValueError, match="label 4 occurs twice in frame 1"):
        link(objects((1, 4, 5, 5), (1, 4, 9, 9)), still(2))


def test_an_object_without_id_is_refused():
    table = np.array([0, 9, 0], dtype=np.uint32)
    for label in (2, 3):
        with pytest.raises(ValueError, match=rf"no id for the objects \[{label}\]"):
            relabel(np.array([[0, 1, label]]), table)


def test_ids_of_a_frame_turn_its_label_image_into_final_labels():
    field = objects((0, 1, 5, 5), (0, 2, 5, 40), (1, 2, 5, 5), (1, 1, 5, 40))
    tracks = link(field, still(2))
    final = relabel(np.array([[1, 0, 2]], dtype=np.uint32), tracks.ids(1))
    assert final.dtype == np.uint32
    assert final.tolist() == [[2, 0, 1]]


# share of true links that are ours, objects of the truth given under shuffled labels
REAL = {"ctc_dic_c2dh_hela/01": 0.99, "ctc_phc_c2dl_psc/01_t150-169": 0.99}
REAL |= {"ctc_fluo_n2dl_hela/01_t044-062": 0.99}


def centroids(labels: np.ndarray, time_index: int) -> pd.DataFrame:
    present = np.unique(labels)[1:]
    count = np.bincount(labels.ravel())[present]
    y, x = (
        np.bincount(labels.ravel(), axis.ravel())[present] / count
        for axis in np.indices(labels.shape)
    )
    table = pd.DataFrame({"label": present, "y": y, "x": x, "area": count})
    return table.assign(time_index=time_index, dy=np.nan, dx=np.nan)


@pytest.mark.real_data
@pytest.mark.parametrize("name", REAL)
def test_real_cells_are_followed(name):
    folder = os.environ.get("HCS_DATA")
    if folder is None:
        pytest.skip("HCS_DATA names no folder of real data")
    masks = Path(folder) / name / "masks"
    rng = np.random.default_rng(0)
    frames, markers = [], []
    for path in sorted((masks / "silver").glob("*.tif"))[:20]:
        labels = tifffile.imread(path)
        renamed = np.append(0, 1 + rng.permutation(labels.max()))
        frames.append(renamed[labels])
        marker = path.name.replace("man_seg", "man_track")
        markers.append(tifffile.imread(masks / "tra_markers" / marker))
    field = pd.concat([centroids(labels, t) for t, labels in enumerate(frames)])
    tracks = link(field, still(len(frames)))
    lineage = np.loadtxt(masks / "tra_markers" / "man_track.txt", dtype=int)
    true = pd.DataFrame({"label": lineage[:, 0], "parent_label": lineage[:, 3]})
    ours = tracks.objects.drop_duplicates("label")
    pairs = [
        pair(overlaps(relabel(labels, tracks.ids(t)), markers[t]))
        for t, labels in enumerate(frames)
    ]
    assert track_scores(pairs, ours, true).link_accuracy >= REAL[name]
