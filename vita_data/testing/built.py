"""Checks of the shards that are built from a source's toy."""

import json
from collections import Counter
from itertools import pairwise
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import simplejpeg

from vita_data.builder import build
from vita_data.formats.toy import ToyMark, read_toy_frame
from vita_data.geometry import integrate_deltas, matrix_from_rot6d
from vita_data.shards.verify import verify
from vita_data.slots import LEFT_ACTION, LEFT_STATE, RIGHT_ACTION, RIGHT_STATE
from vita_data.storage.scratch import scratch_folder
from vita_data.testing.under_test import SourceUnderTest, require
from vita_data.types import Clip, Gaps, Modality, Reason, StoredFrame

_MAX_STEP_M = 0.5
_POSE_M, _POSE_RAD = 1e-4, 1e-3
_LEAST_ROWS = 10
"""Rows in a row that must be integrated in some clip."""


def check_cameras_and_actions(tested: SourceUnderTest) -> None:
    """Clips have the cameras, modality, rate and action origin that INFO declares."""
    info, clips = tested.source.INFO, tested.clips()
    require(bool(clips), f"{tested.name}: the toy gives no clips")
    for clip in clips:
        where = f"{tested.name}: clip {clip.key}"
        others = set(clip.frames) - set(info.cameras)
        require(not others, f"{where} has cameras that INFO lacks: {', '.join(sorted(others))}")
        require(clip.modality is info.modality, f"{where} is {clip.modality}, INFO says {info.modality}")
        require(
            (clip.action is not None) == (info.modality is Modality.PAIRED),
            f"{where} {'lacks' if clip.action is None else 'has'} actions, but INFO says {info.modality}",
        )
        if clip.action is not None:
            origin = clip.action.origin
            require(origin is info.action_origin, f"{where} has {origin} actions, INFO says {info.action_origin}")
        require(info.hz in (None, clip.hz), f"{where} has {clip.hz:g} Hz, INFO says {info.hz}")


def check_plausible_values(tested: SourceUnderTest) -> None:
    """Stored actions are plausible in metres, radians and openings, and zero where masked."""
    for clip in tested.clips():
        if clip.action is None:
            continue
        values, where = clip.action.track.values, f"{tested.name}: clip {clip.key}"
        for start in (LEFT_ACTION, RIGHT_ACTION):
            far, turn = np.abs(values[:, start : start + 3]).max(), np.abs(values[:, start + 3 : start + 6]).max()
            opening = values[:, start + 6]
            require(far < _MAX_STEP_M, f"{where} moves by {far:g} in a step; the unit is the metre")
            require(turn <= np.pi, f"{where} turns by {turn:g} in a step; the unit is the radian")
            require(
                opening.min() >= 0 and opening.max() <= 1,
                f"{where} has gripper openings from {opening.min():g} to {opening.max():g}, expected 0 to 1",
            )
        require(not values[:, ~clip.action.track.mask].any(), f"{where} has values in masked columns")


def check_deltas(tested: SourceUnderTest) -> None:
    """Canonical deltas integrate back to the recorded poses, of every arm, from gap to gap.

    Rows around an outlier that the toy puts in on purpose are left out.
    """
    num_arms = 0
    for clip in tested.clips():
        if clip.action is None or clip.state is None:
            continue
        for action_at, state_at in ((LEFT_ACTION, LEFT_STATE), (RIGHT_ACTION, RIGHT_STATE)):
            if clip.action.track.mask[action_at] and clip.state.mask[state_at]:
                num_arms += _integrated(tested.name, clip, action_at, state_at) > _LEAST_ROWS
    require(
        num_arms > 0 or tested.source.INFO.modality is Modality.VIDEO,
        f"{tested.name}: no toy clip has {_LEAST_ROWS} rows in a row with poses and actions",
    )


def _integrated(name: str, clip: Clip, action_at: int, state_at: int) -> int:
    """Integrate each unbroken run; return the length of the longest one."""
    if clip.action is None or clip.state is None:
        return 0
    pose = clip.state.values[:, state_at : state_at + 9].astype(np.float64)
    deltas = clip.action.track.values[:, action_at : action_at + 6].astype(np.float64)
    num_rows = 0
    for start, stop in _unbroken_runs(clip):
        turn = matrix_from_rot6d(pose[start:stop, 3:])
        xyz, rotation = integrate_deltas(pose[start, :3], turn[0], deltas[start:stop])
        off_m = np.abs(xyz[:-1] - pose[start:stop, :3]).max()
        traces = np.einsum("tij,tij->t", rotation[:-1], turn)
        off_rad = np.arccos(np.clip((traces - 1) / 2, -1, 1)).max()
        require(
            off_m <= _POSE_M and off_rad < _POSE_RAD,
            f"{name}: clip {clip.key}, rows {start} to {stop - 1}: the actions lead {off_m:g} m and {off_rad:g} rad "
            "away from the recorded poses (signs, frame, rotation form, or actions of another row?)",
        )
        num_rows = max(num_rows, stop - start)
    return num_rows


