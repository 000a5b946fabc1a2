"""One demonstration: collecting its rows, and writing them in LIBERO's HDF5 layout."""

from dataclasses import dataclass, field
from pathlib import Path

import h5py
import numpy as np

from vita_data.storage.files import publish
from vita_data.types import CameraRole, Float64, Image
from vita_model.sims.scripted.task import IMAGE_SIZE, Proprioception, ScriptedTask

_KEYS = {CameraRole.PRIMARY: "agentview_rgb", CameraRole.WRIST_RIGHT: "eye_in_hand_rgb"}


@dataclass(slots=True)
class Take:
    """Rows of one episode; the observation of row t is taken after action t."""

    commands: list[Float64] = field(default_factory=list)
    executed: list[Float64] = field(default_factory=list)
    states: list[Float64] = field(default_factory=list)
    arms: list[Proprioception] = field(default_factory=list)
    images: dict[CameraRole, list[Image]] = field(default_factory=lambda: {role: [] for role in _KEYS})
    successes: list[bool] = field(default_factory=list)

    def step(self, simulator: ScriptedTask, command: Float64, executed: Float64) -> None:
        """Execute `executed` and add a row for `command`: the state before it, everything else after it."""
        self.states.append(simulator.simulator_state())
        simulator.step(executed)
        self.commands.append(command)
        self.executed.append(executed)
        self.arms.append(simulator.proprioception())
        for role, image in simulator.images().items():
            self.images[role].append(image)
        self.successes.append(simulator.is_success)


def write_part(path: Path, take: Take, seed: int) -> None:
    """Write an HDF5 file with the group `demo` atomically."""
    partial = path.with_suffix(".partial")
    with h5py.File(partial, "w", locking=False) as file:
        _write_demo(file.create_group("demo"), take, seed)
    publish(partial, path)


def _write_demo(demo: h5py.Group, take: Take, seed: int) -> None:
    from scipy.spatial.transform import Rotation  # imported late, because it is slow

    hand = np.stack([arm.xyz_m for arm in take.arms])
    quaternion = np.stack([arm.quaternion_xyzw for arm in take.arms])
    turn = Rotation.from_quat(quaternion).as_rotvec()
    fingers = np.stack([arm.fingers_m for arm in take.arms])
    values = {
        "actions": np.stack(take.commands),
        "executed_actions": np.stack(take.executed),
        "states": np.stack(take.states),
        "robot_states": np.column_stack([fingers, hand, quaternion]),
        "rewards": np.array(take.successes, np.uint8),
        "dones": np.array(take.successes, np.uint8),
        "obs/ee_pos": hand,
        "obs/ee_ori": turn,
        "obs/ee_states": np.column_stack([hand, turn]),
        "obs/gripper_states": fingers,
        "obs/joint_states": np.stack([arm.joints_rad for arm in take.arms]),
    }
    for key, value in values.items():
        demo.create_dataset(key, data=value)
    for role, key in _KEYS.items():
        demo.create_dataset(
            f"obs/{key}",
            data=np.stack(take.images[role]),
            compression="gzip",
            compression_opts=1,
            chunks=(1, IMAGE_SIZE, IMAGE_SIZE, 3),
        )
    demo.attrs.update({"num_samples": len(take.commands), "init_state": take.states[0], "seed": seed})
