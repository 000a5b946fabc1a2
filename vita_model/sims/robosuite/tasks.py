"""Lift and Stack of robosuite 1.4.0 with LIBERO's controller and robot; robosuite is optional.

robosuite is imported lazily. Images are rendered only on request, because an image takes five times as long as a step.
"""

import os
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import numpy as np

from vita_data.command.signals import interrupts_held
from vita_data.errors import RequestError
from vita_data.installation import install_extra
from vita_data.types import CameraRole, Float64, Image
from vita_model.sims.benchmarks.guard import guarded, run_python
from vita_model.sims.benchmarks.mujoco_cameras import PROBE
from vita_model.sims.benchmarks.noise import stdout_to_stderr
from vita_model.sims.benchmarks.offline_import import require_package
from vita_model.sims.scripted.expert import Scene, lift_command, stack_command
from vita_model.sims.scripted.task import HZ, IMAGE_SIZE, Proprioception, TaskSpec, no_op

INSTALL = f"{install_extra('robosuite')} && pip install --no-deps robosuite==1.4.0"
"""robosuite's own requirements would install a second OpenCV and a keyboard driver."""
CAMERAS = MappingProxyType({CameraRole.PRIMARY: "agentview", CameraRole.WRIST_RIGHT: "robot0_eye_in_hand"})
NUM_SETTLE_STEPS = 5
_NAME = "robosuite"
_REMEDY = f"{INSTALL}, and a renderer (MUJOCO_GL=egl with libegl1, or MUJOCO_GL=osmesa with libosmesa6)"
_PACKAGES = ("robosuite", "mujoco", "numpy")
_BUILD_SEED = 0
"""Seed for the sizes of cubes, which are drawn when a simulator is built, so that they are always the same."""


TASKS: Mapping[str, TaskSpec] = MappingProxyType(
    {
        "lift": TaskSpec(
            name="lift",
            environment="Lift",
            instruction="lift the red cube",
            max_steps=120,
            expert=lift_command,
            cubes=("cube",),
            packages=_PACKAGES,
        ),
        "stack": TaskSpec(
            name="stack",
            environment="Stack",
            instruction="stack the red cube on the green cube",
            max_steps=240,
            expert=stack_command,
            cubes=("cubeA", "cubeB"),
            packages=_PACKAGES,
        ),
    }
)


