"""The trained networks of a run: found, checked against the settings and the plate; no torch."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from hcs.errors import MissingError, SettingsError, WeightsError
from hcs.isl.card import ModelCard
from hcs.isl.header import read_card, weights_digest
from hcs.isl.segment import pixel_scale
from hcs.isl.settings import IslSettings
from hcs.plate.commit import JSON
from hcs.plate.metadata import FieldImage
from hcs.plate.read import Plane
from hcs.settings import Settings

METHOD = "isl"


@dataclass(frozen=True)
class Model:
    """A trained network.

    Parameters
    ----------
    path : str
        Of its weights file, absolute: workers find it there too.
    digest : str
        Of the file.
    card : ModelCard
    """

    path: str
    digest: str
    card: ModelCard


def find_models(settings: Settings) -> tuple[Model, ...]:
    """Return the networks that the settings name, in their order.

    A file is read once in a process, and again when its time or size changed.

    Raises
    ------
    SettingsError
        If ``isl`` is among the methods without weights, or weights are given without it; if two
        networks would write the same results; if a channel is renamed that none takes.
    WeightsError
        If a file is not there, is damaged or no weights file.
    """
    weights = settings.isl.weights
    if METHOD in settings.methods and not weights:
        raise SettingsError(
            "methods: isl needs trained networks, and isl.weights names none",
            hint="name them: --weights FILE, again for more; `hcs train` makes them",
        )
    if METHOD not in settings.methods:
        if weights:
            raise SettingsError(
                f"isl.weights names {len(weights)}, and isl is not among the methods",
                hint="add isl to `methods`, or leave the weights out",
            )
        return ()
    models = tuple(_find(name) for name in weights)
    problems = [*_clashes(models), *_unused_names(models, settings.isl)]
    if problems:
        raise SettingsError("; ".join(problems), hint="`hcs weights show FILE` prints the card")
    return models


def check_channels(
    models: Sequence[Model], labels: Sequence[str], names: Mapping[str, str]
) -> None:
    """Refuse a plate that lacks a channel that a network takes.

    Parameters
    ----------
    models : sequence of Model
    labels : sequence of str
        The channels that the plate has.
    names : mapping of str to str
        Name in the plate by name in the weights file, where they differ.

    Raises
    ------
    MissingError
        Naming all that is missing, and what there is.
    """
    missing = {
        one.channel: model.card.name
        for model in models
        for one in model.card.inputs
        if names.get(one.channel, one.channel) not in labels
    }
    if missing:
        named = "; ".join(
            f"network {name} takes {names.get(channel, channel)!r}"
            for channel, name in missing.items()
        )
        raise MissingError(
            f"the plate lacks channels: {named}",
            hint=f"it has {', '.join(map(repr, labels))}; where only the name differs, say so: "
            f"--set 'isl.channels={{{next(iter(missing))}: {labels[0] if labels else 'NAME'}}}'",
        )


def planes_of(card: ModelCard, names: Mapping[str, str]) -> list[tuple[str, Plane]]:
    """Return channel and plane of each input of a network, by their names in the plate.

    Examples
    --------
    >>> from hcs.isl.card import Architecture, InputPlane, Training
    >>> training = Training(
    ...     fingerprint="", n_images=1, n_steps=1, seed=0, started_from="random", recipe={}
    ... )
    >>> card = ModelCard(
    ...     name="dna",
    ...     head="nuclei",
    ...     inputs=(InputPlane(channel="BF", plane=1),),
    ...     architecture=Architecture(),
    ...     training=training,
    ... )
    >>> planes_of(card, {"BF": "bright field"})
    [('bright field', 1)]
    """
    return [(names.get(one.channel, one.channel), one.plane) for one in card.inputs]


def fit(model: Model, image: FieldImage, settings: IslSettings) -> dict[str, JSON]:
    """Return how a network meets a field: what its result depends on beside weights and pixels.

    Returns
    -------
    dict
        ``inputs``: index of the channel and plane of each input; ``scale``: on the field's sides;
        ``tiles``: their side and overlap, None where the field is predicted whole.

    Raises
    ------
    MissingError
        The field lacks a channel.
    WeightsError
        The field lacks a plane, or its pixel size differs and may not be rescaled.
    """
    inputs: list[JSON] = []
    for channel, plane in planes_of(model.card, settings.channels):
        _check_plane(model.card, image, plane)
        inputs.append([image.channel_index(channel), plane])
    scale = pixel_scale(model.card, image.pixel_size_um, settings)
    tiled = max(image.frame_shape) * scale > settings.tile_px
    tiles = [settings.tile_px, settings.halo_px] if tiled else None
    return {"inputs": inputs, "scale": scale, "tiles": tiles}


def _check_plane(card: ModelCard, image: FieldImage, plane: Plane) -> None:
    there = image.length("z")
    if isinstance(plane, int) and not 0 <= plane < there:
        raise WeightsError(
            f"network {card.name} takes plane {plane}, field {image.path} has {there}, from 0",
            hint="use a network that was trained on such stacks",
        )


def _find(name: str) -> Model:
    if "://" in name:
        raise WeightsError(
            f"isl.weights: {name} is a URL, and weights are local files",
            hint="copy it first, to where workers find it too",
        )
    path = Path(name).expanduser().absolute()
    try:
        status = path.stat()
    except OSError as error:
        raise WeightsError(
            f"isl.weights: cannot read {path}: {error.strerror}",
            hint="`hcs train` writes such files; relative paths are from the current folder",
        ) from error
    return _read(str(path), status.st_mtime_ns, status.st_size)


@lru_cache(maxsize=32)
def _read(path: str, changed_ns: int, size: int) -> Model:
    # time and size are there to make the key
    return Model(path, weights_digest(Path(path)), read_card(Path(path)))


def _clashes(models: Sequence[Model]) -> list[str]:
    names = Counter(model.card.name for model in models)
    labels = Counter(model.card.label_image for model in models if model.card.label_image)
    found = [f"{n} networks are called {name}" for name, n in names.items() if n > 1]
    found += [f"{n} networks fill {label}" for label, n in labels.items() if n > 1]
    # objects are measured in every stain, in columns of its name
    stains = Counter(one.stain for model in models for one in model.card.targets if labels)
    return found + [f"{n} networks predict {stain}" for stain, n in stains.items() if n > 1]


def _unused_names(models: Sequence[Model], settings: IslSettings) -> list[str]:
    taken = dict.fromkeys(one.channel for model in models for one in model.card.inputs)
    listed = ", ".join(map(repr, taken))
    return [
        f"isl.channels renames {name!r}, and the networks take {listed}"
        for name in settings.channels
        if name not in taken
    ]
