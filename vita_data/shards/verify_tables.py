"""Compares card, indexes and list of episodes with one another: what one of them names, the others must name too."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from vita_data.errors import ShardError
from vita_data.shards.card_fields import MERGED
from vita_data.shards.clip_fields import DEPTH
from vita_data.shards.episodes import EPISODES, read_episodes
from vita_data.shards.index import CARD
from vita_data.storage.files import AnyPath
from vita_data.types import EpisodeOutcome, Json, Split

_KEYS = ("id", "split", "shard", "modality")
_COUNTS = ("num_clips", "num_steps", "num_frames")
_NUM_NAMED = 20
"""How many episodes are named one by one."""


def clip_columns(index: pa.Table, *, shard: str) -> pa.Table:
    """Take from an index what the list of episodes says too, a row for each clip."""
    return pa.table(
        {
            "key": index["key"],
            "id": index["episode"],
            "split": index["split"],
            "shard": pa.array([shard] * index.num_rows, pa.string()),
            "modality": index["modality"],
            "num_clips": pa.array([1] * index.num_rows, pa.int64()),
            "num_steps": index["num_steps"].cast(pa.int64()),
            "num_frames": _num_images(index["frames"]),
        }
    )


def _num_images(frames: pa.ChunkedArray) -> pa.Array:
    """Count the images of each clip; depth is listed among them, but is not an image."""
    lists = frames.combine_chunks()
    is_image = pc.invert(pc.starts_with(pc.struct_field(pc.list_flatten(lists), "camera"), DEPTH))
    rows = pc.list_parent_indices(lists).filter(is_image)
    return pa.array(np.bincount(rows.to_numpy(), minlength=len(lists)), pa.int64())


def table_faults(folder: AnyPath, card: Json, clips: Sequence[pa.Table]) -> Iterator[str]:
    """Compare the card and the clips of all indexes with the list of episodes."""
    path = folder / EPISODES
    again = f"run the same {'merge' if MERGED in card else 'build'} again after removing {folder / CARD}"
    try:
        episodes = read_episodes(folder)
    except (ShardError, OSError) as error:
        yield f"{path}: cannot be read ({error}); {again}"
        return
    stored = episodes.filter(pc.equal(episodes["outcome"], str(EpisodeOutcome.OK)))
    found = [*_clip_faults(stored, clips, path), *_card_faults(episodes, stored, card)]
    yield from (f"{fault}; {again}" for fault in found)


def _clip_faults(stored: pa.Table, clips: Sequence[pa.Table], path: AnyPath) -> Iterator[str]:
    """Compare the stored episodes of the list with those of the indexes, both ways."""
    held = pa.concat_tables(clips) if clips else None
    keys = pa.array([], pa.string()) if held is None else held["key"].combine_chunks()
    unknown = stored.filter(pc.invert(pc.is_in(stored["clip"], value_set=keys)))
    yield from _named(
        f"{path}: episode {row['id']!r} has clip {row['clip']!r}, which is in no index" for row in _rows(unknown)
    )
    yield from _named(_differences(_totals(stored), {} if held is None else _totals(held), path))


def _differences(
    listed: Mapping[tuple[str, ...], tuple[int, ...]], held: Mapping[tuple[str, ...], tuple[int, ...]], path: AnyPath
) -> Iterator[str]:
    for key in sorted(listed.keys() | held.keys()):
        if listed.get(key) != held.get(key):
            id_, split, shard, modality = key
            where = f"episode {id_!r} ({modality}, {split}/{shard})"
            yield f"{path}: {where} has {_told(listed.get(key))}, but {_told(held.get(key))} in the index"


def _told(counts: tuple[int, ...] | None) -> str:
    return "no row" if counts is None else "{} clips, {} steps and {} images".format(*counts)


def _totals(table: pa.Table) -> Mapping[tuple[str, ...], tuple[int, ...]]:
    """Add the counts of each episode."""
    grouped = table.group_by(list(_KEYS)).aggregate([(name, "sum") for name in _COUNTS])
    keys = zip(*(grouped[name].to_pylist() for name in _KEYS), strict=True)
    counts = zip(*(grouped[f"{name}_sum"].to_pylist() for name in _COUNTS), strict=True)
    return dict(zip(keys, counts, strict=True))


def _card_faults(episodes: pa.Table, stored: pa.Table, card: Json) -> Iterator[str]:
    """Compare the card's counts with the list of episodes."""
    wanted: Mapping[str, object] = {
        "outcomes": Counter(episodes["outcome"].to_pylist()),
        "drops": Counter(filter(None, episodes["reason"].to_pylist())),
        "release": sorted(set(filter(None, episodes["release"].to_pylist()))),
        "embodiment": sorted(set(filter(None, episodes["embodiment"].to_pylist()))),
        "counts": {str(split): _held(stored.filter(pc.equal(stored["split"], str(split)))) for split in Split},
    }
    for name, value in wanted.items():
        if card[name] != value:
            told = dict(value) if isinstance(value, Counter) else value
            yield f"{CARD}: has {name} {card[name]}, expected {told} as in {EPISODES}"


def _held(rows: pa.Table) -> Mapping[str, Mapping[str, int]]:
    """Count the episodes of a split by modality, as the card does."""
    sums = [(name, "sum") for name in _COUNTS]
    grouped = rows.group_by("modality").aggregate([("id", "count"), *sums])
    return {
        row["modality"]: {
            "episodes": row["id_count"],
            "clips": row["num_clips_sum"],
            "steps": row["num_steps_sum"],
            "frames": row["num_frames_sum"],
        }
        for row in grouped.to_pylist()
    }


def _rows(table: pa.Table) -> Iterator[Json]:
    yield from table.slice(0, _NUM_NAMED + 1).to_pylist()


def _named(faults: Iterator[str]) -> Iterator[str]:
    """Yield the first faults of a kind; a damaged list would give one for each episode."""
    for number, fault in enumerate(faults):
        if number == _NUM_NAMED:
            yield f"{EPISODES}: more episodes differ in the same way"
            return
        yield fault
