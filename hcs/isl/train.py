"""Train a network: step by step, validated, checkpointed, resumed, and stopped when it ran away."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass
from typing import Literal

from pydantic import JsonValue
from torch import Tensor, nn

from hcs.errors import RanAwayError, TrainingError
from hcs.isl.ahead import ahead
from hcs.isl.checkpoint import Checkpoint, Checkpoints
from hcs.isl.crops import Batch, Example
from hcs.isl.history import CurvePoint, History
from hcs.isl.optimise import Learner, learning_rate, part
from hcs.isl.recipe import Recipe
from hcs.isl.validate import Look, Shown, look

# reading a block of frames takes as long as some steps
_BATCHES_AHEAD = 8


@dataclass(frozen=True)
class Progress:
    """Where a training stands, after each step.

    Attributes
    ----------
    step, steps : int
        Done, and to do at most.
    loss : float
        Of the batch of this step.
    validation : dict of str to float, optional
        "loss" and the scores of the head, after the steps that looked at the validation frames.
    best_step : int, optional
        The step of the best weights until now.
    seconds, seconds_left : float
        Of work, earlier sessions included; until all steps are done, at the pace of this session.
    shown : tuple of Shown
        Examples to look at, after the same steps as `validation`.
    """

    step: int
    steps: int
    loss: float
    validation: dict[str, float] | None
    best_step: int | None
    seconds: float
    seconds_left: float
    shown: tuple[Shown, ...] = ()


@dataclass(frozen=True)
class Trained:
    """A training that came to its end.

    Attributes
    ----------
    network : nn.Module
        The one that was given, with the best weights, in evaluation mode.
    curve : tuple of CurvePoint
    best_step : int
    scores : dict of str to float
        Validation at that step.
    step : int
        Steps made.
    ended : {"steps", "patience"}
        All steps made, or no better loss for as long as `recipe.patience` says.
    seconds : float
        Of work, earlier sessions included.
    """

    network: nn.Module
    curve: tuple[CurvePoint, ...]
    best_step: int
    scores: dict[str, float]
    step: int
    ended: Literal["steps", "patience"]
    seconds: float


@dataclass(frozen=True)
class Kept:
    """The best weights of a training that did not come to its end.

    Attributes
    ----------
    weights : mapping of str to Tensor
    step : int
        After which they were looked at.
    scores : dict of str to float
        Validation at that step.
    """

    weights: Mapping[str, Tensor]
    step: int
    scores: dict[str, float]


def train(
    network: nn.Module,
    batches: Callable[[int], Iterable[Batch]],
    validation: Callable[[], Iterable[Example]],
    recipe: Recipe,
    checkpoints: Checkpoints,
    *,
    seed: int,
    on_progress: Callable[[Progress], None] = lambda progress: None,
) -> Trained:
    """Train a network where its weights are (processor or GPU), or go on from its checkpoint.

    On a processor, equal arguments give equal weights, whether or not the training was killed and
    resumed on the way.

    Parameters
    ----------
    network : nn.Module
        (b, c, y, x) to raw (b, k, y, x); trained in place.
    batches : callable
        Given a step, the batches from that step on, as :func:`hcs.isl.crops.batches` gives them.
    validation : callable
        The validation frames, each time it is called; without any, the last weights are kept.
    recipe : Recipe
    checkpoints : Checkpoints
    seed : int
    on_progress : callable
        Called after each step; what it raises ends the training, which can be resumed.

    Raises
    ------
    RanAwayError
        If a loss or gradient is not finite; the checkpoint keeps the last good weights.
    TrainingError
        If the checkpoint is damaged or of another training, or the batches end before the steps.
    """
    learner = Learner(network, recipe, seed)
    checkpoints = checkpoints.of(_identity(network, recipe, seed))
    history = _resumed(learner, checkpoints)
    pace = _Pace(learner.step, history.seconds)
    if history.end(learner.step, recipe):
        return _trained(learner, history)
    with closing(ahead(batches(learner.step), _BATCHES_AHEAD)) as feed:
        while not history.end(learner.step, recipe):
            loss = _learn(learner, feed, history, checkpoints)
            seen = _judge(learner, validation, history, checkpoints)
            history.seconds = pace.seconds()
            # better weights are kept at once: the next look may be the one that numbers run away at
            better = history.best_step == learner.step
            due = learner.step % recipe.checkpoint_every == 0
            if better or due or history.end(learner.step, recipe):
                checkpoints.write(_checkpoint(learner, history))
            on_progress(_progress(learner, loss, history, pace, seen))
    return _trained(learner, history)


def kept_weights(checkpoints: Checkpoints) -> Kept | None:
    """Return the best weights of a training that stopped; None before its first look.

    Parameters
    ----------
    checkpoints : Checkpoints
        Of a folder; what it was made with need not be the same.

    Raises
    ------
    TrainingError
        If the checkpoint is damaged.
    """
    if not checkpoints.path.exists():
        return None
    checkpoint = checkpoints.read_any()
    best = part(checkpoint.tensors, "best")
    history = History.from_facts(checkpoint.facts["history"], best)
    if history.best_step is None:
        return None
    return Kept(best, history.best_step, history.best_validation())


class _Pace:
    """How long a training took and how long it will take."""

    def __init__(self, step: int, seconds: float) -> None:
        self._began, self._first, self._before = time.monotonic(), step, seconds

    def seconds(self) -> float:
        return self._before + time.monotonic() - self._began

    def seconds_left(self, step: int, steps: int) -> float:
        here = time.monotonic() - self._began
        return here / max(1, step - self._first) * (steps - step)


def _identity(network: nn.Module, recipe: Recipe, seed: int) -> dict[str, JsonValue]:
    """Return what a checkpoint must share with a training that goes on from it."""
    layers = [(name, tuple(tensor.shape)) for name, tensor in network.state_dict().items()]
    digest = hashlib.sha256(repr(layers).encode()).hexdigest()
    return {"recipe": recipe.model_dump(mode="json"), "seed": seed, "layers": digest}


def _resumed(learner: Learner, checkpoints: Checkpoints) -> History:
    checkpoint = checkpoints.read()
    if checkpoint is None:
        return History()
    learner.restore(checkpoint.tensors, checkpoint.facts["step"])
    return History.from_facts(checkpoint.facts["history"], part(checkpoint.tensors, "best"))


def _checkpoint(learner: Learner, history: History) -> Checkpoint:
    best = {f"best.{name}": tensor for name, tensor in history.best.items()}
    facts: dict[str, JsonValue] = {"step": learner.step, "history": history.facts()}
    return Checkpoint({**learner.state(), **best}, facts)


def _learn(
    learner: Learner, feed: Iterator[Batch], history: History, checkpoints: Checkpoints
) -> float:
    """Make one step; stop where numbers ran away, before they reach the weights."""
    batch = next(feed, None)
    if batch is None:
        raise TrainingError(f"the batches ended after step {learner.step}")
    taken = learner.learn(batch)
    if not taken.is_finite:
        checkpoints.write(_checkpoint(learner, history))
        rate = learning_rate(learner.recipe, learner.step)
        raise RanAwayError(
            f"training ran away at step {learner.step + 1}: loss {taken.loss:g}, gradient "
            f"{taken.gradient:g}, learning rate {rate:g}, on crops of "
            f"{'; '.join(sorted(set(batch.names)))}; the weights of before are kept in "
            f"{checkpoints.path}",
            hint="lower recipe.learning_rate, or look at those images",
        )
    history.add(taken.loss)
    return taken.loss


def _judge(
    learner: Learner,
    validation: Callable[[], Iterable[Example]],
    history: History,
    checkpoints: Checkpoints,
) -> Look | None:
    """Look at the validation frames when it is time to."""
    step, recipe = learner.step, learner.recipe
    if step % recipe.validate_every and step < recipe.steps:
        return None
    seen = look(learner.judged, validation(), recipe)
    _stop_if_lost(seen, step, checkpoints)
    history.judge(step, learning_rate(recipe, step - 1), seen.scores, learner.judged)
    return seen


def _stop_if_lost(seen: Look, step: int, checkpoints: Checkpoints) -> None:
    if seen.lost:
        kept = f"; an earlier state is kept in {checkpoints.path}"
        raise RanAwayError(
            f"training ran away by step {step}: the loss of validation image {seen.lost[0]} is "
            f"not finite{kept if checkpoints.path.exists() else ''}",
            hint="lower recipe.learning_rate, or look at that image",
        )


def _progress(
    learner: Learner, loss: float, history: History, pace: _Pace, seen: Look | None
) -> Progress:
    return Progress(
        step=learner.step,
        steps=learner.recipe.steps,
        loss=loss,
        validation=seen.scores if seen else None,
        best_step=history.best_step,
        seconds=history.seconds,
        seconds_left=pace.seconds_left(learner.step, learner.recipe.steps),
        shown=seen.shown if seen else (),
    )


def _trained(learner: Learner, history: History) -> Trained:
    learner.network.load_state_dict(history.best)
    return Trained(
        network=learner.network.eval(),
        curve=tuple(history.curve),
        best_step=history.best_step or 0,
        scores=history.best_validation(),
        step=learner.step,
        ended=history.end(learner.step, learner.recipe) or "steps",
        seconds=history.seconds,
    )
