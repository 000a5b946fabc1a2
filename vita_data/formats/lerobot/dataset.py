"""The rows and videos of LeRobot episodes of format v2: one parquet table per episode and one video per camera.

Source: huggingface/lerobot, datasets of codebase_version v2.0 and v2.1. The source interprets the columns.
"""

from dataclasses import replace

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from vita_data.errors import EpisodeError, raise_machine_fault
from vita_data.formats.lerobot.meta import INFO_FILE, LeRobotEpisode
from vita_data.formats.raw_tree.file_head import unreadable
from vita_data.formats.video.stream import VideoStream, scan_video
from vita_data.types import Float64, RawTree


def read_table(raw: RawTree, episode: LeRobotEpisode) -> pa.Table:
    """Read the rows of one episode.

    Raises:
        EpisodeError: its line in the description is invalid, or the file is missing, damaged, or has a different number
            of rows than described.
    """
    if episode.fault:
        raise EpisodeError(episode.fault)
    if not raw.exists(episode.table):
        raise EpisodeError(f"{episode.table}: listed in meta/episodes.jsonl but missing; fetch the whole dataset")
    try:
        table = pq.read_table(raw.local_path(episode.table))
    except (OSError, pa.ArrowException) as error:
        raise_machine_fault(error, episode.table)
        what = unreadable(
            raw.local_path(episode.table), name=episode.table, reason="the file is damaged", own={"parquet"}
        )
        raise EpisodeError(f"{episode.table}: cannot be read {what}") from error
    if table.num_rows != episode.num_steps:
        raise EpisodeError(
            f"{episode.table}: expected {episode.num_steps} rows as in meta/episodes.jsonl, found {table.num_rows}"
        )
    return table


def read_column(table: pa.Table, key: str, *, width: int, name: str) -> Float64:
    """Take a numeric column as [T, width]; a column of plain numbers has width 1.

    Raises:
        EpisodeError: the column is missing, not numeric or has another width.
    """
    if key not in table.column_names:
        raise EpisodeError(f"{name}: column {key!r} not found; the table has {', '.join(table.column_names)}")
    try:
        values = np.array(table[key].to_pylist(), np.float64).reshape(table.num_rows, -1)
    except (TypeError, ValueError) as error:
        raise EpisodeError(f"{name}: column {key!r} is {table.schema.field(key).type}, expected [{width}]") from error
    if values.shape[1] != width:
        raise EpisodeError(f"{name}: column {key!r} has {values.shape[1]} values a row, expected {width}")
    return values


def open_camera(raw: RawTree, episode: LeRobotEpisode, key: str) -> VideoStream:
    """Open the video of one camera; frame t in presentation order belongs to row t.

    Raises:
        EpisodeError: the camera or file does not exist, or its number of frames differs from the number of rows.
    """
    name = episode.videos.get(key)
    if name is None:
        raise EpisodeError(
            f"{episode.table}: video of {key!r} not found; the episode has {', '.join(episode.videos) or 'none'}"
        )
    if not raw.exists(name):
        raise EpisodeError(
            f"{name}: the video of {key!r} is listed in {INFO_FILE} but missing; fetch the whole dataset"
        )
    local = raw.local_path(name)
    info = scan_video(local, name=name)
    if info.num_shown != episode.num_steps:
        raise EpisodeError(f"{name}: the video has {info.num_shown} frames for {episode.num_steps} rows")
    rows = np.arange(info.num_shown)
    return VideoStream(local, info=replace(info, step_index=rows, frame_index=rows), name=name)
