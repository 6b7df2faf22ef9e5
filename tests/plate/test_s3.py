import os
import socket
import subprocess
import sys

import pytest

from hcs.errors import PlateError
from hcs.plate.storage import Storage


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
