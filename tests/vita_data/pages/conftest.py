"""A shard folder with two synthetic sources, one hostile and gappy with actions, one closed video source; and a run."""

import json
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import pytest
import simplejpeg

from vita_data.builder.finish import finish
from vita_data.builder.records import EpisodeRow, UnitRecord
from vita_data.formats.toy import toy_frame
from vita_data.shards.writer import ShardSummary, ShardWriter
from vita_data.types import (
    ActionOrigin,
    Arms,
    CameraRole,
    Clip,
    EpisodeOutcome,
    Gaps,
    Instruction,
    Modality,
    SourceInfo,
    Split,
    StoredFrame,
    TextStyle,
    Track,
    UnifiedAction,
)

HOSTILE = "put <script>alert('x')</script> & \"bowl\" </table>"
NUM_STEPS = 60
FINGERPRINT = {
    "settings": {"hz": None, "min_frames": 13, "resize": "plain"},
    "frames": "keyframes",
    "limit": None,
    "versions": {},
}


def jpeg(step: int) -> bytes:
    return simplejpeg.encode_jpeg(toy_frame(256, 256, step=step), quality=90)


def make_clip(source: str, number: int, *, split: Split, with_action: bool) -> Clip:
    """Rows 30.. start at native step 50, so that steps 30..49 are left out; rows 5..7 are invalid."""
    steps = np.concatenate([np.arange(30), np.arange(50, 50 + NUM_STEPS - 30)])
    values, mask = np.zeros((NUM_STEPS, 40), np.float32), np.zeros(40, bool)
    mask[16:23] = True
    values[:, 16:23] = np.sin(steps[:, None] / 9 + np.arange(7)) * 0.02
    state, state_mask = np.zeros((NUM_STEPS, 64), np.float32), np.zeros(64, bool)
    state_mask[24:27] = True
    state[:, 24:27] = np.cos(steps[:, None] / 9 + np.arange(3))
    action = UnifiedAction(
        track=Track(values=values, mask=mask), valid=((0, 5), (8, NUM_STEPS)), origin=ActionOrigin.REACHED
    )
    frames = tuple(StoredFrame(row, jpeg(int(steps[row]))) for row in range(0, NUM_STEPS, 2))
    text = Instruction(text=HOSTILE if with_action else "Moving something", origin="human")
    return Clip(
        key=f"{source}-{number:016x}", source=source, release="v1", episode=f"episode {number}", split=split,
        modality=Modality.PAIRED if with_action else Modality.VIDEO, embodiment="widowx", arms=Arms.RIGHT, hz=10.0,
        stride=10, step_index=steps, frames={CameraRole.PRIMARY: frames}, keyframes=tuple(range(0, NUM_STEPS, 10)),
        instruction=text, instructions=(text,), action=action if with_action else None,
        state=Track(values=state, mask=state_mask) if with_action else None, gaps=Gaps.BREAK,
        provenance={"file": "raw/a.tfrecord", "record": number}, extras={},
    )  # fmt: skip


def make_info(name: str, *, with_action: bool) -> SourceInfo:
    return SourceInfo(
        name=name, title=f"{name} title", embodiment="widowx", arms=Arms.RIGHT if with_action else Arms.NONE,
        modality=Modality.PAIRED if with_action else Modality.VIDEO, hz=10.0, cameras={CameraRole.PRIMARY: "image_0"},
        action_origin=ActionOrigin.REACHED if with_action else None, action_space="7-D",
        text_style=TextStyle.IMPERATIVE,
        licence="CC BY 4.0" if with_action else "research only", redistributable=with_action, access="open",
        url="https://example.org", raw_layout="files", notes=("A <b>note</b>.",),
    )  # fmt: skip


