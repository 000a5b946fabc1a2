"""Parquet files of an export, numbered and cut by size."""

from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

CHUNK = 1000
"""Files in a folder, as `info.json` says."""
FEATURES_KEY = b"huggingface"
"""Where the schema of a Parquet file says what `datasets` should read."""


@dataclass(frozen=True, slots=True)
class FilePlace:
    """The numbers of a file: its folder and its place in the folder."""

    chunk: int
    file: int


def next_place(place: FilePlace | None) -> FilePlace:
    """Return the place after another one; the first for None."""
    if place is None:
        return FilePlace(0, 0)
    return FilePlace(place.chunk + 1, 0) if place.file == CHUNK - 1 else FilePlace(place.chunk, place.file + 1)


class TableFiles:
    """Writes tables, each as one row group; `close` completes the last file."""

    def __init__(self, root: Path, template: str, *, max_bytes: float) -> None:
        """Prepare; the first table opens the first file.

        Args:
            root: the dataset's folder.
            template: the path of a file.
            max_bytes: of the values in memory; a file that would hold more ends.
        """
        self._root, self._template, self._max_bytes = root, template, max_bytes
        self._place: FilePlace | None = None
        self._writer: pq.ParquetWriter | None = None
        self._num_bytes = 0

    def place_for(self, num_bytes: int) -> FilePlace:
        """Return the file that the next table belongs to, and end the present one if it is full."""
        if self._place is None or (self._num_bytes and self._num_bytes + num_bytes >= self._max_bytes):
            self.close()
            self._place, self._num_bytes = next_place(self._place), 0
        return self._place

    def write(self, table: pa.Table) -> FilePlace:
        """Write a table of the same columns as the others."""
        place = self.place_for(table.nbytes)
        self.append(table)
        return place

    def append(self, table: pa.Table) -> None:
        """Write a table to the file that `place_for` returned, whatever its size is."""
        place = self.place_for(0)
        if self._writer is None:
            path = self._root / self._template.format(chunk_index=place.chunk, file_index=place.file)
            path.parent.mkdir(parents=True, exist_ok=True)
            self._writer = pq.ParquetWriter(path, table.schema, compression="snappy")
        self._writer.write_table(table, row_group_size=max(table.num_rows, 1))
        self._num_bytes += table.nbytes

    def close(self) -> None:
        """Complete the present file."""
        if self._writer is not None:
            self._writer.close()
            self._writer = None
