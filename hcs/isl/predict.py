"""Prediction: images in, raw outputs of a network out; batches, tiles, flips, spare memory."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from itertools import islice
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from hcs.errors import WorkerError
from hcs.image.tiles import UNIT_PX, blend, pad, tile_grid
from hcs.isl.card import Head, ModelCard
from hcs.isl.device import choose
from hcs.isl.engine import Engine, TorchEngine, is_out_of_memory
from hcs.isl.engine_openvino import OpenvinoEngine
from hcs.isl.heads import Prediction, value
from hcs.isl.settings import IslSettings
from hcs.isl.weights import load_network

Image = NDArray[np.float32]
# shorter tiles would be halo for the most part
_SMALLEST_TILE_PX = 64
_N_FLIPS = 8


class Predictor:
    """A network that is ready to predict, and remembers how much fits into memory.

    Tiles of a large field agree with the field in one piece to rounding where half a halo covers
    what the network sees. A densenet121 sees farther: trained, with a halo of 128 px, root mean
    square 0.2 % and at most 7 % of the output's standard deviation (measured; PCC 0.99999).

    Parameters
    ----------
    network : torch.nn.Module
        (b, c, y, x) to (b, k, y, x), for sides that are multiples of 32.
    settings : IslSettings
    device : torch.device
    head : "stain", "nuclei" or "cells"
        Says what the spread is of.
    """

    def __init__(
        self,
        network: nn.Module,
        settings: IslSettings,
        device: torch.device,
        head: Head = "stain",
    ) -> None:
        engine = TorchEngine if settings.engine == "torch" else OpenvinoEngine
        self._engine: Engine = engine(network, device, settings.precision)
        self._head = head
        self._uncertainty = settings.uncertainty
        self._halo_px = settings.halo_px
        self.batch = settings.batch
        self.tile_px = settings.tile_px

    def predict(self, images: Iterable[Image]) -> Iterator[Prediction]:
        """Yield the prediction of each image, in order.

        Images are taken when there is room for them, a batch at most, and those of one shape are
        computed together, from whatever frame or field they are.

        Parameters
        ----------
        images : iterable of ndarray of float32, shape (c, y, x)
            Normalised, of any height and width.

        Raises
        ------
        WorkerError
            If not even one small tile fits into memory.
        """
        if self._uncertainty == "none":
            for output in self._outputs(images):
                yield Prediction(output, None)
            return
        outputs = self._outputs(one for image in images for one in flips(image))
        while flipped := list(islice(outputs, _N_FLIPS)):
            back = [unflip(one, i) for i, one in enumerate(flipped)]
            values = np.stack([value(one, self._head) for one in back])
            yield Prediction(np.mean(back, axis=0), np.std(values, axis=0))

    def _outputs(self, images: Iterable[Image]) -> Iterator[Image]:
        group: list[Image] = []
        for image in images:
            if group and group[0].shape != image.shape:
                yield from self._of_one_shape(group)
                group = []
            group.append(image)
            if len(group) >= self._room(image):
                yield from self._of_one_shape(group)
                group = []
        if group:
            yield from self._of_one_shape(group)

    def _room(self, image: Image) -> int:
        """Return the fewest images whose tiles fill batches."""
        height, width = (side + -side % UNIT_PX for side in image.shape[-2:])
        tiles = len(tile_grid((height, width), self.tile_px, self._halo_px))
        return self.batch // math.gcd(self.batch, tiles)

    def _of_one_shape(self, images: list[Image]) -> list[Image]:
        while True:
            try:
                return self._attempt(images)
            except (MemoryError, RuntimeError) as error:
                if not is_out_of_memory(error):
                    raise
            # out here, since the error's traceback holds what did not fit
            self._shrink(images[0])

    def _shrink(self, image: Image) -> None:
        """Halve the batch, or else the tile, from now on."""
        self._engine.release()
        longest = min(self.tile_px, max(pad(image[:1]).shape))
        half = longest // 2 // UNIT_PX * UNIT_PX
        smallest = max(_SMALLEST_TILE_PX, 2 * self._halo_px)
        if self.batch > 1:
            self.batch //= 2
        elif half >= smallest:
            self.tile_px = half
        else:
            raise WorkerError(
                f"not even one tile of {longest} px and {len(image)} planes fits into memory, and "
                f"tiles under {smallest} px would be little but halo",
                hint="run fewer workers at a time, or lower isl.halo_px",
            )

    def _attempt(self, images: list[Image]) -> list[Image]:
        padded = [pad(image) for image in images]
        grid = tile_grid(padded[0].shape[-2:], self.tile_px, self._halo_px)
        tiles = (image[:, *place] for image in padded for place in grid.slices())
        outputs = self._batches(tiles)
        height, width = images[0].shape[-2:]
        return [blend(islice(outputs, len(grid)), grid)[:, :height, :width] for _ in images]

    def _batches(self, tiles: Iterator[Image]) -> Iterator[Image]:
        while some := list(islice(tiles, self.batch)):
            # always of one shape: what a tile gives does not depend on how many others there are
            batch = np.zeros((self.batch, *some[0].shape), np.float32)
            batch[: len(some)] = some
            yield from self._engine(batch)[: len(some)]


def flips(image: Image) -> Iterator[Image]:
    """Yield the eight flips and rotations of an image, those of its own shape first."""
    for i in range(_N_FLIPS):
        turned = image.swapaxes(-2, -1) if i >= 4 else image
        yield turned[..., :: 1 - 2 * (i & 1), :: 1 - (i & 2)]


def unflip(image: Image, i: int) -> Image:
    """Return an image before its i-th flip."""
    back = image[..., :: 1 - 2 * (i & 1), :: 1 - (i & 2)]
    return back.swapaxes(-2, -1) if i >= 4 else back


@dataclass(frozen=True)
class Loaded:
    """A network with its card, ready to predict."""

    predictor: Predictor
    card: ModelCard


def loaded(path: str, digest: str, settings: IslSettings, device: Literal["cpu", "gpu"]) -> Loaded:
    """Return the network of a file, loaded at the first call in a process and kept.

    Raises
    ------
    WeightsError
        If the file is damaged, or another one than had this digest.
    WorkerError
        If there is no GPU though one was asked for.
    """
    return _loaded(path, digest, settings.model_dump_json(), device)


@lru_cache(maxsize=4)
def _loaded(path: str, digest: str, settings: str, device: Literal["cpu", "gpu"]) -> Loaded:
    # settings hold a mapping, which is no key
    chosen = choose(device)
    if device == "cpu":
        # a worker per core, and sums in one order wherever it runs
        torch.set_num_threads(1)
    network, card = load_network(Path(path), digest)
    predictor = Predictor(network, IslSettings.model_validate_json(settings), chosen, card.head)
    return Loaded(predictor, card)
