"""The engine of OpenVINO, an optional extra: faster than torch on CPUs of many kinds."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import nn

from hcs.errors import SettingsError
from hcs.isl.engine import Batch, Precision, wants_bf16

if TYPE_CHECKING:
    from openvino import CompiledModel


class OpenvinoEngine:
    """A network that is compiled for each shape of a batch when it first comes, and kept.

    Compiling takes some ten seconds for the largest networks.

    Parameters
    ----------
    network : torch.nn.Module
        On the CPU.
    device : torch.device
    precision : {"auto", "fp32", "bf16"}

    Raises
    ------
    SettingsError
        If OpenVINO is not installed, or a GPU was asked for.
    """

    def __init__(self, network: nn.Module, device: torch.device, precision: Precision) -> None:
        if device.type != "cpu":
            raise SettingsError(
                f"isl.engine is openvino, which computes on CPUs, and the device is {device.type}",
                hint="set isl.engine: torch, or run.device: cpu",
            )
        try:
            import openvino
        except ImportError as error:
            raise SettingsError(
                "isl.engine is openvino, which is not installed here",
                hint="pip install 'hcs[openvino]' wherever workers run, or set isl.engine: torch",
            ) from error
        self._openvino = openvino
        self._network = copy.deepcopy(network).eval()
        self._options = {
            "INFERENCE_NUM_THREADS": torch.get_num_threads(),
            "INFERENCE_PRECISION_HINT": "bf16" if wants_bf16(precision, device) else "f32",
            "PERFORMANCE_HINT": "LATENCY",
        }
        self._compiled: dict[tuple[int, ...], CompiledModel] = {}

    def __call__(self, batch: Batch) -> Batch:
        """Return the raw output of each image of a batch."""
        if batch.shape not in self._compiled:
            self._compiled[batch.shape] = self._compile(batch)
        # a copy: its own buffer is filled again by the next batch
        return np.array(self._compiled[batch.shape](batch)[0], np.float32)

    def _compile(self, batch: Batch) -> CompiledModel:
        with torch.no_grad():
            exported = torch.export.export(self._network, (torch.from_numpy(batch),))
        model = self._openvino.convert_model(exported)
        return self._openvino.Core().compile_model(model, "CPU", self._options)

    def release(self) -> None:
        """Give memory back that is kept for batches to come."""
        self._compiled.clear()
