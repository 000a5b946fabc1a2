"""Merges built sources; a merge that was killed goes on where it stopped."""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from vita_data.command.progress import SILENT, Progress
from vita_data.errors import RequestError, ShardError
from vita_data.merge.card import MergedShard, merge_plan, merged_card, merged_episodes, merged_shards
from vita_data.merge.inputs import Input, open_inputs
from vita_data.merge.place import Placed, place
from vita_data.shards.card_fields import MERGED, SUMS
from vita_data.shards.episodes import EPISODES
from vita_data.shards.index import (
    CARD,
    MERGE,
    RECORDS,
    card_bytes,
    card_shards,
    index_of,
    is_built,
    read_card,
)
from vita_data.shards.schema import json_bytes
from vita_data.shards.stats import STATS, compute_stats, stats_bytes
from vita_data.shards.sums import parse_summed, with_sum
from vita_data.storage.files import (
    AnyPath,
    list_files,
    make_folder,
    read_notes,
    remove_abandoned,
    storage_errors,
    write_atomically,
)
from vita_data.storage.lock import LOCK, keep_others_out
from vita_data.types import Json, Split


@dataclass(frozen=True, slots=True, kw_only=True)
class MergeResult:
    """What a merge did."""

    folder: str
    num_shards: int
    num_linked: int
    """Files that share their bytes with an input."""
    num_copied: int
    num_kept: int
    """Files that an earlier run had placed."""
    card: Json
    is_new: bool
    """False if the merge was already complete."""


_PLAN, _KEPT = "plan.json", "kept"


def merge(folders: Sequence[AnyPath], out: AnyPath, name: str, progress: Progress = SILENT) -> MergeResult:
    """Make OUT/NAME of several built sources; progress counts shards.

    Raises:
        ManifestError: a folder is not a built source.
        RequestError: the sources cannot be one, or OUT/NAME is something else.
        ShardError: an input is damaged.
        StorageError: a disk or store is full or cannot be reached.
    """
    folder = out / name
    inputs = open_inputs(folders)
    if any(_is_same(folder, one.folder) for one in inputs):
        raise RequestError(f"{folder} is one of the sources to merge; give another --name or --out")
    shards = merged_shards(inputs, name)
    with storage_errors(folder):
        if _is_done(folder, inputs):
            return _result(folder, shards, {}, read_card(folder))
        with _held(folder):
            write_atomically(folder / MERGE / _PLAN, json_bytes(with_sum(merge_plan(inputs))))
            counts = _place_all(folder, shards, progress)
            card = _finish(folder, inputs, shards, name)
    return _result(folder, shards, counts, card, is_new=True)


def _result(
    folder: AnyPath, shards: Sequence[MergedShard], counts: Mapping[str, int], card: Json, *, is_new: bool = False
) -> MergeResult:
    return MergeResult(
        folder=str(folder),
        num_shards=len(shards),
        num_linked=counts.get(Placed.LINKED, 0),
        num_copied=counts.get(Placed.COPIED, 0),
        num_kept=counts.get(_KEPT, 2 * len(shards)),
        card=card,
        is_new=is_new,
    )


def _is_same(one: AnyPath, other: AnyPath) -> bool:
    local = isinstance(one, Path) and isinstance(other, Path)
    return one.resolve() == other.resolve() if local else one == other


@contextmanager
def _held(folder: AnyPath) -> Iterator[None]:
    """Keep a second merge out of a local folder."""
    make_folder(folder / MERGE)
    if not isinstance(folder, Path):
        yield
        return
    with (folder / MERGE / LOCK).open("a") as file:
        keep_others_out(file, f"{folder}: another process is merging into it; wait until it ends")
        yield


def _is_done(folder: AnyPath, inputs: Sequence[Input]) -> bool:
    """Tell whether the folder is this merge, complete.

    Raises:
        RequestError: it is a build, or another merge.
    """
    plan = merge_plan(inputs)
    if is_built(folder):
        merged = read_card(folder).get(MERGED)
        if merged == plan[MERGED]:
            return True
        what = "was built from raw data" if merged is None else "was merged from other sources, or these have changed"
        raise RequestError(f"{folder} {what}; remove it, or give another --name or --out")
    if list_files(folder / RECORDS):
        raise RequestError(f"{folder} is a build that is not finished; give another --name or --out")
    if _PLAN in list_files(folder / MERGE) and not _is_plan(read_notes([folder / MERGE / _PLAN])[0], plan):
        raise RequestError(
            f"{folder} is an unfinished merge of other sources, or these or its plan have changed; remove it, or give "
            "another --name or --out"
        )
    return False


def _is_plan(data: bytes, plan: Json) -> bool:
    try:
        return parse_summed(data) == with_sum(plan)
    except ValueError:
        return False


def _place_all(folder: AnyPath, shards: Sequence[MergedShard], progress: Progress) -> dict[str, int]:
    """Place the shards and their indexes that are not there yet; count how."""
    counts = dict.fromkeys([*Placed, _KEPT], 0)
    for split in Split:
        make_folder(folder / split)
        if isinstance(folder, Path):
            for stray in (folder / split).glob(".*.tmp"):
                remove_abandoned(stray)
    there = {split: list_files(folder / split) for split in Split}
    progress.start(len(shards))
    for shard in shards:
        source = shard.input.folder / shard.split / str(shard.entry["name"])
        for path, sum_ in ((source, "sha256"), (source.with_suffix(".arrow"), "index_sha256")):
            target = folder / shard.split / Path(shard.name).with_suffix(path.suffix).name
            if target.name in there[shard.split]:
                counts[_KEPT] += 1
            else:
                counts[place(path, target, sha256=str(shard.entry[sum_]))] += 1
        progress.update(note=shard.name)
    return counts


def _finish(folder: AnyPath, inputs: Sequence[Input], shards: Sequence[MergedShard], name: str) -> Json:
    """Check what was placed, write episodes, statistics and, last, the card."""
    card = merged_card(inputs, shards, name)
    train, val = (index_of(folder, split, card_shards(card, split), source=name) for split in (Split.TRAIN, Split.VAL))
    _check_sizes(folder, shards)
    _ = val.tables  # opening compares checksums; the statistics open the others
    files = {EPISODES: merged_episodes(inputs, shards), STATS: stats_bytes(compute_stats(train))}
    for file, data in files.items():
        write_atomically(folder / file, data)
    # As in a build, the card makes the folder a built source, so it is written last.
    sealed = with_sum({**card, SUMS: {file: hashlib.sha256(data).hexdigest() for file, data in files.items()}})
    write_atomically(folder / CARD, card_bytes(sealed))
    return sealed


def _check_sizes(folder: AnyPath, shards: Sequence[MergedShard]) -> None:
    there = {split: list_files(folder / split) for split in Split}
    for shard in shards:
        found, wanted = there[shard.split][shard.name].num_bytes, shard.entry["num_bytes"]
        if found != wanted:
            source = shard.input.folder
            raise ShardError(
                f"shard {source / shard.split / str(shard.entry['name'])}: expected {wanted} bytes as in the card, "
                f"found {found}; run `vita-data verify {source}`"
            )
