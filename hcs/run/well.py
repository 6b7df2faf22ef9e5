"""One well, start to finish.

A label-free well goes through three steps. The first two share one idea: what a frame takes from
its sequence is decided once for the whole field. A trained network is one step.

    ssl-statistics   0  grey levels of all frames      -> the field's grey range
                     a  each frame and the one before  -> statistics
    ssl              b  statistics, in order           -> a decision per frame
                     c  frame, decision                -> mask -> objects, ids within the frame
                        objects of all frames          -> ids over time -> label image
                        statistics and decisions       -> table of frames
    measure          label image, every channel        -> object, feature and ROI tables

    isl-<name>       frames, trained network           -> stains, in a plate of their own; or
                                                       -> objects -> ids over time -> label image

Passes 0, a, c, networks and the measurement run span by span, here or on several workers
(`Compute`), with the same bytes as the result. Each step ends with its marker; a well that is begun
again goes on after its last one.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from itertools import chain
from typing import Any, Literal, cast

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from hcs.errors import FramesError
from hcs.labels.track import link
from hcs.plate.commit import JSON, Marker, remove_marker, write_marker
from hcs.plate.consolidated import renew_consolidated
from hcs.plate.create import create_label_image
from hcs.plate.metadata import FieldImage
from hcs.plate.open import Plate
from hcs.plate.read import read_frames
from hcs.plate.sister import create_product
from hcs.plate.table import TableKind, read_table, write_table
from hcs.run import networks, scratch, spans
from hcs.run.diagnostics import frame_diagnostics
from hcs.run.frames import frames_to_json, summarise_frames
from hcs.run.log import listen
from hcs.run.models import Model
from hcs.run.outcome import WellOutcome, worker_name
from hcs.run.pool import FieldStatistics, read_statistics, statistics_to_json
from hcs.run.provenance import provenance_of
from hcs.run.segmenters import find_segmenter, segment
from hcs.run.stains import channels_of
from hcs.run.steps import Kind, StepStatus, Wanted, check_step
from hcs.ssl.segment import decide, grey_range, needs_pool
from hcs.tables.objects import features, join_motion, motion
from hcs.tables.rois import fov_roi, masking_rois, well_roi

_log = logging.getLogger(__name__)

# function, what each call needs, and what its worker must offer, in; what was found, out, in order
Compute = Callable[[Callable[..., Any], Sequence[tuple[Any, ...]], Mapping[str, float]], list[Any]]


@dataclass(frozen=True)
class WellJob:
    """What is sent to a worker to analyse a well.

    Parameters
    ----------
    source : Source
        The plate, and which of its pixels.
    wanted : Wanted
        The well, and what is wanted of it.
    steps : tuple of str
        Those to be done now, where they are not done yet.
    """

    source: spans.Source
    wanted: Wanted
    steps: tuple[str, ...]


@dataclass(frozen=True)
class _Work:
    """A step of a well while it is worked on."""

    job: WellJob
    plate: Plate
    fields: tuple[FieldImage, ...]
    compute: Compute
    status: StepStatus
    before: Marker

    def over(self, function: Callable[..., Any], image: FieldImage, *rest: object) -> list[Any]:
        """Call a function for each span of a field."""
        longest = self.job.wanted.settings.run.span_frames
        pieces = spans.cut(image.path, image.n_frames, longest)
        return self.compute(function, [(self.job.source, span, *rest) for span in pieces], {})

    def over_all(self, function: Callable[..., Any], *rest: object) -> list[Any]:
        """Call a network's function once with every field, so that batches fill; or by span."""
        longest = self.job.wanted.settings.run.span_frames
        pieces = [s for i in self.fields for s in spans.cut(i.path, i.n_frames, longest)]
        whole = len(pieces) == len(self.fields)
        groups = [tuple(pieces)] if whole else [(piece,) for piece in pieces]
        calls = [(self.job.source, group, *rest) for group in groups]
        return self.compute(function, calls, self.status.step.resources)


