"""A built source in Python: its clips by number or key, their frames and vectors, its tables.

A folder that `vita-data build` wrote comes in; arrays and polars frames come out. Does not import torch.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from functools import cached_property
from typing import TYPE_CHECKING, overload

import numpy as np
import simplejpeg

from vita_data.config.checks import plain
from vita_data.errors import RequestError, did_you_mean
from vita_data.shards.clip_fields import DEPTH
from vita_data.shards.index import SourceIndex, invalid_content, open_source, read_card, read_clip
from vita_data.shards.reader import ShardFiles
from vita_data.slots import ACTION_DIM, STATE_DIM
from vita_data.storage.files import expand_home, open_path
from vita_data.types import Bool, CameraRole, Clip, Float32, Image, Instruction, Int64, Json, Split

if TYPE_CHECKING:
    import polars as pl

    from vita_data.storage.files import AnyPath


def _one_camera(name: CameraRole | str, cameras: Sequence[CameraRole], *, where: str) -> CameraRole:
    """Return one of the cameras by its name.

    Raises:
        RequestError: there is none of that name; begins with `where`.
    """
    if name not in cameras:
        raise RequestError(f"{where}: camera {str(name)!r} not found; it has {', '.join(cameras) or 'none'}")
    return CameraRole(name)


class StoredClip:
    """One clip of a built source; what it holds is read and checked at the first access."""

    def __init__(self, files: ShardFiles, shard: AnyPath, row: Json) -> None:
        self._files, self._shard, self._row = files, shard, row

    @property
    def key(self) -> str:
        """The clip's name in its shard."""
        return str(self._row["key"])

    @property
    def episode(self) -> str:
        """The raw episode that it was made from."""
        return str(self._row["episode"])

    @property
    def instruction(self) -> str:
        """The main instruction; empty if there is none."""
        return str(self._row["instruction"] or "")

    @property
    def instructions(self) -> tuple[Instruction, ...]:
        """All instructions with their origins."""
        return self.vectors.instructions

    @property
    def hz(self) -> float:
        """Native steps per second."""
        return float(str(self._row["hz"]))

    @property
    def cameras(self) -> tuple[CameraRole, ...]:
        """The cameras with stored frames."""
        return tuple(CameraRole(name) for name in self._strings("cameras") if not name.startswith(DEPTH))

    @property
    def depth_cameras(self) -> tuple[CameraRole, ...]:
        """The cameras with stored depth images."""
        found = (name for name in self._strings("cameras") if name.startswith(DEPTH))
        return tuple(CameraRole(name.removeprefix(DEPTH)) for name in found)

    @property
    def step_index(self) -> Int64:
        """[T] native step of each row."""
        return self.vectors.step_index

    @property
    def action(self) -> Float32 | None:
        """Canonical actions [T, 40] in physical units, zero where masked; None for video."""
        found = self.vectors.action
        return None if found is None else found.track.values.copy()

    @property
    def action_mask(self) -> Bool:
        """[40], True for columns that the source has."""
        found = self.vectors.action
        return np.zeros(ACTION_DIM, bool) if found is None else found.track.mask

    @property
    def state(self) -> Float32 | None:
        """States [T, 64] in physical units, zero where masked; None if nothing was measured."""
        found = self.vectors.state
        return None if found is None else found.values.copy()

    @property
    def state_mask(self) -> Bool:
        """[64], True for columns that the source has."""
        found = self.vectors.state
        return np.zeros(STATE_DIM, bool) if found is None else found.mask

    def frames(self, camera: CameraRole | str = CameraRole.PRIMARY) -> Image:
        """Decode the stored frames of a camera, uint8 [K, 256, 256, 3] RGB; `frame_rows` tells where they belong.

        Raises:
            RequestError: the clip has no such camera.
            ShardError: a frame is damaged.
        """
        role = _one_camera(camera, self.cameras, where=f"clip {self.key}")
        with self._content(role):
            return np.stack([simplejpeg.decode_jpeg(frame.jpeg) for frame in self.clip.frames[role]])

    def frame_rows(self, camera: CameraRole | str = CameraRole.PRIMARY) -> Int64:
        """Return the rows [K] of the stored frames of a camera.

        Raises:
            RequestError: the clip has no such camera.
        """
        role = _one_camera(camera, self.cameras, where=f"clip {self.key}")
        with self._content(role):
            return np.array([frame.row for frame in self.clip.frames[role]], np.int64)

    def depth(self, camera: CameraRole | str = CameraRole.PRIMARY) -> Float32:
        """Return the stored depth images of a camera in metres [K, 256, 256], 0 where nothing was measured.

        Raises:
            RequestError: the clip has no depth of such a camera.
            ShardError: an image is damaged.
        """
        role = _one_camera(camera, self.depth_cameras, where=f"depth of clip {self.key}")
        with self._content(role):
            return np.stack([depth.metres for depth in self.clip.depths[role]])

    @cached_property
    def clip(self) -> Clip:
        """Everything that is stored, as one typed value."""
        return read_clip(self._files, self._shard, self._row)

    @cached_property
    def vectors(self) -> Clip:
        """Everything that is stored but the frames."""
        return self.__dict__.get("clip") or read_clip(self._files, self._shard, self._row, with_frames=False)

    def _content(self, camera: CameraRole) -> AbstractContextManager[None]:
        return invalid_content(f"shard {self._shard}, clip {self.key}, camera {camera}")

    def _strings(self, column: str) -> Sequence[str]:
        found = self._row[column]
        return [str(one) for one in found] if isinstance(found, list) else []

    def __repr__(self) -> str:
        cameras = " ".join(self.cameras) or "none"
        return f"StoredClip({self.key}, {self._row['num_steps']} steps, cameras: {cameras}, {self.instruction!r})"


