"""Image products: a plate beside the input, with the same wells, fields, levels and places."""

import shutil
from dataclasses import replace

import numpy as np
import pytest
import zarr

from hcs.errors import PlateError, StorageError, WriteError
from hcs.plate.commit import Marker, write_marker
from hcs.plate.local import LocalStorage
from hcs.plate.lock import acquire
from hcs.plate.metadata import Channel
from hcs.plate.open import open_plate
from hcs.plate.output import make_output
from hcs.plate.path import FieldPath, WellPath
from hcs.plate.read import read_frames
from hcs.plate.sister import create_product, make_sister, product_state, write_empty_product
from hcs.plate.write import write_product_frames
from tests.plates import results_of

FIELD, OTHER = FieldPath.parse("A/01/0"), FieldPath.parse("B/03/0")
STAINS = (Channel("dna_prediction", window=(0, 900, 100, 400)), Channel("dna_uncertainty"))


@pytest.fixture
def values():
    return np.random.default_rng(1).normal(200, 50, (2, 2, 1, 300, 260)).astype(np.float32)


def test_a_product_lies_on_its_input(tmp_path, make_plate, kind, values):
    plate = make_plate(tmp_path / "demo.zarr", kind)
    sister = make_sister(plate, "isl-dna")
    create_product(plate, sister, FIELD, STAINS, {"recipe": "R"})
    write_product_frames(sister, FIELD, 0, values)
    read = plate.sister("isl-dna")
    assert read.storage.url == str(tmp_path / "demo_isl-dna.zarr")
    assert read.layout == replace(plate.layout, name="demo_isl-dna")
    assert [read.well(well) for well in read.layout.wells] == [
        plate.well(well) for well in plate.layout.wells
    ]
    image, of_input = read.field_image(FIELD), plate.field_image(FIELD)
    assert (image.dtype, image.axes, image.channels[0]) == ("float32", of_input.axes, STAINS[0])
    places = [(level.path, level.scale, level.translation) for level in of_input.levels]
    assert [(level.path, level.scale, level.translation) for level in image.levels] == places
    sizes = (image.pixel_size_um, image.interval_s)
    assert sizes == (of_input.pixel_size_um, of_input.interval_s)
    assert bool(image.levels[0].shards) == bool(of_input.levels[0].shards)
    for number, channel in enumerate(STAINS):
        frames = np.stack(list(read_frames(read, FIELD, channel.label, range(2))))
        np.testing.assert_array_equal(frames, values[:, number, 0])
    np.testing.assert_allclose(
        np.asarray(read.array(f"{FIELD}/1")[0, 0]),
        values[0, 0, 0].reshape(150, 2, 130, 2).mean((1, 3)),
        rtol=1e-6,
    )


def test_a_level_that_is_no_half_holds_means(tmp_path, make_plate, values):
    plate = make_plate(tmp_path / "demo.zarr")
    zarr.create_array(
        plate.storage.zarr_store(read_only=False), name=f"{FIELD}/1", shape=(2, 2, 100, 65),
        chunks=(1, 1, 300, 300), dtype="uint16", zarr_format=2, overwrite=True,
    )  # fmt: skip
    sister = make_sister(plate, "isl-dna")
    create_product(plate, sister, FIELD, STAINS, {})
    write_product_frames(sister, FIELD, 0, values)
    np.testing.assert_allclose(
        np.asarray(sister.array(f"{FIELD}/1")[1, 1]),
        values[1, 1, 0].reshape(100, 3, 65, 4).mean((1, 3)),
        rtol=1e-6,
    )


def test_a_sister_is_completed_and_what_it_holds_is_kept(tmp_path, make_plate, values):
    plate = make_plate(tmp_path / "demo.zarr")
    sister = make_sister(plate, "isl-dna")
    create_product(plate, sister, FIELD, STAINS, {})
    write_product_frames(sister, FIELD, 0, values)
    kept = sister.storage.sizes(str(FIELD))
    sister.storage.delete("B/03")
    again = make_sister(plate, "isl-dna")
    assert again.well(WellPath("B", "03")).fields == (OTHER,)
    assert again.storage.sizes(str(FIELD)) == kept


class DiedError(Exception):
    """Stands for SIGKILL."""


