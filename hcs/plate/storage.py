"""One root folder of bytes by key, on a local disk or on S3.

Everything but pixels goes through here (markers, lock, tables, manifests); pixels go through the
Zarr store of the same root. A reader never sees half a file: a local write is a temporary file,
flushed and renamed; an S3 write is one put.
"""

from __future__ import annotations

import errno
import hashlib
import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from hcs.errors import PlateError, StorageError, WriteError

if TYPE_CHECKING:
    from zarr.abc.store import Store

# a name on any file system; and what is in none that means well: Windows' separator, control
# characters, halves of characters
_LONGEST_NAME = 255
_NO_NAME = re.compile(r"[\\\x00-\x1f\x7f\ud800-\udfff]")
# in no path of any system; \udc80 to \udcff stand for bytes of names that are not UTF-8
_NO_PATH = re.compile(r"[\x00\ud800-\udc7f\udd00-\udfff]")
_SECRET = re.compile(r"\w+://([^/]*@|[^?]*\?[^/]*=)")
# what temporary files end in, ours as zarr's own: leftovers of a killed writer
PARTIAL = ".partial"
_FULL = (errno.ENOSPC, errno.EDQUOT)
_IN_THE_WAY = (FileExistsError, IsADirectoryError, NotADirectoryError)
_FORBIDDEN = (errno.EROFS, errno.EACCES, errno.EPERM)
# what is so stays so, however often one looks
_NEVER_READABLE = (errno.EISDIR, errno.ELOOP, errno.ENAMETOOLONG)
_LOOK_AT_IT = (
    "look at the disk, the network or the server, then run again: what is finished is kept"
)


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
        The disk is full, the target is read-only, or no file can be there.
    StorageError
        What else the system says: it may pass.

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
        if _is_forbidden(error):
            raise WriteError(
                f"cannot write {target}: it is read-only ({error.strerror or error})",
                hint="results go into the plate: get write permission, or have them put into a "
                "plate of their own: hcs run --output PLATE",
            ) from error
        if isinstance(error, _IN_THE_WAY):
            raise WriteError(
                f"cannot write {target}: something is in the way ({error.strerror})",
                hint="look at it, move it away, and run again",
            ) from error
        raise StorageError(
            f"cannot write {target}: {error.strerror or error}", hint=_LOOK_AT_IT
        ) from error


@contextmanager
def read_errors(target: str) -> Iterator[None]:
    """Turn the operating system's errors inside the block into one that names the target.

    Raises
    ------
    FileNotFoundError
        There is no such file.
    PlateError
        It cannot be read: no permission, or no file.
    StorageError
        What else the system says, a bad disk, a lost connection: it may pass.
    """
    try:
        yield
    except (FileNotFoundError, NotADirectoryError) as error:
        raise FileNotFoundError(errno.ENOENT, "no such file", target) from error
    except OSError as error:
        text = f"cannot read {target}: {error.strerror or error}"
        if _is_forbidden(error):
            raise PlateError(text, hint="get read permission") from error
        if error.errno in _NEVER_READABLE:
            raise PlateError(text) from error
        raise StorageError(text, hint=_LOOK_AT_IT) from error


def _is_forbidden(error: OSError) -> bool:
    # a server's refusal has no number
    return error.errno in _FORBIDDEN or isinstance(error, PermissionError)


def check_key(key: str) -> str:
    """Return a key as it came, if it is one that stays below its root.

    Raises
    ------
    PlateError
        It is absolute, has empty, ``.`` or ``..`` parts, or parts that are no names of files.

    Examples
    --------
    >>> check_key("B/03/0/.zattrs")
    'B/03/0/.zattrs'
    """
    if not key or any(part in ("", ".", "..") for part in key.split("/")):
        raise PlateError(
            f"path {key!r} leaves the plate", hint="paths are relative, without . or .."
        )
    longest = max(len(part.encode(errors="replace")) for part in key.split("/"))
    if _NO_NAME.search(key) or longest > _LONGEST_NAME:
        raise PlateError(
            f"path {key[:_LONGEST_NAME]!r} holds what is no name of a file",
            hint="names have up to 255 bytes, no backslash and no control characters",
        )
    return key


