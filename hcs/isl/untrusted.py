"""A safetensors file that may come from anyone: its header, checked before anything else is done.

The file begins with the length of a JSON text, little-endian in eight bytes, then the text, which
says of every tensor its type, its shape, and where its bytes lie in the rest of the file. Nothing
of that is believed: lengths, nesting, types, shapes and offsets are checked against limits and
against the file's size, with little memory. Once it is through, the tensors take as much memory as
the file has bytes for them, and no more.
"""

from __future__ import annotations

import json
import math
import os
import re
from collections.abc import Container, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from io import BufferedReader
from itertools import accumulate
from pathlib import Path
from typing import Any, NoReturn

from hcs.errors import WeightsError

NOT_OURS = "give a file that `hcs train` wrote; if it is one, it is damaged: get it anew"

# limits (ours). The largest encoder's header takes 250 kB; a JSON text of 1 MB takes at most some
# 25 MB as Python objects
_MAX_HEADER = 1_000_000
_MAX_DEPTH = 32
_MAX_TENSORS = 10_000
_MAX_AXES = 8
_MAX_COUNT = 2**48
# bytes per element, of the types that networks are stored in
_ITEM_BYTES = {"BOOL": 1, "U8": 1, "I8": 1, "F16": 2, "BF16": 2, "I16": 2, "I32": 4, "F32": 4}
_ITEM_BYTES |= {"I64": 8, "F64": 8}
_LENGTH_BYTES = 8
_METADATA_KEY = "__metadata__"
# of a name, in messages
_SHOWN = 60
# what nests in a JSON text, once its strings are taken out
_BRACKET = re.compile(r"[\[{\]}]")
# (a string that never ends is taken to the end: each letter is looked at once)
_STRING = re.compile(r'"(?:[^"\\]|\\.)*+"?', re.DOTALL)

_PICKLE = "pickle can run code when it is read; only safetensors files are taken"
_PICKLE_NAMES = (".pt", ".pth", ".ckpt", ".pkl", ".pickle", ".bin", ".zip", ".tar")
_PICKLE_STARTS = {
    b"PK\x03\x04": "a zip archive, as torch.save writes it",
    b"\x80\x02": "a pickle",
    b"\x80\x03": "a pickle",
    b"\x80\x04": "a pickle",
    b"\x80\x05": "a pickle",
}


@dataclass(frozen=True)
class StoredTensor:
    """A tensor as the header tells of it.

    Parameters
    ----------
    dtype : str
        As safetensors writes it, "F32".
    shape : tuple of int
        Sides; () for one number.
    """

    dtype: str
    shape: tuple[int, ...]

    def __str__(self) -> str:
        """Return it as messages give it: F32 (16, 3, 7, 7)."""
        return f"{self.dtype} {self.shape}"


@dataclass(frozen=True)
class Header:
    """What a safetensors file says of itself, checked.

    Parameters
    ----------
    tensors : mapping of str to StoredTensor
        By name.
    metadata : mapping of str to str
        As it stands in the file.
    """

    tensors: Mapping[str, StoredTensor]
    metadata: Mapping[str, str]


def read_header(path: Path) -> Header:
    """Return the checked header of a safetensors file; no tensor is read.

    Raises
    ------
    WeightsError
        No such file, a pickle, or a header that is damaged or hostile.
    """
    if path.suffix.lower() in _PICKLE_NAMES:
        raise WeightsError(f"{path}: a file of this name is not read", hint=_PICKLE)
    with opened(path) as file:
        size = os.fstat(file.fileno()).st_size
        start = file.read(_LENGTH_BYTES)
        length = int.from_bytes(start, "little")
        if not 2 <= length <= min(_MAX_HEADER, size - _LENGTH_BYTES):
            _refuse_start(path, start, length, size)
        text = file.read(length)
    try:
        return _checked(parse_json(text), size - _LENGTH_BYTES - length)
    except (ValueError, RecursionError) as error:
        raise WeightsError(f"{path}: its header is damaged: {error}", hint=NOT_OURS) from error


@contextmanager
def opened(path: Path) -> Iterator[BufferedReader]:
    """Open a file for reading bytes.

    Raises
    ------
    WeightsError
        There is none, it is no plain file, or it cannot be read.
    """
    # a pipe would wait for a writer, and a device may never end
    if not path.is_file():
        raise WeightsError(f"there is no weights file {path}")
    try:
        with path.open("rb") as file:
            yield file
    except OSError as error:
        raise WeightsError(f"cannot read weights {path}: {error.strerror or error}") from error


