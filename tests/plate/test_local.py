import errno
import io
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from hcs.errors import HcsError, PlateError, StorageError, WriteError
from hcs.plate.storage import Storage


def test_a_symbolic_link_out_of_the_root_is_seen(tmp_path: Path) -> None:
    storage = Storage.open(tmp_path / "demo.zarr")
    storage.write("B/a", b"")
    (tmp_path / "demo.zarr" / "C").symlink_to(tmp_path)
    storage.check_inside("B/a")
    storage.check_inside("B/not/yet")
    with pytest.raises(PlateError, match=r"C/a is a link that leaves the plate demo"):
        storage.check_inside("C/a")


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    (tmp_path / "demo.zarr" / "a").mkdir(parents=True)
    storage = Storage.open(tmp_path / "demo.zarr")
    for read in (storage.read, storage.digest):
        with pytest.raises(PlateError, match=r"cannot read .*demo.zarr/a: Is a directory"):
            read("a")


@pytest.mark.parametrize(
    ("number", "kind", "words"),
    [
        (errno.ENOSPC, WriteError, "no space left to write .*demo.zarr/a"),
        (errno.EDQUOT, WriteError, "no space left to write .*demo.zarr/a"),
        (errno.EROFS, WriteError, "demo.zarr/a: it is read-only .*get write permission"),
        (errno.EIO, StorageError, "demo.zarr/a: Input/output error .look at the disk"),
    ],
)
def test_a_failed_write_names_the_file_and_keeps_the_old_one(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    number: int,
    kind: type[HcsError],
    words: str,
) -> None:
    storage = Storage.open(tmp_path / "demo.zarr")
    storage.write("a", b"old")

    def fail(handle: int) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "fsync", fail)
    monkeypatch.setattr("hcs.plate.local.PAUSES_S", (0.0, 0.0))
    for write in (storage.write, storage.create):
        with pytest.raises(kind, match=words):
            write("a", b"new")
    assert storage.sizes() == {"a": 3}
    assert storage.read("a") == b"old"


class Failing:
    """A function that fails so many times, as a disk does, before it works."""

    def __init__(self, function: Callable[..., Any], times: int) -> None:
        self._function = function
        self.left = times

    def __call__(self, *arguments: Any, **options: Any) -> Any:
        if self.left:
            self.left -= 1
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        return self._function(*arguments, **options)


@pytest.mark.parametrize("what", ["open", "fsync", "scandir"])
def test_a_disk_that_fails_for_a_moment_is_asked_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, what: str
) -> None:
    monkeypatch.setattr("hcs.plate.local.PAUSES_S", (0.0, 0.0))
    storage = Storage.open(tmp_path / "demo.zarr")
    storage.write("B/a", b"old")
    acts: dict[str, tuple[Any, str, Callable[[], object]]] = {
        "open": (io, "open", lambda: storage.read("B/a")),
        "fsync": (os, "fsync", lambda: storage.write("B/a", b"new")),
        "scandir": (os, "scandir", storage.sizes),
    }
    module, name, act = acts[what]
    expected = act()
    passing = Failing(getattr(module, name), 2)
    with monkeypatch.context() as patch:
        patch.setattr(module, name, passing)
        assert act() == expected
    assert passing.left == 0
    assert "is tried again: Input/output error" in caplog.text
    with monkeypatch.context() as patch:
        patch.setattr(module, name, Failing(getattr(module, name), 3))
        with pytest.raises(StorageError, match=r"demo.zarr.*: Input/output error"):
            act()


def test_create_on_a_file_system_without_hard_links(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(source: Path, target: Path) -> None:
        raise OSError(errno.ENOTSUP, os.strerror(errno.ENOTSUP))

    monkeypatch.setattr(os, "link", refuse)
    storage = Storage.open(tmp_path / "demo.zarr")
    assert storage.create("a", b"mine")
    assert not storage.create("a", b"yours")
    assert storage.sizes() == {"a": 4}


_ON_A_SMALL_DISK = """
import os, subprocess, sys
from hcs.errors import WriteError
from hcs.plate.lock import acquire
from hcs.plate.storage import Storage
folder = sys.argv[1]
subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "small", folder], check=True)
storage = Storage.open(folder + "/demo.zarr")
storage.write("a", b"kept")
try: storage.write("b", bytes(1 << 20))
except WriteError as error: print(error)
subprocess.run(["mount", "-o", "remount,ro", folder], check=True)
changes = [lambda: storage.write("a", b""), lambda: storage.delete("a")]
for change in [*changes, lambda: acquire(storage.sibling(".hcs"))]:
    try: change()
    except WriteError as error: print(error)
print(storage.sizes())
"""


def test_a_full_and_a_read_only_disk(tmp_path: Path) -> None:
    in_own_namespace = ["unshare", "--mount", "--map-root-user"]
    mount = "mount -t tmpfs none /mnt && mount -o remount,ro /mnt"
    try:
        trial = subprocess.run([*in_own_namespace, "sh", "-c", mount], capture_output=True)
    except FileNotFoundError:
        pytest.skip("needs unshare (util-linux) to mount a small disk")
    if trial.returncode:
        pytest.skip("needs user namespaces to mount a small disk")
    command = [*in_own_namespace, sys.executable, "-c", _ON_A_SMALL_DISK, str(tmp_path)]
    result = subprocess.run(command, capture_output=True, check=True, text=True)
    full, write, delete, lock, sizes = result.stdout.splitlines()
    assert full.startswith(f"no space left to write {tmp_path}/demo.zarr/b (")
    assert write.startswith(f"cannot write {tmp_path}/demo.zarr/a: it is read-only (")
    assert delete.startswith(f"cannot write {tmp_path}/demo.zarr/a: it is read-only (")
    assert lock.startswith(f"cannot write {tmp_path}/demo.hcs/lock/00000001.json: it is read-only")
    assert sizes == "{'a': 4}"
