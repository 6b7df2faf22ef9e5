"""Look at every field before a run begins, from metadata alone, and say all that is wrong."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from hcs.errors import HcsError, PlateError
from hcs.plate.array import has_checksum
from hcs.plate.group import OWN
from hcs.plate.metadata import FieldImage
from hcs.plate.open import Plate, label_key
from hcs.plate.path import FieldPath, WellPath

# metadata are small files: the wait is for the disk or the network
_THREADS = 8
_AXES = ("c", "z", "y", "x")


@dataclass(frozen=True)
class PlateCheck:
    """What is wrong with a plate, and what is odd.

    Parameters
    ----------
    problems : tuple of (WellPath, str)
        What prevents work on a well, in the order of the plate; the other wells can be worked on.
    warnings : tuple of str
    images : tuple of FieldImage
        Of the fields whose metadata can be read.
    """

    problems: tuple[tuple[WellPath, str], ...]
    warnings: tuple[str, ...]
    images: tuple[FieldImage, ...]


def check_plate(
    plate: Plate, *, channel: str | None = None, wells: Sequence[WellPath] | None = None
) -> list[str]:
    """Return warnings on a plate that can be worked on.

    Parameters
    ----------
    plate : Plate
    channel : str or None
        Must be there in every field.
    wells : sequence of WellPath or None
        All of the plate by default.

    Raises
    ------
    PlateError
        With every problem of every well.
    """
    found = find_problems(plate, channel=channel, wells=wells)
    if found.problems:
        texts = list(dict.fromkeys(text for _, text in found.problems))
        number = f"{len(texts)} problem" + ("s" if len(texts) > 1 else "")
        raise PlateError(f"plate {plate.layout.name} has {number}: {'; '.join(texts)}")
    return list(found.warnings)


def find_problems(
    plate: Plate, *, channel: str | None = None, wells: Sequence[WellPath] | None = None
) -> PlateCheck:
    """Return what is wrong with the wells of a plate, see `check_plate`; nothing is raised."""
    asked = plate.layout.wells if wells is None else tuple(wells)
    with ThreadPoolExecutor(_THREADS) as threads:
        looked = list(threads.map(lambda well: _look(plate, well, channel), asked))
    problems = [
        (well, text) for well, (_, texts) in zip(asked, looked, strict=True) for text in texts
    ]
    images = [image for found, _ in looked for image in found]
    problems += _unlike_the_others(images)
    order = {well: number for number, well in enumerate(asked)}
    problems.sort(key=lambda problem: order[problem[0]])
    odd = (*_odd_sizes(images), *_unverifiable(plate, images), *_is_truth(plate, images))
    return PlateCheck(tuple(problems), (*plate.warnings, *odd), tuple(images))


def _look(plate: Plate, path: WellPath, channel: str | None) -> tuple[list[FieldImage], list[str]]:
    images, problems = list[FieldImage](), list[str]()
    try:
        fields: tuple[FieldPath, ...] = plate.well(path).fields
    except HcsError as error:
        return images, [str(error)]
    for field in fields:
        try:
            image = plate.field_image(field)
            if channel is not None:
                image.channel_index(channel)
            images.append(image)
        except HcsError as error:
            problems.append(str(error))
    return images, problems


def _unlike_the_others(images: Iterable[FieldImage]) -> list[tuple[WellPath, str]]:
    """Return a problem for each field that is not like most: viewers and steps take one shape."""
    kinds = {image.path: _kind(image) for image in images}
    if len(set(kinds.values())) < 2:
        return []
    usual, _ = Counter(kinds.values()).most_common(1)[0]
    return [
        (path.well, f"field {path} is {kind}, most fields are {usual}")
        for path, kind in kinds.items()
        if kind != usual
    ]


def _kind(image: FieldImage) -> str:
    shape = " ".join(f"{axis}={image.length(axis)}" for axis in _AXES)
    channels = ", ".join(channel.label for channel in image.channels)
    return f"{image.dtype} {shape} ({channels}), {len(image.levels)} levels"


def _odd_sizes(images: Sequence[FieldImage]) -> list[str]:
    warnings = list[str]()
    frames = Counter(image.n_frames for image in images)
    if len(frames) > 1:
        listed = ", ".join(f"{count} with {n}" for n, count in sorted(frames.items()))
        warnings.append(
            f"fields differ in their number of frames ({listed}): viewers show as many as the "
            "first well has"
        )
    for name, sizes in (
        ("pixel size", {image.pixel_size_um for image in images}),
        ("interval between frames", {image.interval_s for image in images}),
    ):
        if len(sizes) > 1:
            listed = ", ".join(sorted(map(str, sizes)))
            warnings.append(f"fields differ in their {name}: {listed}")
        elif sizes == {None} and not (name.startswith("interval") and max(frames) == 1):
            warnings.append(f"the plate does not tell its {name}: give it in the settings")
    return warnings


def _unverifiable(plate: Plate, images: Sequence[FieldImage]) -> list[str]:
    """Return a warning if the first field's chunks have no checksum: one writer wrote them all."""
    if not images:
        return []
    first = images[0]
    try:
        if has_checksum(plate.array(f"{first.path}/{first.levels[0].path}")):
            return []
    except HcsError:
        # it could be read a moment ago: who reads its pixels will tell
        return []
    return [
        "the plate's chunks have no checksum: a file that was damaged without changing its "
        "length may be read as wrong pixels"
    ]


def _is_truth(plate: Plate, images: Sequence[FieldImage]) -> list[str]:
    """Return a warning if the first field's label images are those of a simulation."""
    if not images:
        return []
    first = images[0].path
    try:
        names = plate.label_names(first)
        found = [plate.attributes(label_key(first, name)).get(OWN) for name in names]
    except HcsError:
        # who reads label images will tell
        return []
    if not any(isinstance(own, dict) and "simulated" in own for own in found):
        return []
    return ["the plate is the truth of a simulated one, its images have no noise: analyse that one"]
