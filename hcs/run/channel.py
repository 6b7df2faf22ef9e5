"""Which channel is the label-free one, where the settings do not say."""

from __future__ import annotations

import re
from collections.abc import Sequence

from hcs.errors import MissingError, SettingsError

# whole words or their beginnings as microscopes write them; BF, PH, TL only on their own
_LABEL_FREE = re.compile(
    r"phase|bright|\bdic\b|nomarski|trans|label.?free|(?<![a-z])(bf|ph\d?|phc|tl|dpc|qpi)(?![a-z])",
    re.IGNORECASE,
)


def choose_channel(labels: Sequence[str], wanted: str | None) -> str:
    """Return the label-free channel.

    Parameters
    ----------
    labels : sequence of str
        The channels that the plate has.
    wanted : str or None
        As the settings say; None for the only one, or the first whose name says that it is
        label-free.

    Raises
    ------
    MissingError
        If the channel that is wanted is not there.
    SettingsError
        If none is named and no name tells.

    Examples
    --------
    >>> choose_channel(["DAPI", "Brightfield"], None)
    'Brightfield'
    >>> choose_channel(["DAPI"], None), choose_channel(["DAPI", "TL 10x"], None)
    ('DAPI', 'TL 10x')
    """
    named = ", ".join(map(repr, labels))
    if wanted is not None:
        if wanted not in labels:
            raise MissingError(f"the plate has no channel {wanted!r}", hint=f"it has {named}")
        return wanted
    if len(labels) == 1:
        return labels[0]
    found = [label for label in labels if _LABEL_FREE.search(label)]
    if not found:
        raise SettingsError(
            f"no name among the channels {named} says that it is label-free",
            hint="name it: --channel NAME",
        )
    return found[0]
