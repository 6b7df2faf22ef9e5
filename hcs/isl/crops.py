"""Crops of training frames, mixed into batches: the batch of a step follows from seed and step.

Frames are read in blocks: each frame of a block once, cut many times, so that memory is bounded
whatever the plate, and a training that resumes at step s gets the batches it would have had.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from hcs.errors import TrainingError
from hcs.isl.augment import augmented
from hcs.isl.places import Places
from hcs.isl.recipe import Recipe

# what a generator is for: one seed gives independent draws for each
_ORDER, _PLACES, _MIX, _AUGMENT = range(4)


@dataclass(frozen=True)
class Example:
    """One frame to learn from.

    Attributes
    ----------
    inputs : ndarray of float32, shape (c, y, x)
        Normalised over the whole image.
    target : ndarray of float32, shape (k, y, x)
        Values of each stain near [0, 1]; or a mask; or distance map and mask.
    name : str
        For people, as "B/03/0, frame 4".
    weight : ndarray of float32, shape (y, x), optional
        What each pixel counts in the loss; 0 where the truth is unknown.
    """

    inputs: NDArray[np.float32]
    target: NDArray[np.float32]
    name: str
    weight: NDArray[np.float32] | None = None


class Examples(Protocol):
    """Frames to learn from, read when they are asked for; a list of examples is one."""

    def __len__(self) -> int:
        """Return how many frames there are."""
        ...

    def __getitem__(self, index: int, /) -> Example:
        """Read a frame."""
        ...


@dataclass(frozen=True)
class Batch:
    """What one optimiser step learns from.

    Attributes
    ----------
    inputs : ndarray of float32, shape (b, c, p, p)
    target : ndarray of float32, shape (b, k, p, p)
    weight : ndarray of float32, shape (b, 1, p, p), optional
        None where each pixel counts the same.
    names : tuple of str
        The frames that the crops are of, in the order of the crops.
    """

    inputs: NDArray[np.float32]
    target: NDArray[np.float32]
    weight: NDArray[np.float32] | None
    names: tuple[str, ...]


class Crop(NamedTuple):
    """A square of a frame, by its upper left pixel."""

    frame: int
    top: int
    left: int


def batches(examples: Examples, recipe: Recipe, seed: int, start: int = 0) -> Iterator[Batch]:
    """Yield a batch for every step from `start` on, without end.

    Raises
    ------
    TrainingError
        If there is no frame, a frame is smaller than a crop or does not go with its target or
        with the other frames, or no crop of any frame holds any foreground.
    """
    if not len(examples):
        raise TrainingError("there is no frame to train on")
    blocks = _Blocks(examples, recipe, seed)
    step = start
    while True:
        crops = blocks.crops_of_step(step)
        batch = _cut([blocks.frames[crop.frame] for crop in crops], crops, recipe.crop_px)
        yield _augmented(batch, recipe, np.random.default_rng([_AUGMENT, seed, step]))
        step += 1


class _Blocks:
    """The frames in blocks, dealt anew at each pass; holds the frames of one block.

    Attributes
    ----------
    frames : dict of int to Example
        The frames that are held, by their number.
    """

    def __init__(self, examples: Examples, recipe: Recipe, seed: int) -> None:
        self.frames: dict[int, Example] = {}
        self._examples, self._recipe, self._seed = examples, recipe, seed
        self._n_blocks = -(-len(examples) // recipe.block_frames)
        n_frames = -(-len(examples) // self._n_blocks)
        self._steps_of_a_block = -(-n_frames * recipe.crops_per_image // recipe.batch)
        self._places: dict[int, Places] = {}
        self._block: int | None = None
        self._crops: list[Crop] = []
        # frames seen without foreground; None once there was some, since it cannot go away
        self._background: set[int] | None = set()

    def crops_of_step(self, step: int) -> list[Crop]:
        """Return the crops of a step, reading their frames unless they are held.

        A block with fewer crops than its steps need begins again.
        """
        block, step_of_block = divmod(step, self._steps_of_a_block)
        if block != self._block:
            self._read(self._members(block))
            self._crops = self._mixed(block)
            self._block = block
        first = step_of_block * self._recipe.batch
        numbers = range(first, first + self._recipe.batch)
        return [self._crops[number % len(self._crops)] for number in numbers]

    def _members(self, block: int) -> list[int]:
        turn, index = divmod(block, self._n_blocks)
        order = self._rng(_ORDER, turn).permutation(len(self._examples))
        return sorted(int(i) for i in np.array_split(order, self._n_blocks)[index])

    def _read(self, members: list[int]) -> None:
        for number in self.frames.keys() - set(members):
            del self.frames[number], self._places[number]
        for number in members:
            if number not in self.frames:
                self._hold(number, self._examples[number])
        self._check_foreground()

    def _hold(self, number: int, example: Example) -> None:
        _check_example(example, self._recipe)
        others = next(iter(self.frames.values()), example)
        _check_planes(example, others)
        self.frames[number] = example
        self._places[number] = Places(_foreground(example, self._recipe), self._recipe)

    def _check_foreground(self) -> None:
        """Stop when no frame has any; a block of background alone is fine."""
        if self._background is None:
            return
        if any(places.any_foreground for places in self._places.values()):
            self._background = None
            return
        self._background.update(self.frames)
        if len(self._background) == len(self._examples):
            name = next(iter(self.frames.values())).name
            raise TrainingError(
                f"crops that cannot be found: {len(self._examples)} frames, {name} among them, "
                f"have no pixel with a target of {self._recipe.foreground_value:g} or more",
                hint="is it the right channel or label image? recipe.foreground_value is the bar",
            )

    def _mixed(self, block: int) -> list[Crop]:
        recipe, members = self._recipe, sorted(self.frames)
        drawn_at = 0 if recipe.crops == "once" else 1 + block
        crops = [
            Crop(number, top, left)
            for number in members
            for top, left in self._places[number].draw(self._rng(_PLACES, drawn_at, number))
        ]
        rng = self._rng(_MIX, block)
        if not crops:  # no foreground, and each crop was to show some: background, then
            crops = [Crop(n, *self._places[n].anywhere(rng)) for n in members]
        return [crops[i] for i in rng.permutation(len(crops))]

    def _rng(self, purpose: int, *numbers: int) -> np.random.Generator:
        return np.random.default_rng([purpose, self._seed, *numbers])


def _foreground(example: Example, recipe: Recipe) -> NDArray[np.bool_]:
    bright = np.asarray((example.target >= recipe.foreground_value).any(axis=0))
    return bright if example.weight is None else bright & (example.weight > 0)


def _cut(frames: list[Example], crops: list[Crop], side: int) -> Batch:
    def stack(images: list[NDArray[np.float32]]) -> NDArray[np.float32]:
        squares = [
            image[:, crop.top : crop.top + side, crop.left : crop.left + side]
            for image, crop in zip(images, crops, strict=True)
        ]
        return np.stack(squares)

    weighted = any(frame.weight is not None for frame in frames)
    return Batch(
        inputs=stack([frame.inputs for frame in frames]),
        target=stack([frame.target for frame in frames]),
        weight=stack([_weight(frame) for frame in frames]) if weighted else None,
        names=tuple(frame.name for frame in frames),
    )


def _weight(frame: Example) -> NDArray[np.float32]:
    if frame.weight is None:
        return np.ones((1, *frame.target.shape[1:]), np.float32)
    return frame.weight[np.newaxis]


def _augmented(batch: Batch, recipe: Recipe, rng: np.random.Generator) -> Batch:
    maps = [batch.target] if batch.weight is None else [batch.target, batch.weight]
    inputs, target, *weight = augmented(batch.inputs, maps, recipe.augment, rng)
    return Batch(inputs, target, weight[0] if weight else None, batch.names)


def _check_example(example: Example, recipe: Recipe) -> None:
    height, width = example.inputs.shape[1:]
    maps = {"target": example.target[0]}
    if example.weight is not None:
        maps["weight map"] = example.weight
    for what, image in maps.items():
        if image.shape != (height, width):
            raise TrainingError(
                f"{example.name} is {height} x {width} pixels, but its {what} is "
                f"{image.shape[0]} x {image.shape[1]}"
            )
    if min(height, width) < recipe.crop_px:
        largest = min(height, width) // 32 * 32
        raise TrainingError(
            f"{example.name} is {height} x {width}, smaller than a crop of {recipe.crop_px} pixels",
            hint=f"set recipe.crop_px to {largest}" if largest else "leave that image out",
        )


def _check_planes(example: Example, other: Example) -> None:
    planes = len(example.inputs), len(example.target)
    expected = len(other.inputs), len(other.target)
    if planes != expected:
        raise TrainingError(
            f"{example.name} has {planes[0]} input and {planes[1]} target planes, "
            f"{other.name} {expected[0]} and {expected[1]}"
        )
