"""What an import would do: which file becomes which plane, and all that stands against it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from hcs.errors import HcsError, ImportFilesError
from hcs.ingest import findings
from hcs.ingest.ome_tiff import Calibration, TiffFacts, read_tiff_facts
from hcs.ingest.source import (
    PageAxis,
    SourceFile,
    SourceImage,
    assign_wells,
    natural_key,
    source_images,
)
from hcs.plate.path import FieldPath, WellPath

GapRule = Literal["refuse", "close"]


@dataclass(frozen=True)
class FieldPlan:
    """One field of view to be written.

    Parameters
    ----------
    path : FieldPath
    sequence : str
        Folder name of the source, empty where the source knows wells.
    times : tuple of int
        Source number of each frame.
    time_digits : int
        How many digits the source writes it with.
    images : tuple of SourceImage
        Every plane, by frame, then channel, then z.
    frame_shape : tuple of int
        (y, x) of the first plane.
    dtype : str
        Of the first plane.
    """

    path: FieldPath
    sequence: str
    times: tuple[int, ...]
    time_digits: int
    images: tuple[SourceImage, ...]
    frame_shape: tuple[int, int]
    dtype: str


@dataclass(frozen=True)
class ImportPlan:
    """The whole plate to be written.

    Parameters
    ----------
    fields : tuple of FieldPlan
        In the order of the plate.
    channels : tuple of str
        Labels in the plate, in the order of the ``c`` axis.
    n_planes : int
        Length of the ``z`` axis.
    calibration : Calibration
    file_sizes : mapping of Path to int
        Every file that is read, with its size in bytes.
    problems : tuple of str
        With any of them nothing is written.
    warnings : tuple of str
    """

    fields: tuple[FieldPlan, ...]
    channels: tuple[str, ...]
    n_planes: int
    calibration: Calibration
    file_sizes: Mapping[Path, int]
    problems: tuple[str, ...]
    warnings: tuple[str, ...]

    def check(self) -> None:
        """Raise `ImportFilesError` with all problems, where there are any."""
        if self.problems:
            count = "1 problem" if len(self.problems) == 1 else f"{len(self.problems)} problems"
            raise ImportFilesError(
                "\n  ".join([f"{count}:", *self.problems]), "nothing was written"
            )


def plan_import(
    files: Sequence[SourceFile],
    *,
    channels: Sequence[str] = (),
    calibration: Calibration | None = None,
    page_axis: PageAxis | None = None,
    gap_rule: GapRule = "refuse",
) -> ImportPlan:
    """Return what importing these files would do; reads their metadata, no pixel.

    Parameters
    ----------
    files : sequence of SourceFile
    channels : sequence of str
        Labels for the channels found, in their order, or ``found=label`` each.
    calibration : Calibration or None
        Sizes that are known better than the files know them.
    page_axis : {"t", "z", "c"} or None
        What the pages of a stack are where its metadata do not say.
    gap_rule : {"refuse", "close"}
        Whether missing source numbers are a problem, or a warning and the frames move together.

    Raises
    ------
    ImportFilesError
        If there is no file.
    """
    if not files:
        raise ImportFilesError("no file to import", hint="does the pattern fit the file names?")
    files = assign_wells(files)
    given = calibration or Calibration()
    facts, problems = _read_facts(files)
    images, unplaced = _images(files, facts, page_axis)
    found = list(dict.fromkeys(image.channel for image in images))
    labels, mislabelled = label_channels(found, channels)
    agreed, disagreed = findings.calibrations(facts, given)
    missing = findings.gaps(images)
    problems += unplaced + mislabelled + disagreed + findings.duplicates(images)
    problems += findings.holes(images) + findings.shapes(images, facts)
    problems += missing if gap_rule == "refuse" else []
    fields = _fields(files, images, facts)
    calibration = given.over(agreed)
    warnings = missing if gap_rule == "close" else []
    needed = ["pixel_size_um"] + ["interval_s"] * any(len(field.times) > 1 for field in fields)
    warnings += _calibration_warnings(needed, calibration, given, agreed)
    warnings += _frame_count_warnings(fields)
    return ImportPlan(
        fields=fields,
        channels=tuple(labels.get(name, name) for name in found),
        n_planes=len({image.z for image in images}),
        calibration=calibration,
        file_sizes={path: fact.n_bytes for path, fact in facts.items()},
        problems=tuple(problems),
        warnings=tuple(warnings),
    )


def label_channels(found: Sequence[str], given: Sequence[str]) -> tuple[dict[str, str], list[str]]:
    """Return the plate's label of each channel found, and what is wrong with those given.

    Examples
    --------
    >>> label_channels(["w1", "w2"], ["phase", "nuclei"])
    ({'w1': 'phase', 'w2': 'nuclei'}, [])
    >>> label_channels(["w1", "w2"], ["w2=nuclei"])
    ({'w2': 'nuclei'}, [])
    """
    pairs = [text.partition("=") for text in given]
    named = {old: new for old, equals, new in pairs if equals}
    bare = [old for old, equals, _ in pairs if not equals]
    labels = named | dict(zip([name for name in found if name not in named], bare, strict=False))
    problems = [f"no channel {name!r} was found" for name in sorted(set(named) - set(found))]
    if bare and len(bare) != len(found) - len(set(named) & set(found)):
        problems.append(
            f"{len(given)} channel labels are given for the {len(found)} channels found"
        )
    final = [labels.get(name, name) for name in found]
    if len(set(final)) < len(final):
        problems.append(f"two channels have one label: {', '.join(final)}")
    if problems and found:
        problems[-1] += f"; found: {', '.join(map(repr, found))}"
    return labels, problems


def _read_facts(files: Iterable[SourceFile]) -> tuple[dict[Path, TiffFacts], list[str]]:
    facts, problems = {}, []
    for path in dict.fromkeys(file.path for file in files):
        try:
            facts[path] = read_tiff_facts(path)
        except HcsError as error:
            problems.append(str(error))
    return facts, problems


def _images(
    files: Iterable[SourceFile], facts: Mapping[Path, TiffFacts], page_axis: PageAxis | None
) -> tuple[list[SourceImage], list[str]]:
    images, problems = list[SourceImage](), []
    for file in sorted(files, key=lambda file: natural_key(str(file.path))):
        try:
            if file.path in facts:
                images += source_images(file, facts[file.path], page_axis)
        except HcsError as error:
            problems.append(str(error))
    return images, problems


def _fields(
    files: Sequence[SourceFile], images: Sequence[SourceImage], facts: Mapping[Path, TiffFacts]
) -> tuple[FieldPlan, ...]:
    sequences = {file.well: file.sequence for file in files}
    digits = dict[WellPath | None, int]()
    for file in files:
        # t9 and t10 side by side are not padded: the shortest tells
        digits[file.well] = min(digits.get(file.well, file.time_digits), file.time_digits)
    channels = list(dict.fromkeys(image.channel for image in images))
    rank = {name: index for index, name in enumerate(channels)}
    return tuple(
        FieldPlan(
            path=path,
            sequence=sequences[path.well],
            times=tuple(sorted({image.time for image in own})),
            time_digits=digits[path.well],
            images=tuple(sorted(own, key=lambda i: (i.time, rank[i.channel], i.z))),
            frame_shape=facts[own[0].path].shape,
            dtype=facts[own[0].path].dtype,
        )
        for path, own in findings.by_field(images).items()
    )


def _calibration_warnings(
    needed: Iterable[str], used: Calibration, given: Calibration, agreed: Calibration
) -> list[str]:
    warnings = []
    for name in needed:
        option, told, own = (
            "--" + name.replace("_", "-"),
            getattr(given, name),
            getattr(agreed, name),
        )
        if getattr(used, name) is None:
            warnings.append(
                f"no {name} in the files' metadata: the plate will not tell; or {option}"
            )
        elif told and own and abs(told / own - 1) > 0.01:
            warnings.append(f"the files say {name} {own:g}; {option} {told:g} is used")
    return warnings


def _frame_count_warnings(fields: Sequence[FieldPlan]) -> list[str]:
    counts = dict[int, list[FieldPath]]()
    for field in fields:
        counts.setdefault(len(field.times), []).append(field.path)
    if len(counts) < 2:
        return []
    groups = "; ".join(f"{count} in {findings.some(paths)}" for count, paths in counts.items())
    return [f"the number of frames differs: {groups}"]
