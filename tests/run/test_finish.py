"""The tables of a plate, beside tables that are damaged or that others put there."""

from pathlib import Path

import pandas as pd
import pytest

from hcs.plate.open import open_plate
from hcs.plate.table import write_table
from hcs.run.analyse import analyse
from hcs.settings import load_settings
from hcs.tables.schema import QUARANTINE
from tests.corruptions import Corruption

ONE_WELL = load_settings(overrides=["run.dask=none", "run.workers=1", "wells=[A/01]"])
MARKER = "plate/finish.json"


def analyse_one(url: Path) -> pd.DataFrame:
    """Analyse a well where a table is to be read for the others; return that of quarantine."""
    report = analyse(str(url), ONE_WELL)
    assert (report.exit_code, report.failure) == (0, None)
    return open_plate(url).table("quarantine")


@pytest.mark.parametrize("kind", ["truncation", "deletion", "bit flip"])
@pytest.mark.parametrize("file", [".zattrs", ".zgroup", "table.parquet"])
def test_a_damaged_quarantine_is_said_and_ends_no_run(analysed_plate, file, kind, caplog):
    path = analysed_plate / "tables/quarantine" / file
    content = path.read_bytes()
    flipped = bytes([*content[:-1], content[-1] ^ 1])
    Corruption(path, kind, flipped if kind == "bit flip" else content[:-9]).apply()
    report = analyse(str(analysed_plate), ONE_WELL)
    assert (report.exit_code, report.failure) == (0, None)
    assert "wells that failed before are left out of `quarantine`" in caplog.text
    assert path.name in caplog.text


ROW = {"well": ["B01"], "cause": ["poison"], "message": ["died"], "hint": ["look"]}


@pytest.mark.parametrize(
    ("table", "kept"),
    [
        (ROW, ["B01"]),
        ({"name": ["a"]}, []),
        (ROW | {"more": [1]}, []),
        (ROW | {"well": ["Z99"]}, []),
        (ROW | {"well": [7]}, []),
        (ROW | {"cause": [1], "message": [2.5], "hint": [True]}, ["B01"]),
    ],
    ids=["ours", "no column of ours", "one more", "no such well", "no name", "no text"],
)
def test_of_a_quarantine_that_anyone_wrote_rows_of_wells_are_kept(analysed_plate, table, kept):
    plate = open_plate(analysed_plate)
    write_table(plate, None, "quarantine", pd.DataFrame(table), "generic_table")
    plate.companion.delete(MARKER)
    found = analyse_one(analysed_plate)
    assert (found["well"].tolist(), found.columns.tolist()) == (kept, QUARANTINE.names())


def test_a_listing_that_is_none_ends_no_run(analysed_plate):
    (analysed_plate / "tables/.zattrs").write_text('{"tables": 5}')
    open_plate(analysed_plate).companion.delete(MARKER)
    assert analyse_one(analysed_plate).empty


MAP = {"row": ["A"], "column": ["01"], "path_in_well": ["0"]}


@pytest.mark.parametrize(
    ("table", "words"),
    [
        ({"well": ["A01"]}, "it has no column row, column, path_in_well"),
        (MAP | {"state": ["x"]}, "its column 'state' is one of ours"),
        (MAP | {"row": [1]}, ""),
    ],
    ids=["no columns", "a column of ours", "numbers"],
)
def test_a_plate_map_that_does_not_fit_is_left_out(analysed_plate, table, words, caplog):
    plate = open_plate(analysed_plate)
    write_table(plate, None, "condition", pd.DataFrame(table), "condition_table")
    analyse_one(analysed_plate)
    assert "the plate map is left out of `wells`" in caplog.text
    assert words in caplog.text
    assert len(open_plate(analysed_plate).table("wells")) == 3
