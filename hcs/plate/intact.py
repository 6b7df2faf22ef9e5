"""Are the pixels of a field whole? Every chunk of every level is decoded once."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice, product
from typing import TypeAlias

from hcs.errors import HcsError
from hcs.plate.metadata import FieldImage
from hcs.plate.open import Plate
from hcs.plate.path import FieldPath
from hcs.plate.pixels import Pixels
from hcs.plate.threads import THREADS

_Place: TypeAlias = tuple[int, ...]

# in names of files of chunks; of a level that is read none has more than eight digits
_NUMBER = re.compile(r"[0-9]{1,8}")
# of missing chunks of a level: a plate that lies about its size has ten million
_MOST_NAMED = 1000


@dataclass(frozen=True)
class PixelCheck:
    """What came of decoding a field.

    Parameters
    ----------
    problems : tuple of str
        A sentence for each chunk that is damaged, or missing where all were written; of a level
        that lost very many, one that counts the rest.
    n_absent : int
        Chunks that are not there and may never have been: they read as empty.
    """

    problems: tuple[str, ...]
    n_absent: int


@dataclass(frozen=True)
class _Chunk:
    """A file of chunks: where it lies, and which pixels it holds."""

    key: str
    selection: tuple[slice, ...]


def check_pixels(plate: Plate, field: FieldPath) -> PixelCheck:
    """Decode every chunk of a field's image and say what is damaged or missing.

    A flipped bit is found where the codec carries a checksum (`hcs.plate.array.has_checksum`);
    elsewhere only what cannot be decoded is.

    Raises
    ------
    HcsError
        The field's metadata cannot be read.
    """
    image = plate.field_image(field)
    problems, n_absent = list[str](), 0
    for number in range(len(image.levels)):
        found = _check_level(plate, image, number)
        problems += found.problems
        n_absent += found.n_absent
    return PixelCheck(tuple(problems), n_absent)


def _check_level(plate: Plate, image: FieldImage, number: int) -> PixelCheck:
    pixels = Pixels(plate, str(image.path), image, number)
    units = pixels.array.shards or pixels.array.chunks
    counts = [-(-n // unit) for n, unit in zip(pixels.array.shape, units, strict=True)]
    present = sorted(_places(plate.images.sizes(pixels.array.path), pixels, counts))
    chunks = (_chunk(pixels, units, place) for place in present)
    found = THREADS.map(lambda chunk: _problem(pixels, chunk), chunks)
    problems = [problem for problem in found if problem]
    n_absent = math.prod(counts) - len(present)
    if not pixels.writes_all:
        return PixelCheck(tuple(problems), n_absent)
    there = set(present)
    absent = (place for place in product(*map(range, counts)) if place not in there)
    problems += [f"{_key(pixels, place)} is missing" for place in islice(absent, _MOST_NAMED)]
    if n_absent > _MOST_NAMED:
        problems.append(f"{n_absent - _MOST_NAMED} more chunks of {pixels.array.path} are missing")
    return PixelCheck(tuple(problems), 0)


def _places(keys: Iterable[str], pixels: Pixels, counts: Sequence[int]) -> Iterator[_Place]:
    """Yield the places in the grid of chunks of those files that hold some.

    A level may have ten million chunks, and only those that are there take time.
    """
    for key in keys:
        numbers = _NUMBER.findall(key.removeprefix(f"{pixels.array.path}/"))
        place = tuple(map(int, numbers))
        # other files have numbers in their names, too
        if (
            len(place) == len(counts)
            and all(i < n for i, n in zip(place, counts, strict=True))
            and _key(pixels, place) == key
        ):
            yield place


def _key(pixels: Pixels, place: _Place) -> str:
    return f"{pixels.array.path}/{pixels.array.metadata.encode_chunk_key(place)}"


def _chunk(pixels: Pixels, units: Sequence[int], place: _Place) -> _Chunk:
    starts = [i * unit for i, unit in zip(place, units, strict=True)]
    ends = [min(a + u, n) for a, u, n in zip(starts, units, pixels.array.shape, strict=True)]
    selection = tuple(slice(a, b) for a, b in zip(starts, ends, strict=True))
    return _Chunk(_key(pixels, place), selection)


def _problem(pixels: Pixels, chunk: _Chunk) -> str:
    if pixels.is_whole(chunk.key):
        return ""
    try:
        pixels.take(chunk.selection, chunk.key)
    except HcsError as error:
        return error.message
    return ""
