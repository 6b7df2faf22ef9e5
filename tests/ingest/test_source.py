from pathlib import Path

import pytest

from hcs.errors import ImportFilesError
from hcs.ingest.ome_tiff import Calibration, TiffFacts
from hcs.ingest.source import SourceFile, row_letters, source_images
from hcs.plate.path import WellPath

WELL = WellPath("A", "01")


def facts(n_pages=1, page_axes=None, channels=()):
    return TiffFacts((8, 8), "uint8", n_pages, page_axes, channels, Calibration(), 64)


def where(images):
    return [(image.page, image.time, image.channel, image.z) for image in images]


def test_pages_run_along_the_axes_of_the_metadata():
    file = SourceFile(Path("a.tif"), WELL)
    images = source_images(file, facts(4, {"t": 2, "c": 2}, ("phase", "dna")), None)
    assert where(images) == [
        (0, 0, "phase", 0),
        (1, 0, "dna", 0),
        (2, 1, "phase", 0),
        (3, 1, "dna", 0),
    ]


def test_pages_without_metadata_run_along_the_axis_given():
    file = SourceFile(Path("a.tif"), WELL, channel="w1", time=7)
    assert where(source_images(file, facts(2), "z")) == [(0, 7, "w1", 0), (1, 7, "w1", 1)]


def test_pages_without_metadata_are_never_guessed():
    with pytest.raises(ImportFilesError, match=r"3 pages and no metadata.*--page-axis"):
        source_images(SourceFile(Path("a.tif"), WELL), facts(3), None)


def test_a_name_and_pages_may_not_both_tell_the_time():
    with pytest.raises(ImportFilesError, match="both its name and its 2 pages run along t"):
        source_images(SourceFile(Path("a.tif"), WELL, time=3), facts(2, {"t": 2}), None)


def test_a_listed_page_is_taken_alone():
    file = SourceFile(Path("a.tif"), WELL, channel="w1", time=5, page=1)
    assert where(source_images(file, facts(2, {"t": 2}), None)) == [(1, 5, "w1", 0)]


def test_a_listed_page_must_be_there():
    with pytest.raises(ImportFilesError, match="it has 2 pages, there is no page 2"):
        source_images(SourceFile(Path("a.tif"), WELL, page=2), facts(2), "t")


def test_channels_without_distinct_names_are_numbered():
    images = source_images(SourceFile(Path("a.tif"), WELL), facts(2, {"c": 2}, ("x", "x")), None)
    assert [image.channel for image in images] == ["channel_0", "channel_1"]


def test_a_file_of_no_well_has_no_planes():
    with pytest.raises(ImportFilesError, match="belongs to no well"):
        source_images(SourceFile(Path("a.tif")), facts(), None)


def test_rows_count_from_one():
    with pytest.raises(ImportFilesError, match="row number 0"):
        row_letters(-1)
