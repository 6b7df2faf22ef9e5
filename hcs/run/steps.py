"""What is to be done with a well: its steps, in order, and what each one's result depends on.

A step is done when its marker holds the fingerprint that it would get now. The parts of the
fingerprint stand in the marker too, so that a difference can be told in words.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from hcs.plate.commit import JSON, Marker, fingerprint, read_marker
from hcs.plate.open import Plate
from hcs.plate.path import WellPath
from hcs.run.segmenters import find_segmenter
from hcs.settings import Settings
from hcs.ssl.segment import Model

SSL_LABEL_IMAGE = "ssl_cells"
STATISTICS = "ssl-statistics"

Kind = Literal["statistics", "ssl", "segmenter", "measure"]
State = Literal["done", "todo", "waiting"]

# raise one when the same settings give another result than before
ALGORITHM: Mapping[Kind, int] = {"statistics": 1, "ssl": 2, "segmenter": 1, "measure": 2}

_WORDS = {
    "input": "the input's pixels or their metadata changed",
    "reads": "what it reads changed",
    "pool": "the plate's pooled model changed",
    "version": "the algorithm changed",
}


@dataclass(frozen=True)
class Step:
    """One unit of work on a well.

    Parameters
    ----------
    name : str
        Of its marker.
    kind : str
    label_image : str
        That it writes, or reads.
    after : str
        The step whose result it reads; empty for one that reads pixels only.
    method : str
        As in the settings.
    resources : mapping of str to float
        What its worker must offer.
    """

    name: str
    kind: Kind
    label_image: str
    after: str
    method: str
    resources: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Pool:
    """The plate's pooled SSL model; None where no well has an accepted pair."""

    digest: str
    model: Model | None


@dataclass(frozen=True)
class Wanted:
    """What is wanted of a well, and what every result of it depends on.

    Parameters
    ----------
    well : WellPath
    settings : Settings
    root : mapping
        What every result depends on: the input's fingerprint, the channel's index, the plane.
    names : mapping
        What only the tables depend on: pixel size, interval and channels by name.
    pool : Pool or None
        The plate's pooled model as it is now; None while it is not known.
    """

    well: WellPath
    settings: Settings
    root: Mapping[str, JSON]
    names: Mapping[str, JSON]
    pool: Pool | None = None


@dataclass(frozen=True)
class StepStatus:
    """How a step of a well stands.

    Parameters
    ----------
    step : Step
    state : {"done", "todo", "waiting"}
    why : str
        In words.
    parts : mapping
        What its result depends on; empty while that is not known.
    marker : Marker or None
        As found, whether it is still valid or not.
    """

    step: Step
    state: State
    why: str
    parts: Mapping[str, JSON]
    marker: Marker | None

    @property
    def fingerprint(self) -> str:
        """Of the parts."""
        return fingerprint(self.parts)


def steps_of(settings: Settings) -> tuple[Step, ...]:
    """Return the steps of every well, in order.

    Examples
    --------
    >>> [step.name for step in steps_of(Settings())]
    ['ssl-statistics', 'ssl', 'measure-ssl_cells']
    """
    return tuple(step for method in settings.methods for step in _steps_of_method(method))


def label_images_of(settings: Settings) -> tuple[str, ...]:
    """Return the names of the label images that the settings ask for.

    Examples
    --------
    >>> label_images_of(Settings())
    ('ssl_cells',)
    """
    return tuple(dict.fromkeys(step.label_image for step in steps_of(settings)))


def check_steps(plate: Plate, wanted: Wanted) -> tuple[StepStatus, ...]:
    """Say of each step of a well whether it is done, from its markers alone."""
    statuses: dict[str, StepStatus] = {}
    for step in steps_of(wanted.settings):
        statuses[step.name] = check_step(plate, wanted, step, statuses.get(step.after))
    return tuple(statuses.values())


def check_step(plate: Plate, wanted: Wanted, step: Step, before: StepStatus | None) -> StepStatus:
    """Say of one step whether it is done, given how the step stands that it reads from."""
    marker = read_marker(plate, wanted.well, step.name)
    if before and before.state != "done":
        why = "not done yet" if marker is None else "to be done again"
        return StepStatus(step, before.state, f"{why}: {before.step.name} comes first", {}, marker)
    pooled = step.kind == "ssl" and before is not None and needs_pool(before.marker)
    if pooled and wanted.pool is None:
        why = "a field has no accepted pair: waits for the plate's pooled model"
        return StepStatus(step, "waiting", why, {}, marker)
    parts = _parts(step, wanted, before)
    parts |= {"pool": wanted.pool.digest} if pooled and wanted.pool else {}
    if marker is None:
        return StepStatus(step, "todo", "not done yet", parts, None)
    if marker.fingerprint == fingerprint(parts):
        return StepStatus(step, "done", "done", parts, marker)
    old = record_of(marker).get("parts")
    changes = difference(old, parts) if isinstance(old, Mapping) else []
    return StepStatus(step, "todo", "; ".join(changes) or "its settings changed", parts, marker)


def needs_pool(statistics: Marker | None) -> bool:
    """Say whether a well's statistics ask for the plate's pooled model."""
    return statistics is not None and record_of(statistics).get("needs_pool") is True


def record_of(marker: Marker) -> Mapping[str, JSON]:
    """Return what a step noted of itself; empty where it noted nothing."""
    return marker.record if isinstance(marker.record, Mapping) else {}


def difference(before: Mapping[str, Any], now: Mapping[str, Any], name: str = "") -> list[str]:
    """Say in words what changed between two sets of parts.

    Examples
    --------
    >>> difference({"ssl": {"em_rounds": 1}, "version": 1}, {"ssl": {"em_rounds": 2}, "version": 1})
    ['ssl.em_rounds is 2, was 1']
    """
    found = []
    for key in dict.fromkeys((*before, *now)):
        old, new = before.get(key), now.get(key)
        if isinstance(old, Mapping) and isinstance(new, Mapping):
            found += difference(old, new, f"{name}{key}.")
        elif old != new:
            found.append(_WORDS.get(key) or f"{name}{key} is {new!r}, was {old!r}")
    return found


def _steps_of_method(method: str) -> tuple[Step, ...]:
    label_image = SSL_LABEL_IMAGE if method == "ssl" else find_segmenter(method).label_image
    measure = Step(f"measure-{label_image}", "measure", label_image, method, method)
    if method != "ssl":
        return Step(method, "segmenter", label_image, "", method), measure
    statistics = Step(STATISTICS, "statistics", label_image, "", method)
    return statistics, Step("ssl", "ssl", label_image, STATISTICS, method), measure


def _parts(step: Step, wanted: Wanted, before: StepStatus | None) -> dict[str, JSON]:
    rooms = {
        "statistics": ("ssl",),
        "ssl": ("ssl", "split", "track"),
        "segmenter": ("track",),
        "measure": ("measure",),
    }
    parts: dict[str, JSON] = {"step": step.name, "version": ALGORITHM[step.kind]}
    parts |= wanted.settings.model_dump(mode="json", include=set(rooms[step.kind]))
    if step.kind == "segmenter":
        parts["segmenter"] = find_segmenter(step.method).version
    if step.kind == "measure":
        parts |= dict(wanted.names)
    return parts | ({"reads": before.fingerprint} if before else dict(wanted.root))
