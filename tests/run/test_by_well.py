import pytest

from hcs.errors import CorruptError, SettingsError, WriteError
from hcs.run.by_well import by_well


def test_a_wells_own_error_costs_that_well_alone(sequence_plate):
    def work(well):
        if well.column == "01":
            raise CorruptError("bytes are damaged", hint="copy it anew")
        return well.name

    results, left_out = by_well(sequence_plate, work)
    assert results == ["A02"]
    assert [str(one) for one in left_out] == ["A/01 is left out: bytes are damaged (copy it anew)"]


def test_where_no_well_is_left_the_first_cause_is_raised(sequence_plate):
    def work(well):
        raise CorruptError(f"{well} is damaged")

    with pytest.raises(CorruptError, match="A/01 is damaged"):
        by_well(sequence_plate, work)


@pytest.mark.parametrize("kind", [SettingsError, WriteError])
def test_what_concerns_all_wells_stops_at_once(sequence_plate, kind):
    asked = []

    def work(well):
        asked.append(well.name)
        raise kind("no space left")

    with pytest.raises(kind, match="no space left"):
        by_well(sequence_plate, work)
    assert asked == ["A01"]
