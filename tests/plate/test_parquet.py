import io
from contextlib import suppress

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from pandas.testing import assert_frame_equal

from hcs.plate.parquet import from_parquet, to_parquet
from tests.strategies import tables


@given(tables(), tables())
def test_tables_are_equal_when_their_bytes_are(left: pd.DataFrame, right: pd.DataFrame) -> None:
    # -0.0 equals 0.0, but is another number
    same = left.equals(right) and left.to_csv() == right.to_csv()
    assert (to_parquet(left) == to_parquet(right)) == same


@given(tables())
def test_what_is_read_is_what_pandas_reads(table: pd.DataFrame) -> None:
    content = to_parquet(table)
    assert_frame_equal(from_parquet(content), pd.read_parquet(io.BytesIO(content)))


@pytest.mark.parametrize(
    "column",
    [
        pa.array([["a", None], [], None]),
        pa.array([b"\0", None, b""]),
        pa.array(["b", "b", None]).dictionary_encode(),
        pa.array([{"x": 1}, None, {"x": 2}]),
        pa.array(["b", "b", None], pa.large_string()),
    ],
    ids=lambda column: str(column.type),
)
def test_tables_by_others_are_what_pandas_reads(column: pa.Array) -> None:
    file = io.BytesIO()
    pq.write_table(pa.table({"theirs": column}), file)
    assert_frame_equal(from_parquet(file.getvalue()), pd.read_parquet(file))


def repeated(value: pa.Scalar, rows: int, groups: int) -> bytes:
    """Return a file that says the same in each row, which takes few bytes."""
    some = pa.DictionaryArray.from_arrays(np.zeros(rows, np.int32), pa.array([value.as_py()]))
    table, file = pa.table({"bomb": some.cast(value.type)}), io.BytesIO()
    with pq.ParquetWriter(file, table.schema, compression="zstd") as writer:
        for _ in range(groups):
            writer.write_table(table)
    return file.getvalue()


@pytest.mark.parametrize(
    ("value", "rows", "groups", "words"),
    [
        (pa.scalar(0, pa.int8()), 1 << 24, 17, "to 285212672 values: tables of up to 268435456"),
        (pa.scalar("x" * (1 << 20)), 64, 40, "to 2684354560 bytes: tables of up to 2147483648"),
    ],
    ids=["number", "text"],
)
def test_a_bomb_is_not_decoded(value: pa.Scalar, rows: int, groups: int, words: str) -> None:
    content = repeated(value, rows, groups)
    assert len(content) < 1 << 21
    with pytest.raises(pa.ArrowInvalid, match=words):
        from_parquet(content)


def test_a_flipped_bit_is_found_or_reads_as_a_table_and_never_ends_the_process() -> None:
    content = to_parquet(pd.DataFrame({"well": ["B03", "B04"], "cause": ["disk full", "é"]}))
    for place in range(len(content)):
        damaged = bytearray(content)
        damaged[place] ^= 1 << place % 8
        with suppress(pa.ArrowException, OSError, ValueError, LookupError, TypeError):
            assert isinstance(from_parquet(bytes(damaged)), pd.DataFrame)
