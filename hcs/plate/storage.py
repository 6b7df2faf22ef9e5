"""One root folder of bytes by key, on a local disk or on S3.

Everything but pixels goes through here (markers, lock, tables, manifests); pixels go through the
Zarr store of the same root. A reader never sees half a file: a local write is a temporary file,
flushed and renamed; an S3 write is one put.
"""

from __future__ import annotations

import errno
import hashlib
import os
import shutil
import uuid
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

import zarr.storage

from hcs.errors import PlateError, WriteError

if TYPE_CHECKING:
    from zarr.abc.store import Store

# what temporary files end in, ours as zarr's own: leftovers of a killed writer
PARTIAL = ".partial"
# fsync waits for the disk, not for the processor: several at once share one journal commit
_FLUSH_THREADS = 8
_FULL = (errno.ENOSPC, errno.EDQUOT)
_FORBIDDEN = (errno.EROFS, errno.EACCES, errno.EPERM)
# file systems without hard links (SMB, some FUSE) answer one of these
_NO_LINKS = (errno.EPERM, errno.ENOTSUP, errno.ENOSYS, errno.EMLINK)


def content_digest(content: bytes | memoryview) -> str:
    """Return digest and size of a file's content, ``sha256:<hex>:<bytes>``.

    SHA-256 because anyone can check it with ``sha256sum``, and because processors have
    instructions for it: 1.8 GB/s on one core, faster than BLAKE2b.

    Examples
    --------
    >>> content_digest(b"")[:16], content_digest(b"abc")[-2:]
    ('sha256:e3b0c4429', ':3')
    """
    return f"sha256:{hashlib.sha256(content).hexdigest()}:{len(content)}"


@contextmanager
def write_errors(target: str) -> Iterator[None]:
    """Turn the operating system's errors inside the block into one that names the target.

    Parameters
    ----------
    target : str
        What is being written, as the user would look for it.

    Raises
    ------
    WriteError
        The disk is full, the target is read-only, or what else the system says.

    Examples
    --------
    >>> with write_errors("demo.zarr/B/03"):
    ...     raise OSError(errno.ENOSPC, "No space left on device")
    Traceback (most recent call last):
    hcs.errors.WriteError: no space left to write demo.zarr/B/03 (free some and run again; ...)
    """
    try:
        yield
    except OSError as error:
        if error.errno in _FULL:
            raise WriteError(
                f"no space left to write {target}",
                hint="free some and run again; what is finished is kept",
            ) from error
        if error.errno in _FORBIDDEN:
            raise WriteError(
                f"cannot write {target}: it is read-only ({error.strerror or error})",
                hint="results go into the plate: get write permission or copy it",
            ) from error
        raise WriteError(f"cannot write {target}: {error.strerror or error}") from error


def check_key(key: str) -> str:
    """Return a key as it came, if it is one that stays below its root.

    Raises
    ------
    PlateError
        It is absolute, or has empty, ``.`` or ``..`` parts.

    Examples
    --------
    >>> check_key("B/03/0/.zattrs")
    'B/03/0/.zattrs'
    """
    if not key or any(part in ("", ".", "..") for part in key.split("/")):
        raise PlateError(
            f"path {key!r} leaves the plate", hint="paths are relative, without . or .."
        )
    return key


@dataclass(frozen=True)
class Storage(ABC):
    """One root of bytes by key; small, picklable, opened anew by every worker from its URL.

    Parameters
    ----------
    url : str
        Absolute path of a folder, or ``s3://bucket/key``; it need not exist yet.
    """

    url: str

    @staticmethod
    def open(url: str | Path) -> Storage:
        """Return the storage of a local path or of ``s3://bucket/key``.

        Raises
        ------
        PlateError
            The URL names another protocol, no bucket and key, or s3fs is not installed.
        """
        text = str(url)
        protocol, colon, rest = text.partition("://")
        if not colon or protocol == "file":
            return LocalStorage(str(Path(rest if colon else text).absolute()))
        if protocol == "s3":
            # here, not at the top: s3fs is an extra, and slow to import
            from hcs.plate.s3 import S3Storage

            return S3Storage(f"s3://{rest.strip('/')}")
        raise PlateError(f"cannot open {text}", hint="give a local path or s3://bucket/key")

    @property
    def name(self) -> str:
        """Last part of the URL, without ``.zarr`` or ``.hcs``."""
        return PurePosixPath(self.url).name.removesuffix(".zarr").removesuffix(".hcs")

    def sibling(self, suffix: str) -> Storage:
        """Return the storage beside this one: its name with another ending.

        Examples
        --------
        >>> Storage.open("/data/demo.zarr").sibling(".hcs").url
        '/data/demo.hcs'
        """
        return Storage.open(f"{self.url.removesuffix('.zarr')}{suffix}")

    def digest(self, key: str) -> str:
        """Return the `content_digest` of a file, from its bytes as they are now."""
        return content_digest(self.read(key))

    @abstractmethod
    def read(self, key: str) -> bytes:
        """Return the content of a file; FileNotFoundError where there is none."""

    @abstractmethod
    def exists(self, key: str) -> bool:
        """Tell whether a file has this key."""

    @abstractmethod
    def contains(self, key: str) -> bool:
        """Tell whether a key, all symbolic links followed, lies below the root."""

    @abstractmethod
    def write(
        self, key: str, content: bytes, *, last_check: Callable[[], None] | None = None
    ) -> None:
        """Write or replace a file, whole or not at all; on return it is on the disk.

        `last_check` is called when only the publishing is left; what it raises prevents that.
        """

    @abstractmethod
    def create(self, key: str, content: bytes) -> bool:
        """Write a file if there is none: True for exactly one of several that try at once."""

    @abstractmethod
    def sizes(self, prefix: str = "") -> dict[str, int]:
        """Return the size in bytes of every file below, by key, sorted."""

    @abstractmethod
    def delete(self, prefix: str) -> None:
        """Delete a file, or a folder with all that is in it; nothing there is fine."""

    @abstractmethod
    def flush(self, keys: Iterable[str]) -> None:
        """Return when files that others wrote have reached the disk."""

    @abstractmethod
    def zarr_store(self, *, read_only: bool) -> Store:
        """Return the Zarr store of this root."""


