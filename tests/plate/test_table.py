import json
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import ngio
import numpy as np
import pandas as pd
import pytest
import zarr
from ngio.tables import GenericTable, open_table, open_table_as, open_tables_container
from pandas.testing import assert_frame_equal

from hcs.errors import CorruptError, MissingError, WriteError
from hcs.plate.commit import verify
from hcs.plate.metadata import PlateLayout, Version
from hcs.plate.open import open_plate
from hcs.plate.path import FieldPath, WellPath
from hcs.plate.storage import Storage
from hcs.plate.table import read_table, table_names, write_table
from tests.plates import make_plate, moving_cells

FIELD = FieldPath.parse("B/03/0")


@dataclass(frozen=True)
class BarePlate:
    """A plate as far as this file needs one."""

    storage: Storage
    layout: PlateLayout


def bare_plate(folder: str | Path, version: Version) -> BarePlate:
    layout = PlateLayout("demo", version, ("B",), ("03",), (WellPath("B", "03"),))
    return BarePlate(Storage.open(f"{folder}/demo.zarr"), layout)


@pytest.fixture(params=["0.4", "0.5"])
def plate(tmp_path: Path, request: pytest.FixtureRequest) -> BarePlate:
    return bare_plate(tmp_path, request.param)


@pytest.fixture(params=["0.4", "0.5"])
def plate_anywhere(root_url: str, request: pytest.FixtureRequest) -> BarePlate:
    """On local disk, then on S3, where a request takes its time."""
    return bare_plate(root_url, request.param)


def group_of(plate: BarePlate, path: str) -> zarr.Group:
    store = plate.storage.zarr_store(read_only=True)._store  # ngio knows no other
    return zarr.open_group(store, path=path, mode="r")


def rois(n: int, index: str) -> pd.DataFrame:
    corners = [f"{axis}_micrometer" for axis in "xyz"]
    lengths = [f"len_{column}" for column in corners]
    times = ["t_second", "len_t_second"]
    values = np.arange(n * 8, dtype=float).reshape(n, 8) + 0.1
    table = pd.DataFrame(values, columns=corners + lengths + times)
    labels = pd.Series(range(1, n + 1), dtype="int64")
    table.insert(0, index, labels if index == "label" else "FOV_" + labels.astype(str))
    return table


OBJECTS = pd.DataFrame(
    {
        "object_id": ["1_0", "2_0", "1_1"],
        "label": np.array([1, 2, 1], dtype=np.uint32),
        "time_index": np.array([0, 0, 1], dtype=np.int32),
        "area": [1.5, np.nan, 2.0],
        "qc_pass": [True, False, True],
        "qc_reason": [None, "dim", None],
    }
)
FEATURES = pd.DataFrame({"label": np.array([1, 2], np.uint32), "area": [1.5, 2.5]})
WELLS = pd.DataFrame({"row": ["B"], "column": ["03"], "path_in_well": ["0"], "drug": ["x"]})


def test_every_storage_gives_back_what_was_written(plate_anywhere: BarePlate) -> None:
    plate = plate_anywhere
    manifest = write_table(plate, FIELD, "r", rois(2, "FieldIndex"), "roi_table")
    manifest |= write_table(plate, FIELD, "t", OBJECTS, "generic_table")
    assert verify(plate, manifest) == []
    assert table_names(plate, FIELD) == ("r", "t")
    assert_frame_equal(read_table(plate, FIELD, "r"), rois(2, "FieldIndex"))
    assert_frame_equal(read_table(plate, FIELD, "t"), OBJECTS)
    write_table(plate, FIELD, "r", FEATURES, "feature_table", label_image="cells")
    assert_frame_equal(read_table(plate, FIELD, "r"), FEATURES)
    container = open_tables_container(group_of(plate, "B/03/0/tables"), mode="r")
    assert_frame_equal(container.get("r").dataframe.reset_index(), FEATURES, check_dtype=False)


