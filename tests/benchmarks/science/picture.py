"""One test field of the simulated plate: phase, true stain, predicted stain."""

from __future__ import annotations

from pathlib import Path

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure

from tests.benchmarks.science.plate import STAINS
from tests.benchmarks.science.simulated import shown_of

# the display's ends, percentiles of the true image
_DISPLAY = (0.5, 99.8)
_PX = 320


def draw(folder: Path, path: Path) -> None:
    """Draw the first test field of a folder of results."""
    with np.load(shown_of(folder)) as held:
        phase, true, found = (held[name][..., :_PX, :_PX] for name in ("phase", "true", "found"))
    figure = Figure(figsize=(9.6, 6.4), dpi=100, layout="tight")
    axes = figure.subplots(len(STAINS), 3)
    for k, stain in enumerate(STAINS):
        shown = {"phase": phase[0], f"{stain}, true": true[k], f"{stain}, predicted": found[k]}
        for axis, (title, image) in zip(axes[k], shown.items(), strict=True):
            low, high = np.percentile(image if title == "phase" else true[k], _DISPLAY)
            axis.imshow(image, cmap=mpl.colormaps["gray"], vmin=low, vmax=high)
            axis.set_title(title)
            axis.set_axis_off()
    figure.savefig(path)
