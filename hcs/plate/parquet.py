"""Tables as Parquet files: equal tables are equal bytes, and a small file fills no memory."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from hcs.plate.footer import column_sizes

if TYPE_CHECKING:
    from collections.abc import Callable

# of all columns; 4 million rows of 60 columns
_MOST_VALUES = 1 << 28
_MOST_BYTES = 1 << 31
_IS_TEXT: tuple[Callable[[pa.DataType], bool], ...] = (
    pa.types.is_string,
    pa.types.is_large_string,
    pa.types.is_binary,
    pa.types.is_large_binary,
)


def to_parquet(table: pd.DataFrame) -> bytes:
    """Return a data frame as a Parquet file: equal tables, and only those, are equal bytes.

    The order of rows and columns is kept, the index is not. A column of text without any text
    stays a column of text.

    Raises
    ------
    ArrowException
        A column holds values of several types.
    """
    plain = table.reset_index(drop=True)
    # they would go into the file, but are not part of the table
    plain.attrs = {}
    plain.columns = pd.Index(list(plain.columns))
    arrow = pa.Table.from_pandas(plain, preserve_index=False)
    for i, field in enumerate(arrow.schema):
        if pa.types.is_null(field.type):
            text = pa.field(field.name, pa.string())
            arrow = arrow.set_column(i, text, arrow.column(i).cast(pa.string()))
    file = io.BytesIO()
    pq.write_table(
        arrow.combine_chunks(),
        file,
        version="2.6",
        data_page_version="1.0",
        compression="zstd",
        compression_level=3,
        row_group_size=1 << 20,
    )
    return file.getvalue()


def from_parquet(content: bytes) -> pd.DataFrame:
    """Return the data frame of a Parquet file, whoever wrote it.

    Raises
    ------
    ArrowException, OSError, ValueError, LookupError, TypeError
        It is damaged, or decodes to more than a table has: a few bytes can repeat a value, or a
        long text, more often than a memory holds.
    """
    sizes = column_sizes(content)
    _check(sum(n_values for n_values, _ in sizes), _MOST_VALUES, "values")
    _check(sum(n_bytes for _, n_bytes in sizes), _MOST_BYTES, "bytes")
    file = pq.ParquetFile(io.BytesIO(content))
    schema, metadata = file.schema_arrow, file.metadata
    text = [field.name for field in schema if any(is_so(field.type) for is_so in _IS_TEXT)]
    # each text once, however often it comes
    table = pq.ParquetFile(io.BytesIO(content), metadata=metadata, read_dictionary=text).read()
    chunks = [chunk for name in text for chunk in table[name].chunks]
    _check(sum(len(chunk) * _longest(chunk) for chunk in chunks), _MOST_BYTES, "bytes")
    read: pd.DataFrame = table.cast(schema).to_pandas()
    return read


def _longest(chunk: pa.Array) -> int:
    values = chunk.dictionary if pa.types.is_dictionary(chunk.type) else chunk
    return pc.max(pc.binary_length(values)).as_py() or 0


def _check(found: int, most: int, what: str) -> None:
    if found > most:
        raise pa.ArrowInvalid(f"it decodes to {found} {what}: tables of up to {most} are read")
