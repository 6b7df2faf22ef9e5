"""The Zarr store of a plate that may come from anyone: what zarr asks for is looked at first.

Links that leave the plate are followed neither for reading nor for writing, and metadata of arrays
are checked before zarr makes codecs of them. A look at a few names is over before a thread has
begun, so none is asked for it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Self

from zarr.abc.store import RangeByteRequest, Store
from zarr.core.buffer import default_buffer_prototype
from zarr.storage import WrapperStore

from hcs.plate.codecs import check_codecs
from hcs.plate.documents import DOCUMENTS, LARGEST_DOCUMENT, parse_document
from hcs.plate.storage import check_size

if TYPE_CHECKING:
    from collections.abc import Iterable

    from zarr.abc.store import ByteRequest
    from zarr.core.buffer import Buffer, BufferPrototype

    from hcs.plate.storage import Storage


class CheckedStore(WrapperStore[Store]):
    """Pass on to another store what is inside of the plate, and not too large.

    Parameters
    ----------
    store : Store
    storage : Storage
        Of the same root.
    """

    def __init__(self, store: Store, storage: Storage) -> None:
        super().__init__(store)
        self._storage = storage

    def _with_store(self, store: Store) -> Self:
        return type(self)(store, self._storage)

    async def get(
        self,
        key: str,
        prototype: BufferPrototype | None = None,
        byte_range: ByteRequest | None = None,
    ) -> Buffer | None:
        """Read a file; metadata of arrays only where all codecs are known."""
        self._storage.check_inside(key)
        prototype = prototype or default_buffer_prototype()
        path, _, name = key.rpartition("/")
        if name not in DOCUMENTS:
            return await super().get(key, prototype, byte_range)
        content = await super().get(key, prototype, RangeByteRequest(0, LARGEST_DOCUMENT + 1))
        if content is not None:
            where = f"{self._storage.url}/{key}"
            text = check_size(content.to_bytes(), LARGEST_DOCUMENT, where)
            check_codecs(parse_document(text, where), path)
        return content

    async def exists(self, key: str) -> bool:
        """Tell whether there is a file."""
        self._storage.check_inside(key)
        return await super().exists(key)

    async def set(self, key: str, value: Buffer) -> None:
        """Write a file."""
        self._storage.check_inside(key)
        await super().set(key, value)

    async def set_if_not_exists(self, key: str, value: Buffer) -> None:
        """Write a file where there is none."""
        self._storage.check_inside(key)
        await super().set_if_not_exists(key, value)

    async def _set_many(self, values: Iterable[tuple[str, Buffer]]) -> None:
        # the wrapped store's own would go round `set`
        for key, value in values:
            await self.set(key, value)

    async def delete(self, key: str) -> None:
        """Delete a file."""
        self._storage.check_inside(key)
        await super().delete(key)

    async def delete_dir(self, prefix: str) -> None:
        """Delete all below."""
        if prefix:
            self._storage.check_inside(prefix)
        await super().delete_dir(prefix)
