"""Checks every byte of every shard of a source against its index, its checksums and the schema."""

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import simplejpeg
from isal.isal_zlib import crc32

from vita_data.command.progress import SILENT, Progress
from vita_data.errors import ShardError
from vita_data.shards.index import card_shards, card_sums, member_refs, open_index, read_card, source_name
from vita_data.shards.schema import ACTION_NPY, CLIP_JSON, DEPTH, STATE_NPY, MemberRef, index_row, npy_array
from vita_data.shards.tar import END, header
from vita_data.slots import ACTION_DIM, STATE_DIM
from vita_data.storage.files import AnyPath, list_files, storage_errors
from vita_data.types import IMAGE_SIZE, Json, Split


@dataclass(frozen=True, slots=True, kw_only=True)
class VerifyReport:
    """What was checked and what is wrong; each problem names shard, clip and member."""

    source: str
    num_shards: int
    num_clips: int
    num_members: int
    problems: tuple[str, ...]


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
    num_shards = num_clips = num_members = 0
    for split in Split:
        listed = card_shards(card, split)
        for entry in listed:
            num_shards += 1
            found = _Checked(folder / split / str(entry["name"]), progress)
            problems += found.run(entry)
            num_clips, num_members = num_clips + found.num_clips, num_members + found.num_members
        names = {str(entry["name"]) for entry in listed}
        # readers ignore hidden names, such as the `._SHARD.tar` files that macOS creates
        there = [name for name in sorted(list_files(folder / split)) if not name.startswith(".")]
        strays = [name for name in there if name.endswith(".tar") and name not in names]
        problems += [f"shard {folder / split / name}: not listed in the card" for name in strays]
    for name, sha256 in sorted(card_sums(card).items()):
        path = folder / name
        if not path.exists() or _file_sha256(path) != sha256:
            problems.append(f"{path}: missing, or does not match the card's sha256")
    return VerifyReport(
        source=source_name(folder, card),
        num_shards=num_shards,
        num_clips=num_clips,
        num_members=num_members,
        problems=tuple(problems),
    )


@dataclass(slots=True)
class _Checked:
    shard: AnyPath
    progress: Progress
    num_clips: int = 0
    num_members: int = 0

    def run(self, entry: Json) -> list[str]:
        index = self.shard.with_suffix(".arrow")
        for path in (self.shard, index):
            if not path.exists():
                return [f"shard {path}: listed in the card but missing"]
        problems: list[str] = []
        try:
            rows = open_index(index, sha256=str(entry["index_sha256"])).to_pylist()
        except ShardError as error:
            return [str(error)]
        self.num_clips = len(rows)
        if len(rows) != entry["num_clips"]:
            problems.append(f"index {index}: expected {entry['num_clips']} clips as in the card, found {len(rows)}")
        problems += self._walk(rows)
        if not problems and _file_sha256(self.shard, self.progress) != entry["sha256"]:
            problems.append(f"shard {self.shard}: does not match the card's sha256")
        return problems

    def _walk(self, rows: list[Json]) -> list[str]:
        """Follow the layout of the index, so that any damaged byte is reported with its clip and member."""
        problems: list[str] = []
        end = 0
        with self.shard.open("rb") as file:
            for row in rows:
                members: dict[str, bytes] = {}
                start = end
                for name, ref in sorted(member_refs(row).items(), key=lambda item: item[1].offset):
                    where = f"shard {self.shard}, clip {row['key']}, member {name}"
                    wanted = header(f"{row['key']}.{name}", ref.size)
                    file.seek(ref.offset - 512)
                    block = file.read(len(wanted) + ref.size + (-ref.size % 512))
                    problems += [f"{where}: {fault}" for fault in _member_faults(block, wanted, ref, start=end)]
                    members[name] = block[512 : 512 + ref.size]
                    end, self.num_members = ref.offset + ref.size + (-ref.size % 512), self.num_members + 1
                self.progress.update(end - start, f"{self.shard.name}, {len(problems)} problems")
                if not problems:
                    faults = clip_faults(row, members)
                    problems += [f"shard {self.shard}, clip {row['key']}, {fault}" for fault in faults]
            file.seek(end)
            if file.read(len(END) + 1) != END:
                problems.append(f"shard {self.shard}: does not end where its index ends")
            self.progress.update(len(END), f"{self.shard.name}, {len(problems)} problems")
        return problems


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
    meta = json.loads(members[CLIP_JSON])
    refs = member_refs(row)
    if index_row(str(row["key"]), meta, refs) != row:
        yield f"member {CLIP_JSON}: differs from the index"
    for name, mask, dim in ((ACTION_NPY, "action_mask", ACTION_DIM), (STATE_NPY, "state_mask", STATE_DIM)):
        if (name in members) != (meta[mask] is not None):
            yield f"member {name}: present in only one of tar and {CLIP_JSON}"
        elif name in members:
            yield from (f"member {name}: {fault}" for fault in _vector_faults(members[name], meta, mask, dim))
    for name in (name for name in members if name.startswith(DEPTH)):
        if npy_array(members[name]).shape != (IMAGE_SIZE, IMAGE_SIZE):
            yield f"member {name}: expected a {IMAGE_SIZE}x{IMAGE_SIZE} depth image"
    for name in (name for name in members if name.endswith(".jpg")):
        height, width, colour, _ = simplejpeg.decode_jpeg_header(members[name])
        if (height, width, colour) != (IMAGE_SIZE, IMAGE_SIZE, "YCbCr"):
            yield f"member {name}: expected {IMAGE_SIZE}x{IMAGE_SIZE} YCbCr, got {width}x{height} {colour}"


def _vector_faults(data: bytes, meta: Json, mask: str, dim: int) -> Iterator[str]:
    values = npy_array(data)
    if values.shape != (meta["num_steps"], dim):
        yield f"shape {values.shape}, expected ({meta['num_steps']}, {dim})"
    elif not np.isfinite(values).all():
        yield "contains values that are not finite"
    elif np.any(values[:, ~np.asarray(meta[mask], bool)]):
        yield "a masked column is not zero"


def _file_sha256(path: AnyPath, progress: Progress = SILENT) -> str:
    sha256 = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            sha256.update(block)
            progress.update(len(block), f"{path.name}, sha256")
    return sha256.hexdigest()
