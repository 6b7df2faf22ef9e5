"""The header of a safetensors file, checked by hand before anything else touches the file.

A weights file may come from anyone. It begins with the length of a JSON text, little-endian in
eight bytes, then the text, which says of every tensor its type, its shape, and where its bytes lie
in the rest of the file. Nothing of that is believed: lengths, nesting, types, shapes and offsets
are checked against limits and against the file's size, with little memory. Once it is through, a
tensor takes as much memory as the file has bytes for it, and no more.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path
from typing import Any, NoReturn

from pydantic import ValidationError

from hcs.errors import WeightsError
from hcs.isl.card import ModelCard

# the key of the card among the metadata
CARD_KEY = "hcs_card"
METADATA_KEY = "__metadata__"

# limits (ours). The largest encoder's header takes some 200 kB; a JSON text of 2 MB takes at most
# some 50 MB as Python objects
_MAX_HEADER = 2_000_000
_MAX_DEPTH = 32
_MAX_TENSORS = 20_000
_MAX_AXES = 8
# bytes per element, of the types that networks are stored in
_ITEM_BYTES = {"BOOL": 1, "U8": 1, "I8": 1, "F16": 2, "BF16": 2, "I16": 2, "I32": 4, "F32": 4}
_ITEM_BYTES |= {"I64": 8, "F64": 8}
_LENGTH_BYTES = 8
_MAX_COUNT = 2**48
# what nests in a JSON text, once its strings are taken out
_BRACKET = re.compile(r"[\[{\]}]")
_STRING = re.compile(r'"(?:[^"\\]|\\.)*"', re.DOTALL)

_NOT_OURS = "give a file that `hcs train` wrote; if it is one, it is damaged: get it anew"
_PICKLE = "pickle can run code when it is read; only safetensors files are taken"
_PICKLE_SUFFIXES = (".pt", ".pth", ".ckpt", ".pkl", ".pickle", ".bin", ".zip", ".tar")


@dataclass(frozen=True)
class StoredTensor:
    """A tensor as the header tells of it, checked.

    Parameters
    ----------
    dtype : str
        As safetensors writes it, "F32".
    shape : tuple of int
        Sides; () for one number.
    """

    dtype: str
    shape: tuple[int, ...]


@dataclass(frozen=True)
class Header:
    """What a weights file says of itself, checked.

    Parameters
    ----------
    tensors : mapping of str to StoredTensor
        By name.
    metadata : mapping of str to str
        As it stands in the file.
    """

    tensors: Mapping[str, StoredTensor]
    metadata: Mapping[str, str]


def read_card(path: Path) -> ModelCard:
    """Return what a weights file says of its network; torch is not loaded, no tensor is read.

    Parameters
    ----------
    path : Path
        A safetensors file as `hcs train` writes it.

    Raises
    ------
    WeightsError
        No such file; a pickle; a damaged or hostile header; no card, or one that is not valid, with
        all its problems.
    """
    return card_of(read_header(path), path)


def card_of(header: Header, path: Path) -> ModelCard:
    """Return the card that stands in a header; `read_card` for one read already."""
    text = header.metadata.get(CARD_KEY)
    if text is None:
        raise WeightsError(
            f"{path}: there is no model card in it, so nothing says what its network takes",
            hint="weights of other programs cannot be used; train with `hcs train`",
        )
    try:
        _parse(text)
        card = ModelCard.model_validate_json(text)
    except ValidationError as error:
        problems = "; ".join(_in_words(problem) for problem in error.errors())
        raise WeightsError(
            f"{path}: its model card is not valid: {problems}", hint=_NOT_OURS
        ) from error
    except (ValueError, RecursionError) as error:
        raise WeightsError(f"{path}: its model card is no JSON: {error}", hint=_NOT_OURS) from error
    contradictions = card.problems()
    if contradictions:
        raise WeightsError(
            f"{path}: its model card contradicts itself: {'; '.join(contradictions)}",
            hint=_NOT_OURS,
        )
    return card


def weights_digest(path: Path) -> str:
    """Return the SHA-256 of a file in hexadecimal, as ``sha256sum`` prints it.

    Raises
    ------
    WeightsError
        The file cannot be read.
    """
    with _read_errors(path), path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def read_header(path: Path) -> Header:
    """Return the checked header of a safetensors file.

    Raises
    ------
    WeightsError
        No such file, a pickle, or a header that is damaged or hostile.
    """
    with _read_errors(path), path.open("rb") as file:
        size = path.stat().st_size
        start = file.read(_LENGTH_BYTES)
        length = int.from_bytes(start, "little")
        if size < _LENGTH_BYTES or not 2 <= length <= min(_MAX_HEADER, size - _LENGTH_BYTES):
            _refuse_length(path, start, length, size)
        text = file.read(length)
    if path.suffix.lower() in _PICKLE_SUFFIXES:
        raise WeightsError(f"{path}: a file of this name is not taken", hint=_PICKLE)
    try:
        return _checked(_parse(text), size - _LENGTH_BYTES - length)
    except (ValueError, RecursionError) as error:
        raise WeightsError(f"{path}: its header is damaged: {error}", hint=_NOT_OURS) from error


@contextmanager
def _read_errors(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise WeightsError(f"cannot read weights {path}: {error.strerror or error}") from error


def _in_words(problem: Mapping[str, Any]) -> str:
    """Return one of pydantic's problems as "where: what"."""
    return f"{'.'.join(str(part) for part in problem['loc']) or 'card'}: {problem['msg']}"


