"""Messages by Prefect's notification blocks, and a block for mail and whatever Apprise knows.

A block is made once, in Prefect's UI or from Python, and named in the settings; what it holds of
passwords and addresses stays in Prefect's database::

    prefect block register --module flows.notify    # then the UI offers "Apprise"

    from flows.notify import Apprise

    Apprise(url="mailtos://user:password@example.org?to=screens@example.org").save("screens")
    # in the settings: night.notify: [apprise/screens]
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import httpx
from prefect.blocks.abstract import NotificationError
from prefect.blocks.core import Block
from prefect.blocks.notifications import AppriseNotificationBlock
from prefect.exceptions import PrefectException

from hcs.shown import shown

# no such block, no server, or one that refuses
_TROUBLE = (
    NotificationError,
    PrefectException,
    httpx.HTTPError,
    OSError,
    ValueError,
    RuntimeError,
)


class Apprise(AppriseNotificationBlock):
    """Send messages to any service that Apprise knows, as in ``mailtos://`` or ``slack://``."""

    _block_type_name = "Apprise"
    _block_type_slug = "apprise"

    def block_initialization(self) -> None:
        """Say that messages are plain text, and have mails be so, too.

        As HTML their lines would run together, or, as Apprise makes it of text, never wrap: each
        space becomes one that does not break.
        """
        # not before a night has something to say
        from apprise import NotifyFormat

        super().block_initialization()
        # its default, None, is all that types say
        self._apprise_client.asset.body_format = NotifyFormat.TEXT  # type: ignore[assignment]
        for service in self._apprise_client:
            if service.notify_format == NotifyFormat.HTML:
                service.notify_format = NotifyFormat.TEXT


class Messenger:
    """Blocks that were loaded while somebody is still there to mend them.

    Parameters
    ----------
    names : sequence of str
        Type and name of each block, ``slack-webhook/screens``.

    Attributes
    ----------
    warnings : list of str
        Which blocks will send nothing, and why.
    """

    def __init__(self, names: Sequence[str]) -> None:
        self.warnings = list[str]()
        self._blocks = {name: block for name in names if (block := self._load(name))}

    def send(self, subject: str, text: str) -> list[str]:
        """Send a message with every block; return which ones could not, and why."""
        failed = list[str]()
        # a second line would be a header of a mail
        subject, text = shown(subject).replace("\n", " "), shown(text)
        for name, block in self._blocks.items():
            try:
                with block.raise_on_failure():
                    block.notify(text, subject)
            except Exception as error:  # noqa: BLE001 - blocks are plugins, and others get theirs
                failed.append(_told(f"{name} could not send the summary", error))
        return failed

    def _load(self, name: str) -> Any:  # noqa: ANN401 - any class of block
        try:
            block = Block.load(name)
        except ValueError:
            # what Prefect raises where it finds none, and pydantic where it is another
            self.warnings.append(f"Prefect has no notification block {name}, or it is damaged")
            return None
        except _TROUBLE as error:
            self.warnings.append(_told(f"notification block {name} cannot be loaded", error))
            return None
        if not hasattr(block, "notify"):
            self.warnings.append(f"block {name} sends no messages: name a notification block")
            return None
        return block


def _told(what: str, error: BaseException) -> str:
    # the kind only: texts of such errors hold addresses, which hold passwords
    status = getattr(getattr(error, "response", None), "status_code", "")
    kind = " ".join(str(part) for part in (type(error).__name__, status) if part)
    return f"{what}: {kind}"