@pytest.mark.parametrize("make", ["sister", "output"])
def test_a_plate_whose_making_died_anywhere_is_made_by_the_next(
    tmp_path, make_plate, monkeypatch, kind, make
):
    plate, plain, written = make_plate(tmp_path / "demo.zarr", kind), LocalStorage.write, []

    def made(folder):
        if make == "output":
            return make_output(plate, str(tmp_path / folder / "demo_out.zarr"))
        shutil.copytree(tmp_path / "demo.zarr", tmp_path / folder / "demo.zarr")
        return make_sister(open_plate(tmp_path / folder / "demo.zarr"), "isl-dna")

    def again(folder):
        shutil.rmtree(tmp_path / folder / "demo.zarr", ignore_errors=True)
        return results_of(made(folder).storage.url)

    def dying(itself, key, content, **options):
        written.append(key)
        if len(written) == last:
            raise DiedError
        plain(itself, key, content, **options)

    last = None
    monkeypatch.setattr(LocalStorage, "write", dying)
    whole = results_of(made("whole").storage.url)
    number = len(written)
    assert number >= 4
    for last in range(1, number + 1):
        written.clear()
        with pytest.raises(DiedError):
            made(str(last))
        assert again(str(last)) == whole


def test_a_plate_that_no_step_made_is_left_alone(tmp_path, make_plate):
    plate = make_plate(tmp_path / "demo.zarr")
    make_plate(tmp_path / "demo_isl-dna.zarr")
    before = plate.storage.sibling("_isl-dna.zarr").sizes()
    with pytest.raises(WriteError, match=r"demo_isl-dna\.zarr is there, and is not what step"):
        make_sister(plate, "isl-dna")
    assert plate.storage.sibling("_isl-dna.zarr").sizes() == before


def test_a_group_without_attributes_that_holds_something_else_is_left_alone(tmp_path, make_plate):
    plate = make_plate(tmp_path / "demo.zarr")
    theirs = zarr.open_group(tmp_path / "demo_isl-dna.zarr", mode="w", zarr_format=2)
    theirs.create_array("raw", shape=(2,), dtype="u1")
    (tmp_path / "demo_isl-dna.zarr/.zattrs").unlink(missing_ok=True)
    with pytest.raises(WriteError, match="is not what step isl-dna makes"):
        make_sister(plate, "isl-dna")


def test_a_product_of_another_version_is_left_alone(tmp_path, make_plate):
    make_sister(make_plate(tmp_path / "demo.zarr", ("0.5", "chunked")), "isl-dna")
    (tmp_path / "demo.zarr").rename(tmp_path / "old.zarr")
    with pytest.raises(WriteError, match="is not what step isl-dna makes"):
        make_sister(make_plate(tmp_path / "demo.zarr", ("0.4", "chunked")), "isl-dna")


def test_an_empty_product_reads_as_zeros_and_says_why(tmp_path, make_plate, kind):
    plate = make_plate(tmp_path / "demo.zarr", kind)
    sister = make_sister(plate, "isl-dna")
    assert product_state(sister, FIELD) is None
    write_empty_product(plate, sister, FIELD, STAINS, "failed")
    assert product_state(sister, FIELD) == "failed"
    (frame,) = read_frames(sister, FIELD, "dna_prediction", range(1))
    assert frame.shape == (300, 260)
    assert not frame.any()
    create_product(plate, sister, FIELD, STAINS, {})
    assert product_state(sister, FIELD) == ""


def test_frames_of_another_type_are_refused(tmp_path, make_plate, values):
    plate = make_plate(tmp_path / "demo.zarr")
    sister = make_sister(plate, "isl-dna")
    create_product(plate, sister, FIELD, STAINS, {})
    with pytest.raises(WriteError, match="holds float32, the frames are float64"):
        write_product_frames(sister, FIELD, 0, values.astype(float))


def test_a_marker_vouches_for_files_of_the_sister(tmp_path, make_plate, values):
    plate = make_plate(tmp_path / "demo.zarr")
    sister = make_sister(plate, "isl-dna")
    create_product(plate, sister, FIELD, STAINS, {})
    manifest = write_product_frames(sister, FIELD, 0, values)
    marker = Marker("isl-dna", "abc", manifest, sister="isl-dna")
    with acquire(plate.companion) as lock:
        write_marker(plate, FIELD.well, marker, lock.token)
        sister.storage.delete(next(iter(manifest)))
        with pytest.raises(StorageError, match=r"A/01/0/0/0/0/0/0 is missing"):
            write_marker(plate, FIELD.well, marker, lock.token)


def test_a_well_that_cannot_be_read_costs_no_other_its_place(tmp_path, make_plate):
    plate = make_plate(tmp_path / "demo.zarr")
    plate.storage.delete("A/01")
    sister = make_sister(open_plate(plate.storage.url), "isl-dna")
    assert sister.well(WellPath("B", "03")).fields == (OTHER,)


def test_a_sister_that_is_not_there_is_said(tmp_path, make_plate):
    with pytest.raises(PlateError, match=r"demo_isl-dna\.zarr"):
        make_plate(tmp_path / "demo.zarr").sister("isl-dna")
