from hcs.plate.path import WellPath
from hcs.simulate.conditions import (
    brightness,
    condition,
    condition_table,
    effect,
    treatment,
)
from hcs.simulate.settings import SimulationSettings

PLATE = SimulationSettings(rows=3, columns=6)


def test_first_column_is_negative_and_last_positive_control():
    assert condition(PLATE, WellPath("B", "01")).control == "negative"
    assert condition(PLATE, WellPath("B", "06")).control == "positive"
    assert condition(PLATE, WellPath("B", "03")).control == ""


def test_doses_and_their_effect_rise_over_the_columns():
    doses = [condition(PLATE, WellPath("A", c)).concentration_um for c in PLATE.column_names]
    assert doses == sorted(doses)
    motility = [treatment(PLATE, WellPath("A", c)).motility for c in PLATE.column_names]
    assert motility == sorted(motility, reverse=True)
    assert motility[0] == 1
    assert effect(1e9) > 0.999


def test_a_drug_acts_on_what_was_asked_for_only():
    settings = SimulationSettings(drug_acts_on=("death",))
    acted = treatment(settings, settings.wells[-1])
    assert acted.motility == 1
    assert acted.growth == 1
    assert acted.death > 5


def test_the_edge_effect_dims_the_outermost_wells_only():
    settings = SimulationSettings(rows=3, columns=4, edge_effect=1.0)
    assert brightness(settings, WellPath("A", "02")) < 1
    assert brightness(settings, WellPath("B", "02")) == 1
    assert treatment(settings, WellPath("A", "01")).growth < 1


def test_the_plate_map_has_a_row_per_well():
    table = condition_table(PLATE)
    assert len(table) == 18
    assert list(table.columns[:3]) == ["row", "column", "path_in_well"]
