"""CALVIN's environment D as a policy sees it."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from vita_data.types import CameraRole, Float64
from vita_model.policy.interfaces import Observation, single_arm_state

WIDTH_OPEN_M = 0.08


class CalvinTable:
    """Environment D, which renders only what a policy sees: the original renders after every step."""

    def __init__(self, environment: Any) -> None:
        self._environment, self._cameras = environment, environment.cameras
        environment.cameras = []

    def reset(self, robot: Any, scene: Any) -> None:
        """Put the arm and the objects in their places.

        The physics engine is loaded anew: it keeps contacts and pressed buttons over a reset, so that a chain would
        depend on those before it and a resumed evaluation could end differently.
        """
        self._environment.load()
        self._environment.reset(robot_obs=robot, scene_obs=scene)

    def step(self, command: Float64) -> Any:
        """Execute one command; returns what the task oracle compares."""
        return self._environment.step(command)[3]

    def info(self) -> Any:
        """Give what the task oracle compares."""
        return self._environment.get_info()

    def robot(self) -> Float64:
        """Read the 15 numbers of the robot, without rendering."""
        return np.asarray(self._environment.get_obs()["robot_obs"], np.float64)

    def observe(self, sentence: str) -> Observation:
        """Render both cameras and read the arm."""
        self._environment.cameras = self._cameras
        try:
            return observe(self._environment.get_obs(), sentence)
        finally:
            self._environment.cameras = []

    def close(self) -> None:
        """Free the simulator now: at the end of the program it would complain."""
        self._environment.close()
        self._environment.ownsPhysicsClient = False  # it closes itself once more when it is collected
        self._environment = None


def observe(seen: Mapping[str, Any], sentence: str) -> Observation:
    """Convert CALVIN's observation: static and gripper camera, and the 15 numbers of the robot."""
    from scipy.spatial.transform import Rotation  # imported late, because it is slow

    robot = np.asarray(seen["robot_obs"], np.float64)
    return Observation(
        images={
            CameraRole.PRIMARY: np.ascontiguousarray(seen["rgb_obs"]["rgb_static"], np.uint8),
            CameraRole.WRIST_RIGHT: np.ascontiguousarray(seen["rgb_obs"]["rgb_gripper"], np.uint8),
        },
        instruction=sentence,
        state=single_arm_state(
            xyz_m=robot[:3],
            rotation=Rotation.from_euler("xyz", robot[3:6]).as_matrix(),
            gripper_open=robot[6] / WIDTH_OPEN_M,
            joints_rad=robot[7:14],
        ),
    )
