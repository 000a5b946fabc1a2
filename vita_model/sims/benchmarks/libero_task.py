"""One task of LIBERO as a simulation."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import numpy as np

from vita_data.command.signals import interrupts_held
from vita_data.errors import VitaDataError
from vita_data.types import CameraRole, Float64
from vita_model.policy.commands import oriented
from vita_model.policy.interfaces import Observation, PolicyInfo, libero_state
from vita_model.sims.benchmarks.libero_fixtures import place_fixtures
from vita_model.sims.benchmarks.libero_installation import INSTALL, NAME
from vita_model.sims.benchmarks.mujoco_cameras import CamerasOnRequest
from vita_model.sims.benchmarks.offline_import import load

SEED = 7
SEEDING = f"{SEED} before each episode, so that any of them can be repeated; the published loops seed once a task"
"""Seeds the places of fixtures, which the stored initial states do not contain."""
NUM_NO_OPS = 10
_NO_OP = [0.0, 0.0, 0.0, 0.0, 0.0, 0.0, -1.0]
_NUM_RESETS = 100
_CAMERAS: Mapping[CameraRole, str] = MappingProxyType(
    {CameraRole.PRIMARY: "agentview_image", CameraRole.WRIST_RIGHT: "robot0_eye_in_hand_image"}
)


class LiberoTask:
    """One task; an episode's seed is the number of its stored initial state."""

    def __init__(self, environment: Any, states: Any, instruction: str, info: PolicyInfo) -> None:
        """Prepare a task.

        Args:
            environment: LIBERO's `OffScreenRenderEnv`.
            states: flattened initial states [N, D].
            instruction: what the policy is told.
            info: of the policy; says how images must be turned.
        """
        self._environment, self._states, self._info = environment, states, info
        self._cameras = CamerasOnRequest(environment.env, _CAMERAS.values())
        self._instruction = instruction
        self._seen: Mapping[str, Any] = {}
        self._done = False

    def reset(self, seed: int) -> None:
        """Set the simulator to initial state `seed` and let the objects settle.

        Raises:
            VitaDataError: the simulator finds no place for its objects.
        """
        self._prepare()
        self._set_state(self._states[seed])
        for _ in range(NUM_NO_OPS):
            self._step(_NO_OP)

    def restore(self, state: Float64, model: str | None) -> None:
        """Set the simulator to a recorded state.

        Args:
            state: flattened: time, positions, velocities.
            model: MuJoCo's XML with the places of fixtures, which a state does not have; None: unknown.

        Raises:
            VitaDataError: the simulator finds no place for its objects, or the model lacks a fixture.
        """
        self._prepare()
        place_fixtures(self._environment.env, model)
        self._set_state(state)
        for robot in self._environment.env.robots:  # its controller holds the pose of the reset
            robot.controller.update(force=True)
            robot.controller.reset_goal()

    def observe(self) -> Observation:
        """Render, and convert the last observation."""
        seen, constants = self._seen, self._info.constants
        return Observation(
            images={role: oriented(self._cameras.render(name), constants) for role, name in _CAMERAS.items()},
            instruction=self._instruction,
            state=libero_state(
                xyz_m=self.hand_m(),
                quaternion_xyzw=np.asarray(seen["robot0_eef_quat"]),
                fingers_m=np.asarray(seen["robot0_gripper_qpos"]),
                joints_rad=np.asarray(seen["robot0_joint_pos"]) if "robot0_joint_pos" in seen else None,
            ),
        )

    def hand_m(self) -> Float64:
        """Give the position [3] of the hand in the last observation."""
        return np.array(self._seen["robot0_eef_pos"], np.float64)

    def step(self, command: Float64) -> None:
        """Execute one command."""
        self._done = self._step(command.tolist())

    @property
    def is_success(self) -> bool:
        """LIBERO's `done`."""
        return self._done

    def _prepare(self) -> None:
        self._environment.seed(SEED)
        self._reset()
        self._cameras.install()

    def _step(self, command: list[float]) -> bool:
        """Execute one command; tells whether the task is done."""
        with interrupts_held():  # robosuite's compiled parts would turn a KeyboardInterrupt into a SystemError
            self._seen, _, done, _ = self._environment.step(command)
        return bool(done)

    def _set_state(self, state: Float64) -> None:
        self._seen, self._done = self._environment.set_init_state(state), False

    def _reset(self) -> None:
        """Reset until all objects have a place.

        LIBERO's own loop swallows every exception, Ctrl-C included, and never ends if each reset fails.
        """
        no_place: Any = load("robosuite.utils.errors", benchmark=NAME, remedy=INSTALL).RandomizationError
        for _ in range(_NUM_RESETS):
            try:
                with interrupts_held():  # one that comes while the last simulation is freed would be lost
                    self._environment.env.reset()
            except no_place:
                continue
            return
        raise VitaDataError(f"{NAME}: no place for the objects of {self._instruction!r} in {_NUM_RESETS} attempts")
