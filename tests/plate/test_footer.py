import io

import pandas as pd
import pyarrow.parquet as pq
import pytest
from hypothesis import given

from hcs.plate.footer import column_sizes
from hcs.plate.parquet import to_parquet
from tests.strategies import tables


@given(tables())
def test_columns_are_as_large_as_pyarrow_says(table: pd.DataFrame) -> None:
    content = to_parquet(table)
    metadata = pq.ParquetFile(io.BytesIO(content)).metadata
    groups = [metadata.row_group(i) for i in range(metadata.num_row_groups)]
    columns = [group.column(j) for group in groups for j in range(group.num_columns)]
    assert column_sizes(content) == [(c.num_values, c.total_uncompressed_size) for c in columns]


def with_footer(footer: bytes) -> bytes:
    return footer + len(footer).to_bytes(4, "little") + b"PAR1"


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "does not end as a Parquet file does"),
        (b"\xff\xff\xff\xffPAR1", "does not end as a Parquet file does"),
        (with_footer(b"\0"), "its footer makes no sense"),
        # a field of a kind that there is not
        (with_footer(b"\x1f"), "its footer makes no sense"),
        (with_footer(b"\x18\x09name"), "its footer is cut off"),
        (with_footer(b"\x16" + b"\xff" * 12), "a number of more than 64 bits"),
        # each list holds one list
        (with_footer(b"\x19" * 99), "its footer is nested too deeply"),
        # a list of more than there is
        (with_footer(b"\x19\xf5\xff\xff\xff\xff\x0f"), "its footer is cut off"),
    ],
    ids=["nothing", "size", "empty", "kind", "cut", "number", "deep", "long"],
)
def test_what_is_no_footer_is_refused(content: bytes, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        column_sizes(content)
