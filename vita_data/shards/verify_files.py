"""Compares the files of a built source with its card and with their own sums, both ways."""

import hashlib
from collections.abc import Iterator, Sequence

from vita_data.command.progress import SILENT, Progress
from vita_data.shards.episodes import EPISODES
from vita_data.shards.index import CARD, MERGE, RECORDS, card_sums
from vita_data.shards.stats import STATS
from vita_data.shards.sums import parse_summed
from vita_data.storage.files import MAX_TABLE_BYTES, AnyPath, list_files, read_files, read_notes
from vita_data.types import Json, Split

_ANEW = "remove it and run the same build again"


def strays(folder: AnyPath, split: Split, shards: Sequence[str]) -> list[str]:
    """Describe the files of a split that no shard of the card is or has as its index.

    Hidden names, such as the `._SHARD.tar` files that macOS creates, are not read by anything.
    """
    wanted = {*shards, *(f"{name.removesuffix('.tar')}.arrow" for name in shards)}
    there = sorted(name for name in list_files(folder / split) if not name.startswith("."))
    return [
        f"{folder / split / name}: not listed in the card, so nothing reads it; remove it"
        for name in there
        if name not in wanted
    ]


def file_faults(folder: AnyPath, card: Json) -> Iterator[str]:
    """Compare the files beside the card with its sums."""
    sums, repairs = card_sums(card), {EPISODES: "run the same build again", STATS: f"run `vita-data stats {folder}`"}
    for name, repair in repairs.items():
        if name not in sums:
            yield f"{folder / CARD}: has no sha256 of {name}; {_ANEW}"
        elif not (folder / name).exists() or _table_sha256(folder / name) != sums[name]:
            yield f"{folder / name}: missing, or does not match the card's sha256; {repair}"
    for name in sorted(sums.keys() - repairs.keys()):
        yield f"{folder / CARD}: has a sha256 of {name!r}, which is not a file of a built source; {_ANEW}"


def _table_sha256(path: AnyPath) -> str:
    return hashlib.sha256(read_files([path], max_bytes=MAX_TABLE_BYTES)[0]).hexdigest()


def record_faults(folder: AnyPath) -> Iterator[str]:
    """Compare the plan and the records that a build or merge left with their own sums; clips are read without them."""
    for place in (folder / RECORDS, folder / MERGE):
        names = sorted(name for name in list_files(place) if name.endswith(".json") and not name.startswith("."))
        for name, data in zip(names, read_notes([place / name for name in names]), strict=True):
            try:
                parse_summed(data)
            except ValueError as error:
                yield f"{place / name}: is damaged ({error}); {_record_repair(place, name)}"


def _record_repair(place: AnyPath, name: str) -> str:
    if place.name == MERGE:
        return "remove it, a finished merge does not need it"
    if name.startswith("unit-"):
        return "run the same build again, which builds this unit anew"
    return f"{_ANEW}, which builds all units anew"


def no_sum(folder: AnyPath) -> str:
    """Describe a card without a sum."""
    return (
        f"{folder / CARD}: written by an earlier version, which gave it no sum, so some damage to it cannot be found; "
        f"`vita-data stats {folder}` adds one"
    )


def file_sha256(path: AnyPath, progress: Progress = SILENT) -> str:
    """Return a file's sha256; progress counts bytes."""
    sha256 = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            sha256.update(block)
            progress.update(len(block), f"{path.name}, sha256")
    return sha256.hexdigest()
