"""One plate, start to finish, in this process: what is written, what is done again, what fails."""

import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest

import hcs.run.analyse
import hcs.run.visits
from hcs.errors import LockedError, MissingError, SettingsError, WriteError
from hcs.plate.commit import fingerprint, input_fingerprint, read_marker
from hcs.plate.create import ImageSpec, create_field_image, create_plate
from hcs.plate.lock import acquire
from hcs.plate.metadata import Channel, PlateLayout
from hcs.plate.open import label_key, open_plate
from hcs.plate.path import FieldPath, WellPath
from hcs.plate.read import read_label_image
from hcs.plate.storage import Storage
from hcs.plate.table import read_table, table_names
from hcs.plate.write import write_frames
from hcs.run.analyse import analyse
from hcs.run.outcome import worker_name
from hcs.settings import Settings, load_settings
from tests.plates import N_FRAMES, make_plate, moving_cells, results_of
from tests.runs import ends_of

A01, A02, B01 = (WellPath.parse(name) for name in ("A/01", "A/02", "B/01"))
FIELD = FieldPath(A01, "0")


def here(*overrides: str) -> Settings:
    return load_settings(overrides=["run.dask=none", "run.workers=1", *overrides])


def markers(url: Path) -> set[str]:
    companion = url.with_suffix(".hcs")
    return {str(path.relative_to(companion)) for path in companion.glob("[AB]/*/*.json")}


def times(url: Path) -> dict[str, tuple[int, int]]:
    files = [path for path in url.rglob("*") if path.is_file()]
    return {str(path): (path.stat().st_ino, path.stat().st_mtime_ns) for path in files}


