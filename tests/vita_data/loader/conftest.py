"""Synthetic shards: clips whose frames and numbers say where they come from, so that a batch can be checked exactly."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import simplejpeg

from pipelines.bench.loader.card import synthetic_card
from vita_data.formats.toy import toy_frame
from vita_data.loader import Plan
from vita_data.loader.order.pool import OpenEntry
from vita_data.loader.order.request import PlanRequest
from vita_data.loader.windows.clips import ShardView
from vita_data.shards.index import SourceIndex, card_bytes
from vita_data.shards.schema import INDEX_SCHEMA
from vita_data.shards.stats import GroupStats, StatsFile, write_stats
from vita_data.shards.writer import ShardWriter
from vita_data.slots import ACTION_DIM, STATE_DIM
from vita_data.types import (
    ActionOrigin,
    Arms,
    CameraRole,
    Clip,
    Gaps,
    Instruction,
    Manifest,
    MixtureEntry,
    Modality,
    Split,
    Stage,
    StoredFrame,
    Track,
    UnifiedAction,
)  # fmt: skip

ROLES = tuple(CameraRole)


class ClipFactory:
    """Makes clips; action column 16 and state column 24 hold the native step."""

    def __init__(self) -> None:
        self._jpegs: dict[tuple[int, int, int], bytes] = {}

    def jpeg(self, step: int, camera: int, episode: int) -> bytes:
        slot = (step, camera, episode)
        if slot not in self._jpegs:
            frame = toy_frame(256, 256, step=step, camera=camera, episode=episode)
            self._jpegs[slot] = simplejpeg.encode_jpeg(frame, quality=95, colorspace="RGB", colorsubsampling="420")
        return self._jpegs[slot]

    def __call__(
        self, source: str, number: int, *, steps: int | Sequence[int] = 30, hz: float = 5.0,
        modality: Modality = Modality.PAIRED, gaps: Gaps = Gaps.BREAK, all_frames: bool = False,
        cameras: Sequence[CameraRole] = (CameraRole.PRIMARY,), valid: tuple[tuple[int, int], ...] | None = None,
        text: str = "pick up the cup", task: str | None = None, embodiment: str = "widowx", missing: Sequence[int] = (),
    ) -> Clip:  # fmt: skip
        step_index = np.arange(steps) if isinstance(steps, int) else np.array(steps)
        times = (step_index - step_index[0]) / hz
        seconds = range(int(times[-1]) + 1)
        keyframes = [int(np.abs(times - k).argmin()) for k in seconds if np.abs(times - k).min() <= 0.5 / hz]
        rows = range(len(step_index)) if all_frames else keyframes
        frames = {
            role: tuple(
                StoredFrame(row, self.jpeg(int(step_index[row]), ROLES.index(role), number % 32))
                for row in rows
                if row not in missing
            )
            for role in cameras
        }
        action = state = None
        if modality is Modality.PAIRED:
            action = UnifiedAction(
                track=_track(step_index, ACTION_DIM, slice(16, 23), 22),
                valid=valid or ((0, len(step_index)),),
                origin=ActionOrigin.REACHED,
            )
            state = _track(step_index, STATE_DIM, slice(24, 34), 33)
        return Clip(
            key=f"{source}-{number:016x}", source=source, release="1", episode=f"episode/{number}", split=Split.TRAIN,
            modality=modality, embodiment=embodiment, arms=Arms.RIGHT, hz=hz, stride=round(hz), step_index=step_index,
            frames=frames, keyframes=tuple(keyframes), instruction=Instruction(text=text, origin="human"),
            instructions=tuple(Instruction(text=one, origin="human") for one in (text, "do the other thing")),
            action=action, state=state, gaps=gaps, provenance={},
            extras={} if task is None else {"task": task, "suite": "one"},
        )  # fmt: skip


def _track(step_index: np.ndarray, dim: int, columns: slice, gripper: int) -> Track:
    values, mask = np.zeros((len(step_index), dim), np.float32), np.zeros(dim, bool)
    mask[columns] = True
    values[:, columns] = 0.25
    values[:, columns.start] = step_index
    values[:, columns.start + 1] = -2.0 * step_index
    values[:, gripper] = step_index % 2
    return Track(values=values, mask=mask)


def write_source(root: Path, clips: Sequence[Clip], *, per_shard: int = 4) -> Path:
    """Write clips of one source as a finished build: shards, card, statistics."""
    folder = root / clips[0].source
    summaries = []
    for unit, first in enumerate(range(0, len(clips), per_shard)):
        with ShardWriter(folder / "train" / f"{folder.name}-train-{unit:06d}.tar") as writer:
            for clip in clips[first : first + per_shard]:
                writer.add(clip)
        assert writer.summary is not None
        summaries.append(asdict(writer.summary))
    (folder / "dataset.json").write_bytes(card_bytes(synthetic_card(folder.name, summaries, {})))
    write_stats(folder)
    return folder


def manifest_of(**weights: float) -> Manifest:
    """A mixture of sources by name."""
    entries = tuple(MixtureEntry(source=source, weight=weight) for source, weight in weights.items())
    return Manifest(name="test", entries=entries, path="test.toml")


@dataclass(frozen=True, kw_only=True)
class Listed:
    """A clip as an index lists it, without a byte of data."""

    steps: tuple[int, ...]
    stored: tuple[int, ...]
    """Rows with an image."""
    keyframes: tuple[int, ...]
    valid: tuple[tuple[int, int], ...]
    hz: float = 5.0
    gaps: Gaps = Gaps.BREAK
    modality: Modality = Modality.PAIRED
    text: str = "go"

    def row(self, key: str) -> dict[str, object]:
        ref = {"offset": 512, "size": 1, "crc32": 0}
        runs = [row for row, step in enumerate(self.steps) if not row or step != self.steps[row - 1] + 1]
        paired = self.modality is Modality.PAIRED
        return {
            "key": key, "episode": key, "split": "train", "modality": self.modality, "embodiment": "widowx",
            "instruction": self.text, "suite": None, "task": None, "hz": self.hz, "stride": 1,
            "num_steps": len(self.steps), "cameras": ["primary"], "keyframes": self.keyframes,
            "step_runs": [{"row": row, "step": self.steps[row]} for row in runs], "gaps": self.gaps,
            "action_valid": [{"start": a, "stop": b} for a, b in self.valid] if paired else None,
            "clip": ref, "action": ref if paired else None, "state": ref if paired else None,
            "frames": [{"camera": "primary", "step": self.steps[row], **ref} for row in self.stored],
        }  # fmt: skip


def listed_view(rows: Sequence[dict[str, object]], name: str = "x.tar") -> ShardView:
    """A shard of which there is only the index, in memory."""
    return ShardView(Path(name), pa.Table.from_pylist(list(rows), schema=INDEX_SCHEMA))


def listed_plan(
    sources: Mapping[str, Sequence[Sequence[Listed]]], *, weights: Mapping[str, float] | None = None, **request: object
) -> Plan:
    """A plan over shards of which there are only the indexes, in memory: sources, their shards, their clips."""
    opened = []
    for source, shards in sources.items():
        views, first_rows = [], [0]
        for clips in shards:
            keys = [f"{source}-{first_rows[-1] + number:016x}" for number in range(len(clips))]
            rows = [clip.row(key) for clip, key in zip(clips, keys, strict=True)]
            views.append(listed_view(rows, f"{source}-{len(views)}.tar"))
            first_rows.append(first_rows[-1] + len(clips))
        names = tuple(view.shard for view in views)
        index = SourceIndex(source, Split.TRAIN, names, ("",) * len(views), f"digest of {sources[source]}")
        index.__dict__["tables"] = tuple(view._table for view in views)
        none = GroupStats(action=None, state=None)
        entry = MixtureEntry(source=source, weight=(weights or {}).get(source, 1.0))
        stats = StatsFile(name=source, source=none, embodiment={})
        chosen, first = np.ones(first_rows[-1], bool), np.array(first_rows[:-1])
        opened.append(
            OpenEntry(entry=entry, index=index, stats=stats, views=tuple(views), first_rows=first, chosen=chosen)
        )
    manifest = Manifest(name="listed", entries=tuple(one.entry for one in opened), path="listed.toml")
    return Plan.resolve(manifest, opened, PlanRequest(**{"stage": Stage.WARMUP, "batch_size": 8, **request}))


@pytest.fixture(scope="session")
def listed() -> type[Listed]:
    return Listed


@pytest.fixture(scope="session")
def view_listed() -> Callable[..., ShardView]:
    return listed_view


@pytest.fixture(scope="session")
def plan_listed() -> Callable[..., Plan]:
    return listed_plan


@pytest.fixture(scope="session")
def make_clip() -> ClipFactory:
    return ClipFactory()


@pytest.fixture(scope="session")
def save() -> Callable[..., Path]:
    return write_source


@pytest.fixture(scope="session")
def manifest() -> Callable[..., Manifest]:
    return manifest_of


@pytest.fixture(scope="session")
def shards(tmp_path_factory: pytest.TempPathFactory, make_clip: ClipFactory) -> Path:
    """Three sources: `arm` and `hand` are paired, `human` is video."""
    root = tmp_path_factory.mktemp("synthetic")
    both = (CameraRole.PRIMARY, CameraRole.WRIST_RIGHT)
    write_source(root, [make_clip("arm", n, steps=20 + 5 * n, task=f"task{n % 2}") for n in range(7)])
    write_source(root, [make_clip("hand", n, steps=24, all_frames=True, cameras=both) for n in range(3)])
    write_source(root, [make_clip("human", n, steps=60, modality=Modality.VIDEO) for n in range(5)])
    return root
