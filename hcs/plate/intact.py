"""Are the pixels of a field whole? Every chunk of every level is decoded once."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product

from hcs.errors import HcsError
from hcs.plate.metadata import FieldImage
from hcs.plate.open import Plate
from hcs.plate.path import FieldPath
from hcs.plate.pixels import Pixels
from hcs.plate.threads import THREADS


@dataclass(frozen=True)
class PixelCheck:
    """What came of decoding a field.

    Parameters
    ----------
    problems : tuple of str
        A sentence for each chunk that is damaged, or missing where all were written.
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
    there = plate.images.sizes(pixels.array.path)
    chunks = list(_chunks(pixels))
    absent = [chunk for chunk in chunks if chunk.key not in there]
    present = [chunk for chunk in chunks if chunk.key in there]
    found = THREADS.map(lambda chunk: _problem(pixels, chunk), present)
    problems = [problem for problem in found if problem]
    if pixels.writes_all:
        problems += [f"{chunk.key} is missing" for chunk in absent]
        absent = []
    return PixelCheck(tuple(problems), len(absent))


def _chunks(pixels: Pixels) -> Iterator[_Chunk]:
    array = pixels.array
    units = array.shards or array.chunks
    numbers = (range(-(-n // unit)) for n, unit in zip(array.shape, units, strict=True))
    for place in product(*numbers):
        first = [i * unit for i, unit in zip(place, units, strict=True)]
        last = [min(a + u, n) for a, u, n in zip(first, units, array.shape, strict=True)]
        key = array.metadata.encode_chunk_key(place)
        yield _Chunk(
            f"{array.path}/{key}", tuple(slice(a, b) for a, b in zip(first, last, strict=True))
        )


def _problem(pixels: Pixels, chunk: _Chunk) -> str:
    if pixels.is_whole(chunk.key):
        return ""
    try:
        pixels.take(chunk.selection, chunk.key)
    except HcsError as error:
        return error.message
    return ""
