"""How a training goes, to look at: curves, examples beside their truth, and a page of both."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape

import cv2
import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullLocator
from numpy.typing import NDArray

Image = NDArray[np.float32]

CURVES = "curves.png"
EXAMPLES = "examples.png"

_TRAIN, _VALIDATION, _BEST = "#8a8f98", "#1f5fbf", "#c0392b"
_SCORE_COLOURS = ("#1f5fbf", "#d9822b", "#2e8b57", "#7b4fb5")
_CELL_INCH = 2.5
_DPI = 110
# frames are shown from the middle, at about the resolution of a screen
_SHOWN_PX = 384
_PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8">{again}<title>{title}</title>
<style>
body {{ font: 15px/1.5 system-ui, sans-serif; margin: 2em auto; max-width: 70em; color: #222 }}
h1 {{ font-size: 1.4em; margin-bottom: 0 }}
img {{ max-width: 100% }}
th {{ text-align: left; font-weight: normal; color: #666; padding-right: 2em }}
</style></head>
<body><h1>{title}</h1><p>{state}</p><table>{rows}</table>{images}</body></html>
"""


@dataclass(frozen=True)
class CurveRow:
    """One look at a training.

    Parameters
    ----------
    step : int
    loss : float
        Mean over the batches since the look before.
    validation : mapping of str to float
        "loss" and scores; empty without validation frames.
    """

    step: int
    loss: float
    validation: Mapping[str, float]


@dataclass(frozen=True)
class ExampleRow:
    """One frame to look at.

    Parameters
    ----------
    name : str
    image : ndarray of float32, shape (y, x)
        The first input plane.
    pairs : tuple of (str, ndarray, ndarray)
        What is learnt by its name, the truth, and the prediction, shape (y, x) each.
    """

    name: str
    image: Image
    pairs: tuple[tuple[str, Image, Image], ...]


