"""Storage in a folder of a local or mounted disk."""

from __future__ import annotations

import errno
import hashlib
import os
import shutil
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from hcs.plate.storage import PARTIAL, Storage, check_key, read_errors, write_errors

if TYPE_CHECKING:
    from zarr.abc.store import Store

# fsync waits for the disk, not for the processor: several at once share one journal commit
_FLUSH_THREADS = 8
# file systems without hard links (SMB, some FUSE) answer one of these
_NO_LINKS = (errno.EPERM, errno.ENOTSUP, errno.ENOSYS, errno.EMLINK)


class LocalStorage(Storage):
    """A folder on a disk."""

    def _path(self, key: str) -> Path:
        return Path(self.url, check_key(key))

    def read(self, key: str) -> bytes:
        """Return the content of a file; FileNotFoundError where there is none."""
        path = self._path(key)
        with read_errors(str(path)):
            return path.read_bytes()

    def digest(self, key: str) -> str:
        """Return the `content_digest` of a file, read piece by piece: a shard can be large."""
        path = self._path(key)
        with read_errors(str(path)), path.open("rb") as file:
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
        with self._staged(key, content, os.fsync) as (temporary, path):
            if last_check:
                last_check()
            temporary.replace(path)
        with write_errors(str(path)):
            _flush_to_disk(path.parent)

    def write_unflushed(self, files: Mapping[str, bytes]) -> None:
        """Write or replace files, each whole or not at all, in order; `flush` is to follow."""
        for key, content in files.items():
            with self._staged(key, content) as (temporary, path):
                temporary.replace(path)

    def create(self, key: str, content: bytes) -> bool:
        """Write a file if there is none: True for exactly one of several that try at once."""
        with self._staged(key, content, os.fsync) as (temporary, path):
            try:
                _link_new(temporary, path)
            except FileExistsError:
                return False
        with write_errors(str(path)):
            _flush_to_disk(path.parent)
        return True

    @contextmanager
    def _staged(
        self, key: str, content: bytes, flush: Callable[[int], None] | None = None
    ) -> Iterator[tuple[Path, Path]]:
        """Write a temporary file beside the path of a key; it is gone after the block."""
        path = self._path(key)
        temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex}{PARTIAL}")
        with write_errors(str(path)):
            path.parent.mkdir(parents=True, exist_ok=True)
            try:
                with temporary.open("xb") as file:
                    file.write(content)
                    if flush:
                        file.flush()
                        flush(file.fileno())
                yield temporary, path
            finally:
                temporary.unlink(missing_ok=True)

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

    def remove(self) -> None:
        """Delete the folder itself, with all that is in it; nothing there is fine."""
        with write_errors(self.url), suppress(FileNotFoundError):
            shutil.rmtree(self.url)

    def flush(self, keys: Iterable[str]) -> None:
        """Return when files that others wrote, and their names, have reached the disk."""
        paths = [self._path(key) for key in keys]
        folders = sorted({path.parent for path in paths})
        with write_errors(self.url), ThreadPoolExecutor(_FLUSH_THREADS) as threads:
            for step in (paths, folders):
                list(threads.map(_flush_to_disk, step))

    def leftovers(self, folders: Iterable[str]) -> list[str]:
        """Return temporary files of killed writers in folders, given as glob patterns, sorted."""
        root = Path(self.url)
        found = {path for folder in folders for path in root.glob(f"{folder}/**/*{PARTIAL}")}
        return sorted(path.relative_to(root).as_posix() for path in found)

    def zarr_store(self, *, read_only: bool) -> Store:
        """Return the Zarr store of this folder."""
        # markers and locks need no zarr, which is slow to import
        from zarr.storage import LocalStore

        return LocalStore(self.url, read_only=read_only)


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
