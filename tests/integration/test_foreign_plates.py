"""Plates that other programs wrote are read."""

import warnings

import numpy as np
import ome_zarr.format
import pytest
import zarr
from ngio import ImageInWellPath, create_empty_ome_zarr, create_empty_plate

import hcs
from hcs.plate.check import check_plate
from hcs.plate.path import FieldPath
from hcs.plate.read import read_frames, read_label_image
from hcs.plate.write import create_label_image, write_label_frames

pytestmark = pytest.mark.integration
FIELD = FieldPath.parse("B/03/0")
PIXELS = np.random.default_rng(0).integers(0, 60000, (2, 1, 1, 64, 48), np.uint16)


def by_ome_zarr(folder, version):
    layout = {"0.4": ome_zarr.format.FormatV04, "0.5": ome_zarr.format.FormatV05}[version]()
    root = zarr.open_group(folder, mode="w", zarr_format=layout.zarr_format)
    well = root.create_group("B/03")
    with warnings.catch_warnings():
        # it warns of its own use of itself, already when it is imported
        warnings.simplefilter("ignore")
        from ome_zarr import writer

        writer.write_plate_metadata(root, ["A", "B"], ["03"], ["B/03"], fmt=layout)
        writer.write_well_metadata(well, ["0"], fmt=layout)
        writer.write_image(PIXELS, well.create_group("0"), axes="tczyx", fmt=layout)


def by_ngio(folder, version):
    image = ImageInWellPath(row="B", column="03", path="0")
    create_empty_plate(folder, "demo", [image], ngff_version=version)
    made = create_empty_ome_zarr(
        f"{folder}/B/03/0",
        shape=PIXELS.shape,
        pixelsize=0.65,
        z_spacing=1.0,
        time_spacing=900.0,
        axes_names="tczyx",
        channels_meta=["phase"],
        ngff_version=version,
    )
    level = made.get_image()
    level.set_array(PIXELS)
    level.consolidate(mode="auto")


@pytest.mark.parametrize("version", ["0.4", "0.5"])
@pytest.mark.parametrize("program", [by_ome_zarr, by_ngio])
def test_plates_of_other_programs_are_read_and_take_our_labels(tmp_path, program, version):
    program(str(tmp_path / "demo.zarr"), version)
    plate = hcs.open_plate(tmp_path / "demo.zarr")
    assert plate.layout.version == version
    check_plate(plate)
    image = plate.field_image(FIELD)
    (channel,) = image.channels
    frames = np.stack(list(read_frames(plate, FIELD, channel.label, range(2), "max")))
    np.testing.assert_array_equal(frames, PIXELS[:, 0, 0])
    labels = (frames % 9).astype(np.uint32)
    create_label_image(plate, FIELD, "ssl_cells", {})
    write_label_frames(plate, FIELD, "ssl_cells", 0, labels)
    np.testing.assert_array_equal(
        list(read_label_image(plate, FIELD, "ssl_cells", range(2))), labels
    )
    own = plate.label_image(FIELD, "ssl_cells")
    assert [level.path for level in own.levels] == [level.path for level in image.levels]


def test_sizes_of_ngio_s_plates_are_read(tmp_path):
    by_ngio(str(tmp_path / "demo.zarr"), "0.4")
    image = hcs.open_plate(tmp_path / "demo.zarr").field_image(FIELD)
    assert (image.pixel_size_um, image.interval_s, image.z_step_um) == (0.65, 900.0, 1.0)