def write_source(folder: Path, *, with_action: bool, change: Callable[[Clip], Clip] = lambda clip: clip) -> None:
    """Write five clips (four train, one val), two drops and one failure."""
    name = folder.name
    shards: list[tuple[Split, ShardSummary]] = []
    rows: list[EpisodeRow] = []
    for split, numbers in ((Split.TRAIN, range(4)), (Split.VAL, range(4, 5))):
        with ShardWriter(folder / split / f"{name}-{split}-000000.tar") as writer:
            for number in numbers:
                clip = change(make_clip(name, number, split=split, with_action=with_action))
                writer.add(clip)
                rows.append(
                    EpisodeRow(
                        id=clip.episode, part="a", outcome=EpisodeOutcome.OK, clip=clip.key, split=split,
                        modality=clip.modality, embodiment="widowx", release="v1", num_clips=1, num_steps=NUM_STEPS,
                        num_frames=NUM_STEPS // 2,
                    )
                )  # fmt: skip
        assert writer.summary is not None
        shards.append((split, writer.summary))
    rows += [EpisodeRow(id=f"drop {i}", part="a", outcome=EpisodeOutcome.DROPPED, reason="short") for i in range(2)]
    rows.append(EpisodeRow(id="broken", part="b", outcome=EpisodeOutcome.FAILED, detail="cannot be read"))
    record = UnitRecord(number=0, plan="a", episodes=tuple(rows), shards=tuple(shards))
    finish(folder, make_info(name, with_action=with_action), FINGERPRINT, [record])


@pytest.fixture(scope="session")
def shard_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("shards")
    write_source(folder / "arm", with_action=True)
    write_source(folder / "film", with_action=False)
    return folder


def metrics_row(step: int) -> Mapping[str, object]:
    modality = "video" if step % 2 else "action"
    shares = {"arm": 0.25, "film": 0.75} if modality == "video" else {"arm": 1.0}
    return {
        "step": step,
        "stage": "warmup",
        "modality": modality,
        "loss": 2.0 / step,
        "l1": 1.0 / step,
        "token_perplexity": 3.0 + step,
        "lr": 1e-4,
        "samples_per_s": 12.5,
        "novel": 0.5,
        "shares": shares,
    }


FIGURES = {
    "frames/l1": 0.031, "frames/shuffled_l1": 0.062, "frames/mean_latent_l1": 0.05, "frames/copy_l1": 0.052,
    "actions/mse": 0.2, "actions/shuffled_mse": 0.2, "actions/mean_mse": 0.567, "actions/arm/position_m": 0.01,
    "cross/action_mse": 0.021, "cross/action_mean_mse": 0.563,
    "codes/rank_video": 3.5, "codes/used_video": 160.0, "codes/rank_action": 2.25,
    "codes/agreement": 0.52, "codes/agreement_chance": 0.009,
}  # fmt: skip
"""An evaluation after a step."""

SOURCE_FIGURES = {
    "frames/arm/l1": 0.03, "frames/arm/shuffled_l1": 0.06, "frames/arm/mean_latent_l1": 0.05,
    "frames/arm/copy_l1": 0.05, "frames/arm/windows": 24.0,
    "frames/film/l1": 0.09, "frames/film/shuffled_l1": 0.09, "frames/film/mean_latent_l1": 0.09,
    "frames/film/copy_l1": 0.06, "frames/film/windows": 72.0,
    "actions/arm/mse": 0.2, "actions/arm/shuffled_mse": 0.4, "actions/arm/mean_latent_mse": 0.3,
    "actions/arm/mean_mse": 0.5, "actions/arm/windows": 12.0,
    "actions/arm/position_m": 0.01, "actions/arm/rotation_rad": 0.02,
}  # fmt: skip
"""The part of it that is of each source."""


@pytest.fixture
def run_folder(tmp_path: Path) -> Path:
    return write_run(tmp_path / "run-one")


def write_run(run: Path) -> Path:
    """Write a run of 40 steps that was not evaluated."""
    (run / "previews").mkdir(parents=True)
    rows = [json.dumps(metrics_row(step)) for step in range(1, 41)]
    (run / "metrics.jsonl").write_text("\n".join(rows) + "\n")
    for step in (20, 40):
        (run / "previews" / f"step-{step:08d}-frames.jpg").write_bytes(jpeg(step))
    true = np.zeros((2, 8, 14))
    true[..., 7:14] = 0.5
    mask = np.zeros((2, 8, 14), bool)
    mask[0, :6, 7:14] = True
    chunk = {
        "dims": [f"d{i}" for i in range(14)],
        "true": true.tolist(),
        "predicted": (true + 0.1).tolist(),
        "mask": mask.tolist(),
    }
    (run / "previews" / "step-00000040-actions.json").write_text(json.dumps(chunk))
    return run
