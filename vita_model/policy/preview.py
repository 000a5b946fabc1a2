"""`vita-train preview`: predicted frames and actions next to the ground truth (VITA figures 3, 4, 17 to 20)."""

import argparse
from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import simplejpeg
import torch

from vita_data.errors import RequestError, VitaDataError
from vita_data.loader import Plan, read_windows
from vita_data.slots import GRIPPER, LEFT_ARM, LEFT_JOINTS, MOTION, RIGHT_ARM, RIGHT_JOINTS
from vita_data.types import Bool, Float32, Image, Manifest, MixtureEntry, Modality, Split, Stage, Starts, WindowSpec
from vita_model.network.layers import byte_images, unit_images
from vita_model.policy.policy import Decision, PolicyOptions, VitaPolicy

_TILE, _MARGIN, _PANEL, _LINE = 128, 4, 256, 18
_WHITE, _BLACK, _RED, _GREY = (255, 255, 255), (0, 0, 0), (205, 30, 30), (160, 160, 160)
_FONT = cv2.FONT_HERSHEY_SIMPLEX
_MIN_SPAN_M = 1e-3


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Comparison:
    """Prediction and ground truth of one window."""

    title: str
    start: Image
    """uint8 [s, s, 3]"""
    true_frames: Image
    """uint8 [F, s, s, 3]"""
    frame_mask: Bool
    """[F]"""
    true_actions: Float32
    """[H, A] m and rad"""
    action_mask: Bool
    """[H, A]"""
    decision: Decision


def compare(policy: VitaPolicy, shards: str, *, source: str, key: str | None, window: int) -> Comparison:
    """Predict for a window of a clip; windows start at the clip's keyframes and are numbered from 0.

    Raises:
        RequestError: the policy does not predict frames, the window does not exist, or the statistics differ.
        ManifestError: the source or clip does not exist.
    """
    if not policy.options.imagine:
        raise RequestError("a preview needs a policy that predicts frames: PolicyOptions(imagine=True)")
    plan = _plan(policy, shards, source, key)
    if not policy.scales_as(plan.statistics, source):
        raise RequestError(
            f"--shards {shards}: the statistics of {source} differ from those of the run; restore the stats.json that "
            "the run was trained with"
        )
    num_windows = plan.pools[Modality.PAIRED][0].pool.num_windows
    if not 0 <= window < num_windows:
        raise RequestError(f"--window {window}: there are {num_windows} windows, numbered from 0")
    batch = read_windows(plan, Modality.PAIRED, [window])
    decision = policy.decide_batch(batch.to(policy.device))[0]
    images, future, mask = (_known(part)[0] for part in (batch.images, batch.future, batch.future_mask))
    size = decision.frames.shape[1] if decision.frames is not None else _TILE
    return Comparison(
        title=f"{source}  {batch.key[0]}  {batch.instruction[0]!r}  step {policy.signature.step}",
        start=byte_images(unit_images(images[0], size)),
        true_frames=byte_images(unit_images(future, size)), frame_mask=mask.numpy(),
        true_actions=policy.unscaled(_known(batch.action)[0], source), action_mask=_known(batch.action_mask)[0].numpy(),
        decision=decision,
    )  # fmt: skip


def _plan(policy: VitaPolicy, shards: str, source: str, key: str | None) -> Plan:
    spec = policy.signature
    windows = WindowSpec(
        starts=Starts.KEYFRAMES, horizon=spec.horizon, futures=spec.futures, views=spec.views,
        frame_interval_s=spec.frame_interval_s,
    )  # fmt: skip
    wanted, faults = {} if key is None else {"key": key}, []
    for split in Split:
        entry = MixtureEntry(source=source, weight=1.0, split=split, where=wanted)
        manifest = Manifest(name="preview", entries=(entry,), path="--source")
        try:
            return Plan.from_manifest(
                manifest, shards=shards, stage=Stage.COTRAIN, batch_size=1, windows=windows,
                modality_steps={Modality.PAIRED: 1.0}, joints=policy.model.config.joints,
            )  # fmt: skip
        except VitaDataError as fault:
            faults.append(fault)
    raise faults[0]


def draw(comparison: Comparison) -> Image:
    """Draw a comparison as uint8 [h, w, 3]: true frames, predicted frames, paths and gripper."""
    frames = _frame_rows(comparison)
    panels = _panels(comparison)
    width = max(frames.shape[1], panels.shape[1])
    title = _blank(_LINE + _MARGIN, width)
    cv2.putText(title, comparison.title, (_MARGIN, _LINE - 4), _FONT, 0.42, _BLACK, 1, cv2.LINE_AA)
    return np.concatenate([title, *(_padded(part, width) for part in (frames, panels))])


def _frame_rows(comparison: Comparison) -> Image:
    imagined = comparison.decision.frames
    if imagined is None:
        raise RequestError("expected predicted frames from the policy, got none")
    rows = []
    for name, frames, mask in (
        ("true", comparison.true_frames, comparison.frame_mask),
        ("imagined", imagined, np.ones(len(imagined), bool)),
    ):
        tiles = [
            comparison.start,
            *(frame if real else np.full_like(frame, 128) for frame, real in zip(frames, mask, strict=True)),
        ]
        row = np.concatenate([_tile(tile) for tile in tiles], axis=1)
        cv2.putText(row, name, (2 * _MARGIN, _TILE), _FONT, 0.45, _WHITE, 1, cv2.LINE_AA)
        rows.append(row)
    return np.concatenate(rows)


