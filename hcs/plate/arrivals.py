"""Folders that others fill with plates: which plates are there, and since when they rest."""

from __future__ import annotations

import hashlib
import logging
import os
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path, PurePosixPath
from typing import Any

import fsspec

from hcs.errors import MissingError, PlateError, StorageError
from hcs.plate.group import OWN, read_attributes
from hcs.plate.open import IMAGES_OF, Plate, is_result
from hcs.plate.path import WellPath
from hcs.plate.storage import check_url, read_errors

logger = logging.getLogger(__name__)

# a listing waits for the disk or the network
_THREADS = 8
_RESULTS = ("labels", "tables")
_METADATA = (".zarray", ".zattrs", ".zgroup", ".zmetadata", "zarr.json")
# of a file of chunks, whichever version and separator: "c/12/0/0", "12.0.0"
_FIRST_INDEX = re.compile(r"(?:c[/.])?([0-9]{1,9})(?:[/.]|$)")
# a file that people type is smaller by far
_LARGEST_READ = 64_000


@dataclass(frozen=True)
class Pixels:
    """The files of a plate that hold pixels; results and metadata are not among them.

    Parameters
    ----------
    blocks : mapping of str to frozenset of int
        Which files there are along the first axis of an array, ``{"B/03/0/0": {0, 1}}``.
    changed : datetime or None
        When the youngest file was written or put in place; None where there is no file.
    """

    blocks: Mapping[str, frozenset[int]]
    changed: datetime | None


def find_plates(folder: str, depth: int = 3) -> tuple[str, ...]:
    """Return the URLs of what is named like a plate, ``*.zarr``, in a folder and those below.

    Parameters
    ----------
    folder : str
        A local path, ``s3://bucket`` or ``s3://bucket/prefix``.
    depth : int
        1 for the folder itself only.

    Returns
    -------
    tuple of str
        Sorted. Links on a disk are not followed: a plate with two names would be worked on twice.

    Raises
    ------
    MissingError
        There is no such folder.
    PlateError, StorageError
        It cannot be listed.
    """
    files, root = _open(folder)
    scheme = "s3://" if folder.startswith("s3://") else ""
    try:
        level = list(_folders_in(files, f"{scheme}{root}"))
    except FileNotFoundError as error:
        raise MissingError(
            f"there is no folder {folder}", hint="give the one that the plates arrive in"
        ) from error
    found = list[str]()
    for deeper in range(depth, 0, -1):
        found += [url for url in level if url.endswith(".zarr")]
        if deeper > 1:
            level = list(_folders_below(files, level))
    return tuple(sorted(found))


def is_product(plate: Plate) -> bool:
    """Tell whether a plate was made of another one, and holds no pixels to analyse.

    What a step made (`hcs.plate.sister`), or results beside an input that is not written to
    (`hcs.plate.output`); one with a copy of the pixels is a plate of its own.
    """
    own = (read_attributes(plate.storage, plate.layout.version, "") or {}).get(OWN)
    return isinstance(own, Mapping) and ("product_of" in own or IMAGES_OF in own)


def pixels_of(plate: Plate) -> Pixels:
    """Return since when the pixels of a plate rest, and of which frames there are some.

    What counts is the last change of a file's name or content: copying tools give a file the date
    of its source, but cannot hide when they did it.

    Raises
    ------
    PlateError, StorageError
        The plate cannot be listed.
    """
    # those of a plate that holds results only lie elsewhere
    url = plate.images.url
    files, root = _open(url)

    def look(well: WellPath) -> tuple[dict[str, set[int]], datetime | None]:
        with read_errors(url):
            return _look(files.find(f"{root}/{well}", detail=True), root)

    with ThreadPoolExecutor(_THREADS) as threads:
        looked = list(threads.map(look, plate.layout.wells))
    changed = [when for _, when in looked if when]
    blocks = {array: frozenset(there) for found, _ in looked for array, there in found.items()}
    return Pixels(blocks, max(changed, default=None))


def state_of(plate: str) -> str:
    """Return a digest of the files of a plate, results aside, and of all that hcs noted beside it.

    It changes whenever a file comes, goes, or is written or put in place anew.

    Raises
    ------
    PlateError, StorageError
        They cannot be listed.
    """
    digest = hashlib.blake2b(digest_size=16)
    for url in (plate, f"{plate.removesuffix('.zarr')}.hcs"):
        files, root = _open(url)
        with read_errors(url):
            lines = sorted(_lines_of_disk(root) if _is_local(url) else _lines_of(files, root))
        digest.update("\n".join(lines).encode(errors="surrogateescape"))
    return digest.hexdigest()


