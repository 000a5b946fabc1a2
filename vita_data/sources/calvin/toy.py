"""A toy tree of CALVIN; the source passes the scale of its numbers."""

from pathlib import Path

import numpy as np

from vita_data.formats.toy import toy_arm, toy_frame
from vita_data.geometry import euler_xyz_from_matrix, wrap_angle
from vita_data.sources.calvin.annotations import LABELS, SCENES, SPANS
from vita_data.types import CameraRole, Float64

_SPANS = {"training": ((300, 348), (100, 135), (200, 233)), "validation": ((500, 534),)}
_WINDOWS = {  # first, last, text, task; in a window that starts with its recording, frames show their own steps
    "training": (
        (300, 333, "grasp the red block and lift it", "lift_red_block_table"),
        (300, 348, "push the sliding door to the left side", "move_slider_left"),
        (100, 134, "rotate the pink block 90 degrees to the right", "rotate_pink_block_right"),
        (200, 233, "", "open_drawer"),
        (200, 209, "pull the handle to open the drawer", "open_drawer"),
    ),
    "validation": ((500, 533, "toggle the light switch to turn on the yellow light", "turn_on_lightbulb"),),
}
_SCENES = {"training": "calvin_scene_A", "validation": "calvin_scene_D"}


def write_calvin_toy(root: str, *, hz: float, width_open_m: float) -> None:
    """Write `task_ABC_D`: three recordings and five windows for training, one of each for validation.

    It has the quirks of the real files: unsorted recordings with gaps between their numbers, windows that share frames,
    float64 vectors, a closed gripper of negative width. One window has no text and one is short.
    """
    for split, spans in _SPANS.items():
        folder = Path(root) / "task_ABC_D" / split
        (folder / "lang_annotations").mkdir(parents=True)
        for first, last in spans:
            _write_recording(folder, range(first, last + 1), hz=hz, width_open_m=width_open_m)
        np.save(folder / SPANS, np.array(spans, np.int64))
        np.save(folder / "ep_lens.npy", np.array([last - first + 1 for first, last in spans]))
        ends = [min(first for first, _ in spans), max(last for _, last in spans)]
        np.save(folder / SCENES, np.array({_SCENES[split]: ends}, object), allow_pickle=True)
        _write_labels(folder, split)


def _write_labels(folder: Path, split: str) -> None:
    windows = _WINDOWS[split]
    labels = {
        "language": {
            "ann": [text for *_, text, _ in windows],
            "task": [task for *_, task in windows],
            "emb": np.zeros((len(windows), 1, 384), np.float32),
        },
        "info": {"episodes": [], "indx": [(first, last) for first, last, *_ in windows]},
    }
    np.save(folder / LABELS, np.array(labels, object), allow_pickle=True)


def _write_recording(folder: Path, frames: range, *, hz: float, width_open_m: float) -> None:
    number = frames[0] // 100
    arm = toy_arm(len(frames) + 1, hz=hz, seed=number)
    pose = np.column_stack([arm.xyz_m, euler_xyz_from_matrix(arm.rotation)])
    command = 2 * arm.gripper_open - 1
    width = np.where(arm.gripper_open > 0.5, width_open_m, -1e-4)
    observed = np.column_stack([pose, width, arm.joint_position_rad, command])
    reached = np.column_stack([pose[1:], command[1:]])
    for step, frame in enumerate(frames):
        np.savez_compressed(
            folder / f"episode_{frame:07d}.npz",
            actions=reached[step],
            rel_actions=_rel_action(observed[step], reached[step]),
            robot_obs=observed[step],
            scene_obs=np.zeros(24),
            rgb_static=toy_frame(200, 200, step=step, camera=0, episode=number, arms=[arm]),
            rgb_gripper=toy_frame(84, 84, step=step, camera=1, episode=number, arms=[arm], role=CameraRole.WRIST_RIGHT),
            rgb_tactile=np.zeros((160, 120, 6), np.uint8),
            depth_static=np.full((200, 200), 1.0 + 0.01 * step, np.float32),
            depth_gripper=np.full((84, 84), 0.1 + 0.01 * step, np.float32),
            depth_tactile=np.zeros((160, 120, 2), np.float32),
        )


def _rel_action(observed: Float64, reached: Float64) -> Float64:
    moved = (reached[:3] - observed[:3]) / 0.02
    turned = wrap_angle(reached[3:6] - observed[3:6]) / 0.05
    return np.append(np.clip(np.concatenate([moved, turned]), -1.0, 1.0), reached[6])