def parse_json(text: bytes | str) -> object:
    """Return the value of a JSON text.

    Raises
    ------
    ValueError
        It is none, is nested too deep, names something twice, or has a number without end.

    Examples
    --------
    >>> parse_json('{"a": NaN}')
    Traceback (most recent call last):
    ValueError: NaN is no number of JSON
    """
    words = text.decode("utf-8") if isinstance(text, bytes) else text
    marks = (mark.group() for mark in _BRACKET.finditer(_STRING.sub("", words)))
    depths = accumulate(1 if mark in "[{" else -1 for mark in marks)
    if any(depth > _MAX_DEPTH for depth in depths):
        raise ValueError(f"it is nested deeper than {_MAX_DEPTH}")
    value: object = json.loads(
        words, object_pairs_hook=_unique, parse_constant=_no_number, parse_float=_finite
    )
    return value


def _refuse_start(path: Path, start: bytes, length: int, size: int) -> NoReturn:
    for beginning, what in _PICKLE_STARTS.items():
        if start.startswith(beginning):
            raise WeightsError(f"{path}: this is {what}", hint=_PICKLE)
    raise WeightsError(
        f"{path}: no safetensors file: its header would take {length} bytes, the file has {size} "
        f"and {_MAX_HEADER} are allowed",
        hint=NOT_OURS,
    )


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a name stands twice in it")
    return found


def _no_number(word: str) -> NoReturn:
    raise ValueError(f"{word} is no number of JSON")


def _finite(digits: str) -> float:
    value = float(digits)
    if not math.isfinite(value):
        raise ValueError(f"{digits[:_SHOWN]} is too large")
    return value


def _checked(value: object, n_bytes: int) -> Header:
    """Return the header that a JSON value is, if it fits a file with so many bytes of tensors."""
    if not isinstance(value, dict):
        raise ValueError("it is no JSON object")  # noqa: TRY004
    metadata = value.pop(_METADATA_KEY, {})
    if not isinstance(metadata, dict) or not all(isinstance(v, str) for v in metadata.values()):
        raise ValueError("its metadata is not text by name")
    if len(value) > _MAX_TENSORS:
        raise ValueError(f"it lists {len(value)} tensors, {_MAX_TENSORS} are allowed")
    places = sorted((*_place(name, fact), name) for name, fact in value.items())
    _check_gapless(places, n_bytes)
    return Header({name: _stored(value[name]) for *_, name in places}, metadata)


def _check_gapless(places: list[tuple[int, int, str]], n_bytes: int) -> None:
    """Raise unless tensors lie one after the other, from the first byte to the last."""
    end = 0
    for begin, stop, name in places:
        if begin != end:
            raise ValueError(
                f"tensor {name[:_SHOWN]!r} begins at byte {begin}, the one before ends at {end}"
            )
        end = stop
    if end != n_bytes:
        raise ValueError(f"its tensors take {end} bytes, the file has {n_bytes} for them")


def _place(name: str, fact: object) -> tuple[int, int]:
    """Return where a tensor begins and ends, if that is what its shape takes."""
    what = f"tensor {name[:_SHOWN]!r}"
    if not isinstance(fact, dict) or fact.keys() != {"dtype", "shape", "data_offsets"}:
        raise ValueError(f"{what} is not described by dtype, shape and data_offsets")
    dtype, shape, offsets = fact["dtype"], fact["shape"], fact["data_offsets"]
    if not isinstance(dtype, str) or dtype not in _ITEM_BYTES:
        raise ValueError(f"{what}: its type is none of {', '.join(_ITEM_BYTES)}")
    if not _are_counts(shape, range(_MAX_AXES + 1)):
        raise ValueError(
            f"{what}: its shape is not up to {_MAX_AXES} whole numbers from 0 to 2**48"
        )
    if not _are_counts(offsets, (2,)):
        raise ValueError(f"{what}: data_offsets are not two whole numbers from 0 to 2**48")
    begin, end = offsets
    # whole numbers of Python do not overflow
    wanted = math.prod(shape) * _ITEM_BYTES[dtype]
    if end - begin != wanted:
        raise ValueError(
            f"{what}: its shape takes {wanted} bytes, it has those from {begin} to {end}"
        )
    return begin, end


def _stored(fact: Mapping[str, Any]) -> StoredTensor:
    return StoredTensor(fact["dtype"], tuple(fact["shape"]))


def _are_counts(values: object, lengths: Container[int]) -> bool:
    # True and False are whole numbers to Python, and 2.0 equals one
    return (
        isinstance(values, list)
        and len(values) in lengths
        and all(type(value) is int and 0 <= value <= _MAX_COUNT for value in values)
    )