def read_beside(plate: str, name: str) -> bytes | None:
    """Return the content of a small file in the folder that a plate lies in; None for no file.

    Raises
    ------
    PlateError, StorageError
        The file is larger than anything that people write, or cannot be read.
    """
    url = f"{parent_of(plate)}/{name}"
    files, path = _open(url)
    with read_errors(url):
        try:
            size = files.size(path)
        except (FileNotFoundError, NotADirectoryError):
            return None
        if size > _LARGEST_READ:
            raise PlateError(f"{url} has {size} bytes, settings have at most {_LARGEST_READ}")
        content: bytes = files.cat_file(path)
    return content


def is_beside(plate: str, name: str) -> bool:
    """Tell whether a file of this name is in the folder that a plate lies in."""
    url = f"{parent_of(plate)}/{name}"
    files, path = _open(url)
    try:
        # not by `isfile`, which takes a server that is gone for a file that is
        with read_errors(url):
            return bool(files.info(path)["type"] == "file")
    except FileNotFoundError:
        return False


def absolute(url: str) -> str:
    """Return the URL of a folder in full, without a slash at its end.

    Examples
    --------
    >>> absolute("s3://bucket/may/"), absolute("/data/may/")
    ('s3://bucket/may', '/data/may')
    """
    protocol, colon, rest = url.partition("://")
    if colon and protocol != "file":
        return url.rstrip("/")
    return str(Path(rest if colon else url).absolute())


def parent_of(url: str) -> str:
    """Return the folder that something lies in.

    Examples
    --------
    >>> parent_of("s3://bucket/may/screen.zarr"), parent_of("/data/screen.zarr")
    ('s3://bucket/may', '/data')
    """
    return url.rstrip("/").rpartition("/")[0]


def _open(url: str) -> tuple[Any, str]:
    """Return the file system of a URL, and the URL's path on it."""
    protocol, colon, rest = check_url(url).partition("://")
    if colon and protocol == "s3":
        # s3fs is an extra; the import tells where it is missing
        from hcs.plate.s3 import s3_files

        return s3_files(), rest.strip("/")
    if colon and protocol != "file":
        raise PlateError(f"cannot look into {url}", hint="give a local path or s3://bucket/prefix")
    return fsspec.filesystem("file"), absolute(url)


def _is_local(url: str) -> bool:
    return "://" not in url or url.startswith("file://")


def _lines_of(files: Any, root: str) -> Iterator[str]:  # noqa: ANN401 - fsspec has no types
    for name, about in files.find(root, detail=True).items():
        key = name[len(root) + 1 :]
        if not is_result(key):
            yield f"{key}\t{about['size']}\t{_changed(about).isoformat()}"


def _lines_of_disk(root: str, below: str = "") -> Iterator[str]:
    """Give a line per file; fsspec takes ten times as long, and would look at results, too."""
    with suppress(FileNotFoundError), os.scandir(f"{root}/{below}") as entries:
        for entry in entries:
            key = f"{below}{entry.name}"
            if entry.is_dir(follow_symlinks=False):
                if not is_result(key):
                    yield from _lines_of_disk(root, f"{key}/")
            elif not is_result(key):
                about = entry.stat(follow_symlinks=False)
                yield f"{key}\t{about.st_size}\t{about.st_mtime_ns}\t{about.st_ctime_ns}"


def _folders_below(files: Any, tops: Iterable[str]) -> Iterator[str]:  # noqa: ANN401 - no types
    for top in tops:
        if PurePosixPath(top).suffix in (".zarr", ".hcs"):
            continue
        try:
            yield from _folders_in(files, top)
        except (PlateError, StorageError, FileNotFoundError) as error:
            # the plates elsewhere are worth their night
            logger.warning("plates below %s are not looked for: %s", top, error)


def _folders_in(files: Any, url: str) -> Iterator[str]:  # noqa: ANN401 - fsspec has no types
    scheme, _, path = url.rpartition("://")
    with read_errors(url):
        entries = files.ls(path, detail=True)
    for entry in entries:
        name = entry["name"].rstrip("/")
        # S3 may list the prefix itself
        if entry["type"] == "directory" and name != path:
            yield f"{scheme}://{name}" if scheme else name


def _look(
    found: Mapping[str, Mapping[str, Any]], root: str
) -> tuple[dict[str, set[int]], datetime | None]:
    blocks, changed = defaultdict[str, set[int]](set), list[datetime]()
    for name, about in found.items():
        parts = name[len(root) + 1 :].split("/")
        if len(parts) > 3 and parts[3] not in _RESULTS and parts[-1] not in _METADATA:
            changed.append(_changed(about))
            if first := _FIRST_INDEX.match("/".join(parts[4:])):
                blocks["/".join(parts[:4])].add(int(first[1]))
    return blocks, max(changed, default=None)


def _changed(about: Mapping[str, Any]) -> datetime:
    on_s3: datetime | None = about.get("LastModified")
    # "created" is when the name, the owner or the content of a file last changed
    return on_s3 or datetime.fromtimestamp(max(about["mtime"], about["created"]), UTC)
