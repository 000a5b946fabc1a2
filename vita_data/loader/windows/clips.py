"""One shard's index as numpy views of the memory map, and the clips that windows are cut from, of one or many shards.

Rows and steps are looked up with keys `clip * 2^32 + value`, so that one binary search serves many clips at once.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from vita_data.shards.index_values import are_all
from vita_data.shards.schema import MemberRef, frame_name
from vita_data.storage.files import AnyPath
from vita_data.types import Bool, CameraRole, Float64, Gaps, Int64

Int32 = NDArray[np.int32]

# The index lists a clip's images by camera name; depth images, which batches do not use, come first.
_ROLES = tuple(sorted(CameraRole))
_CLIP_BITS = 32


@dataclass(frozen=True, slots=True)
class Ragged:
    """Number columns with several entries per clip: clip c has entries offsets[c]..offsets[c + 1]-1 of each."""

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
    """The number of each clip's first image [C]; its other images follow."""


class ClipSet(ABC):
    """The data that windows of some clips [C] are cut from; clips are numbered from 0."""

    @abstractmethod
    def __len__(self) -> int: ...

    @property
    @abstractmethod
    def hz(self) -> Float64:
        """Native rate of each clip [C]."""

    @property
    @abstractmethod
    def num_steps(self) -> NDArray[Any]:
        """Rows of each clip [C]."""

    @property
    @abstractmethod
    def ends_at_gaps(self) -> Bool:
        """Whether an action chunk of the clip ends at a gap [C]."""

    @property
    @abstractmethod
    def runs(self) -> Ragged:
        """step_index as runs: from `row` on, rows have consecutive native steps starting at `step`."""

    @property
    @abstractmethod
    def keyframes(self) -> Ragged:
        """Rows on the 1-second stride."""

    @property
    @abstractmethod
    def valid(self) -> Ragged:
        """Half-open ranges of valid action rows: `start`, `stop`."""

    @abstractmethod
    def images(self, role: CameraRole) -> Images:
        """The stored images of a camera."""

    @cached_property
    def run_rows(self) -> Int64:
        """Keys (clip, row) at which runs start."""
        return clip_keys(self.runs.clips, self.runs.columns[0])

    @cached_property
    def _run_steps(self) -> Int64:
        return clip_keys(self.runs.clips, self.runs.columns[1])

    def image_keys(self, role: CameraRole) -> Int64:
        """Keys (clip, native step) of a camera's images, ascending."""
        steps = self.images(role).steps
        return clip_keys(steps.clips, steps.columns[0])

    def steps_of_rows(self, clips: Int64, rows: NDArray[Any]) -> Int64:
        """Convert rows [n] of clips [n] to native steps."""
        row, step = self.runs.columns
        run = clips if self._is_plain else self.run_rows.searchsorted(clip_keys(clips, rows), side="right") - 1
        return np.asarray(step[run] + (rows - row[run]), np.int64)

    def rows_of_steps(self, clips: Int64, steps: Int64) -> Int64:
        """Convert native steps [n] of clips [n] to rows."""
        row, step = self.runs.columns
        run = clips if self._is_plain else self._run_steps.searchsorted(clip_keys(clips, steps), side="right") - 1
        return np.asarray(row[run] + (steps - step[run]), np.int64)

    def last_rows_at(self, clips: Int64, steps: Int64) -> Int64:
        """Find in clips [...] the last rows whose native step is at most `steps` [...], not before a clip's start."""
        row, step = self.runs.columns
        run = self._run_steps.searchsorted(clip_keys(clips, steps), side="right") - 1
        return np.asarray(np.minimum(row[run] + (steps - step[run]), self._run_ends[run] - 1), np.int64)

    @cached_property
    def _run_ends(self) -> Int64:
        """First row after each run."""
        row = self.runs.columns[0]
        ends = np.append(row[1:], 0).astype(np.int64)
        last = self.runs.offsets[1:] - 1
        ends[last] = self.num_steps
        return ends

    def is_valid(self, clips: Int64, rows: Int64) -> Bool:
        """Tell which rows [...] of clips [...] may be used for training."""
        start, stop = self.valid.columns
        if not start.size:
            return np.zeros(rows.shape, bool)
        span = clip_keys(self.valid.clips, start).searchsorted(clip_keys(clips, rows), side="right") - 1
        return np.asarray((span >= self.valid.offsets[clips]) & (rows < stop[span]))

    @property
    def shifts(self) -> Int32 | None:
        """Native step minus row of each clip [C]; None if a clip has several runs."""
        row, step = self.runs.columns
        return step - row if self._is_plain else None

    @cached_property
    def _is_plain(self) -> bool:
        # With one run per clip, no lookup is needed.
        return len(self.runs.columns[0]) == len(self)


