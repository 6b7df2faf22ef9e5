"""The Zarr store of a plate that is held: its changes pass the fence, as all others do."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Self

from zarr.abc.store import Store
from zarr.storage import WrapperStore

if TYPE_CHECKING:
    from collections.abc import Iterable

    from zarr.core.buffer import Buffer

    from hcs.plate.storage import Storage


class FencedStore(WrapperStore[Store]):
    """Read through another store, and write through the storage of the same root.

    Parameters
    ----------
    store : Store
    storage : Storage
    """

    def __init__(self, store: Store, storage: Storage) -> None:
        super().__init__(store)
        self._storage = storage

    def _with_store(self, store: Store) -> Self:
        return type(self)(store, self._storage)

    async def set(self, key: str, value: Buffer) -> None:
        """Write a file, whole or not at all."""
        await asyncio.to_thread(self._storage.write_unflushed, {key: value.to_bytes()})

    async def set_if_not_exists(self, key: str, value: Buffer) -> None:
        """Write a file where there is none."""
        if not await self.exists(key):
            await self.set(key, value)

    async def _set_many(self, values: Iterable[tuple[str, Buffer]]) -> None:
        # the wrapped store's own would go round `set`
        for key, value in values:
            await self.set(key, value)

    async def delete(self, key: str) -> None:
        """Delete a file."""
        await asyncio.to_thread(self._storage.delete, key)

    async def delete_dir(self, prefix: str) -> None:
        """Delete all below."""
        self._storage.fence()
        await super().delete_dir(prefix)
