"""Engines: what computes a network on one batch; the one of torch."""

from __future__ import annotations

import copy
from typing import Literal, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from hcs.isl.device import has_bf16
from hcs.isl.fold import folded
from hcs.isl.subpixel import with_subpixel_blocks

Batch = NDArray[np.float32]
# of an image, to watch what a network does with it
_EXAMPLE_PX = 64

Precision = Literal["auto", "fp32", "bf16"]


class Engine(Protocol):
    """Computes a network: float32 (b, c, y, x) in, float32 (b, k, y, x) out."""

    def __call__(self, batch: Batch) -> Batch:
        """Return the raw output of each image of a batch."""

    def release(self) -> None:
        """Give memory back that is kept for batches to come."""


class TorchEngine:
    """A copy of a network, in the form in which torch computes it fastest.

    Parameters
    ----------
    network : torch.nn.Module
    device : torch.device
    precision : {"auto", "fp32", "bf16"}
    """

    def __init__(self, network: nn.Module, device: torch.device, precision: Precision) -> None:
        self._device = device
        self._bf16 = wants_bf16(precision, device)
        # a copy: the caller may train on
        self._network = copy.deepcopy(network).to(device)
        self._ready = False

    def __call__(self, batch: Batch) -> Batch:
        """Return the raw output of each image of a batch."""
        images = torch.from_numpy(batch)
        if self._device.type == "cuda":
            images = images.pin_memory().to(self._device, non_blocking=True)
        return np.ascontiguousarray(self.compute(images).cpu().numpy())

    def compute(self, images: Tensor) -> Tensor:
        """Return the same of images that are on the device, as a tensor there."""
        if not self._ready:
            self._make_ready(images[:1, :, :_EXAMPLE_PX, :_EXAMPLE_PX])
        with (
            torch.inference_mode(),
            torch.autocast(self._device.type, torch.bfloat16, enabled=self._bf16),
        ):
            output: Tensor = self._network(images.contiguous(memory_format=torch.channels_last))
        return output.float()

    def _make_ready(self, example: Tensor) -> None:
        own = folded(self._network, example)
        if self._device.type == "cpu":
            own = with_subpixel_blocks(own, example)
        # what convolutions are fastest in, on CPU and GPU
        self._network = own.to(memory_format=torch.channels_last)
        self._ready = True

    def release(self) -> None:
        """Give memory back that is kept for batches to come."""
        if self._device.type == "cuda":
            torch.cuda.empty_cache()


def wants_bf16(precision: Precision, device: torch.device) -> bool:
    """Return whether to compute in bfloat16."""
    return precision == "bf16" or (precision == "auto" and has_bf16(device))


def is_out_of_memory(error: BaseException) -> bool:
    """Return whether an error says so; allocators of CPUs do by their words only."""
    words = ("can't allocate memory", "not enough memory", "ALLOC_FAILED", "bad_alloc", "bad alloc")
    return isinstance(error, MemoryError | torch.OutOfMemoryError) or any(
        word in str(error) for word in words
    )
