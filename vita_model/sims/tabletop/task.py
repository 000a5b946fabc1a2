"""The tasks of the tabletop: one arm and three cubes; the one to lift lies near the middle.

It behaves as robosuite's Lift with LIBERO's controller: the same commands, state and images (upside down), so that its
recordings are read by the source libero and the same expert solves it. Without physics: the hand covers a fixed part of
the commanded distance in each step, a cube follows the hand while it is held, and nothing collides.
"""

from collections.abc import Mapping
from types import MappingProxyType

import numpy as np

from vita_data.scene.table import (
    COLOURS,
    CUBE_M,
    FRONT,
    TABLE_Z_M,
    Hand,
    arm,
    arm_joints_rad,
    cube,
    gripper,
    picture,
    wrist_camera,
)
from vita_data.types import CameraRole, Float64, Image
from vita_model.sims.scripted.expert import Scene, lift_command
from vita_model.sims.scripted.task import HZ, IMAGE_SIZE, Proprioception, TaskSpec

_STEP_M = 0.05
"""Distance of a command of 1, as of LIBERO's controller."""
_COVERED = 0.3
"""Part of the commanded distance that the hand covers in a step."""
_OPEN_M, _FINGER_STEP_M = 0.08, 0.012
_GRASP_M = 0.026
"""The fingers catch a cube whose centre is at most this far from the point between them, along each axis."""
_LIFTED_M = 0.04
"""Height above the table's cubes from which a cube counts as lifted; as in robosuite."""
_SPREAD_M = np.array([0.05, 0.06])
"""The task's cube lies within this distance of the middle, ahead and to the side; robosuite's Lift has 0.03."""
_ASIDE_M = 0.17
"""The other cubes lie about so far to the left and right of the middle."""
_HOME_M = np.array([-0.12, 0.0, 0.98])
_LOW_M, _HIGH_M = np.array([-0.3, -0.3, TABLE_Z_M + 0.01]), np.array([0.25, 0.3, 1.2])
_REST_Z_M = TABLE_Z_M + CUBE_M / 2


def _lift(colour: str) -> TaskSpec:
    others = tuple(name for name in COLOURS if name != colour)
    return TaskSpec(
        name=f"lift_{colour}", environment="Tabletop", instruction=f"lift the {colour} cube", max_steps=120,
        expert=lift_command, cubes=(colour, *others), packages=("numpy", "cv2"),
    )  # fmt: skip


TASKS: Mapping[str, TaskSpec] = MappingProxyType({f"lift_{colour}": _lift(colour) for colour in COLOURS})


class TabletopTask:
    """A task of the tabletop; an episode depends only on its seed and the commands."""

    def __init__(self, spec: TaskSpec) -> None:
        """Lay the table; `reset` begins an episode."""
        self.spec = spec
        self.reset(0)

    def reset(self, seed: int) -> None:
        """Start the episode of a seed: place cubes and hand."""
        generator = np.random.default_rng([seed, list(COLOURS).index(self.spec.cubes[0])])
        self._hand = _HOME_M + generator.uniform(-0.03, 0.03, 3)
        self._width, self._speed, self._held = _OPEN_M, 0.0, -1
        places = _places(len(self.spec.cubes), generator)
        self._cubes = np.column_stack([places, np.full(len(places), _REST_Z_M)])

    def step(self, command: Float64) -> None:
        """Execute one command [7] for 1/20 s; the hand does not turn."""
        goal = self._hand + _COVERED * _STEP_M * np.clip(np.asarray(command[:3], np.float64), -1, 1)
        moved = np.clip(goal, _LOW_M, _HIGH_M) - self._hand
        self._hand = self._hand + moved
        closes, before = bool(command[6] > 0), self._width
        if self._held >= 0 and closes:
            self._cubes[self._held] += moved
        elif not closes:
            self._held, self._width = -1, min(_OPEN_M, self._width + _FINGER_STEP_M)
        else:
            self._close()
        self._speed = (self._width - before) * HZ
        self._fall()

    @property
    def is_success(self) -> bool:
        """Whether the task's cube is above the others."""
        return bool(self._cubes[0, 2] > _REST_Z_M + _LIFTED_M)

    def images(self) -> dict[CameraRole, Image]:
        """Draw every camera: uint8 [128, 128, 3] RGB, upside down as robosuite gives them."""
        hand = self._drawn_hand()
        cubes = [cube(xyz_m, COLOURS[name]) for xyz_m, name in zip(self._cubes, self.spec.cubes, strict=True)]
        upright = {
            CameraRole.PRIMARY: picture(FRONT, [*cubes, *gripper(hand), *arm(hand)], IMAGE_SIZE),
            CameraRole.WRIST_RIGHT: picture(wrist_camera(hand), [*cubes, *gripper(hand)], IMAGE_SIZE),
        }
        return {role: np.ascontiguousarray(image[::-1]) for role, image in upright.items()}

    def proprioception(self) -> Proprioception:
        """Read the arm."""
        return Proprioception(
            xyz_m=self._hand.copy(),
            quaternion_xyzw=np.array([1.0, 0.0, 0.0, 0.0]),
            fingers_m=np.array([self._width / 2, -self._width / 2]),
            joints_rad=arm_joints_rad(self._drawn_hand()),
        )

    def scene(self) -> Scene:
        """Read the poses for the expert."""
        return Scene(
            hand_xyz_m=self._hand.copy(), finger_width_m=self._width, finger_speed_m_s=abs(self._speed),
            cube_xyz_m=self._cubes[0].copy(), cube_held=self._held == 0, table_z_m=TABLE_Z_M,
        )  # fmt: skip

    def simulator_state(self) -> Float64:
        """Flatten hand, fingers, the held cube and all cubes."""
        return np.concatenate([self._hand, [self._width, self._speed, self._held], self._cubes.ravel()])

    def close(self) -> None:
        """Do nothing: nothing is open."""

    def _drawn_hand(self) -> Hand:
        return Hand(xyz_m=self._hand, finger_width_m=self._width)

    def _close(self) -> None:
        off = np.abs(self._cubes - self._hand).max(axis=1)
        nearest = int(off.argmin())
        if off[nearest] > _GRASP_M:
            self._width = max(0.0, self._width - _FINGER_STEP_M)
            return
        self._width = max(CUBE_M, self._width - _FINGER_STEP_M)
        if self._width == CUBE_M:
            self._held = nearest

    def _fall(self) -> None:
        free = np.arange(len(self._cubes)) != self._held
        self._cubes[free, 2] = np.maximum(_REST_Z_M, self._cubes[free, 2] - _STEP_M)


def _places(count: int, generator: np.random.Generator) -> Float64:
    """Draw places [count, 2]: the first near the middle, the others in turns on either side."""
    places = generator.uniform(-1, 1, (count, 2)) * _SPREAD_M
    sides = generator.permutation(np.resize([-_ASIDE_M, _ASIDE_M], count - 1))
    places[1:, 1] = places[1:, 1] * 0.5 + sides
    return np.asarray(places)
