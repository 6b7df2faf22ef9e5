"""Plates of predicted stains, as the run as a whole sees them: made, completed, told of."""

from __future__ import annotations

from collections.abc import Sequence

from hcs.isl.card import ModelCard, TargetScale
from hcs.isl.settings import IslSettings
from hcs.plate.commit import EVERYTHING, sweep
from hcs.plate.metadata import Channel, FieldImage
from hcs.plate.open import Plate
from hcs.plate.sister import make_sister, product_state, write_empty_product
from hcs.run.models import Model
from hcs.run.steps import Step

# blue as people know nuclei, then what can be told from it and from each other
_COLORS = ("0000FF", "00FF00", "FF0000", "FFFF00")
_SPREAD_COLOR = "FF00FF"
# display of the spread: a quarter of the stain's range is a lot
_MUCH_SPREAD = 0.25


def channels_of(card: ModelCard, settings: IslSettings) -> tuple[Channel, ...]:
    """Return the channels of a network's stain plate: predictions, then their spread if asked for.

    They are shown as the stains were in the training plate: from the background to bright objects.
    """
    predictions = tuple(
        _prediction(target, _COLORS[number % len(_COLORS)])
        for number, target in enumerate(card.targets)
    )
    if settings.uncertainty == "none":
        return predictions
    return predictions + tuple(_spread(target) for target in card.targets)


def prepare_stains(plate: Plate, steps: Sequence[Step]) -> None:
    """Make the plates of all stains that steps predict, and sweep what killed runs left there.

    Raises
    ------
    WriteError
        A plate of that name is something else, or nothing can be written.
    """
    for model in stain_models(steps):
        sweep(make_sister(plate, model.card.step), EVERYTHING)


def stain_models(steps: Sequence[Step]) -> tuple[Model, ...]:
    """Return the networks of those steps that predict stains."""
    return tuple(step.model for step in steps if step.model and step.kind == "stain")


def fill_in_stains(
    plate: Plate, model: Model, images: Sequence[FieldImage], settings: IslSettings, state: str
) -> None:
    """Give fields that have no image in a stain plate an empty one that says why it is."""
    sister, channels = plate.sister(model.card.step), channels_of(model.card, settings)
    for image in images:
        if product_state(sister, image.path) is None:
            write_empty_product(plate, sister, image.path, channels, state)


def withdraw_stains(
    plate: Plate, model: Model, images: Sequence[FieldImage], settings: IslSettings, state: str
) -> None:
    """Put empty images in place of what earlier settings left of fields."""
    sister, channels = plate.sister(model.card.step), channels_of(model.card, settings)
    for image in images:
        if product_state(sister, image.path) != state:
            write_empty_product(plate, sister, image.path, channels, state)


def _prediction(target: TargetScale, color: str) -> Channel:
    dark, bright = target.offset, target.offset + target.scale
    window = (min(0.0, dark), bright + target.scale, dark, bright)
    return Channel(f"{target.stain}_prediction", color, window)


def _spread(target: TargetScale) -> Channel:
    window = (0.0, target.scale, 0.0, _MUCH_SPREAD * target.scale)
    return Channel(f"{target.stain}_uncertainty", _SPREAD_COLOR, window)