@dataclass(frozen=True)
class _Result:
    """What a step leaves: files with their digests, here or in a sister, and a note of itself."""

    manifest: Mapping[str, str] = field(default_factory=dict)
    record: Mapping[str, JSON] = field(default_factory=dict)
    n_objects: int = 0
    sister: str = ""


def in_this_process(
    function: Callable[..., Any], calls: Sequence[tuple[Any, ...]], resources: Mapping[str, float]
) -> list[Any]:
    """Compute one call after the other, where the well itself is; that has the resources."""
    return [function(*arguments) for arguments in calls]


def analyse_well(job: WellJob, compute: Compute = in_this_process) -> WellOutcome:
    """Do the steps of a well that are not done yet.

    Parameters
    ----------
    job : WellJob
    compute : callable
        Like `in_this_process`; with workers behind it, the spans run in parallel.

    Returns
    -------
    WellOutcome
        ``waiting`` where a step needs the plate's pooled model and does not have it.

    Raises
    ------
    HcsError
        Naming the field.
    """
    begun = time.monotonic()
    with listen() as lines:
        finished, waiting, n_objects = _do_steps(job, compute)
    return WellOutcome(
        job.wanted.well,
        "waiting" if waiting else "done" if finished else "kept",
        steps=finished,
        n_objects=n_objects,
        seconds=time.monotonic() - begun,
        worker=worker_name(),
        log=tuple(lines),
    )


def _do_steps(job: WellJob, compute: Compute) -> tuple[tuple[str, ...], bool, int]:
    """Return the steps done now, whether one waits, and how many objects there are."""
    plate = spans.opened(job.source)
    well = plate.well(job.wanted.well)
    images = tuple(plate.field_image(path) for path in well.fields)
    statuses: dict[str, StepStatus] = {}
    finished: list[str] = []
    n_objects = 0
    for step in job.wanted.steps:
        before = statuses.get(step.after)
        status = check_step(plate, job.wanted, step, statuses)
        if status.state == "todo" and step.name in job.steps:
            _log.info("%s: %s, %s", well.path, step.name, status.why)
            read = before.marker if before and before.marker else _NOTHING
            work = _Work(job, plate, images, compute, status, read)
            _forget(work)
            result = _STEPS[step.kind](work)
            status = replace(status, state="done", marker=_commit(work, result))
            finished.append(step.name)
            n_objects = max(n_objects, result.n_objects)
        statuses[step.name] = status
    waiting = any(status.state == "waiting" for status in statuses.values())
    return tuple(finished), waiting, n_objects


def _take_statistics(work: _Work) -> _Result:
    """Take passes 0 and a: what each frame says of itself."""
    settings = work.job.wanted.settings.ssl
    found: dict[str, FieldStatistics] = {}
    for image in work.fields:
        _need_two_frames(image)
        counted = work.over(spans.count_grey_levels, image)
        with spans.naming(image.path):
            grey = grey_range(spans.add_up(counted), np.dtype(image.dtype), settings)
        pairs = chain.from_iterable(work.over(spans.compare_frames, image, grey, settings))
        found[image.path.name] = FieldStatistics(grey, tuple(pairs))
    pooled = any(needs_pool(statistics.pairs, settings) for statistics in found.values())
    return _Result(record={"fields": statistics_to_json(found), "needs_pool": pooled})


def _segment(work: _Work) -> _Result:
    """Take passes b and c: decide, segment, split, link, write."""
    settings, pool = work.job.wanted.settings, work.job.wanted.pool
    manifest: dict[str, str] = {}
    record: dict[str, JSON] = {}
    n_objects = 0
    for image in work.fields:
        statistics = read_statistics(work.before, image.path)
        decisions = decide(statistics.pairs, pool.model if pool else None, settings.ssl)
        recipe = (settings.ssl, settings.split)
        found = work.over(spans.segment_span, image, statistics.grey, decisions, recipe)
        drift = np.array([decision.drift_px for decision in decisions])
        manifest |= _link_and_write(work, image, drift)
        told = frame_diagnostics(statistics.pairs, decisions, image.interval_s)
        manifest |= write_table(
            work.plate,
            image.path,
            f"{work.status.step.label_image}_frames",
            told,
            "generic_table",
            provenance=provenance_of(work.status, work.job.wanted.root),
        )
        record[image.path.name] = [asdict(decision) for decision in decisions]
        n_objects += sum(found)
    return _Result(manifest, {"decisions": record}, n_objects)


