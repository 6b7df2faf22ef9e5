"""When a plate has arrived: by a sentinel file, or complete and at rest."""

from datetime import UTC, datetime, timedelta

import pytest

from hcs.plate.open import open_plate
from hcs.plate.output import make_output
from hcs.plate.path import FieldPath
from hcs.plate.storage import Storage
from hcs.run.arrivals import arrival_of, sentinel_of
from hcs.run.night_settings import NightSettings
from tests.plates import make_plate, still_ground

FEW = still_ground(0, n_frames=2, side=32)


@pytest.fixture
def plate(tmp_path):
    return make_plate(tmp_path / "p.zarr", {"A/01": FEW, "A/02": FEW, "B/01": FEW})


def after(minutes: float) -> datetime:
    return datetime.now(UTC) + timedelta(minutes=minutes)


def told(plate, minutes: float, **night: object) -> tuple[bool, str]:
    arrival = arrival_of(open_plate(plate.storage.url), NightSettings(**night), after(minutes))
    return arrival.is_there, arrival.why


# at rest and complete


def test_a_complete_plate_has_arrived_when_its_pixels_rest(plate):
    assert told(plate, 59) == (False, "its pixels changed 59 min ago, and shall rest for 1 h 0 min")
    assert told(plate, 61) == (True, "complete and unchanged for 1 h 1 min")
    assert told(plate, 6, unchanged_min=5) == (True, "complete and unchanged for 6 min")


def test_a_plate_of_results_has_arrived_when_the_pixels_of_its_input_rest(plate, tmp_path):
    output = make_output(plate, str(tmp_path / "results.zarr"))
    assert told(output, 59)[0] is False
    assert told(output, 61) == (True, "complete and unchanged for 1 h 1 min")


def empty(plate, place: str) -> None:
    for key in plate.storage.sizes(place):
        if not key.endswith((".zarray", ".zattrs", ".zgroup")):
            plate.storage.delete(key)


def test_a_plate_of_metadata_only_is_still_empty(plate):
    empty(plate, "")
    assert told(plate, 600) == (False, "there are no pixels yet")


def test_a_clock_that_is_behind_the_file_servers_makes_pixels_young(plate):
    assert told(plate, -5) == (False, "its pixels changed 0 s ago, and shall rest for 1 h 0 min")
    assert told(plate, -5, unchanged_min=0) == (True, "complete and unchanged for 0 s")


def test_a_well_or_field_that_is_listed_and_not_there_is_waited_for(plate):
    plate.storage.delete("B/01/0")
    arrived, why = told(plate, 90)
    assert not arrived
    assert why.startswith("incomplete: field B/01/0 is listed, but there is nothing at ")
    plate.storage.delete("B/01")
    assert told(plate, 90)[1].startswith("incomplete: well B/01 is listed, but")


def test_a_field_without_pixels_is_waited_for(plate):
    empty(plate, "A/02/0")
    why = "incomplete: field A/02/0 has no pixels; unchanged for 1 h 30 min"
    assert told(plate, 90) == (False, f"{why}, taken as it is after 24 h 0 min")
    assert told(plate, 90, incomplete_after_h=None) == (False, why)


@pytest.mark.parametrize(
    ("version", "storage"), [("0.4", "chunked"), ("0.5", "chunked"), ("0.5", "sharded")]
)
def test_frames_that_are_not_there_yet_are_waited_for(tmp_path, version, storage):
    frames = still_ground(0, n_frames=4, side=32)
    wells = {"A/01": frames, "A/02": frames}
    plate = make_plate(tmp_path / "p.zarr", wells, version, storage)
    assert told(plate, 90)[0]
    # a copy goes through files by name
    image = plate.field_image(FieldPath.parse("A/02/0"))
    prefix = "c/" if version == "0.5" else ""
    for number in (2, 3):
        plate.storage.delete(f"A/02/0/{image.levels[0].path}/{prefix}{number}")
    why = "incomplete: field A/02/0 has no pixels of frame 2 and others; unchanged for 1 h 30 min"
    assert told(plate, 90) == (False, f"{why}, taken as it is after 24 h 0 min")
    assert told(plate, 25 * 60)[0]


def test_a_plate_that_stays_incomplete_is_taken_as_it_is_after_a_day_or_never(plate):
    plate.storage.delete("B/01")
    assert told(plate, 23 * 60)[0] is False
    assert told(plate, 25 * 60)[0] is True
    assert told(plate, 3 * 60, incomplete_after_h=2)[0] is True
    assert told(plate, 10_000, incomplete_after_h=None)[0] is False


def test_many_missing_wells_are_counted(tmp_path):
    wells = {f"A/{column:02}": FEW for column in range(1, 7)}
    plate = make_plate(tmp_path / "p.zarr", wells)
    for well in list(wells)[1:]:
        plate.storage.delete(well)
    assert "; and 2 more; unchanged for" in told(plate, 90)[1]


# a sentinel file


def test_a_sentinel_beside_the_plate_or_in_it_says_that_it_is_there(root_url):
    url = f"{root_url}/p.zarr"
    assert sentinel_of(url, "{plate}.done").why == "p.done is not there yet"
    Storage.open(f"{root_url}").write("q.done", b"")
    Storage.open(f"{root_url}").write("p.done", b"")
    Storage.open(url).write("complete.txt", b"")
    assert sentinel_of(url, "{plate}.done").is_there
    assert sentinel_of(url, "complete.txt").why == "complete.txt is there"
    assert not sentinel_of(url, "{plate}.ready").is_there


def test_with_a_sentinel_nothing_else_counts(plate, tmp_path):
    assert told(plate, 600, sentinel="{plate}.done") == (False, "p.done is not there yet")
    (tmp_path / "p.done").touch()
    plate.storage.delete("B/01")
    assert told(plate, 0, sentinel="{plate}.done") == (True, "p.done is there")


def test_braces_in_the_name_of_a_plate_are_no_pattern(tmp_path):
    (tmp_path / "{0}{plate}.done").touch()
    assert sentinel_of(f"{tmp_path}/{{0}}{{plate}}.zarr", "{plate}.done").is_there
