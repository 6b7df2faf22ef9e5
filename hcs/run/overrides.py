"""Settings of one plate: those given, changed by files beside it; what is nearer the plate wins.

``hcs.yaml`` in a folder holds for the plates in it and below, ``<plate>.hcs.yaml`` beside a plate
for that plate. Both hold what ``hcs settings`` prints, or some of it, and ``night.priority``.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import yaml

from hcs.errors import SettingsError
from hcs.plate.arrivals import parent_of, read_beside
from hcs.settings import RunSettings, Settings, check_settings, from_yaml

OF_FOLDER = "hcs.yaml"
OF_PLATE = ".hcs.yaml"
_DEEPEST = 20
# what files beside plates cannot say of `run`; they may lower the rest
_OF_THE_NIGHT = frozenset({"dask", "adaptive", "memory_per_worker", "dashboard"})
# wells in flight for each worker, where nobody says how many
_IN_FLIGHT = 2


@dataclass(frozen=True)
class PlateSettings:
    """What holds for one plate.

    Parameters
    ----------
    settings : Settings
    priority : float
        Plates with a higher one go first.
    files : tuple of str
        URLs of those that changed something, the strongest last.
    """

    settings: Settings
    priority: float = 0
    files: tuple[str, ...] = ()


def settings_of(plate: str, folder: str, given: Settings) -> PlateSettings:
    """Return the settings of a plate.

    Parameters
    ----------
    plate : str
        URL.
    folder : str
        URL of the one that is watched, in full, above the plate: no file above it counts.
    given : Settings
        For the night.

    Raises
    ------
    SettingsError
        A file is not YAML, or holds what is no setting or none of a plate's; names the file.
    PlateError
        A file cannot be read.
    """
    values: dict[str, Any] = given.model_dump(mode="json", exclude_unset=True)
    priority, files = 0.0, list[str]()
    for beside, name in _places(plate, folder):
        content = read_beside(beside, name)
        if content is None:
            continue
        url = f"{parent_of(beside)}/{name}"
        change = _parse(content, url)
        priority = _priority(change.pop("night", {}), url, priority)
        _check_run(change, url)
        # each file is checked by itself, so that an error names the one that it is in
        check_settings(change, where=url)
        values = merged(values, change)
        files.append(url)
    own = check_settings(values, where=", ".join(files) or "settings")
    own = own.model_copy(update={"run": _within(own.run, given.run)}) if files else own
    return PlateSettings(own, priority, tuple(files))


def merged(values: Mapping[str, Any], change: Mapping[str, Any]) -> dict[str, Any]:
    """Return settings with some of them changed; a list is changed as a whole.

    Examples
    --------
    >>> merged({"ssl": {"a": 1, "b": [1]}}, {"ssl": {"b": [2]}, "channel": "phase"})
    {'ssl': {'a': 1, 'b': [2]}, 'channel': 'phase'}
    """
    result = dict(values)
    for name, value in change.items():
        old = result.get(name)
        both = isinstance(old, Mapping) and isinstance(value, Mapping)
        result[name] = merged(old, value) if both else value  # type: ignore[arg-type] # both
    return result


def _places(plate: str, folder: str) -> list[tuple[str, str]]:
    """Return what may change the settings, weakest first: something beside the file, its name."""
    tops = [plate]
    while parent_of(tops[-1]).startswith(f"{folder}/"):
        tops.append(parent_of(tops[-1]))
    name = plate.rstrip("/").rpartition("/")[2].removesuffix(".zarr")
    return [*((top, OF_FOLDER) for top in reversed(tops)), (plate, f"{name}{OF_PLATE}")]


def _parse(content: bytes, url: str) -> dict[str, Any]:
    try:
        text = content.decode()
        _check_depth(text, url)
        # a few lines of references to references hold more than a memory does
        if any(isinstance(token, yaml.AliasToken) for token in yaml.scan(text)):
            raise SettingsError(f"{url} refers to itself with *", hint="write the values out")
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise SettingsError(f"{url} is not YAML: {error}") from error
    values = from_yaml(text, url)
    if not isinstance(values, dict | None):
        raise SettingsError(f"{url} holds a {type(values).__name__}, not `key: value` lines")
    return values or {}


def _check_run(change: Mapping[str, Any], url: str) -> None:
    """Refuse a plate that says where it is analysed: schedulers run code, both ways."""
    run = change.get("run")
    names = set(run) & _OF_THE_NIGHT if isinstance(run, Mapping) else set()
    if isinstance(run, Mapping) and run.get("device", "cpu") != "cpu":
        names.add("device")
    if names:
        told = ", ".join(f"run.{name}" for name in sorted(names))
        raise SettingsError(
            f"{url}: {told} is not a plate's to say",
            hint="it holds for the night: give it with --settings or --set",
        )


def _within(run: RunSettings, given: RunSettings) -> RunSettings:
    """Return how a plate's work is spread, at the cost of others no more than the night's is."""
    most = {
        "workers": given.workers or given.n_workers,
        "gpu_workers": given.gpu_workers,
        "wells_in_flight": given.wells_in_flight or _IN_FLIGHT * given.n_workers,
        "attempts": given.attempts,
        "timeout_s": given.timeout_s or math.inf,
    }
    asked = {name: getattr(run, name) for name in most}
    return run.model_copy(
        update={
            name: getattr(given, name) if value is None else min(value, most[name])
            for name, value in asked.items()
        }
    )


def _check_depth(text: str, url: str) -> None:
    """Refuse brackets in brackets before YAML reads them, which takes it hours."""
    depth = 0
    for character in text:
        depth += (character in "[{") - (character in "]}")
        if depth > _DEEPEST:
            raise SettingsError(f"{url} is nested too deeply to be settings")


def _priority(night: object, url: str, before: float) -> float:
    """Return the priority that a file gives; the rest of a night is not a plate's to say."""
    if not isinstance(night, Mapping) or set(night) - {"priority"}:
        raise SettingsError(
            f"{url}: night holds {night!r}", hint="beside a plate it may hold `priority: 5` only"
        )
    priority = night.get("priority", before)
    # what is no number is neither more nor less than any
    if not isinstance(priority, int | float) or math.isnan(priority):
        raise SettingsError(f"{url}: night.priority is {priority!r}, not a number")
    return float(priority)
