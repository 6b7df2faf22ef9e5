"""The Zarr store of a folder, on a disk that may fail for a moment."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, TypeVar

from zarr.storage import LocalStore

from hcs.plate.local import PASSING, PAUSES_S

if TYPE_CHECKING:
    from zarr.abc.store import ByteRequest
    from zarr.core.buffer import Buffer, BufferPrototype

logger = logging.getLogger(__name__)

_Found = TypeVar("_Found")


class PatientStore(LocalStore):
    """Zarr's store of a folder; what may fail for a moment is tried up to four times."""

    async def get(
        self,
        key: str,
        prototype: BufferPrototype | None = None,
        byte_range: ByteRequest | None = None,
    ) -> Buffer | None:
        """Read a file, or a part of one; None where there is none."""
        get = super().get
        return await self._patiently(lambda: get(key, prototype, byte_range), key)

    async def set(self, key: str, value: Buffer) -> None:
        """Write a file, whole or not at all."""
        write = super().set
        await self._patiently(lambda: write(key, value), key)

    async def set_if_not_exists(self, key: str, value: Buffer) -> None:
        """Write a file where there is none.

        Zarr asks for the groups above each array that it makes, and would put a temporary file
        beside those of the input, where nobody sweeps it if this process is killed.
        """
        if not await self.exists(key):
            await super().set_if_not_exists(key, value)

    async def _patiently(self, act: Callable[[], Awaitable[_Found]], key: str) -> _Found:
        for pause in PAUSES_S:
            try:
                return await act()
            except OSError as error:
                if error.errno not in PASSING:
                    raise
                logger.warning("%s/%s is tried again: %s", self.root, key, error.strerror)
                await asyncio.sleep(pause)
        return await act()
