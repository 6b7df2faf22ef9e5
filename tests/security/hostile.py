"""Wells as somebody would make them who means harm; each is a good well, changed in one place."""

import bz2
import gzip
import json
import os
import zlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numcodecs

GIGABYTE = 2**30
_ZEROS = bytes(2**20)


def edited(*place: str | int, to: object, file: str = ".zattrs") -> Callable[[Path, Path], None]:
    """Return what sets one value in a document of the well's field."""

    def edit(well: Path, _: Path) -> None:
        path = well / "0" / file
        document: Any = json.loads(path.read_text())
        inner = document
        for name in place[:-1]:
            inner = inner[name]
        inner[place[-1]] = to
        path.write_text(json.dumps(document))

    return edit


def level_path(to: object) -> Callable[[Path, Path], None]:
    return edited("multiscales", 0, "datasets", 0, "path", to=to)


def transformation(**values: object) -> Callable[[Path, Path], None]:
    (kind,) = values
    part = {"type": kind, **values}
    others = [] if kind == "scale" else [{"type": "scale", "scale": [1.0] * 5}]
    return edited("multiscales", 0, "datasets", 0, "coordinateTransformations", to=[*others, part])


def array(**values: object) -> Callable[[Path, Path], None]:
    """Return what changes the metadata of the array of full resolution."""

    def edit(well: Path, outside: Path) -> None:
        for name, value in values.items():
            edited(name, to=value, file="0/.zarray")(well, outside)

    return edit


def moved_out(part: str) -> Callable[[Path, Path], None]:
    """Return what puts a link in the place of a part of the well."""

    def link(well: Path, outside: Path) -> None:
        inside = well / part
        there = outside / f"{well.name}-{inside.name}"
        if inside.exists():
            inside.rename(there)
        else:
            there.mkdir()
        inside.symlink_to(there)

    return link


def text(content: str) -> Callable[[Path, Path], None]:
    def write(well: Path, _: Path) -> None:
        (well / "0/.zattrs").write_text(content)

    return write


def holes(part: str, size: int) -> Callable[[Path, Path], None]:
    """Return what makes a file that is all holes: it takes no place on the disk."""

    def make(well: Path, _: Path) -> None:
        with (well / part).open("wb") as file:
            file.truncate(size)

    return make


def pipe(well: Path, _: Path) -> None:
    (well / "0/.zattrs").unlink()
    os.mkfifo(well / "0/.zattrs")


def round_link(well: Path, _: Path) -> None:
    (well / "0/.zattrs").unlink()
    (well / "0/.zattrs").symlink_to(well / "0/.zattrs")


def chunk(codec: Mapping[str, object] | None, content: bytes) -> Callable[[Path, Path], None]:
    """Return what replaces a chunk, and says by which codec it is written."""

    def write(well: Path, outside: Path) -> None:
        array(compressor=codec)(well, outside)
        (well / "0/0/0/0/0/0/0").write_bytes(content)

    return write


def _fed(compressor: Any) -> bytes:
    # a thousand to one: a longer file than a chunk's is not read at all
    parts = [compressor.compress(_ZEROS) for _ in range(128)]
    return b"".join([*parts, compressor.flush()])


