"""A Zarr store that remembers what was written through it: where a step's manifest comes from.

The digest is of the bytes that the codecs made, not of what the disk gave back, so that the
read-back before a marker compares two different things.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Self

from zarr.abc.store import Store
from zarr.storage import WrapperStore

from hcs.plate.storage import content_digest

if TYPE_CHECKING:
    from collections.abc import Iterable

    from zarr.core.buffer import Buffer


class RecordingStore(WrapperStore[Store]):
    """Pass everything on to another store, and keep a manifest of the files written.

    Parameters
    ----------
    store : Store
        As `hcs.plate.storage.Storage.zarr_store` gives it.
    manifest : dict or None
        To go on with; a new one by default.

    Attributes
    ----------
    manifest : dict of str to str
        Digest and size by key, as `hcs.plate.storage.content_digest` writes them.
    """

    def __init__(self, store: Store, manifest: dict[str, str] | None = None) -> None:
        super().__init__(store)
        self.manifest = {} if manifest is None else manifest

    def _with_store(self, store: Store) -> Self:
        return type(self)(store, self.manifest)

    async def set(self, key: str, value: Buffer) -> None:
        """Write a file and note its digest."""
        await super().set(key, value)
        self.manifest[key] = content_digest(value.to_bytes())

    async def _set_many(self, values: Iterable[tuple[str, Buffer]]) -> None:
        # the wrapped store's own would go round `set`
        for key, value in values:
            await self.set(key, value)

    async def delete(self, key: str) -> None:
        """Delete a file and forget it: Zarr drops chunks that hold the fill value only."""
        await super().delete(key)
        self.manifest.pop(key, None)
