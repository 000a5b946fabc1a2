"""Types that training uses: mixtures, stages, windows, the draw order, batches."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, fields, replace
from enum import StrEnum
from html import escape
from typing import TYPE_CHECKING, Any

from vita_data.types.terms import CameraRole, Modality, Split

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True, slots=True, kw_only=True)
class MixtureEntry:
    """One source of a mixture: a relative weight and the part of the source to use."""

    source: str
    weight: float
    split: Split = Split.TRAIN
    note: str = ""
    where: Mapping[str, str] = field(default_factory=dict)
    fraction: float = 1.0
    condition: str = ""
    """Only episodes that satisfy this condition on the episode table; empty: all."""
    exclude: str = ""
    """File with the ids of episodes that are not used; empty: none."""


class Basis(StrEnum):
    """What a source's share is proportional to (vita_data/README.md)."""

    WEIGHT = "weight"
    FRAMES = "frames"
    WINDOWS = "windows"


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """A mixture of sources, as written by people."""

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
    """Where image windows may start: at keyframes, or at every row with a stored image."""

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
    """Duration of an action chunk of `horizon` equally spaced samples, at any rate; None: `horizon` native steps."""


class Order(StrEnum):
    """How the windows of a source are ordered: shuffled over the whole source, or within a few shards at a time."""

    GLOBAL = "global"
    WINDOW = "window"


@dataclass(frozen=True, slots=True, kw_only=True)
class DrawOrder:
    """The draw order within each source; part of the plan and its hash (vita_data/README.md)."""

    kind: Order = Order.GLOBAL
    num_shards: int = 16
    """Number of shards of a source that windows are drawn from at a time, if `kind` is `window`."""


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


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class Batch:
    """The input of the model (vita_data/README.md); absent members are None: no action in video, no image in action."""

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
    """float32 [B, H, 14], normalized; with joints [B, H, 28]"""
    action_mask: torch.Tensor | None
    """bool, as `action`"""
    state: torch.Tensor | None
    """float32 [B, 64], normalized"""
    state_mask: torch.Tensor | None
    """bool [B, 64]"""

    def __len__(self) -> int:
        return len(self.source)

    def to(self, device: torch.device | str) -> Batch:
        """Move the tensors to a device; asynchronously from pinned memory."""
        return self.mapped(lambda tensor: tensor.to(device, non_blocking=True))

    def pin_memory(self) -> Batch:
        """Copy the tensors to page-locked memory; `DataLoader(pin_memory=True)` calls this."""
        return self.mapped(lambda tensor: tensor.pin_memory())

    def mapped(self, change: Callable[[torch.Tensor], torch.Tensor]) -> Batch:
        """Change every tensor."""
        changed: dict[str, Any] = {name: change(tensor) for name, tensor in self._tensors()}
        return replace(self, **changed)

    def _tensors(self) -> Iterator[tuple[str, torch.Tensor]]:
        for one in fields(self):
            value = getattr(self, one.name)
            if hasattr(value, "dtype"):
                yield one.name, value

    def _shapes(self) -> Iterator[tuple[str, str]]:
        for name, tensor in self._tensors():
            yield name, f"{str(tensor.dtype).removeprefix('torch.')} {list(tensor.shape)}"

    def _sources(self) -> str:
        return ", ".join(f"{name} {count}" for name, count in sorted(Counter(self.source).items()))

    def __repr__(self) -> str:
        shapes = ", ".join(f"{name} {shape}" for name, shape in self._shapes())
        return f"Batch({self.modality}, {len(self)} samples ({self._sources()}): {shapes})"

    def _repr_html_(self) -> str:
        rows = "".join(f"<tr><td>{name}</td><td>{escape(shape)}</td></tr>" for name, shape in self._shapes())
        texts = "".join(f"<li>{escape(text)}</li>" for text in list(dict.fromkeys(self.instruction))[:5] if text)
        head = f"<b>Batch</b>, {escape(str(self.modality))}, {len(self)} samples ({escape(self._sources())})"
        return f"{head}<table>{rows}</table><ul>{texts}</ul>"
