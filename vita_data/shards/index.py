"""The index of a source's shards: memory-mapped Arrow files listed by the source's card."""

import hashlib
import json
from bisect import bisect_right
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import pyarrow as pa

from vita_data.action_convention import Convention
from vita_data.errors import ManifestError, ShardError
from vita_data.nearby import meant, near_name
from vita_data.shards.card_fields import SUMS, card_fault, resize_of
from vita_data.shards.clip_fields import CLIP_JSON, parse_clip
from vita_data.shards.index_file import open_index
from vita_data.shards.reader import ShardFiles
from vita_data.shards.schema import INDEX_SCHEMA, MemberRef, clip_from_members, frame_name, index_row, require_image
from vita_data.shards.sums import parse_summed, with_sum
from vita_data.shards.tar import walk
from vita_data.storage.files import AnyPath, is_empty, list_files, read_files, storage_errors
from vita_data.types import Clip, Json, ResizeMode, Split

CARD = "dataset.json"
RECORDS = ".build"
"""Folder where a build stores its plan and its units' records."""
MERGE = ".merge"
"""Folder where a merge stores what it merges."""
INVALID = (ValueError, LookupError, TypeError, AttributeError, ArithmeticError, RecursionError)
"""Exceptions of content that somebody stored with a right checksum, but not in the shard format."""
_OPENERS, _STORE_OPENERS = 8, 32
"""Number of indexes opened in parallel, on a disk or mount and in a store."""


def read_card(folder: AnyPath) -> Json:
    """Read a built source's card.

    Raises:
        ManifestError: the source has not been built in the folder, or its build is not finished.
        ShardError: the card is damaged, or of another version.
        StorageError: the card cannot be opened, which says nothing about its content.
    """
    try:
        with storage_errors(folder / CARD):
            data = read_files([folder / CARD])[0]
    except FileNotFoundError:
        raise ManifestError(f"{folder}: {CARD} is missing; {_remedy(folder)}") from None
    try:
        card = parse_summed(data)
    except ValueError as error:
        raise _damaged(folder, str(error)) from error
    if fault := card_fault(card):
        raise _damaged(folder, fault)
    return card


def _damaged(folder: AnyPath, found: str) -> ShardError:
    if list_files(folder / RECORDS):
        remedy = "remove it and run the same build again, which writes it anew"
    elif list_files(folder / MERGE):
        remedy = "remove it and run the same merge again, which writes it anew"
    else:
        remedy = f"copy {folder} again from where it was built"
    return ShardError(f"{folder / CARD}: expected a card of this version, got {found}; {remedy}")


def is_built(folder: AnyPath) -> bool:
    """Tell whether a folder is a built source."""
    return (folder / CARD).exists()


def sources_in(folder: AnyPath) -> list[str]:
    """List the built sources of a folder that `vita-data build --out` wrote to, sorted."""
    with storage_errors(folder):
        return sorted(card.parent.name for card in folder.glob(f"*/{CARD}"))


def unfinished_in(folder: AnyPath) -> list[str]:
    """List the sources of a folder whose build or merge is not finished, sorted."""
    with storage_errors(folder):
        begun = {path.parent.name for name in (RECORDS, MERGE) for path in folder.glob(f"*/{name}")}
    return sorted(begun - set(sources_in(folder)))


def closed_in(folder: AnyPath) -> list[Path]:
    """List the subfolders of a local folder that this user may not enter: they may be built sources."""
    if not isinstance(folder, Path):
        return []
    return sorted(one for one in folder.iterdir() if one.is_dir() and not _may_enter(one))


def _may_enter(folder: Path) -> bool:
    try:
        (folder / CARD).exists()
    except PermissionError:
        return False
    return True


def meant_shards(folder: AnyPath) -> str:
    """Suggest a nearby folder with built sources, if this one is itself a built source or contains none."""
    return meant(folder, lambda one: bool(sources_in(one)))


