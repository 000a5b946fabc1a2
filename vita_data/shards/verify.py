"""Checks every byte of a built source: shards, indexes, card, tables, and all of them against one another."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from isal.isal_zlib import crc32

from vita_data.command.progress import SILENT, Progress
from vita_data.errors import ShardError
from vita_data.shards.clip_fields import CLIP_JSON, parse_clip
from vita_data.shards.index import card_shards, invalid_content, member_refs, read_card, source_name
from vita_data.shards.index_file import open_index
from vita_data.shards.schema import ACTION_NPY, STATE_NPY, MemberRef, clip_from_members, index_row
from vita_data.shards.sums import SUM
from vita_data.shards.tar import END, header
from vita_data.shards.verify_files import file_faults, file_sha256, no_sum, record_faults, strays
from vita_data.shards.verify_tables import clip_columns, table_faults
from vita_data.storage.files import AnyPath, storage_errors
from vita_data.types import Json, Split, Track

_ROWS_AT_ONCE = 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class VerifyReport:
    """What was checked and what is wrong; each problem names shard, clip and member."""

    source: str
    num_shards: int
    num_clips: int
    num_members: int
    problems: tuple[str, ...]
    notes: tuple[str, ...]
    """What could not be checked although nothing is wrong."""


def verify(folder: AnyPath, progress: Progress = SILENT) -> VerifyReport:
    """Check all shards that a source's card lists; progress counts bytes, each of which is read twice.

    Raises:
        ManifestError: the source has not been built in the folder.
        StorageError: an object store does not answer or denies access.
    """
    with storage_errors(folder):
        return _verify(folder, progress)


def _verify(folder: AnyPath, progress: Progress) -> VerifyReport:
    card = read_card(folder)
    progress.start(2 * sum(int(str(entry["num_bytes"])) for split in Split for entry in card_shards(card, split)))
    problems: list[str] = []
    checked: list[_Checked] = []
    for split in Split:
        listed = card_shards(card, split)
        for entry in listed:
            checked.append(_Checked(folder / split / str(entry["name"]), progress))
            problems += checked[-1].run(entry)
        problems += strays(folder, split, [str(entry["name"]) for entry in listed])
    lost = list(file_faults(folder, card))
    problems += [*lost, *record_faults(folder)]
    clips = [one.clips for one in checked if one.clips is not None]
    if not lost and len(clips) == len(checked):
        problems += table_faults(folder, card, clips)
    return VerifyReport(
        source=source_name(card),
        num_shards=len(checked),
        num_clips=sum(one.num_clips for one in checked),
        num_members=sum(one.num_members for one in checked),
        problems=tuple(problems),
        notes=() if SUM in card else (no_sum(folder),),
    )


@dataclass(slots=True)
class _Checked:
    shard: AnyPath
    progress: Progress
    num_clips: int = 0
    num_members: int = 0
    num_bytes: int = 0
    clips: pa.Table | None = None
    """What the index says of each clip, for the comparison with the list of episodes; None if it is damaged."""

    def run(self, entry: Json) -> list[str]:
        index = self.shard.with_suffix(".arrow")
        for path in (self.shard, index):
            if not path.exists():
                return [f"shard {path}: listed in the card but missing"]
        problems: list[str] = []
        try:
            table = open_index(index, sha256=str(entry["index_sha256"]))
        except ShardError as error:
            return [str(error)]
        self.num_clips, self.clips = table.num_rows, clip_columns(table, shard=self.shard.name)
        if self.num_clips != entry["num_clips"]:
            problems.append(
                f"index {index}: expected {entry['num_clips']} clips as in the card, found {self.num_clips}"
            )
        batches = table.to_batches(max_chunksize=_ROWS_AT_ONCE)
        problems += self._walk(row for batch in batches for row in batch.to_pylist())
        if not problems and self.num_bytes != entry["num_bytes"]:
            problems.append(
                f"shard {self.shard}: expected {entry['num_bytes']} bytes as in the card, found {self.num_bytes}"
            )
        if not problems and file_sha256(self.shard, self.progress) != entry["sha256"]:
            problems.append(f"shard {self.shard}: does not match the card's sha256")
        return problems

    def _walk(self, rows: Iterable[Json]) -> list[str]:
        """Follow the layout of the index, so that any damaged byte is reported with its clip and member."""
        problems: list[str] = []
        end = 0
        with self.shard.open("rb") as file:
            for row in rows:
                members: dict[str, bytes] = {}
                start = end
                for name, ref in sorted(member_refs(row).items(), key=lambda item: item[1].offset):
                    where = f"shard {self.shard}, clip {row['key']}, member {name}"
                    wanted = _header(f"{row['key']}.{name}", ref.size)
                    file.seek(max(ref.offset - 512, 0))
                    block = file.read(512 + ref.size + (-ref.size % 512))
                    problems += [f"{where}: {fault}" for fault in _member_faults(block, wanted, ref, start=end)]
                    if not problems:
                        members[name] = block[512 : 512 + ref.size]
                    end, self.num_members = ref.offset + ref.size + (-ref.size % 512), self.num_members + 1
                self.progress.update(end - start, f"{self.shard.name}, {len(problems)} problems")
                if not problems:
                    problems += self._clip_problems(row, members)
            file.seek(end)
            self.num_bytes = end + len(END)
            if file.read(len(END) + 1) != END:
                problems.append(f"shard {self.shard}: does not end where its index ends")
            self.progress.update(len(END), f"{self.shard.name}, {len(problems)} problems")
        return problems

    def _clip_problems(self, row: Json, members: Mapping[str, bytes]) -> list[str]:
        where = f"shard {self.shard}, clip {row['key']}"
        try:
            with invalid_content(where):
                return [f"{where}, {fault}" for fault in clip_faults(row, members)]
        except ShardError as error:
            return [str(error)]


def _header(name: str, size: int) -> bytes:
    """Make the header that a member must have; empty if no tar can have the member."""
    try:
        return header(name, size)
    except ValueError:
        return b""


def _member_faults(block: bytes, wanted: bytes, ref: MemberRef, *, start: int) -> Iterator[str]:
    if ref.offset - 512 != start:
        yield f"is at byte {ref.offset}, expected {start + 512}"
    if block[:512] != wanted:
        yield "tar header is damaged"
    if crc32(block[512 : 512 + ref.size]) != ref.crc32:
        yield f"{ref.size} bytes at {ref.offset} do not match crc32"
    elif any(block[512 + ref.size :]):
        yield "padding is damaged"


def clip_faults(row: Json, members: Mapping[str, bytes]) -> Iterator[str]:
    """Compare a clip's members with its metadata and the schema; yields `member NAME: fault`."""
    clip = clip_from_members(str(row["key"]), members)  # raises what readers would meet
    meta = parse_clip(members[CLIP_JSON])
    refs = member_refs(row)
    if index_row(str(row["key"]), meta, refs) != row:
        yield f"member {CLIP_JSON}: differs from the index"
    for name, track in ((ACTION_NPY, None if clip.action is None else clip.action.track), (STATE_NPY, clip.state)):
        if (name in members) != (track is not None):
            yield f"member {name}: present in only one of tar and {CLIP_JSON}"
        elif track is not None:
            yield from (f"member {name}: {fault}" for fault in _vector_faults(track))


def _vector_faults(track: Track) -> Iterator[str]:
    if not np.isfinite(track.values).all():
        yield "contains values that are not finite"
    elif np.any(track.values[:, ~track.mask]):
        yield "a masked column is not zero"
