import json
import logging
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zarr
from hypothesis import given

from hcs.errors import CorruptError, HcsError, LockedError, MissingError, StorageError
from hcs.plate.commit import (
    EVERYTHING,
    Marker,
    check_writable,
    fingerprint,
    input_fingerprint,
    open_marker,
    read_marker,
    remove_marker,
    sweep,
    verify,
    write_marker,
)
from hcs.plate.local import LocalStorage
from hcs.plate.lock import Lock, acquire
from hcs.plate.metadata import FieldImage, Level, Well
from hcs.plate.path import FieldPath, WellPath
from hcs.plate.storage import Storage, content_digest
from tests.strategies import json_objects

WELL = WellPath("B", "03")
FIELD = FieldPath(WELL, "0")
LEVEL = Level("0", (4, 8), (4, 4), None, (1.0, 1.0), (0.0, 0.0))


@dataclass(frozen=True)
class BarePlate:
    """A plate as far as this file needs one: two storages and one field."""

    storage: Storage
    companion: Storage

    @property
    def images(self) -> Storage:
        return self.storage

    def well(self, path: WellPath) -> Well:
        return Well(path, (FIELD,), (None,))

    def field_image(self, path: FieldPath) -> FieldImage:
        return FieldImage(path, ("y", "x"), "uint16", (LEVEL,), ())


def plate_at(root_url: str | Path) -> BarePlate:
    return BarePlate(Storage.open(f"{root_url}/demo.zarr"), Storage.open(f"{root_url}/demo.hcs"))


@pytest.fixture
def plate(root_url: str) -> BarePlate:
    return plate_at(root_url)


@pytest.fixture
def lock(plate: BarePlate) -> Iterator[Lock]:
    with acquire(plate.companion) as held:
        yield held


def write_files(plate: BarePlate) -> dict[str, str]:
    files = {f"B/03/0/labels/cells/0/{i}": bytes([i]) * 100 for i in range(3)}
    plate.storage.write_unflushed(files)
    return {key: content_digest(content) for key, content in files.items()}


def in_reverse(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: in_reverse(inner) for key, inner in reversed(value.items())}
    return [in_reverse(inner) for inner in value] if isinstance(value, list) else value


@given(json_objects())
def test_a_fingerprint_knows_no_order_of_keys(parts: dict[str, Any]) -> None:
    assert fingerprint(parts) == fingerprint(in_reverse(parts))
    assert fingerprint(parts) == fingerprint(json.loads(json.dumps(parts)))


@given(json_objects(), json_objects())
def test_different_parts_have_different_fingerprints(a: dict[str, Any], b: dict[str, Any]) -> None:
    same = json.dumps(a, sort_keys=True) == json.dumps(b, sort_keys=True)
    assert (fingerprint(a) == fingerprint(b)) == same


@pytest.mark.parametrize("number", [float("nan"), float("inf")])
def test_a_fingerprint_refuses_what_equals_nothing(number: float) -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        fingerprint({"a": number})


def test_a_marker_is_read_back(plate: BarePlate, lock: Lock) -> None:
    marker = Marker("ssl", "abc", write_files(plate), {"n": [1, 2.5, "x", None, True]})
    for well in (WELL, None):
        assert read_marker(plate, well, "ssl") is None
        write_marker(plate, well, marker, lock.token)
        assert read_marker(plate, well, "ssl") == replace(marker, token=lock.token)
    assert {"B/03/ssl.json", "plate/ssl.json"} <= set(plate.companion.sizes())
    remove_marker(plate, WELL, "ssl", lock.token)
    assert read_marker(plate, WELL, "ssl") is None
    assert read_marker(plate, None, "ssl")