@pytest.mark.parametrize("n", [0, 1, 3])
@pytest.mark.parametrize("kind", ["roi_table", "masking_roi_table"])
def test_roi_tables_are_read_back_by_us_and_by_ngio(plate: BarePlate, kind: Any, n: int) -> None:
    table = rois(n, "label" if kind == "masking_roi_table" else "FieldIndex")
    manifest = write_table(plate, FIELD, "r", table, kind, label_image="cells")
    assert verify(plate, manifest) == []
    assert_frame_equal(read_table(plate, FIELD, "r"), table, check_index_type=False)
    theirs = open_table(group_of(plate, "B/03/0/tables/r"), mode="r")
    assert theirs.table_type() == kind
    assert len(theirs.rois()) == n
    if n:
        roi = theirs.rois()[0]
        assert (roi.get("x").start, roi.get("t").length) == (0.1, 7.1)


def test_fields_of_one_process_write_at_once(plate: BarePlate) -> None:
    table = rois(2, "FieldIndex")
    fields = [FieldPath(FIELD.well, str(i)) for i in range(6)]
    with ThreadPoolExecutor(6) as threads:
        write = partial(write_table, plate, name="r", table=table, kind="roi_table")
        list(threads.map(write, fields))
    for field in fields:
        assert_frame_equal(read_table(plate, field, "r"), table)


@pytest.mark.parametrize(
    ("kind", "table", "index"),
    [
        ("generic_table", OBJECTS, ("object_id", "str")),
        ("feature_table", FEATURES, ("label", "int")),
        ("condition_table", WELLS, None),
        ("generic_table", WELLS, None),
    ],
)
@pytest.mark.parametrize("where", [FIELD, None])
def test_parquet_tables_are_read_back_by_us_and_by_ngio(
    plate: BarePlate, where: FieldPath | None, kind: Any, table: pd.DataFrame, index: Any
) -> None:
    manifest = write_table(plate, where, "t", table, kind, label_image="cells")
    assert verify(plate, manifest) == []
    assert_frame_equal(read_table(plate, where, "t"), table)
    path = f"{where}/tables" if where else "tables"
    theirs = open_table_as(group_of(plate, f"{path}/t"), GenericTable, mode="r").dataframe
    expected = table.set_index(index[0]) if index else table
    assert_frame_equal(theirs, expected, check_dtype=False, check_index_type=False)
    attributes = group_of(plate, f"{path}/t").attrs
    assert (attributes["index_key"], attributes["index_type"]) == (index or (None, None))
    if kind in ("feature_table", "condition_table"):
        assert open_table(group_of(plate, f"{path}/t"), mode="r").table_type() == kind
    assert open_tables_container(group_of(plate, path), mode="r").list() == ["t"]


def test_plain_pandas_reads_the_file(tmp_path: Path) -> None:
    plate = bare_plate(tmp_path, "0.5")
    write_table(plate, FIELD, "cells_objects", OBJECTS, "generic_table")
    path = tmp_path / "demo.zarr/B/03/0/tables/cells_objects/table.parquet"
    assert_frame_equal(pd.read_parquet(path), OBJECTS)


def test_attributes_follow_the_convention(plate: BarePlate) -> None:
    settings = {"settings": {"window": 15}}
    table = FEATURES.set_index("label")
    write_table(plate, FIELD, "f", table, "feature_table", label_image="cells", provenance=settings)
    write_table(plate, FIELD, "r", rois(1, "label"), "masking_roi_table", label_image="cells")
    write_table(plate, FIELD, "g", WELLS, "generic_table")
    shared = {"table_version": "1", "index_key": "label", "index_type": "int"}
    shared |= {"region": {"path": "../labels/cells"}, "instance_key": "label"}
    assert dict(group_of(plate, "B/03/0/tables/f").attrs) == shared | {
        "type": "feature_table",
        "backend": "parquet",
        "hcs": settings,
    }
    assert dict(group_of(plate, "B/03/0/tables/r").attrs) == shared | {
        "type": "masking_roi_table",
        "backend": "anndata",
        "encoding-type": "anndata",
        "encoding-version": "0.1.0",
    }
    assert dict(group_of(plate, "B/03/0/tables/g").attrs) == {
        "type": "generic_table",
        "table_version": "1",
        "backend": "parquet",
        "index_key": None,
        "index_type": None,
    }
    # at the top level, in 0.5 too
    assert dict(group_of(plate, "B/03/0/tables").attrs) == {"tables": ["f", "g", "r"]}