def _segment_by_plugin(work: _Work) -> _Result:
    """Call a user's own segmenter on each field; its objects get their ids over time here."""
    source, plugin = work.job.source, find_segmenter(work.status.step.method)
    manifest: dict[str, str] = {}
    n_objects = 0
    for image in work.fields:
        frames = range(image.n_frames)
        with spans.naming(image.path):
            pixels = read_frames(work.plate, image.path, source.channel, frames, source.plane)
            labels = segment(plugin, np.stack(list(pixels)))
        n_objects += spans.keep_objects(work.plate, image.path, plugin.method, labels)
        manifest |= _link_and_write(work, image, np.zeros((image.n_frames, 2)))
    return _Result(manifest, n_objects=n_objects)


def _predict_stains(work: _Work) -> _Result:
    """Predict the stains of each frame into the sister plate of the step."""
    step, network = work.status.step, _network(work)
    sister, channels = (
        work.plate.sister(step.name),
        channels_of(network.model.card, network.settings),
    )
    manifest: dict[str, str] = {}
    for image in work.fields:
        made_by = provenance_of(work.status, work.job.wanted.root)
        manifest |= create_product(work.plate, sister, image.path, channels, made_by)
    found = work.over_all(networks.predict_stains, network)
    for one in found:
        manifest |= one.manifest
    return _Result(manifest, _blank_frames(work, found), sister=step.name)


def _find_by_network(work: _Work) -> _Result:
    """Find the objects of each frame with a network; they get their ids over time here."""
    found = work.over_all(networks.find_objects, _network(work))
    manifest: dict[str, str] = {}
    for image in work.fields:
        manifest |= _link_and_write(work, image, np.zeros((image.n_frames, 2)))
    return _Result(manifest, _blank_frames(work, found), sum(one.n_objects for one in found))


def _network(work: _Work) -> networks.Network:
    step = work.status.step
    device: Literal["cpu", "gpu"] = "gpu" if step.resources else "cpu"
    # steps of these kinds have one
    return networks.Network(cast(Model, step.model), work.job.wanted.settings.isl, device)


def _blank_frames(work: _Work, found: Sequence[networks.Found]) -> dict[str, JSON]:
    """Return a note of the frames of each field without a prediction, and warn of them."""
    blank = [place for one in found for place in one.blank]
    fields: dict[str, JSON] = {}
    for image in work.fields:
        indices = [index for path, index in blank if path == image.path]
        fields[image.path.name] = indices
        if indices:
            named = ", ".join(map(str, indices))
            _log.warning("field %s: nothing is predicted for blank frames %s", image.path, named)
    return {"blank": fields}


def _link_and_write(work: _Work, image: FieldImage, drift: NDArray[np.float64]) -> dict[str, str]:
    """Give the objects of a field ids over time, then write label image and motion table."""
    step, path = work.status.step, image.path
    objects = scratch.read_tables(work.plate, path, f"{step.name}/objects")
    tracks = link(_with_drift(objects, drift), drift, work.job.wanted.settings.track)
    scratch.write_table(work.plate, path, f"{step.name}/tracks", tracks.objects)
    made_by = provenance_of(work.status, work.job.wanted.root)
    manifest = create_label_image(work.plate, path, step.label_image, made_by)
    for written in work.over(spans.write_span, image, step.name, step.label_image):
        manifest |= written
    table = motion(tracks.objects.merge(objects, on=["time_index", "local_label"]))
    name = f"{step.label_image}_motion"
    return manifest | write_table(
        work.plate, path, name, table, "generic_table", provenance=made_by
    )


