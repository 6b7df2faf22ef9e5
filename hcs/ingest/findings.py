"""What is wrong with a set of source images: each check returns sentences that name files."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Hashable, Iterable, Mapping, Sequence
from itertools import chain, islice, pairwise
from math import gcd
from pathlib import Path

from hcs.ingest.ome_tiff import Calibration, TiffFacts
from hcs.ingest.source import SourceImage, plate_order
from hcs.plate.path import FieldPath

# of a kind of problem in one field; the count tells the rest
_NAMED = 5


def some(names: Iterable[object]) -> str:
    """Return the first names of a list in words, and how many more there are.

    Examples
    --------
    >>> some("abc"), some(range(7))
    ('a, b, c', '0, 1, 2, 3, 4 and 2 more')
    """
    known = list(names)
    return _first_of(known, len(known))


def _first_of(names: Iterable[object], n_names: int) -> str:
    rest = n_names - _NAMED
    return ", ".join(map(str, islice(names, _NAMED))) + (f" and {rest} more" if rest > 0 else "")


def duplicates(images: Sequence[SourceImage]) -> list[str]:
    """Return a sentence per field with planes that several files claim."""
    claims = defaultdict[Hashable, list[SourceImage]](list)
    for image in images:
        claims[image.field, image.time, image.channel, image.z].append(image)
    twice = defaultdict[FieldPath, list[str]](list)
    for claim in claims.values():
        if len(claim) > 1:
            twice[claim[0].field].append(" = ".join(image.name for image in claim))
    return [
        f"{field}: {len(names)} planes are there more than once: {some(names)}"
        for field, names in twice.items()
    ]


def gaps(images: Sequence[SourceImage]) -> list[str]:
    """Return a sentence per field whose source numbers miss some in between.

    The first number may be any, and the numbers may go by twos: the step is the greatest common
    divisor of the differences.
    """
    sentences = []
    for field, own in by_field(images).items():
        first = {image.time: image for image in reversed(own)}
        times = sorted(first)
        step = gcd(*(after - before for before, after in pairwise(times))) or 1
        holes = [(a, b) for a, b in pairwise(times) if b - a > step]
        if holes:
            # one by one only those that are named: numbers may lie any distance apart
            missing = chain.from_iterable(range(a + step, b, step) for a, b in holes)
            n_missing = sum((b - a) // step - 1 for a, b in holes)
            beside = some(f"{first[a].name} and {first[b].name}" for a, b in holes)
            named = _first_of(missing, n_missing)
            sentences.append(f"{field}: no file of frames {named}: between {beside}")
    return sentences


def holes(images: Sequence[SourceImage]) -> list[str]:
    """Return a sentence per field, channel and plane that is not there at every frame."""
    pairs = sorted({(image.channel, image.z) for image in images})
    sentences = []
    for field, own in by_field(images).items():
        there = {(image.time, image.channel, image.z) for image in own}
        names = {image.time: image.name for image in reversed(own)}
        for channel, z in pairs:
            missing = [time for time in sorted(names) if (time, channel, z) not in there]
            if len(missing) == len(names):
                sentences.append(f"{field}: no channel {channel!r} plane {z} at all")
            elif missing:
                beside = some(f"{time} (beside {names[time]})" for time in missing)
                sentences.append(f"{field}: no channel {channel!r} plane {z} at frames {beside}")
    return sentences


def shapes(images: Sequence[SourceImage], facts: Mapping[Path, TiffFacts]) -> list[str]:
    """Return a sentence when the planes differ in shape, and one when they differ in pixel type."""
    sentences = []
    for what, of in (("shape", _shape_text), ("pixel type", _dtype_text)):
        kinds = defaultdict[str, list[SourceImage]](list)
        for image in images:
            kinds[of(facts[image.path])].append(image)
        if len(kinds) > 1:
            groups = "; ".join(
                f"{kind} in {len(own)} planes of {some(dict.fromkeys(i.field for i in own))}"
                f" (first {own[0].name})"
                for kind, own in kinds.items()
            )
            sentences.append(f"more than one {what}: {groups}. Import each as a plate of its own")
    return sentences


def calibrations(
    facts: Mapping[Path, TiffFacts], given: Calibration
) -> tuple[Calibration, list[str]]:
    """Return the sizes on which all files agree, and a sentence for each on which they do not."""
    found, sentences = {}, []
    for name in ("pixel_size_um", "interval_s", "z_step_um"):
        sizes = defaultdict[float | None, list[Path]](list)
        for path, fact in facts.items():
            sizes[getattr(fact.calibration, name)].append(path)
        found[name] = next(iter(sizes)) if len(sizes) == 1 else None
        if len(sizes) > 1 and getattr(given, name) is None:
            groups = "; ".join(
                f"{size or 'none'} in {len(paths)} files (first {paths[0]})"
                for size, paths in sizes.items()
            )
            option = "--" + name.replace("_", "-")
            sentences.append(f"more than one {name}: {groups}. Say which with {option}")
    return Calibration(**found), sentences


def by_field(images: Iterable[SourceImage]) -> dict[FieldPath, list[SourceImage]]:
    """Return the images of each field, fields and images in the order of the plate."""
    fields = defaultdict[FieldPath, list[SourceImage]](list)
    for image in sorted(images, key=lambda image: (plate_order(image.field), image.time)):
        fields[image.field].append(image)
    return dict(fields)


def _shape_text(facts: TiffFacts) -> str:
    return f"{facts.shape[0]} x {facts.shape[1]}"


def _dtype_text(facts: TiffFacts) -> str:
    return facts.dtype
