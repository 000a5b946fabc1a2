"""What vla-eval's benchmarks call their cameras and states, and what their commands mean.

Source: vla-eval 0.8.0, benchmarks/{libero,calvin,simpler}/benchmark.py.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from vita_data.action_convention import CANONICAL, Convention, Turn
from vita_data.errors import RequestError
from vita_data.types import Float32
from vita_model.policy.observations import STATE_KEY
from vita_model.policy.openpi import Message

_CALVIN_WIDTH_OPEN_M = 0.08


@dataclass(frozen=True, slots=True, kw_only=True)
class Benchmark:
    """One benchmark's names and commands."""

    name: str
    convention: str
    """Convention of the server whose actions fit."""
    cameras: Mapping[str, str]
    """Its cameras -> keys of a request; the first one is needed."""
    is_turned: bool
    """Whether it turns its images by 180 degrees."""
    state: Callable[[object], Message]
    """Converts its states to entries of a request."""
    commands: Callable[[Float32, Convention | None], Float32]
    """Converts actions [H, 7] of the server to its commands."""
    rotation_format: Callable[[Convention | None], str]
    gripper_format: Callable[[Convention | None], str]


def benchmark_named(name: object) -> Benchmark:
    """Find the benchmark of a HELLO, `module:Class`; LIBERO and its variants if it does not say another one."""
    class_name = str(name).rpartition(":")[2]
    return next((one for title, one in _BY_CLASS.items() if class_name.startswith(title)), LIBERO)


def _libero_state(states: object) -> Message:
    if states is not None and getattr(states, "shape", None) != (8,):
        raise RequestError("states must be LIBERO's 8 numbers: position, rotation vector, two fingers")
    return {STATE_KEY: states}


def _calvin_state(states: object) -> Message:
    """Convert position, xyz Euler angles, gripper width and last gripper command."""
    from scipy.spatial.transform import Rotation  # imported late, because it is slow

    if states is None:
        return {}
    if not isinstance(states, np.ndarray) or states.shape != (8,) or not np.isfinite(states).all():
        raise RequestError("states must be CALVIN's 8 numbers: position, Euler angles, gripper width and command")
    values = states.astype(np.float64)
    return {
        "position_m": values[:3],
        "rotation_vector_rad": Rotation.from_euler("xyz", values[3:6]).as_rotvec(),
        "gripper_open": float(np.clip(values[6] / _CALVIN_WIDTH_OPEN_M, 0.0, 1.0)),
    }


def _no_state(states: object) -> Message:
    """Give none: SimplerEnv's poses are not in the frame of the training data's states."""
    return {}


def _as_they_are(actions: Float32, convention: Convention | None) -> Float32:
    return actions


def _calvin_commands(actions: Float32, convention: Convention | None) -> Float32:
    """Convert `rel_actions` to the metres and radians that the benchmark adds to its last target."""
    if convention is None:
        raise TypeError("expected CALVIN's constants, got none")
    scales = [convention.position_scale_m] * 3 + [convention.rotation_scale_rad] * 3 + [1.0]
    return np.asarray(actions * np.array(scales, np.float32), np.float32)


def _simpler_commands(actions: Float32, convention: Convention | None) -> Float32:
    """Convert canonical actions: the controller reads a rotation vector, and above 0.5 opens the gripper."""
    from scipy.spatial.transform import Rotation  # imported late, because it is slow

    turns = Rotation.from_euler("xyz", np.asarray(actions[:, 3:6], np.float64)).as_rotvec()
    return np.column_stack([actions[:, :3], turns, actions[:, 6:]]).astype(np.float32)


def _turn_format(convention: Convention | None) -> str:
    return "axis_angle" if convention is not None and convention.turn is Turn.AXIS_ANGLE else "euler_xyz"


def _sign_format(convention: Convention | None) -> str:
    closes_above = convention is None or convention.gripper_closed > convention.gripper_open
    return f"binary_close_{'positive' if closes_above else 'negative'}"


LIBERO = Benchmark(
    name="LIBERO", convention="libero", is_turned=True,
    cameras={"agentview": "observation/image", "wrist": "observation/wrist_image"},
    state=_libero_state, commands=_as_they_are, rotation_format=_turn_format, gripper_format=_sign_format,
)  # fmt: skip
CALVIN = Benchmark(
    name="CALVIN", convention="calvin", is_turned=False,
    cameras={"rgb_static": "observation/image", "rgb_gripper": "observation/wrist_image"},
    state=_calvin_state, commands=_calvin_commands, rotation_format=_turn_format, gripper_format=_sign_format,
)  # fmt: skip
SIMPLER = Benchmark(
    name="SimplerEnv", convention=CANONICAL, is_turned=False, cameras={"primary": "observation/image"},
    state=_no_state, commands=_simpler_commands,
    # its own names for what it reads, whatever they say
    rotation_format=_turn_format, gripper_format=_sign_format,
)  # fmt: skip
_BY_CLASS: Mapping[str, Benchmark] = {"CALVIN": CALVIN, "Simpler": SIMPLER}


def camera_fault(benchmark: Benchmark, images: Any) -> str | None:
    """Describe what is wrong with the cameras of an observation; None if they are the benchmark's."""
    needed, *optional = benchmark.cameras
    if isinstance(images, dict) and {needed} <= set(images) <= set(benchmark.cameras):
        return None
    found = ", ".join(map(str, images)) if isinstance(images, dict) else type(images).__name__
    also = f" and optionally {', '.join(optional)}" if optional else ""
    return f"images must be a map of {benchmark.name}'s cameras, {needed}{also}; found {found}"
