"""Take a step's results back: label images, tables, predicted stains, markers; a valid plate stays.

What a step made says so in its own metadata, which go last; so the same command completes what a
kill interrupted. A label image that other wells keep is not removed but emptied, since viewers
want the same ones in every field; it goes when the last well gives it up.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from hcs.errors import HcsError, MissingError, PlateError, SettingsError, StorageError
from hcs.plate.commit import Marker, marked_steps, read_marker, remove_marker, sweep
from hcs.plate.consolidated import renew_consolidated
from hcs.plate.group import OWN, read_attributes
from hcs.plate.listing import Kind, groups_in, listing_path, relist, remove_group
from hcs.plate.metadata import Channel
from hcs.plate.open import RUN_FIRST, Plate, label_key
from hcs.plate.path import FieldPath, WellPath
from hcs.plate.problems import some
from hcs.plate.sister import find_sister, product_state, remove_sister, write_empty_product
from hcs.plate.write import write_empty_label_image
from hcs.run.finish import STEP as FINISH
from hcs.run.provenance import CRATE
from hcs.run.steps import record_of
from hcs.run.verify import IMPORT

STATE = "pruned"
_KINDS: tuple[Kind, ...] = ("labels", "tables")


@dataclass(frozen=True)
class Removal:
    """One thing that a step made.

    Parameters
    ----------
    well : WellPath or None
        None for what belongs to the plate.
    field : FieldPath or None
    step : str
    what : str
        In words.
    n_files, n_bytes : int
    kind, name : str
        Where it lies: labels, tables or stain, and its name.
    """

    well: WellPath | None
    field: FieldPath | None
    step: str
    what: str
    n_files: int
    n_bytes: int
    kind: str
    name: str


@dataclass(frozen=True)
class Pruning:
    """What is to go, and what is stale then.

    Parameters
    ----------
    steps : tuple of str
    wells : tuple of WellPath
    removals : tuple of Removal
        In the order of the plate.
    markers : mapping of WellPath or None to tuple of str
        Markers to be withdrawn of each well, of what reads others first.
    stale : tuple of str
        Steps whose results stay, to be done again.
    """

    steps: tuple[str, ...]
    wells: tuple[WellPath, ...]
    removals: tuple[Removal, ...]
    markers: Mapping[WellPath | None, tuple[str, ...]]
    stale: tuple[str, ...]


def plan_pruning(plate: Plate, wells: Sequence[WellPath], steps: Sequence[str]) -> Pruning:
    """Return what of some steps there is in wells; nothing is written.

    Raises
    ------
    SettingsError
        A step is that of an import: the input is never removed.
    """
    if IMPORT in steps:
        raise SettingsError(
            "what hcs import wrote is the input, and is not pruned",
            hint="to remove a plate, delete its folder and the one beside it",
        )
    removals, markers = list[Removal](), dict[WellPath | None, tuple[str, ...]]()
    for well in wells:
        there = _markers(plate, well)
        markers[well] = _reading_first(there, steps)
        for field in _fields(plate, well):
            removals += _made_in(plate, well, field, steps, there)
            removals += _stains(plate, well, field, steps)
    if any(markers.values()) or removals or FINISH in steps:
        markers[None] = tuple(step for step in marked_steps(plate, None) if step == FINISH)
    if FINISH in steps:
        removals += _made_in(plate, None, None, [FINISH], _markers(plate, None))
    withdrawn = dict.fromkeys(step for names in markers.values() for step in names)
    stale = tuple(step for step in withdrawn if step not in steps)
    return Pruning(tuple(steps), tuple(wells), tuple(removals), markers, stale)


def prune(plate: Plate, pruning: Pruning, token: int) -> None:
    """Remove what was planned; killed halfway, the same again completes it.

    Markers go first: nothing that is half removed is vouched for.

    Parameters
    ----------
    plate : Plate
    pruning : Pruning
    token : int
        Of the plate's lock.

    Raises
    ------
    LockedError
        Another run holds the plate by now.
    WriteError
        Nothing can be written.
    """
    plate.hold(token)
    sweep(plate)
    for well, names in pruning.markers.items():
        for step in names:
            remove_marker(plate, well, step, token)
    _prune_labels(plate, pruning)
    for removal in pruning.removals:
        if removal.kind == "tables":
            relist(plate, removal.field, "tables", without=[removal.name])
            remove_group(plate, removal.field, "tables", removal.name)
    for step in pruning.steps:
        _prune_stain(plate, pruning, step)
    if FINISH in pruning.steps:
        # it tells of what is gone
        plate.companion.delete(CRATE)
    _tidy(plate, pruning)


def known_steps(plate: Plate) -> tuple[str, ...]:
    """Return the steps that have markers, those of an import and of the whole plate aside."""
    steps = dict.fromkeys(
        step for well in plate.layout.wells for step in marked_steps(plate, well) if step != IMPORT
    )
    return tuple(steps)


def check_named(plate: Plate, steps: Sequence[str]) -> None:
    """Raise `SettingsError` where no step is named, saying which there are."""
    if not steps:
        raise SettingsError("no step was named: --step STEP, again for more", hint=_there(plate))


def check_found(plate: Plate, pruning: Pruning) -> None:
    """Raise `MissingError` where nothing of the steps was there."""
    if not pruning.removals and not any(pruning.markers.values()):
        raise MissingError(
            f"there is nothing of {some(pruning.steps)} to prune", hint=_there(plate)
        )


def _there(plate: Plate) -> str:
    steps = known_steps(plate)
    return f"the plate has results of {some(steps)}" if steps else RUN_FIRST


def _markers(plate: Plate, well: WellPath | None) -> dict[str, Marker]:
    found = {step: read_marker(plate, well, step) for step in marked_steps(plate, well)}
    return {step: marker for step, marker in found.items() if marker}


def _reading_first(markers: Mapping[str, Marker], steps: Sequence[str]) -> tuple[str, ...]:
    """Return the markers of steps and of what reads them, those that read first."""
    going = [step for step in steps if step in markers]
    for step in going:
        going += [s for s, m in markers.items() if s not in going and _reads(m, markers[step])]
    return tuple(reversed(going))


def _reads(marker: Marker, other: Marker) -> bool:
    parts: Any = record_of(marker).get("parts") or {}
    stains = [name for name, _ in parts.get("stains") or ()]
    return parts.get("reads") == other.fingerprint or other.step in stains


def _fields(plate: Plate, well: WellPath) -> tuple[FieldPath, ...]:
    try:
        return plate.well(well).fields
    except StorageError:
        raise
    except HcsError:
        # of a well that cannot be read nothing was ever made
        return ()


def _made_in(
    plate: Plate,
    well: WellPath | None,
    field: FieldPath | None,
    steps: Sequence[str],
    markers: Mapping[str, Marker],
) -> Iterator[Removal]:
    """Yield label images and tables that steps made, unless another step vouches for them too."""
    others = [key for step, m in markers.items() if step not in steps for key in m.manifest]
    for kind in _KINDS:
        path = listing_path(field, kind)
        for name in sorted(groups_in(plate, path)):
            step = str(_own(plate, f"{path}/{name}").get("step"))
            if step in steps and not any(key.startswith(f"{path}/{name}/") for key in others):
                sizes = plate.storage.sizes(f"{path}/{name}")
                what = f"{'label image' if kind == 'labels' else 'table'} {name}"
                whole = len(sizes), sum(sizes.values())
                yield Removal(well, field, step, what, *whole, kind, name)


def _stains(
    plate: Plate, well: WellPath, field: FieldPath, steps: Sequence[str]
) -> Iterator[Removal]:
    for step in steps:
        sister = find_sister(plate, step)
        if sister and product_state(sister, field) == "":
            sizes = sister.storage.sizes(str(field))
            whole = len(sizes), sum(sizes.values())
            yield Removal(well, field, step, f"stains in {sister.layout.name}", *whole, "stain", "")


def _own(plate: Plate, path: str) -> Mapping[str, Any]:
    try:
        own = (read_attributes(plate.storage, plate.layout.version, path) or {}).get(OWN)
    except PlateError:
        return {}
    return own if isinstance(own, dict) else {}


def _is_empty(plate: Plate, field: FieldPath, name: str) -> bool:
    return _own(plate, label_key(field, name)).get("chunks") == "none"


def _is_whole(plate: Plate, field: FieldPath, name: str | None) -> bool:
    """Tell whether a label image, or the image itself, has all levels: a kill leaves less."""
    plate.forget(field)
    try:
        _ = plate.label_image(field, name) if name else plate.field_image(field)
    except StorageError:
        raise
    except HcsError:
        return False
    return True


def _prune_labels(plate: Plate, pruning: Pruning) -> None:
    """Empty the label images, or remove them where no well keeps one that is not empty.

    What they are called is asked of all wells: one that was half emptied does not tell any more.
    """
    fields = [field for well in plate.layout.wells for field in _fields(plate, well)]
    names = {field: groups_in(plate, listing_path(field, "labels")) for field in fields}
    made = {
        name
        for field, there in names.items()
        for name in there
        if _own(plate, label_key(field, name)).get("step") in pruning.steps
    }
    for name in sorted(made):
        there = [field for field in fields if name in names[field]]
        empty = [field for field in there if _is_empty(plate, field, name)]
        going = [f for f in there if f not in empty and _is_going(plate, f, name, pruning)]
        if set(there).difference(empty, going):
            for field in (f for f in fields if f.well in pruning.wells):
                if field in going or not _is_whole(plate, field, name):
                    write_empty_label_image(plate, field, name, STATE)
            continue
        # what tells that the step made them goes last
        for field in (*empty, *going):
            relist(plate, field, "labels", without=[name])
            remove_group(plate, field, "labels", name)
            relist(plate, field, "labels")


def _is_going(plate: Plate, field: FieldPath, name: str, pruning: Pruning) -> bool:
    """Tell whether a label image is one that the steps made, or what a kill left of one."""
    step = _own(plate, label_key(field, name)).get("step")
    ours = step in pruning.steps or (step is None and not _is_whole(plate, field, name))
    return field.well in pruning.wells and ours


def _prune_stain(plate: Plate, pruning: Pruning, step: str) -> None:
    """Empty the images of a stain, or remove its plate where no well keeps one."""
    sister = find_sister(plate, step)
    if sister is None:
        return
    fields = [field for well in plate.layout.wells for field in _fields(plate, well)]
    kept = [f for f in fields if f.well not in pruning.wells and product_state(sister, f) == ""]
    if not kept:
        remove_sister(sister)
        return
    channels: Sequence[Channel] = sister.field_image(kept[0]).channels
    for field in fields:
        emptied = product_state(sister, field) and _is_whole(sister, field, None)
        if field.well in pruning.wells and not emptied:
            write_empty_product(plate, sister, field, channels, STATE)


def _tidy(plate: Plate, pruning: Pruning) -> None:
    """Drop listings that list nothing any more, and renew consolidated metadata."""
    fields = [field for well in pruning.wells for field in _fields(plate, well)]
    for where in (*fields, None) if FINISH in pruning.steps else fields:
        for kind in _KINDS:
            if not groups_in(plate, listing_path(where, kind)):
                relist(plate, where, kind)
    for well in dict.fromkeys(field.well for field in fields):
        renew_consolidated(plate, well)
    renew_consolidated(plate, None)
