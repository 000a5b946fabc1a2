"""A normalized episode as shards hold it: actions and states in the unified vector, stored frames."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np

from vita_data.types.episode import Instruction
from vita_data.types.terms import (
    IMAGE_SIZE,
    ActionOrigin,
    Arms,
    Bool,
    CameraRole,
    Float32,
    Gaps,
    Int64,
    Json,
    Modality,
    Split,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Track:
    """Values [T, D] with the mask [D] of the columns that are real; masked entries are zero."""

    values: Float32
    mask: Bool

    def __post_init__(self) -> None:
        """Check that masked entries are zero."""
        if self.values.shape[1:] != self.mask.shape or np.any(self.values[:, ~self.mask]):
            raise ValueError("the masked columns of a Track must exist and be zero")


@dataclass(frozen=True, slots=True, kw_only=True)
class UnifiedAction:
    """Canonical actions [T, 40] in the slots of vita_data/README.md, physical units."""

    track: Track
    valid: tuple[tuple[int, int], ...]
    """Half-open row ranges whose values may be used for training."""
    origin: ActionOrigin

    @property
    def is_valid(self) -> Bool:
        """Whether each row [T] lies in one of the ranges."""
        found = np.zeros(len(self.track.values), bool)
        for start, stop in self.valid:
            found[start:stop] = True
        return found


class KeptBytes(Protocol):
    """Bytes that are stored outside memory until they are read."""

    def read(self) -> bytes:
        """Read the bytes; each call reads them again and caches nothing."""


@dataclass(frozen=True, slots=True)
class StoredFrame:
    """An encoded 256x256 RGB JPEG and the clip row it belongs to."""

    row: int
    data: bytes | KeptBytes

    @property
    def jpeg(self) -> bytes:
        """The JPEG's bytes."""
        return self.data if isinstance(self.data, bytes) else self.data.read()


@dataclass(frozen=True, slots=True, eq=False)
class StoredDepth:
    """A depth image float32 [256, 256] in metres and the clip row it belongs to; kept bytes hold the values by rows."""

    row: int
    data: Float32 | KeptBytes

    @property
    def metres(self) -> Float32:
        """The image's values [256, 256]."""
        if isinstance(self.data, np.ndarray):
            return self.data
        return np.frombuffer(self.data.read(), np.float32).reshape(IMAGE_SIZE, IMAGE_SIZE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Clip:
    """A normalized episode (or 600 s of one) as stored: one tar sample."""

    key: str
    source: str
    release: str
    episode: str
    split: Split
    modality: Modality
    embodiment: str
    arms: Arms
    hz: float
    stride: int
    step_index: Int64
    frames: Mapping[CameraRole, tuple[StoredFrame, ...]]
    keyframes: tuple[int, ...]
    instruction: Instruction
    instructions: tuple[Instruction, ...]
    action: UnifiedAction | None
    state: Track | None
    gaps: Gaps
    provenance: Json
    extras: Json
    depths: Mapping[CameraRole, tuple[StoredDepth, ...]] = field(default_factory=dict)

    @property
    def num_steps(self) -> int:
        """Rows in this clip."""
        return len(self.step_index)
