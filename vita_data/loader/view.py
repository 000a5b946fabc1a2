"""One shard's index as numpy views over the memory map, and the clips that windows are cut from, of one shard or many.

Rows and steps are looked up through keys `clip * 2^32 + value`, so that one binary search serves many clips at once.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from vita_data.shards.schema import MemberRef, frame_name
from vita_data.storage import AnyPath
from vita_data.types import Bool, CameraRole, Float64, Gaps, Int64

Int32 = NDArray[np.int32]

# The index lists a clip's images camera by camera, by name; depth images, which no batch holds, come first.
_ROLES = tuple(sorted(CameraRole))
_CLIP_BITS = 32


@dataclass(frozen=True, slots=True)
class Ragged:
    """Columns of numbers with so many entries a clip: clip c has entries offsets[c]..offsets[c + 1]-1 of each."""

    offsets: NDArray[Any]
    columns: tuple[Int32, ...]

    def of(self, clip: int) -> tuple[Int32, ...]:
        """One clip's part of each column."""
        start, stop = self.offsets.item(clip), self.offsets.item(clip + 1)
        return tuple([column[start:stop] for column in self.columns])

    @property
    def clips(self) -> Int64:
        """The clip of each entry."""
        return np.repeat(np.arange(len(self.offsets) - 1), np.diff(self.offsets))


@dataclass(frozen=True, slots=True, kw_only=True)
class Images:
    """The stored images of one camera, clip by clip: their native steps, ascending."""

    steps: Ragged
    first: NDArray[Any]
    """Number of each clip's first image [C]; its others follow."""


@dataclass(frozen=True, kw_only=True)
class ClipSet:
    """What the windows of some clips [C] are cut from; the clips are counted from 0 here."""

    hz: Float64
    num_steps: NDArray[Any]
    ends_at_gaps: Bool
    """Whether an action chunk of the clip ends at a gap."""
    runs: Ragged
    """step_index run by run: from `row` on, rows hold consecutive native steps from `step` on."""
    keyframes: Ragged
    """Rows on the 1-second stride."""
    valid: Ragged
    """Half-open ranges of valid action rows: `start`, `stop`."""
    images: Mapping[CameraRole, Images]

    def __len__(self) -> int:
        return len(self.hz)

    @cached_property
    def run_rows(self) -> Int64:
        """Keys (clip, row) at which runs start."""
        return clip_keys(self.runs.clips, self.runs.columns[0])

    @cached_property
    def _run_steps(self) -> Int64:
        return clip_keys(self.runs.clips, self.runs.columns[1])

    def image_keys(self, role: CameraRole) -> Int64:
        """Keys (clip, native step) of a camera's images, ascending."""
        steps = self.images[role].steps
        return clip_keys(steps.clips, steps.columns[0])

    def steps_of_rows(self, clips: Int64, rows: NDArray[Any]) -> Int64:
        """Turn rows [n] of clips [n] into native steps."""
        row, step = self.runs.columns
        run = clips if self._is_plain else self.run_rows.searchsorted(clip_keys(clips, rows), side="right") - 1
        return np.asarray(step[run] + (rows - row[run]), np.int64)

    def rows_of_steps(self, clips: Int64, steps: Int64) -> Int64:
        """Turn native steps [n] of clips [n] into rows."""
        row, step = self.runs.columns
        run = clips if self._is_plain else self._run_steps.searchsorted(clip_keys(clips, steps), side="right") - 1
        return np.asarray(row[run] + (steps - step[run]), np.int64)

    @cached_property
    def _is_plain(self) -> bool:
        # One run a clip: there is nothing to look up.
        return len(self.runs.columns[0]) == len(self)