def damage(url: Path, well: str = "A/02") -> tuple[Path, bytes]:
    """Cut the first chunk of a well short; return the file and what it held."""
    chunk = sorted(path for path in (url / well / "0" / "0").rglob("*") if path.is_file())[0]
    chunk = next(p for p in sorted((url / well / "0").glob("*/0/0/0/0/0")) if p.is_file())
    content = chunk.read_bytes()
    chunk.write_bytes(content[: len(content) // 2])
    return chunk, content


# what a run leaves


def test_each_object_is_found_and_followed(analysed_plate):
    plate = open_plate(analysed_plate)
    frames = list(read_label_image(plate, FIELD, "ssl_cells", range(N_FRAMES)))
    ids = [set(np.unique(frame)) - {0} for frame in frames]
    assert [len(found) for found in ids] == [6] * N_FRAMES
    assert len(set.union(*ids)) == 6


def test_tables_of_a_field_agree_with_its_label_image(analysed_plate):
    plate = open_plate(analysed_plate)
    objects = read_table(plate, FIELD, "ssl_cells_objects")
    for index, frame in enumerate(read_label_image(plate, FIELD, "ssl_cells", range(N_FRAMES))):
        rows = objects[objects["time_index"] == index]
        ids, areas = np.unique(frame[frame > 0], return_counts=True)
        assert dict(zip(rows["label"], rows["area_pixel"], strict=True)) == dict(
            zip(ids, areas, strict=True)
        )
    assert objects["displacement_pixel"].notna().all()
    assert set(table_names(plate, FIELD)) == {
        "FOV_ROI_table",
        "well_ROI_table",
        "ssl_cells_features",
        "ssl_cells_frames",
        "ssl_cells_masking_ROI_table",
        "ssl_cells_motion",
        "ssl_cells_objects",
    }


def test_what_ssl_found_in_each_frame_stands_in_a_table(analysed_plate):
    plate = open_plate(analysed_plate)
    of_cells = read_table(plate, FIELD, "ssl_cells_frames")
    assert of_cells["time_index"].tolist() == list(range(N_FRAMES))
    assert of_cells["separable"].all()
    assert set(of_cells["model"]) == {"own"}
    assert (of_cells["n_cell"] > 0).all()
    of_ground = read_table(plate, FieldPath(B01, "0"), "ssl_cells_frames")
    assert not of_ground["separable"].any()
    assert set(of_ground["model"]) == {"pooled"}
    manifest = read_marker(plate, A01, "ssl").manifest
    assert f"{FIELD}/tables/ssl_cells_frames/table.parquet" in manifest


def test_tables_of_the_plate_have_every_well(analysed_plate):
    plate = open_plate(analysed_plate)
    wells = plate.table("wells")
    assert wells["well"].tolist() == ["A01", "A02", "B01"]
    assert wells["state"].tolist() == ["done"] * 3
    assert wells["n_objects_last-ssl_cells"].tolist() == [6, 6, 0]
    assert wells["own_model_share-ssl_cells"].tolist() == [1, 1, 0]
    frames = plate.table("well_frames")
    assert frames["model"].tolist() == ["own"] * 2 * N_FRAMES + ["pooled"] * N_FRAMES
    assert plate.table("quarantine").empty


def test_what_made_a_label_image_stands_in_its_attributes(analysed_plate):
    attributes = open_plate(analysed_plate).attributes(label_key(FIELD, "ssl_cells"))
    assert attributes["hcs"]["step"] == "ssl"
    assert attributes["hcs"]["depends_on"]["ssl"]["thresholds"] == "adaptive"
    assert attributes["hcs"]["versions"]["hcs"]
    # also of steps that read nothing but what steps before them made
    for key in (label_key(FIELD, "ssl_cells"), f"{FIELD}/tables/ssl_cells_features"):
        made_by = open_plate(analysed_plate).attributes(key)["hcs"]["depends_on"]
        assert made_by["input"] == input_fingerprint(open_plate(analysed_plate), A01)
        assert (made_by["channel_index"], made_by["plane"]) == ([0], 0)


def test_what_made_the_tables_of_a_plate_stands_in_their_attributes(analysed_plate):
    plate = open_plate(analysed_plate)
    read = {str(well): input_fingerprint(plate, well) for well in plate.layout.wells}
    for name in ("wells", "well_frames", "quarantine"):
        made_by = plate.attributes(f"tables/{name}")["hcs"]["depends_on"]
        assert made_by["input"] == fingerprint(read)
        assert list(made_by["steps"]) == ["measure-ssl_cells", "ssl", "ssl-statistics"]
        (way,) = made_by["steps"]["ssl"]
        assert way["ssl"]["thresholds"] == "adaptive"


def test_nothing_but_labels_and_tables_is_added_to_the_plate(tiny_plate, analysed_plate):
    before = {k: v for k, v in results_of(tiny_plate).items() if k.startswith("plate/")}
    after = {k: v for k, v in results_of(analysed_plate).items() if k.startswith("plate/")}
    assert before.items() <= after.items()
    assert all("/labels/" in key or "/tables/" in key for key in after.keys() - before.keys())


def test_no_scratch_file_and_no_partial_file_stays(analysed_plate):
    companion = analysed_plate.with_suffix(".hcs")
    assert [path for path in (companion / "scratch").rglob("*") if path.is_file()] == []
    assert list(analysed_plate.parent.rglob("*.partial")) == []


# the cut of the work never changes a byte


@pytest.mark.parametrize("override", ["run.span_frames=1", "run.span_frames=3", "run.workers=3"])
def test_spans_and_workers_never_change_a_byte(tiny_plate, analysed_plate, override):
    report = analyse(str(tiny_plate), here(override))
    assert report.exit_code == 0, [(one.line, one.log) for one in report.failed]
    assert results_of(tiny_plate) == results_of(analysed_plate)


# what is done again


def test_a_second_run_does_nothing(analysed_plate):
    before = times(analysed_plate)
    report = analyse(str(analysed_plate), here())
    assert [outcome.state for outcome in report.outcomes] == ["kept"] * 3
    assert times(analysed_plate) == before


@pytest.mark.parametrize(
    ("override", "steps"),
    [
        ("measure.channels=[phase]", ("measure-ssl_cells",)),
        ("calibration.pixel_size_um=0.5", ("measure-ssl_cells",)),
        ("track.max_step=2", ("ssl", "measure-ssl_cells")),
        ("split.h=0.3", ("ssl", "measure-ssl_cells")),
        ("ssl.em_rounds=2", ("ssl-statistics", "ssl", "measure-ssl_cells")),
        ("channel=nuclei", ("ssl-statistics", "ssl", "measure-ssl_cells")),
    ],
)
def test_a_changed_setting_runs_what_depends_on_it(analysed_plate, override, steps):
    report = analyse(str(analysed_plate), here(override, "wells=[A/01]"))
    assert [outcome.steps for outcome in report.outcomes] == [steps]


@pytest.mark.parametrize("step", ["ssl-statistics", "ssl", "measure-ssl_cells"])
def test_a_lost_marker_leads_back_to_the_same_bytes(analysed_plate, step):
    before = results_of(analysed_plate)
    (analysed_plate.with_suffix(".hcs") / "A/01" / f"{step}.json").unlink()
    assert analyse(str(analysed_plate), here()).exit_code == 0
    assert results_of(analysed_plate) == before


def test_a_selected_well_leaves_the_others_alone(tiny_plate):
    report = analyse(str(tiny_plate), here("wells=[A/02]"))
    assert report.done == (A02,)
    assert {key.rpartition("/")[0] for key in markers(tiny_plate)} == {"A/02"}
    plate = open_plate(tiny_plate)
    assert plate.table("wells")["state"].tolist() == ["pending", "done", "pending"]
    assert plate.label_names(FIELD) == ("ssl_cells",)
    assert plate.attributes(label_key(FIELD, "ssl_cells"))["state"] == "pending"


def test_wells_of_earlier_settings_keep_their_results(analysed_plate):
    analyse(str(analysed_plate), here("wells=[A/02]", "track.max_step=2"))
    wells = open_plate(analysed_plate).table("wells")
    assert wells["state"].tolist() == ["earlier", "done", "earlier"]
    assert wells["n_objects_last-ssl_cells"].tolist() == [6, 6, 0]


# the plate's pooled model


def test_the_pool_enters_the_fingerprint_of_the_wells_that_use_it_only(analysed_plate):
    companion = analysed_plate.with_suffix(".hcs")
    pool = json.loads((companion / "plate/ssl-pool.json").read_text())["record"]["pool"]
    parts = {
        well: json.loads((companion / well / "ssl.json").read_text())["record"]["parts"]
        for well in ("A/01", "A/02", "B/01")
    }
    assert parts["B/01"]["pool"] == pool["digest"]
    assert "pool" not in parts["A/01"]
    assert "pool" not in parts["A/02"]


def test_a_pool_of_other_wells_is_made_anew_and_runs_its_users_only(tiny_plate, analysed_plate):
    first = analyse(str(tiny_plate), here("wells=[A/01, B/01]"))
    assert [outcome.steps[0] for outcome in first.outcomes] == ["ssl-statistics"] * 2
    second = analyse(str(tiny_plate), here())
    assert [outcome.steps for outcome in second.outcomes] == [
        (),
        ("ssl-statistics", "ssl", "measure-ssl_cells"),
        ("ssl", "measure-ssl_cells"),
    ]
    assert results_of(tiny_plate) == results_of(analysed_plate)


def test_a_pool_that_is_about_to_change_is_not_used(tiny_plate, analysed_plate):
    analyse(str(tiny_plate), here("wells=[A/01, B/01]"))
    # as after a run that lost its workers when it had made the pool
    (tiny_plate.with_suffix(".hcs") / "B/01/ssl.json").unlink()
    before = ends_of(tiny_plate)
    analyse(str(tiny_plate), here())
    assert ends_of(tiny_plate) - before == {"A/02": 1, "B/01": 1}
    assert results_of(tiny_plate) == results_of(analysed_plate)


# bad input and bad luck


def test_one_bad_well_never_stops_the_others(tiny_plate, analysed_plate):
    chunk, content = damage(tiny_plate)
    report = analyse(str(tiny_plate), here())
    assert report.exit_code == 2
    assert report.done == (A01, B01)
    (failed,) = report.failed
    assert failed.line.startswith("A/02 failed: field A/02/0")
    assert "is damaged" in failed.line
    assert "copy it anew" in failed.line
    # what it said before, and where
    assert failed.log == ("INFO A/02: ssl-statistics, not done yet",)
    assert failed.worker == worker_name()
    plate = open_plate(tiny_plate)
    assert plate.table("wells")["state"].tolist() == ["done", "failed", "done"]
    assert plate.table("wells")["n_objects_last-ssl_cells"].isna().tolist() == [False, True, False]
    row = plate.table("quarantine").iloc[0]
    assert (row["well"], row["cause"]) == ("A02", "damaged data")
    assert plate.attributes("A/02/0/labels/ssl_cells")["state"] == "failed"

    chunk.write_bytes(content)
    repaired = analyse(str(tiny_plate), here())
    assert repaired.exit_code == 0
    assert results_of(tiny_plate) == results_of(analysed_plate)


@pytest.mark.parametrize("span", [1, 120])
def test_a_chunk_that_a_foreign_plate_lost_is_warned_of(tiny_plate, span):
    """Zarr reads it as zeros; where we did not write it, nobody can tell whether it was."""
    for group in tiny_plate.glob("*/*/0/.zattrs"):
        attributes = json.loads(group.read_text())
        del attributes["hcs"]
        group.write_text(json.dumps(attributes))
    (tiny_plate / "A/02/0/0/2/0/0/0/0").unlink()
    report = analyse(str(tiny_plate), here(f"run.span_frames={span}"))
    assert report.exit_code == 0
    warned = [text for text in report.warnings if "frame 2" in text]
    assert warned
    assert all(text.startswith("A/02: field A/02/0") for text in warned)


def test_a_well_of_which_nothing_can_be_read_has_its_row(tiny_plate):
    shutil.rmtree(tiny_plate / "A/02")
    report = analyse(str(tiny_plate), here())
    assert report.done == (A01, B01)
    wells = open_plate(tiny_plate).table("wells")
    assert wells["well"].tolist() == ["A01", "A02", "B01"]
    assert wells["state"].tolist() == ["done", "failed", "done"]
    assert wells["n_frames"].isna().tolist() == [False, True, False]


def test_only_outputs_that_are_there_are_told(tiny_plate):
    damage(tiny_plate, "A/01")
    report = analyse(str(tiny_plate), here())
    assert report.outputs[0].endswith("tiny.zarr/A/02/0/labels/ssl_cells")
    assert all(Path(output).exists() for output in report.outputs)


def test_a_well_most_of_whose_frames_failed_is_done_and_flagged(tmp_path):
    wells = {"A/01": moving_cells(0), "A/02": moving_cells(1)}
    wells["A/02"][1:] = 7
    make_plate(tmp_path / "blank.zarr", wells)
    report = analyse(str(tmp_path / "blank.zarr"), here())
    assert report.exit_code == 0
    plate = open_plate(tmp_path / "blank.zarr")
    assert plate.table("wells")["state"].tolist() == ["done", "done"]
    assert plate.table("wells")["qc_pass_share-ssl_cells"].tolist() == [1, 0.25]
    (row,) = plate.table("quarantine").to_dict("records")
    assert (row["well"], row["cause"]) == ("A02", "quality")
    assert "3 of 4 frames failed quality control, 3 of them: blank or missing" in row["message"]
    # a run that does not look at the well keeps its row, once
    assert analyse(str(tmp_path / "blank.zarr"), here("wells=[A/01]")).exit_code == 0
    assert plate.table("quarantine").to_dict("records") == [row]


def test_a_well_that_fails_later_loses_the_results_of_earlier_settings(analysed_plate):
    damage(analysed_plate)
    report = analyse(str(analysed_plate), here("ssl.em_rounds=2"))
    assert [outcome.well for outcome in report.failed] == [A02]
    plate = open_plate(analysed_plate)
    assert plate.attributes("A/02/0/labels/ssl_cells")["state"] == "failed"
    assert plate.table("wells")["state"].tolist() == ["done", "failed", "done"]
    assert not {"A/02/ssl.json", "A/02/measure-ssl_cells.json"} & markers(analysed_plate)


def test_no_well_done_is_said_by_the_exit_code(tiny_plate):
    damage(tiny_plate)
    assert analyse(str(tiny_plate), here("wells=[A/02]")).exit_code == 1


@pytest.mark.parametrize(
    ("frames", "words"),
    [
        (moving_cells(0, n_frames=1), "field A/02/0 has 1 frame"),
        (
            np.full((3, 128, 128), 7, np.uint16),
            "field A/02/0: all 49152 pixels .* have the grey value 7",
        ),
    ],
    ids=["one frame", "constant"],
)
def test_frames_that_cannot_be_analysed_fail_their_well(tmp_path, frames, words):
    make_plate(tmp_path / "odd.zarr", {"A/01": moving_cells(0), "A/02": frames})
    report = analyse(str(tmp_path / "odd.zarr"), here())
    assert report.done == (A01,)
    assert report.failed[0].failure is not None
    assert report.failed[0].failure.cause == "unusable frames"
    assert re.search(words, report.failed[0].failure.message)


def test_nan_is_reported_with_its_field(tmp_path):
    layout = PlateLayout("nan", "0.4", ("A",), ("01",), (A01,))
    plate = create_plate(tmp_path / "nan.zarr", layout)
    spec = ImageSpec(("t", "y", "x"), (2, 64, 64), "float32", (Channel("phase"),))
    create_field_image(plate, FIELD, spec)
    pixels = np.full((2, 1, 1, 64, 64), np.nan, np.float32)
    write_frames(plate, FIELD, 0, pixels)
    report = analyse(plate.storage.url, here())
    assert report.exit_code == 1
    assert "field A/01/0" in report.outcomes[0].line
    assert "NaN" in report.outcomes[0].line


def test_a_bug_is_an_outcome_with_its_place_in_the_log(tiny_plate, monkeypatch):
    def broken(job):
        if job.wanted.well == A02:
            raise KeyError("label")
        return run_well(job)

    run_well = hcs.run.visits.analyse_well
    monkeypatch.setattr("hcs.run.visits.analyse_well", broken)
    report = analyse(str(tiny_plate), here())
    (failed,) = report.failed
    assert failed.line.startswith("A/02 failed: KeyError: 'label'")
    assert any("in broken" in line for line in failed.log)


def test_a_full_disk_fails_the_wells_and_keeps_what_is_done(analysed_plate, monkeypatch):
    def full(*_arguments, **_options):
        raise WriteError("no space left to write tiny.zarr", hint="free some")

    monkeypatch.setattr("hcs.run.spans.write_label_frames", full)
    report = analyse(str(analysed_plate), here("wells=[A/01]", "track.max_step=2"))
    assert report.exit_code == 1
    assert "no space left" in report.outcomes[0].line
    assert "A/02/ssl.json" in markers(analysed_plate)
    assert "A/01/ssl.json" not in markers(analysed_plate)


def test_tables_that_find_no_room_leave_the_wells_done_and_are_said(tiny_plate, monkeypatch):
    def full(*_):
        raise WriteError("no space left to write tables/wells", hint="free some and run again")

    with monkeypatch.context() as disk:
        disk.setattr(hcs.run.analyse, "finish", full)
        report = analyse(str(tiny_plate), here())
    assert report.exit_code == 2
    assert report.done == (A01, A02, B01)
    assert report.failure.message == "no space left to write tables/wells"
    assert analyse(str(tiny_plate), here()).exit_code == 0


def test_a_passing_error_is_tried_again(tiny_plate, monkeypatch):
    starts = []

    def flaky(job):
        starts.append(job.wanted.well)
        if starts.count(A02) == 1 and job.wanted.well == A02:
            raise OSError("the network was away")
        return run_well(job)

    run_well = hcs.run.visits.analyse_well
    monkeypatch.setattr("hcs.run.visits.analyse_well", flaky)
    report = analyse(str(tiny_plate), here())
    assert report.exit_code == 0
    assert [outcome.attempts for outcome in report.outcomes] == [1, 2, 1]
    assert sorted(map(str, starts)) == ["A/01", "A/02", "A/02", "B/01", "B/01"]


def test_a_plate_that_another_run_holds_is_left_alone(tiny_plate):
    with (
        acquire(Storage.open(tiny_plate.with_suffix(".hcs")), heartbeat_s=0.1),
        pytest.raises(LockedError, match="plate tiny is locked by"),
    ):
        analyse(str(tiny_plate), here())
    assert markers(tiny_plate) == set()


def test_a_run_that_was_taken_over_ends_and_writes_no_more_markers(tiny_plate):
    companion = Storage.open(tiny_plate.with_suffix(".hcs"))

    def take_over(outcome, through, wells):
        companion.create(f"lock/{7:08d}.json", b"{}")

    with pytest.raises(LockedError, match="taken over"):
        analyse(str(tiny_plate), here(), on_outcome=take_over)
    assert {key.rpartition("/")[0] for key in markers(tiny_plate)} == {"A/01"}


def test_a_plate_that_cannot_be_written_is_said_at_once(tiny_plate):
    tiny_plate.with_suffix(".hcs").write_text("in the way")
    with pytest.raises(WriteError, match=r"cannot write .*tiny\.hcs"):
        analyse(str(tiny_plate), here())


def test_a_well_that_is_not_there_is_said(tiny_plate):
    with pytest.raises(MissingError, match="plate tiny has no well C/09"):
        analyse(str(tiny_plate), here("wells=[C/09]"))


def test_an_unknown_method_is_said(tiny_plate):
    with pytest.raises(SettingsError, match="'stardist' is not known"):
        analyse(str(tiny_plate), here("methods=[stardist]"))


# who watches


def test_every_well_is_told_of_and_counted(tiny_plate):
    heard = []
    analyse(str(tiny_plate), here(), on_outcome=lambda *told: heard.append(told))
    assert [(str(o.well), o.state, n, of) for o, n, of in heard] == [
        ("A/01", "done", 1, 3),
        ("A/02", "done", 2, 3),
        ("B/01", "waiting", 2, 3),
        ("B/01", "done", 3, 3),
    ]


def test_a_monitor_that_drops_wells_costs_none(tiny_plate):
    report = analyse(str(tiny_plate), here(), each=lambda visit, wells, at_once: None)
    assert report.exit_code == 0


def test_a_monitor_that_fails_costs_no_well_and_is_told_once(tiny_plate, caplog):
    def broken(outcome, through, wells):
        raise KeyError("progress")

    report = analyse(str(tiny_plate), here(), on_outcome=broken)
    assert [outcome.attempts for outcome in report.outcomes] == [1, 1, 1]
    assert report.exit_code == 0
    assert caplog.text.count("the run goes on, and its monitor failed") == 1


def test_an_interrupted_run_goes_on_where_it_was(tiny_plate, analysed_plate):
    def interrupt(outcome, through, wells):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        analyse(str(tiny_plate), here("run.wells_in_flight=1"), on_outcome=interrupt)
    assert markers(tiny_plate)
    report = analyse(str(tiny_plate), here())
    assert report.outcomes[0].state == "kept"
    assert results_of(tiny_plate) == results_of(analysed_plate)


# every kind of plate


@pytest.mark.parametrize(("version", "storage"), [("0.5", "chunked"), ("0.5", "sharded")])
def test_the_format_of_the_plate_never_changes_a_label(tmp_path, analysed_plate, version, storage):
    url = tmp_path / "new.zarr"
    make_plate(url, {"A/01": moving_cells(0)}, version=version, storage=storage)
    assert analyse(str(url), here("run.span_frames=3")).exit_code == 0
    frames = [
        np.stack(list(read_label_image(open_plate(one), FIELD, "ssl_cells", range(N_FRAMES))))
        for one in (url, analysed_plate)
    ]
    assert (frames[0] == frames[1]).all()


@pytest.mark.integration
def test_a_plate_on_s3_is_analysed_there(s3_bucket, analysed_plate):
    url = f"{s3_bucket}/run/tiny.zarr"
    make_plate(url, {"A/01": moving_cells(0)})
    assert analyse(url, here()).exit_code == 0
    assert analyse(url, here()).outcomes[0].state == "kept"
    tables = [
        read_table(open_plate(one), FIELD, "ssl_cells_objects") for one in (url, analysed_plate)
    ]
    assert tables[0].equals(tables[1])
