"""No field is ever in two parts, and equal seeds give equal parts."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hcs.errors import SettingsError
from hcs.plate.path import FieldPath
from hcs.run.parts import Place, mixed, split_places, spread
from hcs.run.training import ColumnRanges, PartSettings


def grid(wells: int, fields: int = 1, frames: int = 1, plates: int = 1) -> list[Place]:
    return [
        Place(plate, FieldPath.parse(f"A/{well}/{field}"), frame)
        for plate in range(plates)
        for well in range(1, wells + 1)
        for field in range(fields)
        for frame in range(frames)
    ]


@given(
    st.integers(3, 12),
    st.integers(1, 3),
    st.integers(1, 2),
    st.floats(0.05, 0.3),
    st.sampled_from(["well", "field"]),
    st.integers(0, 9),
)
def test_parts_are_disjoint_whole_and_drawn_by_the_seed(wells, fields, plates, share, by, seed):
    places = grid(wells, fields, frames=2, plates=plates)
    settings = PartSettings(by=by, validation=share, test=share, seed=seed)
    parts = split_places(places, settings, [None] * plates)
    assert parts == split_places(places, settings, [None] * plates)
    assert sorted(
        (p.source, str(p.field), p.frame) for p in (*parts.train, *parts.validation, *parts.test)
    ) == sorted((p.source, str(p.field), p.frame) for p in places)

    def units(part):
        return {(p.source, str(p.field.well if by == "well" else p.field)) for p in part}

    assert not units(parts.train) & units(parts.validation)
    assert not units(parts.test) & (units(parts.train) | units(parts.validation))
    assert parts.train
    assert parts.validation
    assert parts.test


def test_listed_wells_are_taken_as_they_are_listed():
    settings = PartSettings(train=("A/1",), validation=("A/3",), test="none")
    parts = split_places(grid(4, fields=2), settings, [None])
    assert {str(p.field) for p in parts.train} == {"A/1/0", "A/1/1"}
    assert {str(p.field.well) for p in parts.validation} == {"A/3"}
    assert parts.test == ()


def test_columns_of_one_image_are_parts_with_a_gap():
    ranges = ColumnRanges(train=(0, 65), test=(70, 100))
    parts = split_places(grid(1), PartSettings(by="columns"), [ranges])
    assert [p.columns for p in parts.train] == [(0, 65)]
    assert parts.validation == ()
    assert [p.columns for p in parts.test] == [(70, 100)]


def test_a_single_well_cannot_be_three_parts_and_the_error_says_what_to_do():
    with pytest.raises(SettingsError, match="1 well cannot be split: 0 to train on") as caught:
        split_places(grid(1), PartSettings(), [None])
    for way in ("split by field", "column ranges", "to none"):
        assert way in caught.value.hint
    alone = PartSettings(validation="none", test="none")
    assert len(split_places(grid(1), alone, [None]).train) == 1


def test_listed_wells_that_are_not_there_are_told_all_at_once():
    settings = PartSettings(validation=("C/09",), test=("D/01", "A/1"))
    with pytest.raises(
        SettingsError, match=r"split\.validation: C/09; split\.test: D/01"
    ) as caught:
        split_places(grid(2), settings, [None])
    assert "there are A/1, A/2" in caught.value.hint


def test_few_places_are_all_taken_and_many_are_spread_from_end_to_end():
    places = grid(20)
    assert spread(places, 30) == tuple(places)
    some = spread(places, 5)
    assert len(some) == 5
    assert (some[0], some[-1]) == (places[0], places[-1])


def test_mixed_places_are_the_same_in_another_order():
    places = grid(3, frames=10)
    assert mixed(places) == mixed(places) != tuple(places)
    assert set(mixed(places)) == set(places)
    assert len({place.field for place in mixed(places)[:4]}) > 1
