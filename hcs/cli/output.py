"""How commands speak: tables for people, JSON for programs, one line for an error."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, TextIO

import typer

from hcs.errors import HcsError, SettingsError
from hcs.shown import shown

# what fits on a screen beside the results
_WARNINGS_SHOWN = 20

JsonOption = Annotated[bool, typer.Option("--json", help="print JSON instead of text")]


def local(path: Path | None) -> Path | None:
    """Return a path to write to; SettingsError for a URL, of which a folder ``s3:`` would be made.

    For options: ``typer.Option(callback=local)``.
    """
    # a Path makes s3:/ of s3://
    if path is not None and ":/" in str(path):
        raise SettingsError(f"cannot write to {path}", hint="name a local file or folder")
    return path


def print_json(value: object) -> None:
    """Print a value as indented JSON, keys in order."""
    print(json.dumps(value, indent=1, default=str))


def print_line(text: str, stream: TextIO | None = None) -> None:
    """Print a text as one line of a terminal: names come from disks that others write on."""
    print(_line(text), file=stream)


def print_rows(rows: Sequence[Mapping[str, Any]], title: str = "") -> None:
    """Print rows as an aligned table, columns in the order of the first row."""
    if title:
        print_line(title)
    if not rows:
        print("  (none)")
        return
    cells = [[*map(_cell, rows[0])]] + [[_cell(row.get(name)) for name in rows[0]] for row in rows]
    widths = [max(len(line[i]) for line in cells) for i in range(len(rows[0]))]
    for line in cells:
        print("  " + "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)))


def print_error(error: HcsError) -> None:
    """Print what is wrong and what to do, on standard error."""
    print(f"hcs: {error.message}", file=sys.stderr)
    if error.hint:
        print(f"     {error.hint}", file=sys.stderr)


def _cell(value: object) -> str:
    if value is None:
        return "-"
    return f"{value:.3f}" if isinstance(value, float) else _line(str(value))


def _line(text: str) -> str:
    return shown(text).replace("\n", " ")


def print_warnings(warnings: Sequence[str]) -> None:
    """Print warnings, the first ones of many, to the error stream."""
    for warning in warnings[:_WARNINGS_SHOWN]:
        print(f"warning: {warning}", file=sys.stderr)
    if len(warnings) > _WARNINGS_SHOWN:
        print(f"warning: {len(warnings) - _WARNINGS_SHOWN} more, see --json", file=sys.stderr)
