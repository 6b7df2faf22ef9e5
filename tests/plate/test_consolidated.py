import json
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import pytest
import zarr

from hcs.errors import WriteError
from hcs.plate.consolidated import has_consolidated, renew_consolidated
from hcs.plate.metadata import PlateLayout, Well
from hcs.plate.path import FieldPath, WellPath
from hcs.plate.storage import Storage
from hcs.plate.table import write_table

FIELD = FieldPath.parse("B/03/0")
TABLE = pd.DataFrame({"a": [1]})


@dataclass(frozen=True)
class BarePlate:
    """A plate as far as this file needs one."""

    storage: Storage
    layout: PlateLayout

    def well(self, path: WellPath) -> Well:
        return Well(path, (FIELD,), (None,))


@pytest.fixture(params=["0.4", "0.5"])
def plate(root_url: str, request: pytest.FixtureRequest) -> BarePlate:
    layout = PlateLayout("demo", request.param, ("B",), ("03",), (FIELD.well,))
    plate = BarePlate(Storage.open(f"{root_url}/demo.zarr"), layout)
    store = plate.storage.zarr_store(read_only=False)
    group = zarr.open_group(store, mode="w", zarr_format=2 if request.param == "0.4" else 3)
    group.create_array(f"{FIELD}/0", shape=(2, 2), dtype="u1")
    return plate


def consolidate(plate: BarePlate, path: str) -> None:
    store = plate.storage.zarr_store(read_only=False)
    if plate.layout.version == "0.4":
        zarr.consolidate_metadata(store, path=path, zarr_format=2)
    else:
        with pytest.warns(UserWarning, match="not part in the Zarr format 3"):
            zarr.consolidate_metadata(store, path=path, zarr_format=3)


def seen(plate: BarePlate, path: str) -> bool:
    """Tell whether a reader that trusts consolidated metadata sees the table of the field."""
    group = zarr.open_group(plate.storage.zarr_store(read_only=True), path=path, mode="r")
    return f"{FIELD}/tables/t".removeprefix(f"{path}/" if path else "") in group


def test_none_is_written_where_there_was_none(plate: BarePlate) -> None:
    before = plate.storage.sizes()
    assert renew_consolidated(plate, FIELD.well) == ()
    assert renew_consolidated(plate, None) == ()
    assert plate.storage.sizes() == before


@pytest.mark.parametrize(
    ("path", "well"), [("", None), ("B/03", FIELD.well), ("B/03/0", FIELD.well)]
)
def test_what_was_consolidated_shows_new_tables(
    plate: BarePlate, path: str, well: WellPath | None
) -> None:
    consolidate(plate, path)
    write_table(plate, FIELD, "t", TABLE, "generic_table")
    assert not seen(plate, path)
    assert renew_consolidated(plate, well) == (path,)
    assert seen(plate, path)
    others = {"", "B/03", "B/03/0"} - {path}
    assert not any(has_consolidated(plate.storage, plate.layout.version, p) for p in others)


def test_a_plate_that_cannot_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    layout = PlateLayout("demo", "0.4", ("B",), ("03",), (FIELD.well,))
    plate = BarePlate(Storage.open(tmp_path / "demo.zarr"), layout)
    plate.storage.write(".zmetadata", b"{}")

    def refuse(*arguments: object, **options: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(zarr, "consolidate_metadata", refuse)
    with pytest.raises(WriteError, match=r"cannot write .*demo.zarr/: it is read-only"):
        renew_consolidated(plate, None)


def test_where_somebody_elses_metadata_is_damaged_it_stays_and_is_told(
    plate: BarePlate, caplog: pytest.LogCaptureFixture
) -> None:
    consolidate(plate, "")
    key = ".zmetadata" if plate.layout.version == "0.4" else "zarr.json"
    array = f"{FIELD}/0/{'.zarray' if plate.layout.version == '0.4' else 'zarr.json'}"
    before, sound = plate.storage.read(key), plate.storage.read(array)
    negative = json.dumps(json.loads(sound) | {"shape": [-5, 2]}).encode()
    for damaged in (b"{", negative):
        plate.storage.write(array, damaged)
        assert renew_consolidated(plate, None) == ()
        assert plate.storage.read(key) == before
        assert "stays as it was" in caplog.messages[-1]
    plate.storage.write(array, sound)
    assert renew_consolidated(plate, None) == ("",)
