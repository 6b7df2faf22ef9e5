"""Where crops of a training frame lie: often on its foreground, sometimes anywhere."""

from __future__ import annotations

from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from hcs.isl.recipe import Recipe


class Places:
    """The places of crops in one frame; draws nothing but what its generators give.

    Parameters
    ----------
    foreground : ndarray of bool, shape (y, x)
        Sides of a crop at least.
    recipe : Recipe

    Examples
    --------
    >>> from hcs.isl.recipe import recipe_of
    >>> places = Places(np.eye(64, dtype=bool), recipe_of("paper", "stain", crop_px=64))
    >>> places.draw(np.random.default_rng(0))
    [(0, 0), (0, 0), (0, 0), (0, 0), (0, 0)]
    """

    def __init__(self, foreground: NDArray[np.bool_], recipe: Recipe) -> None:
        self._foreground, self._recipe = foreground, recipe
        self._side = recipe.crop_px
        self._n_tops = foreground.shape[0] - self._side + 1
        self._n_lefts = foreground.shape[1] - self._side + 1

    @cached_property
    def any_foreground(self) -> bool:
        """Whether there is a crop with foreground at all."""
        return bool(self._foreground.any())

    def draw(self, rng: np.random.Generator) -> list[tuple[int, int]]:
        """Return the upper left pixels of the crops of one reading of the frame.

        Those that must show foreground are left out where the frame has none.
        """
        must_show = rng.random(self._recipe.crops_per_image) < self._recipe.foreground_crops
        places = []
        for must in must_show:
            if not must:
                places.append(self.anywhere(rng))
            elif self.any_foreground:
                places.append(self._on_foreground(rng))
        return places

    def anywhere(self, rng: np.random.Generator) -> tuple[int, int]:
        """Return a place, each as likely."""
        return int(rng.integers(self._n_tops)), int(rng.integers(self._n_lefts))

    def _on_foreground(self, rng: np.random.Generator) -> tuple[int, int]:
        """Return the first of many places with enough foreground, or the best of them."""
        tries = self._recipe.crop_tries
        tops = rng.integers(self._n_tops, size=tries)
        lefts = rng.integers(self._n_lefts, size=tries)
        shares = self._shares(tops, lefts)
        enough = (shares >= self._recipe.min_foreground) & (shares > 0)
        best = int(np.argmax(enough)) if enough.any() else int(np.argmax(shares))
        if shares[best] == 0:
            return self._around_a_pixel(rng)
        return int(tops[best]), int(lefts[best])

    def _around_a_pixel(self, rng: np.random.Generator) -> tuple[int, int]:
        """Return a place that shows a foreground pixel, where chance found none."""
        y, x = divmod(int(rng.choice(np.flatnonzero(self._foreground))), self._foreground.shape[1])
        top, left = y - int(rng.integers(self._side)), x - int(rng.integers(self._side))
        return min(max(top, 0), self._n_tops - 1), min(max(left, 0), self._n_lefts - 1)

    def _shares(self, tops: NDArray[np.int64], lefts: NDArray[np.int64]) -> NDArray[np.float64]:
        side, sums = self._side, self._sums
        below = sums[tops + side, lefts + side] - sums[tops + side, lefts]
        above = sums[tops, lefts + side] - sums[tops, lefts]
        return np.asarray((below - above) / side**2)

    @cached_property
    def _sums(self) -> NDArray[np.int64]:
        """Foreground pixels above and to the left of each pixel: any square in four look-ups."""
        sums = np.cumsum(np.cumsum(self._foreground, axis=0, dtype=np.int64), axis=1)
        return np.pad(sums, ((1, 0), (1, 0)))