def _panels(comparison: Comparison) -> Image:
    """Draw each arm of the source: its path from above and from the side, its busiest joint, and its gripper."""
    decision, panels = comparison.decision, []
    for arm, joints, name in ((LEFT_ARM, LEFT_JOINTS, "left"), (RIGHT_ARM, RIGHT_JOINTS, "right")):
        true, predicted = _pair(comparison, arm)
        if decision.action_mask[arm][MOTION].any():
            paths = [np.vstack([np.zeros(3), np.cumsum(one[:, :3], axis=0)]) for one in (true, predicted)]
            for title, axes in (("x-y", (0, 1)), ("x-z", (0, 2))):
                panels.append(_lines(f"{name} arm, {title}", [path[:, axes] for path in paths]))
        if decision.action_mask[joints].any():
            angles = _pair(comparison, joints)
            busiest = int(np.ptp(np.concatenate(angles), axis=0).argmax())
            low, high = (float(reduce(np.concatenate(angles)[:, busiest])) for reduce in (np.min, np.max))
            title = f"{name} joint {busiest + 1}, rad, {low:.2f} to {high:.2f}"
            panels.append(_lines(title, _over_time(angles, busiest), fixed=(low - 0.05, high + 0.05)))
        if decision.action_mask[arm][GRIPPER]:
            steps = _over_time((true, predicted), GRIPPER)
            panels.append(_lines(f"{name} gripper, 1 open", steps, fixed=(-0.05, 1.05)))
    return np.concatenate(panels, axis=1)


def _pair(comparison: Comparison, columns: slice) -> tuple[Float32, Float32]:
    """Take columns of the true actions, in rows where they are known, and of the predicted ones."""
    real = comparison.action_mask[:, columns].any(axis=1)
    return comparison.true_actions[real][:, columns], comparison.decision.actions[:, columns]


def _over_time(actions: Sequence[Float32], column: int) -> list[Float32]:
    return [np.column_stack([np.arange(len(one)), one[:, column]]).astype(np.float32) for one in actions]


def _lines(title: str, lines: Sequence[Float32], fixed: tuple[float, float] | None = None) -> Image:
    """Draw truth in black and prediction in red; both axes have one scale unless the second's range is fixed."""
    panel = _blank(_PANEL, _PANEL)
    cv2.rectangle(panel, (_MARGIN, _LINE), (_PANEL - _MARGIN, _PANEL - _MARGIN), _GREY, 1)
    low, high = np.vstack(lines).min(axis=0), np.vstack(lines).max(axis=0)
    if fixed is None:
        middle, half = (low + high) / 2, max(float((high - low).max()), _MIN_SPAN_M) * 0.55
        low, high = middle - half, middle + half
        title = f"{title}, {2000 * half:.1f} mm wide"
    else:
        low, high = np.array([low[0], fixed[0]]), np.array([max(high[0], low[0] + 1), fixed[1]])
    cv2.putText(panel, title, (_MARGIN, _LINE - 5), _FONT, 0.42, _BLACK, 1, cv2.LINE_AA)
    room = np.array([_PANEL - 4 * _MARGIN, _PANEL - _LINE - 4 * _MARGIN])
    for line, colour in zip(lines, (_BLACK, _RED), strict=True):
        if not len(line):  # all masked in this window
            continue
        places = (line - low) / (high - low) * [1, -1] + [0, 1]
        points = np.round(places * room + [2 * _MARGIN, _LINE + 2 * _MARGIN]).astype(np.int32)
        cv2.polylines(
            panel, [points.reshape(-1, 1, 2)], isClosed=False, color=colour, thickness=2, lineType=cv2.LINE_AA
        )
        cv2.circle(panel, tuple(map(int, points[-1])), 3, colour, -1, cv2.LINE_AA)
    return panel


def _tile(frame: Image) -> Image:
    tile = cv2.resize(frame, (_TILE, _TILE), interpolation=cv2.INTER_AREA)
    return np.asarray(cv2.copyMakeBorder(tile, *(_MARGIN // 2,) * 4, cv2.BORDER_CONSTANT, value=_WHITE), np.uint8)


def _blank(height: int, width: int) -> Image:
    return np.full((height, width, 3), 255, np.uint8)


def _padded(picture: Image, width: int) -> Image:
    return np.concatenate([picture, _blank(len(picture), width - picture.shape[1])], axis=1)


def _known(member: torch.Tensor | None) -> torch.Tensor:
    if member is None:
        raise TypeError("expected all members of a paired batch, got None")
    return member


def run(arguments: argparse.Namespace) -> str:
    """Run `vita-train preview`; returns a line that describes the picture."""
    policy = VitaPolicy.from_pretrained(arguments.run, PolicyOptions(imagine=True))
    found = compare(policy, arguments.shards, source=arguments.source, key=arguments.key, window=arguments.window)
    arguments.out.write_bytes(simplejpeg.encode_jpeg(np.ascontiguousarray(draw(found)), quality=92, colorspace="RGB"))
    return f"{arguments.out}: {found.title}"
