"""What is to be done, from metadata and markers alone."""

import shutil
from collections import Counter

import pytest

from hcs.errors import MissingError, SettingsError, WorkerError, WriteError
from hcs.plate.local import LocalStorage
from hcs.plate.open import open_plate
from hcs.run.channel import choose_channel
from hcs.run.plan import check_fit, make_plan, select_wells
from hcs.run.steps import difference
from hcs.settings import Settings, load_settings
from tests.plates import N_FRAMES, SIDE_PX


def test_an_untouched_plate_is_all_to_be_done(tiny_plate):
    plan = make_plan(open_plate(tiny_plate), Settings())
    assert [well.is_done for well in plan.wells] == [False] * 3
    assert [status.step.name for status in plan.wells[0].todo] == [
        "ssl-statistics",
        "ssl",
        "measure-ssl_cells",
    ]
    assert plan.channel == "phase"


def test_bytes_are_those_of_the_pixels_that_each_step_reads(tiny_plate):
    plan = make_plan(open_plate(tiny_plate), Settings())
    pixels = N_FRAMES * SIDE_PX**2
    # three passes over one channel of 2 bytes; then two channels and the label image of 4 bytes
    assert plan.wells[0].bytes_read == pixels * (3 * 2) + pixels * (2 * 2 + 4)
    assert 0 < plan.wells[0].bytes_written < pixels * 4


def test_a_plate_that_is_done_reads_nothing(analysed_plate):
    plan = make_plan(open_plate(analysed_plate), Settings())
    assert all(well.is_done for well in plan.wells)
    assert sum(well.bytes_read + well.bytes_written for well in plan.wells) == 0
    check_fit(plan, worker_bytes=1)


def test_planning_reads_no_pixel(tiny_plate):
    for chunk in tiny_plate.glob("A/*/0/*/0/0/0/0/0"):
        chunk.write_bytes(b"no chunk")
    assert len(make_plan(open_plate(tiny_plate), Settings()).wells) == 3


def test_planning_reads_each_document_once(tiny_plate, monkeypatch):
    read, plain = Counter[str](), LocalStorage.read
    monkeypatch.setattr(
        LocalStorage,
        "read",
        lambda storage, key, most=None: read.update([key]) or plain(storage, key, most),
    )
    make_plan(open_plate(tiny_plate), Settings())
    arrays = {f"{well}/0/0/.zarray" for well in ("A/01", "A/02", "B/01")}
    assert arrays < read.keys()
    # whose chunks are listed, with what they are then
    assert {key for key, count in read.items() if count > 1} == arrays


def test_what_is_odd_is_told_in_the_order_of_the_plate(tiny_plate):
    for group in tiny_plate.glob("*/*/0/.zattrs"):
        group.write_text(group.read_text().replace('"version"', '"release"'))
    told = make_plan(open_plate(tiny_plate), Settings()).warnings
    versions = [text for text in told if "does not say its OME-Zarr version" in text]
    assert versions == [
        f"field {well}/0 does not say its OME-Zarr version" for well in ("A/01", "A/02", "B/01")
    ]


def test_other_pixels_are_noticed(analysed_plate):
    chunk = next((analysed_plate / "A/02/0").glob("*/0/0/0/0/0"))
    chunk.write_bytes(chunk.read_bytes() + b"x")
    plan = make_plan(open_plate(analysed_plate), Settings())
    (changed,) = (well for well in plan.wells if well.todo[:1] and str(well.well) == "A/02")
    assert changed.todo[0].why == "the input's pixels or their metadata changed"


def test_a_damaged_marker_is_a_step_to_be_done(analysed_plate):
    (analysed_plate.with_suffix(".hcs") / "A/01/ssl.json").write_text("{")
    well = make_plan(open_plate(analysed_plate), Settings()).wells[0]
    assert [(s.step.name, s.why) for s in well.todo] == [
        ("ssl", "not done yet"),
        ("measure-ssl_cells", "to be done again: ssl comes first"),
    ]


