"""What is finished, and how we know: fingerprints, manifests and markers.

A step of a well is done when its marker says so, and by nothing else. The marker is written last:
when every file of the manifest was read back and matched its digest, was flushed to the disk, and
the run still holds the plate's lock. Chunks are written without flushing, since one flush of all
of a step's files before its marker costs less than one per chunk and promises the same.
"""

from __future__ import annotations

import hashlib
import json
import logging
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING

from pydantic import TypeAdapter, ValidationError
from typing_extensions import TypeAliasType

from hcs.errors import CorruptError, HcsError, MissingError, PlateError, StorageError
from hcs.plate.documents import LARGEST_DOCUMENT
from hcs.plate.group import read_document
from hcs.plate.lock import FOLDER as LOCK
from hcs.plate.lock import check_token
from hcs.plate.storage import PARTIAL, check_key
from hcs.plate.threads import THREADS

if TYPE_CHECKING:
    from hcs.plate.open import Plate
    from hcs.plate.path import WellPath
    from hcs.plate.storage import Storage

logger = logging.getLogger(__name__)

JSON = TypeAliasType(
    "JSON", "bool | int | float | str | Sequence[JSON] | Mapping[str, JSON] | None"
)

# metadata of an array, in Zarr v2 and v3
_METADATA = (".zarray", "zarr.json")
# what viewers and people may edit, or what says nothing of the pixels
_NOT_PIXELS = ("attributes", "consolidated_metadata")
_AT_MOST_NAMED = 5
# the first line of a marker: SHA-256 of the others
_SEAL = re.compile(rb'\{\n "seal": "([^"]*)",\n')

# what tries whether a plate can be written to
_WRITABLE = f".writable{PARTIAL}"
# where a run writes: labels and tables of fields, tables of the plate, and for a try
RESULTS = ("*/*/*/labels", "*/*/*/tables", "tables", f"*{_WRITABLE}*")
EVERYTHING = (".",)


@dataclass(frozen=True)
class Marker:
    """The record that a step is done.

    Parameters
    ----------
    step : str
        As in ``"ssl"`` or ``"measure-ssl_cells"``.
    fingerprint : str
        Of all that the step's result depends on, see `fingerprint`.
    manifest : mapping of str to str
        Digest of every file written, by key below the root of the plate that they lie in, as
        `hcs.plate.storage.content_digest` writes it.
    record : JSON
        What else the step wants to remember.
    token : int
        Of the lock that it was written under.
    sister : str
        Whose sister plate the files lie in, the name of a step; empty for the plate itself.
    """

    step: str
    fingerprint: str
    manifest: Mapping[str, str]
    record: JSON = None
    token: int = 0
    sister: str = ""


_marker_reader = TypeAdapter(Marker)