def test_a_record_that_json_cannot_hold_is_refused(plate: BarePlate, lock: Lock) -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_marker(plate, WELL, Marker("ssl", "abc", {}, float("inf")), lock.token)
    assert read_marker(plate, WELL, "ssl") is None


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"step": "ssl"}', b"\xff\x00"])
def test_a_damaged_marker_is_none(
    plate: BarePlate, content: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    plate.companion.write("B/03/ssl.json", content)
    with caplog.at_level(logging.WARNING):
        assert read_marker(plate, WELL, "ssl") is None
    assert "marker B/03/ssl.json is damaged: step ssl is done again" in caplog.text


def test_a_marker_in_which_a_bit_flipped_is_damaged_or_says_the_same(tmp_path: Path) -> None:
    # on disk alone: there are some 5 000 bits
    plate = plate_at(tmp_path)
    with acquire(plate.companion) as lock:
        write_marker(plate, WELL, Marker("ssl", "abc", {}, {"mean": 12.5, "n": 3}), lock.token)
    content, marker = plate.companion.read("B/03/ssl.json"), open_marker(plate, WELL, "ssl")
    for bit in range(8 * len(content)):
        flipped = bytearray(content)
        flipped[bit // 8] ^= 1 << bit % 8
        plate.companion.write("B/03/ssl.json", bytes(flipped))
        assert read_marker(plate, WELL, "ssl") in (None, marker)


def test_a_marker_without_seal_is_one_of_earlier_times(plate: BarePlate, lock: Lock) -> None:
    write_marker(plate, WELL, Marker("ssl", "abc", {}, {"mean": 12.5}), lock.token)
    document = json.loads(plate.companion.read("B/03/ssl.json"))
    del document["seal"]
    plate.companion.write("B/03/ssl.json", json.dumps(document).encode())
    assert open_marker(plate, WELL, "ssl").record == {"mean": 12.5}


def test_a_marker_says_whether_it_is_missing_or_damaged(plate: BarePlate, lock: Lock) -> None:
    with pytest.raises(MissingError, match=r"there is no marker B/03/ssl.json"):
        open_marker(plate, WELL, "ssl")
    write_marker(plate, WELL, Marker("ssl", "abc", {}, {"mean": 12.5}), lock.token)
    content = plate.companion.read("B/03/ssl.json").replace(b"12.5", b"12.6")
    plate.companion.write("B/03/ssl.json", content)
    with pytest.raises(CorruptError, match=r"marker B/03/ssl.json is damaged: it is not what was"):
        open_marker(plate, WELL, "ssl")


def test_verify_names_what_is_missing_truncated_and_flipped(plate: BarePlate, lock: Lock) -> None:
    manifest = write_files(plate)
    assert verify(plate, manifest) == []
    missing, short, flipped = manifest
    plate.storage.delete(missing)
    plate.storage.write(short, plate.storage.read(short)[:40])
    bits = bytearray(plate.storage.read(flipped))
    bits[50] ^= 4
    plate.storage.write(flipped, bytes(bits))
    problems = [
        f"{missing} is missing",
        f"{short} has 40 bytes, 100 were written",
        f"{flipped} is damaged: its 100 bytes are not those that were written",
    ]
    assert verify(plate, manifest) == problems
    with pytest.raises(StorageError, match="step ssl of B/03 is not marked as done") as caught:
        write_marker(plate, WELL, Marker("ssl", "abc", manifest), lock.token)
    assert all(problem in str(caught.value) for problem in problems)
    assert read_marker(plate, WELL, "ssl") is None


def test_the_message_stays_short_when_all_is_lost(plate: BarePlate, lock: Lock) -> None:
    manifest = {f"c/{i}": content_digest(b"") for i in range(9)}
    with pytest.raises(StorageError, match=r"of the plate is not marked .*; and 4 more"):
        write_marker(plate, None, Marker("pool", "abc", manifest), lock.token)


def test_no_marker_under_an_old_token(plate: BarePlate) -> None:
    marker = Marker("ssl", "abc", write_files(plate))
    with acquire(plate.companion) as old:
        write_marker(plate, WELL, marker, old.token)
    with acquire(plate.companion):
        for change in (
            lambda: write_marker(plate, WELL, replace(marker, fingerprint="new"), old.token),
            lambda: remove_marker(plate, WELL, "ssl", old.token),
        ):
            with pytest.raises(LockedError, match="was taken over"):
                change()
    assert read_marker(plate, WELL, "ssl") == replace(marker, token=1)


def test_a_run_that_is_taken_over_after_its_last_check_replaces_no_marker(
    plate: BarePlate, monkeypatch: pytest.MonkeyPatch
) -> None:
    marker = Marker("ssl", "abc", write_files(plate))
    old = acquire(plate.companion)

    def lose_the_plate(companion: Storage, token: int) -> None:
        monkeypatch.undo()
        old.release()
        with acquire(companion) as new:
            sweep(plate)
            write_marker(plate, WELL, replace(marker, fingerprint="new"), new.token)

    monkeypatch.setattr("hcs.plate.commit.check_token", lose_the_plate)
    with pytest.raises(HcsError):
        write_marker(plate, WELL, marker, old.token)
    assert read_marker(plate, WELL, "ssl") == replace(marker, fingerprint="new", token=2)


# holds the lock, verifies what it wrote, says so, is stopped there, and then tries to mark it
_STOPPED_RUN = """
import sys
from types import SimpleNamespace
from hcs.errors import LockedError
from hcs.plate import commit
from hcs.plate.lock import acquire
from hcs.plate.path import WellPath
from hcs.plate.storage import Storage, content_digest
from tests.strategies import json_objects
storage, companion = Storage.open(sys.argv[1]), Storage.open(sys.argv[2])
plate = SimpleNamespace(storage=storage, companion=companion)
lock = acquire(companion, heartbeat_s=0.1, stale_s=0.5)
storage.write("a", b"1")
check = commit.check_token
def stop_then_check(*arguments):
    print("about to mark", flush=True)
    sys.stdin.readline()
    check(*arguments)
commit.check_token = stop_then_check
try:
    marker = commit.Marker("ssl", "abc", {"a": content_digest(b"1")})
    commit.write_marker(plate, WellPath("B", "03"), marker, lock.token)
    print("marked", flush=True)
except LockedError as error:
    print(error, flush=True)
"""


@pytest.mark.integration
def test_a_run_that_was_stopped_and_taken_over_writes_no_marker(plate: BarePlate) -> None:
    command = [sys.executable, "-c", _STOPPED_RUN, plate.storage.url, plate.companion.url]
    with subprocess.Popen(
        command, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdin
        assert process.stdout
        try:
            assert process.stdout.readline() == "about to mark\n"
            process.send_signal(signal.SIGSTOP)
            with acquire(plate.companion, heartbeat_s=0.1, stale_s=0.5) as held:
                process.send_signal(signal.SIGCONT)
                process.stdin.write("\n")
                process.stdin.flush()
                assert "plate demo was taken over by" in process.stdout.readline()
                assert read_marker(plate, WELL, "ssl") is None
                held.check()
        finally:
            process.kill()
    assert not [key for key in plate.companion.sizes() if "ssl" in key]


@pytest.fixture(params=[2, 3], ids=["v2", "v3"])
def pixels(request: pytest.FixtureRequest, plate: BarePlate) -> zarr.Array:
    array = zarr.create_array(
        plate.storage.zarr_store(read_only=False),
        name="B/03/0/0",
        shape=LEVEL.shape,
        chunks=LEVEL.chunks,
        dtype="u2",
        zarr_format=request.param,
    )
    array[...] = np.random.default_rng(1).integers(0, 9, array.shape)
    return array


def test_the_input_fingerprint_sees_pixels_but_no_attributes(
    plate: BarePlate, pixels: zarr.Array
) -> None:
    before = input_fingerprint(plate, WELL)
    pixels.attrs["note"] = "edited in a viewer"
    plate.storage.write("B/03/0/.zattrs", b"{}")
    plate.storage.write("B/03/0/labels/cells/0/0", b"1")
    assert input_fingerprint(plate, WELL) == before
    pixels[:, 4:] = 1
    changed = input_fingerprint(plate, WELL)
    assert changed != before
    chunk = [key for key in plate.storage.sizes("B/03/0/0") if key[-1] == "1"]
    plate.storage.delete(chunk[-1])
    assert input_fingerprint(plate, WELL) not in (before, changed)


def test_the_input_fingerprint_sees_the_codec(plate: BarePlate, pixels: zarr.Array) -> None:
    before = input_fingerprint(plate, WELL)
    name = ".zarray" if pixels.metadata.zarr_format == 2 else "zarr.json"
    key = f"B/03/0/0/{name}"
    plate.storage.write(key, plate.storage.read(key).replace(b'"level"', b'"other"'))
    assert input_fingerprint(plate, WELL) != before


def test_an_input_without_pixels(plate: BarePlate) -> None:
    with pytest.raises(MissingError, match="field B/03/0 has no array at B/03/0/0"):
        input_fingerprint(plate, WELL)


# begins a file in a label image and dies before it is whole
_KILLED_WRITER = """
import os, signal, sys
from hcs.plate.storage import Storage
os.fsync = lambda handle: os.kill(os.getpid(), signal.SIGKILL)
Storage.open(sys.argv[1]).write("B/03/0/labels/cells/0/0", b"1")
"""


def test_sweep_removes_what_a_killed_writer_left(
    plate: BarePlate, request: pytest.FixtureRequest
) -> None:
    done = subprocess.run([sys.executable, "-c", _KILLED_WRITER, plate.storage.url])
    if plate.storage.url.startswith("s3://"):
        # a put needs no temporary file
        assert done.returncode == 0
        assert sweep(plate) == []
        return
    assert done.returncode == -signal.SIGKILL
    plate.storage.write("B/03/0/0/c/0/x.partial", b"in the input: not ours")
    plate.storage.write("tables/wells/table.parquet", b"whole")
    plate.companion.write("B/03/.ssl.json.1.partial", b"half a marker")
    left = [key for key in plate.storage.sizes() if key.startswith("B/03/0/labels")]
    assert sweep(plate) == [
        f"{plate.storage.url}/{left[0]}",
        f"{plate.companion.url}/B/03/.ssl.json.1.partial",
    ]
    assert len(left) == 1
    assert list(plate.storage.sizes()) == ["B/03/0/0/c/0/x.partial", "tables/wells/table.parquet"]
    assert sweep(plate) == []
    assert sweep(plate, EVERYTHING) == [f"{plate.storage.url}/B/03/0/0/c/0/x.partial"]


def test_sweep_finds_what_is_left_where_a_run_dies_while_it_tries_to_write(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plate = plate_at(tmp_path)
    with monkeypatch.context() as dying:
        dying.setattr(LocalStorage, "delete", lambda *_: sys.exit("killed"))
        with pytest.raises(SystemExit, match="killed"):
            check_writable(plate)
    assert sweep(plate) == [f"{plate.storage.url}/{key}" for key in (".writable.partial",)]
    assert list(plate.storage.sizes()) == []


def test_sweep_clears_the_scratch_folder(plate: BarePlate) -> None:
    plate.companion.write("scratch/B/03/span-0.npz", b"1")
    plate.companion.write("B/03/ssl.json", b"1")
    assert sweep(plate) == [f"{plate.companion.url}/scratch/B/03/span-0.npz"]
    assert list(plate.companion.sizes()) == ["B/03/ssl.json"]


def test_chunks_are_flushed_before_the_marker_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plate = BarePlate(Storage.open(tmp_path / "demo.zarr"), Storage.open(tmp_path / "demo.hcs"))
    manifest = write_files(plate)
    flushed = []
    fsync = os.fsync

    def note(handle: int) -> None:
        flushed.append(str(Path(f"/proc/self/fd/{handle}").readlink()))
        fsync(handle)

    monkeypatch.setattr(os, "fsync", note)
    with acquire(plate.companion) as lock:
        write_marker(plate, WELL, Marker("ssl", "abc", manifest), lock.token)
    ours = [path for path in flushed if "/lock" not in path]
    chunks = sorted(f"{plate.storage.url}/{key}" for key in manifest)
    assert sorted(ours[:3]) == chunks
    assert ours[3].endswith("labels/cells/0")
    assert ".ssl.json." in ours[4]
    assert ours[5].endswith("demo.hcs/B/03")
