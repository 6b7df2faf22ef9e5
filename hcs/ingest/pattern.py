"""Files found by a pattern of their names, as in ``{sequence}/images/t{time}.tif``."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from hcs.errors import ImportFilesError, SettingsError
from hcs.ingest.findings import some
from hcs.ingest.source import SourceFile, field_name, natural_key, well_path
from hcs.plate.path import is_number

# what a key may stand for; none of it crosses a folder
KEYS = {
    "well": r"[A-Za-z]{1,2}[0-9]{1,3}",
    "row": r"[A-Za-z]{1,2}|[0-9]{1,3}",
    "column": r"[0-9]{1,3}",
    "field": r"[A-Za-z0-9]+?",
    "channel": r"[^/]+?",
    "z": r"[0-9]+",
    "time": r"[0-9]+",
    "sequence": r"[^/]+?",
}
_TOKEN = re.compile(r"\{([^{}:]*)(?::([^{}]+))?\}|([*?])")


@dataclass(frozen=True)
class FoundFiles:
    """What a pattern found.

    Parameters
    ----------
    files : list of SourceFile
        In the natural order of their names.
    unmatched : list of Path
        Files in the folders that were looked into whose names do not fit.
    """

    files: list[SourceFile]
    unmatched: list[Path]


@dataclass(frozen=True)
class Pattern:
    """A pattern of file names below a folder.

    ``{well} {row} {column} {field} {channel} {z} {time} {sequence}`` are keys; ``{key:a*|b*}``
    narrows one to the names that fit a glob; ``*`` and ``?`` stand for anything within a folder
    name. A key that stands twice has the same text in both places. Without a well, each sequence
    becomes a well; without a sequence too, the whole folder is one.

    Raises
    ------
    SettingsError
        With all that is wrong with the pattern.

    Examples
    --------
    >>> pattern = Pattern("{sequence:01*}/images/t{time}.tif")
    >>> pattern.match("01_t020-041/images/t020.tif")
    {'sequence': '01_t020-041', 'time': '020'}
    >>> pattern.match("02/images/t020.tif") is None
    True
    """

    text: str

    def __post_init__(self) -> None:
        """Check the keys, all at once."""
        keys = [match[1] for match in _TOKEN.finditer(self.text) if not match[3]]
        problems = [
            f"{{{key}}} is no key; there are {', '.join(KEYS)}" for key in keys if key not in KEYS
        ]
        if "well" in keys and {"row", "column", "sequence"} & set(keys):
            problems.append("{well} stands beside {row}, {column} or {sequence}: one of them")
        if ("row" in keys) != ("column" in keys):
            problems.append("{row} and {column} go together")
        if "row" in keys and "sequence" in keys:
            problems.append("{row} stands beside {sequence}: one of them")
        if self.text.startswith("/") or ".." in self.text.split("/"):
            problems.append("it leaves the folder; write it relative to the source folder")
        if not self.text or self.text.endswith("/"):
            problems.append("it names no file")
        if problems:
            raise SettingsError(f"pattern {self.text!r}: " + "; ".join(problems))

    def match(self, name: str) -> dict[str, str] | None:
        """Return the keys of a path relative to the source folder, None where it does not fit."""
        found = re.fullmatch(_expression(self.text), name)
        return found.groupdict() if found else None

    def find(self, folder: Path) -> FoundFiles:
        """Return the files below a folder that fit, and those beside them that do not.

        Raises
        ------
        SettingsError
            If there is no such folder.
        ImportFilesError
            If no file fits; names some that do not. What narrows a number lets another text pass.
        """
        if not folder.is_dir():
            raise SettingsError(f"{folder}: no such folder")
        files, unmatched = [], []
        for path in _walk(folder, [re.compile(_expression(p)) for p in self.text.split("/")]):
            keys = self.match(path.relative_to(folder).as_posix())
            if keys is None:
                unmatched.append(path)
            else:
                files.append(_source_file(path, keys, folder.resolve().name))
        if not files:
            there = unmatched or sorted(folder.iterdir(), key=lambda path: natural_key(path.name))
            names = some(path.relative_to(folder) for path in there)
            raise ImportFilesError(
                f"no file below {folder} fits {self.text!r}", hint=f"there are {names or 'none'}"
            )
        return FoundFiles(files, unmatched)


def _walk(folder: Path, parts: list[re.Pattern[str]]) -> Iterator[Path]:
    """Yield the files at the pattern's depth, entering only folders whose names fit so far."""
    for path in sorted(folder.iterdir(), key=lambda path: natural_key(path.name)):
        if len(parts) == 1 and path.is_file():
            yield path
        elif len(parts) > 1 and parts[0].fullmatch(path.name) and path.is_dir():
            yield from _walk(path, parts[1:])


def _expression(text: str) -> str:
    expression, end, seen = "", 0, set[str]()
    for token in _TOKEN.finditer(text):
        key, globs = token[1], token[2]
        expression += re.escape(text[end : token.start()])
        end = token.end()
        if token[3]:
            expression += _glob(token[3])
        elif key in seen:
            expression += f"(?P={key})"
        else:
            seen.add(key)
            narrowed = "|".join(map(_glob, globs.split("|"))) if globs else KEYS[key]
            expression += f"(?P<{key}>{narrowed})"
    return expression + re.escape(text[end:])


def _glob(text: str) -> str:
    return "".join({"*": "[^/]*", "?": "[^/]"}.get(letter, re.escape(letter)) for letter in text)


def _source_file(path: Path, keys: dict[str, str], folder_name: str) -> SourceFile:
    well = None
    if "well" in keys:
        letters = keys["well"].rstrip("0123456789")
        well = well_path(letters, keys["well"][len(letters) :])
    elif "row" in keys:
        well = well_path(keys["row"], keys["column"])
    return SourceFile(
        path=path,
        well=well,
        field=field_name(keys.get("field", "0")),
        channel=keys.get("channel"),
        z=_number(path, keys, "z"),
        time=_number(path, keys, "time"),
        sequence=keys.get("sequence", "" if well else folder_name),
        time_digits=len(keys.get("time", "")),
    )


def _number(path: Path, keys: dict[str, str], name: str) -> int | None:
    text = keys.get(name)
    if text is not None and not is_number(text):
        raise ImportFilesError(
            f"{path}: {name} {text!r} is no number", hint=f"what {{{name}:...}} lets pass must be"
        )
    return None if text is None else int(text)