def test_zarr_formats_are_not_mixed_and_nothing_is_consolidated(plate: BarePlate) -> None:
    write_table(plate, FIELD, "r", rois(2, "FieldIndex"), "roi_table")
    write_table(plate, FIELD, "f", FEATURES, "feature_table", label_image="cells")
    names = {key.rpartition("/")[2] for key in plate.storage.sizes()}
    assert ("zarr.json" in names) == (plate.layout.version == "0.5")
    assert (".zattrs" in names) == (plate.layout.version == "0.4")
    assert ".zmetadata" not in names
    for key in plate.storage.sizes():
        if key.endswith("zarr.json"):
            assert not json.loads(plate.storage.read(key)).get("consolidated_metadata")


@pytest.mark.parametrize("version", ["0.4", "0.5"])
def test_ngio_finds_the_tables_of_a_whole_plate(tmp_path: Path, version: Version) -> None:
    plate = make_plate(tmp_path / "demo.zarr", {"B/03": moving_cells(1, n_frames=2)}, version)
    write_table(plate, FIELD, "well_ROI_table", rois(1, "FieldIndex"), "roi_table")
    write_table(plate, FIELD, "cells_objects", OBJECTS, "generic_table")
    write_table(plate, None, "wells", WELLS, "generic_table")
    write_table(plate, None, "condition", WELLS, "condition_table")
    field = ngio.open_ome_zarr_container(tmp_path / "demo.zarr/B/03/0", mode="r")
    assert field.list_tables() == ["cells_objects", "well_ROI_table"]
    assert len(field.get_table("well_ROI_table").rois()) == 1
    assert len(field.get_table_as("cells_objects", GenericTable).dataframe) == 3
    whole = ngio.open_ome_zarr_plate(tmp_path / "demo.zarr", mode="r")
    assert_frame_equal(whole.get_table("condition").dataframe, WELLS)
    assert_frame_equal(whole.get_table_as("wells", GenericTable).dataframe, WELLS)
    assert_frame_equal(open_plate(tmp_path / "demo.zarr").table("wells"), WELLS)


def test_a_table_is_replaced_whole_and_others_are_kept(plate: BarePlate) -> None:
    theirs = {"tables": ["theirs"], "note": 1}
    zarr.create_group(
        plate.storage.zarr_store(read_only=False),
        path="B/03/0/tables",
        attributes=theirs,
        zarr_format=2 if plate.layout.version == "0.4" else 3,
    )
    write_table(plate, FIELD, "t", rois(2, "FieldIndex"), "roi_table")
    manifest = write_table(plate, FIELD, "t", OBJECTS, "generic_table")
    assert_frame_equal(read_table(plate, FIELD, "t"), OBJECTS)
    assert set(plate.storage.sizes("B/03/0/tables/t")) == set(manifest)
    assert dict(group_of(plate, "B/03/0/tables").attrs) == {"tables": ["t", "theirs"], "note": 1}
    assert table_names(plate, FIELD) == ("t", "theirs")


def test_equal_tables_are_equal_files(plate: BarePlate) -> None:
    kinds: list[tuple[pd.DataFrame, Any]] = [
        (OBJECTS, "generic_table"),
        (rois(3, "label"), "masking_roi_table"),
    ]
    for table, kind in kinds:
        first = write_table(plate, FIELD, "t", table, kind, label_image="cells")
        again = table.copy()
        again.attrs["made"] = "at another time"
        again.index = pd.RangeIndex(7, 7 + len(table))
        assert write_table(plate, FIELD, "t", again, kind, label_image="cells") == first


def test_a_column_without_any_text_stays_text(plate: BarePlate) -> None:
    table = pd.DataFrame({"well": ["B03"], "hint": [None]})
    for rows in (table, table.iloc[:0]):
        write_table(plate, None, "quarantine", rows, "generic_table")
        assert_frame_equal(read_table(plate, None, "quarantine"), rows)


def test_a_table_that_is_not_there(plate: BarePlate) -> None:
    assert table_names(plate, FIELD) == ()
    with pytest.raises(MissingError, match=r"B/03/0 has no table 'x' .it has no tables at all"):
        read_table(plate, FIELD, "x")
    write_table(plate, None, "wells", WELLS, "generic_table")
    write_table(plate, None, "condition", WELLS, "condition_table")
    with pytest.raises(MissingError, match=r"the plate has no table 'x' .it has condition, wells"):
        read_table(plate, None, "x")