def _refuse_length(path: Path, start: bytes, length: int, size: int) -> NoReturn:
    if start[:4] == b"PK\x03\x04":
        raise WeightsError(f"{path}: this is a zip archive, as torch.save writes it", hint=_PICKLE)
    if start[:1] == b"\x80" and start[1:2] in b"\x02\x03\x04\x05":
        raise WeightsError(f"{path}: this is a pickle", hint=_PICKLE)
    if path.suffix.lower() in _PICKLE_SUFFIXES:
        raise WeightsError(f"{path}: a file of this name is not taken", hint=_PICKLE)
    raise WeightsError(
        f"{path}: no safetensors file: its header would be {length} bytes long, the file "
        f"has {size} and {_MAX_HEADER} are allowed",
        hint=_NOT_OURS,
    )


def _parse(text: bytes | str) -> object:
    """Return the value of a JSON text; ValueError for what is none, or is nested too deep."""
    words = text.decode("utf-8") if isinstance(text, bytes) else text
    depth = accumulate(
        1 if mark in "[{" else -1 for mark in _BRACKET.findall(_STRING.sub("", words))
    )
    if max(depth, default=0) > _MAX_DEPTH:
        raise ValueError(f"it is nested deeper than {_MAX_DEPTH}")
    value: object = json.loads(
        words, object_pairs_hook=_unique, parse_constant=_no_number, parse_float=_finite
    )
    return value


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
        raise ValueError(f"{digits[:20]} is too large for a number")
    return value


def _checked(value: object, n_bytes: int) -> Header:
    """Return the header that a JSON value is, if it fits a file with so many bytes of tensors."""
    if not isinstance(value, dict):
        raise ValueError("it is no JSON object")  # noqa: TRY004
    metadata = value.pop(METADATA_KEY, {})
    if not isinstance(metadata, dict) or not all(isinstance(v, str) for v in metadata.values()):
        raise ValueError("its metadata is not text by name")
    if len(value) > _MAX_TENSORS:
        raise ValueError(f"it lists {len(value)} tensors, {_MAX_TENSORS} are allowed")
    end = 0
    tensors = {}
    for name, begin, stop, tensor in sorted(_tensors(value), key=lambda one: one[1:3]):
        if begin != end:
            raise ValueError(
                f"tensor {name[:80]!r} begins at byte {begin}, the one before ends at {end}"
            )
        tensors[name] = tensor
        end = stop
    if end != n_bytes:
        raise ValueError(f"its tensors take {end} bytes, the file has {n_bytes} for them")
    return Header(tensors, metadata)


def _tensors(value: dict[str, Any]) -> Iterator[tuple[str, int, int, StoredTensor]]:
    for name, fact in value.items():
        try:
            yield name, *_tensor(fact)
        except ValueError as error:
            raise ValueError(f"tensor {name[:80]!r}: {error}") from None


def _tensor(fact: object) -> tuple[int, int, StoredTensor]:
    """Return where a tensor begins and ends, and what it is."""
    if not isinstance(fact, dict) or fact.keys() != {"dtype", "shape", "data_offsets"}:
        raise ValueError("it is not described by dtype, shape and data_offsets")
    dtype, shape, offsets = fact["dtype"], fact["shape"], fact["data_offsets"]
    if not isinstance(dtype, str) or dtype not in _ITEM_BYTES:
        raise ValueError(f"type {str(dtype)[:20]!r} is none of {', '.join(_ITEM_BYTES)}")
    if not _are_counts(shape) or len(shape) > _MAX_AXES:
        raise ValueError(f"a shape is up to {_MAX_AXES} whole numbers, none below 0 or above 2**48")
    if not _are_counts(offsets) or len(offsets) != 2:
        raise ValueError("data_offsets are two whole numbers, none below 0 or above 2**48")
    begin, end = offsets
    # Python's whole numbers do not overflow
    wanted = math.prod(shape) * _ITEM_BYTES[dtype]
    if end - begin != wanted:
        raise ValueError(f"its shape takes {wanted} bytes, it has those from {begin} to {end}")
    return begin, end, StoredTensor(dtype, tuple(shape))


def _are_counts(values: object) -> bool:
    return isinstance(values, list) and all(
        type(value) is int and 0 <= value <= _MAX_COUNT for value in values
    )
