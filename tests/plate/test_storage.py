import errno
import os
import pickle
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import zarr

from hcs.errors import PlateError, WriteError
from hcs.plate.local import LocalStorage
from hcs.plate.record import RecordingStore
from hcs.plate.storage import Storage, content_digest


@pytest.fixture
def storage(root_url: str) -> Storage:
    return Storage.open(f"{root_url}/demo.zarr")


def test_what_is_written_is_read_back_and_replaced(storage: Storage) -> None:
    for content in (b"", b"first", b"second"):
        storage.write("B/03/.zattrs", content)
        assert storage.read("B/03/.zattrs") == content
    assert storage.sizes() == {"B/03/.zattrs": 6}
    assert storage.digest("B/03/.zattrs") == content_digest(b"second")


def test_a_file_that_is_not_there(storage: Storage) -> None:
    assert not storage.exists("a")
    assert storage.sizes() == {}
    with pytest.raises(FileNotFoundError):
        storage.read("a")
    storage.delete("a")


def test_create_keeps_the_first(storage: Storage) -> None:
    assert storage.create("lock/1", b"mine")
    assert not storage.create("lock/1", b"yours")
    assert storage.read("lock/1") == b"mine"


def test_create_has_exactly_one_winner_of_many(storage: Storage) -> None:
    with ThreadPoolExecutor(8) as threads:
        won = list(threads.map(lambda i: storage.create("lock", b"%d" % i), range(8)))
    assert won.count(True) == 1
    assert storage.read("lock") == b"%d" % won.index(True)
    assert list(storage.sizes()) == ["lock"]


def test_sizes_and_delete_know_folders(storage: Storage) -> None:
    for key in ("b/x", "a/2", "a/1", "ab"):
        storage.write(key, key.encode())
    assert storage.sizes() == {"a/1": 3, "a/2": 3, "ab": 2, "b/x": 3}
    assert storage.sizes("a") == {"a/1": 3, "a/2": 3}
    storage.delete("a")
    storage.delete("ab")
    assert list(storage.sizes()) == ["b/x"]
    assert storage.exists("b/x")
    assert not storage.exists("b")


def test_a_storage_travels_by_pickle_and_has_siblings(storage: Storage) -> None:
    storage.write("a", b"1")
    there = pickle.loads(pickle.dumps(storage))
    assert there == storage
    assert there.read("a") == b"1"
    assert storage.name == "demo"
    assert storage.sibling("_truth.zarr").url == storage.url.replace("demo.", "demo_truth.")


def test_zarr_reads_and_writes_the_same_root(storage: Storage) -> None:
    recording = RecordingStore(storage.zarr_store(read_only=False))
    array = zarr.create_array(recording, name="B/0", shape=(4, 4), chunks=(2, 4), dtype="u2")
    recording.manifest.clear()
    array[...] = np.arange(16).reshape(4, 4)
    storage.flush(recording.manifest)
    assert sorted(recording.manifest) == ["B/0/c/0/0", "B/0/c/1/0"]
    assert all(storage.digest(key) == digest for key, digest in recording.manifest.items())
    again = zarr.open_array(storage.zarr_store(read_only=True), path="B/0", mode="r")
    np.testing.assert_array_equal(again[...], np.arange(16).reshape(4, 4))
    array[:2] = 0
    assert list(recording.manifest) == ["B/0/c/1/0"]


@pytest.mark.parametrize("key", ["", "/etc/passwd", "../x", "a/../../x", "a//b", "./a"])
def test_no_key_leaves_the_root(storage: Storage, key: str) -> None:
    with pytest.raises(PlateError, match="leaves the plate"):
        storage.read(key)


def test_a_symbolic_link_out_of_the_root_is_seen(tmp_path: Path) -> None:
    storage = Storage.open(tmp_path / "demo.zarr")
    storage.write("B/a", b"")
    (tmp_path / "demo.zarr" / "C").symlink_to(tmp_path)
    assert storage.contains("B/a")
    assert storage.contains("B/not/yet")
    assert not storage.contains("C/a")


