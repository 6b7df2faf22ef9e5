"""Storage on S3 and what speaks its protocol; endpoint and credentials come from the environment.

The extra ``s3`` brings s3fs. A put is atomic and durable when it returns, so there is no
temporary file, and nothing to flush. Requests that fail for a moment are repeated by botocore
(``AWS_MAX_ATTEMPTS``) and s3fs; one that stands still is given up after 15 s.
"""

from __future__ import annotations

import asyncio
import atexit
import errno
import os
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any

import zarr.storage
from zarr.core.sync import sync

from hcs.errors import PlateError, StorageError
from hcs.plate.checked import CheckedStore
from hcs.plate.storage import Storage, check_key, check_size, read_errors, write_errors

try:
    import s3fs
    from aiobotocore.httpsession import AIOHTTPSession
    from aiohttp import ClientError as BrokenTransferError
    from botocore.exceptions import BotoCoreError, FlexibleChecksumError
    from botocore.parsers import ResponseParserError
except ImportError as error:
    raise PlateError(
        "plates on s3:// need the package s3fs, which is not installed",
        hint="pip install 'hcs[s3]'",
    ) from error

if TYPE_CHECKING:
    from zarr.abc.store import Store

# a request with all its repetitions, seconds: the timeout of its connection does not run while a
# body is being sent, and a server that reads no further would be waited for for ever
LONGEST_S = 600.0
# who made an object, where several try at once
_MAKER = "hcs-maker"
# how often a file is put that others change meanwhile
_TRIES = 5
# Conflict, while another put of the same key is under way, and Precondition Failed
_REFUSALS = (409, 412)


@contextmanager
def _as_os_errors() -> Iterator[None]:
    """Let a server that does not answer, or not to the end, look like a disk that does not."""
    try:
        yield
    except TimeoutError as error:
        raise ConnectionError(errno.EIO, str(error) or "no answer in time") from error
    except (BotoCoreError, BrokenTransferError, ResponseParserError) as error:
        raise ConnectionError(errno.EIO, str(error)) from error


class _PromptSession(AIOHTTPSession):  # type: ignore[misc]
    """Requests that do not ask whether their body is welcome, as botocore has each put do.

    aiohttp's read timeout runs neither while it waits for the server's word (100 Continue), nor
    any more after a second one: seen to stand still for ever.
    """

    async def send(self, request: Any) -> Any:  # noqa: ANN401
        request.headers.pop("Expect", None)
        return await super().send(request)


class S3Files(s3fs.S3FileSystem):  # type: ignore[misc]
    """The files of all buckets; whatever fails is an OSError."""

    # each time botocore gave up, which repeats by itself
    retries = 3

    def _prepare_config_kwargs(self) -> dict[str, Any]:
        return {**super()._prepare_config_kwargs(), "http_session_cls": _PromptSession}

    async def _call_s3(self, method: str, *given: Any, **named: Any) -> Any:  # noqa: ANN401
        for _ in range(self.retries):
            with _as_os_errors():
                async with asyncio.timeout(LONGEST_S):
                    answer = await super()._call_s3(method, *given, **named)
            if not _is_cut(answer):
                break
            answer["Body"].close()
        else:
            raise ConnectionError(errno.EIO, "the server sends less than it says")
        if method == "delete_objects" and answer.get("Errors"):
            # s3fs goes over them in silence
            first = answer["Errors"][0]
            raise OSError(errno.EIO, f"{first.get('Key')}: {first.get('Message')}")
        return answer

    async def _cat_file(self, path: str, **options: Any) -> bytes:  # noqa: ANN401
        # the body comes after the answer
        with _as_os_errors():
            async with asyncio.timeout(2 * LONGEST_S):
                content: bytes = await super()._cat_file(path, **options)
        return content


def _is_cut(answer: Mapping[str, Any]) -> bool:
    """Tell whether an answer is shorter than the part of a file that it says it is.

    Examples
    --------
    >>> _is_cut({"ContentRange": "bytes 0-99/500", "ContentLength": 100})
    False
    >>> _is_cut({"ContentRange": "bytes 0-99/500", "ContentLength": 50})
    True
    """
    first, _, last = answer.get("ContentRange", "").removeprefix("bytes ").partition("-")
    stop = last.partition("/")[0]
    return bool(stop) and answer["ContentLength"] != int(stop) - int(first) + 1


def _is_refused(error: OSError) -> bool:
    """Tell whether the server made nothing of a put because of its condition."""
    # the error of s3fs names the condition only where the server does, as not all do
    answer = getattr(error.__cause__, "response", {})
    return answer.get("ResponseMetadata", {}).get("HTTPStatusCode") in _REFUSALS


# whole files come with a checksum, if the server keeps one
s3fs.core.add_retryable_error(FlexibleChecksumError)