def _remedy(folder: AnyPath) -> str:
    if list_files(folder / RECORDS):
        return "its build is not finished; run the same `vita-data build` again; it resumes"
    if list_files(folder / MERGE):
        return "its merge is not finished; run the same `vita-data merge` again; it resumes"
    if within := sources_in(folder):
        return f"it contains built sources: {', '.join(within)}; give one of them, such as {folder / within[0]}"
    if hint := meant(folder, is_built):
        return f"it is inside a built source{hint}"
    if not is_empty(folder):
        return f"this is not a built source (a build writes OUT/NAME, which contains {CARD})"
    build = f"run `vita-data build --source {folder.name or 'NAME'} --raw RAW --out {folder.parent}`"
    near = near_name(folder).removeprefix("; ")
    return f"{near} Otherwise {build}" if near else build


def source_name(card: Json) -> str:
    """Return the source of a card; the folder may have another name."""
    return str(card["source"])


@dataclass(frozen=True)
class SourceIndex:
    """All clips of one source and split; row i of `table` is in `shards[shard_of(i)]`."""

    source: str
    split: Split
    shards: tuple[AnyPath, ...]
    index_sums: tuple[str, ...]
    digest: str
    """sha256 over the shards' names and checksums; it changes with the data."""
    resize: ResizeMode = ResizeMode.PLAIN
    """How the images were made square; other images shown with them are treated the same way."""

    @cached_property
    def tables(self) -> tuple[pa.Table, ...]:
        """One memory-mapped table per shard (columns: schema.INDEX_SCHEMA).

        Raises:
            ShardError: an index is missing or does not match its checksum.
        """
        if not self.shards:
            return ()
        # Hashing and reading release the GIL, and a network mount or store answers many requests at once.
        paths = [shard.with_suffix(".arrow") for shard in self.shards]
        most = _OPENERS if isinstance(paths[0], Path) else _STORE_OPENERS
        with ThreadPoolExecutor(min(len(paths), most), thread_name_prefix="vita-index") as openers:
            return tuple(openers.map(lambda path, sha256: open_index(path, sha256=sha256), paths, self.index_sums))

    @cached_property
    def table(self) -> pa.Table:
        """The concatenated tables of the shards, without a copy."""
        return pa.concat_tables(self.tables) if self.shards else INDEX_SCHEMA.empty_table()

    @cached_property
    def first_rows(self) -> list[int]:
        """The first row of each shard in `table`."""
        rows = [0]
        for table in self.tables[:-1]:
            rows.append(rows[-1] + table.num_rows)
        return rows if self.shards else []

    def place(self, number: int) -> tuple[AnyPath, Json]:
        """Return the shard of the clip with this number, and its row of the index."""
        shard = bisect_right(self.first_rows, number) - 1
        return self.shards[shard], self.table.slice(number, 1).to_pylist()[0]


def open_source(folder: AnyPath, split: Split) -> SourceIndex:
    """Open the shards that a source's card lists for a split.

    Raises:
        ManifestError: the source has not been built in the folder.
        ShardError: the card is damaged, or a listed shard or index is missing.
    """
    card = read_card(folder)
    listed, source = card_shards(card, split), source_name(card)
    return replace(index_of(folder, split, listed, source=source), resize=resize_of(card))


def index_of(folder: AnyPath, split: Split, listed: Sequence[Json], *, source: str) -> SourceIndex:
    """Open the shards of a list from the card.

    Raises:
        ShardError: a listed shard is missing.
    """
    shards = tuple(folder / split / str(entry["name"]) for entry in listed)
    there = list_files(folder / split) if listed else {}
    for shard in shards:
        if shard.name not in there:
            raise ShardError(f"shard {shard}: listed in {folder / CARD} but missing; run the same build again")
    digest = hashlib.sha256("".join(f"{entry['name']} {entry['sha256']}\n" for entry in listed).encode())
    sums = tuple(str(entry["index_sha256"]) for entry in listed)
    return SourceIndex(source, split, shards, sums, digest.hexdigest())


def card_bytes(card: Json) -> bytes:
    """Return the content of dataset.json for a card, with its own sum."""
    return json.dumps(with_sum(card), indent=1, sort_keys=True, allow_nan=False).encode() + b"\n"