def test_urls(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    expected = LocalStorage(str(tmp_path / "demo.zarr"))
    assert Storage.open("demo.zarr/") == expected
    assert Storage.open(Path("demo.zarr")) == expected
    assert Storage.open(f"file://{tmp_path}/demo.zarr") == expected
    with pytest.raises(PlateError, match=r"cannot open gs://x/y .give a local path or s3://"):
        Storage.open("gs://x/y")


@pytest.mark.parametrize("url", ["s3://bucket", "s3://", "s3://bucket/"])
def test_a_bucket_is_no_plate(url: str) -> None:
    pytest.importorskip("s3fs")
    with pytest.raises(PlateError, match=r"is no plate .write it like s3://bucket/demo.zarr"):
        Storage.open(url)


def test_without_s3fs_one_sentence_says_what_to_install() -> None:
    program = (
        "import sys; sys.modules['s3fs'] = None\n"
        "from hcs.plate.storage import Storage\n"
        "from hcs.errors import PlateError\n"
        "try: Storage.open('s3://bucket/demo.zarr')\n"
        "except PlateError as error: print(error)"
    )
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, check=True)
    assert result.stdout.decode().strip() == (
        "plates on s3:// need the package s3fs, which is not installed (pip install 'hcs[s3]')"
    )


def test_a_file_below_a_file_is_not_there(storage: Storage) -> None:
    storage.write("a", b"")
    with pytest.raises(FileNotFoundError):
        storage.read("a/b")


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    (tmp_path / "demo.zarr" / "a").mkdir(parents=True)
    storage = Storage.open(tmp_path / "demo.zarr")
    for read in (storage.read, storage.digest):
        with pytest.raises(PlateError, match=r"cannot read .*demo.zarr/a: Is a directory"):
            read("a")


_ON_A_DEAD_SERVER = """
import s3fs
from hcs.errors import PlateError
from hcs.plate.storage import Storage
s3fs.S3FileSystem.retries = 1
try: Storage.open("s3://bucket/demo.zarr").read("a")
except PlateError as error: print(error)
"""


@pytest.mark.integration
def test_a_server_that_does_not_answer() -> None:
    pytest.importorskip("s3fs")
    dead = {"AWS_ENDPOINT_URL": "http://127.0.0.1:1", "AWS_MAX_ATTEMPTS": "1"}
    secrets = {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test"}
    command = [sys.executable, "-c", _ON_A_DEAD_SERVER]
    result = subprocess.run(
        command, capture_output=True, check=True, text=True, env=os.environ | dead | secrets
    )
    assert result.stdout.startswith("cannot reach s3://bucket/demo.zarr: ")
    assert "127.0.0.1:1" in result.stdout
    assert "(check AWS_ENDPOINT_URL, " in result.stdout


_READS_THROUGH_ZARR = """
import sys, zarr
from hcs.plate.storage import Storage
zarr.open_group(Storage.open(sys.argv[1]).zarr_store(read_only=False), mode="w")
"""


@pytest.mark.integration
def test_a_process_that_used_s3_ends_without_a_word(s3_bucket: str) -> None:
    command = [sys.executable, "-c", _READS_THROUGH_ZARR, f"{s3_bucket}/quiet.zarr"]
    result = subprocess.run(command, capture_output=True, check=True, text=True)
    assert result.stderr == ""


@pytest.mark.parametrize(
    ("number", "words"),
    [
        (errno.ENOSPC, "no space left to write .*demo.zarr/a"),
        (errno.EDQUOT, "no space left to write .*demo.zarr/a"),
        (errno.EROFS, "cannot write .*demo.zarr/a: it is read-only .*get write permission"),
        (errno.EIO, "cannot write .*demo.zarr/a: Input/output error"),
    ],
)
def test_a_failed_write_names_the_file_and_keeps_the_old_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, words: str
) -> None:
    storage = Storage.open(tmp_path / "demo.zarr")
    storage.write("a", b"old")

    def fail(handle: int) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "fsync", fail)
    for write in (storage.write, storage.create):
        with pytest.raises(WriteError, match=words):
            write("a", b"new")
    assert storage.sizes() == {"a": 3}
    assert storage.read("a") == b"old"


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
