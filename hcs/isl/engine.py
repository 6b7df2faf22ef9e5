"""Engines: what computes a network on one batch. This one is torch."""

from __future__ import annotations

import copy
from typing import Literal, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from hcs.isl.device import has_bf16

Batch = NDArray[np.float32]


class Engine(Protocol):
    """Computes a network: float32 (b, c, y, x) in, float32 (b, k, y, x) out."""

    def __call__(self, batch: Batch) -> Batch:
        """Return the raw output of each image of a batch."""
        ...


class TorchEngine:
    """A network in torch, ready to predict.

    Parameters
    ----------
    network : torch.nn.Module
    device : torch.device
    precision : "auto", "fp32" or "bf16"
    """

    def __init__(
        self, network: nn.Module, device: torch.device, precision: Literal["auto", "fp32", "bf16"]
    ) -> None:
        self._device = device
        self._bf16 = precision == "bf16" or (precision == "auto" and has_bf16(device))
        # channels last: what the convolutions of both kinds of processors are fastest in
        own = copy.deepcopy(network).eval().to(device)
        self._network = own.to(memory_format=torch.channels_last)

    def __call__(self, batch: Batch) -> Batch:
        """Return the raw output of each image of a batch."""
        images = torch.from_numpy(batch)
        if self._device.type == "cuda":
            images = images.pin_memory().to(self._device, non_blocking=True)
        images = images.contiguous(memory_format=torch.channels_last)
        with (
            torch.inference_mode(),
            torch.autocast(self._device.type, torch.bfloat16, enabled=self._bf16),
        ):
            output = self._network(images)
        return np.asarray(output.float().contiguous().cpu().numpy())
