import numpy as np
import pytest
import zarr

from hcs.plate.record import RecordingStore
from hcs.plate.storage import Storage


@pytest.fixture
def storage(root_url: str) -> Storage:
    return Storage.open(f"{root_url}/demo.zarr")


def test_the_manifest_is_of_what_reached_the_disk(storage: Storage) -> None:
    recording = RecordingStore(storage.zarr_store(read_only=False))
    array = zarr.create_array(recording, name="B/0", shape=(4, 4), chunks=(2, 4), dtype="u2")
    recording.manifest.clear()
    array[...] = np.arange(16).reshape(4, 4)
    assert sorted(recording.manifest) == ["B/0/c/0/0", "B/0/c/1/0"]
    assert all(storage.digest(key) == digest for key, digest in recording.manifest.items())
    again = zarr.open_array(storage.zarr_store(read_only=True), path="B/0", mode="r")
    np.testing.assert_array_equal(again[...], array[...])


def test_a_chunk_that_zarr_drops_leaves_the_manifest(storage: Storage) -> None:
    recording = RecordingStore(storage.zarr_store(read_only=False))
    array = zarr.create_array(recording, name="a", shape=(4,), chunks=(2,), dtype="u2")
    array[...] = 1
    array[:2] = 0
    assert sorted(recording.manifest) == ["a/c/1", "a/zarr.json"]
    assert list(storage.sizes("a")) == ["a/c/1", "a/zarr.json"]


def test_shards_are_recorded_whole(storage: Storage) -> None:
    recording = RecordingStore(storage.zarr_store(read_only=False))
    array = zarr.create_array(recording, name="a", shape=(8,), chunks=(2,), shards=(4,), dtype="u2")
    array[...] = np.arange(8) + 1
    array[:2] = 9
    assert sorted(recording.manifest) == ["a/c/0", "a/c/1", "a/zarr.json"]
    assert all(storage.digest(key) == digest for key, digest in recording.manifest.items())


def test_the_manifest_goes_on_in_a_store_for_writing(storage: Storage) -> None:
    recording = RecordingStore(storage.zarr_store(read_only=True))
    writable = recording.with_read_only(read_only=False)
    zarr.create_group(writable, path="a")
    assert list(recording.manifest) == ["a/zarr.json"]
