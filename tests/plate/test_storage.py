import pickle
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from hcs.errors import PlateError
from hcs.plate.local import LocalStorage
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


def test_a_root_is_there_once_anything_is_in_it(storage: Storage) -> None:
    assert not storage.is_there()
    storage.write("b/x", b"")
    assert storage.is_there()


def test_a_root_is_removed_with_all_that_is_in_it_and_nothing_beside_it(storage: Storage) -> None:
    beside = storage.sibling("_other.zarr")
    for root in (storage, beside):
        root.write("B/03/.zattrs", b"{}")
    storage.remove()
    assert storage.sizes() == {}
    assert list(beside.sizes()) == ["B/03/.zattrs"]
    storage.remove()


def test_a_storage_travels_by_pickle_and_has_siblings(storage: Storage) -> None:
    storage.write("a", b"1")
    there = pickle.loads(pickle.dumps(storage))
    assert there == storage
    assert there.read("a") == b"1"
    assert storage.name == "demo"
    assert storage.sibling("_truth.zarr").url == storage.url.replace("demo.", "demo_truth.")


@pytest.mark.parametrize("key", ["", "/etc/passwd", "../x", "a/../../x", "a//b", "./a"])
def test_no_key_leaves_the_root(storage: Storage, key: str) -> None:
    with pytest.raises(PlateError, match="leaves the plate"):
        storage.read(key)


def test_urls(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    expected = LocalStorage(str(tmp_path / "demo.zarr"))
    assert Storage.open("demo.zarr/") == expected
    assert Storage.open(Path("demo.zarr")) == expected
    assert Storage.open(f"file://{tmp_path}/demo.zarr") == expected
    with pytest.raises(PlateError, match=r"cannot open gs://x/y .give a local path or s3://"):
        Storage.open("gs://x/y")


def test_a_file_below_a_file_is_not_there(storage: Storage) -> None:
    storage.write("a", b"")
    with pytest.raises(FileNotFoundError):
        storage.read("a/b")


@pytest.mark.parametrize("content", [b"", b"1234", b"12345"])
def test_no_more_is_read_than_asked_for(root_url: str, content: bytes) -> None:
    storage = Storage.open(f"{root_url}/demo.zarr")
    storage.write("a", content)
    assert storage.read("a", 5) == content
    storage.write("a", b"123456")
    with pytest.raises(PlateError, match="has more than 5 bytes"):
        storage.read("a", 5)
