"""Is everything still as it was written? Markers, the files they vouch for, and the input's pixels.

What is ours can be made again: `withdraw` takes the markers of damaged steps away, since a step
without marker is one that is to be done. Whether a step is done stays a question of its marker
alone; no run looks at files to find out.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from hcs.errors import EXIT_DONE, EXIT_FAILED, EXIT_PARTIAL, HcsError, MissingError, PlateError
from hcs.plate.check import find_problems
from hcs.plate.commit import (
    Marker,
    find_damage,
    input_fingerprint,
    marked_steps,
    open_marker,
    remove_marker,
)
from hcs.plate.consolidated import renew_consolidated
from hcs.plate.group import read_document
from hcs.plate.intact import check_pixels
from hcs.plate.listing import Kind, find_unlisted, relist
from hcs.plate.lock import look
from hcs.plate.open import Plate
from hcs.plate.path import FieldPath, WellPath
from hcs.plate.sister import find_sister_damage, mend_sister
from hcs.run.finish import STEP as FINISH
from hcs.run.provenance import CRATE
from hcs.run.steps import record_of

# as `hcs import` names its marker: what it wrote is input to all that follows
IMPORT = "import"

# input: pixels and metadata that we only read; step: what a marker vouches for, or the marker;
# listing: a group that lists labels or tables; sister: the plate of predicted stains as such;
# unread: what cannot be listed or read now, so that nothing is known of it
Part = Literal["input", "step", "listing", "sister", "unread"]
_CURES: Mapping[Part, str] = {
    "input": "import or copy it anew",
    "step": "hcs verify --repair, then hcs run",
    "listing": "hcs verify --repair",
    "sister": "hcs verify --repair",
    "unread": "look at the disk, the network or the server, then hcs verify again",
}


@dataclass(frozen=True)
class Damage:
    """One thing that is damaged or missing.

    Parameters
    ----------
    well : WellPath or None
        None for what belongs to the plate.
    field : FieldPath or None
    part : {"input", "step", "listing", "sister", "unread"}
    name : str
        The step; of a listing, labels or tables.
    what : str
        In words, naming the file.
    """

    well: WellPath | None
    field: FieldPath | None
    part: Part
    name: str
    what: str

    @property
    def cure(self) -> str:
        """What to do about it."""
        if self.part == "step" and self.name == IMPORT:
            return "hcs verify --repair, then the same hcs import"
        return _CURES[self.part]

    @property
    def left_to_do(self) -> str:
        """What to do about it after `withdraw`.

        Examples
        --------
        >>> [Damage(None, None, part, "", "").left_to_do for part in ("step", "listing", "input")]
        ['hcs run', 'mended', 'import or copy it anew']
        """
        return self.cure.removeprefix("hcs verify --repair").removeprefix(", then ") or "mended"


@dataclass(frozen=True)
class Verified:
    """What a look at a plate found.

    Parameters
    ----------
    url : str
    wells : tuple of WellPath
        Those looked at.
    damages : tuple of Damage
        In the order of the plate; what belongs to all of it comes last.
    warnings : tuple of str
        What could not be told.
    withdrawn : tuple of (WellPath or None, str)
        Wells and steps whose markers a repair took away.
    """

    url: str
    wells: tuple[WellPath, ...]
    damages: tuple[Damage, ...]
    warnings: tuple[str, ...]
    withdrawn: tuple[tuple[WellPath | None, str], ...] = ()

    @property
    def exit_code(self) -> int:
        """0 where nothing is damaged, 2 where some wells are sound, 1 where none is."""
        if not self.damages:
            return EXIT_DONE
        hurt = {damage.well for damage in self.damages}
        return EXIT_FAILED if hurt.issuperset(self.wells) else EXIT_PARTIAL


def verify_plate(plate: Plate, wells: Sequence[WellPath], token: int | None = None) -> Verified:
    """Read everything once and say what is damaged or missing; nothing is written.

    What cannot be listed or read is named, and all else is looked at.

    Parameters
    ----------
    plate : Plate
    wells : sequence of WellPath
        Those to look at; what belongs to the plate as a whole is always looked at.
    token : int or None
        Of the plate's lock, where the caller holds it.
    """
    checked = find_problems(plate, wells=wells)
    warnings = list(checked.warnings)
    damages = list[Damage]()
    try:
        lock = look(plate.companion)
        if lock.state == "held" and lock.token != token:
            warnings.append("a run holds the plate: what it writes meanwhile may look damaged")
    except HcsError as error:
        damages.append(_unread(None, error))
    sisters = set[str]()
    for well in wells:
        problems = [text for path, text in checked.problems if path == well]
        own = _Markers(plate, well)
        sisters |= {marker.sister for marker in own.sound.values() if marker.sister}
        damages += _with_unread(well, _input_damages(plate, well, problems, own.sound, warnings))
        damages += own.damages()
    whole = _Markers(plate, None)
    damages += whole.damages()
    for step in sorted(sisters):
        damages += _with_unread(None, _sister_damages(plate, step))
    damages += _with_unread(None, _crate_damages(plate, whole))
    return Verified(plate.storage.url, tuple(wells), tuple(damages), tuple(warnings))


def withdraw(
    plate: Plate, damages: Iterable[Damage], token: int
) -> tuple[tuple[WellPath | None, str], ...]:
    """Take away the markers of steps that are damaged, so that a run does them again.

    Listings, and the plates of stains as such, are mended at once: they follow from what is there.

    Parameters
    ----------
    plate : Plate
    damages : iterable of Damage
    token : int
        Of the plate's lock.

    Returns
    -------
    tuple of (WellPath or None, str)
        Wells and steps whose markers are gone.

    Raises
    ------
    LockedError
        Another run holds the plate by now.
    WriteError
        Nothing can be written.
    """
    plate.hold(token)
    found = tuple(damages)
    withdrawn = tuple(dict.fromkeys((d.well, d.name) for d in found if d.part == "step"))
    for well, step in withdrawn:
        remove_marker(plate, well, step, token)
    listings = dict.fromkeys((d.field, d.name) for d in found if d.part == "listing")
    for where, kind in listings:
        relist(plate, where, "labels" if kind == "labels" else "tables")
    for well in dict.fromkeys(field.well if field else None for field, _ in listings):
        renew_consolidated(plate, well)
    for step in dict.fromkeys(d.name for d in found if d.part == "sister"):
        mend_sister(plate, step)
    return withdrawn


def _with_unread(well: WellPath | None, damages: Iterable[Damage]) -> Iterator[Damage]:
    """Yield damages, and at last what the look for them ended at."""
    try:
        yield from damages
    except HcsError as error:
        yield _unread(well, error)


def _unread(well: WellPath | None, error: HcsError, field: FieldPath | None = None) -> Damage:
    return Damage(well, field, "unread", "", error.message)


class _Markers:
    """The markers of a well or of the plate, and what is wrong with what they vouch for."""

    def __init__(self, plate: Plate, well: WellPath | None) -> None:
        self.sound = dict[str, Marker]()
        self._plate = plate
        self._well = well
        self._damaged = dict[str, str]()
        self._unread = list[Damage]()
        try:
            steps = marked_steps(plate, well)
        except HcsError as error:
            steps, self._unread = [], [_unread(well, error)]
        for step in steps:
            try:
                self.sound[step] = open_marker(plate, well, step)
            except HcsError as error:
                self._damaged[step] = error.message

    def damages(self) -> Iterator[Damage]:
        """Yield damaged markers, then files that no marker finds as it wrote them, then listings.

        A file that several steps write (the ROI tables) is sound as any of them wrote it.
        """
        yield from self._unread
        for step, text in self._damaged.items():
            yield Damage(self._well, None, "step", step, text)
        found = {step: _file_damage(self._plate, marker) for step, marker in self.sound.items()}
        as_written = {
            (marker.sister, key)
            for step, marker in self.sound.items()
            for key in marker.manifest.keys() - found[step].keys()
        }
        for step, texts in found.items():
            for key, text in texts.items():
                if (self.sound[step].sister, key) not in as_written:
                    yield Damage(self._well, self._field(key), "step", step, text)
            if not texts:
                yield from _with_unread(self._well, self._unreadable(step))
        for (field, kind), names in self._listings().items():
            yield from _with_unread(self._well, self._unlisted(field, kind, names))

    def _unreadable(self, step: str) -> Iterator[Damage]:
        """Yield label images whose files are sound, but whose metadata cannot be read.

        Markers of the time before metadata stood in manifests do not vouch for it.
        """
        for field, kind, name in self._made([step]):
            if kind != "labels" or field is None:
                continue
            try:
                self._plate.label_image(field, name)
            except MissingError as error:
                # one that is not listed is told of by its listing
                if name in self._plate.label_names(field):
                    yield Damage(self._well, field, "step", step, error.message)
            except PlateError as error:
                if find_unlisted(self._plate, field, "labels", [name]) is None:
                    yield Damage(self._well, field, "step", step, error.message)

    def _listings(self) -> dict[tuple[FieldPath | None, Kind], list[str]]:
        """Return what each listing must hold."""
        names = dict[tuple[FieldPath | None, Kind], list[str]]()
        for field, kind, name in self._made(self.sound):
            names.setdefault((field, kind), []).append(name)
        return names

    def _unlisted(
        self, field: FieldPath | None, kind: Kind, names: Sequence[str]
    ) -> Iterator[Damage]:
        if text := find_unlisted(self._plate, field, kind, names):
            yield Damage(self._well, field, "listing", kind, text)

    def _made(self, steps: Iterable[str]) -> dict[tuple[FieldPath | None, Kind, str], None]:
        """Return the label images and tables that steps made in the plate itself, in order."""
        made = dict[tuple[FieldPath | None, Kind, str], None]()
        for step in steps:
            if self.sound[step].sister:
                continue
            for key in self.sound[step].manifest:
                field = self._field(key)
                if self._well and field is None:
                    continue
                match key.split("/")[3 if field else 0 :]:
                    case ["labels" | "tables" as kind, name, *_]:
                        made[field, kind, name] = None
        return made

    def _field(self, key: str) -> FieldPath | None:
        """Return the field that a file lies in; None for the plate's, and where no step writes."""
        try:
            return FieldPath.parse("/".join(key.split("/")[:3])) if self._well else None
        except PlateError:
            return None


