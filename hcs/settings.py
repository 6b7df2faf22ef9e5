"""Every setting of an analysis in one model: for YAML files, command-line flags and Prefect.

The sciences keep their own settings in their rooms; here they are composed, with what concerns the
plate and the run. What decides a result enters the fingerprints of the steps (`hcs.run.steps`);
`RunSettings` decides only how the work is spread and never enters one.
"""

from __future__ import annotations

import os
import re
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    NonNegativeInt,
    PositiveInt,
    TypeAdapter,
    ValidationError,
    field_validator,
)
from pydantic_core import ErrorDetails

from hcs.errors import SettingsError
from hcs.isl.settings import IslSettings
from hcs.labels.settings import SplitSettings, TrackSettings
from hcs.ssl.settings import SslSettings

_PLAIN = TypeAdapter[object](object)
# what run.dask may say beside an address
DASK_WORDS = ("local", "none", "slurm", "kubernetes")
# workers of a cluster, where nobody says how many
_ELSEWHERE = 32
# of a number, characters: longer ones have no meaning, and from 4300 digits on Python writes none
_LONGEST_NUMBER = 100
# as Dask reads it
_BYTES = re.compile(r"(?=[0.]*[1-9])\d+(\.\d+)?(e\d+)?\s*([kmgtp]i?)?b?", re.IGNORECASE)


