"""What a source is: the facts about a dataset, its settings, its parts, and the raw tree it reads."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import BinaryIO, Protocol

from vita_data.types.episode import Outcome
from vita_data.types.terms import READ_BLOCK_BYTES, ActionOrigin, Arms, CameraRole, Modality, ResizeMode, TextStyle


@dataclass(frozen=True, slots=True, kw_only=True)
class ActionRange:
    """The 1st and 99th percentile of an arm's motion per native step: dx dy dz in m, droll dpitch dyaw in rad."""

    q01: tuple[float, float, float, float, float, float]
    q99: tuple[float, float, float, float, float, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceInfo:
    """Facts about a dataset that hold for all its episodes; shown by `vita-data sources` and in the card."""

    name: str
    title: str
    embodiment: str
    arms: Arms
    modality: Modality
    hz: float | None
    """Recording rate of the stored steps; None if each file has its own."""
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
    """Whether the hand reaches the target of each action, so that deltas integrate to poses (probe P2)."""
    published_episodes: Mapping[str, int] = field(default_factory=dict)
    """Published numbers of raw episodes by release or table, such as VITA Table 10 (probe P7)."""
    published_range: ActionRange | None = None
    """Public statistics of the arm's motion, for an approximate comparison (probe P5)."""
    notes: tuple[str, ...] = ()
    """Sentences for the card: what a user must know about this source's values."""
    file_sums: tuple[str, ...] = ()
    """sha256 of further files that decide the values, such as a URDF: a build notices if one has changed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceSettings:
    """What `--set KEY=VALUE` may change for every source; a source's own `Settings` extends it."""

    min_frames: int = 13
    """Minimum number of rows of a clip; the paper requires more than 12 frames (VITA 7.1)."""
    hz: float | None = None
    """Overrides the recording rate."""
    resize: ResizeMode = ResizeMode.PLAIN
    frames_quality: int = 95
    unit_bytes: int = 2 << 30
    """Raw bytes after which a work unit is full; units of a small source are smaller (vita_data/README.md)."""

    def __post_init__(self) -> None:
        """Refuse values that make no sense.

        Raises:
            ValueError: names the setting and its range.
        """
        if self.min_frames < 1 or self.unit_bytes < 1:
            raise ValueError("min_frames and unit_bytes must be greater than 0")
        if self.hz is not None and not 0 < self.hz < 1e6:
            raise ValueError(f"hz must be greater than 0; found {self.hz}")
        if not 1 <= self.frames_quality <= 100:
            raise ValueError(f"frames_quality must be from 1 to 100; found {self.frames_quality}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """One raw file, or a part of one: the smallest amount of build work: one file of the raw tree."""

    id: str
    """Path relative to the raw tree, with `/`."""
    num_bytes: int
    num_episodes: int | None
    """Raw episodes inside; None if not known before reading."""


class RawTree(Protocol):
    """A raw dataset folder on a disk or in a store; paths are relative and use `/`."""

    @property
    def root(self) -> str:
        """The path or URL as the user gave it, for messages."""

    def glob(self, pattern: str) -> list[str]:
        """List files and folders that match, sorted; a wildcard matches within one folder level.

        Links to files and folders are followed. For a broken link to a folder, the file that would be matched inside it
        is listed, so that it fails instead of disappearing. Hidden names (`._NAME`, `.Trash-1000`) and other files that
        operating systems create are left out.

        Raises:
            RequestError: a link points to itself or to a folder above it.
            StorageError: a folder may not be listed, or is a broken link in front of a wildcard; or a store does not
                answer.
        """

    def exists(self, path: str) -> bool:
        """Tell whether a file, folder or link exists; broken links count.

        Raises:
            StorageError: a folder in the path may not be entered or is a broken link, or a store does not answer.
        """

    def is_dangling(self, path: str) -> bool:
        """Tell whether a path is, or is below, a broken link."""

    def find_twice(self, paths: Sequence[str]) -> tuple[str, str] | None:
        """Return two of the (distinct) paths that are the same file or folder through a link; None if there are none.

        An object store has no links.
        """

    def size(self, path: str) -> int:
        """Size of a file in bytes; 0 for a broken link.

        Raises:
            FileNotFoundError: the file does not exist.
        """

    def read_bytes(self, path: str) -> bytes:
        """Return the whole content of a small file."""

    def open(self, path: str, *, block_bytes: int = READ_BLOCK_BYTES) -> BinaryIO:
        """Open a file for random access; from an object store, only the requested ranges are fetched.

        Args:
            path: the file.
            block_bytes: how much one request to an object store fetches beyond the requested range.

        Raises:
            FileNotFoundError: the file does not exist.
            StorageError: an object store does not answer or denies access, now or at any later read.
        """

    def local_path(self, path: str) -> str:
        """Return a path that C libraries can open; a file of an object store is copied, completely or not at all.

        A copy lasts until the part has been read. If the file does not exist, neither does the returned path.
        """


class Source(Protocol):
    """What a file in `vita_data/sources/` defines at module level."""

    INFO: SourceInfo

    @property
    def Settings(self) -> type[SourceSettings]:  # noqa: N802 - it is a class
        """The dataclass of this source's `--set` keys."""

    def parts(self, raw: RawTree, settings: SourceSettings) -> list[Part]:
        """List the parts, sorted, without reading them.

        Raises:
            RequestError: the tree is not this dataset's layout.
        """

    def episodes(self, raw: RawTree, part: Part, settings: SourceSettings) -> Iterator[Outcome]:
        """Read one part: yield every raw episode once, as an Episode, a Drop or a Failure.

        Raises:
            SourceError: the file itself cannot be read; outcomes yielded before remain valid.
        """

    def write_toy(self, root: str) -> None:
        """Write a small raw tree in the real on-disk layout."""
