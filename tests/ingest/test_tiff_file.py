from contextlib import suppress

import numpy as np
import pytest

from hcs.errors import ImportFilesError
from hcs.ingest.ome_tiff import read_tiff_facts


def test_a_file_that_is_not_there_is_said(tmp_path):
    with pytest.raises(ImportFilesError, match=r"t001.tif: no such file"):
        read_tiff_facts(tmp_path / "t001.tif")


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "not a TIFF file that can be read"),
        (b"II*\0", "not a TIFF file that can be read"),
        (b"II*\0" + b"garbage behind the header" * 9, "it holds no page"),
        (b"II*\0\x08\0\0\0" + b"\xff" * 60, "not a TIFF file that can be read: suspicious"),
    ],
)
def test_a_header_alone_makes_no_tiff(tmp_path, content, words):
    path = tmp_path / "t001.tif"
    path.write_bytes(content)
    with pytest.raises(ImportFilesError, match=f"t001.tif: {words}"):
        read_tiff_facts(path)


KINDS = {
    "plane.tif": {},
    "packed.tif": {"compression": "zlib"},
    "stack.tif": {"photometric": "minisblack"},
    "packed_stack.tif": {"photometric": "minisblack", "compression": "zlib"},
    "imagej.tif": {"imagej": True, "metadata": {"axes": "TCYX"}},
    "set.ome.tif": {"photometric": "minisblack", "metadata": {"axes": "TCYX"}},
    "packed.ome.tif": {
        "photometric": "minisblack",
        "metadata": {"axes": "TCYX"},
        "compression": "zlib",
    },
}


@pytest.fixture(params=KINDS)
def whole(request, write_tiff):
    noise = np.random.default_rng(0).integers(0, 4096, (2, 3, 40, 56), dtype=np.uint16)
    pixels = noise[0, 0] if request.param in ("plane.tif", "packed.tif") else noise
    return write_tiff(request.param, pixels, **KINDS[request.param])


@pytest.mark.parametrize("share", [0.3, 0.5, 0.9])
def test_a_file_cut_short_is_seen_from_its_metadata(whole, share):
    content = whole.read_bytes()
    whole.write_bytes(content[: int(share * len(content))])
    with pytest.raises(ImportFilesError, match=r"ends too early|holds no page|not a TIFF"):
        read_tiff_facts(whole)


def test_a_plane_cut_in_half_ends_too_early(write_tiff):
    path = write_tiff("t001.tif", np.ones((8, 10), np.uint16))
    n_bytes = path.stat().st_size
    path.write_bytes(path.read_bytes()[:-80])
    words = rf"t001.tif: it ends too early: .* to byte {n_bytes} .*has {n_bytes - 80}"
    with pytest.raises(ImportFilesError, match=words):
        read_tiff_facts(path)


def test_whatever_the_bytes_no_other_error_comes_of_them(whole):
    content = whole.read_bytes()
    rng = np.random.default_rng(1)
    for _ in range(60):
        damaged = bytearray(content)
        for place in rng.integers(0, 900, 4):
            damaged[place] = rng.integers(256)
        whole.write_bytes(damaged)
        with suppress(ImportFilesError):
            read_tiff_facts(whole)