def _file_damage(plate: Plate, marker: Marker) -> dict[str, str]:
    try:
        written = plate.sister(marker.sister) if marker.sister else plate
    except HcsError as error:
        return dict.fromkeys([*marker.manifest][:1], error.message)
    return find_damage(written, marker.manifest)


def _input_damages(
    plate: Plate,
    well: WellPath,
    problems: Sequence[str],
    markers: Mapping[str, Marker],
    warnings: list[str],
) -> Iterator[Damage]:
    """Yield what is wrong with what a well's steps read.

    What an import wrote is compared with its digests, with the other files of markers.
    """
    if problems:
        for text in problems:
            yield Damage(well, None, "input", "", text)
        return
    whole = True
    for field in () if IMPORT in markers else plate.well(well).fields:
        try:
            found = check_pixels(plate, field)
        except HcsError as error:
            whole = False
            yield _unread(well, error, field)
            continue
        if found.n_absent:
            warnings.append(
                f"field {field}: {found.n_absent} chunks are not there and read as empty; whether "
                "they were lost cannot be told"
            )
        whole = whole and not found.problems
        for text in found.problems:
            yield Damage(well, field, "input", "", text)
    if whole and (step := _step_of_other_input(plate, well, markers)):
        text = f"well {well} is not what it was for {step}: chunks were lost or replaced since then"
        yield Damage(well, None, "input", "", text)


def _step_of_other_input(plate: Plate, well: WellPath, markers: Mapping[str, Marker]) -> str:
    """Return the first step whose input was another, going by metadata and sizes of chunks."""
    read = {step: _input_of(marker) for step, marker in markers.items()}
    if not any(read.values()):
        return ""
    now = input_fingerprint(plate, well)
    return next((step for step, then in read.items() if then not in (None, now)), "")


def _input_of(marker: Marker) -> object:
    parts = record_of(marker).get("parts")
    return parts.get("input") if isinstance(parts, Mapping) else None


def _sister_damages(plate: Plate, step: str) -> Iterator[Damage]:
    for path, text in find_sister_damage(plate, step).items():
        well = WellPath.parse(path) if "/" in path else None
        yield Damage(well, None, "sister", step, text)


def _crate_damages(plate: Plate, whole: _Markers) -> Iterator[Damage]:
    if FINISH not in whole.sound:
        return
    try:
        there = read_document(plate.companion, CRATE) is not None
    except PlateError as error:
        yield Damage(None, None, "step", FINISH, error.message)
    else:
        if not there:
            yield Damage(None, None, "step", FINISH, f"{CRATE} is missing")