def test_a_well_without_its_metadata_fails_alone(tiny_plate):
    shutil.rmtree(tiny_plate / "A/02/0")
    plan = make_plan(open_plate(tiny_plate), Settings())
    failures = [well.failure for well in plan.wells]
    assert [failure is None for failure in failures] == [True, False, True]
    assert "A/02/0" in failures[1].message


def test_wells_are_taken_in_the_order_of_the_plate(tiny_plate):
    plate = open_plate(tiny_plate)
    assert [str(well) for well in select_wells(plate, ("B/01", "A/01"))] == ["A/01", "B/01"]


def test_every_well_that_is_not_there_is_named(tiny_plate):
    with pytest.raises(MissingError, match="plate tiny has no well C/01, D/12"):
        select_wells(open_plate(tiny_plate), ("A/01", "D/12", "C/01"))


def test_frames_that_do_not_fit_a_worker_are_refused(tiny_plate):
    plan = make_plan(open_plate(tiny_plate), Settings())
    with pytest.raises(WorkerError, match=r"a worker needs about .* GB .* may have 0\.1 GB"):
        check_fit(plan, worker_bytes=100_000_000)
    check_fit(plan, worker_bytes=None)


def test_results_that_do_not_fit_the_disk_are_refused(tiny_plate, monkeypatch):
    plan = make_plan(open_plate(tiny_plate), Settings())
    monkeypatch.setattr(shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(1, 1, 0))
    with pytest.raises(WriteError, match=r"results need about .* GB .* 0\.0 GB are free"):
        check_fit(plan, worker_bytes=None)


# channels


@pytest.mark.parametrize(
    "label", ["Phase", "phase contrast", "BF", "Brightfield", "DIC", "TL-Brightfield", "PhC", "Ph2"]
)
def test_the_label_free_channel_is_known_by_its_name(label):
    assert choose_channel(["DAPI", label, "Cy5"], None) == label


def test_fluorescence_is_never_taken_for_label_free():
    with pytest.raises(SettingsError, match="'DAPI', 'mCherry', 'Cy5' says") as caught:
        choose_channel(["DAPI", "mCherry", "Cy5"], None)
    assert "--channel" in caught.value.hint


def test_a_channel_that_is_not_there_is_said_with_those_that_are():
    with pytest.raises(MissingError, match="the plate has no channel 'BF'") as caught:
        choose_channel(["DAPI", "phase"], "BF")
    assert caught.value.hint == "it has 'DAPI', 'phase'"


# words


def test_what_changed_is_said_with_both_values():
    before = {"ssl": {"em_rounds": 1, "prior": "equal"}, "reads": "a", "step": "ssl"}
    now = {"ssl": {"em_rounds": 2, "prior": "equal"}, "reads": "b", "step": "ssl"}
    assert difference(before, now) == ["ssl.em_rounds is 2, was 1", "what it reads changed"]
    assert difference(now, now) == []


def test_stains_that_are_not_in_a_run_are_told_from_those_that_changed():
    before = {"stains": [["isl-dna", "a"], ["isl-actin", "b"]]}
    for now, words in (
        ([["isl-dna", "a"]], "isl-actin is not predicted in this run"),
        ([["isl-dna", "c"], ["isl-actin", "b"]], "isl-dna changed"),
        ([*before["stains"], ["isl-er", "d"]], "isl-er was not predicted then"),
        (before["stains"][::-1], "its stains are in another order"),
    ):
        assert difference(before, {"stains": now}) == [words]


def test_placement_and_watching_never_enter_a_fingerprint(analysed_plate):
    overrides = ["run.workers=7", "run.span_frames=2", "run.attempts=9", "run.timeout_s=5"]
    plan = make_plan(open_plate(analysed_plate), load_settings(overrides=overrides))
    assert all(well.is_done for well in plan.wells)
