"""Stand-ins for simulators: a kinematic arm in place of robosuite, and folders for packages that a test writes."""

import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from textwrap import dedent

import numpy as np
import pytest

from vita_data.types import CameraRole, Float64, Image
from vita_model.policy.interfaces import Observation, PolicyInfo
from vita_model.sims.robosuite.tasks import CAMERAS, TASKS
from vita_model.sims.scripted.expert import Scene
from vita_model.sims.scripted.task import IMAGE_SIZE, Proprioception, TaskSpec


class PointArm:
    """What `RobosuiteTask` is to its users, without physics: a hand that goes where it is told."""

    def __init__(self, spec: TaskSpec | None = None, *, works: Callable[[int], object] = lambda seed: 1) -> None:
        self.spec = spec or TASKS["lift"]
        self.works, self.num_resets, self.num_renders = works, 0, 0

    def reset(self, seed: int) -> None:
        generator = np.random.default_rng(seed)
        self.seed, self.num_resets = seed, self.num_resets + 1
        self.hand = np.array([-0.1, 0.0, 1.0]) + generator.uniform(-0.01, 0.01, 3)
        self.cubes = [np.array([*generator.uniform(-0.03, 0.03, 2), 0.82]) for _ in self.spec.cubes]
        self.width, self.speed, self.steps = 0.08, 0.0, 0

    def step(self, command: Float64) -> None:
        moved = np.clip(command[:3], -1, 1) * 0.012
        held = self._held()
        self.hand = self.hand + moved
        if held and command[6] > 0:
            self.cubes[0] = self.cubes[0] + moved
        before = self.width
        closed = 0.042 if np.linalg.norm(self.hand - self.cubes[0]) < 0.02 else 0.0
        self.width = max(closed, self.width - 0.01) if command[6] > 0 else min(0.08, self.width + 0.01)
        self.speed, self.steps = self.width - before, self.steps + 1

    @property
    def is_success(self) -> bool:
        return bool(self.cubes[0][2] > 0.84 and self.works(self.seed))

    def images(self) -> dict[CameraRole, Image]:
        self.num_renders += 1
        blank = np.zeros((IMAGE_SIZE, IMAGE_SIZE, 3), np.uint8)
        blank[0, 0] = (self.steps % 200 + 20, self.seed % 200, 200)
        blank[64:] = 90
        return {role: blank.copy() for role in CAMERAS}

    def proprioception(self) -> Proprioception:
        return Proprioception(
            xyz_m=self.hand.copy(),
            quaternion_xyzw=np.array([1.0, 0.0, 0.0, 0.0]),
            fingers_m=np.array([self.width / 2, -self.width / 2]),
            joints_rad=np.linspace(0, 1, 7),
        )

    def scene(self) -> Scene:
        return Scene(
            hand_xyz_m=self.hand.copy(),
            finger_width_m=self.width,
            finger_speed_m_s=abs(self.speed),
            cube_xyz_m=self.cubes[0].copy(),
            cube_held=self._held(),
            target_xyz_m=self.cubes[1].copy() if len(self.cubes) > 1 else None,
        )

    def simulator_state(self) -> Float64:
        return np.concatenate([self.hand, *self.cubes, [self.width]])

    def close(self) -> None:
        pass

    def _held(self) -> bool:
        return self.width <= 0.045 and float(np.linalg.norm(self.hand - self.cubes[0])) < 0.02


class ConstantPolicy:
    """Answers the same chunk each time and keeps what it was asked."""

    def __init__(self, chunk: object, convention: str = "libero", constants: dict[str, object] | None = None) -> None:
        self.chunk, self.asked, self.num_resets = chunk, [], 0  # type: ignore[var-annotated]
        self._info = PolicyInfo(name="constant", convention=convention, constants=constants or {})

    @property
    def info(self) -> PolicyInfo:
        return self._info

    def reset(self) -> None:
        self.num_resets += 1

    def act(self, observation: Observation) -> Float64:
        self.asked.append(observation)
        return self.chunk  # type: ignore[return-value]


@pytest.fixture
def make_arm() -> type[PointArm]:
    return PointArm


@pytest.fixture
def make_policy() -> type[ConstantPolicy]:
    return ConstantPolicy


@pytest.fixture
def packages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[dict[str, str]], Path]]:
    """Write importable packages: path -> source; the modules are forgotten afterwards."""
    root, before = tmp_path / "site", set(sys.modules)
    monkeypatch.syspath_prepend(str(root))

    def write(files: dict[str, str]) -> Path:
        for name, text in files.items():
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            (root / name).write_text(dedent(text))
        return root

    yield write
    for name in set(sys.modules) - before:
        if str(getattr(sys.modules[name], "__file__", "") or "").startswith(str(root)) or name == "pyhash":
            del sys.modules[name]