def test_a_damaged_table_is_named(plate: BarePlate) -> None:
    write_table(plate, None, "wells", WELLS, "generic_table")
    key = "tables/wells/table.parquet"
    plate.storage.write(key, plate.storage.read(key)[:100])
    with pytest.raises(CorruptError, match=rf"demo.zarr/{key} is damaged: .*hcs verify --repair"):
        read_table(plate, None, "wells")
    plate.storage.delete(key)
    with pytest.raises(CorruptError, match=f"demo.zarr/{key} is missing"):
        read_table(plate, None, "wells")


def test_a_table_that_is_listed_but_not_there(plate: BarePlate) -> None:
    write_table(plate, None, "wells", WELLS, "generic_table")
    plate.storage.delete("tables/wells")
    with pytest.raises(
        CorruptError, match=r"demo.zarr/tables/wells is missing .hcs verify --repair"
    ):
        read_table(plate, None, "wells")


@pytest.mark.parametrize("part", ["X", "X/metadata", "obs/attributes"])
def test_a_damaged_table_of_ngio_is_named(plate: BarePlate, part: str) -> None:
    write_table(plate, FIELD, "r", rois(2, "FieldIndex"), "roi_table")
    v2 = plate.layout.version == "0.4"
    key = (
        "B/03/0/tables/r/"
        + {
            "X": "X/0.0" if v2 else "X/c/0/0",
            "X/metadata": "X/.zarray" if v2 else "X/zarr.json",
            "obs/attributes": "obs/.zattrs" if v2 else "obs/zarr.json",
        }[part]
    )
    content = plate.storage.read(key)
    flipped = content.replace(b"dataframe", b"datagrame")
    plate.storage.write(key, flipped if part == "obs/attributes" else content[:8])
    with pytest.raises(CorruptError, match=r"B/03/0/tables/r cannot be read"):
        read_table(plate, FIELD, "r")


def test_tables_of_other_tools_are_read(plate: BarePlate) -> None:
    store = plate.storage.zarr_store(read_only=False)._store
    version = 2 if plate.layout.version == "0.4" else 3
    group = zarr.create_group(store, path="B/03/0/tables", zarr_format=version)
    table = GenericTable(pd.DataFrame({"a": [1.5, 2.5]}, index=pd.Index(["x", "y"], name="k")))
    open_tables_container(group).add("theirs", table, backend="csv")
    expected = pd.DataFrame({"a": [1.5, 2.5]})
    assert_frame_equal(read_table(plate, FIELD, "theirs")[["a"]], expected)


@pytest.mark.parametrize(
    ("kind", "table", "words"),
    [
        ("feature_table", FEATURES[["area"]], "it has no column label"),
        ("feature_table", FEATURES.astype({"label": float}), "label holds float64, not whole"),
        ("feature_table", pd.concat([FEATURES] * 2), "label is not unique: 1, 2 come more than"),
        ("feature_table", FEATURES.rename(columns={"area": 7}), "column name 7 is not text"),
        ("generic_table", OBJECTS.assign(object_id=[1, 2, 3]), "object_id holds what is not text"),
        ("generic_table", OBJECTS.rename(columns={"area": "label"}), "column label is there twice"),
        ("roi_table", WELLS, "no column x_micrometer; .* no column FieldIndex"),
    ],
)
def test_a_table_that_does_not_fit_its_kind(kind: Any, table: pd.DataFrame, words: str) -> None:
    plate = bare_plate("/nowhere", "0.4")
    with pytest.raises(WriteError, match=f"table 't' is no {kind}: .*{words}"):
        write_table(plate, FIELD, "t", table, kind, label_image="cells")


def test_all_problems_of_a_table_come_in_one_message(plate: BarePlate) -> None:
    with pytest.raises(WriteError) as caught:
        write_table(plate, FIELD, "../x", WELLS, "masking_roi_table")
    assert str(caught.value).count("; ") == 8
    assert "a name has letters, digits and _ . - only; it needs the name of its label" in str(
        caught.value
    )
    assert plate.storage.sizes() == {}


def test_a_column_of_mixed_types_is_named(plate: BarePlate) -> None:
    mixed = pd.DataFrame({"dose": ["low", 3]})
    with pytest.raises(WriteError, match=r"table 'condition' does not fit a Parquet file: .*dose"):
        write_table(plate, None, "condition", mixed, "condition_table")
