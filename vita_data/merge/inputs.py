"""The built sources that are merged, and why some cannot be one source."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc

from vita_data.action_convention import Convention
from vita_data.errors import RequestError
from vita_data.shards.episodes import read_episodes
from vita_data.shards.index import SourceIndex, card_shards, open_source, read_card, read_convention, source_name
from vita_data.shards.reader import ShardFiles
from vita_data.shards.schema import MemberRef
from vita_data.storage.files import AnyPath
from vita_data.types import Json, Split

_FAMILIAR = 3
"""How many episodes are named in a message."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Input:
    """One built source."""

    folder: AnyPath
    name: str
    card: Json
    episodes: pa.Table
    indexes: tuple[SourceIndex, ...]
    """One for each split."""

    @property
    def shards(self) -> Iterator[tuple[Split, Json]]:
        """Yield its shards as its card lists them."""
        return ((split, entry) for split in Split for entry in card_shards(self.card, split))


def open_inputs(folders: Sequence[AnyPath]) -> tuple[Input, ...]:
    """Open the built sources to merge; each index is compared with its checksum.

    Raises:
        ManifestError: a folder is not a built source.
        RequestError: they cannot be one source; the message says why.
        ShardError: a list of episodes, an index or a shard is missing or damaged.
    """
    if len(folders) < 2:
        raise RequestError(f"expected at least two built sources to merge, got {len(folders)}")
    inputs = tuple(_open(folder) for folder in folders)
    _require_same(inputs, "--frames", lambda one: one.card["frames"])
    _require_same(inputs, "--set resize", lambda one: str(one.indexes[0].resize))
    _require_same(inputs, "schema_version", lambda one: one.card["schema_version"])
    _require_same(inputs, "the meaning of a simulator's commands", _convention)
    _require_distinct(inputs, "raw episode", [one.episodes["id"] for one in inputs])
    _require_distinct(inputs, "clip", [_keys(one) for one in inputs])
    return inputs


def _open(folder: AnyPath) -> Input:
    card = read_card(folder)
    return Input(
        folder=folder,
        name=source_name(card),
        card=card,
        episodes=read_episodes(folder),
        indexes=tuple(open_source(folder, split) for split in Split),
    )


def _keys(one: Input) -> pa.ChunkedArray:
    return pa.chunked_array([chunk for index in one.indexes for chunk in index.table["key"].chunks], pa.string())


def _require_same(inputs: Sequence[Input], what: str, fact: Callable[[Input], object]) -> None:
    first = inputs[0]
    for other in inputs[1:]:
        if (was := fact(first)) != (now := fact(other)):
            raise RequestError(
                f"{first.folder} and {other.folder} cannot be one source: {what} is {was} in the first and {now} in "
                "the second; build them alike, or name both in a manifest"
            )


def _convention(one: Input) -> str:
    """Tell what a simulator's commands mean, by the constants of the first clip, which are those of all."""
    for index in one.indexes:
        if index.table.num_rows:
            shard, row = index.place(0)
            ref = row["clip"]
            if isinstance(ref, dict):
                member = MemberRef(ref["offset"], ref["size"], ref["crc32"])
                with closing(ShardFiles()) as files:
                    return _told(read_convention(files, shard, member, clip=str(row["key"])))
    return _told(None)


def _told(found: Convention | None) -> str:
    return "none" if found is None else ", ".join(f"{name}={value}" for name, value in found.as_json().items())


def _require_distinct(inputs: Sequence[Input], what: str, ids: Sequence[pa.ChunkedArray]) -> None:
    seen = ids[0].combine_chunks()
    for number, found in enumerate(ids[1:], start=1):
        twice = found.filter(pc.is_in(found, value_set=seen)).to_pylist()
        if twice:
            before = next(one for one, own in zip(inputs, ids, strict=True) if twice[0] in own.to_pylist())
            shown = ", ".join(repr(id_) for id_ in twice[:_FAMILIAR])
            raise RequestError(
                f"{before.folder} and {inputs[number].folder} both have {len(twice)} {what}s ({shown}): either they "
                "are the same data, or files of two datasets have the same names; then build each with the parent "
                "folder of its files as --raw"
            )
        seen = pa.concat_arrays([seen, *found.chunks])
