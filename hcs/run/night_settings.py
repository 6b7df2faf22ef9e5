"""What a person may set of a night: when a plate has arrived, until when to work, who is told."""

from __future__ import annotations

from datetime import time
from typing import Annotated, Literal, Self
from zoneinfo import ZoneInfo

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    field_validator,
    model_validator,
)

from hcs.errors import PlateError, SettingsError
from hcs.plate.storage import check_key
from hcs.settings import problems_of


def _check_hour(value: object) -> object:
    """Take 7 and 7:00 as people write them, and 7:00 as YAML takes it: 420, to base 60."""
    if isinstance(value, str):
        text = value.strip()
        if not text.isdecimal():
            return text.rjust(5, "0") if ":" in text else text
        value = int(text)
    if isinstance(value, int) and not isinstance(value, bool):
        # YAML's least is 1:00, which is 60
        hour, minute = divmod(value, 60) if value >= 60 else (value, 0)
        return f"{hour:02}:{minute:02}"
    return value


Hour = Annotated[time, BeforeValidator(_check_hour)]


class NightSettings(BaseModel):
    """Settings of a night.

    Examples
    --------
    >>> NightSettings.model_validate({"until": "07:00"}).until
    datetime.time(7, 0)
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    sentinel: str | None = Field(
        default=None,
        description="name of the file that says that a plate has arrived, beside it or in it; "
        "{plate} stands for its name without .zarr, as in {plate}.done; null: it has arrived when "
        "it is complete and its pixels rest",
    )
    unchanged_min: float = Field(
        default=60,
        ge=0,
        description="minutes for which no pixel may have changed, without a sentinel; more than "
        "the microscope's and the copy's longest pause",
    )
    incomplete_after_h: float | None = Field(
        default=24,
        ge=0,
        description="hours after which a plate that lacks wells, fields or frames is analysed as "
        "it is, without a sentinel; null for never",
    )
    depth: int = Field(
        default=3, ge=1, le=10, description="levels of folders looked into; 1 for the folder only"
    )
    exclude: tuple[str, ...] = Field(
        default=("*_truth.zarr",), description="plates that are left alone: patterns of their names"
    )
    until: Hour | None = Field(
        default=None,
        description="plates that cannot be done by this hour, as in 07:00, are not begun; null for "
        "no limit",
    )
    time_zone: str | None = Field(
        default=None, description="of that hour, as in Europe/Zurich; null for the machine's"
    )
    longest_h: float | None = Field(
        default=None,
        gt=0,
        description="where that hour is more than so many hours away, the night comes too late (a "
        "job that waited until the morning) and begins no plate; null for never; runs that Prefect "
        "scheduled know when they should have begun",
    )
    margin: float = Field(
        default=1.25, ge=1, description="the expected time of a plate is multiplied by this"
    )
    at_once: int = Field(
        default=1, ge=1, description="plates analysed at the same time; they share the workers"
    )
    look_every_min: float | None = Field(
        default=None,
        gt=0,
        description="minutes between looks for new plates while there is nothing to do, up to the "
        "hour of `until`; null: the night ends when no plate is left",
    )
    notify: tuple[str, ...] = Field(
        default=(),
        description="Prefect notification blocks that get the summary, as in slack-webhook/screens",
    )
    notify_on: Literal["always", "work", "trouble"] = Field(
        default="always",
        description="work: when a plate was analysed or should have been; trouble: when not all "
        "is well",
    )
    overdue_after_h: float | None = Field(
        default=72,
        ge=0,
        description="hours after which a plate that nights still see arriving, or in use, is "
        "trouble; more than the longest acquisition takes; null for never",
    )
    stuck_after_h: float | None = Field(
        default=6,
        gt=0,
        description="hours after which a piece of work is ended and tried again, where "
        "run.timeout_s is null: nobody is there to end what hangs; null for never",
    )

    @model_validator(mode="after")
    def _ends(self) -> Self:
        if self.look_every_min is not None and self.until is None:
            raise ValueError("look_every_min needs until: the hour at which the looks end")
        return self

    @field_validator("time_zone")
    @classmethod
    def _is_known(cls, value: str | None) -> str | None:
        try:
            if value is not None:
                ZoneInfo(value)
        except (KeyError, ValueError, OSError) as error:
            raise ValueError(
                f"no time zone {value!r} is known: write it as Europe/Zurich"
            ) from error
        return value

    @field_validator("sentinel")
    @classmethod
    def _stays_there(cls, value: str | None) -> str | None:
        try:
            if value is not None:
                check_key(value)
        except PlateError as error:
            raise ValueError(error.message) from error
        return value

    @field_validator("notify")
    @classmethod
    def _are_blocks(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        wrong = [name for name in value if len([part for part in name.split("/") if part]) != 2]
        if wrong:
            raise ValueError(
                f"{', '.join(wrong)}: a block is named type/name, as in slack-webhook/x"
            )
        return value


class _File(BaseModel):
    """A settings file, of which only the night is looked at; it lends its problems their names."""

    night: NightSettings


def check_night(values: object, where: str = "settings") -> NightSettings:
    """Return the settings of a night from plain values.

    Raises
    ------
    SettingsError
        Naming every problem.
    """
    try:
        return _File.model_validate({"night": {} if values is None else values}).night
    except ValidationError as error:
        raise SettingsError(
            f"{where}: " + "; ".join(problems_of(error)),
            hint="`hcs nightly --explain` lists all of them",
        ) from error
