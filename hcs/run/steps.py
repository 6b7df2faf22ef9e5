"""What is to be done with a well: its steps, in order, and what each one's result depends on.

A step is done when its marker holds the fingerprint that it would get now. The parts of the
fingerprint stand in the marker too, so that a difference can be told in words.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from hcs.plate.commit import JSON, Marker, fingerprint, read_marker
from hcs.plate.open import Plate
from hcs.plate.path import WellPath
from hcs.run.models import METHOD as ISL
from hcs.run.models import Model, find_models
from hcs.run.segmenters import find_segmenter
from hcs.settings import Settings
from hcs.ssl.segment import Model as SslModel

SSL_LABEL_IMAGE = "ssl_cells"
STATISTICS = "ssl-statistics"

Kind = Literal["statistics", "ssl", "segmenter", "stain", "objects", "measure"]
# kinds that read the label-free channel
LABEL_FREE: tuple[Kind, ...] = ("statistics", "ssl", "segmenter")
State = Literal["done", "todo", "waiting"]

# raise one when the same settings give another result than before
ALGORITHM: Mapping[Kind, int] = {
    "statistics": 1,
    "ssl": 2,
    "segmenter": 1,
    "stain": 1,
    "objects": 1,
    "measure": 3,
}
# what a worker must offer where networks run on GPUs
GPU: Mapping[str, float] = {"GPU": 1}

_WORDS = {
    "input": "the input's pixels or their metadata changed",
    "reads": "what it reads changed",
    "pool": "the plate's pooled model changed",
    "weights": "the network's weights changed",
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
        That it writes, or reads; empty for a stain, which has a plate of its own.
    after : str
        The step whose result it reads; empty for one that reads pixels only.
    method : str
        As in the settings.
    resources : mapping of str to float
        What its worker must offer.
    model : Model or None
        The network that it uses.
    stains : tuple of str
        Steps whose stains it measures, beside the channels of the plate.
    """

    name: str
    kind: Kind
    label_image: str
    after: str
    method: str
    resources: Mapping[str, float] = field(default_factory=dict)
    model: Model | None = None
    stains: tuple[str, ...] = ()

    @property
    def reads(self) -> tuple[str, ...]:
        """Names of the steps that come before it."""
        return tuple(name for name in (self.after, *self.stains) if name)


@dataclass(frozen=True)
class Pool:
    """The plate's pooled SSL model; None where no well has an accepted pair."""

    digest: str
    model: SslModel | None


@dataclass(frozen=True)
class Wanted:
    """What is wanted of a well, and what every result of it depends on.

    Parameters
    ----------
    well : WellPath
    settings : Settings
    steps : tuple of Step
        Of `steps_of`, with the resources that were found for them.
    root : mapping
        What every result depends on: the input's fingerprint; where there is a label-free channel,
        its index and plane.
    names : mapping
        What only the tables depend on: pixel size, interval and channels by name.
    fits : mapping
        How each network meets the fields (`hcs.run.models.fit`), by step.
    pool : Pool or None
        The plate's pooled model as it is now; None while it is not known.
    """

    well: WellPath
    settings: Settings
    steps: tuple[Step, ...]
    root: Mapping[str, JSON]
    names: Mapping[str, JSON]
    fits: Mapping[str, JSON] = field(default_factory=dict)
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
    models = find_models(settings)
    return tuple(step for name in settings.methods for step in _steps_of_method(name, models))


def on_gpus(steps: Sequence[Step]) -> tuple[Step, ...]:
    """Return the same steps, those with networks for workers that offer a GPU."""
    return tuple(replace(step, resources=GPU) if step.model else step for step in steps)


def label_images_of(steps: Sequence[Step]) -> tuple[str, ...]:
    """Return the names of the label images that steps write.

    Examples
    --------
    >>> label_images_of(steps_of(Settings()))
    ('ssl_cells',)
    """
    return tuple(dict.fromkeys(step.label_image for step in steps if step.label_image))


def check_steps(plate: Plate, wanted: Wanted) -> tuple[StepStatus, ...]:
    """Say of each step of a well whether it is done, from its markers alone."""
    statuses: dict[str, StepStatus] = {}
    for step in wanted.steps:
        statuses[step.name] = check_step(plate, wanted, step, statuses)
    return tuple(statuses.values())