class RobosuiteTask:
    """A simulator of one task; an episode depends only on its seed and the commands."""

    def __init__(self, spec: TaskSpec) -> None:
        """Build the simulator.

        Raises:
            RequestError: robosuite is not installed, has another version, or cannot render.
        """
        self.spec = spec
        self._environment = _make(spec)

    def reset(self, seed: int) -> None:
        """Start the episode of a seed: place cubes and arm, and let the objects settle."""
        np.random.seed(seed)  # noqa: NPY002 - robosuite draws from the global generator
        gripper = self._environment.robots[0].gripper
        gripper.current_action = np.zeros_like(gripper.current_action)  # robosuite's reset keeps the last command
        with interrupts_held():  # robosuite's compiled parts would turn a KeyboardInterrupt into a SystemError
            self._environment.reset()
        for _ in range(NUM_SETTLE_STEPS):
            self.step(no_op())

    def step(self, command: Float64) -> None:
        """Execute one command [7] for 1/20 s."""
        with interrupts_held():
            self._environment.step(np.asarray(command, np.float64))

    @property
    def is_success(self) -> bool:
        """Whether robosuite currently reports success."""
        return bool(self._environment._check_success())

    def images(self) -> dict[CameraRole, Image]:
        """Render every camera: uint8 [128, 128, 3] RGB, upside down as robosuite gives them."""
        simulation = self._environment.sim
        pictures = {}
        for role, camera in CAMERAS.items():
            _without_reflections(simulation)
            picture = simulation.render(width=IMAGE_SIZE, height=IMAGE_SIZE, camera_name=camera)
            pictures[role] = np.ascontiguousarray(picture, np.uint8)
        return pictures

    def proprioception(self) -> Proprioception:
        """Read the arm."""
        data, robot = self._environment.sim.data, self._environment.robots[0]
        wxyz = np.array(data.get_body_xquat(robot.robot_model.eef_name))
        return Proprioception(
            xyz_m=np.array(data.site_xpos[robot.eef_site_id]),
            quaternion_xyzw=wxyz[[1, 2, 3, 0]],
            fingers_m=np.array([data.qpos[index] for index in robot._ref_gripper_joint_pos_indexes]),
            joints_rad=np.array([data.qpos[index] for index in robot._ref_joint_pos_indexes]),
        )

    def scene(self) -> Scene:
        """Read the poses for the expert."""
        environment, data = self._environment, self._environment.sim.data
        arm, robot = self.proprioception(), self._environment.robots[0]
        cubes = [getattr(environment, name) for name in self.spec.cubes]
        places = [np.array(data.body_xpos[environment.sim.model.body_name2id(cube.root_body)]) for cube in cubes]
        speeds = [float(data.qvel[index]) for index in robot._ref_gripper_joint_vel_indexes]
        return Scene(
            hand_xyz_m=arm.xyz_m,
            finger_width_m=float(abs(arm.fingers_m[0] - arm.fingers_m[1])),
            finger_speed_m_s=abs(speeds[0] - speeds[1]),
            cube_xyz_m=places[0],
            cube_held=bool(environment._check_grasp(gripper=robot.gripper, object_geoms=cubes[0])),
            target_xyz_m=places[1] if len(places) > 1 else None,
            table_z_m=float(environment.table_offset[2]),
        )

    def simulator_state(self) -> Float64:
        """Flatten time, positions and velocities, as LIBERO's recorder stores them."""
        return np.asarray(self._environment.sim.get_state().flatten(), np.float64)

    def restore(self, state: Float64) -> None:
        """Set a flattened state; the controller would otherwise act on the pose that it read before."""
        simulation = self._environment.sim
        simulation.set_state_from_flattened(np.asarray(state, np.float64))
        simulation.forward()
        self._environment.robots[0].controller.update(force=True)

    def close(self) -> None:
        """Free the simulator."""
        self._environment.close()


def _make(spec: TaskSpec) -> Any:
    os.environ.setdefault("MUJOCO_GL", "egl")  # render without a screen
    os.environ.setdefault("PYOPENGL_PLATFORM", os.environ["MUJOCO_GL"])
    folder = require_package("robosuite", benchmark=_NAME, remedy=_REMEDY)
    run_python(PROBE, benchmark=_NAME, what=f"rendering with MUJOCO_GL={os.environ['MUJOCO_GL']}", remedy=_REMEDY)
    with guarded(_NAME, what=f"building {spec.environment} of {folder}", remedy=_REMEDY), stdout_to_stderr():
        import robosuite
        from robosuite.controllers import load_controller_config

        if robosuite.__version__ != "1.4.0":
            raise RequestError(f"expected robosuite 1.4.0, got {robosuite.__version__}, whose controller differs")
        np.random.seed(_BUILD_SEED)  # noqa: NPY002
        environment = robosuite.make(
            spec.environment,
            robots="Panda",
            controller_configs=load_controller_config(default_controller="OSC_POSE"),
            has_renderer=False,
            has_offscreen_renderer=True,
            use_camera_obs=False,
            control_freq=HZ,
            ignore_done=True,
            hard_reset=False,
        )
        environment.reset()
    return environment


def _without_reflections(simulation: Any) -> None:
    """Disable the table's reflections, which take more than half of the rendering time.

    Assumes: this is allowed in our own benchmark, where demonstrations and evaluations look the same. LIBERO's
        environments are not changed.
    """
    import mujoco

    context = simulation._render_context_offscreen
    if context is not None:
        context.scn.flags[mujoco.mjtRndFlag.mjRND_REFLECTION] = 0
