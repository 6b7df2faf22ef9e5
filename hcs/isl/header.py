"""The model card of a weights file, and the file's digest; neither takes torch.

The card is JSON among the metadata of a safetensors file.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from hcs.errors import WeightsError
from hcs.isl.card import ModelCard
from hcs.isl.untrusted import NOT_OURS, Header, opened, parse_json, read_header

# where the card stands among the metadata
CARD_KEY = "hcs_card"
# problems that one message gives: a hostile card may have a hundred thousand
_MAX_PROBLEMS = 20
_MAX_WORDS = 100


def read_card(path: Path) -> ModelCard:
    """Return what a weights file says of its network.

    Parameters
    ----------
    path : Path
        A safetensors file as `hcs train` writes it.

    Raises
    ------
    WeightsError
        No such file; a pickle; a damaged or hostile header; no card, or one that is not valid, with
        all its problems.
    """
    return card_of(read_header(path), path)


def card_of(header: Header, path: Path) -> ModelCard:
    """Return the card that stands in the header of a file; raises as `read_card`."""
    text = header.metadata.get(CARD_KEY)
    if text is None:
        raise WeightsError(
            f"{path}: there is no model card in it, so nothing says what its network takes",
            hint="weights of other programs cannot be used; train with `hcs train`",
        )
    try:
        parse_json(text)
        card = ModelCard.model_validate_json(text)
        problems = card.problems()
    except ValidationError as error:
        problems = [_in_words(problem) for problem in error.errors(include_url=False)]
    except (ValueError, RecursionError) as error:
        problems = [f"no JSON: {error}"]
    if problems:
        more = f"; {len(problems) - _MAX_PROBLEMS} more" if len(problems) > _MAX_PROBLEMS else ""
        raise WeightsError(
            f"{path}: its model card is not valid: {'; '.join(problems[:_MAX_PROBLEMS])}{more}",
            hint=NOT_OURS,
        )
    return card


def weights_digest(path: Path) -> str:
    """Return the SHA-256 of a file in hexadecimal, as ``sha256sum`` prints it.

    Raises
    ------
    WeightsError
        There is no such file, or it cannot be read.
    """
    with opened(path) as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _in_words(problem: Mapping[str, Any]) -> str:
    """Return one of pydantic's problems as "where: what"; names in the file may be anything."""
    where = ".".join(str(part) for part in problem["loc"]) or "card"
    return f"{plain(where)}: {plain(problem['msg'])}"


def plain(text: str) -> str:
    r"""Return a text from a file as it may go to a terminal: short, and no control characters.

    Examples
    --------
    >>> plain("DAPI\x1b[2J")
    'DAPI?[2J'
    """
    shown = text if len(text) <= _MAX_WORDS else f"{text[:_MAX_WORDS]}..."
    return "".join(letter if letter.isprintable() else "?" for letter in shown)
