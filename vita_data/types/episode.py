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
    """One text of an episode and where it comes from: human, auto, template, task_name or narration."""

    text: str
    origin: str
    template: str = field(default="", compare=False)
    """The pattern with [brackets] that the text fills in, where the source has one; only judged (T3), not stored."""


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
        """How many rows have a frame; equals the episode's T."""

    def read(self, rows: Sequence[int], resize: ResizeMode) -> Iterator[JpegFrame | RgbFrame]:
        """Yield the frames of ascending `rows` in one pass; a decoder that scales does so by `resize` to 256x256.

        Raises:
            EpisodeError: the bytes that hold the frames cannot be read (a failed episode).
        """


class DepthStream(Protocol):
    """One depth camera of an episode, read lazily; frame t belongs to row t."""

    def read(self, rows: Sequence[int]) -> Iterator[Float32]:
        """Yield the depth images float32 [h, w] in metres of ascending `rows` in one pass.

        Raises:
            EpisodeError: the bytes that hold them cannot be read (a failed episode).
        """


@dataclass(frozen=True, slots=True, kw_only=True)
class PoseTarget:
    """Where the hand is told to be: absolute poses in the frame of the state."""

    xyz_m: Float64
    """[T, 3]"""
    rotation: Float64
    """[T, 3, 3]"""


@dataclass(frozen=True, slots=True, kw_only=True)
class PoseDelta:
    """How the hand is told to move in one native step, base frame, rotation applied from the left."""

    xyz_m: Float64
    """[T, 3]"""
    rotation: Float64
    """[T, 3, 3]"""


@dataclass(frozen=True, slots=True, kw_only=True)
class ArmAction:
    """One arm's action, row by row: a target pose or a delta, the gripper (1 open) and joint targets if recorded."""

    motion: PoseTarget | PoseDelta
    gripper_open: Float64
    """[T], 0 closed .. 1 open, absolute."""
    joint_target_rad: Float64 | None = None
    """[T, up to 7]"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Arm:
    """One arm's measurements and action; None where the dataset has no such reading."""

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
    """One raw demonstration, read and renamed but not yet normalized. Streams are valid until the next is asked for."""

    id: str
    """Path- or uid-derived, unique in the source, stable over reruns."""
    source: str
    release: str
    split: Split | None
    """The source's own split; None: hashed from `split_group` or the id (vita_data/README.md)."""
    embodiment: str
    arms: Arms
    hz: float
    step_index: Int64
    """[T] native index of each row's observation in the raw episode, strictly increasing."""
    instructions: tuple[Instruction, ...]
    """All texts, the main one first; a text that is missing is "", none at all means that the dataset has none by
    design (CALVIN play) and no text rule applies."""
    cameras: Mapping[CameraRole, CameraStream]
    depths: Mapping[CameraRole, DepthStream] = field(default_factory=dict)
    """Depth cameras, only where the build asks for them."""
    right: Arm | None = None
    left: Arm | None = None
    base: Base | None = None
    action_origin: ActionOrigin | None = None
    gaps: Gaps = Gaps.BREAK
    split_group: str | None = None
    provenance: Json = field(default_factory=dict)
    """Raw file (relative, `/`) and record."""
    extras: Json = field(default_factory=dict)
    """What a simulator's own convention needs; JSON values."""

    def __post_init__(self) -> None:
        """Refuse rows that do not line up."""
        if self.step_index.size and not np.all(np.diff(self.step_index) > 0):
            raise ValueError(f"{self.source} episode {self.id}: step_index must increase strictly")


@dataclass(frozen=True, slots=True, kw_only=True)
class Drop:
    """An episode that was read and left out, with the reason."""

    episode: str
    reason: Reason
    detail: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """An episode, or a whole part, that could not be read."""

    episode: str
    detail: str


Outcome = Episode | Drop | Failure