def fingerprint(parts: Mapping[str, JSON]) -> str:
    """Return the SHA-256 of what a result depends on, the order of keys aside.

    Parameters
    ----------
    parts : mapping of str to JSON
        Settings, digests, versions; numbers must be finite.

    Raises
    ------
    ValueError
        A number is NaN or infinite: JSON has no such numbers, and NaN equals nothing.

    Examples
    --------
    >>> fingerprint({"a": 1, "b": [2]}) == fingerprint({"b": [2], "a": 1})
    True
    >>> fingerprint({"a": 1})[:8]
    '015abd7f'
    """
    text = json.dumps(parts, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()


def input_fingerprint(plate: Plate, well: WellPath) -> str:
    """Return the fingerprint of a well's pixels, from metadata and chunk sizes alone.

    Covers level 0 of each field: shape, dtype, chunks, codecs and the size of every chunk file.
    Attributes (names, colours, labels, tables) do not count. Chunks that were rewritten with
    other pixels of exactly the same compressed sizes are not seen.

    Raises
    ------
    MissingError
        A field has no array at its level 0.
    """
    fields: dict[str, JSON] = {}
    for field in plate.well(well).fields:
        array = f"{field}/{plate.field_image(field).levels[0].path}"
        sizes = plate.images.sizes(array)
        metadata = [name for name in _METADATA if f"{array}/{name}" in sizes]
        if not metadata:
            raise MissingError(f"field {field} has no array at {array}")
        pixels = read_document(plate.images, f"{array}/{metadata[0]}") or {}
        chunks: dict[str, JSON] = {
            key.removeprefix(f"{array}/"): size
            for key, size in sizes.items()
            if not key.endswith((*_METADATA, ".zattrs", PARTIAL))
        }
        kept = {n: _finite(value) for n, value in pixels.items() if n not in _NOT_PIXELS}
        fields[str(field)] = {"array": kept, "chunks": chunks}
    return fingerprint(fields)


def _finite(value: JSON) -> JSON:
    """Return a value with numbers that JSON has not as text: somebody else wrote them."""
    if isinstance(value, dict):
        return {name: _finite(one) for name, one in value.items()}
    if isinstance(value, list):
        return [_finite(one) for one in value]
    return str(value) if isinstance(value, float) and not math.isfinite(value) else value


def marked_steps(plate: Plate, well: WellPath | None) -> list[str]:
    """Return the steps that a well, or the plate, has markers of, sound or not."""
    names = [key.rpartition("/")[2] for key in plate.companion.sizes(str(well or "plate"))]
    # a hidden one is a temporary file
    return [n.removesuffix(".json") for n in names if n.endswith(".json") and n[0] != "."]


def read_marker(plate: Plate, well: WellPath | None, step: str) -> Marker | None:
    """Return the marker of a step of a well, or of the plate; None where it is not done.

    A marker that is damaged counts as none, with a warning: the step is done again.
    """
    try:
        return open_marker(plate, well, step)
    except MissingError:
        return None
    except CorruptError as error:
        logger.warning("%s: step %s is done again", error.message, step)
        return None


def open_marker(plate: Plate, well: WellPath | None, step: str) -> Marker:
    """Return the marker of a step.

    Raises
    ------
    MissingError
        There is none: the step is not done.
    CorruptError
        It is damaged: no marker, or not what its seal says. One of the time before seals has none.
    """
    key = _marker_key(well, step)
    try:
        content = plate.companion.read(key, LARGEST_DOCUMENT)
    except FileNotFoundError as error:
        raise MissingError(f"there is no marker {key}") from error
    except PlateError as error:
        raise CorruptError(f"marker {key} is damaged: {error.message}") from error
    try:
        marker = _marker_reader.validate_json(content)
    except ValidationError as error:
        raise CorruptError(f"marker {key} is damaged") from error
    if not _seal_holds(content):
        raise CorruptError(f"marker {key} is damaged: it is not what was written")
    return marker


def write_marker(plate: Plate, well: WellPath | None, marker: Marker, lock_token: int) -> None:
    """Mark a step as done: last of all, and only if it is.

    Parameters
    ----------
    plate : Plate
    well : WellPath or None
        None for a step of the whole plate.
    marker : Marker
    lock_token : int
        Of the run's lock; it is kept in the marker.

    Raises
    ------
    StorageError
        A file of the manifest is missing, truncated or not what was written; names them. Written
        once more, it may be.
    LockedError
        Another run holds the plate by now.
    WriteError
        The companion cannot be written.
    ValueError
        The record holds a number that is not finite: JSON has none.
    """
    written = plate.sister(marker.sister) if marker.sister else plate
    problems = verify(written, marker.manifest)
    if problems:
        more = len(problems) - _AT_MOST_NAMED
        raise StorageError(
            f"step {marker.step} of {well or 'the plate'} is not marked as done: "
            + "; ".join(problems[:_AT_MOST_NAMED])
            + (f"; and {more} more" if more > 0 else ""),
            hint="run again; if it comes back, the disk or the memory is failing",
        )
    written.storage.flush(marker.manifest)
    document = asdict(replace(marker, token=lock_token))
    content = _sealed(json.dumps(document, indent=1, sort_keys=True, allow_nan=False).encode())
    plate.companion.write(
        _marker_key(well, marker.step),
        content,
        last_check=lambda: check_token(plate.companion, lock_token),
    )


def remove_marker(plate: Plate, well: WellPath | None, step: str, lock_token: int) -> None:
    """Take a step's marker away before its files are written anew.

    Otherwise a run killed halfway would leave the old marker beside files of two settings.

    Raises
    ------
    LockedError
        Another run holds the plate by now.
    """
    check_token(plate.companion, lock_token)
    plate.companion.delete(_marker_key(well, step))


def verify(plate: Plate, manifest: Mapping[str, str]) -> list[str]:
    """Return what is wrong with the files of a manifest, in its order; see `find_damage`."""
    return list(find_damage(plate, manifest).values())


def find_damage(plate: Plate, manifest: Mapping[str, str]) -> dict[str, str]:
    """Read every file of a manifest back and return what is wrong, in the order of the manifest.

    Returns
    -------
    dict of str to str
        By key, a sentence for each file that is missing, truncated, damaged or not to be read,
        naming it.
    """
    found = THREADS.map(lambda item: _problem(plate.storage, *item), manifest.items())
    return {key: problem for key, problem in zip(manifest, found, strict=True) if problem}


def _sealed(content: bytes) -> bytes:
    seal = hashlib.sha256(content).hexdigest().encode()
    return b'{\n "seal": "' + seal + b'",\n' + content.removeprefix(b"{\n")


def _seal_holds(content: bytes) -> bool:
    seal = _SEAL.match(content)
    if seal is None:
        return True
    return hashlib.sha256(b"{\n" + content[seal.end() :]).hexdigest().encode() == seal[1]


def _problem(storage: Storage, key: str, expected: str) -> str:
    """Say what is wrong with a file; nothing where its digest is the expected one."""
    try:
        seen = storage.digest(key)
    except FileNotFoundError:
        return f"{key} is missing"
    except HcsError as error:
        return error.message
    if seen == expected:
        return ""
    size, written = seen.rpartition(":")[2], expected.rpartition(":")[2]
    if size != written:
        return f"{key} has {size} bytes, {written} were written"
    return f"{key} is damaged: its {size} bytes are not those that were written"


def check_writable(plate: Plate) -> None:
    """Raise before anything is computed where results cannot be written.

    Raises
    ------
    WriteError
        The plate is read-only, or its disk is full.
    """
    plate.storage.write_unflushed({_WRITABLE: b""})
    plate.storage.delete(_WRITABLE)


def sweep(plate: Plate, folders: Sequence[str] = RESULTS) -> list[str]:
    """Delete what killed runs left behind, and return it; only the lock's holder may do that.

    These are temporary files in the companion and in folders of the plate, and the companion's
    scratch folder.

    Parameters
    ----------
    plate : Plate
    folders : sequence of str
        Glob patterns below the plate's root: by default labels and tables, since nothing in the
        images of an input is touched; `EVERYTHING` is for who makes the plate.
    """
    swept = []
    for storage, where in ((plate.storage, folders), (plate.companion, EVERYTHING)):
        for key in storage.leftovers(where):
            # where the heart beats, and others try for the lock: `acquire` sweeps there
            if key.startswith(f"{LOCK}/"):
                continue
            storage.delete(key)
            swept.append(f"{storage.url}/{key}")
    scratch = plate.companion.sizes("scratch")
    if scratch:
        plate.companion.delete("scratch")
        swept += [f"{plate.companion.url}/{key}" for key in scratch]
    return swept


def _marker_key(well: WellPath | None, step: str) -> str:
    return check_key(f"{well or 'plate'}/{step}.json")
