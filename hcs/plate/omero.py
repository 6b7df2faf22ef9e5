"""Read the names and display of an image's channels: the ``omero`` part, liberal."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import replace

from pydantic import Field, ValidationError

from hcs.plate.metadata import Channel
from hcs.plate.ngff import Liberal
from hcs.plate.problems import Problems


class _Window(Liberal):
    min: float
    max: float
    start: float
    end: float


class _Channel(Liberal):
    label: str | None = None
    color: str = Field("FFFFFF", pattern=r"^#?[0-9A-Fa-f]{6}$")
    window: _Window | None = None


def parse_channels(
    omero: object, n_channels: int, subject: str, found: Problems
) -> tuple[Channel, ...]:
    """Return a channel for each plane of the ``c`` axis, named whatever is written.

    A channel without a name is called ``channel_<index>``. Where one name is given to several,
    each of them gets its index too: none can be taken for another.

    Examples
    --------
    >>> omero = {"channels": [{"label": "DAPI"}, {"label": "DAPI"}, {}]}
    >>> found = Problems()
    >>> [channel.label for channel in parse_channels(omero, 3, "field B/03/0", found)]
    ['DAPI_0', 'DAPI_1', 'channel_2']
    >>> len(found.warnings)
    2
    """
    listed = omero.get("channels") if isinstance(omero, Mapping) else None
    entries = list(listed) if isinstance(listed, list) else []
    if entries and len(entries) != n_channels:
        found.warn(f"{subject} names {len(entries)} channels, but has {n_channels}")
    entries = (entries + [{}] * n_channels)[:n_channels]
    channels = [_channel(entry, i, subject, found) for i, entry in enumerate(entries)]
    counts = Counter(channel.label for channel in channels)
    for label, count in counts.items():
        if count > 1:
            found.warn(f"{subject} has {count} channels named {label!r}; they get their index")
    return tuple(
        replace(channel, label=f"{channel.label}_{i}") if counts[channel.label] > 1 else channel
        for i, channel in enumerate(channels)
    )


def _channel(entry: object, index: int, subject: str, found: Problems) -> Channel:
    try:
        channel = _Channel.model_validate(entry)
    except ValidationError:
        found.warn(f"{subject}: omero.channels[{index}] cannot be read in full")
        label = entry.get("label") if isinstance(entry, Mapping) else None
        return Channel(str(label or f"channel_{index}"))
    if not channel.label:
        found.warn(f"{subject} does not name channel {index}; it is 'channel_{index}'")
    window = channel.window
    return Channel(
        channel.label or f"channel_{index}",
        channel.color.removeprefix("#").upper(),
        (window.min, window.max, window.start, window.end) if window else None,
    )
