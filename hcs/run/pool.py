"""The plate's pooled SSL model: for fields that cannot tell cells from background on their own.

It is made once, from the statistics of all wells in the order of the plate, when some well asks
for it; a step of the whole plate, with its own marker. Its digest enters the fingerprints of the
wells that use it and of no others.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import cache
from typing import Any

from pydantic import TypeAdapter

from hcs.plate.commit import JSON, Marker, fingerprint, read_marker, write_marker
from hcs.plate.open import Plate
from hcs.plate.path import FieldPath, WellPath
from hcs.run.steps import Pool, record_of
from hcs.ssl.segment import GreyRange, PairStatistics, pool

STEP = "ssl-pool"
# raise it when the same statistics give another model than before
ALGORITHM = 1


@dataclass(frozen=True)
class FieldStatistics:
    """What passes 0 and a found in a field.

    Parameters
    ----------
    grey : GreyRange
    pairs : tuple of PairStatistics
        One per frame.
    """

    grey: GreyRange
    pairs: tuple[PairStatistics, ...]


def statistics_to_json(statistics: Mapping[str, FieldStatistics]) -> dict[str, JSON]:
    """Return the statistics of a well's fields for the marker of their step."""
    return {name: asdict(field) for name, field in statistics.items()}


def read_statistics(marker: Marker, field: FieldPath) -> FieldStatistics:
    """Return the statistics of a field from the marker of their step."""
    fields: Any = record_of(marker)["fields"]
    return _reader().validate_python(fields[field.name])


def current_pool(plate: Plate, statistics: Mapping[WellPath, Marker]) -> Pool | None:
    """Return the pooled model if it was made of these statistics, None otherwise.

    Parameters
    ----------
    statistics : mapping of WellPath to Marker
        Every well that has some, in the order of the plate.
    """
    marker = read_marker(plate, None, STEP)
    if marker is None or marker.fingerprint != fingerprint(_parts(statistics)):
        return None
    return _model_reader().validate_python(record_of(marker)["pool"])


def make_pool(plate: Plate, statistics: Mapping[WellPath, Marker], token: int) -> Pool:
    """Pool the accepted pairs of all wells and mark the step as done.

    Parameters
    ----------
    statistics : mapping of WellPath to Marker
        Every well that has some, in the order of the plate.
    token : int
        Of the run's lock.
    """
    model = pool(
        read_statistics(marker, field).pairs
        for well, marker in statistics.items()
        for field in plate.well(well).fields
    )
    made = Pool(fingerprint({"model": asdict(model) if model else None}), model)
    parts = _parts(statistics)
    record: dict[str, JSON] = {"parts": parts, "pool": asdict(made)}
    write_marker(plate, None, Marker(STEP, fingerprint(parts), {}, record, token), token)
    return made


def _parts(statistics: Mapping[WellPath, Marker]) -> dict[str, JSON]:
    wells: JSON = [[str(well), marker.fingerprint] for well, marker in statistics.items()]
    return {"step": STEP, "version": ALGORITHM, "wells": wells}


@cache
def _reader() -> TypeAdapter[FieldStatistics]:
    return TypeAdapter(FieldStatistics)


@cache
def _model_reader() -> TypeAdapter[Pool]:
    return TypeAdapter(Pool)
