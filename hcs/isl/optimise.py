"""One network in training: its weights, their running mean, and the optimiser's memory."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from copy import deepcopy
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from hcs.isl.crops import Batch
from hcs.isl.losses import loss_of
from hcs.isl.recipe import Recipe

_LAST_RATE = 0.01  # of the largest, at the end of the cosine (ours)


class Step(NamedTuple):
    """What one optimiser step saw; it changed nothing if either is not finite."""

    loss: float
    gradient: float

    @property
    def is_finite(self) -> bool:
        """Whether there is anything to learn from it."""
        return math.isfinite(self.loss) and math.isfinite(self.gradient)


class Learner:
    """A network, trained where its weights are, batch by batch.

    Parameters
    ----------
    network : nn.Module
        Trained in place.
    recipe : Recipe
    seed : int
        Of layers that draw, such as drop-out: each step has its own draws, whatever came before.
    """

    def __init__(self, network: nn.Module, recipe: Recipe, seed: int) -> None:
        self.network = network.to(memory_format=torch.channels_last)
        self.step = 0
        self.recipe, self._seed = recipe, seed
        self._device = next(network.parameters()).device
        self._loss = loss_of(recipe)
        self._optimiser = _optimiser(network, recipe)
        self._mean = deepcopy(network) if recipe.ema is not None else None

    @property
    def judged(self) -> nn.Module:
        """The network that is validated and kept: with the mean weights where there are any."""
        return self.network if self._mean is None else self._mean

    def learn(self, batch: Batch) -> Step:
        """Make one step; one whose loss or gradient is not finite changes nothing."""
        self.network.train()
        buffers = [buffer.clone() for buffer in self.network.buffers()]
        inputs, target = on_device(batch.inputs, self._device), _tensor(batch.target, self._device)
        weight = None if batch.weight is None else _tensor(batch.weight, self._device)
        with _draws([self._seed, self.step], self._device), autocast(self.recipe, self._device):
            output = self.network(inputs)
        loss = self._loss(output.float(), target, weight)
        self._optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        taken = Step(float(loss.detach()), self._clipped_gradient())
        if taken.is_finite:
            self._update()
        else:  # the statistics of normalisation took the batch in before its loss was known
            _put_back(self.network, buffers)
        return taken

    def _clipped_gradient(self) -> float:
        longest = self.recipe.clip or math.inf
        return float(nn.utils.clip_grad_norm_(self.network.parameters(), longest))

    def _update(self) -> None:
        for group in self._optimiser.param_groups:
            group["lr"] = learning_rate(self.recipe, self.step)
        self._optimiser.step()
        self.step += 1
        if self._mean is not None and self.recipe.ema is not None:
            # a short memory at first, else the random beginning stays in the mean for long
            decay = min(self.recipe.ema, self.step / (self.step + 10))
            _average(self._mean, self.network, decay)

    def state(self) -> dict[str, Tensor]:
        """Return all that a later :meth:`restore` needs, but for the step."""
        state = {f"network.{name}": tensor for name, tensor in self.network.state_dict().items()}
        if self._mean is not None:
            state |= {f"mean.{name}": tensor for name, tensor in self._mean.state_dict().items()}
        memory: Mapping[int, Mapping[str, Tensor]] = self._optimiser.state_dict()["state"]
        for parameter, tensors in memory.items():
            state |= {f"optimiser.{parameter}.{name}": tensor for name, tensor in tensors.items()}
        return state

    def restore(self, state: Mapping[str, Tensor], step: int) -> None:
        """Go on from what :meth:`state` returned after so many steps, bit for bit."""
        self.step = step
        self.network.load_state_dict(part(state, "network"))
        if self._mean is not None:
            self._mean.load_state_dict(part(state, "mean"))
        memory: dict[int, dict[str, Tensor]] = {}
        parameters = [p for group in self._optimiser.param_groups for p in group["params"]]
        for name, tensor in part(state, "optimiser").items():
            number, what = name.split(".")
            memory.setdefault(int(number), {})[what] = _as_laid_out(tensor, parameters[int(number)])
        groups = self._optimiser.state_dict()["param_groups"]
        self._optimiser.load_state_dict({"state": memory, "param_groups": groups})


def learning_rate(recipe: Recipe, step: int) -> float:
    """Return the rate of a step, counted from 0.

    Examples
    --------
    >>> from hcs.isl.recipe import recipe_of
    >>> recipe = recipe_of("default", "stain", steps=100, learning_rate=0.01, warm_up=0.1)
    >>> [round(learning_rate(recipe, step), 5) for step in (0, 9, 55, 99)]
    [0.001, 0.01, 0.00505, 0.0001]
    """
    if recipe.schedule == "constant":
        return recipe.learning_rate
    rising = round(recipe.warm_up * recipe.steps)
    if step < rising:
        return recipe.learning_rate * (step + 1) / rising
    falling = (1 + math.cos(math.pi * (step - rising) / (recipe.steps - rising))) / 2
    return recipe.learning_rate * (_LAST_RATE + (1 - _LAST_RATE) * falling)


def autocast(recipe: Recipe, device: torch.device) -> AbstractContextManager[Any]:
    """Return the context in which a network computes: bf16 where the recipe and device have it."""
    fit = device.type == "cuda" and torch.cuda.is_bf16_supported()
    wanted = recipe.precision == "bf16" or (recipe.precision == "auto" and fit)
    return torch.autocast(device.type, torch.bfloat16, enabled=wanted)


def on_device(images: NDArray[np.float32], device: torch.device) -> Tensor:
    """Return images of shape (b, c, y, x) as a tensor, channels last in memory."""
    return _tensor(images, device).contiguous(memory_format=torch.channels_last)


def part(state: Mapping[str, Tensor], of: str) -> dict[str, Tensor]:
    """Return the tensors whose names begin with ``<of>.``, by the rest of their names."""
    start = f"{of}."
    return {name[len(start) :]: value for name, value in state.items() if name.startswith(start)}


def _optimiser(network: nn.Module, recipe: Recipe) -> torch.optim.Optimizer:
    trained = [p for p in network.parameters() if p.requires_grad]
    # decay is for the weights of convolutions: it would pull normalisation to 0
    groups = [
        {"params": [p for p in trained if p.ndim > 1], "weight_decay": recipe.weight_decay},
        {"params": [p for p in trained if p.ndim <= 1], "weight_decay": 0.0},
    ]
    kind = torch.optim.Adam if recipe.optimiser == "adam" else torch.optim.AdamW
    return kind(groups, lr=recipe.learning_rate, betas=recipe.betas)


@torch.no_grad()
def _average(mean: nn.Module, network: nn.Module, decay: float) -> None:
    """Move the mean towards the network: weights, and the statistics that belong to them."""
    current = network.state_dict()
    for name, tensor in mean.state_dict().items():
        if tensor.is_floating_point():
            tensor.lerp_(current[name], 1 - decay)
        else:
            tensor.copy_(current[name])


@torch.no_grad()
def _put_back(network: nn.Module, buffers: list[Tensor]) -> None:
    for buffer, before in zip(network.buffers(), buffers, strict=True):
        buffer.copy_(before)


def _tensor(images: NDArray[np.float32], device: torch.device) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(images)).to(device, non_blocking=True)


def _as_laid_out(tensor: Tensor, parameter: Tensor) -> Tensor:
    """Return a restored memory in its parameter's layout, so that it computes in the same order."""
    if tensor.shape != parameter.shape:
        return tensor
    return torch.empty_like(parameter, dtype=tensor.dtype).copy_(tensor).detach()


@contextmanager
def _draws(seed: list[int], device: torch.device) -> Iterator[None]:
    """Seed torch's generators for one step, and leave them as they were."""
    with torch.random.fork_rng([device] if device.type == "cuda" else []):
        torch.manual_seed(int(np.random.default_rng(seed).integers(2**63)))
        yield
