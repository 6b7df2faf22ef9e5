from pathlib import Path

import pandas as pd
import pytest

from hcs.tables.declare import Column, Table, describe
from hcs.tables.schema import (
    CONDITION,
    OBJECTS,
    QUARANTINE,
    TABLES,
    WELLS,
)

DOCS = Path(__file__).parents[2] / "docs" / "tables.md"


def test_the_documentation_is_made_from_the_declarations():
    assert DOCS.read_text() == describe(TABLES), (
        "docs/tables.md is old: from hcs.tables.declare import describe; "
        "Path('docs/tables.md').write_text(describe(TABLES))"
    )


@pytest.mark.parametrize("table", TABLES, ids=lambda table: table.name)
def test_a_declaration_is_complete(table: Table):
    names = [column.name for column in table.columns]
    assert len(set(names)) == len(names)
    assert all(column.meaning for column in table.columns)
    assert not table.index or table.index in names
    assert table.empty(["one"]).columns.is_unique


def test_columns_are_put_in_their_order_and_dtype():
    frame = pd.DataFrame({"hint": [""], "message": ["m"], "cause": ["c"], "well": ["B03"]})
    assert QUARANTINE.arrange(frame).columns.tolist() == ["well", "cause", "message", "hint"]


def test_repeated_columns_stay_together_by_channel():
    names = OBJECTS.names(["a", "b"])
    assert names[-8:-4] == [f"intensity_{what}-a" for what in ("mean", "sd", "min", "max")]
    assert all(name.endswith("-b") for name in names[-4:])


def test_a_name_may_hold_a_backslash():
    assert OBJECTS.names([r"a\1"])[-1] == r"intensity_max-a\1"


def test_all_that_is_wrong_is_said_at_once():
    frame = pd.DataFrame({"well": ["B03"], "cause": ["c"], "colour": ["red"]})
    with pytest.raises(
        ValueError,
        match="table quarantine: no column 'message'; no column 'hint'; "
        "column 'colour' is not declared",
    ):
        QUARANTINE.arrange(frame)


def test_free_columns_follow_the_declared_ones():
    frame = pd.DataFrame({"drug": ["x"], "row": ["B"], "column": ["03"], "path_in_well": ["0"]})
    assert CONDITION.arrange(frame).columns.tolist() == [*CONDITION.names(), "drug"]
    assert WELLS.free


def test_missing_values_stay_missing_in_whole_numbers():
    column = Column("n", "Int64", "", "a number")
    table = Table("t", "plate", "generic_table", "", "a row", (column,))
    arranged = table.arrange(pd.DataFrame({"n": [1, None]}))
    assert arranged["n"].isna().tolist() == [False, True]
    assert arranged["n"].dtype == "Int64"
