"""Files that wait beside the plate until a step of a well is done; a later run sweeps leftovers."""

from __future__ import annotations

import io
import zlib

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from hcs.plate.open import Plate
from hcs.plate.path import FieldPath

# as quick as it gets: label images shrink to a few per cent all the same
_ZLIB_LEVEL = 1


def write_table(plate: Plate, field: FieldPath, name: str, table: pd.DataFrame) -> None:
    """Keep a table."""
    content = io.BytesIO()
    table.to_parquet(content)
    plate.companion.write(_key(field, f"{name}.parquet"), content.getvalue())


def read_table(plate: Plate, field: FieldPath, name: str) -> pd.DataFrame:
    """Read a table back."""
    return pd.read_parquet(io.BytesIO(plate.companion.read(_key(field, f"{name}.parquet"))))


def read_tables(plate: Plate, field: FieldPath, folder: str) -> pd.DataFrame:
    """Read every table of a folder, one below the other in the order of their names."""
    keys = plate.companion.sizes(_key(field, folder))
    tables = [pd.read_parquet(io.BytesIO(plate.companion.read(key))) for key in keys]
    # pandas warns of tables without rows among those with some
    return pd.concat([table for table in tables if len(table)] or tables[:1], ignore_index=True)


def write_labels(
    plate: Plate, field: FieldPath, step: str, index: int, labels: NDArray[np.uint32]
) -> None:
    """Keep the label image of one frame."""
    content = zlib.compress(np.ascontiguousarray(labels, np.uint32).tobytes(), _ZLIB_LEVEL)
    plate.companion.write(_key(field, f"{step}/labels/{index:08d}"), content)


def read_labels(plate: Plate, field: FieldPath, step: str, index: int) -> NDArray[np.uint32]:
    """Read the label image of one frame back."""
    content = plate.companion.read(_key(field, f"{step}/labels/{index:08d}"))
    shape = plate.field_image(field).frame_shape
    return np.frombuffer(zlib.decompress(content), np.uint32).reshape(shape)


def discard(plate: Plate, field: FieldPath) -> None:
    """Delete all that waits for a field."""
    plate.companion.delete(_key(field))


def _key(field: FieldPath, name: str = "") -> str:
    return f"scratch/{field}/{name}" if name else f"scratch/{field}"
