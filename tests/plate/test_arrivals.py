"""What lies in a folder that others fill, on a disk and on S3."""

import os
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from hcs.errors import MissingError, PlateError
from hcs.plate.arrivals import (
    find_plates,
    is_beside,
    is_product,
    pixels_of,
    read_beside,
)
from hcs.plate.open import open_plate
from hcs.plate.sister import make_sister
from hcs.plate.storage import Storage
from tests.plates import make_plate, still_ground

FEW = still_ground(0, n_frames=2, side=32)


def fill(url: str, *keys: str) -> None:
    for key in keys:
        folder, _, name = key.rpartition("/")
        Storage.open(f"{url}/{folder}").write(name, b"{}")


def test_plates_are_found_in_the_folder_and_below_it(root_url):
    fill(root_url, "b.zarr/.zattrs", "a.zarr/x", "may/c.zarr/x", "may/week/d.zarr/x", "b.hcs/x")
    fill(root_url, "b.zarr/A/e.zarr/x", "b.hcs/f.zarr/x", "may/week/day/g.zarr/x")
    plates = [f"{root_url}/{name}.zarr" for name in ("a", "b", "may/c", "may/week/d")]
    assert find_plates(root_url) == tuple(plates)
    assert find_plates(f"{root_url}/", depth=1) == tuple(plates[:2])


def test_a_folder_that_is_not_there_is_named(root_url):
    with pytest.raises(MissingError, match=r"there is no folder .*nowhere"):
        find_plates(f"{root_url}/nowhere")
    with pytest.raises(PlateError, match="cannot look into ftp://host/plates"):
        find_plates("ftp://host/plates")


def test_a_link_is_no_second_plate(tmp_path):
    (tmp_path / "a.zarr").mkdir()
    (tmp_path / "b.zarr").symlink_to(tmp_path / "a.zarr")
    (tmp_path / "round").symlink_to(tmp_path)
    assert find_plates(str(tmp_path)) == (f"{tmp_path}/a.zarr",)


def test_a_folder_that_may_not_be_read_costs_its_own_plates_only(tmp_path, monkeypatch, caplog):
    import fsspec.implementations.local as local

    (tmp_path / "a.zarr").mkdir()
    (tmp_path / "secret").mkdir()
    listed = local.LocalFileSystem.ls

    def refuse(files, path, **options):
        if path.endswith("secret"):
            raise PermissionError(13, "Permission denied")
        return listed(files, path, **options)

    # whoever runs the tests may be root, who reads everything
    monkeypatch.setattr(local.LocalFileSystem, "ls", refuse)
    assert find_plates(str(tmp_path)) == (f"{tmp_path}/a.zarr",)
    assert "secret are not looked for: cannot read" in caplog.text


def test_the_pixels_of_each_field_count_and_nothing_else(root_url):
    plate = make_plate(f"{root_url}/p.zarr", {"A/01": FEW, "A/02": FEW, "B/01": FEW})
    before = pixels_of(plate)
    assert before.blocks == {f"{well}/0/0": {0, 1} for well in ("A/01", "A/02", "B/01")}
    assert datetime.now(UTC) - before.changed < timedelta(minutes=5)
    fill(root_url, "p.zarr/A/01/0/labels/x/0/0", "p.zarr/A/01/0/tables/t/x", "p.zarr/A/01/.zattrs")
    assert pixels_of(plate) == before


def test_a_plate_without_pixels_never_changed(root_url):
    plate = make_plate(f"{root_url}/p.zarr", {"A/01": FEW})
    plate.storage.delete("A/01")
    assert pixels_of(plate).changed is None
    assert pixels_of(plate).blocks == {}


def test_the_date_of_the_source_hides_no_copy(tmp_path):
    plate = make_plate(tmp_path / "p.zarr", {"A/01": FEW})
    for path in Path(plate.storage.url).rglob("*"):
        os.utime(path, (0, 0))
    assert datetime.now(UTC) - pixels_of(plate).changed < timedelta(minutes=5)


def test_a_file_still_being_copied_counts_as_a_change(tmp_path):
    plate = make_plate(tmp_path / "p.zarr", {"A/01": FEW})
    before = pixels_of(plate).changed
    chunk = tmp_path / "p.zarr/A/01/0/0/.chunk.partial"
    chunk.write_bytes(b"half")
    # a clock may tick slowly: this file is from an hour to come
    ahead = before.timestamp() + 3600
    os.utime(chunk, (ahead, ahead))
    assert pixels_of(plate).changed == datetime.fromtimestamp(ahead, UTC)


def test_what_a_step_made_is_no_plate_to_be_analysed(tmp_path):
    plate = make_plate(tmp_path / "p.zarr", {"A/01": FEW})
    make_sister(plate, "isl-nuclei")
    assert not is_product(plate)
    assert is_product(open_plate(tmp_path / "p_isl-nuclei.zarr"))


def test_small_files_beside_a_plate_are_read(root_url):
    fill(root_url, "p.zarr/.zattrs", "p.hcs.yaml")
    assert read_beside(f"{root_url}/p.zarr", "p.hcs.yaml") == b"{}"
    assert read_beside(f"{root_url}/p.zarr", "q.hcs.yaml") is None
    assert is_beside(f"{root_url}/p.zarr", "p.hcs.yaml")
    assert not is_beside(f"{root_url}/p.zarr", "q.hcs.yaml")


def test_a_file_too_large_to_be_settings_is_not_read(root_url):
    Storage.open(f"{root_url}/x").write("p.hcs.yaml", b"#" * 70_000)
    with pytest.raises(PlateError, match=r"p\.hcs\.yaml has 70000 bytes, settings have at most"):
        read_beside(f"{root_url}/x/p.zarr", "p.hcs.yaml")