class ShardView:
    """The index of one shard; clips are counted from 0 in it, frames over all of its clips."""

    def __init__(self, shard: AnyPath, table: pa.Table) -> None:
        self.shard = shard
        self._table = table
        self._columns: dict[str, pa.Array] = {}
        self._texts: dict[str, tuple[Int32, memoryview]] = {}
        self._members: dict[str, tuple[NDArray[Any], ...]] = {}

    @cached_property
    def address(self) -> str:
        """Where the shard lies, in words."""
        return str(self.shard)

    @property
    def num_clips(self) -> int:
        """Clips in this shard."""
        return int(self._table.num_rows)

    def column(self, name: str) -> pa.Array:
        """One column as one array."""
        if name not in self._columns:
            column = self._table.column(name)
            self._columns[name] = column.chunk(0) if column.num_chunks == 1 else column.combine_chunks()
        return self._columns[name]

    @cached_property
    def num_steps(self) -> Int32:
        """Rows of each clip [C]."""
        return np.asarray(self.column("num_steps").to_numpy())

    @cached_property
    def hz(self) -> Float64:
        """Native rate of each clip [C]."""
        return np.asarray(self.column("hz").to_numpy(), np.float64)

    @cached_property
    def runs(self) -> Ragged:
        """As `ClipSet.runs`."""
        return self._ragged("step_runs", "row", "step")

    @cached_property
    def keyframes(self) -> Ragged:
        """As `ClipSet.keyframes`."""
        return self._ragged("keyframes")

    @cached_property
    def valid(self) -> Ragged:
        """As `ClipSet.valid`."""
        return self._ragged("action_valid", "start", "stop")

    @cached_property
    def ends_at_gaps(self) -> Bool:
        """As `ClipSet.ends_at_gaps`."""
        return np.asarray(pc.equal(self.column("gaps"), str(Gaps.BREAK)).to_numpy(zero_copy_only=False), bool)

    @cached_property
    def _frames(self) -> Ragged:
        return self._ragged("frames", "step", "offset", "size", "crc32")

    @cached_property
    def _camera_starts(self) -> Int32:
        """Number of the first frame of each clip's cameras [C, 5], in the order of `_ROLES`, and of the next clip's."""
        cameras = self.column("frames").values.field("camera")
        codes = pc.fill_null(pc.index_in(cameras, value_set=pa.array([str(role) for role in _ROLES])), -1).to_numpy()
        clips, kinds = self._frames.clips, len(_ROLES) + 1
        counts = np.bincount(clips * kinds + codes + 1, minlength=self.num_clips * kinds).reshape(-1, kinds)
        return (self._frames.offsets[:-1, None] + np.cumsum(counts, axis=1)).astype(np.int32)

    @property
    def keyframes_only(self) -> bool:
        """Whether images lie on the 1-second stride alone (`build --frames keyframes`)."""
        stored = len(self.whole().images[CameraRole.PRIMARY].steps.columns[0])
        return stored <= len(self.keyframes.columns[0]) < int(self.num_steps.sum())

    def whole(self) -> ClipSet:
        """All clips of the shard, with the primary camera's images."""
        starts, stops = self._camera_starts[:, 0], self._camera_starts[:, 1]
        offsets, steps = np.concatenate([[0], np.cumsum(stops - starts)]), self._frames.columns[0]
        if offsets[-1] < len(steps):
            steps = steps[np.repeat(starts - offsets[:-1], stops - starts) + np.arange(offsets[-1])]
        return ClipSet(
            hz=self.hz, num_steps=self.num_steps, ends_at_gaps=self.ends_at_gaps, runs=self.runs,
            keyframes=self.keyframes, valid=self.valid,
            images={CameraRole.PRIMARY: Images(steps=Ragged(offsets, (steps,)), first=starts)},
        )  # fmt: skip

    def images_of(self, clip: int, role: CameraRole) -> tuple[int, Int32]:
        """Find a camera's images in a clip: the first one's number, and their native steps, ascending."""
        place, starts = _ROLES.index(role), self._camera_starts
        start, stop = starts.item(clip, place), starts.item(clip, place + 1)
        return start, self._frames.columns[0][start:stop]

    def member(self, clip: int, name: str) -> MemberRef | None:
        """Where a clip's `clip`, `action` or `state` member lies; None where it has none."""
        offset, size, crc32 = self._member_columns(name)
        num_bytes = size.item(clip)
        return MemberRef(offset.item(clip), num_bytes, crc32.item(clip)) if num_bytes else None

    def frame_ref(self, frame: int) -> MemberRef:
        """Where a frame lies."""
        _, offset, size, crc32 = self._frames.columns
        return MemberRef(offset.item(frame), size.item(frame), crc32.item(frame))

    def frame_name(self, frame: int) -> str:
        """The member name of a frame, after the key's dot."""
        camera = self.column("frames").values.field("camera")[frame].as_py()
        return frame_name(camera, int(self._frames.columns[0][frame]))

    def num_frames_before(self, clip: int) -> int:
        """How many frames the clips before this one have."""
        return int(self._frames.offsets[clip])

    def text(self, name: str, clip: int) -> str:
        """A text column's value; empty where there is none."""
        offsets, letters = self._texts.get(name) or self._text_column(name)
        return str(letters[offsets[clip] : offsets[clip + 1]], "utf-8")

    def _text_column(self, name: str) -> tuple[Int32, memoryview]:
        _, offsets, letters = self.column(name).buffers()
        first = self.column(name).offset
        found = np.frombuffer(offsets, np.int32)[first : first + self.num_clips + 1], memoryview(letters or b"")
        self._texts[name] = found
        return found

    def _member_columns(self, name: str) -> tuple[NDArray[Any], ...]:
        if name not in self._members:
            # A member that is absent has no bytes.
            parts = [self.column(name).field(part) for part in ("offset", "size", "crc32")]
            size = pc.if_else(self.column(name).is_valid(), parts[1], 0)
            self._members[name] = tuple(np.asarray(part.to_numpy()) for part in (parts[0], size, parts[2]))
        return self._members[name]

    def _ragged(self, name: str, *parts: str) -> Ragged:
        column = self.column(name)
        values = [column.values.field(part) for part in parts] or [column.values]
        return Ragged(np.asarray(column.offsets.to_numpy()), tuple(np.asarray(part.to_numpy()) for part in values))


