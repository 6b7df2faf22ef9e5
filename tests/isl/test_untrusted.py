import json
import os
import pickle
import tracemalloc
import zipfile

import numpy as np
import pytest
import safetensors.numpy
from hypothesis import given, settings
from hypothesis import strategies as st

from hcs.errors import WeightsError
from hcs.isl.untrusted import StoredTensor, read_header
from tests.isl.files import one_tensor, write_file
from tests.strategies import damaged_bytes, damaged_json

GOOD = safetensors.numpy.save(
    {
        "last.0.weight": np.ones((2, 3), np.float32),
        "last.0.bias": np.zeros(2, np.float32),
        "norm.num_batches_tracked": np.array(7),
        "none": np.zeros((0, 5), np.float32),
    },
    {"hcs_card": '{"head": "stain", "text": "[{\\"]"}'},
)
BIG = 2**60


def test_what_the_library_writes_is_read(tmp_path):
    (tmp_path / "w.safetensors").write_bytes(GOOD)
    header = read_header(tmp_path / "w.safetensors")
    assert header.tensors == {
        "last.0.weight": StoredTensor("F32", (2, 3)),
        "last.0.bias": StoredTensor("F32", (2,)),
        "norm.num_batches_tracked": StoredTensor("I64", ()),
        "none": StoredTensor("F32", (0, 5)),
    }
    assert json.loads(header.metadata["hcs_card"])["head"] == "stain"
    assert str(header.tensors["last.0.weight"]) == "F32 (2, 3)"


def with_tensors(**tensors):
    return {"__metadata__": {}, **tensors}


@pytest.mark.parametrize(
    ("header", "words"),
    [
        ("{]", "Expecting"),
        (b"{\xff}", "'utf-8' codec"),
        ("[]", "it is no JSON object"),
        ("[" * 5000, "nested deeper than 32"),
        ('{"a":' * 40 + "1" + "}" * 40, "nested deeper than 32"),
        ('{"a": NaN}', "NaN is no number of JSON"),
        ('{"a": 1e999}', "1e999 is too large"),
        ('{"a": ' + "1" * 5000 + "}", "Exceeds the limit"),
        ('{"a": 1, "a": 2}', "a name stands twice"),
        ('{"__metadata__": {"a": 1}}', "metadata is not text by name"),
        ('{"__metadata__": 1}', "metadata is not text by name"),
        (with_tensors(a=1), "tensor 'a' is not described by dtype, shape and data_offsets"),
        (with_tensors(a={"dtype": "F32", "shape": [6]}), "'a' is not described"),
        (with_tensors(a=one_tensor(extra=1)), "'a' is not described"),
        (with_tensors(a=one_tensor(dtype="O")), "tensor 'a': its type is none of BOOL, U8"),
        (with_tensors(a=one_tensor(dtype=["F32"])), "its type is none of"),
        (with_tensors(a=one_tensor(shape=6)), "its shape is not up to 8 whole numbers"),
        (with_tensors(a=one_tensor(shape=[-2, -3])), "its shape is not up to 8 whole numbers"),
        (with_tensors(a=one_tensor(shape=[2.0, 3])), "its shape is not up to 8 whole numbers"),
        (with_tensors(a=one_tensor(shape=[True, 6])), "its shape is not up to 8 whole numbers"),
        (with_tensors(a=one_tensor(shape=[1] * 9)), "its shape is not up to 8 whole numbers"),
        (with_tensors(a=one_tensor(shape=[BIG])), "whole numbers from 0 to 2..48"),
        # 2**32 * 2**32 * 4 is 0 to a machine that forgets the 65th bit
        (with_tensors(a=one_tensor(shape=[2**32, 2**32], data_offsets=[0, 0])), "takes 7378697629"),
        (with_tensors(a=one_tensor(data_offsets=[0])), "are not two whole numbers"),
        (with_tensors(a=one_tensor(data_offsets=[-24, 0])), "are not two whole numbers"),
        (with_tensors(a=one_tensor(data_offsets=[24, 0])), "takes 24 bytes, it has those from 24"),
        (with_tensors(a=one_tensor(shape=[2, 4])), "takes 32 bytes, it has those from 0 to 24"),
        (with_tensors(a=one_tensor(data_offsets=[8, 32])), "begins at byte 8, the one before"),
        (with_tensors(a=one_tensor(), b=one_tensor()), "'b' begins at byte 0, the one before ends"),
        (
            with_tensors(a=one_tensor(shape=[4], data_offsets=[0, 16])),
            "take 16 bytes, the file has",
        ),
        (with_tensors(a=one_tensor(shape=[2, 8], data_offsets=[0, 64])), "take 64 bytes, the file"),
        (with_tensors(), "its tensors take 0 bytes, the file has 24"),
    ],
)
def test_a_header_that_lies_is_refused(header, words, tmp_path):
    path = write_file(tmp_path / "w.safetensors", header)
    with pytest.raises(WeightsError, match=f"w.safetensors: its header is damaged: .*{words}"):
        read_header(path)


