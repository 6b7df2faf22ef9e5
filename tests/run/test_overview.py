"""A plate at a glance: which pictures, of what."""

from hcs.run.overview import pictures_of


def test_a_plate_that_was_analysed_has_a_map_and_its_fullest_and_emptiest_field(analysed_plate):
    heat_map, most, fewest = pictures_of(str(analysed_plate))
    assert heat_map.title == "ssl_cells: objects per frame, mean"
    assert most.title.endswith("ssl_cells over phase")
    assert most.title != fewest.title
    assert {one.png[1:4] for one in (heat_map, most, fewest)} == {b"PNG"}


def test_a_plate_that_was_never_analysed_has_none(tiny_plate):
    assert pictures_of(str(tiny_plate)) == ()