class ShardView(ClipSet):
    """The index of one shard and all of its clips; frames are counted over all clips."""

    def __init__(self, shard: AnyPath, table: pa.Table) -> None:
        self.shard = shard
        self._table = table
        self._columns: dict[str, pa.Array] = {}
        self._texts: dict[str, tuple[Int32, memoryview]] = {}
        self._members: dict[str, tuple[NDArray[Any], ...]] = {}

    def __len__(self) -> int:
        return int(self._table.num_rows)

    @cached_property
    def address(self) -> str:
        """The address of the shard as text."""
        return str(self.shard)

    @cached_property
    def num_bytes(self) -> int:
        """Bytes of the shard up to the end of its last member; the members of a clip are adjacent."""
        clip = len(self) - 1
        found = [self.member(clip, name) for name in ("clip", "action", "state")]
        found += [self.frame_ref(frame) for frame in range(*self._frames.offsets[clip : clip + 2].tolist())]
        return max((ref.offset + ref.size for ref in found if ref is not None), default=0)

    def column(self, name: str) -> pa.Array:
        """One column as one array."""
        if name not in self._columns:
            column = self._table.column(name)
            self._columns[name] = column.chunk(0) if column.num_chunks == 1 else column.combine_chunks()
        return self._columns[name]

    @cached_property
    def num_steps(self) -> Int32:
        """See `ClipSet.num_steps`."""
        return np.asarray(self.column("num_steps").to_numpy())

    @cached_property
    def hz(self) -> Float64:
        """See `ClipSet.hz`."""
        return np.asarray(self.column("hz").to_numpy(), np.float64)

    @cached_property
    def runs(self) -> Ragged:
        """See `ClipSet.runs`."""
        return self._ragged("step_runs", "row", "step")

    @cached_property
    def keyframes(self) -> Ragged:
        """See `ClipSet.keyframes`."""
        return self._ragged("keyframes")

    @cached_property
    def valid(self) -> Ragged:
        """See `ClipSet.valid`."""
        return self._ragged("action_valid", "start", "stop")

    @cached_property
    def ends_at_gaps(self) -> Bool:
        """See `ClipSet.ends_at_gaps`."""
        return np.asarray(pc.equal(self.column("gaps"), str(Gaps.BREAK)).to_numpy(zero_copy_only=False), bool)

    def images(self, role: CameraRole) -> Images:
        """See `ClipSet.images`."""
        place = _ROLES.index(role)
        starts, stops = self._camera_starts[:, place], self._camera_starts[:, place + 1]
        offsets, steps = np.concatenate([[0], np.cumsum(stops - starts)]), self._frames.columns[0]
        if offsets[-1] < len(steps):
            steps = steps[np.repeat(starts - offsets[:-1], stops - starts) + np.arange(offsets[-1])]
        return Images(steps=Ragged(offsets, (steps,)), first=starts)

    @cached_property
    def _frames(self) -> Ragged:
        return self._ragged("frames", "step", "offset", "size", "crc32")

    @cached_property
    def _camera_starts(self) -> Int32:
        """The first frame's number of each clip's cameras [C, 5], in the order of `_ROLES`, then the next clip's."""
        cameras, kinds = self.column("frames").values.field("camera"), len(_ROLES) + 1
        if are_all(cameras, CameraRole.PRIMARY):
            counts = np.zeros((len(self), kinds), np.int64)
            counts[:, 1 + _ROLES.index(CameraRole.PRIMARY)] = np.diff(self._frames.offsets)
        else:
            codes = pc.fill_null(pc.index_in(cameras, value_set=pa.array([str(role) for role in _ROLES])), -1)
            cells = self._frames.clips * kinds + codes.to_numpy() + 1
            counts = np.bincount(cells, minlength=len(self) * kinds).reshape(-1, kinds)
        return (self._frames.offsets[:-1, None] + np.cumsum(counts, axis=1)).astype(np.int32)

    @property
    def keyframes_only(self) -> bool:
        """Whether images exist only on the 1-second stride (`build --frames keyframes`)."""
        stored = len(self.images(CameraRole.PRIMARY).steps.columns[0])
        return stored <= len(self.keyframes.columns[0]) < int(self.num_steps.sum())

    def images_of(self, clip: int, role: CameraRole) -> tuple[int, Int32]:
        """Find a camera's images in a clip: the first one's number, and their native steps, ascending."""
        place, starts = _ROLES.index(role), self._camera_starts
        start, stop = starts.item(clip, place), starts.item(clip, place + 1)
        return start, self._frames.columns[0][start:stop]

    def member(self, clip: int, name: str) -> MemberRef | None:
        """The place of a clip's `clip`, `action` or `state` member; None if the clip does not have it."""
        offset, size, crc32 = self._member_columns(name)
        num_bytes = size.item(clip)
        return MemberRef(offset.item(clip), num_bytes, crc32.item(clip)) if num_bytes else None

    def frame_ref(self, frame: int) -> MemberRef:
        """The place of a frame."""
        _, offset, size, crc32 = self._frames.columns
        return MemberRef(offset.item(frame), size.item(frame), crc32.item(frame))

    def frame_name(self, frame: int) -> str:
        """The member name of a frame, after the key's dot."""
        camera = self.column("frames").values.field("camera")[frame].as_py()
        return frame_name(camera, int(self._frames.columns[0][frame]))

    def num_frames_before(self, clip: int) -> int:
        """The number of frames of all earlier clips."""
        return int(self._frames.offsets[clip])

    def text(self, name: str, clip: int) -> str:
        """The value of a text column; empty if it has none."""
        offsets, letters = self._texts.get(name) or self._text_column(name)
        return str(letters[offsets[clip] : offsets[clip + 1]], "utf-8")

    def _text_column(self, name: str) -> tuple[Int32, memoryview]:
        _, offsets, letters = self.column(name).buffers()
        first = self.column(name).offset
        found = np.frombuffer(offsets, np.int32)[first : first + len(self) + 1], memoryview(letters or b"")
        self._texts[name] = found
        return found

    def _member_columns(self, name: str) -> tuple[NDArray[Any], ...]:
        if name not in self._members:
            # A missing member has size 0.
            parts = [self.column(name).field(part) for part in ("offset", "size", "crc32")]
            size = pc.if_else(self.column(name).is_valid(), parts[1], 0)
            self._members[name] = tuple(np.asarray(part.to_numpy()) for part in (parts[0], size, parts[2]))
        return self._members[name]

    def _ragged(self, name: str, *parts: str) -> Ragged:
        column = self.column(name)
        values = [column.values.field(part) for part in parts] or [column.values]
        return Ragged(np.asarray(column.offsets.to_numpy()), tuple(np.asarray(part.to_numpy()) for part in values))


