"""Parquet files of a LeRobot dataset, numbered and cut by size, with the features that `datasets` reads."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from vita_data.types import Json

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
        if self._writer is None:
            path = self._root / self._template.format(chunk_index=place.chunk, file_index=place.file)
            path.parent.mkdir(parents=True, exist_ok=True)
            self._writer = pq.ParquetWriter(path, table.schema, compression="snappy")
        self._writer.write_table(table, row_group_size=max(table.num_rows, 1))
        self._num_bytes += table.nbytes
        return place

    def close(self) -> None:
        """Complete the present file."""
        if self._writer is not None:
            self._writer.close()
            self._writer = None


def data_table(columns: Mapping[str, np.ndarray], features: Mapping[str, Json]) -> pa.Table:
    """Make the table of an episode; vectors of one value are plain numbers, as in lerobot."""
    arrays = {key: _array(np.ascontiguousarray(columns[key])) for key in features}
    described = {key: _described(str(feature["dtype"]), arrays[key].type) for key, feature in features.items()}
    metadata = {FEATURES_KEY: json.dumps({"info": {"features": described}})}
    return pa.table(arrays).replace_schema_metadata(metadata)


def _array(values: np.ndarray) -> pa.Array:
    if values.ndim == 1 or values.shape[1] == 1:
        return pa.array(values.reshape(-1))
    return pa.FixedSizeListArray.from_arrays(pa.array(values.reshape(-1)), values.shape[1])


def _described(dtype: str, kind: pa.DataType) -> Json:
    value = {"dtype": dtype, "_type": "Value"}
    if not pa.types.is_fixed_size_list(kind):
        return value
    return {"feature": value, "length": kind.list_size, "_type": "List"}
