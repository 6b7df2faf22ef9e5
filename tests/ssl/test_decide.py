"""Pass b: decisions of a field from the statistics of its pairs."""

import json
from dataclasses import asdict, replace

import pytest
from pydantic import TypeAdapter

from hcs.errors import FramesError
from hcs.ssl.decide import FrameDecision, PairStatistics, decide, needs_pool, pool
from hcs.ssl.grey import GreyRange
from hcs.ssl.naive_bayes import Model
from hcs.ssl.settings import SslSettings

SETTINGS = SslSettings()
MODEL = Model(
    (4.0, 2.0, 3.0), (1.0, 1.0, 1.0), (2.0, 1.0, 1.0), (1.0, 1.0, 1.0), 0.3, 400.0,
    GreyRange(10.0, 90.0), 1.5,
)  # fmt: skip
PAIR = PairStatistics(
    blank=False,
    noise=2.0,
    blur_px=0.0,
    change_threshold=3.0,
    displacement_threshold=0.5,
    n_cell=900,
    n_background=9000,
    fitted=MODEL,
    model=MODEL,
    separability=(0.9, 0.9, 0.8),
    change_separability=0.9,
    drift_px=(0.25, -0.5),
    moving_area_px=0.0,
    accepted=True,
)
REJECTED = replace(PAIR, accepted=False)


def shifted(by):
    """An accepted pair whose cells have that much more entropy."""
    model = replace(MODEL, cell_mean=(MODEL.cell_mean[0] + by, 2.0, 3.0))
    return replace(PAIR, model=model)


def test_an_accepted_pair_keeps_its_own_model():
    decisions = decide([shifted(0.1), shifted(-0.1)], None, SETTINGS)
    assert [d.source for d in decisions] == ["own", "own"]
    assert decisions[0].model == shifted(0.1).model
    assert all(d.separable for d in decisions)


def test_a_pair_that_is_not_separable_carries_the_pool_of_the_accepted_ones():
    decisions = decide([shifted(0.2), REJECTED, shifted(-0.2)], None, SETTINGS)
    assert [d.source for d in decisions] == ["own", "carried", "own"]
    assert decisions[1].model.cell_mean == pytest.approx(MODEL.cell_mean)
    assert not decisions[1].separable


@pytest.mark.parametrize(
    ("n_accepted", "n_rejected", "believed"),
    [(1, 1, True), (1, 2, False), (4, 5, False), (5, 4, True)],
)
def test_a_minority_of_separable_pairs_counts_as_none(n_accepted, n_rejected, believed):
    statistics = [PAIR] * n_accepted + [REJECTED] * n_rejected
    assert needs_pool(statistics, SETTINGS) is not believed
    sources = {d.source for d in decide(statistics, MODEL, SETTINGS)}
    assert ("pooled" in sources) is not believed


def test_without_a_pooled_model_such_a_field_has_none():
    decisions = decide([REJECTED, REJECTED], None, SETTINGS)
    assert {(d.source, d.model, d.separable) for d in decisions} == {("none", None, False)}


def test_blank_frames_have_no_model_and_no_vote():
    blank = replace(REJECTED, blank=True)
    decisions = decide([PAIR, blank, PAIR, REJECTED, blank], MODEL, SETTINGS)
    assert [d.source for d in decisions] == ["own", "none", "own", "carried", "none"]
    assert [d.blank for d in decisions] == [False, True, False, False, True]


def test_cells_that_look_like_background_are_called_empty():
    decisions = decide([PAIR, PAIR, PAIR, shifted(-1.5)], None, SETTINGS)
    assert [d.empty for d in decisions] == [False, False, False, True]
    assert decisions[3].source == "carried"


def test_the_size_filter_is_the_same_for_the_whole_field():
    sizes = [replace(PAIR, model=replace(MODEL, typical_area_px=a)) for a in (300.0, 400.0, 900.0)]
    assert {d.min_area_px for d in decide([*sizes, REJECTED], None, SETTINGS)} == {100}


def test_the_first_frame_looks_ahead_and_drift_is_passed_on():
    decisions = decide([PAIR, PAIR, PAIR], None, SETTINGS)
    assert [d.reference for d in decisions] == ["next", "previous", "previous"]
    assert {d.drift_px for d in decisions} == {(0.25, -0.5)}


def test_the_plates_pool_takes_believed_fields_only():
    far = replace(PAIR, model=replace(MODEL, prior=0.9))
    pooled = pool([[PAIR, PAIR], [far, REJECTED, REJECTED]])
    assert pooled.prior == pytest.approx(MODEL.prior)
    assert pooled.grey == MODEL.grey
    assert pooled.blur_px == MODEL.blur_px
    assert pool([[REJECTED, REJECTED], []]) is None


def test_pooling_twice_gives_the_same_bits():
    fields = [[shifted(0.1 * i), shifted(0.03 * i)] for i in range(5)]
    assert pool(fields) == pool(fields)


@pytest.mark.parametrize("statistics", [[], [PAIR]])
def test_a_single_frame_is_no_series(statistics):
    with pytest.raises(FramesError, match=rf"{len(statistics)} frame\(s\).*SSL needs two"):
        decide(statistics, None, SETTINGS)


@pytest.mark.parametrize("kind", [PairStatistics, FrameDecision])
def test_records_survive_json_to_the_last_bit(kind):
    record = {
        PairStatistics: shifted(0.1),
        FrameDecision: decide([shifted(0.1), REJECTED], None, SETTINGS)[1],
    }[kind]
    text = json.dumps(asdict(record))
    assert TypeAdapter(kind).validate_python(json.loads(text)) == record


def test_the_paper_takes_its_minimum_area_from_the_first_pair_and_leaves_the_first_frame_blank():
    paper = SslSettings(thresholds="paper")
    pairs = [replace(PAIR, moving_area_px=area) for area in (10.0, 1400.0, 90.0)]
    decisions = decide(pairs, None, paper)
    assert [d.source for d in decisions] == ["none", "own", "own"]
    assert {d.min_area_px for d in decisions} == {700}
    assert not needs_pool([REJECTED, REJECTED], paper)
