"""What a Parquet file's footer says of its columns, read without pyarrow.

pyarrow looks at a column's metadata through functions that let no C++ exception pass: a flipped bit
there ends the process. Its readers of pixels and rows raise. The footer is Thrift's compact
protocol (github.com/apache/thrift, doc/specs/thrift-compact-protocol.md); the numbers of its
fields are those of parquet-format's ``parquet.thrift``.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

_MAGIC, _TAIL_BYTES = b"PAR1", 8
# of our widest tables, a few kilobytes
_LARGEST = 1 << 24
_DEEPEST = 32
_TRUE, _FALSE, _BYTE, _DOUBLE, _BINARY, _LIST, _SET, _MAP, _STRUCT, _UUID = (
    1, 2, 3, 7, 8, 9, 10, 11, 12, 13,
)  # fmt: skip
_WHOLE_NUMBERS = (4, 5, 6)
# FileMetaData.row_groups, RowGroup.columns, ColumnChunk.meta_data and two of its numbers
_ROW_GROUPS, _COLUMNS, _META_DATA, _NUM_VALUES, _UNCOMPRESSED = 4, 1, 3, 5, 6


def column_sizes(content: bytes) -> list[tuple[int, int]]:
    """Return number of values and decoded bytes of each column of each row group, as they say.

    Raises
    ------
    ValueError
        It is no footer of a Parquet file.
    """
    size = int.from_bytes(content[-_TAIL_BYTES:-4], "little")
    start = len(content) - _TAIL_BYTES - size
    if content[-4:] != _MAGIC or start < 0 or size > _LARGEST:
        raise ValueError("it does not end as a Parquet file does")
    try:
        groups = _Reader(content[start:-_TAIL_BYTES]).struct(_DEEPEST)[_ROW_GROUPS]
        columns = [column[_META_DATA] for group in groups for column in group[_COLUMNS]]
        return [(int(one[_NUM_VALUES]), int(one[_UNCOMPRESSED])) for one in columns]
    except (LookupError, TypeError) as error:
        raise ValueError("its footer makes no sense") from error


class _Reader:
    """A position in bytes of Thrift's compact protocol."""

    def __init__(self, content: bytes) -> None:
        self._content = content
        self._at = 0

    def struct(self, depth: int) -> Mapping[int, Any]:
        """Read fields by their numbers; no deeper than so many levels."""
        fields, number = dict[int, Any](), 0
        while head := self._byte():
            step, kind = head >> 4, head & 15
            number = number + step if step else self._whole()
            # a field of truth holds its value in its kind
            fields[number] = kind == _TRUE if kind in (_TRUE, _FALSE) else self._value(kind, depth)
        return fields

    def _value(self, kind: int, depth: int) -> Any:  # noqa: ANN401 - whatever stands there
        if not depth:
            raise ValueError("its footer is nested too deeply")
        if kind in _WHOLE_NUMBERS:
            return self._whole()
        if kind == _STRUCT:
            return self.struct(depth - 1)
        if kind in (_LIST, _SET):
            return self._list(depth - 1)
        if kind == _MAP:
            return self._map(depth - 1)
        sizes = {_TRUE: 1, _FALSE: 1, _BYTE: 1, _DOUBLE: 8, _UUID: 16}
        return self._bytes(self._varint() if kind == _BINARY else sizes[kind])

    def _list(self, depth: int) -> list[Any]:
        head = self._byte()
        length = head >> 4
        length = self._varint() if length == 15 else length
        return [self._value(head & 15, depth) for _ in range(length)]

    def _map(self, depth: int) -> None:
        length = self._varint()
        kinds = self._byte() if length else 0
        for _ in range(length):
            self._value(kinds >> 4, depth)
            self._value(kinds & 15, depth)

    def _whole(self) -> int:
        number = self._varint()
        return (number >> 1) ^ -(number & 1)

    def _varint(self) -> int:
        number = shift = 0
        while True:
            byte = self._byte()
            number |= (byte & 127) << shift
            shift += 7
            if byte < 128:
                return number
            if shift > 63:
                raise ValueError("its footer holds a number of more than 64 bits")

    def _byte(self) -> int:
        return self._bytes(1)[0]

    def _bytes(self, length: int) -> bytes:
        part = self._content[self._at : self._at + length]
        if len(part) < length:
            raise ValueError("its footer is cut off")
        self._at += length
        return part
