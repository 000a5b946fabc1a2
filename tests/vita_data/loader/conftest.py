"""Synthetic shards: clips whose frames and numbers say where they come from, so that a batch can be checked exactly."""

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest
import simplejpeg

from vita_data.formats.toy import toy_frame
from vita_data.shards.stats import write_stats
from vita_data.shards.writer import ShardWriter
from vita_data.types import (
    ACTION_DIM,
    STATE_DIM,
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
    (folder / "dataset.json").write_text(json.dumps({"shards": {"train": summaries, "val": []}}))
    write_stats(folder)
    return folder


def manifest_of(**weights: float) -> Manifest:
    """A mixture of sources by name."""
    entries = tuple(MixtureEntry(source=source, weight=weight) for source, weight in weights.items())
    return Manifest(name="test", entries=entries, path="test.toml")


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
