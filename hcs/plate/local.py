"""Storage in a folder of a local or mounted disk."""

from __future__ import annotations

import errno
import hashlib
import logging
import os
import shutil
import stat
import time
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from itertools import accumulate, islice
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from hcs.errors import HcsError, PlateError
from hcs.plate.storage import (
    PARTIAL,
    Storage,
    check_key,
    check_size,
    read_errors,
    write_errors,
)
from hcs.plate.threads import THREADS

if TYPE_CHECKING:
    from zarr.abc.store import Store

_Found = TypeVar("_Found")

logger = logging.getLogger(__name__)

# what a disk, or the network before it, says when it may answer in a moment; ours are read and
# written whole, so that each can be tried again
PASSING = (errno.EIO, errno.ESTALE, errno.ETIMEDOUT, errno.EREMOTEIO)
PAUSES_S = (0.1, 0.4, 1.5)
# file systems without hard links (SMB, some FUSE) answer one of these
_NO_LINKS = (errno.EPERM, errno.ENOTSUP, errno.ENOSYS, errno.EMLINK)


class LocalStorage(Storage):
    """A folder on a disk."""

    def _path(self, key: str) -> Path:
        """Return where a file is written or deleted: a link there is not followed."""
        path = Path(self.url, check_key(key))
        self._check(path.parent)
        return path

    def _file(self, key: str) -> Path:
        """Return where a file is read."""
        path = Path(self.url, check_key(key))
        self._check(path)
        return path

    def _check(self, path: Path) -> None:
        if not _is_below(path, Path(self.url)):
            raise PlateError(
                f"{path} is a link that leaves the plate {self.name}",
                hint="put what it points to in its place, or remove it",
            )

    def check_inside(self, key: str) -> None:
        """Raise PlateError unless a key, all links followed, is a plain file here, or nothing."""
        path = self._file(key)
        with suppress(OSError):
            # what the system says to it is told where it is read
            _plain(path)

    def sibling(self, suffix: str) -> Storage:
        """Return the storage beside this one; PlateError where a link stands there."""
        beside = super().sibling(suffix)
        if Path(beside.url).is_symlink():
            raise PlateError(
                f"{beside.url} is a link, and hcs writes there",
                hint="remove it; to write elsewhere: hcs run --output PLATE",
            )
        return beside

    def read(self, key: str, most: int | None = None) -> bytes:
        """Return the content of a file; FileNotFoundError where there is none."""
        path = self._file(key)
        with read_errors(str(path)):
            return check_size(_patiently(lambda: _read(path, most), path), most, str(path))

    def digest(self, key: str) -> str:
        """Return the `content_digest` of a file, read piece by piece: a shard can be large."""
        path = self._file(key)
        with read_errors(str(path)):
            return _patiently(lambda: _digest(path), path)

    def exists(self, key: str) -> bool:
        """Tell whether a file has this key."""
        path = self._file(key)
        with read_errors(str(path)):
            return _patiently(path.is_file, path)

    def is_there(self) -> bool:
        """Tell whether there is anything at the root."""
        root = Path(self.url)
        with read_errors(self.url):
            return _patiently(root.exists, root)

    def write(
        self, key: str, content: bytes, *, last_check: Callable[[], None] | None = None
    ) -> None:
        """Write or replace a file, whole or not at all; on return it is on the disk."""
        with self._staged(key, content, os.fsync) as (temporary, path):
            (last_check or self.fence)()
            _patiently(lambda: temporary.replace(path), path)
        with write_errors(str(path)):
            _flush_to_disk(path.parent)

    def write_unflushed(self, files: Mapping[str, bytes]) -> None:
        """Write or replace files, each whole or not at all, in order; `flush` is to follow."""
        for key, content in files.items():
            with self._staged(key, content) as (temporary, path):
                self.fence()
                _patiently(lambda: temporary.replace(path), path)

    def create(self, key: str, content: bytes) -> bool:
        """Write a file if there is none: True for exactly one of several that try at once."""
        with self._staged(key, content, os.fsync) as (temporary, path):
            self.fence()
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
            try:
                _patiently(lambda: _write(temporary, content, flush), path)
                yield temporary, path
            finally:
                temporary.unlink(missing_ok=True)

    def sizes(self, prefix: str = "") -> dict[str, int]:
        """Return the size in bytes of every file below, by key, sorted."""
        root = Path(self.url)
        top = self._file(prefix) if prefix else root
        with read_errors(str(top)):
            return _patiently(lambda: _sizes(root, top), top)

    def delete(self, prefix: str) -> None:
        """Delete a file, or a folder with all that is in it; nothing there is fine."""
        path = self._path(prefix)
        self.fence()
        with write_errors(str(path)):
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            else:
                self._unlink(path)

    def _unlink(self, path: Path) -> None:
        """Delete a file, and give it back where a stop came before and a takeover with it."""
        aside = path.with_name(f".{path.name.removeprefix('.')}.{uuid.uuid4().hex}{PARTIAL}")
        try:
            path.rename(aside)
        except (FileNotFoundError, NotADirectoryError):
            return
        try:
            self.fence()
        except HcsError:
            with suppress(FileExistsError):
                _link_new(aside, path)
            raise
        finally:
            aside.unlink(missing_ok=True)

    def remove(self) -> None:
        """Delete the folder itself, with all that is in it; nothing there is fine."""
        self.fence()
        with write_errors(self.url), suppress(FileNotFoundError):
            shutil.rmtree(self.url)

    def flush(self, keys: Iterable[str]) -> None:
        """Return when files that others wrote, and their names, have reached the disk."""
        paths = [self._path(key) for key in keys]
        folders = sorted({path.parent for path in paths})
        with write_errors(self.url):
            for step in (paths, folders):
                list(THREADS.map(_flush_to_disk, step))

    def leftovers(self, folders: Iterable[str], *, rested_s: float = 0) -> list[str]:
        """Return temporary files of killed writers in folders, given as glob patterns, sorted.

        A pattern may name such files themselves. Where others may be writing: those only that
        nobody wrote to for `rested_s`.
        """
        root = Path(self.url)
        tops = [
            top for folder in folders for top in (root.glob(folder) if folder != "." else [root])
        ]
        # a link out of the plate leads to files of others
        inside = [top for top in tops if _is_below(top, root)]
        found = {path for top in inside for path in top.glob(f"**/*{PARTIAL}")}
        found |= {top for top in inside if top.name.endswith(PARTIAL)}
        dead = (path for path in found if not rested_s or _age_s(path) >= rested_s)
        return sorted(path.relative_to(root).as_posix() for path in dead)

    def zarr_store(self, *, read_only: bool) -> Store:
        """Return the Zarr store of this folder."""
        # markers and locks need no zarr, which is slow to import
        from hcs.plate.checked import CheckedStore
        from hcs.plate.patient import PatientStore

        return self.guarded(CheckedStore(PatientStore(self.url, read_only=read_only), self))