def _with_drift(objects: pd.DataFrame, drift: NDArray[np.float64]) -> pd.DataFrame:
    """Return objects as linking wants them: displacement as seen, with the drift in it."""
    stage = drift[objects["time_index"].to_numpy(np.intp)]
    return objects.rename(columns={"local_label": "label"}).assign(
        dy=objects["displacement_y_pixel"] + stage[:, 0],
        dx=objects["displacement_x_pixel"] + stage[:, 1],
    )


def _measure(work: _Work) -> _Result:
    """Measure the objects of each field; write object, feature and ROI tables."""
    label_image = work.status.step.label_image
    channels = work.job.wanted.settings.measure.channels
    manifest: dict[str, str] = {}
    noted: dict[str, JSON] = {}
    n_objects = 0
    for image in work.fields:
        of = (label_image, channels, work.status.step.stains)
        n_objects += sum(work.over(spans.measure_span, image, *of))
        measured = scratch.read_tables(work.plate, image.path, f"{work.status.step.name}/objects")
        moved = read_table(work.plate, image.path, f"{label_image}_motion")
        objects = join_motion(measured, moved)
        manifest |= _write_tables(work, image, objects)
        frames = summarise_frames(objects, image, work.before)
        noted[image.path.name] = frames_to_json(frames)
    return _Result(manifest, {"frames": noted}, n_objects)


def _write_tables(work: _Work, image: FieldImage, objects: pd.DataFrame) -> dict[str, str]:
    label_image, made_by = (
        work.status.step.label_image,
        provenance_of(work.status, work.job.wanted.root),
    )
    sizes = (image.pixel_size_um or 1.0, image.z_step_um or 1.0)
    whole = (image.length("z"), image.frame_shape, *sizes)
    tables: dict[str, tuple[pd.DataFrame, TableKind]] = {
        "well_ROI_table": (well_roi(*whole), "roi_table"),
        "FOV_ROI_table": (fov_roi(*whole), "roi_table"),
        f"{label_image}_masking_ROI_table": (masking_rois(objects, *sizes), "masking_roi_table"),
        f"{label_image}_objects": (objects, "generic_table"),
        f"{label_image}_features": (features(objects), "feature_table"),
    }
    manifest: dict[str, str] = {}
    for name, (table, kind) in tables.items():
        of = None if kind == "roi_table" else label_image
        manifest |= write_table(
            work.plate, image.path, name, table, kind, label_image=of, provenance=made_by
        )
    return manifest


def _need_two_frames(image: FieldImage) -> None:
    if image.n_frames < 2:
        raise FramesError(
            f"field {image.path} has {image.n_frames} frame",
            hint="SSL learns from what changes: it needs two frames or more",
        )


def _forget(work: _Work) -> None:
    """Take away the markers of a step and of what reads it, before the first byte changes."""
    stale = {work.status.step.name}
    for step in work.job.wanted.steps:
        if step.name in stale or stale.intersection(step.reads):
            stale.add(step.name)
            remove_marker(work.plate, work.job.wanted.well, step.name, work.job.source.token)


def _commit(work: _Work, result: _Result) -> Marker:
    """Verify what was written, mark the step as done, and drop its scratch files."""
    status, token = work.status, work.job.source.token
    record = {"parts": dict(status.parts), **result.record}
    renew_consolidated(work.plate, work.job.wanted.well)
    name, manifest = status.step.name, result.manifest
    marker = Marker(name, status.fingerprint, manifest, record, token, result.sister)
    write_marker(work.plate, work.job.wanted.well, marker, token)
    for image in work.fields:
        scratch.discard(work.plate, image.path)
    return marker


# of a step that reads pixels only
_NOTHING = Marker("", "", {})

_STEPS: Mapping[Kind, Callable[[_Work], _Result]] = {
    "statistics": _take_statistics,
    "ssl": _segment,
    "segmenter": _segment_by_plugin,
    "stain": _predict_stains,
    "objects": _find_by_network,
    "measure": _measure,
}