def card_sums(card: Json) -> dict[str, str]:
    """Return the sha256 of the files beside the card, by name."""
    sums = card[SUMS]
    return {str(name): str(value) for name, value in sums.items()} if isinstance(sums, Mapping) else {}


def card_shards(card: Json, split: Split) -> list[Json]:
    """Return the shards of a split as listed in the card: name, num_clips, num_bytes, sha256, index_sha256."""
    shards = card["shards"]
    return list(shards[split]) if isinstance(shards, Mapping) else []


def rows_from_tar(shard: AnyPath) -> list[Json]:
    """Rebuild a shard's index rows from only the tar.

    Raises:
        ShardError: the tar is damaged, or the members of a clip are not adjacent.
    """
    rows: list[Json] = []
    seen: set[str] = set()
    refs: dict[str, MemberRef] = {}
    key = ""
    meta: Json = {}
    for member in walk(shard):
        owner, _, name = member.name.partition(".")
        if owner != key:
            if owner in seen:
                raise ShardError(f"shard {shard}, clip {owner}, member {name}: expected adjacent members")
            if refs:
                rows.append(index_row(key, meta, refs))
            key, refs, meta = owner, {}, {}
            seen.add(owner)
        refs[name] = member.ref
        if name == CLIP_JSON:
            meta = parse_clip(member.data)
    if refs:
        rows.append(index_row(key, meta, refs))
    return rows


def read_clip(files: ShardFiles, shard: AnyPath, row: Json, *, with_frames: bool = True) -> Clip:
    """Read a clip and check every member; without frames, read only its metadata and vectors.

    Raises:
        ShardError: a member is damaged.
    """
    key = str(row["key"])
    wanted = row if with_frames else {**row, "frames": []}
    members = files.read_many(shard, member_refs(wanted), clip=key)
    with invalid_content(f"shard {shard}, clip {key}"):
        return clip_from_members(key, members, with_frames=with_frames)


def read_images(files: ShardFiles, shard: AnyPath, row: Json, names: Sequence[str]) -> dict[str, bytes]:
    """Read images of a clip by the names of their members, and check that each may be decoded.

    Raises:
        KeyError: the clip has no such image.
        ShardError: an image is damaged, or of another form.
    """
    key, refs = str(row["key"]), member_refs(row)
    found = files.read_many(shard, {name: refs[name] for name in names}, clip=key)
    with invalid_content(f"shard {shard}, clip {key}"):
        return {name: require_image(name, data) for name, data in found.items()}


def read_convention(files: ShardFiles, shard: AnyPath, ref: MemberRef, *, clip: str) -> Convention | None:
    """Read the constants of a simulator's commands from the metadata of a clip; None if it has none.

    Raises:
        ShardError: the clip is damaged.
    """
    data = files.read(shard, ref, clip=clip, member=CLIP_JSON)
    with invalid_content(f"shard {shard}, clip {clip}"):
        return Convention.of(parse_clip(data)["extras"])


@contextmanager
def invalid_content(where: str) -> Iterator[None]:
    """Name the place of content that is not as the shard format requires, for a `with` block.

    Raises:
        ShardError: the block found such content.
    """
    try:
        yield
    except INVALID as error:
        what = " ".join(repr(error).split())
        raise ShardError(
            f"{where}: the checksum matches, but the content is not that of a clip ({what:.200}): it was stored like "
            "this; build the source again, or get it from whoever built it"
        ) from error


def member_refs(row: Json) -> dict[str, MemberRef]:
    """Return the members listed in an index row, by the name after the key's dot."""
    refs: dict[str, MemberRef] = {}
    for column, name in (("clip", CLIP_JSON), ("action", "action.npy"), ("state", "state.npy")):
        member = row[column]
        if isinstance(member, Mapping):
            refs[name] = MemberRef(member["offset"], member["size"], member["crc32"])
    frames = row["frames"]
    for frame in frames if isinstance(frames, list) else []:
        name = frame_name(frame["camera"], frame["step"])
        refs[name] = MemberRef(frame["offset"], frame["size"], frame["crc32"])
    return refs
