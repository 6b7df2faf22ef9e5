"""What stands in a well at the end of a run, whichever run made it: by its markers alone.

The tables of a plate speak of all that stands, so that a run of one method leaves what another
found.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from hcs.plate.commit import JSON, Marker, marked_steps, read_marker
from hcs.plate.open import Plate
from hcs.run.plan import WellPlan
from hcs.run.steps import Step, record_of

_MEASURE = "measure-"


@dataclass(frozen=True)
class Standing:
    """What stands in a well.

    Parameters
    ----------
    measured : mapping of str to Marker
        By label image, those of the run's own steps first: what is measured and still stands.
    stained : mapping of str to Marker
        By step: the stains that are predicted and still stand.
    steps : mapping of str to Marker
        All steps that stand.
    """

    measured: Mapping[str, Marker]
    stained: Mapping[str, Marker]
    steps: Mapping[str, Marker]

    @property
    def fingerprints(self) -> dict[str, JSON]:
        """Of all that stands."""
        return {key: one.fingerprint for key, one in {**self.measured, **self.stained}.items()}


def look_at(plate: Plate, well: WellPlan, steps: Sequence[Step]) -> Standing:
    """Return what stands in a well: measurements and stains of which nothing changed beneath.

    A marker stands while those of all that its step read do, and while the input is the one that
    the run found, where the run looked at it.

    Parameters
    ----------
    plate : Plate
    well : WellPlan
        As its markers are now.
    steps : sequence of Step
        Of the run: they come first.
    """
    found = _markers(plate, well)
    pixels = well.wanted.root["input"] if well.wanted else None
    standing = {step: one for step, one in found.items() if _stands(one, found, pixels)}
    own = [step.name for step in steps if step.name in standing]
    order = dict.fromkeys([*own, *sorted(standing)])
    return Standing(
        {s.removeprefix(_MEASURE): standing[s] for s in order if s.startswith(_MEASURE)},
        {s: standing[s] for s in order if standing[s].sister},
        standing,
    )


def _markers(plate: Plate, well: WellPlan) -> dict[str, Marker]:
    """Return every marker of a well; those that the run read are not read again."""
    known = {status.step.name: status.marker for status in well.statuses}
    steps = marked_steps(plate, well.well)
    found = {step: known.get(step) or read_marker(plate, well.well, step) for step in steps}
    return {step: marker for step, marker in found.items() if marker}


def _stands(marker: Marker, found: Mapping[str, Marker], pixels: JSON) -> bool:
    """Say whether what a marker's step read is there, as it was.

    Of a marker that does not tell what it depends on, nothing is known against it.
    """
    parts: Any = record_of(marker).get("parts") or {}
    if pixels is not None and parts.get("input", pixels) != pixels:
        return False
    read = [fingerprint for _, fingerprint in parts.get("stains") or ()]
    read += [parts["reads"]] if "reads" in parts else []
    there = {one.fingerprint: one for one in found.values()}
    return all(one in there and _stands(there[one], found, pixels) for one in read)