def _unbroken_runs(clip: Clip) -> list[tuple[int, int]]:
    """List row ranges without a gap that breaks a chunk and without rows that may not be learned from."""
    if clip.action is None:
        return []
    broken = np.diff(clip.step_index, prepend=clip.step_index[0] - 1) != 1 if clip.gaps is Gaps.BREAK else []
    edges = {int(row) for row in np.flatnonzero(broken)}
    return [
        (low, high)
        for start, stop in clip.action.valid
        for low, high in pairwise(sorted({start, stop, *(row for row in edges if start < row < stop)}))
    ]


def check_frames(tested: SourceUnderTest) -> None:
    """Every stored frame is the step, way up and colour order that it claims, and cameras are not mixed up."""
    num_seen = 0
    for clip in tested.clips():
        for role, frames in clip.frames.items():
            for frame in frames:
                _check_mark(_mark(frame), frame, clip, f"{tested.name}: clip {clip.key}, {role}, row {frame.row}")
                num_seen += 1
        cameras = {role: _mark(frames[0]).camera for role, frames in clip.frames.items()}
        require(
            len(set(cameras.values())) == len(cameras),
            f"{tested.name}: clip {clip.key}: two cameras have the same images",
        )
    require(num_seen > 0, f"{tested.name}: no toy clip has images")


def _mark(frame: StoredFrame) -> ToyMark:
    return read_toy_frame(np.asarray(simplejpeg.decode_jpeg(frame.jpeg, "RGB")))


def _check_mark(mark: ToyMark, frame: StoredFrame, clip: Clip, where: str) -> None:
    require(mark.upright, f"{where}: the image is turned, or not drawn by vita_data.formats.toy.toy_frame")
    require(mark.rgb, f"{where}: the channels are not in the order red, green, blue")
    step = clip.step_index[frame.row]
    require(mark.step == step, f"{where}: the image is that of step {mark.step}, expected step {step}")


def check_nothing_lost(tested: SourceUnderTest) -> None:
    """Every raw episode is listed in `episodes.parquet`, drops have known codes, stored ones have a clip."""
    rows = pq.read_table(tested.built / "episodes.parquet").to_pylist()
    card = json.loads((tested.built / "dataset.json").read_text())
    num_read, num_counted = sum(1 for _ in tested.outcomes()), sum(card["outcomes"].values())
    require(
        len(rows) == num_read == num_counted,
        f"{tested.name}: {num_read} episodes are read, {len(rows)} listed, and {num_counted} on the card",
    )
    unknown = {row["reason"] for row in rows if row["outcome"] == "dropped"} - set(Reason)
    require(not unknown, f"{tested.name}: episodes are dropped for unknown reasons: {', '.join(sorted(unknown))}")
    drops = dict(Counter(row["reason"] for row in rows if row["reason"]))
    require(drops == card["drops"], f"{tested.name}: listed drops {drops}, on the card {card['drops']}")
    placed = all(row["clip"] and row["shard"] for row in rows if row["outcome"] == "ok")
    require(placed, f"{tested.name}: a stored episode has no clip or shard")


def check_shards(tested: SourceUnderTest) -> None:
    """Built shards verify."""
    problems = verify(tested.built).problems
    require(problems == (), f"{tested.name}: {problems[:1]}")


def check_same_bytes(tested: SourceUnderTest) -> None:
    """Building again gives the same bytes."""
    with scratch_folder("vita-check-") as folder:
        build(tested.request(folder))
        first, again = _contents(tested.built), _contents(folder / tested.name)
    others = sorted(name for name in first.keys() | again.keys() if first.get(name) != again.get(name))
    require(not others, f"{tested.name}: a second build gives other bytes in {', '.join(others[:3])}")


def check_no_place_named(tested: SourceUnderTest) -> None:
    """Nothing that is written names the folder that was read or written."""
    for name, data in _contents(tested.built).items():
        for place in (tested.raw, tested.shards):
            require(str(place).encode() not in data, f"{tested.name}: {name} names the folder {place}")


def _contents(root: Path) -> dict[str, bytes]:
    return {str(path.relative_to(root)): path.read_bytes() for path in sorted(root.rglob("*")) if path.is_file()}
