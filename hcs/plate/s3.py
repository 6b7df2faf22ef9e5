"""Storage on S3 and what speaks its protocol; endpoint and credentials come from the environment.

The extra ``s3`` brings s3fs. A put is atomic and durable when it returns, so there is no
temporary file, and nothing to flush.
"""

from __future__ import annotations

import atexit
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING

import zarr.storage
from zarr.core.sync import sync

from hcs.errors import PlateError
from hcs.plate.storage import Storage, check_key, read_errors, write_errors

try:
    import s3fs
    from botocore.exceptions import BotoCoreError
except ImportError as error:
    raise PlateError(
        "plates on s3:// need the package s3fs, which is not installed",
        hint="pip install 'hcs[s3]'",
    ) from error

if TYPE_CHECKING:
    from zarr.abc.store import Store


@contextmanager
def connection_errors(url: str) -> Iterator[None]:
    """Turn a server that cannot be reached into an error that says what to check.

    Raises
    ------
    PlateError
        Naming the URL.
    """
    try:
        yield
    except BotoCoreError as error:
        raise PlateError(
            f"cannot reach {url}: {error}",
            hint="check AWS_ENDPOINT_URL, AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY",
        ) from error


def s3_files() -> s3fs.S3FileSystem:
    """Return the file system of all buckets; s3fs keeps one per process."""
    # cached listings would hide what others write
    return s3fs.S3FileSystem(use_listings_cache=False)


@dataclass(frozen=True)
class S3Storage(Storage):
    """A prefix in a bucket."""

    def __post_init__(self) -> None:
        """Check that there is a bucket and a key in it."""
        bucket, _, key = self._root.partition("/")
        if not bucket or not key:
            raise PlateError(f"{self.url} is no plate", hint="write it like s3://bucket/demo.zarr")

    @property
    def _root(self) -> str:
        return self.url.removeprefix("s3://")

    @property
    def _files(self) -> s3fs.S3FileSystem:
        return s3_files()

    def _path(self, key: str) -> str:
        return f"{self._root}/{check_key(key)}"

    def read(self, key: str) -> bytes:
        """Return the content of a file; FileNotFoundError where there is none."""
        with read_errors(f"{self.url}/{key}"), connection_errors(self.url):
            content: bytes = self._files.cat_file(self._path(key))
        return content

    def exists(self, key: str) -> bool:
        """Tell whether a file has this key."""
        with connection_errors(self.url):
            found: bool = self._files.isfile(self._path(key))
        return found

    def contains(self, key: str) -> bool:
        """Tell whether a key lies below the root: S3 has no symbolic links."""
        return bool(check_key(key))

    def write(
        self, key: str, content: bytes, *, last_check: Callable[[], None] | None = None
    ) -> None:
        """Write or replace a file, whole or not at all; on return it is durable."""
        path = self._path(key)
        if last_check:
            last_check()
        with write_errors(f"{self.url}/{key}"), connection_errors(self.url):
            self._files.pipe_file(path, content)

    def write_unflushed(self, files: Mapping[str, bytes]) -> None:
        """Write or replace files, each whole or not at all, several at once."""
        with write_errors(self.url), connection_errors(self.url):
            self._files.pipe({self._path(key): content for key, content in files.items()})

    def create(self, key: str, content: bytes) -> bool:
        """Write a file if there is none: True for exactly one of several that try at once."""
        path = self._path(key)
        with write_errors(f"{self.url}/{key}"), connection_errors(self.url):
            try:
                # If-None-Match: the server decides
                self._files.pipe_file(path, content, mode="create")
            except FileExistsError:
                return False
        return True

    def sizes(self, prefix: str = "") -> dict[str, int]:
        """Return the size in bytes of every file below, by key, sorted."""
        top = self._path(prefix) if prefix else self._root
        with connection_errors(self.url):
            found = self._files.find(top, detail=True)
        start = len(self._root) + 1
        return {name[start:]: int(found[name]["size"]) for name in sorted(found)}

    def delete(self, prefix: str) -> None:
        """Delete a file, or all files below a prefix; nothing there is fine."""
        with write_errors(f"{self.url}/{prefix}"), connection_errors(self.url):
            paths = self._files.find(self._path(prefix))
            if paths:
                self._files.rm(paths)

    def remove(self) -> None:
        """Delete all files of the prefix; nothing there is fine."""
        with write_errors(self.url), connection_errors(self.url):
            paths = self._files.find(self._root)
            if paths:
                self._files.rm(paths)

    def flush(self, keys: Iterable[str]) -> None:
        """Do nothing: a put is durable when it returns."""

    def leftovers(self, folders: Iterable[str]) -> list[str]:
        """Return nothing: a killed put leaves no file."""
        return []

    def zarr_store(self, *, read_only: bool) -> Store:
        """Return the Zarr store of this prefix."""
        files = _files_for_zarr(os.getpid())
        return zarr.storage.FsspecStore(files, path=self._root, read_only=read_only)


@cache
def _files_for_zarr(process: int) -> s3fs.S3FileSystem:
    """Return the file system that Zarr's event loop uses, one per process."""
    files = s3fs.S3FileSystem(use_listings_cache=False, asynchronous=True)
    # s3fs closes only the sessions of its own loop: the others would complain at exit
    atexit.register(_close_session, files)
    return files


def _close_session(files: s3fs.S3FileSystem) -> None:
    session = getattr(files, "_s3creator", None)
    if session:
        sync(session.__aexit__(None, None, None))
