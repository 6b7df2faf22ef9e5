import os
import socket
import subprocess
import sys
import uuid
from collections.abc import Callable, Iterator

import pytest

from hcs.errors import LockedError, PlateError, StorageError
from hcs.plate.storage import Storage

Check = Callable[[], None]


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


_ON_A_DEAD_SERVER = """
from hcs.errors import StorageError
from hcs.plate.storage import Storage
storage = Storage.open("s3://bucket/demo.zarr")
acts = [lambda: storage.read("a"), lambda: storage.exists("a"), lambda: storage.sizes()]
for act in [*acts, lambda: storage.write("a", b""), lambda: storage.delete("a")]:
    try: act()
    except StorageError as error: print(error)
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
    lines = result.stdout.splitlines()
    assert [line.split(" s3://")[0] for line in lines] == [
        *["cannot read"] * 3,
        *["cannot write"] * 2,
    ]
    for line in lines:
        assert "s3://bucket/demo.zarr" in line
        assert "http://127.0.0.1:1/" in line
        assert "(look at the disk, the network or the server" in line


_ON_A_SILENT_SERVER = """
import hcs.plate.s3
from hcs.errors import StorageError
from hcs.plate.storage import Storage
storage = Storage.open("s3://bucket/demo.zarr")
acts = [lambda: storage.read("a"), lambda: storage.write("a", b"x"), lambda: storage.sizes()]
# more than a connection takes without being read
large = lambda: storage.write("a", bytes(50_000_000))
for longest, act in [*((20, act) for act in acts), (0.5, large)]:
    hcs.plate.s3.LONGEST_S = longest
    try: act()
    except StorageError as error: print(error)
"""


@pytest.mark.integration
def test_a_server_that_stands_still_is_given_up() -> None:
    pytest.importorskip("s3fs")
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        own = {"AWS_ENDPOINT_URL": url, "AWS_ACCESS_KEY_ID": "a", "AWS_SECRET_ACCESS_KEY": "b"}
        hurried = {"AWS_MAX_ATTEMPTS": "1", "FSSPEC_S3": '{"config_kwargs": {"read_timeout": 0.2}}'}
        result = subprocess.run(
            [sys.executable, "-c", _ON_A_SILENT_SERVER],
            capture_output=True,
            check=True,
            text=True,
            env=os.environ | own | hurried,
        )
    told = [line.split(" (look at the disk, the network")[0] for line in result.stdout.splitlines()]
    plate = "s3://bucket/demo.zarr"
    silence = f'Read timeout on endpoint URL: "{url}/bucket'
    assert told[0] == f'cannot read {plate}/a: {silence}/demo.zarr/a"'
    assert told[1] == f'cannot write {plate}/a: {silence}/demo.zarr/a"'
    assert told[2].startswith(f"cannot read {plate}: {silence}")
    assert told[3:] == [f"cannot write {plate}/a: no answer in time"]


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


@pytest.fixture
def storage(s3_bucket: str) -> Storage:
    return Storage.open(f"{s3_bucket}/{uuid.uuid4().hex}/demo.hcs")


def one_by_one(*checks: Check) -> Check:
    """Return what does another thing each time that it is called."""
    rest: Iterator[Check] = iter(checks)
    return lambda: next(rest)()


def passes() -> None:
    pass


def is_out() -> None:
    raise LockedError("another run took over")


@pytest.mark.integration
def test_what_another_run_wrote_after_the_last_check_is_not_replaced(storage: Storage) -> None:
    def others_write() -> None:
        storage.write("marker", b"theirs")

    with pytest.raises(LockedError):
        storage.write("marker", b"ours", last_check=one_by_one(others_write, is_out))
    assert storage.read("marker") == b"theirs"

    storage.write("marker", b"old")
    with pytest.raises(LockedError):
        storage.write("marker", b"ours", last_check=one_by_one(passes, others_write, is_out))
    assert storage.read("marker") == b"theirs"


@pytest.mark.integration
def test_what_another_run_took_away_after_the_last_check_is_not_brought_back(
    storage: Storage,
) -> None:
    def others_delete() -> None:
        storage.delete("marker")

    storage.write("marker", b"old")
    with pytest.raises(LockedError):
        storage.write("marker", b"ours", last_check=one_by_one(passes, others_delete, is_out))
    assert not storage.exists("marker")


@pytest.mark.integration
def test_who_may_write_does_so_whatever_came_in_between(storage: Storage) -> None:
    def late() -> None:
        storage.write("marker", b"of a run that was taken over")

    def gone() -> None:
        storage.delete("marker")

    storage.write("marker", b"ours", last_check=one_by_one(late, late, gone, passes))
    assert storage.read("marker") == b"ours"
    with pytest.raises(StorageError, match=r"others change it again and again .see that one run"):
        storage.write(
            "marker", b"ours", last_check=lambda: storage.write("marker", uuid.uuid4().bytes)
        )


@pytest.mark.integration
def test_a_bucket_that_is_not_there_is_told_of(s3_bucket: str) -> None:
    nowhere = Storage.open(f"{s3_bucket}-{uuid.uuid4().hex}/demo.hcs")
    with pytest.raises(StorageError, match="bucket does not exist"):
        nowhere.write("marker", b"ours", last_check=passes)