def _age_s(path: Path) -> float:
    """Return for how long nobody wrote to a file; 0 where it is gone."""
    try:
        return time.time() - path.lstat().st_mtime
    except FileNotFoundError:
        return 0.0


def _is_below(path: Path, root: Path) -> bool:
    """Tell whether a path that starts with a root leads to somewhere below it, links followed."""
    # as text: each file that is read comes by here, and paths are slow
    names = str(path).removeprefix(str(root)).split("/")[1:]
    steps = accumulate(names, "{}/{}".format, initial=str(root))
    if not any(map(os.path.islink, islice(steps, 1, None))):
        return True
    # not by Path.resolve, which raises on links that go round
    return Path(os.path.realpath(path)).is_relative_to(os.path.realpath(root))


def _patiently(act: Callable[[], _Found], path: Path) -> _Found:
    """Do what may fail for a moment, up to four times."""
    for pause in PAUSES_S:
        try:
            return act()
        except OSError as error:
            if error.errno not in PASSING:
                raise
            logger.warning("%s is tried again: %s", path, error.strerror)
            time.sleep(pause)
    return act()


def _read(path: Path, most: int | None) -> bytes:
    with _plain(path).open("rb") as file:
        return file.read(-1 if most is None else most + 1)


def _digest(path: Path) -> str:
    with _plain(path).open("rb") as file:
        return f"sha256:{hashlib.file_digest(file, 'sha256').hexdigest()}:{file.tell()}"


def _write(path: Path, content: bytes, flush: Callable[[int], None] | None) -> None:
    """Write a file from its beginning: what a failed flush left out, no later one brings back."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as file:
        file.write(content)
        if flush:
            file.flush()
            flush(file.fileno())


def _sizes(root: Path, top: Path) -> dict[str, int]:
    if top.is_file():
        return {top.relative_to(root).as_posix(): top.stat().st_size}
    found = {}
    # as text: there are many, and paths are slow
    before = len(f"{root}/")
    for folder, _, names in os.walk(top, onerror=_not_silently):
        for name in names:
            path = f"{folder}/{name}"
            # a temporary file may be renamed away while we look
            with suppress(FileNotFoundError), _no_loop():
                found[path[before:]] = os.stat(path).st_size  # noqa: PTH116
    return dict(sorted(found.items()))


def _not_silently(error: OSError) -> None:
    """Raise what would leave a folder out of a listing, but for one that is gone."""
    if not isinstance(error, FileNotFoundError | NotADirectoryError):
        raise error


def _plain(path: Path) -> Path:
    """Return a path, unless reading there would wait for ever, or never end."""
    mode = path.stat().st_mode
    if not stat.S_ISREG(mode) and not stat.S_ISDIR(mode):
        raise PlateError(f"{path} is no plain file", hint="remove it")
    return path


@contextmanager
def _no_loop() -> Iterator[None]:
    """Take a link that leads to itself for a file that is not there."""
    try:
        yield
    except OSError as error:
        if error.errno != errno.ELOOP:
            raise


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