def s3_files() -> S3Files:
    """Return the file system of all buckets; s3fs keeps one per process."""
    # cached listings would hide what others write
    return S3Files(use_listings_cache=False)


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
    def _files(self) -> S3Files:
        return s3_files()

    def _path(self, key: str) -> str:
        return f"{self._root}/{check_key(key)}"

    def read(self, key: str, most: int | None = None) -> bytes:
        """Return the content of a file; FileNotFoundError where there is none."""
        path, where = self._path(key), f"{self.url}/{key}"
        with read_errors(where):
            content = self._files.cat_file(path) if most is None else self._begin(path, most + 1)
        return check_size(content, most, where)

    def _begin(self, path: str, n_bytes: int) -> bytes:
        """Return the first bytes of a file, all of a shorter one."""
        try:
            content: bytes = self._files.cat_file(path, end=n_bytes)
        except OSError as error:
            # to a server, a file without bytes has no such range
            if error.errno == errno.EINVAL and self._files.size(path) == 0:
                return b""
            raise
        return content

    def exists(self, key: str) -> bool:
        """Tell whether a file has this key."""
        try:
            # not by s3fs's `isfile`, which takes a server that is gone for a file that is
            with read_errors(f"{self.url}/{key}"):
                return bool(self._files.info(self._path(key))["type"] == "file")
        except FileNotFoundError:
            return False

    def is_there(self) -> bool:
        """Tell whether there is anything at the root, or at least one file below."""
        try:
            with read_errors(self.url):
                return bool(self._files.info(self._root))
        except FileNotFoundError:
            return False

    def check_inside(self, key: str) -> None:
        """Raise PlateError unless a key lies below the root: S3 has no symbolic links."""
        check_key(key)

    def write(
        self, key: str, content: bytes, *, last_check: Callable[[], None] | None = None
    ) -> None:
        """Write or replace a file, whole or not at all; on return it is durable.

        With `last_check`, only in place of what was there when that let it pass: a put may be on
        its way for `LONGEST_S`, and others may have written meanwhile.

        Raises
        ------
        StorageError
            Others changed it again and again, or the server says so.
        """
        path = self._path(key)
        if last_check:
            self._write_as_seen(path, content, last_check)
            return
        self.fence()
        with write_errors(f"{self.url}/{key}"):
            self._files.pipe_file(path, content)

    def _write_as_seen(self, path: str, content: bytes, last_check: Callable[[], None]) -> None:
        # nothing, to begin with: a step's marker is taken away before its first byte changes
        seen = ""
        for _ in range(_TRIES):
            last_check()
            with write_errors(f"s3://{path}"):
                if self._put_over(path, content, seen):
                    return
                seen, now = self._look(path)
            if now == content:
                # it is ours: the answer was lost, and botocore asked again
                return
        raise StorageError(
            f"cannot write s3://{path}: others change it again and again",
            hint="see that one run at a time has the plate, then run again",
        )

    def _put_over(self, path: str, content: bytes, seen: str) -> bool:
        """Put a file in place of the one with a tag, or of none: False where that has changed."""
        condition = {"IfMatch": seen} if seen else {"IfNoneMatch": "*"}
        try:
            # in one piece, whatever its size: a put in several has no condition
            self._files.pipe_file(path, content, chunksize=len(content) + 1, **condition)
        except OSError as error:
            if _is_refused(error) or (seen and isinstance(error, FileNotFoundError)):
                return False
            raise
        return True

    def _look(self, path: str) -> tuple[str, bytes | None]:
        """Return the tag and the content of a file; nothing where there is none."""
        try:
            return str(self._files.info(path).get("ETag", "")), self._files.cat_file(path)
        except FileNotFoundError:
            return "", None

    def write_unflushed(self, files: Mapping[str, bytes]) -> None:
        """Write or replace files, each whole or not at all, several at once."""
        self.fence()
        with write_errors(self.url):
            self._files.pipe({self._path(key): content for key, content in files.items()})

    def create(self, key: str, content: bytes) -> bool:
        """Write a file if there is none: True for exactly one of several that try at once."""
        path, maker = self._path(key), uuid.uuid4().hex
        self.fence()
        with write_errors(f"{self.url}/{key}"):
            try:
                # If-None-Match: the server decides
                self._files.pipe_file(path, content, mode="create", Metadata={_MAKER: maker})
            except OSError as error:
                if not _is_refused(error):
                    raise
                # it may be ours: the answer was lost, and botocore asked again
                return bool(self._files.metadata(path).get(_MAKER) == maker)
        return True

    def sizes(self, prefix: str = "") -> dict[str, int]:
        """Return the size in bytes of every file below, by key, sorted."""
        top = self._path(prefix) if prefix else self._root
        with read_errors(f"s3://{top}"):
            found = self._files.find(top, detail=True)
        start = len(self._root) + 1
        return {name[start:]: int(found[name]["size"]) for name in sorted(found)}

    def delete(self, prefix: str) -> None:
        """Delete a file, or all files below a prefix; nothing there is fine."""
        self._delete(self._path(prefix))

    def remove(self) -> None:
        """Delete all files of the prefix; nothing there is fine."""
        self._delete(self._root)

    def _delete(self, path: str) -> None:
        self.fence()
        with write_errors(f"s3://{path}"):
            paths = self._files.find(path)
            if paths:
                self._files.rm(paths)

    def flush(self, keys: Iterable[str]) -> None:
        """Do nothing: a put is durable when it returns."""

    def leftovers(self, folders: Iterable[str], *, rested_s: float = 0) -> list[str]:
        """Return nothing: a killed put leaves no file."""
        return []

    def zarr_store(self, *, read_only: bool) -> Store:
        """Return the Zarr store of this prefix."""
        files = _files_for_zarr(os.getpid())
        store = zarr.storage.FsspecStore(files, path=self._root, read_only=read_only)
        return self.guarded(CheckedStore(store, self))


@cache
def _files_for_zarr(process: int) -> S3Files:
    """Return the file system that Zarr's event loop uses, one per process."""
    files = S3Files(use_listings_cache=False, asynchronous=True)
    # s3fs closes only the sessions of its own loop: the others would complain at exit
    atexit.register(_close_session, files)
    return files


def _close_session(files: S3Files) -> None:
    session = getattr(files, "_s3creator", None)
    if session:
        sync(session.__aexit__(None, None, None))
