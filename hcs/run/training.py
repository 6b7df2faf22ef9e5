"""What a person may set of a training: which network, from which plates, and how it is taught.

Composed of the settings that `hcs.isl` knows (card, recipe) and of where the images are.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Any, Literal, Self, get_args

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    StringConstraints,
    ValidationError,
    model_validator,
)

from hcs.errors import PlateError, SettingsError
from hcs.isl.card import Architecture, Head, InputPlane, Plane
from hcs.isl.recipe import Recipe, RecipeName, recipe_of
from hcs.plate.path import FieldPath, WellPath
from hcs.settings import problems_of, read_values

_SHARE = "write a share like 0.2, a list like [B/03], or none"


class _Settings(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


def _check_part(value: object) -> object:
    """Say in one sentence what a part may be, where pydantic would say it thrice."""
    if isinstance(value, float | int) and not isinstance(value, bool):
        if not 0 < value < 1:
            raise ValueError(f"{value} is no share between 0 and 1: {_SHARE}")
        return float(value)
    if value == "none":
        return value
    names = value if isinstance(value, list | tuple) else ()
    if not names or not all(isinstance(name, str) for name in names):
        raise ValueError(f"{value!r} is no part: {_SHARE}")
    return value


Part = Annotated[float | tuple[str, ...] | Literal["none"], BeforeValidator(_check_part)]
Columns = tuple[Annotated[int, Field(ge=0)], Annotated[int, Field(ge=1)]]


class TargetSettings(_Settings):
    """What the network learns to give; exactly one of stains, labels and masks."""

    stains: tuple[str, ...] = Field(
        default=(), description="channels with fluorescence, for head: stain"
    )
    plane: Plane = Field(
        default=0,
        description="of the stains' z stack, from 0, or its projection: max or mean (paper: max)",
    )
    labels: str | None = Field(
        default=None,
        description="label image of the plates, for head: nuclei or cells; every frame counts",
    )
    masks: str | None = Field(
        default=None,
        description="folder that `hcs annotate` made, or of TIFF masks of one plate, as in "
        "B02_0/t000.tif; for head: nuclei or cells; only annotated frames count",
    )

    @model_validator(mode="after")
    def _is_one(self) -> Self:
        named = {"stains": self.stains, "labels": self.labels, "masks": self.masks}
        given = [name for name, value in named.items() if value]
        if len(given) != 1:
            raise ValueError(
                f"exactly one of stains, labels and masks is wanted, not {' and '.join(given)}"
                if given
                else "one of stains, labels and masks is wanted"
            )
        _check_once("stains", self.stains)
        return self


class ColumnRanges(_Settings):
    """Which columns of each field belong to which part, each [first, end) in pixels."""

    train: Columns = Field(description="columns trained on")
    validation: Columns | None = Field(default=None, description="null for none")
    test: Columns | None = Field(default=None, description="null for none")

    @model_validator(mode="after")
    def _lie_apart(self) -> Self:
        given = {n: getattr(self, n) for n in type(self).model_fields if getattr(self, n)}
        problems = [
            f"{name} [{first}, {end}] is empty: write first and end"
            for name, (first, end) in given.items()
            if first >= end
        ]
        ordered = sorted(given.items(), key=lambda item: item[1])
        for (left, (_, end)), (right, (first, _)) in pairwise(ordered):
            if first <= end:
                how = "overlap" if first < end else "touch"
                problems.append(
                    f"{left} and {right} {how} at column {first}: leave a gap, since what "
                    "straddles a border would be in both"
                )
        if problems:
            raise ValueError("; ".join(problems))
        return self


class PlateSource(_Settings):
    """A plate, and what of it is used."""

    plate: str = Field(description="a path, from this file on, or s3://bucket/key/plate.zarr")
    wells: tuple[str, ...] = Field(default=(), description="as in B/03; empty for all")
    fields: tuple[str, ...] = Field(
        default=(), description="as in B/03/0; empty for all fields of the wells"
    )
    frames: tuple[Annotated[int, Field(ge=0)], ...] = Field(
        default=(), description="from 0; empty for all"
    )
    columns: ColumnRanges | None = Field(
        default=None,
        description="for split.by: columns, as in {train: [0, 700], test: [740, 1024]}: pixels, "
        "the end not included; null for whole images",
    )
    label_plate: str | None = Field(
        default=None,
        description="plate that holds the label images of target.labels under the same fields; "
        "null for this one",
    )

    @model_validator(mode="after")
    def _is_readable(self) -> Self:
        problems = [*_unreadable(WellPath, self.wells), *_unreadable(FieldPath, self.fields)]
        if problems:
            raise ValueError("; ".join(problems))
        return self


class PartSettings(_Settings):
    """Which images are trained on, which decide when to stop, and which are scored at the end."""

    by: Literal["well", "field", "columns"] = Field(
        default="well",
        description="a whole well, or field with all its frames, goes into one part; columns: "
        "the plates say which columns of each field (for single images)",
    )
    train: tuple[str, ...] = Field(
        default=(),
        description="wells as in B/03, or fields as in B/03/0; empty for all that are in no "
        "other part",
    )
    validation: Part = Field(
        default=0.2,
        description="decides which weights are kept: a share of the wells or fields, a list of "
        "them, or none, which keeps the last weights and never stops early",
    )
    test: Part = Field(
        default=0.1, description="scored at the end: a share, a list, or none for no scores"
    )
    seed: int = Field(default=0, ge=0, description="draws the shares")
    validation_frames: int = Field(
        default=16, ge=1, description="at most so many frames are validated, spread over the part"
    )
    test_frames: int = Field(
        default=64, ge=1, description="at most so many frames are scored, spread over the part"
    )

    @model_validator(mode="after")
    def _parts_are_apart(self) -> Self:
        lists = {n: v for n in PARTS if isinstance(v := getattr(self, n), tuple) and v}
        if self.by == "columns":
            if lists:
                raise ValueError(f"{' and '.join(lists)} cannot be listed: the columns tell")
            return self
        kind: type[WellPath | FieldPath] = WellPath if self.by == "well" else FieldPath
        problems = [p for names in lists.values() for p in _unreadable(kind, names)]
        for first, second in (("train", "validation"), ("train", "test"), ("validation", "test")):
            both = sorted(set(lists.get(first, ())) & set(lists.get(second, ())))
            problems += [f"{name} is in {first} and in {second}" for name in both]
        if problems:
            raise ValueError("; ".join(problems))
        return self


PARTS = ("train", "validation", "test")


class TrainingSettings(_Settings):
    """Settings of the training of one network.

    Examples
    --------
    >>> settings = example_settings()
    >>> settings.head, settings.recipe.name, settings.split.by
    ('stain', 'default', 'well')
    """

    name: Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9_]{0,63}$")] = Field(
        description="of the network: lower case letters, digits and _; its step is isl-<name>"
    )
    head: Head = Field(
        default="stain",
        description="what it gives: stain, the grey levels of target.stains; nuclei, a mask; "
        "cells, a distance map and a mask",
    )
    inputs: tuple[InputPlane, ...] = Field(
        description="what it sees: planes of label-free channels, in this order"
    )
    target: TargetSettings = Field(description="what it learns to give")
    plates: tuple[PlateSource, ...] = Field(description="where the images are")
    split: PartSettings = Field(
        default=PartSettings(), description="what is trained on, validated and tested"
    )
    start_from: str = Field(
        default="none",
        description="none: a new network; or a file, from this file on: a stain's, whose whole "
        "network then learns nuclei or cells, or one of this head, which learns on",
    )
    start_stain: str | None = Field(
        default=None,
        description="which of the stains of start_from nuclei or cells are found in; null for the "
        "first",
    )
    encoder_weights: str = Field(
        default="none",
        description="of a new network: none, random; imagenet, of photographs, which are "
        "downloaded (paper); or a safetensors file of the encoder's",
    )
    architecture: Architecture | None = Field(
        default=None,
        description="null for that of start_from, with last: repaired where a stain's network "
        "learns nuclei or cells; of a new network for {encoder: densenet121, depth: 5, "
        "decoder_channels: [256, 128, 64, 32, 16], last: linear} (paper)",
    )
    recipe: Recipe = Field(
        description="name: default (what an expert would do now) or paper; what else is given "
        "changes it"
    )
    seed: int = Field(default=0, ge=0, description="of weights, crops and augmentation")
    licence: str = Field(default="unknown", description="of the weights, for the model card")
    pixel_size_um: float | None = Field(
        default=None, gt=0, description="takes the place of what the plates say, micrometer"
    )

    @model_validator(mode="before")
    @classmethod
    def _complete_the_recipe(cls, values: object) -> object:
        """Fill in what the recipe's name says and nobody changed."""
        if not isinstance(values, dict):
            return values
        given = values.get("recipe") or {}
        if not isinstance(given, Mapping):
            return values
        # what is wrong with either is said of its own field
        wanted = values.get("head", "stain")
        head: Head = wanted if wanted in get_args(Head) else "stain"
        name: RecipeName = "paper" if given.get("name") == "paper" else "default"
        complete = recipe_of(name, head).model_dump() | dict(given) | {"head": head}
        return values | {"recipe": complete}

    @model_validator(mode="after")
    def _goes_together(self) -> Self:
        problems = [f"{name} is empty" for name in ("inputs", "plates") if not getattr(self, name)]
        problems += [*self._target_problems(), *self._column_problems()]
        if "none" not in (self.start_from, self.encoder_weights):
            problems.append("start_from brings its own encoder: leave encoder_weights at none")
        problems += [
            f"{name}: weights are local files: copy {where} first"
            for name in ("start_from", "encoder_weights")
            if "://" in (where := getattr(self, name))
        ]
        if self.architecture is not None and self.inputs:
            n_outputs = {"nuclei": 1, "cells": 2}.get(self.head, len(self.target.stains) or 1)
            found = self.architecture.problems(self.head, len(self.inputs), n_outputs)
            problems += [f"architecture: {problem}" for problem in found]
        if problems:
            raise ValueError("; ".join(problems))
        _check_once("inputs", [(plane.channel, plane.plane) for plane in self.inputs])
        _check_once("plates", [source.plate for source in self.plates])
        return self

    def _target_problems(self) -> list[str]:
        if self.head == "stain" and not self.target.stains:
            return ["head stain learns target.stains, and there are none"]
        if self.head != "stain" and self.target.stains:
            return [f"head {self.head} learns target.labels or target.masks, not stains"]
        return []

    def _column_problems(self) -> list[str]:
        with_columns = [source.plate for source in self.plates if source.columns]
        if self.split.by == "columns":
            without = [s.plate for s in self.plates if s.plate not in with_columns]
            return [f"split.by columns, but {plate} has none" for plate in without]
        return [f"{plate} has columns, but split.by is {self.split.by}" for plate in with_columns]