class LocalStorage(Storage):
    """A folder on a disk."""

    def _path(self, key: str) -> Path:
        return Path(self.url, check_key(key))

    def read(self, key: str) -> bytes:
        """Return the content of a file; FileNotFoundError where there is none."""
        return self._path(key).read_bytes()

    def digest(self, key: str) -> str:
        """Return the `content_digest` of a file, read piece by piece: a shard can be large."""
        with self._path(key).open("rb") as file:
            return f"sha256:{hashlib.file_digest(file, 'sha256').hexdigest()}:{file.tell()}"

    def exists(self, key: str) -> bool:
        """Tell whether a file has this key."""
        return self._path(key).is_file()

    def contains(self, key: str) -> bool:
        """Tell whether a key, all symbolic links followed, lies below the root."""
        return self._path(key).resolve().is_relative_to(Path(self.url).resolve())

    def write(
        self, key: str, content: bytes, *, last_check: Callable[[], None] | None = None
    ) -> None:
        """Write or replace a file, whole or not at all; on return it is on the disk."""

        def publish(temporary: Path, path: Path) -> None:
            if last_check:
                last_check()
            temporary.replace(path)

        self._write_then(key, content, publish)

    def create(self, key: str, content: bytes) -> bool:
        """Write a file if there is none: True for exactly one of several that try at once."""
        try:
            self._write_then(key, content, _link_new)
        except WriteError as error:
            if isinstance(error.__cause__, FileExistsError):
                return False
            raise
        return True

    def _write_then(self, key: str, content: bytes, publish: Callable[[Path, Path], None]) -> None:
        path = self._path(key)
        temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex}{PARTIAL}")
        with write_errors(str(path)):
            path.parent.mkdir(parents=True, exist_ok=True)
            try:
                with temporary.open("xb") as file:
                    file.write(content)
                    file.flush()
                    os.fsync(file.fileno())
                publish(temporary, path)
            finally:
                temporary.unlink(missing_ok=True)
            _flush_to_disk(path.parent)

    def sizes(self, prefix: str = "") -> dict[str, int]:
        """Return the size in bytes of every file below, by key, sorted."""
        root = Path(self.url)
        top = root / check_key(prefix) if prefix else root
        if top.is_file():
            return {prefix: top.stat().st_size}
        found = {}
        for folder, _, names in os.walk(top):
            for name in names:
                path = Path(folder, name)
                # a temporary file may be renamed away while we look
                with suppress(FileNotFoundError):
                    found[path.relative_to(root).as_posix()] = path.stat().st_size
        return dict(sorted(found.items()))

    def delete(self, prefix: str) -> None:
        """Delete a file, or a folder with all that is in it; nothing there is fine."""
        path = self._path(prefix)
        with write_errors(str(path)):
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            else:
                path.unlink(missing_ok=True)

    def flush(self, keys: Iterable[str]) -> None:
        """Return when files that others wrote, and their names, have reached the disk."""
        paths = [self._path(key) for key in keys]
        folders = sorted({path.parent for path in paths})
        with write_errors(self.url), ThreadPoolExecutor(_FLUSH_THREADS) as threads:
            for step in (paths, folders):
                list(threads.map(_flush_to_disk, step))

    def zarr_store(self, *, read_only: bool) -> Store:
        """Return the Zarr store of this folder."""
        return zarr.storage.LocalStore(self.url, read_only=read_only)


def _flush_to_disk(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _link_new(temporary: Path, path: Path) -> None:
    try:
        os.link(temporary, path)
    except OSError as error:
        if error.errno not in _NO_LINKS:
            raise
        # still one winner, but a reader may meet it half written
        with path.open("xb") as file:
            file.write(temporary.read_bytes())
            file.flush()
            os.fsync(file.fileno())
