"""Whether a plate has arrived: a sentinel file says so, or it is complete and its pixels rest."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import chain
from typing import Literal

from hcs.plate.arrivals import is_beside, pixels_of
from hcs.plate.check import find_problems
from hcs.plate.metadata import FieldImage
from hcs.plate.open import Plate
from hcs.plate.storage import Storage
from hcs.run.budget import in_words
from hcs.run.night_settings import NightSettings

_AT_MOST_NAMED = 3


@dataclass(frozen=True)
class Arrival:
    """Whether a plate has arrived, and how that is known.

    Parameters
    ----------
    state : {"arrived", "arriving"}
    why : str
        For people.
    """

    state: Literal["arrived", "arriving"]
    why: str

    @property
    def is_there(self) -> bool:
        """Whether it may be begun."""
        return self.state == "arrived"


def sentinel_of(plate: str, pattern: str) -> Arrival:
    """Look for the file that says that a plate has arrived, beside the plate and in it.

    Parameters
    ----------
    plate : str
        URL.
    pattern : str
        Its name; ``{plate}`` stands for the plate's.
    """
    storage = Storage.open(plate)
    # the name comes from a disk that others write on: it is no format string
    name = pattern.replace("{plate}", storage.name)
    if is_beside(plate, name) or storage.exists(name):
        return Arrival("arrived", f"{name} is there")
    return Arrival("arriving", f"{name} is not there yet")


def arrival_of(plate: Plate, night: NightSettings, now: datetime) -> Arrival:
    """Tell whether a plate has arrived.

    Parameters
    ----------
    plate : Plate
    night : NightSettings
    now : datetime
        With a time zone.
    """
    if night.sentinel:
        return sentinel_of(plate.storage.url, night.sentinel)
    pixels = pixels_of(plate)
    if pixels.changed is None:
        return Arrival("arriving", "there are no pixels yet")
    # a file server's clock may be ahead of this machine's
    rest = max(now - pixels.changed, timedelta(0))
    if rest < timedelta(minutes=night.unchanged_min):
        ago, asked = in_words(rest.total_seconds()), in_words(night.unchanged_min * 60)
        why = f"its pixels changed {ago} ago, and shall rest for {asked}"
        return Arrival("arriving", why)
    lacking = _lacking(plate, pixels.blocks)
    if not lacking:
        return Arrival("arrived", f"complete and unchanged for {in_words(rest.total_seconds())}")
    why = f"incomplete: {_some(lacking)}; unchanged for {in_words(rest.total_seconds())}"
    limit = night.incomplete_after_h
    if limit is None:
        return Arrival("arriving", why)
    if rest >= timedelta(hours=limit):
        return Arrival("arrived", why)
    return Arrival("arriving", f"{why}, taken as it is after {in_words(limit * 3600)}")


def _lacking(plate: Plate, blocks: Mapping[str, frozenset[int]]) -> list[str]:
    """Return what the plate's metadata list and the disk does not hold."""
    found = find_problems(plate)
    broken = {well for well, _ in found.problems}
    whole = (image for image in found.images if image.path.well not in broken)
    lacking = chain.from_iterable(_lacking_of(image, blocks) for image in whole)
    return [*(text for _, text in found.problems), *lacking]


def _lacking_of(image: FieldImage, blocks: Mapping[str, frozenset[int]]) -> Iterator[str]:
    """Tell of which frames a field has no file.

    Files of frames that show nothing may be left out, too: nobody can tell.
    """
    finest = image.levels[0]
    there = blocks.get(f"{image.path}/{finest.path}", frozenset())
    if not there:
        yield f"field {image.path} has no pixels"
    elif image.axes[0] == "t":
        unit = (finest.shards or finest.chunks)[0]
        frames = [n for n in range(0, image.n_frames, unit) if n // unit not in there]
        if frames:
            others = " and others" if frames[1:] else ""
            yield f"field {image.path} has no pixels of frame {frames[0]}{others}"


def _some(texts: Sequence[str]) -> str:
    named = "; ".join(texts[:_AT_MOST_NAMED])
    more = len(texts) - _AT_MOST_NAMED
    return f"{named}; and {more} more" if more > 0 else named