def check_url(url: str) -> str:
    """Return a URL as it came, if it is one, and no secret: a plate's is written into many places.

    Raises
    ------
    PlateError
        It holds a user, a password or a query, as signed URLs do, or what no path holds.
    """
    if _NO_PATH.search(url):
        raise PlateError(f"{url!r} holds what is in no path", hint="take NUL and the like out")
    if _SECRET.match(url):
        raise PlateError(
            f"the URL of a plate holds no password and no query: {url}",
            hint="give it without; keys come from the environment, AWS_ACCESS_KEY_ID and so on",
        )
    return url


def check_size(content: bytes, most: int | None, where: str) -> bytes:
    """Return what was read of a file; PlateError where it is more than allowed."""
    if most is not None and len(content) > most:
        raise PlateError(f"{where} has more than {most} bytes, which is too much for what it is")
    return content


def _open_to_all() -> None:
    """Let everything pass."""


@dataclass(frozen=True)
class Storage(ABC):
    """One root of bytes by key; small, picklable, opened anew by every worker from its URL.

    Parameters
    ----------
    url : str
        Absolute path of a folder, or ``s3://bucket/key``; it need not exist yet.
    fence : callable
        Called before each change, when nothing but the change itself is left to do; what it raises
        prevents that (`hcs.plate.fence`).
    """

    url: str
    fence: Callable[[], None] = field(default=_open_to_all, compare=False, repr=False)

    @staticmethod
    def open(url: str | Path) -> Storage:
        """Return the storage of a local path or of ``s3://bucket/key``.

        Raises
        ------
        PlateError
            The URL names another protocol, no bucket and key, or s3fs is not installed.
        """
        text = check_url(str(url))
        protocol, colon, rest = text.partition("://")
        if not colon or protocol == "file":
            from hcs.plate.local import LocalStorage

            return LocalStorage(str(Path(rest if colon else text).absolute()))
        if protocol == "s3":
            # s3fs is an extra
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
        if "/" in suffix:
            # an image product is named after its step, which a file beside the plate may tell
            raise PlateError(f"{suffix!r} ends no name of a file")
        beside = Storage.open(f"{self.url.removesuffix('.zarr')}{suffix}")
        return beside.fenced(self.fence)

    def fenced(self, fence: Callable[[], None]) -> Storage:
        """Return the same storage with another fence."""
        return replace(self, fence=fence)

    def guarded(self, store: Store) -> Store:
        """Return the Zarr store of this root so that its changes pass the fence, too."""
        if store.read_only or self.fence is _open_to_all:
            return store
        # zarr is slow to import
        from hcs.plate.fenced import FencedStore

        return FencedStore(store, self)

    def digest(self, key: str) -> str:
        """Return the `content_digest` of a file, from its bytes as they are now."""
        return content_digest(self.read(key))

    @abstractmethod
    def read(self, key: str, most: int | None = None) -> bytes:
        """Return the content of a file; FileNotFoundError where there is none.

        PlateError where it has more bytes than `most`; no more are read.
        """

    @abstractmethod
    def exists(self, key: str) -> bool:
        """Tell whether a file has this key."""

    @abstractmethod
    def is_there(self) -> bool:
        """Tell whether there is anything at the root."""

    @abstractmethod
    def check_inside(self, key: str) -> None:
        """Raise PlateError unless a key, all links followed, is a plain file here, or nothing."""

    @abstractmethod
    def write(
        self, key: str, content: bytes, *, last_check: Callable[[], None] | None = None
    ) -> None:
        """Write or replace a file, whole or not at all; on return it is on the disk.

        `last_check` is called when only the publishing is left; what it raises prevents that.
        """

    @abstractmethod
    def write_unflushed(self, files: Mapping[str, bytes]) -> None:
        """Write or replace files, each whole or not at all, in order; `flush` is to follow."""

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
    def remove(self) -> None:
        """Delete the root itself, with all that is in it; nothing there is fine."""

    @abstractmethod
    def flush(self, keys: Iterable[str]) -> None:
        """Return when files that others wrote have reached the disk."""

    @abstractmethod
    def leftovers(self, folders: Iterable[str], *, rested_s: float = 0) -> list[str]:
        """Return temporary files of killed writers in folders, given as glob patterns, sorted.

        Where others may be writing: those only that nobody wrote to for `rested_s`.
        """

    @abstractmethod
    def zarr_store(self, *, read_only: bool) -> Store:
        """Return the Zarr store of this root."""