def zstd_bomb() -> bytes:
    """Return many honest frames: none says how much they hold together."""
    return numcodecs.Zstd(1).encode(_ZEROS) * (GIGABYTE // len(_ZEROS))


def zlib_bomb() -> bytes:
    return _fed(zlib.compressobj(9))


def gzip_bomb() -> bytes:
    return gzip.compress(_ZEROS, 9) * 128


def bz2_bomb() -> bytes:
    return _fed(bz2.BZ2Compressor(9))


def lying(codec: Any, place: int) -> bytes:
    """Return a sound chunk whose header says that it holds two gigabytes."""
    content = bytearray(codec.encode(bytes(4 * 2**20)))
    content[place : place + 4] = (2**31 - 1).to_bytes(4, "little")
    return bytes(content)


LEAVES, NO_NAME = "leaves the plate", "is no name of a file"
TOO_MUCH, NOT_READ = "too much for its chunk", "which is not read"

# refused when metadata are read: what is done to the well, and words of the refusal
METADATA: dict[str, tuple[Callable[[Path, Path], None], str]] = {
    "level above": (level_path("../../../A/1/0/0"), LEAVES),
    "level absolute": (level_path("/etc"), LEAVES),
    "level on the web": (level_path("https://example.org/x"), LEAVES),
    "level on S3": (level_path("s3://bucket/x"), LEAVES),
    "level of Windows": (level_path("..\\..\\x"), NO_NAME),
    "level with NUL": (level_path("0\0"), NO_NAME),
    "level half a character": (level_path("\ud800"), NO_NAME),
    "level long": (level_path("x" * 300), NO_NAME),
    "level encoded": (level_path("%2e%2e/%2e%2e"), "has no level"),
    "levels without end": (
        edited("multiscales", 0, "datasets", to=[{"path": "0"}] * 10_000),
        "at most 100 items",
    ),
    "axes without end": (edited("multiscales", 0, "axes", to=[{"name": "y"}] * 100), "at most 5"),
    "link to a well": (moved_out(""), LEAVES),
    "link to a field": (moved_out("0"), LEAVES),
    "link to a level": (moved_out("0/0"), LEAVES),
    "link to a document": (moved_out("0/.zattrs"), LEAVES),
    "link to array metadata": (moved_out("0/0/.zarray"), LEAVES),
    "link to itself": (round_link, "cannot read"),
    "a pipe": (pipe, "no plain file"),
    "deep": (text("[" * 200_000), "nested too deeply"),
    "deep object": (text('{"a":' * 100_000), "nested too deeply"),
    "huge": (holes("0/.zattrs", 400 * 2**20), "has more than 67108864 bytes"),
    "huge array metadata": (holes("0/0/.zarray", 400 * 2**20), "has more than 67108864 bytes"),
    "deep array metadata": (array(filters=json.loads("[" * 900 + "]" * 900)), "cannot be opened"),
    "no object": (text("[]"), "no JSON object"),
    "pickle as compressor": (array(compressor={"id": "pickle"}), NOT_READ),
    "pickle as filter": (array(filters=[{"id": "pickle"}]), NOT_READ),
    "objects": (array(dtype="|O", filters=[{"id": "pickle"}]), NOT_READ),
    "objects without codec": (array(dtype="|O"), "cannot be opened"),
    "text as pixels": (array(dtype="|O", filters=[{"id": "vlen-utf8"}], fill_value=""), "numbers"),
    "codec from Python": (array(compressor={"id": "os.system", "command": "true"}), NOT_READ),
    "codec nobody knows": (array(compressor={"id": "zzz"}), NOT_READ),
    "codec no object": (array(compressor=7), NOT_READ),
    "compressor as filter": (array(filters=[{"id": "json2"}]), NOT_READ),
    "shape immense": (array(shape=[4, 2, 1, 10**9, 10**9]), "that is too much"),
    "shape beyond numbers": (array(shape=[4, 2, 1, 10**30, 128]), "cannot be opened|too much"),
    "channels immense": (array(shape=[4, 10**9, 1, 128, 128]), "that is too much"),
    "shape negative": (array(shape=[4, 2, 1, -128, 128]), "cannot be opened"),
    "shape of text": (array(shape="128"), "cannot be opened"),
    "chunks immense": (array(chunks=[1, 1, 1, 2**20, 2**20]), "pixels in a chunk"),
    "chunks beyond the array": (
        array(chunks=[1, 1, 1, 2**14, 2**14]),
        "has 268435456 pixels in a chunk, which covers 16384: up to 64 times as many are read",
    ),
    "chunks of nothing": (array(chunks=[1, 1, 1, 0, 0]), "cannot be opened|chunks"),
    "chunks beyond count": (array(shape=[4, 2, 1, 9999, 9999], chunks=[1] * 5), "chunks: up to"),
    "scale NaN": (transformation(scale=[1, 1, 1, float("nan"), 1]), "not positive"),
    "scale infinite": (transformation(scale=[1, 1, 1, float("inf"), 1]), "not positive"),
    "scale negative": (transformation(scale=[1, 1, 1, -0.65, -0.65]), "not positive"),
    "scale nothing": (transformation(scale=[1, 1, 1, 0, 0]), "not positive"),
    "place NaN": (transformation(translation=[0, 0, 0, float("nan"), 0]), "no finite size"),
    "place infinite": (transformation(translation=[0, 0, 0, float("-inf"), 0]), "no finite size"),
}

# found when pixels are read
PIXELS: dict[str, tuple[Callable[[Path, Path], None], str]] = {
    "zstd bomb": (chunk({"id": "zstd", "level": 1}, zstd_bomb()), TOO_MUCH),
    "gzip bomb": (chunk({"id": "gzip", "level": 1}, gzip_bomb()), TOO_MUCH),
    "zlib bomb": (chunk({"id": "zlib", "level": 1}, zlib_bomb()), TOO_MUCH),
    "bz2 bomb": (chunk({"id": "bz2", "level": 1}, bz2_bomb()), TOO_MUCH),
    "blosc that lies": (
        chunk(numcodecs.Blosc().get_config(), lying(numcodecs.Blosc(), 4)),
        TOO_MUCH,
    ),
    "lz4 that lies": (chunk(numcodecs.LZ4().get_config(), lying(numcodecs.LZ4(), 0)), TOO_MUCH),
    "bomb as filter": (
        lambda well, outside: (
            chunk(None, zlib_bomb())(well, outside),
            array(filters=[{"id": "zlib", "level": 1}])(well, outside),
        ),
        TOO_MUCH,
    ),
    "chunk without end": (holes("0/0/0/0/0/0/0", 64 * GIGABYTE), "its file has more than"),
    "chunk of another size": (chunk(None, bytes(77)), "is damaged"),
    "link to a chunk": (moved_out("0/0/0/0/0/0/0"), LEAVES),
    "chunk that is a pipe": (
        lambda well, _: ((c := well / "0/0/0/0/0/0/0").unlink(), os.mkfifo(c)),
        "no plain file",
    ),
    "label images elsewhere": (moved_out("0/labels"), LEAVES),
    "tables elsewhere": (moved_out("0/tables"), LEAVES),
}
