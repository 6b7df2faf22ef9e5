import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import tifffile

from hcs.errors import ImportFilesError, WriteError
from hcs.ingest.ome_tiff import Calibration
from hcs.ingest.pattern import Pattern
from hcs.ingest.plan import plan_import
from hcs.ingest.plate import PlateFormat, import_plate, plate_layout
from hcs.ingest.provenance import read_sources, source_frames
from hcs.plate.open import open_plate
from hcs.plate.path import FieldPath
from hcs.plate.read import read_frames
from hcs.plate.storage import Storage

PATTERN = "{well}_f{field}_{channel}_z{z}_t{time}.tif"
FIELD = FieldPath.parse("B/02/1")


def plan_of(folder, pattern=PATTERN, **options):
    return plan_import(Pattern(pattern).find(folder).files, **options)


def content(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


@pytest.fixture
def source(write_tiff, tmp_path) -> Path:
    """Two wells, one with two fields, two channels, two planes, three frames."""
    for where in ("B2_f1", "B2_f2", "C11_f1"):
        for channel in ("w1", "w2"):
            for z in (1, 2):
                for frame in (4, 5, 6):
                    write_tiff(f"{where}_{channel}_z{z}_t{frame}.tif")
    return tmp_path / "source"


@pytest.mark.parametrize(
    "plate_format", [PlateFormat(), PlateFormat("0.5"), PlateFormat("0.5", "sharded")]
)
def test_every_plane_lands_where_its_name_says(source, tmp_path, plate_format):
    url = str(tmp_path / "p.zarr")
    plate = import_plate(url, plan_of(source, channels=["phase", "dna"]), plate_format)
    assert [str(well) for well in plate.layout.wells] == ["B/02", "C/11"]
    assert plate.field_image(FIELD).axes == ("t", "c", "z", "y", "x")
    for channel, name in (("phase", "w1"), ("dna", "w2")):
        for z in (0, 1):
            frames = list(read_frames(plate, FIELD, channel, range(3), z))
            for frame, time_ in zip(frames, (4, 5, 6), strict=True):
                file = source / f"B2_f1_{name}_z{z + 1}_t{time_}.tif"
                assert np.array_equal(frame, tifffile.imread(file))


def test_sizes_and_channels_stand_in_the_plate(source, tmp_path):
    plan = plan_of(source, channels=["phase", "dna"], calibration=Calibration(0.65, 600, 2))
    image = import_plate(str(tmp_path / "p.zarr"), plan, PlateFormat()).field_image(FIELD)
    assert (image.pixel_size_um, image.interval_s, image.z_step_um) == (0.65, 600, 2)
    assert [channel.label for channel in image.channels] == ["phase", "dna"]
    low, high, start, end = image.channels[0].window
    assert (low, high) == (0, 65535)
    assert 0 <= start < end <= 4095


def test_unknown_sizes_are_absent(source, tmp_path):
    image = import_plate(str(tmp_path / "p.zarr"), plan_of(source), PlateFormat()).field_image(
        FIELD
    )
    assert (image.pixel_size_um, image.interval_s) == (None, None)


def test_source_numbers_are_kept(source, tmp_path):
    plate = import_plate(str(tmp_path / "p.zarr"), plan_of(source), PlateFormat())
    assert source_frames(plate, FIELD) == (4, 5, 6)
    assert read_sources(plate)[FIELD].time_digits == 1


def test_fields_of_two_shapes_of_series_keep_their_lengths(write_tiff, tmp_path):
    for name in ("s1/t090", "s1/t091", "s2/t150"):
        write_tiff(f"{name}.tif")
    plan = plan_of(tmp_path / "source", "{sequence}/t{time}.tif")
    plate = import_plate(str(tmp_path / "p.zarr"), plan, PlateFormat())
    fields = [FieldPath.parse(text) for text in ("A/01/0", "A/02/0")]
    assert [plate.field_image(field).n_frames for field in fields] == [2, 1]
    assert [source_frames(plate, field) for field in fields] == [(90, 91), (150,)]
    assert {s.sequence for s in read_sources(plate).values()} == {"s1", "s2"}


def test_stacks_and_single_files_make_the_same_plate(write_tiff, tmp_path):
    stack = np.random.default_rng(0).integers(0, 255, (5, 40, 56), dtype=np.uint8)
    write_tiff("a/A1.tif", stack, photometric="minisblack")
    for t, plane in enumerate(stack):
        write_tiff(f"b/A1_{t}.tif", plane)
    one = plan_of(tmp_path / "source/a", "{well}.tif", page_axis="t")
    two = plan_of(tmp_path / "source/b", "{well}_{time}.tif")
    import_plate(str(tmp_path / "one/p.zarr"), one, PlateFormat())
    import_plate(str(tmp_path / "two/p.zarr"), two, PlateFormat())
    assert content(tmp_path / "one/p.zarr") == content(tmp_path / "two/p.zarr")


@pytest.mark.integration
def test_any_number_of_processes_writes_the_same_bytes(source, tmp_path):
    import_plate(str(tmp_path / "one/p.zarr"), plan_of(source), PlateFormat())
    told = []
    import_plate(
        str(tmp_path / "two/p.zarr"),
        plan_of(source),
        PlateFormat(),
        processes=2,
        on_field=told.append,
    )
    assert content(tmp_path / "one/p.zarr") == content(tmp_path / "two/p.zarr")
    assert sorted(map(str, told)) == ["B/02/1", "B/02/2", "C/11/1"]


def test_a_finished_import_writes_nothing_again(source, tmp_path):
    url = str(tmp_path / "p.zarr")
    import_plate(url, plan_of(source), PlateFormat())
    told = []
    import_plate(url, plan_of(source), PlateFormat(), on_field=told.append)
    assert told == []


def test_only_the_well_that_was_not_finished_is_written_again(source, tmp_path):
    url = str(tmp_path / "p.zarr")
    import_plate(url, plan_of(source), PlateFormat())
    before = content(tmp_path / "p.zarr")
    Storage.open(url).sibling(".hcs").delete("B/02/import.json")
    Storage.open(url).delete("B/02/1")
    told = []
    import_plate(url, plan_of(source), PlateFormat(), on_field=told.append)
    assert list(map(str, told)) == ["B/02/1", "B/02/2"]
    assert content(tmp_path / "p.zarr") == before


_RUN = """
import sys
from pathlib import Path
from hcs.ingest.pattern import Pattern
from hcs.ingest.plan import plan_import
from hcs.ingest.plate import PlateFormat, import_plate

if __name__ == "__main__":
    files = Pattern("{sequence}/t{time}.tif").find(Path(sys.argv[1])).files
    import_plate(sys.argv[2], plan_import(files), PlateFormat(), processes=int(sys.argv[3]))
"""


@pytest.mark.integration
def test_killed_and_run_again_the_bytes_are_those_of_one_run(write_tiff, tmp_path):
    frame = np.random.default_rng(0).integers(0, 4096, (600, 600), dtype=np.uint16)
    for well in range(4):
        for time_ in range(6):
            write_tiff(f"{well}/t{time_}.tif", np.roll(frame, 40 * well + time_))
    script = tmp_path / "run.py"
    script.write_text(_RUN)
    plate = tmp_path / "killed/p.zarr"
    command = [sys.executable, str(script), str(tmp_path / "source")]
    run = subprocess.Popen([*command, str(plate), "2"], start_new_session=True)
    limit = time.monotonic() + 60
    # wells are finished and others are begun
    while not list(plate.glob("A/0[34]/0/0/*/*")) and run.poll() is None:
        assert time.monotonic() < limit
        time.sleep(0.01)
    os.kill(run.pid, signal.SIGKILL)
    run.wait()
    assert run.returncode == -signal.SIGKILL
    subprocess.run([*command, str(plate), "1"], check=True)
    subprocess.run([*command, str(tmp_path / "whole/p.zarr"), "1"], check=True)
    assert content(plate) == content(tmp_path / "whole/p.zarr")


def test_plates_are_written_to_any_storage(source, root_url):
    plate = import_plate(f"{root_url}/p.zarr", plan_of(source), PlateFormat())
    (frame,) = read_frames(plate, FIELD, "w2", range(1, 2), 1)
    assert np.array_equal(frame, tifffile.imread(source / "B2_f1_w2_z2_t5.tif"))
    assert source_frames(plate, FIELD) == (4, 5, 6)


def test_another_plate_is_never_overwritten(source, tmp_path):
    url = str(tmp_path / "p.zarr")
    import_plate(url, plan_of(source), PlateFormat())
    with pytest.raises(WriteError, match=r"imported from other files or with other options"):
        import_plate(url, plan_of(source, channels=["a", "b"]), PlateFormat())
    (tmp_path / "q.zarr").mkdir()
    (tmp_path / "q.zarr/.zattrs").write_text("{}")
    with pytest.raises(WriteError, match=r"q\.zarr is there already"):
        import_plate(str(tmp_path / "q.zarr"), plan_of(source), PlateFormat())


def test_a_plan_with_problems_writes_nothing(source, tmp_path):
    (source / "B2_f1_w1_z1_t5.tif").unlink()
    with pytest.raises(ImportFilesError, match=r"no channel 'w1' plane 1 at frames 5"):
        import_plate(str(tmp_path / "p.zarr"), plan_of(source), PlateFormat())
    assert not (tmp_path / "p.zarr").exists()


def test_the_whole_grid_is_listed_where_the_plate_is_known(source):
    layout = plate_layout("p", plan_of(source), PlateFormat(n_wells=96))
    assert (len(layout.rows), len(layout.columns)) == (8, 12)
    assert plate_layout("p", plan_of(source), PlateFormat()).columns == ("02", "11")


def test_wells_that_are_not_on_the_plate_are_named(source):
    with pytest.raises(ImportFilesError, match="C11 do not lie on a plate of 24 wells"):
        plate_layout("p", plan_of(source), PlateFormat(n_wells=24))


def test_plates_have_the_wells_people_make():
    with pytest.raises(ImportFilesError, match="no plate has 97 wells"):
        PlateFormat(n_wells=97)


def test_sharding_asks_for_the_version_that_has_it():
    with pytest.raises(ImportFilesError, match=r"OME-Zarr 0\.4 has no shards"):
        PlateFormat("0.4", "sharded")


def test_an_imported_plate_opens_like_any_other(source, tmp_path):
    import_plate(str(tmp_path / "p.zarr"), plan_of(source), PlateFormat())
    assert open_plate(tmp_path / "p.zarr").warnings == ()
