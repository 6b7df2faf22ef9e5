"""What a training remembers of itself: its curve, and the best weights so far."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np
from pydantic import JsonValue
from torch import Tensor, nn

from hcs.isl.recipe import Recipe


@dataclass(frozen=True)
class CurvePoint:
    """What is drawn of a training: one point per look at the validation frames.

    Attributes
    ----------
    step : int
    loss : float
        Mean over the training batches since the point before.
    learning_rate : float
        Of the last of them.
    validation : dict of str to float
        "loss" and the scores of the head; empty without validation frames.
    """

    step: int
    loss: float
    learning_rate: float
    validation: dict[str, float]


class History:
    """The curve of a training and its best weights; part of every checkpoint.

    Attributes
    ----------
    curve : list of CurvePoint
    best : dict of str to Tensor
        Weights with the lowest validation loss, or the latest without validation frames.
    best_step : int, optional
        Their step; None before the first look at the validation frames.
    seconds : float
        Of work, earlier sessions included.
    """

    def __init__(self) -> None:
        self.curve: list[CurvePoint] = []
        self.best: dict[str, Tensor] = {}
        self.best_step: int | None = None
        self.seconds = 0.0
        self._losses: list[float] = []

    def add(self, loss: float) -> None:
        """Take the loss of a step into the next point of the curve."""
        self._losses.append(loss)

    def judge(
        self, step: int, rate: float, validation: dict[str, float], network: nn.Module
    ) -> None:
        """Draw a point, and keep the network's weights if they are the best."""
        best = self.best_validation().get("loss", math.inf)
        self.curve.append(CurvePoint(step, float(np.mean(self._losses)), rate, validation))
        self._losses = []
        if validation.get("loss", -math.inf) < best:
            self.best_step = step
            state = network.state_dict()
            self.best = {name: tensor.detach().cpu().clone() for name, tensor in state.items()}

    def best_validation(self) -> dict[str, float]:
        """Return the validation at the best step; empty when there was none."""
        at_best = [point for point in self.curve if point.step == self.best_step]
        return at_best[0].validation if at_best else {}

    def end(self, step: int, recipe: Recipe) -> Literal["steps", "patience"] | None:
        """Return why a training is at its end after so many steps; None if it is not."""
        if step >= recipe.steps:
            return "steps"
        since_best = [point for point in self.curve if point.step > (self.best_step or 0)]
        if recipe.patience is not None and len(since_best) >= recipe.patience:
            return "patience"
        return None

    def facts(self) -> dict[str, JsonValue]:
        """Return all but the weights, for :meth:`from_facts`."""
        return {
            "curve": [asdict(point) for point in self.curve],
            "best_step": self.best_step,
            "seconds": self.seconds,
            "losses": [*self._losses],
        }

    @classmethod
    def from_facts(cls, facts: dict[str, Any], best: dict[str, Tensor]) -> History:
        """Return the history that :meth:`facts` was of."""
        history = cls()
        history.curve = [CurvePoint(**point) for point in facts["curve"]]
        history.best_step, history.best = facts["best_step"], best
        history.seconds, history._losses = facts["seconds"], facts["losses"]
        return history
