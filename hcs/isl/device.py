"""The processor that a network computes on, and what it computes in."""

from __future__ import annotations

from typing import Literal

import torch

from hcs.errors import WorkerError

Device = Literal["cpu", "gpu"]


def count_gpus() -> int:
    """Return the number of GPUs that torch sees here."""
    return torch.cuda.device_count()


def choose(device: Device) -> torch.device:
    """Return torch's name of a device.

    Raises
    ------
    WorkerError
        For a GPU where there is none.
    """
    if device == "cpu":
        return torch.device("cpu")
    if count_gpus() == 0:
        raise WorkerError(
            "a GPU was asked for, and torch sees 0 of them here",
            hint="look at nvidia-smi and at CUDA_VISIBLE_DEVICES, or set device: cpu",
        )
    return torch.device("cuda", 0)


def has_bf16(device: torch.device) -> bool:
    """Return whether a processor computes in bfloat16 itself, not by way of float32."""
    if device.type == "cuda":
        return torch.cuda.get_device_capability(device) >= (8, 0)
    return torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()