def example_row(
    name: str, inputs: Image, target: Image, prediction: Image, names: Sequence[str]
) -> ExampleRow:
    """Return the middle of a frame as a row of pictures.

    Parameters
    ----------
    name : str
    inputs : ndarray of float32, shape (c, y, x)
    target, prediction : ndarray of float32, shape (k, y, x)
    names : sequence of str
        Of the k planes.
    """
    height, width = inputs.shape[1:]
    top, left = max(0, (height - _SHOWN_PX) // 2), max(0, (width - _SHOWN_PX) // 2)
    cut = np.s_[top : top + _SHOWN_PX, left : left + _SHOWN_PX]
    pairs = zip(names, target, prediction, strict=True)
    return ExampleRow(name, inputs[0][cut].copy(), tuple((n, t[cut], p[cut]) for n, t, p in pairs))


# a name with dollars is no formula
@mpl.rc_context({"text.parse_math": False})
def draw_curves(rows: Sequence[CurveRow], best_step: int | None, title: str) -> bytes:
    """Draw loss and scores over the steps.

    Parameters
    ----------
    rows : sequence of CurveRow
        At least one.
    best_step : int, optional
        Whose weights are kept, marked by a line.
    title : str

    Returns
    -------
    bytes
        Of a PNG.
    """
    scores = sorted({name for row in rows for name in row.validation} - {"loss"})
    figure = Figure(figsize=(9.0 if scores else 5.0, 3.4), dpi=_DPI, layout="constrained")
    figure.suptitle(title, fontsize=11)
    left, *right = figure.subplots(1, 2 if scores else 1, squeeze=False)[0]
    steps = [row.step for row in rows]
    _line(left, steps, [row.loss for row in rows], "training", _TRAIN)
    _line(left, *_validated(rows, "loss"), "validation", _VALIDATION)
    _finish(left, "loss", best_step)
    losses = [line for row in rows for line in (row.loss, row.validation.get("loss", row.loss))]
    if min(losses) > 0 and max(losses) > 2 * min(losses):
        _log_scale(left)
    for axes in right:
        for name, colour in zip(scores, _SCORE_COLOURS, strict=False):
            _line(axes, *_validated(rows, name), name, colour)
        _finish(axes, "validation scores", best_step)
    return _to_png(figure)


# a name with dollars is no formula
@mpl.rc_context({"text.parse_math": False})
def draw_examples(rows: Sequence[ExampleRow], title: str) -> bytes:
    """Draw frames: the input, and what is learnt of it beside what was predicted.

    Truth and prediction share their grey scale, so that a dim prediction looks dim.

    Parameters
    ----------
    rows : sequence of ExampleRow
        At least one.
    title : str

    Returns
    -------
    bytes
        Of a PNG.
    """
    n_columns = 1 + 2 * len(rows[0].pairs)
    size = (_CELL_INCH * n_columns, (_CELL_INCH + 0.22) * len(rows) + 0.55)
    figure = Figure(figsize=size, dpi=_DPI, layout="constrained")
    figure.suptitle(title, fontsize=11)
    grid = figure.subplots(len(rows), n_columns, squeeze=False)
    for axes, row in zip(grid, rows, strict=True):
        _show(axes[0], row.image, _range(row.image), "input")
        axes[0].set_xlabel(row.name, fontsize=8, loc="left")
        for k, (name, truth, prediction) in enumerate(row.pairs):
            limits = _range(truth)
            _show(axes[1 + 2 * k], truth, limits, f"{name}, truth")
            _show(axes[2 + 2 * k], prediction, limits, f"{name}, predicted")
    for axes in grid[1:].flat:
        axes.set_title("")
    return _to_png(figure)


def training_page(
    title: str, state: str, facts: Mapping[str, str], pictures: Sequence[str], refresh_s: int | None
) -> str:
    """Return an HTML page that tells how a training stands.

    Parameters
    ----------
    title, state : str
        Its name, and in a sentence how far it is.
    facts : mapping of str to str
        Rows of a table.
    pictures : sequence of str
        Files beside the page.
    refresh_s : int, optional
        How often a browser reads it anew, seconds; None for a training that is over.

    Examples
    --------
    >>> page = training_page("DAPI <1>", "step 3 of 9", {"pcc": "0.91"}, ["curves.png"], None)
    >>> "DAPI &lt;1&gt;" in page, '<img src="curves.png"' in page, "refresh" in page
    (True, True, False)
    """
    again = f'<meta http-equiv="refresh" content="{refresh_s}">' if refresh_s else ""
    rows = "".join(
        f"<tr><th>{escape(name)}</th><td>{escape(value)}</td></tr>" for name, value in facts.items()
    )
    images = "".join(f'<p><img src="{escape(name)}" alt="{escape(name)}"></p>' for name in pictures)
    return _PAGE.format(
        title=escape(title), state=escape(state), again=again, rows=rows, images=images
    )


def to_jpeg(png: bytes) -> bytes:
    """Return a picture as a JPEG, a fraction of the size, for where it is kept many times."""
    pixels = np.asarray(cv2.imdecode(np.frombuffer(png, np.uint8), cv2.IMREAD_COLOR))
    return cv2.imencode(".jpg", pixels, [cv2.IMWRITE_JPEG_QUALITY, 85])[1].tobytes()


def _validated(rows: Sequence[CurveRow], name: str) -> tuple[list[int], list[float]]:
    having = [row for row in rows if name in row.validation]
    return [row.step for row in having], [row.validation[name] for row in having]


def _line(
    axes: Axes, steps: Sequence[int], values: Sequence[float], label: str, colour: str
) -> None:
    if steps:
        marker = "o" if len(steps) < 40 else ""
        axes.plot(steps, values, color=colour, label=label, marker=marker, markersize=3, lw=1.4)


def _finish(axes: Axes, title: str, best_step: int | None) -> None:
    if best_step is not None:
        axes.axvline(best_step, color=_BEST, lw=0.9, ls="--", label=f"kept: step {best_step}")
    axes.set_title(title, fontsize=10)
    axes.set_xlabel("step", fontsize=9)
    axes.tick_params(labelsize=8)
    axes.xaxis.set_major_locator(MaxNLocator(6, integer=True, steps=[1, 2, 5, 10]))
    axes.grid(visible=True, color="#e6e6e6", lw=0.6)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(fontsize=8, frameon=False)


def _log_scale(axes: Axes) -> None:
    """Scale the y axis by logarithm, with plain numbers: a loss rarely spans powers of ten."""
    axes.set_yscale("log")
    axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 3, 5, 7)))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.yaxis.set_minor_locator(NullLocator())


def _range(image: Image) -> tuple[float, float]:
    low, high = np.quantile(image, [0.005, 0.998])
    return float(low), float(max(high, low + 1e-3))


def _show(axes: Axes, image: Image, limits: tuple[float, float], title: str) -> None:
    axes.imshow(image, cmap="gray", vmin=limits[0], vmax=limits[1], interpolation="auto")
    axes.set_title(title, fontsize=9)
    axes.set_xticks([])
    axes.set_yticks([])
    for spine in axes.spines.values():
        spine.set_visible(False)


def _to_png(figure: Figure) -> bytes:
    buffer = io.BytesIO()
    # no date and no version: equal pictures are equal bytes
    figure.savefig(buffer, format="png", metadata={"Software": None})
    return buffer.getvalue()