class _Settings(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class CalibrationSettings(_Settings):
    """What the plate itself does not tell; null keeps what it tells."""

    pixel_size_um: float | None = Field(
        default=None, gt=0, description="size of a pixel in y and x, micrometer"
    )
    interval_s: float | None = Field(
        default=None, gt=0, description="time from frame to frame, seconds"
    )


class MeasureSettings(_Settings):
    """What is measured of each object."""

    channels: tuple[str, ...] | None = Field(
        default=None, description="channels whose intensity is measured; null for all of them"
    )


class RunSettings(_Settings):
    """How the work is spread; never changes a result."""

    dask: str = Field(
        default="local",
        description="local: worker processes on this machine; none: threads of this process; "
        "slurm: jobs of Slurm; kubernetes: pods of the Dask operator; else the address of a Dask "
        "scheduler",
    )
    workers: int | None = Field(
        default=None,
        ge=1,
        description="worker processes or threads; null for one per processor, on Slurm and "
        "Kubernetes for up to 32, as many as there is work for",
    )
    adaptive: tuple[NonNegativeInt, PositiveInt] | None = Field(
        default=None,
        description="fewest and most workers, which come and go with the work; null for `workers` "
        "all the time; with an address, how many others start there when there is work",
    )
    gpu_workers: int = Field(
        default=1,
        ge=1,
        description="most workers with a GPU that Slurm or Kubernetes are asked for, where device "
        "is not cpu; on this machine each GPU has one",
    )
    memory_per_worker: str | None = Field(
        default=None, description="limit of a local worker, as in 4GB; null for an equal share"
    )
    wells_in_flight: int | None = Field(
        default=None, ge=1, description="wells begun and not finished; null for 2 per worker"
    )
    attempts: int = Field(
        default=3,
        ge=1,
        description="starts of one piece of work before its well is given up, where a disk, a "
        "network or a dying worker was the cause; bad input is not tried again",
    )
    timeout_s: float | None = Field(
        default=None, gt=0, description="longest time for one piece of work; null for no limit"
    )
    span_frames: int = Field(
        default=120,
        ge=1,
        description="fields with more frames are cut into spans of so many, which run in parallel",
    )
    device: Literal["cpu", "gpu", "any"] = Field(
        default="cpu",
        description="where networks run: gpu asks for workers with the resource GPU, any takes "
        "them where there are some, else processors",
    )
    dashboard: int | None = Field(
        default=None, ge=1, le=65535, description="port of Dask's dashboard, on this machine only"
    )

    @field_validator("dask")
    @classmethod
    def _check_dask(cls, dask: str) -> str:
        if dask not in DASK_WORDS and ":" not in dask:
            words = ", ".join(DASK_WORDS)
            raise ValueError(f"{dask!r} is none of {words}, nor an address as in tcp://host:8786")
        return dask

    @field_validator("memory_per_worker")
    @classmethod
    def _check_memory(cls, memory: str | None) -> str | None:
        if memory is not None and not _BYTES.fullmatch(memory.strip()):
            raise ValueError(f"{memory!r} is no amount of memory: write it as 4GB")
        return memory

    @field_validator("adaptive")
    @classmethod
    def _check_adaptive(cls, adaptive: tuple[int, int] | None) -> tuple[int, int] | None:
        if adaptive and adaptive[0] > adaptive[1]:
            raise ValueError(f"the fewest workers, {adaptive[0]}, are more than {adaptive[1]}")
        return adaptive

    @property
    def bounds(self) -> tuple[int, int]:
        """Fewest and most workers at the same time.

        Examples
        --------
        >>> RunSettings(adaptive=(2, 8), workers=4).bounds, RunSettings(dask="slurm").bounds
        ((2, 4), (0, 32))
        """
        if self.adaptive:
            most = min(self.adaptive[1], self.workers or self.adaptive[1])
            return min(self.adaptive[0], most), most
        if self.workers is None and self.dask in ("slurm", "kubernetes"):
            return 0, _ELSEWHERE
        most = self.workers or len(os.sched_getaffinity(0))
        return most, most

    @property
    def n_workers(self) -> int:
        """Most workers at the same time."""
        return self.bounds[1]


class Settings(_Settings):
    """Settings of one analysis of one plate.

    Examples
    --------
    >>> Settings().methods
    ('ssl',)
    >>> Settings.model_validate({"ssl": {"thresholds": "paper"}}).ssl.thresholds
    'paper'
    """

    methods: tuple[str, ...] = Field(
        default=("ssl",),
        min_length=1,
        description="what is done: ssl; isl, with the networks of isl.weights; or the name of an "
        "installed segmenter (entry point group hcs.segmenters)",
    )
    channel: str | None = Field(
        default=None,
        description="label-free channel; null for the only one, or the one whose name says so "
        "(phase, bright field, DIC, transmitted light)",
    )
    plane: int | Literal["max", "mean"] = Field(
        default=0, description="plane of a z stack, from 0, or its projection"
    )
    wells: tuple[str, ...] = Field(default=(), description="wells as in B/03; empty for all")
    calibration: CalibrationSettings = Field(
        default=CalibrationSettings(), description="what the plate itself does not tell"
    )
    ssl: SslSettings = Field(
        default=SslSettings(), description="self-supervised segmentation of label-free frames"
    )
    isl: IslSettings = Field(
        default=IslSettings(), description="stains and objects predicted by trained networks"
    )
    split: SplitSettings = Field(default=SplitSettings(), description="touching objects told apart")
    track: TrackSettings = Field(default=TrackSettings(), description="objects followed over time")
    measure: MeasureSettings = Field(
        default=MeasureSettings(), description="what is measured of each object"
    )
    run: RunSettings = Field(
        default=RunSettings(), description="how the work is spread; never changes a result"
    )


def load_settings(path: Path | None = None, overrides: Sequence[str] = ()) -> Settings:
    """Read settings from a YAML file, then change what the command line says.

    Parameters
    ----------
    path : Path or None
        A YAML mapping; None for the defaults. What it says of a night (`night`) is left alone, so
        that one file serves nights and days.
    overrides : sequence of str
        As in ``"ssl.min_area_px=20"``; the value is read as YAML.

    Raises
    ------
    SettingsError
        Naming every problem at once: unknown keys, wrong values, a file that is not YAML.

    Examples
    --------
    >>> load_settings(overrides=["ssl.min_area_px=20", "channel=phase"]).ssl.min_area_px
    20
    """
    values = read_values(path)
    values.pop("night", None)
    return check_settings(_changed(values, overrides), where=str(path) if path else "settings")


def read_values(path: Path | None, overrides: Sequence[str] = ()) -> dict[str, Any]:
    """Return the plain values of a YAML file, changed by ``key=value``; nothing is checked yet.

    Raises
    ------
    SettingsError
        The file cannot be read or is not YAML, or a change is not ``key=value``.
    """
    return _changed(_read_yaml(path) if path else {}, overrides)


def from_yaml(text: str, where: str) -> Any:  # noqa: ANN401 - whatever it holds
    """Return the plain values that a text of YAML holds.

    Raises
    ------
    SettingsError
        It is not YAML, is nested too deeply, or a value is not what it looks like or is said to
        be; names where it stands.
    """
    try:
        return yaml.load(text, Loader=_Loader)
    except RecursionError as error:
        raise SettingsError(f"{where} is nested too deeply to be settings") from error
    except (yaml.YAMLError, ValueError) as error:
        raise SettingsError(f"{where} is not YAML: {error}") from error
    except (LookupError, AttributeError) as error:
        # so PyYAML fails at !!bool x
        raise SettingsError(f"{where} is not YAML: a value is not what its !! says") from error


class _Loader(yaml.SafeLoader):
    """YAML's plain values, without numbers that are too long to be one."""

    def construct_yaml_int(self, node: yaml.ScalarNode) -> int:
        if len(node.value) > _LONGEST_NUMBER:
            raise ValueError(f"a number has {len(node.value)} characters")
        return super().construct_yaml_int(node)


_Loader.add_constructor("tag:yaml.org,2002:int", _Loader.construct_yaml_int)


def check_settings(values: Mapping[str, Any], where: str = "settings") -> Settings:
    """Return settings from plain values; SettingsError names every problem."""
    try:
        return Settings.model_validate(values)
    except ValidationError as error:
        raise SettingsError(
            f"{where}: " + "; ".join(problems_of(error)), hint="`hcs settings` lists all of them"
        ) from error


def problems_of(error: ValidationError) -> list[str]:
    """Return what pydantic found wrong with typed settings, a sentence each, in our words.

    Examples
    --------
    >>> try:
    ...     RunSettings.model_validate({"attempts": 0, "threads": 2})
    ... except ValidationError as error:
    ...     problems_of(error)
    ['attempts: input should be greater than or equal to 1, not 0', 'threads is no setting']
    """
    return [_problem(detail) for detail in error.errors()]


def explain(settings: BaseModel) -> str:
    r"""Return settings as YAML, each with its meaning and source in a comment.

    Parameters
    ----------
    settings : pydantic model
        Of models, lists of models and plain values, each field with a description.

    Examples
    --------
    >>> print("\n".join(explain(Settings()).splitlines()[:3]))
    # what is done: ssl; isl, with the networks of isl.weights; or the name of an installed
    # segmenter (entry point group hcs.segmenters)
    methods: [ssl]
    """
    return "\n".join(_explained(settings, "")) + "\n"


def _read_yaml(path: Path) -> dict[str, Any]:
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise SettingsError(
            f"cannot read {path}: {error.strerror}",
            hint="relative paths are from the current folder",
        ) from error
    except UnicodeDecodeError as error:
        raise SettingsError(f"{path} is not YAML: {error}") from error
    values = from_yaml(text, str(path))
    if not isinstance(values, dict | None):
        raise SettingsError(f"{path} holds a {type(values).__name__}, not `key: value` lines")
    return values or {}


def _changed(values: dict[str, Any], overrides: Sequence[str]) -> dict[str, Any]:
    for override in overrides:
        _change(values, override)
    return values


def _change(values: dict[str, Any], override: str) -> None:
    name, equals, text = override.partition("=")
    *rooms, key = name.strip().split(".")
    if not equals or not key:
        raise SettingsError(f"{override!r} is not key=value", hint="as in ssl.min_area_px=20")
    for room in rooms:
        inner = values.setdefault(room, {})
        if not isinstance(inner, dict):
            raise SettingsError(f"{override!r}: {room} is {inner!r}, which holds no settings")
        values = inner
    values[key] = from_yaml(text, repr(override))


def _problem(detail: ErrorDetails) -> str:
    name = ".".join(map(str, detail["loc"]))
    if detail["type"] == "extra_forbidden":
        return f"{name} is no setting"
    message = detail["msg"]
    if detail["type"] == "value_error":
        # a sentence of our own, which pydantic puts its label before
        sentence = message.removeprefix("Value error, ")
    else:
        sentence = f"{message[0].lower()}{message[1:]}"
        if isinstance(detail["input"], str | int | float):
            sentence += f", not {detail['input']!r}"
    return f"{name}: {sentence}" if name else sentence


def _explained(settings: BaseModel, indent: str) -> Iterator[str]:
    for name, field in type(settings).model_fields.items():
        value = getattr(settings, name)
        lines = textwrap.wrap(field.description or "", 90 - len(indent))
        yield from (f"{indent}# {line}" for line in lines)
        if isinstance(value, BaseModel):
            yield f"{indent}{name}:"
            yield from _explained(value, indent + "  ")
        elif isinstance(value, tuple) and value and isinstance(value[0], BaseModel):
            yield f"{indent}{name}:"
            for item in value:
                yield f"{indent}  -"
                yield from _explained(item, indent + "    ")
        else:
            yield f"{indent}{name}: {_as_yaml(value)}"


def _as_yaml(value: object) -> str:
    plain = _PLAIN.dump_python(value, mode="json")
    text = yaml.safe_dump(plain, default_flow_style=True, width=10_000)
    return text.removesuffix("...\n").strip()
