"""Every value that crosses a module border: Episode -> Clip -> Window -> Batch, and what surrounds them.

Numpy only; importing this file imports no torch (`Batch` names its tensors for type checkers alone).
Letters: T rows at the source's native rate, K keyframes, V views, F futures, H horizon, B batch.
Masks are True where a value is real.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, BinaryIO, Protocol

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    import torch

IMAGE_SIZE = 256
ACTION_DIM = 40
STATE_DIM = 64
MAX_CLIP_S = 600
READ_BLOCK_BYTES = 8 << 20
"""What one request to an object store fetches beyond what was asked for."""

Float64 = NDArray[np.float64]
Float32 = NDArray[np.float32]
Int64 = NDArray[np.int64]
Bool = NDArray[np.bool_]
Image = NDArray[np.uint8]
Json = Mapping[str, object]


class Modality(StrEnum):
    """What a clip or a batch holds."""

    VIDEO = "video"
    ACTION = "action"
    PAIRED = "paired"


class CameraRole(StrEnum):
    """Where a camera looks from, whatever the dataset calls it."""

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
    """Whether the stored action is what was commanded or the pose that was reached."""

    COMMANDED = "commanded"
    REACHED = "reached"


class Gaps(StrEnum):
    """What a jump in `step_index` means to an action chunk: the end of it, or removed no-ops to bridge."""

    BREAK = "break"
    BRIDGE = "bridge"


class ResizeMode(StrEnum):
    """How an image becomes 256x256: the whole of it, or its centre square."""

    PLAIN = "plain"
    CENTER_CROP = "center_crop"


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


# ---------------------------------------------------------------------------------------------------- sources


@dataclass(frozen=True, slots=True, kw_only=True)
class ActionRange:
    """The 1st and 99th percentile of an arm's motion per native step: dx dy dz in m, droll dpitch dyaw in rad."""

    q01: tuple[float, float, float, float, float, float]
    q99: tuple[float, float, float, float, float, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceInfo:
    """The facts about a dataset that are true of all its episodes; shown by `vita-data sources` and in the card."""

    name: str
    title: str
    embodiment: str
    arms: Arms
    modality: Modality
    hz: float | None
    """Recording rate of the stored steps; None where each file carries its own."""
    cameras: Mapping[CameraRole, str]
    """Role -> the dataset's own key."""
    action_origin: ActionOrigin | None
    action_space: str
    text_style: TextStyle
    licence: str
    redistributable: bool
    access: str
    url: str
    raw_layout: str
    max_step_m: float = 0.3
    max_step_rad: float = 1.0
    action_lag: int = 0
    """Native steps by which the hand's motion follows its action (probe P4)."""
    tracks_commands: bool = True
    """Whether the hand gets where each action sends it, so that deltas integrate to poses (probe P2)."""
    published_episodes: Mapping[str, int] = field(default_factory=dict)
    """What was counted (a release, VITA Table 10) -> raw episodes in it (probe P7)."""
    published_range: ActionRange | None = None
    """Public statistics of the arm's motion, for a tolerant comparison (probe P5)."""
    notes: tuple[str, ...] = ()
    """Sentences for the card: what a user must know about this source's values."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceSettings:
    """What `--set KEY=VALUE` may change for every source; a source's own `Settings` extends it."""

    min_frames: int = 13
    """Rows a clip needs; the paper asks for more than 12 frames (VITA 7.1)."""
    hz: float | None = None
    """Overrides the recording rate."""
    resize: ResizeMode = ResizeMode.PLAIN
    frames_quality: int = 95
    unit_bytes: int = 2 << 30
    """Raw bytes after which a work unit is full; in a small source it is full earlier (vita_data/README.md)."""

    def __post_init__(self) -> None:
        """Refuse values that no build can mean.

        Raises:
            ValueError: names the setting and its range.
        """
        if self.min_frames < 1 or self.unit_bytes < 1:
            raise ValueError("min_frames and unit_bytes must be above 0")
        if self.hz is not None and not 0 < self.hz < 1e6:
            raise ValueError(f"hz must be a rate above 0, found {self.hz}")
        if not 1 <= self.frames_quality <= 100:
            raise ValueError(f"frames_quality must be from 1 to 100, found {self.frames_quality}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """A unit of build work: one file of the raw tree."""

    id: str
    """Path relative to the raw tree, with `/`."""
    num_bytes: int
    num_episodes: int | None
    """Raw episodes inside, None where only reading tells."""


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


class RawTree(Protocol):
    """A raw dataset folder, whatever store it lies in; paths are relative and use `/`."""

    @property
    def root(self) -> str:
        """The path or URL as the user gave it, for messages."""

    def glob(self, pattern: str) -> list[str]:
        """List files and folders that match, sorted; a wildcard stays inside one folder level.

        Links to files and folders are followed. Where one leads to nothing, the file that would be wanted there is
        listed, so that it fails instead of vanishing. Hidden names (`._NAME`, `.Trash-1000`) and what else systems
        leave in folders are left out.

        Raises:
            RequestError: a link leads back to itself or to a folder above it.
            StorageError: a folder may not be listed, or is a link to nothing and a wildcard follows; or a store does
                not answer.
        """

    def exists(self, path: str) -> bool:
        """Tell whether a file or folder is there, or a link, be it to nothing.

        Raises:
            StorageError: a folder on the way may not be entered or is a link to nothing, or a store does not answer.
        """

    def is_dangling(self, path: str) -> bool:
        """Tell whether a path is, or is below, a link to nothing."""

    def find_twice(self, paths: Sequence[str]) -> tuple[str, str] | None:
        """Name two of the paths, each given once, that links make one and the same file or folder; None without such.

        An object store has no links.
        """

    def size(self, path: str) -> int:
        """Size of a file in bytes; 0 where a link leads to nothing.

        Raises:
            FileNotFoundError: there is no such file.
        """

    def read_bytes(self, path: str) -> bytes:
        """The whole of a small file."""

    def open(self, path: str, *, block_bytes: int = READ_BLOCK_BYTES) -> BinaryIO:
        """Open a file for reading from any place in it; from an object store only what is asked for is fetched.

        Args:
            path: the file.
            block_bytes: what one request to an object store fetches beyond what was asked for.

        Raises:
            FileNotFoundError: there is no such file.
            StorageError: an object store does not answer or refuses, then or at any read.
        """

    def local_path(self, path: str) -> str:
        """A path that C libraries can open; a file of an object store is copied, whole or not at all.

        A copy lasts until the part has been read. There is nothing at the path where there is no such file.
        """


class Source(Protocol):
    """What a file in `vita_data/sources/` defines at module level."""

    INFO: SourceInfo

    @property
    def Settings(self) -> type[SourceSettings]:  # noqa: N802 - it is a class
        """The dataclass of this source's `--set` keys."""

    def parts(self, raw: RawTree, settings: SourceSettings) -> list[Part]:
        """List the units of work, sorted, without reading them.

        Raises:
            RequestError: the tree is not this dataset's layout.
        """

    def episodes(self, raw: RawTree, part: Part, settings: SourceSettings) -> Iterator[Outcome]:
        """Read one part: every raw episode comes out once, as an Episode, a Drop or a Failure.

        Raises:
            SourceError: the file itself cannot be read; what was yielded before stands.
        """

    def write_toy(self, root: str) -> None:
        """Write a small raw tree in the true on-disk layout."""


# ---------------------------------------------------------------------------------------------------- clips


@dataclass(frozen=True, slots=True, kw_only=True)
class Track:
    """Values [T, D] with the mask [D] of the columns that are real; masked entries are zero."""

    values: Float32
    mask: Bool

    def __post_init__(self) -> None:
        """Keep the promise that a masked entry is zero."""
        if self.values.shape[1:] != self.mask.shape or np.any(self.values[:, ~self.mask]):
            raise ValueError("a Track's masked columns must exist and be zero")


@dataclass(frozen=True, slots=True, kw_only=True)
class UnifiedAction:
    """Canonical actions [T, 40] in the slots of vita_data/README.md, physical units."""

    track: Track
    valid: tuple[tuple[int, int], ...]
    """Half-open row ranges whose values may be learned from."""
    origin: ActionOrigin


class KeptBytes(Protocol):
    """Bytes that lie outside memory until they are asked for."""

    def read(self) -> bytes:
        """Fetch the bytes; each call reads anew and keeps nothing."""


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
    """A depth image float32 [256, 256] in metres and the clip row it belongs to; kept bytes are its values by rows."""

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


# ---------------------------------------------------------------------------------------------------- mixtures


@dataclass(frozen=True, slots=True, kw_only=True)
class MixtureEntry:
    """One source of a mixture: a relative weight and what part of the source it takes."""

    source: str
    weight: float
    split: Split = Split.TRAIN
    note: str = ""
    where: Mapping[str, str] = field(default_factory=dict)
    fraction: float = 1.0


class Basis(StrEnum):
    """What a source's share is proportional to (vita_data/README.md)."""

    WEIGHT = "weight"
    FRAMES = "frames"
    WINDOWS = "windows"


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """A mixture of sources, as people write it."""

    name: str
    entries: tuple[MixtureEntry, ...]
    path: str
    basis: Basis = Basis.WEIGHT
    temperature: float = 1.0
    max_repeats_per_100k_steps: float | None = None


class Stage(StrEnum):
    """The three training stages (VITA 3.3, Algorithm 1)."""

    WARMUP = "warmup"
    COTRAIN = "cotrain"
    FINETUNE = "finetune"


class Starts(StrEnum):
    """Where image windows may start: at keyframes, or at every stored image."""

    KEYFRAMES = "keyframes"
    ROWS = "rows"


@dataclass(frozen=True, slots=True, kw_only=True)
class WindowSpec:
    """How samples are cut from clips; part of the plan and its hash (vita_data/README.md)."""

    starts: Starts
    horizon: int
    futures: int
    frame_interval_s: float = 1.0
    views: tuple[CameraRole, ...] = (CameraRole.PRIMARY,)
    min_futures: int = 0
    chunk_s: float | None = None
    """Span that an action chunk covers in `horizon` equal samples, whatever the rate; None: `horizon` native steps."""


class Order(StrEnum):
    """How the windows of a source follow one another: all shuffled as one, or within a few shards at a time."""

    GLOBAL = "global"
    WINDOW = "window"


@dataclass(frozen=True, slots=True, kw_only=True)
class DrawOrder:
    """The order inside each source; part of the plan and its hash (vita_data/README.md)."""

    kind: Order = Order.GLOBAL
    num_shards: int = 16
    """Shards of a source that draws stay within at a time, where `kind` is `window`."""


@dataclass(frozen=True, slots=True)
class Window:
    """What one training sample is cut from: a clip and its start step (native index)."""

    source: str
    key: str
    step: int


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchPlan:
    """The windows of one rank's slice of one global batch."""

    step: int
    modality: Modality
    windows: tuple[Window, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """What the model gets (vita_data/README.md); absent members are None: no action in video, no image in action."""

    modality: Modality
    source: list[str]
    key: list[str]
    instruction: list[str]
    images: torch.Tensor | None
    """uint8 [B, V, 256, 256, 3]"""
    image_mask: torch.Tensor | None
    """bool [B, V]"""
    future: torch.Tensor | None
    """uint8 [B, F, 256, 256, 3]"""
    future_mask: torch.Tensor | None
    """bool [B, F]"""
    action: torch.Tensor | None
    """float32 [B, H, 14], normalized"""
    action_mask: torch.Tensor | None
    """bool [B, H, 14]"""
    state: torch.Tensor | None
    """float32 [B, 64], normalized"""
    state_mask: torch.Tensor | None
    """bool [B, 64]"""
