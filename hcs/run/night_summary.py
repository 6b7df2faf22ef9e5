"""The summary of a night: as Markdown for artifacts and files, as text for mail and chat."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from typing import Any

from hcs.run.budget import in_words
from hcs.run.night_report import NightReport, PlateRecord
from hcs.run.outcome import WellOutcome

# chats cut longer messages
_LONGEST_TEXT = 3000
_MOST_WELLS = 100
_MOST_NAMES = 20
_MOST_WELLS_OF_PLATE = 3
# plates that take no row of their own
_QUIET = ("to come", "still arriving", "nothing to do")
# what means something to Markdown or HTML; a _ between letters or digits does not
_SPECIAL = re.compile(r"([\\`*\[\]<>&|#~!]|(?<![^\W_])_|_(?![^\W_]))")
_MENTION = re.compile(r"(?<!\w)@")
_HEAD = ("plate", "state", "wells", "done", "failed", "quarantined", "time", "why")


def to_markdown(report: NightReport, link: str = "") -> str:
    """Return the summary as Markdown.

    Parameters
    ----------
    report : NightReport
    link : str
        Where the run of the night can be looked at.
    """
    return "\n".join(_markdown(report, link)) + "\n"


def to_text(report: NightReport, link: str = "") -> str:
    """Return the summary as lines of text, short enough for a chat."""
    lines = [_when(report)]
    for plate in report.plates:
        lines += [] if _is_quiet(plate) else _lines(plate, report.folder)
    lines += _rest(report, str)
    lines += [f"warning: {warning}" for warning in report.warnings]
    text = "\n".join(plain(line) for line in lines)
    if len(text) > _LONGEST_TEXT:
        text = text[:_LONGEST_TEXT].rpartition("\n")[0] + "\n... and more in the summary"
    return f"{text}\n{link}" if link else text


def to_json(report: NightReport) -> dict[str, Any]:
    """Return the summary for programs."""
    return {
        "folder": report.folder,
        "exit_code": report.exit_code,
        "began": report.began.isoformat(),
        "ended": report.ended.isoformat(),
        "until": report.until.isoformat() if report.until else None,
        "over": report.is_over,
        "plates": [_plate_to_json(one) for one in report.plates],
        "warnings": report.warnings,
    }


def escaped(text: str) -> str:
    r"""Return a text that Markdown shows as it is: names come from disks that others write on.

    Examples
    --------
    >>> print(escaped("a|b_[c](javascript:x) <img>"))
    a\|b\_\[c\](javascript:x) \<img\>
    >>> print(escaped("plate_1, __b__"))
    plate_1, \_\_b\_\_
    """
    return _SPECIAL.sub(r"\\\1", _one_line(text))


def plain(text: str) -> str:
    """Return a text in which no chat finds a link with another name, or somebody to call.

    Examples
    --------
    >>> plain("<!channel> <https://x|done> @here ann@host [done](https://x)")
    '(!channel) (https://x|done) (at)here ann@host [done] (https://x)'
    """
    text = _one_line(text).replace("<", "(").replace(">", ")").replace("](", "] (")
    return _MENTION.sub("(at)", text)


def n_failed(one: PlateRecord) -> int | None:
    """Return how many wells failed; None where nobody counted those that are done, either."""
    return None if one.done is None else len(one.failed)


def name_in(folder: str, url: str) -> str:
    """Return where a plate is in the folder that is watched: names alone may come twice.

    Examples
    --------
    >>> name_in("/data/plates", "/data/plates/may/a.zarr")
    'may/a.zarr'
    """
    return url.rstrip("/").removeprefix(f"{folder.rstrip('/')}/")


def _markdown(report: NightReport, link: str) -> Iterator[str]:
    so_far = "" if report.is_over else "so far: "
    yield f"# {so_far}{escaped(report.line)}"
    yield ""
    yield escaped(_when(report)) + (f" ([run]({link}))" if _is_web(link) else "")
    rows = [one for one in report.plates if not _is_quiet(one)]
    if rows:
        yield from ("", _row(_HEAD), _row(["---"] * len(_HEAD)))
        yield from (_row(_cells(one, report.folder)) for one in rows)
    yield from ("", *_wells(report))
    yield from (f"{line}\n" for line in _rest(report, escaped))
    yield from (f"- warning: {escaped(warning)}" for warning in report.warnings)


def _when(report: NightReport) -> str:
    took = in_words((report.ended - report.began).total_seconds())
    began, ended = (f"{when:%d %b %Y %H:%M}" for when in (report.began, report.ended))
    until = f", to be done by {report.until:%H:%M}" if report.until else ""
    if not report.is_over:
        return f"{report.folder}, since {began} ({took}){until}; the night goes on: as of {ended}"
    return f"{report.folder}, {began} to {ended} ({took}){until}"


def _is_quiet(one: PlateRecord) -> bool:
    return one.state in _QUIET and not one.overdue


def _cells(one: PlateRecord, folder: str) -> list[str]:
    name = escaped(name_in(folder, one.url))
    return [
        f"[{name}]({one.link})" if _is_web(one.link) else name,
        one.state,
        _if_known(one.wells),
        _if_known(one.done),
        _if_known(n_failed(one)),
        _if_known(one.quarantined),
        "" if one.seconds is None else in_words(one.seconds),
        escaped(_why(one)),
    ]


def _if_known(count: int | None) -> str:
    return "" if count is None else str(count)


def _wells(report: NightReport) -> Iterator[str]:
    """Tell of each well that is not done: what happened, and what to do."""
    wells = [
        (name_in(report.folder, plate.url), well)
        for plate in report.plates
        for well in plate.failed
    ]
    if not wells:
        return
    head = ("plate", "well", "cause", "what", "what to do")
    yield from ("## Wells that are not done", "", _row(head), _row(["---"] * len(head)))
    for plate, well in wells[:_MOST_WELLS]:
        yield _row([escaped(text) for text in (plate, well.well.name, *_told(well))])
    if len(wells) > _MOST_WELLS:
        yield f"\n{len(wells) - _MOST_WELLS} more: see the tables `quarantine` of the plates."
    yield ""


def _told(well: WellOutcome) -> tuple[str, str, str]:
    if well.failure is None:
        return "not finished", "", "run again"
    return well.failure.cause, well.failure.message, well.failure.hint


def _rest(report: NightReport, show: Any) -> Iterator[str]:  # noqa: ANN401 - str is a type
    named = [(name_in(report.folder, one.url), one) for one in report.plates]
    for name, one in named:
        if one.state == "still arriving" and not one.overdue:
            yield show(f"still arriving: {name}: {one.why}")
    for state in ("to come", "nothing to do"):
        names = [name for name, one in named if one.state == state]
        if names:
            more = f" and {len(names) - _MOST_NAMES} more" if len(names) > _MOST_NAMES else ""
            yield show(f"{state}: {', '.join(names[:_MOST_NAMES])}{more}")


def _lines(one: PlateRecord, folder: str) -> Iterator[str]:
    """Tell of a plate, and of the first of its wells that are not done."""
    counts = [] if one.done is None else [f"{one.done} of {one.wells} wells done"]
    counts += [f"{len(one.failed)} failed"] if one.failed else []
    counts += [f"{one.quarantined} in quarantine"] if one.quarantined else []
    counts += [in_words(one.seconds)] if one.seconds else []
    told = "; ".join(filter(None, [", ".join(counts), _why(one)]))
    yield f"{one.state}: {name_in(folder, one.url)}: {told}"
    for well in one.failed[:_MOST_WELLS_OF_PLATE]:
        yield f"  {well.line}"
    if one.state != "done" and _is_web(one.link):
        yield f"  {one.link}"


def _why(one: PlateRecord) -> str:
    since = f"since {one.since:%d %b %Y %H:%M}" if one.overdue and one.since else ""
    told = ", ".join(filter(None, [since, one.why]))
    return f"{told} ({one.hint})" if one.hint else told


def _row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _one_line(text: str) -> str:
    return "".join(c if c.isprintable() else " " for c in text)


def _is_web(link: str) -> bool:
    return link.startswith(("http://", "https://"))


def _plate_to_json(one: PlateRecord) -> dict[str, Any]:
    return asdict(one) | {
        "failed": [
            {"well": str(well.well), "failure": well.failure and asdict(well.failure)}
            for well in one.failed
        ]
    }
