import pytest

from hcs.errors import SettingsError
from hcs.plate.path import WellPath
from hcs.simulate.settings import Accident, settings_for


def test_settings_name_their_wells_row_by_row():
    settings = settings_for({"rows": 2, "columns": 2})
    assert [str(well) for well in settings.wells] == ["A/01", "A/02", "B/01", "B/02"]


def test_all_problems_come_in_one_message():
    with pytest.raises(SettingsError, match=r"rows: .*equal to 1, not 0; seeed is no setting"):
        settings_for({"rows": 0, "seeed": 3})


def test_accidents_off_the_plate_or_twice_in_a_well_are_refused():
    accidents = [Accident.parse(f"saturated={well}") for well in ("Z/01", "A/01", "A/01")]
    with pytest.raises(SettingsError, match=r"well Z/01, which the plate lacks; well A/01 has two"):
        settings_for({"accidents": tuple(accidents)})


def test_our_own_sentences_stand_without_pydantics_label():
    with pytest.raises(SettingsError) as caught:
        settings_for({"accidents": (Accident.parse("saturated=Z/99"),)})
    assert caught.value.message == "accident in well Z/99, which the plate lacks"


def test_the_value_that_was_given_is_named():
    with pytest.raises(SettingsError, match=r"preset: input should be 'easy'.*, not 'esay'"):
        settings_for({"preset": "esay"})


def test_shards_need_version_0_5():
    assert settings_for({"storage": "sharded", "version": "0.5"}).storage == "sharded"
    with pytest.raises(SettingsError, match=r"OME-Zarr 0\.4 has no shards: write version 0\.5"):
        settings_for({"storage": "sharded"})


@pytest.mark.parametrize("text", ["flood=A/01", "saturated", "saturated="])
def test_an_accident_is_a_kind_and_a_well(text):
    with pytest.raises(SettingsError, match=r"is not kind=row/column .*blank_frame, out_of_focus"):
        Accident.parse(text)


def test_a_wells_accident_is_found_by_its_path():
    settings = settings_for({"accidents": (Accident.parse("empty_well=B/03"),)})
    assert settings.accident(WellPath("B", "03")) == "empty_well"
    assert settings.accident(WellPath("B", "04")) is None
