"""Plates of strangers: what leaves the plate, lies or explodes costs its own well, and no more."""

import json
import math
import os
import re
import resource
import shutil
import subprocess
import sys
from pathlib import Path

import numcodecs
import numpy as np
import pytest
import zarr
from hypothesis import given
from hypothesis import strategies as st
from numcodecs.abc import Codec

from hcs.errors import CorruptError, MissingError, PlateError
from hcs.plate.codecs import decode
from hcs.plate.commit import open_marker
from hcs.plate.open import open_plate
from hcs.plate.path import FieldPath, WellPath
from hcs.plate.read import read_frames
from hcs.plate.storage import Storage
from hcs.plate.table import read_table
from hcs.plate.write import write_empty_label_image
from hcs.run.analyse import analyse
from hcs.run.plan import make_plan
from hcs.settings import RunSettings, Settings, load_settings
from tests.plates import make_plate, moving_cells
from tests.security.hostile import (
    METADATA,
    PIXELS,
    bz2_bomb,
    edited,
    gzip_bomb,
    zlib_bomb,
    zstd_bomb,
)

HERE = Settings(run=RunSettings(dask="none", workers=1))
FIELD = FieldPath.parse("A/1/0")
# of a run of such wells; one without harm takes half a gigabyte
MOST_BYTES = 1_500_000_000

RUN = """
import json, resource, sys
resource.setrlimit(resource.RLIMIT_AS, (8 * 2**30, 8 * 2**30))
from hcs.run.analyse import analyse
from hcs.settings import RunSettings, Settings, load_settings
report = analyse(sys.argv[1], Settings(run=RunSettings(dask="none", workers=1)))
told = {str(one.well): one.failure and str(one.failure) for one in report.outcomes}
# of this process alone: ru_maxrss begins with that of the one that started it
(peak,) = (int(line.split()[1]) * 1024 for line in open("/proc/self/status") if "VmHWM" in line)
print(json.dumps({"wells": told, "peak": peak, "failure": report.failure and str(report.failure)}))
"""


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> Path:
    url = tmp_path_factory.mktemp("good") / "good.zarr"
    make_plate(url, {"A/1": moving_cells(0)})
    return url


@pytest.fixture
def outside(tmp_path: Path) -> Path:
    (tmp_path / "outside").mkdir()
    return tmp_path / "outside"


def with_wells(good: Path, url: Path, kinds, outside: Path) -> dict[str, str]:
    """Make a plate of a good well, A/1, and one of each kind; return words by well."""
    shutil.copytree(good, url)
    columns = [str(i + 1) for i in range(len(kinds) + 1)]
    list_wells(url, ["A"], columns)
    words = {}
    for column, (harm, said) in zip(columns[1:], kinds.values(), strict=True):
        shutil.copytree(url / "A/1", url / "A" / column)
        harm(url / "A" / column, outside)
        words[f"A/{column}"] = said
    return words


def list_wells(url: Path, rows: list[str], columns: list[str]) -> None:
    document = json.loads((url / ".zattrs").read_text())
    document["plate"] |= {
        "rows": [{"name": row} for row in rows],
        "columns": [{"name": column} for column in columns],
        "wells": [
            {"path": f"{row}/{column}", "rowIndex": i, "columnIndex": j}
            for i, row in enumerate(rows)
            for j, column in enumerate(columns)
        ],
    }
    (url / ".zattrs").write_text(json.dumps(document))


def test_metadata_that_mean_harm_cost_their_own_well(good, tmp_path, outside):
    words = with_wells(good, tmp_path / "bad.zarr", METADATA, outside)
    plan = make_plan(open_plate(tmp_path / "bad.zarr"), Settings())
    said = {str(well.well): well.failure and str(well.failure) for well in plan.wells}
    assert said.pop("A/1") is None
    kinds = dict(zip(words, METADATA, strict=True))
    wrong = {kinds[w]: said[w] for w in words if not re.search(words[w], said[w] or "")}
    assert wrong == {}


def test_pixels_that_mean_harm_cost_their_own_well_and_little_memory(good, tmp_path, outside):
    words = with_wells(good, tmp_path / "bad.zarr", PIXELS, outside)
    before = {path: path.read_bytes() for path in outside.rglob("*") if path.is_file()}
    run = subprocess.run(
        [sys.executable, "-c", RUN, tmp_path / "bad.zarr"], capture_output=True, text=True
    )
    assert run.returncode == 0, run.stderr
    told = json.loads(run.stdout)
    said = told["wells"]
    assert said.pop("A/1") is None
    kinds = dict(zip(words, PIXELS, strict=True))
    wrong = {kinds[w]: said[w] for w in words if not re.search(words[w], said[w] or "")}
    assert wrong == {}
    assert told["failure"] is None
    assert told["peak"] < MOST_BYTES
    assert {path: path.read_bytes() for path in outside.rglob("*") if path.is_file()} == before