class BuiltSource(Sequence[StoredClip]):
    """The clips of one split of a built source: `len`, iteration, and access by number or key."""

    def __init__(self, folder: str | AnyPath, *, split: Split | str = Split.TRAIN) -> None:
        self.folder = open_path(expand_home(folder)) if isinstance(folder, str) else folder
        self.split = split_named(split)
        self._index: SourceIndex = open_source(self.folder, self.split)
        self._files = ShardFiles()

    @property
    def name(self) -> str:
        """The source's name."""
        return self._index.source

    @cached_property
    def card(self) -> Json:
        """The content of dataset.json: settings, licence, counts, drops."""
        return read_card(self.folder)

    @cached_property
    def clips(self) -> pl.DataFrame:
        """A row for each clip: the columns of the index without the places of the bytes."""
        import polars as pl

        table = self._index.table
        found = pl.from_arrow(table.drop_columns(["clip", "action", "state", "frames"]))
        assert isinstance(found, pl.DataFrame)  # noqa: S101 - a table is never a series
        return found

    @cached_property
    def episodes(self) -> pl.DataFrame:
        """A row for each raw episode, dropped and failed ones too: outcome, reason, suite, task, text, length, ..."""
        from vita_data.curation.table import episode_table

        return episode_table(self.folder)

    def __len__(self) -> int:
        return int(self._index.table.num_rows)

    @overload
    def __getitem__(self, wanted: int | str) -> StoredClip: ...
    @overload
    def __getitem__(self, wanted: slice) -> list[StoredClip]: ...
    def __getitem__(self, wanted: int | str | slice) -> StoredClip | list[StoredClip]:
        """Return a clip by number or key, or several by a slice of numbers.

        Raises:
            IndexError: there are fewer clips.
            KeyError: no clip has this key; names the nearest one.
            RequestError: it is neither a number nor a key.
        """
        if isinstance(wanted, slice):
            return [self[number] for number in range(*wanted.indices(len(self)))]
        number = self._number_of(wanted) if isinstance(wanted, str) else plain(wanted)
        if not isinstance(number, int):
            raise RequestError(f"{self.name} {self.split}: expected a clip's number, key or a slice, got {wanted!r}")
        if not -len(self) <= number < len(self):
            raise IndexError(f"{self.name} {self.split}: expected a clip below {len(self)}, got {number}")
        return StoredClip(self._files, *self._index.place(number % len(self)))

    def _number_of(self, key: str) -> int:
        if key not in self._numbers:
            hint = did_you_mean(key, self._numbers)
            raise KeyError(f"{self.name} {self.split}: clip {key!r} not found{hint and f'; {hint}'}")
        return self._numbers[key]

    @cached_property
    def _numbers(self) -> Mapping[str, int]:
        return {key: number for number, key in enumerate(self._index.table.column("key").to_pylist())}

    def __repr__(self) -> str:
        return f"BuiltSource({self.name}, {self.split}: {len(self)} clips in {len(self._index.shards)} shards)"


def split_named(split: Split | str) -> Split:
    """Return the split with a name.

    Raises:
        RequestError: there is none.
    """
    if split not in list(Split):
        raise RequestError(f"split: expected {' or '.join(Split)}, got {split!r}")
    return Split(split)
