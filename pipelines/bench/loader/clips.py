"""Generated clips, stored as one of our built sources and, with the same bytes, as neutral pairs."""

import zlib
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path

import cv2
import numpy as np
import simplejpeg
from numpy.typing import NDArray

from pipelines.bench.build.videos import moving_scene
from pipelines.bench.loader.card import synthetic_card
from pipelines.bench.loader.pairs import write_pairs
from pipelines.bench.loader.sizes import ClipSpec
from vita_data.formats.toy import toy_arm
from vita_data.geometry import euler_xyz_from_matrix, rotation_delta
from vita_data.shards.index import CARD, card_bytes
from vita_data.shards.stats import write_stats
from vita_data.shards.writer import ShardSummary, ShardWriter
from vita_data.slots import ACTION_DIM
from vita_data.types import (
    IMAGE_SIZE,
    ActionOrigin,
    Arms,
    CameraRole,
    Clip,
    Float32,
    Gaps,
    Instruction,
    Modality,
    Split,
    StoredFrame,
    Track,
    UnifiedAction,
)

SOURCE = "bench"
HZ = 15
_RIGHT = slice(16, 23)
"""Columns of the right arm's action."""


def write_clips(raw: Path, spec: ClipSpec) -> int:
    """Write `shards/bench`, a built source with all frames, and `pairs`; returns the number of frames."""
    (raw / "pairs").mkdir()
    num_frames, _ = write_pairs(raw / "pairs", _written(raw / "shards" / SOURCE, spec))
    return num_frames


def _written(folder: Path, spec: ClipSpec) -> Iterator[tuple[Sequence[bytes], Sequence[int], Float32]]:
    """Write clips into shards and yield their content."""
    summaries: list[ShardSummary] = []
    for unit, first in enumerate(range(0, spec.num_clips, spec.clips_per_shard)):
        with ShardWriter(folder / "train" / f"{SOURCE}-train-{unit:06d}.tar") as writer:
            for number in range(first, min(first + spec.clips_per_shard, spec.num_clips)):
                jpegs, actions = _jpegs(spec.num_steps, seed=number), _actions(spec.num_steps, seed=number)
                writer.add(_clip(number, jpegs, actions))
                yield jpegs, [_pixels_crc32(jpeg) for jpeg in jpegs], actions
        if writer.summary is None:
            raise RuntimeError("expected a shard with clips, got an empty one")
        summaries.append(writer.summary)
    card = synthetic_card(SOURCE, [asdict(one) for one in summaries], {})
    (folder / CARD).write_bytes(card_bytes(card))
    write_stats(folder)


def _jpegs(num_frames: int, *, seed: int) -> list[bytes]:
    # Blurred like a downscaled image: 23 kB per frame, close to the 18 kB of real frames, instead of 32 kB.
    scene = (cv2.blur(pixels, (2, 2)) for pixels in moving_scene(IMAGE_SIZE, IMAGE_SIZE, num_frames, seed=seed))
    return [bytes(simplejpeg.encode_jpeg(np.asarray(pixels, np.uint8), 95, "RGB", "420")) for pixels in scene]


def _pixels_crc32(jpeg: bytes) -> int:
    return zlib.crc32(simplejpeg.decode_jpeg(jpeg, "RGB"))


def _actions(num_steps: int, *, seed: int) -> NDArray[np.float32]:
    """Make canonical actions [T, 7]: displacement, turn, gripper."""
    arm = toy_arm(num_steps + 1, hz=HZ, seed=seed)
    turn = euler_xyz_from_matrix(rotation_delta(arm.rotation[:-1], arm.rotation[1:]))
    return np.column_stack([np.diff(arm.xyz_m, axis=0), turn, arm.gripper_open[1:]]).astype(np.float32)


def _clip(number: int, jpegs: Sequence[bytes], actions: Float32) -> Clip:
    num_steps = len(jpegs)
    values, mask = np.zeros((num_steps, ACTION_DIM), np.float32), np.zeros(ACTION_DIM, bool)
    values[:, _RIGHT], mask[_RIGHT] = actions, True
    text = Instruction(text="put the red block on the plate", origin="generated")
    return Clip(
        key=f"{SOURCE}-{number:016x}",
        source=SOURCE,
        release="1",
        episode=f"episode/{number}",
        split=Split.TRAIN,
        modality=Modality.PAIRED,
        embodiment="widowx",
        arms=Arms.RIGHT,
        hz=float(HZ),
        stride=HZ,
        step_index=np.arange(num_steps),
        frames={CameraRole.PRIMARY: tuple(StoredFrame(row, jpeg) for row, jpeg in enumerate(jpegs))},
        keyframes=tuple(range(0, num_steps, HZ)),
        instruction=text,
        instructions=(text,),
        action=UnifiedAction(
            track=Track(values=values, mask=mask), valid=((0, num_steps),), origin=ActionOrigin.COMMANDED
        ),
        # The other loaders' samples have no state either.
        state=None,
        gaps=Gaps.BREAK,
        provenance={},
        extras={},
    )
