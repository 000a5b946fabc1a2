"""The table of a built source's raw episodes: what the build recorded, and what the index has."""

import polars as pl

from vita_data.shards.episodes import read_episodes
from vita_data.shards.index import open_source, read_card, source_name
from vita_data.storage.files import AnyPath
from vita_data.types import Split

COLUMNS = (
    "source", "id", "outcome", "reason", "detail", "split", "suite", "task", "text", "length_s", "hz", "num_steps",
    "num_clips", "num_frames", "modality", "embodiment", "release", "part", "clip", "shard",
)  # fmt: skip
"""Columns of the table, in this order."""

_INDEX = ("episode", "suite", "task", "instruction", "hz", "num_steps")


def episode_table(folder: AnyPath) -> pl.DataFrame:
    """Make the table: one row for each raw episode, in the order of the raw data.

    Texts are never null: an absent one is empty. An episode that was not stored has no rate and a length of 0.

    Raises:
        ManifestError: the source has not been built in the folder.
        ShardError: the list of episodes or an index is missing or damaged.
    """
    rows = pl.DataFrame(read_episodes(folder))
    joined = rows.join(_stored(folder), on="id", how="left", maintain_order="left")
    return joined.with_columns(
        pl.lit(source_name(read_card(folder))).alias("source"),
        pl.col("suite", "task", "text").fill_null(""),
        pl.col("length_s").fill_null(0.0),
    ).select(COLUMNS)


def _stored(folder: AnyPath) -> pl.DataFrame:
    """Return what the indexes know about each stored episode; a long one has several clips."""
    clips = pl.concat([pl.DataFrame(open_source(folder, split).table.select(_INDEX)) for split in Split])
    first = pl.col("suite", "task", "hz").first()
    length_s = (pl.col("num_steps") / pl.col("hz")).sum().round(3).alias("length_s")
    text = pl.col("instruction").first().alias("text")
    return clips.group_by(pl.col("episode").alias("id"), maintain_order=True).agg(first, text, length_s)