def test_too_many_tensors_are_refused(tmp_path):
    nothing = {"dtype": "U8", "shape": [0], "data_offsets": [0, 0]}
    text = json.dumps({f"{i}": nothing for i in range(10_001)}, separators=(",", ":"))
    with pytest.raises(WeightsError, match="lists 10001 tensors, 10000 are"):
        read_header(write_file(tmp_path / "w.safetensors", text, 0))


@pytest.mark.parametrize("length", [0, 1, 1_000_001, 2**63, 2**64 - 1])
def test_a_length_that_cannot_be_is_refused(length, tmp_path):
    path = write_file(tmp_path / "w.safetensors", with_tensors(a=one_tensor()), length=length)
    with pytest.raises(WeightsError, match=f"its header would take {length} bytes, the file has"):
        read_header(path)


@pytest.mark.parametrize("size", [0, 7, 8, 9])
def test_a_file_too_short_for_a_header_is_refused(size, tmp_path):
    path = tmp_path / "w.safetensors"
    path.write_bytes(GOOD[:size])
    with pytest.raises(WeightsError, match=f"the file has {size} and"):
        read_header(path)


@pytest.mark.parametrize("name", ["net.pt", "net.PTH", "net.ckpt", "net.pkl", "net.bin", "net.zip"])
def test_names_of_pickles_are_refused_whatever_is_inside(name, tmp_path):
    (tmp_path / name).write_bytes(GOOD)
    with pytest.raises(WeightsError, match=r"a file of this name is not read [(]pickle can run"):
        read_header(tmp_path / name)


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_a_pickle_is_refused_whatever_its_name(protocol, tmp_path):
    path = tmp_path / "w.safetensors"
    path.write_bytes(pickle.dumps({"a": 1}, protocol))
    with pytest.raises(WeightsError, match=r"this is a pickle [(]pickle can run"):
        read_header(path)


def test_a_zip_archive_is_refused_whatever_its_name(tmp_path):
    path = tmp_path / "w.safetensors"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("data.pkl", b"")
    with pytest.raises(WeightsError, match=r"a zip archive, as torch.save writes it [(]pickle can"):
        read_header(path)


def test_only_plain_files_are_opened(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    for name in ("pipe", ".", "no-such", "\0"):
        with pytest.raises(WeightsError, match="there is no weights file"):
            read_header(tmp_path / name)


def test_a_file_that_cannot_be_read_is_told(tmp_path, monkeypatch):
    path = write_file(tmp_path / "w.safetensors", with_tensors(a=one_tensor()))

    def broken(*_):
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(type(path), "open", broken)
    with pytest.raises(WeightsError, match=r"cannot read weights .*: Input/output error"):
        read_header(path)


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    return tmp_path_factory.mktemp("damaged") / "w.safetensors"


def refused_or_as_the_library_reads(path):
    """Whatever stands in a file: an error of ours, or what safetensors itself makes of it."""
    try:
        header = read_header(path)
    except WeightsError:
        return
    loaded = safetensors.numpy.load(path.read_bytes())
    assert {name: tensor.shape for name, tensor in header.tensors.items()} == {
        name: array.shape for name, array in loaded.items()
    }


@given(content=st.binary(max_size=64) | damaged_bytes(GOOD))
def test_random_and_damaged_bytes_are_refused_or_harmless(path, content):
    path.write_bytes(content)
    refused_or_as_the_library_reads(path)


@settings(max_examples=50)
@given(header=damaged_json(with_tensors(a=one_tensor(), b=one_tensor(data_offsets=[24, 48]))))
def test_headers_with_anything_in_them_are_refused_or_harmless(path, header):
    write_file(path, json.dumps(header), 48)
    refused_or_as_the_library_reads(path)


@pytest.mark.parametrize(
    "header",
    [
        '{"__metadata__":{' + ",".join(f'"{i:x}":""' for i in range(90_000)) + "}}",
        '{"a":[' + ",".join(["{}"] * 333_000) + "]}",
        '{"a":"' + '\\"' * 499_000,
        "[" * 1_000_000,
    ],
)
def test_the_largest_header_takes_little_memory(header, tmp_path):
    path = write_file(tmp_path / "w.safetensors", header)
    tracemalloc.start()
    with pytest.raises(WeightsError, match="header"):
        read_header(path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 40e6
