"""A text as it may be shown: on a terminal, in a log, a table, an artifact, a message.

Names come from disks that others write on, and errors of libraries hold addresses, which hold
keys. Every text that hcs tells passes here where it is made: errors when they are raised, log
lines of wells when they are kept, cells when they are printed.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator

HIDDEN = "***"
# variables whose value nobody may see; names of files that hold one are no secret
_SECRET_NAME = re.compile(
    r"SECRET|PASSWORD|PASSWD|TOKEN|AUTH_STRING|ACCESS_KEY|API_KEY|CREDENTIAL|CONNECTION_URL|WEBHOOK"
    r"|JWT"
)
_FILE_NAME = re.compile(r"_(FILE|PATH|DIR)$")
# a shorter one is no secret, and would hide half of each sentence
_SHORTEST = 8
# a name may have 64 MiB, and is on a page or in a row nothing that anybody reads
_LONGEST = 30_000
# patterns read each letter a few times at most, however long the text is and whatever it repeats;
# a password may hold an @ and quotes
_USER = re.compile(r"(?<=://)[^\s/]+@")
_QUERY = re.compile(r"(?<=://)((?:(?!://)[^\s?'\"])+)\?[^\s'\")]+")
# of a signed URL without its beginning, a line of settings, a dict; what ends with such a name, too
_PARAMETER = re.compile(
    r"((?:x-(?:amz|goog)-\w[\w-]{0,40}|signature|sig|token|password|passwd|secret|jwt"
    r"|(?:api|access|secret)[_-]?key)\\?['\"]?\s*[=:]\s*)"
    r"(?:b?(\\?['\"])(?:(?!\2).)+|[^\s&'\",;)]+)",
    re.IGNORECASE,
)
_AUTHORIZATION = re.compile(
    r"(authorization\\?['\"]?\s*[=:]\s*(?:b?\\?['\"])?(?:(?:basic|bearer|token)\s+)?)[^\n'\",;)]+",
    re.IGNORECASE,
)
_HEADER = re.compile(r"\b(Basic|Bearer)\s+[\w+/=.~-]{8,}")
_WEBHOOK = re.compile(r"(://[^\s/]+/(?:services|api/webhooks|webhooks?)/)[^\s'\"]+")
# how formulas begin, to the spreadsheets that there are
FORMULA = ("=", "+", "-", "@", "\t", "\r")


def shown(text: str) -> str:
    r"""Return a text without secrets, and without what a terminal would obey.

    Hidden are passwords and queries of URLs, what follows ``signature=``, ``"password":`` and the
    like, and the values of environment variables whose names say that they are secret. Letters
    that cannot be printed become ``?``; lines stay lines. A text longer than any that is read ends
    early.

    Examples
    --------
    >>> shown("cannot reach https://me:pw@host/a?X-Amz-Signature=00ff (404)")
    'cannot reach https://***@host/a?*** (404)'
    >>> shown("DAPI\x1b[2J")
    'DAPI?[2J'
    """
    # one may begin as another does
    for secret in sorted(_secrets(), key=len, reverse=True):
        text = text.replace(secret, HIDDEN)
    text = _beginning(text)
    text = _USER.sub(f"{HIDDEN}@", text)
    text = _QUERY.sub(rf"\1?{HIDDEN}", text)
    text = _WEBHOOK.sub(rf"\1{HIDDEN}", text)
    text = _PARAMETER.sub(rf"\1\2{HIDDEN}", text)
    text = _AUTHORIZATION.sub(rf"\1{HIDDEN}", text)
    text = _HEADER.sub(rf"\1 {HIDDEN}", text)
    return "".join(letter if letter.isprintable() or letter == "\n" else "?" for letter in text)


def unformulated(cell: object) -> object:
    """Return a cell of a CSV file such that no spreadsheet takes it for a formula.

    Examples
    --------
    >>> unformulated("=HYPERLINK(A1)"), unformulated("B03"), unformulated(-1.5)
    ("'=HYPERLINK(A1)", 'B03', -1.5)
    """
    if not isinstance(cell, str):
        return cell
    # a carriage return would begin a row
    plain = "".join(letter if letter.isprintable() else " " for letter in cell)
    return f"'{plain}" if cell.startswith(FORMULA) else plain


def hide_in(error: BaseException) -> None:
    """Hide in the texts of an error, and of those that led to it, what nobody may see."""
    seen = set[int]()
    one: BaseException | None = error
    while one is not None and id(one) not in seen:
        seen.add(id(one))
        one.args = tuple(shown(part) if isinstance(part, str) else part for part in one.args)
        if isinstance(one, OSError):
            _hide_in_attributes(one)
        one = one.__cause__ or one.__context__


def _hide_in_attributes(error: OSError) -> None:
    """Hide in what the text of such an error is made of; it is another text once None is set."""
    for name in ("strerror", "filename"):
        if isinstance(part := getattr(error, name), str):
            setattr(error, name, shown(part))


def _beginning(text: str) -> str:
    """Return a text, or what of a long one ends with a whole word: half a password is not found."""
    if len(text) <= _LONGEST:
        return text
    begun = text[:_LONGEST]
    words = begun[: max(begun.rfind(" "), begun.rfind("\n")) + 1]
    return f"{words}... ({len(text)} letters)"


def _secrets() -> Iterator[str]:
    for name, value in os.environ.items():
        if len(value) >= _SHORTEST and _SECRET_NAME.search(name) and not _FILE_NAME.search(name):
            yield value
            # of Prefect's, a user and a password
            password = value.partition(":")[2]
            if "AUTH_STRING" in name and len(password) >= _SHORTEST:
                yield password