def gather(views: Sequence[ShardView], clips: Sequence[int], roles: Sequence[CameraRole]) -> ClipSet:
    """Collect clips [C] of any shards, with the images of some cameras."""
    pairs = list(zip(views, clips, strict=True))
    images = {}
    for role in roles:
        found = [view.images_of(clip, role) for view, clip in pairs]
        images[role] = Images(steps=_joined([(steps,) for _, steps in found]), first=np.array([n for n, _ in found]))
    return ClipSet(
        hz=np.array([view.hz[clip] for view, clip in pairs]),
        num_steps=np.array([view.num_steps[clip] for view, clip in pairs], np.int64),
        ends_at_gaps=np.array([view.ends_at_gaps[clip] for view, clip in pairs]),
        runs=_joined([view.runs.of(clip) for view, clip in pairs]),
        keyframes=_joined([view.keyframes.of(clip) for view, clip in pairs]),
        valid=_joined([view.valid.of(clip) for view, clip in pairs]),
        images=images,
    )  # fmt: skip


def _joined(parts: Sequence[tuple[Int32, ...]]) -> Ragged:
    offsets = np.zeros(len(parts) + 1, np.int64)
    np.cumsum([len(part[0]) for part in parts], out=offsets[1:])
    return Ragged(offsets, tuple(np.concatenate(column) for column in zip(*parts, strict=True)))


def clip_keys(clips: NDArray[Any], values: NDArray[Any]) -> Int64:
    """Join clip numbers and rows or steps [n] into keys that sort by clip first."""
    return np.asarray((clips.astype(np.int64) << _CLIP_BITS) + values, np.int64)


def clips_of(keys: Int64) -> Int64:
    """The clip numbers of keys [n]."""
    return keys >> _CLIP_BITS


def steps_of(keys: Int64) -> Int64:
    """The rows or steps of keys [n]."""
    return keys & ((1 << _CLIP_BITS) - 1)
