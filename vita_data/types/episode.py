"""A raw episode as a source reads it: arms, cameras, instructions; or why it was dropped or failed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np

from vita_data.types.terms import (
    ActionOrigin,
    Arms,
    CameraRole,
    Float32,
    Float64,
    Gaps,
    Image,
    Int64,
    Json,
    Reason,
    ResizeMode,
    Split,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Instruction:
    """One text of an episode and its origin: human, auto, template, task_name or narration."""

    text: str
    origin: str
    template: str = field(default="", compare=False)
    """The pattern with [brackets] that the text fills, if the source has one; used only by rule T3, not stored."""


@dataclass(frozen=True, slots=True)
class JpegFrame:
    """A frame as the source stores it, still encoded; RGB after decoding."""

    data: bytes


@dataclass(frozen=True, slots=True)
class RgbFrame:
    """A decoded frame, uint8 [h, w, 3] RGB; `pixels` may already be 256x256."""

    pixels: Image


class CameraStream(Protocol):
    """One camera of an episode, read lazily; frame t belongs to row t of the episode."""

    @property
    def num_frames(self) -> int:
        """The number of rows with a frame; equals the episode's T."""

    def read(self, rows: Sequence[int], resize: ResizeMode) -> Iterator[JpegFrame | RgbFrame]:
        """Yield the frames of ascending `rows` in one pass; a decoder that scales uses `resize` to get 256x256.

        Raises:
            EpisodeError: the bytes of the frames cannot be read (a failed episode).
        """


class DepthStream(Protocol):
    """One depth camera of an episode, read lazily; frame t belongs to row t."""

    def read(self, rows: Sequence[int]) -> Iterator[Float32]:
        """Yield the depth images float32 [h, w] in metres of ascending `rows` in one pass.

        Raises:
            EpisodeError: the bytes of the images cannot be read (a failed episode).
        """


@dataclass(frozen=True, slots=True, kw_only=True)
class PoseTarget:
    """Where the hand is to be at the next step, commanded or reached: absolute poses in the frame of the state."""

    xyz_m: Float64
    """[T, 3]"""
    rotation: Float64
    """[T, 3, 3]"""


@dataclass(frozen=True, slots=True, kw_only=True)
class PoseDelta:
    """The commanded motion of the hand in one native step: base frame, rotation applied from the left."""

    xyz_m: Float64
    """[T, 3]"""
    rotation: Float64
    """[T, 3, 3]"""


@dataclass(frozen=True, slots=True, kw_only=True)
class ArmAction:
    """One arm's action, row by row; None if the dataset lacks it.

    An arm whose hand has no known pose has joint targets and no motion.
    """

    motion: PoseTarget | PoseDelta | None = None
    """A target pose or a delta."""
    gripper_open: Float64 | None = None
    """[T], 0 closed .. 1 open, absolute."""
    joint_target_rad: Float64 | None = None
    """[T, up to 7]"""
    has_joint_deltas: bool = False
    """Whether the joint targets were commanded as displacements from the measured joints (probe P4)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Arm:
    """One arm's measurements and action; None if the dataset lacks the reading."""

    xyz_m: Float64 | None = None
    """[T, 3]"""
    rotation: Float64 | None = None
    """[T, 3, 3]"""
    gripper_open: Float64 | None = None
    """[T]"""
    joint_position_rad: Float64 | None = None
    """[T, up to 7]"""
    joint_velocity_rad_s: Float64 | None = None
    """[T, up to 7]"""
    recorded_xyz_m: Float64 | None = None
    """[T, 3] the dataset's own position if `xyz_m` was computed from the joints; not stored, probe P10 compares them"""
    recorded_rotation: Float64 | None = None
    """[T, 3, 3] likewise"""
    action: ArmAction | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Base:
    """A mobile base: pose relative to the episode's start, and its displacement per step if it is an action."""

    pose: Float64 | None = None
    """[T, 3] x m, y m, yaw rad"""
    delta: Float64 | None = None
    """[T, 3] dx m, dy m, dyaw rad"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Episode:
    """One raw demonstration, read but not yet normalized. Its streams are valid until the next episode is requested."""

    id: str
    """Derived from a path or uid, unique in the source, stable across reruns."""
    source: str
    release: str
    split: Split | None
    """The source's own split; None: hashed from `split_group` or from the id (vita_data/README.md)."""
    embodiment: str
    arms: Arms
    hz: float
    step_index: Int64
    """[T] native index of each row's observation in the raw episode, strictly increasing."""
    instructions: tuple[Instruction, ...]
    """All texts, the main one first. A missing text is ""; an empty tuple means that the dataset has no texts by design
    (CALVIN play), so no text rule applies."""
    cameras: Mapping[CameraRole, CameraStream]
    depths: Mapping[CameraRole, DepthStream] = field(default_factory=dict)
    """Depth cameras, only if the build requests them."""
    right: Arm | None = None
    left: Arm | None = None
    base: Base | None = None
    action_origin: ActionOrigin | None = None
    gaps: Gaps = Gaps.BREAK
    split_group: str | None = None
    provenance: Json = field(default_factory=dict)
    """Raw file (relative path with `/`) and record."""
    extras: Json = field(default_factory=dict)
    """Constants of a simulator's own action convention; JSON values."""

    def __post_init__(self) -> None:
        """Refuse rows out of order."""
        if self.step_index.size and not np.all(np.diff(self.step_index) > 0):
            raise ValueError(f"{self.source} episode {self.id}: step_index must increase strictly")


@dataclass(frozen=True, slots=True, kw_only=True)
class Drop:
    """An episode that was read but not stored, with the reason."""

    episode: str
    reason: Reason
    detail: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """An episode, or a whole part, that could not be read."""

    episode: str
    detail: str


Outcome = Episode | Drop | Failure