@pytest.mark.parametrize("name", ["pcodec", "numcodecs.pickle", "numcodecs.json2", "os.system"])
@pytest.mark.parametrize("shards", [None, (4, 2, 1, 128, 128)])
def test_codecs_of_zarr_v3_that_are_not_on_the_list_are_refused(tmp_path, name, shards):
    make_plate(
        tmp_path / "v3.zarr", {"A/1": moving_cells(0)}, "0.5", "sharded" if shards else "chunked"
    )
    path = tmp_path / "v3.zarr/A/1/0/0/zarr.json"
    document = json.loads(path.read_text())
    codecs = document["codecs"][0]["configuration"]["codecs"] if shards else document["codecs"]
    codecs.append({"name": name, "configuration": {}})
    path.write_text(json.dumps(document))
    with pytest.raises(PlateError, match=f"'{name}', which is not read .write it anew"):
        open_plate(tmp_path / "v3.zarr").field_image(FIELD)


@pytest.mark.parametrize("storage", ["chunked", "sharded"])
def test_bombs_in_zarr_v3_are_not_decoded(tmp_path, storage):
    plate = make_plate(tmp_path / "v3.zarr", {"A/1": moving_cells(0)}, "0.5", storage)
    array = zarr.open_array(tmp_path / "v3.zarr/A/1/0/0", mode="r")
    (codec,) = (c for c in array.compressors if type(c).__name__ == "BloscCodec")
    assert codec.cname.value == "zstd"
    chunk = next(path for path in (tmp_path / "v3.zarr/A/1/0/0/c").rglob("*") if path.is_file())
    content = bytearray(chunk.read_bytes())
    # the blosc header begins the file, in a shard the first chunk of it
    content[4:8] = (2**31 - 1).to_bytes(4, "little")
    chunk.write_bytes(content)
    with pytest.raises(CorruptError, match=r"checksum|too much for its chunk"):
        list(read_frames(plate, FIELD, "phase", range(4)))


def in_shards(folder: Path) -> Path:
    """Return a plate with a shard for each frame, of a chunk of phase and one of nuclei."""
    make_plate(folder / "v3.zarr", {"A/1": moving_cells(0)}, "0.5", "sharded")
    return folder / "v3.zarr"


@pytest.mark.parametrize(
    ("shards", "words"),
    [
        ([1, 2, 1, 2**20, 2**20], f"{2**41} pixels in a shard: up to 2..34"),
        ([2**20, 2, 1, 128, 128], f"{2**21} chunks in a shard: up to 2..20"),
    ],
)
def test_shards_immense_are_refused(tmp_path, shards, words):
    url = in_shards(tmp_path)
    edited("chunk_grid", "configuration", "chunk_shape", to=shards, file="0/zarr.json")(
        url / "A/1", tmp_path
    )
    with pytest.raises(PlateError, match=words):
        open_plate(url).field_image(FIELD)


@pytest.mark.parametrize("inside_of", ["shards", "other codecs"])
def test_shards_inside_of_something_are_refused(tmp_path, inside_of):
    url = in_shards(tmp_path)
    path = url / "A/1/0/0/zarr.json"
    document = json.loads(path.read_text())
    if inside_of == "shards":
        inner = document["codecs"][0]["configuration"]
        inner["codecs"] = [{"name": "sharding_indexed", "configuration": dict(inner)}]
    else:
        document["codecs"].append({"name": "crc32c"})
    path.write_text(json.dumps(document))
    with pytest.raises(PlateError, match="has shards inside of shards or of other codecs"):
        open_plate(url).field_image(FIELD)


# the last of them wraps round
@pytest.mark.filterwarnings("ignore:overflow encountered")
@pytest.mark.parametrize(
    ("offset", "length"), [(0, 64 * 2**30), (2**40, 10), (2**63, 10), (2**64 - 10, 20)]
)
def test_an_index_of_a_shard_that_lies_is_not_followed(tmp_path, offset, length):
    url = in_shards(tmp_path)
    path = url / "A/1/0/0/c/0/0/0/0/0"
    lies = offset.to_bytes(8, "little") + length.to_bytes(8, "little")
    index = numcodecs.CRC32C(location="end").encode(lies + path.read_bytes()[-20:-4])
    with path.open("wb") as file:
        # all holes
        file.truncate(2**36)
        file.seek(0, 2)
        file.write(index)
    with pytest.raises(CorruptError, match="bytes of a shard are asked for, up to byte"):
        next(read_frames(open_plate(url), FIELD, "phase", range(4)))


