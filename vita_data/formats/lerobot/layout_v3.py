"""What every LeRobot dataset of format v3.0 has: its paths, its own columns, its list of tasks."""

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

DATA_PATH = "data/chunk-{chunk_index:03d}/file-{file_index:03d}.parquet"
VIDEO_PATH = "videos/{video_key}/chunk-{chunk_index:03d}/file-{file_index:03d}.mp4"
OWN = {"timestamp": "float32", "frame_index": "int64", "episode_index": "int64", "index": "int64",
       "task_index": "int64"}  # fmt: skip
"""The columns that every dataset has, and their types."""


def numbering(num_rows: int, *, fps: float, episode: int, first_row: int, task: int) -> dict[str, np.ndarray]:
    """Return the values [T] of the columns in `OWN` for one episode."""
    rows = np.arange(num_rows)
    return {
        "timestamp": (rows / fps).astype(np.float32),
        "frame_index": rows,
        "episode_index": np.full(num_rows, episode),
        "index": first_row + rows,
        "task_index": np.full(num_rows, task),
    }


def write_tasks(path: Path, texts: Sequence[str]) -> None:
    """Write the texts as the index of a pandas frame: without pandas' own metadata they would be read as a column."""
    index = "__index_level_0__"
    fields = [
        {"name": None, "field_name": index, "pandas_type": "unicode", "numpy_type": "object", "metadata": None},
        {"name": "task_index", "field_name": "task_index", "pandas_type": "int64", "numpy_type": "int64",
         "metadata": None},
    ]  # fmt: skip
    names = [{"name": None, "field_name": None, "pandas_type": "unicode", "numpy_type": "object", "metadata": None}]
    pandas = {"index_columns": [index], "column_indexes": names, "columns": fields, "pandas_version": "2.0.0"}
    table = pa.table({"task_index": pa.array(range(len(texts)), pa.int64()), index: pa.array(texts, pa.string())})
    pq.write_table(table.replace_schema_metadata({"pandas": json.dumps(pandas)}), path)