def check_step(
    plate: Plate, wanted: Wanted, step: Step, statuses: Mapping[str, StepStatus]
) -> StepStatus:
    """Say of one step whether it is done, given how the steps before it stand."""
    marker = read_marker(plate, wanted.well, step.name)
    for before in (statuses[name] for name in step.reads):
        if before.state != "done":
            why = "not done yet" if marker is None else "to be done again"
            first = f"{why}: {before.step.name} comes first"
            return StepStatus(step, before.state, first, {}, marker)
    pooled = step.kind == "ssl" and needs_pool(statuses[step.after].marker)
    if pooled and wanted.pool is None:
        why = "a field has no accepted pair: waits for the plate's pooled model"
        return StepStatus(step, "waiting", why, {}, marker)
    parts = _parts(step, wanted, statuses)
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
        elif old != new and key == "stains":
            found += _stain_changes(dict(old or ()), dict(new or ()))
        elif old != new:
            found.append(_WORDS.get(key) or f"{name}{key} is {new!r}, was {old!r}")
    return found


def _stain_changes(before: Mapping[str, str], now: Mapping[str, str]) -> list[str]:
    """Say in words which stains differ, given by the names of their steps.

    Examples
    --------
    >>> _stain_changes({"isl-dna": "a", "isl-actin": "b"}, {"isl-dna": "c"})
    ['isl-actin is not predicted in this run', 'isl-dna changed']
    """
    gone = [f"{name} is not predicted in this run" for name in before if name not in now]
    other = [f"{name} changed" for name in now if name in before and now[name] != before[name]]
    new = [f"{name} was not predicted then" for name in now if name not in before]
    return [*gone, *other, *new] or ["its stains are in another order"]


def _steps_of_method(method: str, models: Sequence[Model]) -> tuple[Step, ...]:
    if method == ISL:
        return _steps_of_networks(models)
    label_image = SSL_LABEL_IMAGE if method == "ssl" else find_segmenter(method).label_image
    measure = Step(f"measure-{label_image}", "measure", label_image, method, method)
    if method != "ssl":
        return Step(method, "segmenter", label_image, "", method), measure
    statistics = Step(STATISTICS, "statistics", label_image, "", method)
    return statistics, Step("ssl", "ssl", label_image, STATISTICS, method), measure


def _steps_of_networks(models: Sequence[Model]) -> tuple[Step, ...]:
    """Return a step per network, then the measurements: a well changes its worker once at most."""
    stains = tuple(model.card.step for model in models if model.card.head == "stain")
    found, measures = [], []
    for model in models:
        name, label_image = model.card.step, model.card.label_image
        kind: Kind = "objects" if label_image else "stain"
        found.append(Step(name, kind, label_image or "", "", ISL, model=model))
        if label_image:
            measure = Step(f"measure-{label_image}", "measure", label_image, name, ISL)
            measures.append(replace(measure, stains=stains))
    return (*found, *measures)


def _parts(step: Step, wanted: Wanted, statuses: Mapping[str, StepStatus]) -> dict[str, JSON]:
    rooms = {
        "statistics": ("ssl",),
        "ssl": ("ssl", "split", "track"),
        "segmenter": ("track",),
        "objects": ("track",),
        "measure": ("measure",),
    }
    parts: dict[str, JSON] = {"step": step.name, "version": ALGORITHM[step.kind]}
    parts |= wanted.settings.model_dump(mode="json", include=set(rooms.get(step.kind, ())))
    if step.kind == "segmenter":
        parts["segmenter"] = find_segmenter(step.method).version
    if step.model:
        return parts | _network_parts(step, step.model, wanted)
    if step.kind == "measure":
        parts |= dict(wanted.names)
    if step.kind == "measure" and step.method == ISL:
        # of other methods, what they read depends on it already
        parts["plane"] = wanted.settings.plane
        parts["stains"] = [[name, statuses[name].fingerprint] for name in step.stains]
    return parts | (
        {"reads": statuses[step.after].fingerprint} if step.after else dict(wanted.root)
    )


def _network_parts(step: Step, model: Model, wanted: Wanted) -> dict[str, JSON]:
    """Return what the result of a network depends on; never where its weights lie."""
    deciding = {"precision", "engine", "uncertainty"}
    if model.card.head != "stain":
        deciding |= {"threshold", "min_area_px"}
    if model.card.head == "cells":
        deciding |= {"h"}
    return {
        "weights": model.digest,
        "isl": wanted.settings.isl.model_dump(mode="json", include=deciding),
        "fields": wanted.fits[step.name],
        "input": wanted.root["input"],
    }
