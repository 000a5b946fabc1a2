"""One shard's index as numpy views over the memory map: what windows are counted and cut from, without copies.

Rows and steps are looked up through keys `clip * 2^32 + value`, so that one binary search serves many clips at once.
"""

from functools import cached_property

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from vita_data.shards.schema import MemberRef, frame_name
from vita_data.storage import AnyPath
from vita_data.types import CameraRole, Gaps, Int64

_ROLES = tuple(CameraRole)
_CLIP = 32


class ShardView:
    """The index of one shard; clips are counted from 0 in it, frames over all of its clips."""

    def __init__(self, shard: AnyPath, table: pa.Table) -> None:
        self.shard = shard
        self._table = table
        self._columns: dict[str, pa.Array] = {}

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
    def num_steps(self) -> Int64:
        """Rows of each clip [C]."""
        return np.asarray(self.column("num_steps").to_numpy(), np.int64)

    @cached_property
    def hz(self) -> NDArray[np.float64]:
        """Native rate of each clip [C]."""
        return np.asarray(self.column("hz").to_numpy(), np.float64)

    @cached_property
    def frame_offsets(self) -> Int64:
        """Clip c's frames are frame_offsets[c]..frame_offsets[c + 1]-1 [C + 1]."""
        return self._offsets("frames")

    @cached_property
    def frame_step(self) -> NDArray[np.int32]:
        """Native step of each frame."""
        return self._numbers("frames", "step")

    @cached_property
    def frame_camera(self) -> NDArray[np.int8]:
        """Camera of each frame, as its place in CameraRole; -1 for one that is no RGB camera."""
        cameras = self.column("frames").values.field("camera")
        codes = pc.index_in(cameras, value_set=pa.array([str(role) for role in _ROLES]))
        return np.asarray(pc.fill_null(codes, -1).to_numpy(zero_copy_only=False), np.int8)

    @cached_property
    def valid_offsets(self) -> Int64:
        """Where each clip's ranges of valid action rows start [C + 1]."""
        return self._offsets("action_valid")

    @cached_property
    def valid_ranges(self) -> Int64:
        """Half-open ranges of valid action rows [n, 2]."""
        pair = [self._numbers("action_valid", name) for name in ("start", "stop")]
        return np.stack(pair, axis=1).astype(np.int64)

    @cached_property
    def _frame_refs(self) -> tuple[NDArray[np.int32], ...]:
        return tuple(self._numbers("frames", name) for name in ("offset", "size", "crc32"))

    @cached_property
    def _keyframe_offsets(self) -> Int64:
        return self._offsets("keyframes")

    @cached_property
    def _keyframe_row(self) -> NDArray[np.int32]:
        return np.asarray(self.column("keyframes").values.to_numpy())

    @cached_property
    def _run_offsets(self) -> Int64:
        return self._offsets("step_runs")

    @cached_property
    def _run_row(self) -> NDArray[np.int32]:
        return self._numbers("step_runs", "row")

    @cached_property
    def _run_step(self) -> NDArray[np.int32]:
        return self._numbers("step_runs", "step")

    @cached_property
    def keyframes_only(self) -> bool:
        """Whether images lie on the 1-second stride alone (`build --frames keyframes`)."""
        stored = len(self.stored_keys(0, self.num_clips, CameraRole.PRIMARY))
        return stored <= int(self._keyframe_offsets[-1]) < int(self.num_steps.sum())

    def frames_of(self, clip: int, role: CameraRole) -> tuple[int, NDArray[np.int32]]:
        """Find a camera's frames in a clip: the first one's number, and their native steps, ascending."""
        start, stop = self.frame_offsets[clip], self.frame_offsets[clip + 1]
        mine = (self.frame_camera[start:stop] == _ROLES.index(role)).nonzero()[0]
        if not mine.size:
            return int(start), self.frame_step[:0]
        # The index lists a clip's frames camera by camera.
        return int(start + mine[0]), self.frame_step[start + mine[0] : start + mine[-1] + 1]

    def stored_keys(self, first: int, stop: int, role: CameraRole) -> Int64:
        """Keys (clip, native step) of the stored images of a camera in clips first..stop-1, ascending."""
        start, end = self.frame_offsets[first], self.frame_offsets[stop]
        frames = start + np.flatnonzero(self.frame_camera[start:end] == _ROLES.index(role))
        clips = np.searchsorted(self.frame_offsets[first : stop + 1], frames, side="right") - 1 + first
        return clip_keys(clips, self.frame_step[frames])

    def keyframe_keys(self, first: int, stop: int) -> Int64:
        """Keys (clip, native step) of the keyframes of clips first..stop-1, ascending."""
        offsets = self._keyframe_offsets[first : stop + 1]
        rows = self._keyframe_row[offsets[0] : offsets[-1]]
        clips = np.repeat(np.arange(first, stop), np.diff(offsets))
        run_clips, run_rows, run_steps = self._runs(first, stop)
        run = np.searchsorted(clip_keys(run_clips, run_rows), clip_keys(clips, rows), side="right") - 1
        return clip_keys(clips, run_steps[run] + rows - run_rows[run])

    def steps_of_rows(self, clip: int, rows: Int64) -> Int64:
        """Turn a clip's rows into native steps."""
        _, run_rows, run_steps = self._runs(clip, clip + 1)
        run = np.searchsorted(run_rows, rows, side="right") - 1
        return np.asarray(run_steps[run] + rows - run_rows[run], np.int64)

    def row_of_step(self, clip: int, step: int) -> int:
        """Turn a native step into the clip's row."""
        _, run_rows, run_steps = self._runs(clip, clip + 1)
        run = int(np.searchsorted(run_steps, step, side="right")) - 1
        return int(run_rows[run] + step - run_steps[run])

    def chunk_end(self, clip: int, row: int) -> int:
        """First row after `row` that an action chunk may not reach: the next gap that breaks, or the clip's end."""
        _, run_rows, _ = self._runs(clip, clip + 1)
        if run_rows[-1] > row and self.column("gaps")[clip].as_py() == Gaps.BREAK:
            return int(run_rows[np.searchsorted(run_rows, row, side="right")])
        return int(self.num_steps[clip])

    def member(self, clip: int, name: str) -> MemberRef | None:
        """Where a clip's `clip`, `action` or `state` member lies; None where it has none."""
        value = self.column(name)[clip].as_py()
        return None if value is None else MemberRef(value["offset"], value["size"], value["crc32"])

    def frame_ref(self, frame: int) -> MemberRef:
        """Where a frame lies."""
        return MemberRef(*(int(numbers[frame]) for numbers in self._frame_refs))

    def frame_name(self, frame: int) -> str:
        """The member name of a frame, after the key's dot."""
        return frame_name(_ROLES[self.frame_camera[frame]], int(self.frame_step[frame]))

    def text(self, name: str, clip: int) -> str:
        """A text column's value; empty where there is none."""
        return str(self.column(name)[clip].as_py() or "")

    def _offsets(self, name: str) -> Int64:
        return np.asarray(self.column(name).offsets.to_numpy(), np.int64)

    def _numbers(self, name: str, part: str) -> NDArray[np.int32]:
        return np.asarray(self.column(name).values.field(part).to_numpy())

    def _runs(self, first: int, stop: int) -> tuple[Int64, Int64, Int64]:
        offsets = self._run_offsets[first : stop + 1]
        inside = slice(offsets[0], offsets[-1])
        clips = np.repeat(np.arange(first, stop), np.diff(offsets))
        return clips, self._run_row[inside].astype(np.int64), self._run_step[inside].astype(np.int64)


def clip_keys(clips: NDArray[np.integer], values: NDArray[np.integer]) -> Int64:
    """Join clip numbers and rows or steps [n] into keys that sort by clip first."""
    return (clips.astype(np.int64) << _CLIP) + values


def clips_of(keys: Int64) -> Int64:
    """The clip numbers of keys [n]."""
    return keys >> _CLIP


def steps_of(keys: Int64) -> Int64:
    """The rows or steps of keys [n]."""
    return keys & ((1 << _CLIP) - 1)
