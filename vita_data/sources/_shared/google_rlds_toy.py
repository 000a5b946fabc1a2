"""Toy records with the step layout that Google's robot releases share, for toy trees."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
from scipy.spatial.transform import Rotation

from vita_data.formats.rlds.features import FeatureKind, FeatureSpec, TensorEncoding
from vita_data.formats.rlds.write import Values
from vita_data.formats.toy import toy_arm, toy_frames, toy_jpeg
from vita_data.geometry import euler_xyz_from_matrix, rotation_delta
from vita_data.types import Float64

_PULSE, _IDLE = 0.6, 0.05


def toy_features(
    *, tool_pose: str, image_size: tuple[int, int], observation_encoding: TensorEncoding
) -> dict[str, FeatureSpec]:
    """Describe the shared keys as the TFDS catalog does, with images of size (height, width)."""
    observed = {tool_pose: (7,), "steps/observation/gripper_closed": (1,), "steps/observation/height_to_bottom": (1,)}
    return {
        "steps/action/world_vector": toy_step_spec(3),
        "steps/action/rotation_delta": toy_step_spec(3),
        "steps/action/gripper_closedness_action": toy_step_spec(1),
        "steps/action/base_displacement_vector": toy_step_spec(2),
        "steps/action/base_displacement_vertical_rotation": toy_step_spec(1),
        "steps/action/terminate_episode": toy_step_spec(3, dtype="int32"),
        **{path: toy_step_spec(*shape, encoding=observation_encoding) for path, shape in observed.items()},
        "steps/observation/image": FeatureSpec(
            kind=FeatureKind.IMAGE, dtype="uint8", shape=(*image_size, 3), num_levels=1
        ),
        "steps/observation/natural_language_embedding": toy_step_spec(512),
        "steps/observation/natural_language_instruction": toy_step_spec(dtype="string"),
        **{f"steps/{name}": toy_step_spec(dtype="bool") for name in ("is_first", "is_last", "is_terminal")},
        "steps/reward": toy_step_spec(),
    }


def toy_step_spec(*shape: int, dtype: str = "float32", encoding: TensorEncoding = TensorEncoding.NONE) -> FeatureSpec:
    """Describe a value of each step."""
    return FeatureSpec(shape=shape, dtype=dtype, encoding=encoding, num_levels=1)


def toy_record(
    features: Mapping[str, FeatureSpec],
    *,
    tool_pose: str,
    gripper_open: Float64,
    images: Sequence[bytes],
    hz: float,
    seed: int,
    text: str,
    terminate_at: int | None,
) -> dict[str, Values]:
    """Make a record of T steps in which every command is reached by the next step.

    Args:
        features: every key of the record; keys that are not shared are zeros or empty.
        tool_pose: the key of the hand's pose.
        gripper_open: [T + 1] openings, 0 or 1; a change is commanded by one pulse, all other commands are in the dead
            zone.
        images: T encoded frames.
        hz: rate of the steps.
        seed: seed of the trajectory.
        text: the instruction.
        terminate_at: the step whose action ends the episode, if any does.
    """
    num_steps = len(images)
    arm, step = toy_arm(num_steps + 1, hz=hz, seed=seed), np.arange(num_steps)
    turn = rotation_delta(arm.rotation[:-1], arm.rotation[1:])
    pose = np.column_stack([arm.xyz_m, Rotation.from_matrix(arm.rotation).as_quat()])
    ends = np.zeros((num_steps, 3), np.int64)
    ends[step, np.where(step == terminate_at, 0, 1)] = 1
    return {path: _blank(spec, num_steps) for path, spec in features.items()} | {
        "steps/action/world_vector": np.diff(arm.xyz_m, axis=0),
        "steps/action/rotation_delta": euler_xyz_from_matrix(turn),
        "steps/action/gripper_closedness_action": _pulses(gripper_open)[:, None],
        "steps/action/terminate_episode": ends,
        tool_pose: pose[:-1],
        "steps/observation/gripper_closed": 1.0 - gripper_open[:-1, None],
        "steps/observation/image": list(images),
        "steps/observation/natural_language_instruction": [text.encode()] * num_steps,
        "steps/is_first": step == 0,
        "steps/is_last": step == num_steps - 1,
        "steps/is_terminal": step == num_steps - 1,
    }


def toy_jpegs(
    image_size: tuple[int, int], *, num_steps: int, episode: int, hz: float, gripper_open: Float64
) -> list[bytes]:
    """Draw the first frames of the episode that `toy_record` makes with this seed, rate and gripper, as JPEGs."""
    arm = replace(toy_arm(len(gripper_open), hz=hz, seed=episode), gripper_open=gripper_open)
    frames = toy_frames(*image_size, range(num_steps), episode=episode, arms=[arm])
    return [toy_jpeg(frame) for frame in frames]


def _pulses(gripper_open: Float64) -> Float64:
    change = np.diff(gripper_open)
    return np.where(change == 0, _IDLE, -_PULSE * change)


def _blank(spec: FeatureSpec, num_steps: int) -> Values:
    if spec.dtype == "string":
        return [b""] * (num_steps if spec.num_levels else 1)
    sizes = tuple(size or 0 for size in spec.shape)
    number = np.float64 if spec.dtype.startswith("float") else np.int64
    return np.zeros((num_steps, *sizes) if spec.num_levels else sizes, number)
