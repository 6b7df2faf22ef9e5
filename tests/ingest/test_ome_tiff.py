import numpy as np
import pytest
import tifffile

from hcs.errors import CorruptError, ImportFilesError
from hcs.ingest.ome_tiff import Calibration, open_pages, read_page, read_tiff_facts

STACK = np.arange(2 * 3 * 8 * 10, dtype=np.uint16).reshape(2, 3, 8, 10)


def test_a_plain_tiff_tells_shape_and_type_and_no_more(write_tiff):
    facts = read_tiff_facts(write_tiff("t001.tif", STACK[0, 0]))
    assert (facts.shape, facts.dtype, facts.n_pages) == ((8, 10), "uint16", 1)
    assert facts.calibration == Calibration()


def test_pages_of_a_plain_stack_have_no_axes(write_tiff):
    facts = read_tiff_facts(write_tiff("stack.tif", STACK, photometric="minisblack"))
    assert (facts.n_pages, facts.page_axes) == (6, None)


def test_ome_metadata_tell_axes_channels_and_sizes(write_tiff):
    metadata = {
        "axes": "TCYX",
        "Channel": {"Name": ["phase", "dna", "actin"]},
        "PhysicalSizeX": 650.0,
        "PhysicalSizeXUnit": "nm",
        "PhysicalSizeY": 0.65,
        "PhysicalSizeYUnit": "µm",
        "TimeIncrement": 10,
        "TimeIncrementUnit": "min",
    }
    facts = read_tiff_facts(
        write_tiff("a.ome.tif", STACK, photometric="minisblack", metadata=metadata)
    )
    assert facts.page_axes == {"t": 2, "c": 3}
    assert facts.channels == ("phase", "dna", "actin")
    assert facts.calibration == Calibration(pixel_size_um=0.65, interval_s=600.0)


def test_pixels_that_are_not_square_have_no_size(write_tiff):
    metadata = {"axes": "YX", "PhysicalSizeX": 0.65, "PhysicalSizeY": 0.7}
    path = write_tiff("a.ome.tif", STACK[0, 0], metadata=metadata)
    assert read_tiff_facts(path).calibration.pixel_size_um is None


def test_imagej_metadata_tell_axes_and_sizes(write_tiff):
    path = write_tiff(
        "ij.tif",
        STACK,
        imagej=True,
        resolution=(2.0, 2.0),
        metadata={"axes": "TZYX", "unit": "um", "finterval": 30.0, "spacing": 2.0},
    )
    facts = read_tiff_facts(path)
    assert facts.page_axes == {"t": 2, "z": 3}
    assert facts.calibration == Calibration(0.5, 30.0, 2.0)


@pytest.mark.parametrize("unit", ["CENTIMETER", "INCH", "NONE"])
def test_resolution_tags_of_a_plain_tiff_are_not_trusted(write_tiff, unit):
    path = write_tiff("a.tif", STACK[0, 0], resolution=(1550.3, 1550.3), resolutionunit=unit)
    assert read_tiff_facts(path).calibration == Calibration()


def test_pages_are_read_one_by_one_in_the_order_of_the_axes(write_tiff):
    path = write_tiff("a.ome.tif", STACK, photometric="minisblack", metadata={"axes": "TCYX"})
    with open_pages(path) as pages:
        assert np.array_equal(read_page(path, pages, 4), STACK[1, 1])


def test_colour_is_refused(write_tiff):
    path = write_tiff("rgb.tif", np.zeros((8, 10, 3), np.uint8), photometric="rgb")
    with pytest.raises(ImportFilesError, match=r"rgb.tif: its pages have shape \(8, 10, 3\)"):
        read_tiff_facts(path)


def test_complex_pixels_are_refused(write_tiff):
    path = write_tiff("c.tif", np.zeros((8, 10), np.complex64))
    with pytest.raises(ImportFilesError, match=r"c.tif: cannot use pixel type complex64"):
        read_tiff_facts(path)


def test_pages_of_different_shapes_are_refused(write_tiff, tmp_path):
    path = write_tiff("two.tif", np.zeros((8, 10), np.uint8))
    tifffile.imwrite(path, np.zeros((9, 10), np.uint8), append=True)
    with pytest.raises(ImportFilesError, match=r"two.tif: its pages have different shapes"):
        read_tiff_facts(path)


def test_metadata_that_declare_other_planes_are_refused(write_tiff):
    path = write_tiff("a.ome.tif", STACK, photometric="minisblack", metadata={"axes": "TCYX"})
    described = tifffile.tiffcomment(path).replace('SizeT="2"', 'SizeT="4"')
    path = write_tiff(
        "b.ome.tif", STACK, photometric="minisblack", description=described, metadata=None
    )
    with pytest.raises(
        ImportFilesError, match=r"b.ome.tif: its metadata declare 12 planes, it holds 6"
    ):
        read_tiff_facts(path)


def test_what_is_no_tiff_is_named(tmp_path):
    path = tmp_path / "t001.tif"
    path.write_bytes(b"nothing of the kind")
    with pytest.raises(ImportFilesError, match=r"t001.tif: not a TIFF file"):
        read_tiff_facts(path)


def test_damaged_pixels_are_named(write_tiff):
    path = write_tiff("t001.tif", STACK[0, 0], compression="zlib")
    with open_pages(path) as pages:
        offset = pages[0].dataoffsets[0]
    with path.open("r+b") as stream:
        stream.seek(offset)
        stream.write(b"\xff" * 16)
    with open_pages(path) as pages, pytest.raises(CorruptError, match=r"t001.tif: page 0 cannot"):
        read_page(path, pages, 0)