@pytest.mark.parametrize(
    ("name", "bomb"),
    [("zstd", zstd_bomb), ("gzip", gzip_bomb), ("zlib", zlib_bomb), ("bz2", bz2_bomb)],
)
def test_a_bomb_stops_at_what_its_chunk_may_hold(name, bomb):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(ValueError, match="it holds more than 1000 bytes"):
        decode(numcodecs.get_codec({"id": name}), name, bomb(), 1000)
    after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert after - before < 100_000


@pytest.mark.parametrize("name", ["blosc", "bz2", "gzip", "lz4", "zlib", "zstd"])
def test_what_is_sound_decodes_to_what_it_was(name):
    codec: Codec = numcodecs.get_codec({"id": name})
    content = np.random.default_rng(0).integers(0, 9, 4096, np.uint8).tobytes()
    packed = bytes(codec.encode(content))
    for buffer in (packed, memoryview(packed)):
        assert bytes(decode(codec, name, buffer, len(content))) == content
    with pytest.raises((ValueError, RuntimeError)):
        decode(codec, name, packed[: len(packed) // 2], len(content))


@given(st.integers(0, 70_000), st.integers(1, 3), st.booleans())
def test_frames_of_zstd_of_any_length_decode(length, n_frames, checked):
    codec = numcodecs.Zstd(1, checked)
    part = bytes(np.arange(length, dtype=np.uint32).astype(np.uint8))
    content = codec.encode(part) * n_frames
    assert decode(codec, "zstd", content, 70_000 * 3) == part * n_frames


def test_a_frame_of_zstd_that_lies_about_its_length_is_damaged():
    codec = numcodecs.Zstd(1)
    content = bytearray(codec.encode(bytes(70_000)))
    # the length stands after magic, descriptor and window
    for said in (69_999, 70_001):
        at = content.index((70_000).to_bytes(4, "little"))
        lying = content[:at] + said.to_bytes(4, "little") + content[at + 4 :]
        with pytest.raises(ValueError, match=r"."):
            decode(codec, "zstd", bytes(lying), 100_000)


def test_as_many_wells_as_fit_a_plate_are_read(good, tmp_path):
    shutil.copytree(good, tmp_path / "wide.zarr")
    names = [str(i + 1) for i in range(300)]
    list_wells(tmp_path / "wide.zarr", names, names)
    wells = open_plate(tmp_path / "wide.zarr").layout.wells
    assert (len(wells), wells[300]) == (90_000, WellPath("2", "1"))


def test_a_million_wells_are_refused(good, tmp_path):
    shutil.copytree(good, tmp_path / "wide.zarr")
    names = [str(i) for i in range(1000)]
    list_wells(tmp_path / "wide.zarr", names, names)
    with pytest.raises(PlateError, match=r"plate.wells: .* at most 100000 items|has more than"):
        open_plate(tmp_path / "wide.zarr")


def test_a_thousand_bad_wells_are_told_in_one_line(good, tmp_path):
    shutil.copytree(good, tmp_path / "bad.zarr")
    list_wells(tmp_path / "bad.zarr", ["../.."], [str(i) for i in range(1000)])
    with pytest.raises(PlateError, match="has 1000 problems") as caught:
        open_plate(tmp_path / "bad.zarr")
    assert "; 980 more" in str(caught.value)
    assert len(str(caught.value)) < 3000


@pytest.mark.parametrize("beside", ["good.hcs", "good_isl-dna.zarr"])
def test_a_link_beside_the_plate_is_not_written_through(good, tmp_path, outside, beside):
    url = Path(shutil.copytree(good, tmp_path / "good.zarr"))
    (tmp_path / beside).symlink_to(outside)
    with pytest.raises(PlateError, match="is a link, and hcs writes there"):
        Storage.open(url).sibling(beside.removeprefix("good"))
    if beside.endswith(".hcs"):
        with pytest.raises(PlateError, match="hcs run --output PLATE"):
            analyse(str(url), HERE)
    assert list(outside.iterdir()) == []


def test_nothing_is_swept_behind_a_link(good, tmp_path, outside):
    url = Path(shutil.copytree(good, tmp_path / "good.zarr"))
    (outside / "theirs.partial").write_bytes(b"theirs")
    (url / "A/1/0/labels").symlink_to(outside)
    (url / "tables").symlink_to(outside)
    report = analyse(str(url), HERE)
    assert report.failure
    assert "is a link that leaves the plate good" in report.failure.message
    assert [path.name for path in outside.iterdir()] == ["theirs.partial"]


def test_a_label_image_that_is_a_link_gives_way_to_ours(good, tmp_path, outside):
    url = Path(shutil.copytree(good, tmp_path / "good.zarr"))
    (url / "A/1/0/labels").mkdir()
    (url / "A/1/0/labels/ssl_cells").symlink_to(outside)
    write_empty_label_image(open_plate(url), FIELD, "ssl_cells", "failed")
    assert list(outside.iterdir()) == []
    assert not (url / "A/1/0/labels/ssl_cells").is_symlink()


@pytest.mark.parametrize("name", ["../../../A", "/etc", "a\0b", "..\\x"])
def test_tables_and_label_images_of_names_that_lead_elsewhere_are_refused(good, name):
    plate = open_plate(good)
    with pytest.raises(PlateError, match=r"leaves the plate|no name of a file"):
        read_table(plate, FIELD, name)
    with pytest.raises((PlateError, MissingError)):
        plate.label_image(FIELD, name)


def test_a_table_by_others_is_looked_at_before_it_is_read(good, tmp_path):
    url = Path(shutil.copytree(good, tmp_path / "good.zarr"))
    table = url / "tables/condition"
    table.mkdir(parents=True)
    (url / "tables/.zattrs").write_text('{"tables": ["condition"]}')
    attributes = {"type": "condition_table", "table_version": "1", "backend": "anndata"}
    (table / ".zattrs").write_text(json.dumps(attributes))
    (table / ".zgroup").write_text('{"zarr_format": 2}')
    (table / "X").mkdir()
    array = {"shape": [1], "chunks": [1], "dtype": "|O", "filters": [{"id": "pickle"}]}
    (table / "X/.zarray").write_text(json.dumps(array | {"zarr_format": 2}))
    with pytest.raises(CorruptError, match="'pickle', which is not read"):
        read_table(open_plate(url), None, "condition")
    with (table / "X/0").open("wb") as file:
        file.truncate(2**40)
    with pytest.raises(CorruptError, match=r"1099511.* bytes: no table has"):
        read_table(open_plate(url), None, "condition")


def test_where_images_come_from_is_said_when_they_lie_elsewhere(good, tmp_path):
    url = Path(shutil.copytree(good, tmp_path / "good.zarr"))
    document = json.loads((url / ".zattrs").read_text())
    (url / ".zattrs").write_text(json.dumps(document | {"hcs": {"images_of": str(tmp_path)}}))
    assert open_plate(url).warnings == (
        f"its images are read from {tmp_path}, which its root names",
    )


@pytest.mark.parametrize("root", ["/images\0.zarr", "/images\ud800.zarr", "s3://bucket/x\0.zarr"])
def test_a_root_that_names_images_where_nothing_can_be_is_refused(good, tmp_path, root):
    url = tmp_path / "bad.zarr"
    shutil.copytree(good, url)
    document = json.loads((url / ".zattrs").read_text())
    (url / ".zattrs").write_text(json.dumps(document | {"hcs": {"images_of": root}}))
    with pytest.raises(PlateError, match="holds what is in no path"):
        open_plate(url)


def test_a_folder_whose_name_is_not_utf_8_is_a_path(tmp_path):
    assert Storage.open(f"{tmp_path}/\udcff.zarr").exists(".zattrs") is False


@pytest.mark.parametrize(
    "change", [{"shape": [-5, 1, 1, 8, 8]}, {"compressor": {"id": "pickle"}}, None]
)
def test_a_damaged_array_below_consolidated_metadata_costs_its_own_well(tiny_plate, change):
    zarr.consolidate_metadata(tiny_plate, zarr_format=2)
    array = tiny_plate / "A/02/0/0/.zarray"
    content = json.loads(array.read_text())
    array.write_text(json.dumps(content | change) if change else "{")
    report = analyse(str(tiny_plate), load_settings(overrides=["run.dask=none", "run.workers=1"]))
    assert [str(one.well) for one in report.failed] == ["A/02"]
    assert (report.failure, report.exit_code) == (None, 2)
    assert (tiny_plate.with_suffix(".hcs") / "plate/finish.json").is_file()


@pytest.mark.parametrize(
    "change",
    [
        {"remark": math.nan},
        {"filters": [{"id": "fixedscaleoffset", "offset": math.nan, "scale": 1, "dtype": "<f4"}]},
    ],
)
def test_numbers_that_are_none_cost_no_other_well(tiny_plate, change):
    array = tiny_plate / "A/02/0/0/.zarray"
    array.write_text(json.dumps(json.loads(array.read_text()) | change))
    plan = make_plan(open_plate(tiny_plate), Settings())
    assert [well.failure for well in plan.wells if str(well.well) != "A/02"] == [None, None]


def test_a_table_or_marker_without_end_is_damaged(analysed_plate):
    plate = open_plate(analysed_plate)
    table = analysed_plate / "tables/quarantine/table.parquet"
    marker = analysed_plate.with_suffix(".hcs") / "plate/finish.json"
    for path in (table, marker):
        os.truncate(path, 200 * 2**30)
    with pytest.raises(CorruptError, match=r"quarantine/table\.parquet has more than"):
        plate.table("quarantine")
    with pytest.raises(CorruptError, match=r"marker plate/finish\.json is damaged"):
        open_marker(plate, None, "finish")
