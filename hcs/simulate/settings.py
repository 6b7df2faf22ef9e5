"""What a user chooses of a simulated plate."""

from __future__ import annotations

from collections.abc import Mapping
from string import ascii_uppercase
from typing import Literal, Self, cast, get_args

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from hcs.errors import SettingsError
from hcs.plate.path import WellPath
from hcs.settings import problems_of
from hcs.simulate.presets import Optics, PresetName

AccidentKind = Literal["blank_frame", "out_of_focus", "saturated", "empty_well", "missing_well"]
Target = Literal["motility", "growth", "death"]


class Accident(BaseModel):
    """Something that goes wrong in one well, as in ``blank_frame=B/03``."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: AccidentKind
    well: str = Field(description="row/column, as B/03")

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read ``"kind=row/column"``.

        Raises
        ------
        SettingsError
            Naming the kinds there are.

        Examples
        --------
        >>> Accident.parse("saturated=B/03").kind
        'saturated'
        """
        kind, _, well = text.partition("=")
        if kind not in get_args(AccidentKind) or not well:
            raise SettingsError(
                f"accident {text!r} is not kind=row/column",
                hint=f"kinds: {', '.join(get_args(AccidentKind))}; as in blank_frame=B/03",
            )
        return cls(kind=cast(AccidentKind, kind), well=well)


class SimulationSettings(BaseModel):
    """A simulated plate: everything that its pixels depend on, and how they are stored."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    preset: PresetName = Field("moderate", description="difficulty of the images")
    rows: int = Field(4, ge=1, le=16, description="rows of wells, from A")
    columns: int = Field(6, ge=1, le=24, description="columns of wells, from 01")
    fields: int = Field(1, ge=1, description="fields per well")
    frames: int = Field(10, ge=1, description="frames per field")
    size: int = Field(512, ge=64, description="side of a field, pixels")
    seed: int = Field(0, ge=0, description="equal seeds give equal plates")
    optics: Optics = Field("phase", description="of the label-free channel")
    version: Literal["0.4", "0.5"] = Field("0.4", description="OME-Zarr")
    storage: Literal["chunked", "sharded"] = Field(
        "chunked", description="sharded: fewer files, OME-Zarr 0.5 only"
    )
    pixel_size_um: float = Field(0.65, gt=0, description="at the specimen")
    interval_s: float = Field(600.0, gt=0, description="between frames")
    drug_acts_on: tuple[Target, ...] = Field(
        ("motility", "growth", "death"), description="what the drug changes"
    )
    edge_effect: float = Field(
        0.0, ge=0, le=1, description="loss of light and growth in the outermost wells"
    )
    accidents: tuple[Accident, ...] = Field((), description="what goes wrong, by well")

    @model_validator(mode="after")
    def _check_together(self) -> Self:
        """Refuse what does not go together, all in one message."""
        names = [str(well) for well in self.wells]
        struck = [accident.well for accident in self.accidents]
        problems = [
            f"accident in well {w}, which the plate lacks" for w in struck if w not in names
        ]
        twice = sorted({w for w in struck if struck.count(w) > 1})
        problems += [f"well {w} has two accidents" for w in twice]
        if self.version == "0.4" and self.storage == "sharded":
            problems.append("OME-Zarr 0.4 has no shards: write version 0.5")
        if problems:
            raise ValueError("; ".join(problems))
        return self

    @property
    def row_names(self) -> tuple[str, ...]:
        """Rows of the plate, from A."""
        return tuple(ascii_uppercase[: self.rows])

    @property
    def column_names(self) -> tuple[str, ...]:
        """Columns of the plate, from 01."""
        return tuple(f"{column:02d}" for column in range(1, self.columns + 1))

    @property
    def wells(self) -> tuple[WellPath, ...]:
        """All wells, row by row, also one that will have no images."""
        return tuple(
            WellPath(row, column) for row in self.row_names for column in self.column_names
        )

    def accident(self, well: WellPath) -> AccidentKind | None:
        """Return what goes wrong in a well."""
        kinds = [accident.kind for accident in self.accidents if accident.well == str(well)]
        return kinds[0] if kinds else None


def settings_for(values: Mapping[str, object]) -> SimulationSettings:
    """Return checked settings.

    Raises
    ------
    SettingsError
        All problems in one message.
    """
    try:
        return SimulationSettings.model_validate(values)
    except ValidationError as error:
        raise SettingsError(
            "; ".join(problems_of(error)), hint="`hcs simulate --help` lists all of them"
        ) from error
