"""Reads what a Parquet file says of its columns, from its footer.

pyarrow tells it too, but ends the process if the statistics of a column are damaged. Sources: the Thrift compact
protocol, and `parquet.thrift` of the Apache Parquet format.
"""

import struct
from dataclasses import dataclass
from typing import Any

_MAX_BYTES = 1 << 22
"""A footer of ten million episodes has about 50,000."""
_MAX_DEPTH = 16
"""A footer has seven levels."""
_GROUPS, _COLUMNS, _ABOUT_COLUMN, _NUM_ROWS, _CODEC, _NUM_VALUES = 4, 1, 3, 3, 4, 5
"""Numbers of the fields of `FileMetaData`, `RowGroup`, `ColumnChunk` and `ColumnMetaData`."""
UNCOMPRESSED, SNAPPY = 0, 1


@dataclass(frozen=True, slots=True)
class ColumnPart:
    """The values of one column in one group of rows."""

    codec: int
    num_values: int
    num_rows: int
    """Rows of the group."""


def column_parts(data: bytes) -> list[ColumnPart]:
    """Return the parts of all columns of a file.

    Raises:
        ValueError: it is not a Parquet file.
    """
    try:
        size = int(struct.unpack("<I4s", data[-8:])[0])
        if size > _MAX_BYTES:
            raise ValueError(f"the footer of a Parquet file has {size} bytes, expected at most {_MAX_BYTES}")
        footer = _Compact(data[len(data) - 8 - size : -8]).struct()
        return [
            ColumnPart(about[_CODEC], about[_NUM_VALUES], group[_NUM_ROWS])
            for group in footer[_GROUPS]
            for about in (column[_ABOUT_COLUMN] for column in group[_COLUMNS])
        ]
    except (struct.error, LookupError, TypeError) as error:
        raise ValueError(f"the footer of a Parquet file cannot be read ({error!r:.80})") from error


class _Compact:
    """Values of the Thrift compact protocol, one after another."""

    def __init__(self, data: bytes) -> None:
        self._data, self._at, self._depth = data, 0, 0

    def struct(self) -> dict[int, Any]:
        """Return the fields of a struct by number."""
        self._depth += 1
        if self._depth > _MAX_DEPTH:
            raise ValueError(f"the footer of a Parquet file is nested more than {_MAX_DEPTH} levels deep")
        fields: dict[int, Any] = {}
        number = 0
        while head := self._byte():
            number = number + (head >> 4) if head >> 4 else self._signed()
            fields[number] = head & 15 == 1 if head & 15 in (1, 2) else self._value(head & 15)
        self._depth -= 1
        return fields

    def _value(self, kind: int) -> Any:
        match kind:
            case 1 | 2 | 3:
                return self._byte()
            case 4 | 5 | 6:
                return self._signed()
            case 7:
                return self._bytes(8)
            case 8:
                return self._bytes(self._unsigned())
            case 9 | 10:
                head = self._byte()
                count = self._unsigned() if head >> 4 == 15 else head >> 4
                return [self._value(head & 15) for _ in range(count)]
            case 12:
                return self.struct()
        raise ValueError(f"the footer of a Parquet file holds a value of unknown kind {kind}")

    def _byte(self) -> int:
        self._at += 1
        return self._data[self._at - 1]

    def _bytes(self, size: int) -> bytes:
        self._at += size
        if self._at > len(self._data):
            raise IndexError("the footer ends early")
        return self._data[self._at - size : self._at]

    def _unsigned(self) -> int:
        number = shift = 0
        while True:
            byte = self._byte()
            number |= (byte & 127) << shift
            if byte < 128:
                return number
            if (shift := shift + 7) > 63:
                raise ValueError("the footer of a Parquet file holds a number of more than 64 bits")

    def _signed(self) -> int:
        number = self._unsigned()
        return (number >> 1) ^ -(number & 1)