class GatheredClips(ClipSet):
    """Clips of any shards; each part is collected when it is first used."""

    def __init__(self, views: Sequence[ShardView], clips: Sequence[int]) -> None:
        self._pairs = list(zip(views, clips, strict=True))
        self._images: dict[CameraRole, Images] = {}
        self._image_keys: dict[CameraRole, Int64] = {}

    def __len__(self) -> int:
        return len(self._pairs)

    @cached_property
    def hz(self) -> Float64:
        """See `ClipSet.hz`."""
        return np.array([view.hz.item(clip) for view, clip in self._pairs])

    @cached_property
    def num_steps(self) -> Int64:
        """See `ClipSet.num_steps`."""
        return np.array([view.num_steps.item(clip) for view, clip in self._pairs], np.int64)

    @cached_property
    def ends_at_gaps(self) -> Bool:
        """See `ClipSet.ends_at_gaps`."""
        return np.array([view.ends_at_gaps.item(clip) for view, clip in self._pairs], bool)

    @cached_property
    def runs(self) -> Ragged:
        """See `ClipSet.runs`."""
        return _joined([view.runs.of(clip) for view, clip in self._pairs])

    @cached_property
    def keyframes(self) -> Ragged:
        """See `ClipSet.keyframes`."""
        return _joined([view.keyframes.of(clip) for view, clip in self._pairs])

    @cached_property
    def valid(self) -> Ragged:
        """See `ClipSet.valid`."""
        return _joined([view.valid.of(clip) for view, clip in self._pairs])

    def images(self, role: CameraRole) -> Images:
        """See `ClipSet.images`."""
        if role not in self._images:
            found = [view.images_of(clip, role) for view, clip in self._pairs]
            first = np.array([number for number, _ in found], np.int64)
            self._images[role] = Images(steps=_joined([(steps,) for _, steps in found]), first=first)
        return self._images[role]

    def image_keys(self, role: CameraRole) -> Int64:
        """See `ClipSet.image_keys`."""
        if role not in self._image_keys:
            self._image_keys[role] = super().image_keys(role)
        return self._image_keys[role]


def _joined(parts: Sequence[tuple[Int32, ...]]) -> Ragged:
    offsets = np.zeros(len(parts) + 1, np.int64)
    np.cumsum([len(part[0]) for part in parts], out=offsets[1:])
    return Ragged(offsets, tuple(np.concatenate(column) for column in zip(*parts, strict=True)))


def clip_keys(clips: NDArray[Any], values: NDArray[Any]) -> Int64:
    """Combine clip numbers and rows or steps [n] into keys that sort by clip first."""
    return np.asarray((clips.astype(np.int64) << _CLIP_BITS) + values, np.int64)


def clips_of(keys: Int64) -> Int64:
    """Return the clip numbers of keys [n]."""
    return keys >> _CLIP_BITS


def steps_of(keys: Int64) -> Int64:
    """Return the rows or steps of keys [n]."""
    return keys & ((1 << _CLIP_BITS) - 1)
