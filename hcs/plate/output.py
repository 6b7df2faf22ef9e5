"""A plate of results alone, for an input that cannot be written to; or with a copy of its pixels.

Its root names the input, and `hcs.plate.open.open_plate` reads wells, images and pixels there, so
that whatever reads a plate reads both together.
"""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Literal

from hcs.errors import HcsError, StorageError, WriteError
from hcs.plate.describe import plate_attributes
from hcs.plate.group import OWN, is_begun, read_attributes, write_group
from hcs.plate.open import IMAGES_OF, Plate, is_result, open_plate
from hcs.plate.path import FieldPath
from hcs.plate.storage import Storage

if TYPE_CHECKING:
    from hcs.plate.commit import JSON

Pixels = Literal["linked", "copied"]
# how the root names the input that was copied
_COPY_OF = "copy_of"
# what people wrote down about the plate: its map, and the sources of imported frames
_CONDITION = "tables/condition"
_THREADS = 8


def make_output(plate: Plate, url: str, pixels: Pixels = "linked") -> Plate:
    """Make the plate that holds the results of another, or return the one that is there.

    Parameters
    ----------
    plate : Plate
        The input; nothing of it is changed.
    url : str
        Where the new plate goes.
    pixels : {"linked", "copied"}
        Linked: the input must stay where it is. Copied: the new plate stands alone; the input's
        own label images and tables are not copied, apart from the plate map.

    Raises
    ------
    WriteError
        There is something else, or nothing can be written.
    """
    storage, version = Storage.open(url), plate.layout.version
    own: dict[str, JSON] = {IMAGES_OF if pixels == "linked" else _COPY_OF: plate.images.url}
    if storage.url == plate.images.url:
        raise WriteError(f"{url} is the input itself", hint="give --output another name")
    there = read_attributes(storage, version, "")
    if there is not None and there.get(OWN) == own:
        return open_plate(url)
    if there == {} and is_begun(storage, version, (*_rows(plate), "tables")):
        there = None
    if there is not None or storage.exists("zarr.json") or storage.exists(".zattrs"):
        raise WriteError(
            f"{storage.url} is there, and does not hold results of {plate.images.url} with "
            f"{pixels} pixels",
            hint="give --output another name, or remove it",
        )
    if pixels == "copied":
        _copy(plate.images, storage, _image_files(plate))
    else:
        _make_groups(plate, storage)
    _copy_notes(plate, storage)
    # the root last: without it, there is no plate
    write_group(storage, version, "", plate_attributes(plate.layout) | {OWN: own})
    return open_plate(url)


def _make_groups(plate: Plate, storage: Storage) -> None:
    """Make the groups in which label images and tables lie; what they are is told by the input."""
    version = plate.layout.version
    for row in _rows(plate):
        write_group(storage, version, row, {})
    for field in _fields(plate):
        write_group(storage, version, str(field.well), {})
        write_group(storage, version, str(field), {})


def _rows(plate: Plate) -> tuple[str, ...]:
    return tuple(dict.fromkeys(well.row for well in plate.layout.wells))


def _fields(plate: Plate) -> Iterator[FieldPath]:
    for well in plate.layout.wells:
        try:
            yield from plate.well(well).fields
        except StorageError:
            raise
        except HcsError:
            # told where the input is looked at; it has no results
            continue


def _image_files(plate: Plate) -> list[str]:
    """Return the files of rows, wells and images, without label images and tables."""
    keys = (key for row in _rows(plate) for key in plate.images.sizes(row))
    # consolidated metadata would list label images that are not copied
    return [key for key in keys if not is_result(key) and not key.endswith(".zmetadata")]


def _copy(source: Storage, target: Storage, keys: list[str]) -> None:
    """Copy files that are not there yet, and return when they are on the disk."""
    there = target.sizes()
    sizes = source.sizes() if there else {}
    missing = [key for key in keys if key not in there or there[key] != sizes[key]]
    with ThreadPoolExecutor(_THREADS) as threads:
        list(threads.map(lambda k: target.write_unflushed({k: source.read(k)}), missing))
    target.flush(missing)


def _copy_notes(plate: Plate, storage: Storage) -> None:
    """Copy the plate map, and where imported frames came from."""
    condition = [*plate.storage.sizes(_CONDITION)]
    if condition:
        _copy(plate.storage, storage, condition)
        write_group(storage, plate.layout.version, "tables", {"tables": ["condition"]})
    sources = "import.json"
    if plate.companion.exists(sources):
        storage.sibling(".hcs").write(sources, plate.companion.read(sources))
