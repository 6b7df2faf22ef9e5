"""How a table is declared: its columns with name, dtype, unit and meaning, and what a row is."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

import pandas as pd

# "string" is kept as plain Python strings, that every reader of Parquet and anndata knows
Dtype = Literal["int64", "float64", "bool", "string", "Int64"]
Kind = Literal[
    "roi_table", "masking_roi_table", "feature_table", "generic_table", "condition_table"
]


@dataclass(frozen=True)
class Column:
    """One column.

    Parameters
    ----------
    name : str
        May end in ``<channel>`` or ``<label>``: then there is one for each channel or label image.
    dtype : str
        As pandas names it; ``Int64`` and ``float64`` may hold missing values.
    unit : str
        Long names as in OME-Zarr; empty for a pure number or a name.
    meaning : str
    """

    name: str
    dtype: Dtype
    unit: str
    meaning: str


@dataclass(frozen=True)
class Table:
    """One table: where it stands, what a row is, its columns in their order.

    Parameters
    ----------
    name : str
        May hold ``<label>``, the name of a label image.
    where : {"field", "plate"}
    kind : str
        The ``type`` attribute of its group.
    index : str
        The column that becomes the index; empty where there is none.
    rows : str
        What a row is.
    columns : tuple of Column
    free : str
        What columns may follow the declared ones; empty where none may.
    """

    name: str
    where: Literal["field", "plate"]
    kind: Kind
    index: str
    rows: str
    columns: tuple[Column, ...]
    free: str = ""

    def arrange(self, frame: pd.DataFrame, repeats: Sequence[str] = ()) -> pd.DataFrame:
        """Return a data frame with the declared columns, in their order and dtypes.

        Parameters
        ----------
        frame : DataFrame
            The index is not looked at.
        repeats : sequence of str
            The channels or label images that ``<channel>`` and ``<label>`` stand for.

        Raises
        ------
        ValueError
            If a declared column is missing, or an undeclared one is there and none may be.

        Examples
        --------
        >>> from hcs.tables.schema import QUARANTINE
        >>> frame = pd.DataFrame(
        ...     {"message": ["no frames"], "well": ["B03"], "cause": ["settings"], "hint": [""]}
        ... )
        >>> QUARANTINE.arrange(frame).columns.tolist()
        ['well', 'cause', 'message', 'hint']
        """
        dtypes = {
            name: "object" if column.dtype == "string" else column.dtype
            for name, column in self._declared(repeats).items()
        }
        missing = [name for name in dtypes if name not in frame]
        extra = [name for name in frame if name not in dtypes]
        problems = [f"no column {name!r}" for name in missing]
        problems += [f"column {name!r} is not declared" for name in extra if not self.free]
        if problems:
            raise ValueError(f"table {self.name}: " + "; ".join(problems))
        declared = frame[list(dtypes)].astype(dtypes)
        return pd.concat([declared, frame[extra]], axis=1).reset_index(drop=True)

    def empty(self, repeats: Sequence[str] = ()) -> pd.DataFrame:
        """Return the table without rows.

        Examples
        --------
        >>> from hcs.tables.schema import OBJECTS
        >>> OBJECTS.empty(["phase"]).columns[-1]
        'intensity_max-phase'
        """
        return self.arrange(pd.DataFrame(columns=self.names(repeats)), repeats)

    def names(self, repeats: Sequence[str] = ()) -> list[str]:
        """Return the declared column names, in order; repeated ones stay together by repeat."""
        return list(self._declared(repeats))

    def _declared(self, repeats: Sequence[str]) -> dict[str, Column]:
        named = {column.name: column for column in self.columns if "<" not in column.name}
        for repeat in repeats:
            for column in self.columns:
                kind, is_repeated, _ = column.name.partition("<")
                if is_repeated:
                    named[kind + repeat] = column
        return named


_PREAMBLE = """# Tables

Made from `hcs/tables/schema.py`; do not edit. `<label>` is the name of a label image (`ssl_cells`),
`<channel>` the name of a channel. Tables of a field are in `<plate>/<row>/<column>/<field>/tables`,
those of the plate in `<plate>/tables`. `Int64` and `float64` columns may hold missing values: a
number that is not known is missing, never zero.
"""


def describe(tables: Iterable[Table]) -> str:
    """Return the tables as Markdown, what ``docs/tables.md`` holds.

    Examples
    --------
    >>> from hcs.tables.schema import QUARANTINE
    >>> describe([QUARANTINE]).splitlines()[7]
    '## `quarantine`'
    """
    return _PREAMBLE + "".join(_describe(table) for table in tables)


def _describe(table: Table) -> str:
    free = f" After these columns: {table.free}." if table.free else ""
    index = f", index `{table.index}`" if table.index else ""
    lines = [
        "",
        f"## `{table.name}`",
        "",
        f"One row per: {table.rows}. Of the {table.where}, type `{table.kind}`{index}.{free}",
        "",
        "| column | dtype | unit | meaning |",
        "|---|---|---|---|",
    ]
    lines += [f"| `{c.name}` | {c.dtype} | {c.unit} | {c.meaning} |" for c in table.columns]
    return "\n".join(lines) + "\n"
