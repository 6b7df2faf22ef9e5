"""A TIFF file opened so that a damaged one is an error that names it."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from xml.etree import ElementTree as ET

import tifffile

from hcs.errors import ImportFilesError

# what tifffile and the XML parser raise on bytes that are no TIFF, or one with damaged tags: they
# trust counts, offsets and types as they stand in the file
_DAMAGE = (
    tifffile.TiffFileError,
    struct.error,
    ET.ParseError,
    ValueError,
    LookupError,
    TypeError,
    AttributeError,
    ArithmeticError,
    AssertionError,
    RuntimeError,
    MemoryError,
    OSError,
)

# of an XML text, where such definitions stand
_PROLOGUE = 100_000


@contextmanager
def open_tiff(path: Path) -> Iterator[tifffile.TiffFile]:
    """Open a TIFF file; `ImportFilesError` where it is not there or no TIFF."""
    with damage_named(path):
        # a file of a multi-file OME set stands for its own pages only
        tiff = tifffile.TiffFile(path, _multifile=False)
    with tiff:
        with damage_named(path):
            described = str(tiff.pages.first.description)[:_PROLOGUE] if len(tiff.pages) else ""
        if "<!DOCTYPE" in described or "<!ENTITY" in described:
            # entities of entities hold more than a memory, and others name files
            raise ImportFilesError(f"{path}: its OME-XML defines entities, which is not read")
        yield tiff


@contextmanager
def damage_named(path: Path) -> Iterator[None]:
    """Turn what damaged bytes raise inside the block into one error that names the file."""
    try:
        yield
    except FileNotFoundError as error:
        raise ImportFilesError(f"{path}: no such file") from error
    except _DAMAGE as error:
        cause = str(error) or type(error).__name__
        raise ImportFilesError(f"{path}: not a TIFF file that can be read: {cause}") from error


def check_whole(path: Path, tiff: tifffile.TiffFile) -> None:
    """Raise `ImportFilesError` where the pages, or the pixels of one, lie behind the file's end."""
    if not len(tiff.pages):
        raise ImportFilesError(f"{path}: it holds no page", hint="cut off or damaged: copy it anew")
    size = int(tiff.filehandle.size)
    # reading the series adds the planes that ImageJ keeps behind one page
    declared = int((tiff.imagej_metadata or {}).get("images", 1)) if tiff.series else 1
    reach = [_next_page_offset(tiff)]
    reach += [
        offset + count
        for page in tiff.pages
        for offset, count in zip(page.dataoffsets, page.databytecounts, strict=False)
    ]
    if max(reach) > size or declared > len(tiff.pages):
        raise ImportFilesError(
            f"{path}: it ends too early: its {max(declared, len(tiff.pages))} pages reach to byte "
            f"{max(reach)} at least, the file has {size}",
            hint="copy it anew",
        )


def _next_page_offset(tiff: tifffile.TiffFile) -> int:
    """Return where the page after the last would begin, 0 where there is none.

    tifffile takes the chain of pages as ended where it points behind the file's end.
    """
    layout, stream = tiff.tiff, tiff.filehandle
    offset = tiff.pages[-1].offset
    stream.seek(offset)
    (n_tags,) = struct.unpack(layout.tagnoformat, stream.read(layout.tagnosize))
    stream.seek(offset + layout.tagnosize + n_tags * layout.tagsize)
    (following,) = struct.unpack(layout.offsetformat, stream.read(layout.offsetsize))
    return int(following)
