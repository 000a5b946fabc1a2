"""Terms that all packages share: modalities, cameras, arms, drop reasons, sizes, array types."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

IMAGE_SIZE = 256
MAX_CLIP_S = 600
READ_BLOCK_BYTES = 8 << 20
"""How much one request to an object store fetches beyond the requested range."""
Float64 = NDArray[np.float64]
Float32 = NDArray[np.float32]
Int64 = NDArray[np.int64]
Bool = NDArray[np.bool_]
Image = NDArray[np.uint8]
Json = Mapping[str, object]


class Modality(StrEnum):
    """What a clip or a batch contains."""

    VIDEO = "video"
    ACTION = "action"
    PAIRED = "paired"


class CameraRole(StrEnum):
    """The position of a camera, independent of the dataset's name for it."""

    PRIMARY = "primary"
    SECONDARY = "secondary"
    WRIST_RIGHT = "wrist_right"
    WRIST_LEFT = "wrist_left"


class Split(StrEnum):
    """The two splits that shards are written for."""

    TRAIN = "train"
    VAL = "val"


class Arms(StrEnum):
    """Which limbs an episode moves."""

    NONE = "none"
    RIGHT = "right"
    LEFT = "left"
    BOTH = "both"
    BASE = "base"


class ActionOrigin(StrEnum):
    """Whether the stored action is the command or the reached pose."""

    COMMANDED = "commanded"
    REACHED = "reached"


class Gaps(StrEnum):
    """What a jump in `step_index` means for an action chunk: its end, or removed no-ops to bridge."""

    BREAK = "break"
    BRIDGE = "bridge"


class ResizeMode(StrEnum):
    """How an image is resized to 256x256: the whole image, or its centre square."""

    PLAIN = "plain"
    CENTER_CROP = "center_crop"


class FrameSelection(StrEnum):
    """Which rows' images are stored: those on the 1-second stride (pretraining), or all (fine-tuning)."""

    KEYFRAMES = "keyframes"
    ALL = "all"


class EpisodeOutcome(StrEnum):
    """The outcome of a raw episode."""

    OK = "ok"
    DROPPED = "dropped"
    FAILED = "failed"


class TextStyle(StrEnum):
    """Which text rules of vita_data/README.md apply to a source's instructions."""

    IMPERATIVE = "imperative"
    DESCRIPTION = "description"
    NARRATION = "narration"
    CONSTANT = "constant"


class Reason(StrEnum):
    """Why an episode was dropped: the codes of vita_data/README.md."""

    EMPTY = "T1"
    PLACEHOLDER = "T2"
    TEMPLATE = "T3"
    UNSURE = "T4"
    NOT_WEARER = "T5"
    TOO_FEW_WORDS = "T6"
    GLUED = "T7"
    GARBAGE = "T8"
    NO_LETTERS = "T9"
    TOO_LONG = "T10"
    REPETITION = "T11"
    UNDECODABLE = "V1"
    BLACK = "V2"
    SHORT = "short"
    UNSUCCESSFUL = "unsuccessful"
    NO_OUTCOME = "no_outcome"
    IDLE = "idle"
    STUCK_EEF = "stuck_eef"
    REDACTED = "redacted"
    STEREO = "stereo"
    INVALID_ANNOTATION = "invalid_annotation"
    OUTLIERS = "outliers"
    NONFINITE = "nonfinite"
    HELD_OUT = "held_out"
    NO_CAMERA = "no_camera"