def load_training(path: Path, overrides: Sequence[str] = ()) -> TrainingSettings:
    """Read a training from a YAML file; paths in it are relative to the file.

    Parameters
    ----------
    path : Path
    overrides : sequence of str
        As in ``"recipe.steps=200"``; the value is read as YAML, a path from the file on.

    Raises
    ------
    SettingsError
        Naming every problem at once.
    """
    settings = check_training(read_values(path, overrides), where=str(path))
    return _found_from(settings, path.parent)


def check_training(values: Mapping[str, Any], where: str = "training") -> TrainingSettings:
    """Return settings from plain values; SettingsError names every problem."""
    try:
        return TrainingSettings.model_validate(dict(values))
    except ValidationError as error:
        raise SettingsError(
            f"{where}: " + "; ".join(problems_of(error)),
            hint="`hcs train --explain` prints a file with every setting and its meaning",
        ) from error


def example_settings() -> TrainingSettings:
    """Return a training to begin a file with."""
    return TrainingSettings.model_validate(
        {
            "name": "nuclear_stain",
            "inputs": [{"channel": "phase"}],
            "target": {"stains": ["nuclei"]},
            "plates": [{"plate": "screen.zarr"}],
        }
    )


def _found_from(settings: TrainingSettings, folder: Path) -> TrainingSettings:
    """Return the same settings with paths that hold from anywhere on."""

    def found(where: str | None) -> str | None:
        return where if where is None or "://" in where else str(folder / where)

    plates = tuple(
        source.model_copy(
            update={"plate": found(source.plate), "label_plate": found(source.label_plate)}
        )
        for source in settings.plates
    )
    target = settings.target.model_copy(update={"masks": found(settings.target.masks)})
    weights = {
        name: where if where in ("none", "imagenet") else str(folder / where)
        for name, where in (
            ("start_from", settings.start_from),
            ("encoder_weights", settings.encoder_weights),
        )
    }
    return settings.model_copy(update={"plates": plates, "target": target, **weights})


def _unreadable(kind: type[WellPath | FieldPath], names: Iterable[str]) -> list[str]:
    """Say which names are no paths."""
    problems = []
    for name in names:
        try:
            kind.parse(name)
        except PlateError as error:
            problems.append(str(error))
    return problems


def _check_once(what: str, values: Sequence[object]) -> None:
    twice = sorted({str(value) for value in values if values.count(value) > 1})
    if twice:
        raise ValueError(f"{what} lists {' and '.join(twice)} twice")
