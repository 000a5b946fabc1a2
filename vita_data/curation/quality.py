"""Measures of stored episodes: how they move, how much stands still, which are copies of one another.

Computed from actions and from the stored images of the primary camera; of a long episode, from its first clip.
"""

import hashlib
import itertools
from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np
import polars as pl
import simplejpeg

from vita_data.command.progress import SILENT, Progress
from vita_data.curation.text_motion import text_doubt
from vita_data.shards.index import invalid_content, open_source, read_clip, read_images
from vita_data.shards.reader import ShardFiles
from vita_data.shards.schema import frame_name, npy_bytes
from vita_data.slots import (
    ARM_DIM,
    GRIPPER,
    JOINT_TARGETS,
    LEFT_ACTION,
    NUM_JOINTS,
    RIGHT_ACTION,
    TURN,
    XYZ,
)
from vita_data.storage.files import AnyPath
from vita_data.types import Bool, CameraRole, Clip, Float64, Json, Split

_IDLE_M_S, _IDLE_RAD_S, _IDLE_GRIPPER = 0.005, 0.02, 0.01
"""Below these, an arm stands still: its speeds, and the change of its gripper (0 to 1) from row to row."""
_IDLE_JOINT_RAD_S = 0.02
"""Below this, the joint targets of an arm whose hand has no known motion stand still."""
_SIDE = 32
_STATIC_LEVELS, _BLACK_LEVEL = 1.0, 2.0
"""Mean difference of two equal grey images, and mean level of a black one (as for the drop V2), of 255."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MotionQuality:
    """The measures of a clip's actions; None where it lacks what they are made from."""

    speed_m_s: float | None
    """Mean speed of the end effector, of the faster arm at each step."""
    jerk_m_s3: float | None
    """Mean absolute change of its acceleration."""
    joint_speed_rad_s: float | None
    """Mean speed of the fastest joint target, of arms whose hand has no known motion."""
    idle_share: float | None
    """Share of the valid steps in which no arm and no gripper moves."""
    text_doubt: str
    """What the instruction names and the actions lack, such as a gripper that closes; empty if nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Quality(MotionQuality):
    """The measures of one clip; None where it lacks what they are made from."""

    static_share: float | None
    """Share of the stored images that equal the one before."""
    black_share: float | None
    """Share of the stored images that are black."""
    action_hash: str
    """Of all actions; empty without actions."""
    image_hash: str
    """Perceptual hash of the first and the middle image; empty without images."""


MEASURES = tuple(field.name for field in fields(Quality))
COPIES = {"action_hash": "same_actions_as", "image_hash": "same_images_as"}
"""For each hash, the column with the id of the first episode of the source that has it; empty for that one itself."""
_KINDS = {field.name: pl.String if field.type is str else pl.Float64 for field in fields(Quality)}


def with_quality(table: pl.DataFrame, folder: AnyPath, progress: Progress = SILENT) -> pl.DataFrame:
    """Add the measures to a source's episode table; progress counts its clips.

    Raises:
        ShardError: a shard is damaged.
    """
    first, files = set(table["clip"].to_list()), ShardFiles()
    rows: list[dict[str, object]] = []
    progress.start(len(first - {""}))
    for index in (open_source(folder, split) for split in Split):
        for number, key in enumerate(index.table.column("key").to_pylist()):
            if key in first:
                shard, row = index.place(number)
                measured = measure(files, shard, row)
                rows.append({"clip": key, **{name: getattr(measured, name) for name in MEASURES}})
                progress.update()
    measures = pl.DataFrame(rows, schema={"clip": pl.String, **_KINDS}, orient="row")
    found = table.join(measures, on="clip", how="left", maintain_order="left")
    found = found.with_columns(pl.col("text_doubt", *COPIES).fill_null(""))
    first_ids = [pl.col("id").first().over(name).alias(column) for name, column in COPIES.items()]
    copies = [
        pl.when((pl.col(name) != "") & (pl.col(column) != pl.col("id")))
        .then(column)
        .otherwise(pl.lit(""))
        .alias(column)
        for name, column in COPIES.items()
    ]
    return found.with_columns(first_ids).with_columns(copies)


def measure(files: ShardFiles, shard: AnyPath, row: Json) -> Quality:
    """Measure a clip, given by its row of the index; reads its vectors and the images of the primary camera.

    Raises:
        ShardError: a member is damaged.
    """
    clip = read_clip(files, shard, row, with_frames=False)
    images = _grey(files, shard, row)
    changes = [np.abs(after - before).mean() for before, after in itertools.pairwise(images)]
    motion = _motion(clip)
    return Quality(
        speed_m_s=motion[0], jerk_m_s3=motion[1], idle_share=motion[2], joint_speed_rad_s=_joint_speed(clip),
        static_share=_share(np.array(changes) < _STATIC_LEVELS),
        text_doubt=text_doubt(clip, motion[2]),
        black_share=_share(np.array([image.mean() for image in images]) < _BLACK_LEVEL),
        action_hash="" if clip.action is None else _digest(npy_bytes(clip.action.track.values)),
        image_hash="".join(_difference_hash(images[at]) for at in (0, len(images) // 2)) if images else "",
    )  # fmt: skip


def measure_motion(clip: Clip) -> MotionQuality:
    """Measure the actions of a clip."""
    speed, jerk, idle_share = _motion(clip)
    return MotionQuality(
        speed_m_s=speed, jerk_m_s3=jerk, joint_speed_rad_s=_joint_speed(clip), idle_share=idle_share,
        text_doubt=text_doubt(clip, idle_share),
    )  # fmt: skip


def _motion(clip: Clip) -> tuple[float | None, float | None, float | None]:
    """Return mean speed, mean jerk and the share of idle steps; None if the clip has no arm of which it is known."""
    if clip.action is None or not clip.action.is_valid.any():
        return None, None, None
    values, mask, valid = clip.action.track.values.astype(np.float64), clip.action.track.mask, clip.action.is_valid
    arms = [values[:, at : at + ARM_DIM] for at in (LEFT_ACTION, RIGHT_ACTION) if mask[at : at + 3].all()]
    idle = [_is_idle(arm, clip.hz) for arm in arms] + _idle_joints(clip)
    idle_share = _share(np.all(idle, axis=0)[valid]) if idle else None
    if not arms:
        return None, None, idle_share
    speeds = np.max([_speed(arm, clip.hz) for arm in arms], axis=0)
    joined = _joined(clip)
    triples = joined[:-2] & joined[1:-1]
    jerks = [np.linalg.norm(np.diff(arm[:, XYZ] * clip.hz, n=2, axis=0), axis=1)[triples] * clip.hz**2 for arm in arms]
    return float(speeds[valid].mean()), _mean(np.max(jerks, axis=0)), idle_share


def _joint_speed(clip: Clip) -> float | None:
    """Return the mean speed of the fastest joint target of the arms of which only joints are known."""
    speeds = [speed for speed, _ in _joint_arms(clip)]
    return _mean(np.max(speeds, axis=0)[_joined(clip)]) if speeds else None


def _idle_joints(clip: Clip) -> list[Bool]:
    return [(speed < _IDLE_JOINT_RAD_S) & _is_still(gripper) for speed, gripper in _joint_arms(clip)]


def _joint_arms(clip: Clip) -> list[tuple[Float64, Float64]]:
    """List the arms of which only joints are known: the speed of the fastest joint target, and the gripper, [T]."""
    if clip.action is None:
        return []
    values, mask = clip.action.track.values.astype(np.float64), clip.action.track.mask
    starts = [at for at in (LEFT_ACTION, RIGHT_ACTION) if mask[at + JOINT_TARGETS] and not mask[at]]
    targets = [values[:, at + JOINT_TARGETS : at + JOINT_TARGETS + NUM_JOINTS] for at in starts]
    turns = [np.abs(np.diff(target, axis=0, append=target[-1:])).max(axis=1) * clip.hz for target in targets]
    return [(turn, values[:, at + GRIPPER]) for turn, at in zip(turns, starts, strict=True)]


def _joined(clip: Clip) -> Bool:
    """Tell which rows [T] are valid and followed by a valid row at the next native step."""
    valid = np.zeros(len(clip.step_index), bool) if clip.action is None else clip.action.is_valid
    follows = np.diff(clip.step_index, append=clip.step_index[-1]) == 1
    return np.asarray(valid & np.append(valid[1:], False) & follows)


def _speed(arm: Float64, hz: float) -> Float64:
    return np.asarray(np.linalg.norm(arm[:, XYZ], axis=1) * hz)


def _mean(values: Float64) -> float | None:
    return float(values.mean()) if len(values) else None


def _is_idle(arm: Float64, hz: float) -> Bool:
    turn, still = np.linalg.norm(arm[:, TURN], axis=1) * hz, _speed(arm, hz) < _IDLE_M_S
    return np.asarray(still & (turn < _IDLE_RAD_S) & _is_still(arm[:, GRIPPER]))


def _is_still(gripper: Float64) -> Bool:
    return np.asarray(np.abs(np.diff(gripper, prepend=gripper[0])) < _IDLE_GRIPPER)


def _share(found: Bool) -> float | None:
    return float(found.mean()) if found.size else None


def _grey(files: ShardFiles, shard: AnyPath, row: Json) -> Sequence[Float64]:
    """Decode the primary camera's images as grey levels at an eighth of their size, which costs the decoder least."""
    frames = row["frames"]
    names = [
        frame_name(one["camera"], one["step"])
        for one in (frames if isinstance(frames, list) else [])
        if one["camera"] == CameraRole.PRIMARY
    ]
    with invalid_content(f"shard {shard}, clip {row['key']}"):
        small = [
            simplejpeg.decode_jpeg(one, colorspace="GRAY", min_height=_SIDE, min_width=_SIDE)
            for one in read_images(files, shard, row, names).values()
        ]
    return [image[..., 0].astype(np.float64) for image in small]


def _difference_hash(image: Float64) -> str:
    """Hash an image by which of 8 x 9 blocks are brighter than their right neighbour; survives another compression."""
    rows, columns = (
        np.linspace(0, size, parts + 1).astype(int)[:-1] for size, parts in zip(image.shape, (8, 9), strict=True)
    )
    blocks = np.add.reduceat(np.add.reduceat(image, rows, axis=0), columns, axis=1)
    counts = np.outer(np.diff(rows, append=image.shape[0]), np.diff(columns, append=image.shape[1]))
    means = blocks / counts
    return np.packbits(means[:, :-1] > means[:, 1:]).tobytes().hex()


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()[:16]
