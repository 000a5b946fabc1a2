"""LIBERO's four suites, with the protocol of published evaluations. Users provide the installation and assets.

Source: openvla run_libero_eval.py and openpi examples/libero: seed 7, 10 no-op steps, the stored initial states, 50
trials per task, at most 220, 280, 300 and 520 steps; `done` means success.
"""

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np

from vita_data.command.progress import SILENT, Progress
from vita_data.config.checks import require, require_whole
from vita_data.errors import RequestError
from vita_data.types import CameraRole, Float64
from vita_model.policy.commands import InConvention, oriented
from vita_model.policy.interfaces import Observation, Policy, PolicyInfo, libero_state
from vita_model.sims.benchmarks.offline_import import load, quiet, require_package, require_path
from vita_model.sims.results.journal import Journal, Place, identity
from vita_model.sims.results.rollouts import LoopConfig
from vita_model.sims.results.scores import EpisodeResult, rate_json, success_rate, write_json

CONVENTION = "libero"
TABLE = 2
SUITES: Mapping[str, tuple[str, int]] = MappingProxyType(
    {
        "libero_goal": ("GOAL", 300),
        "libero_spatial": ("SPATIAL", 220),
        "libero_object": ("OBJECT", 280),
        "libero_10": ("LONG", 520),
    }
)
"""Column of Table 2 and maximum steps per episode."""
SEED = 7
NUM_TRIALS = 50
NUM_NO_OPS = 10
IMAGE_SIZE = 256
_NO_OP = [0.0, 0.0, 0.0, 0.0, 0.0, 0.0, -1.0]
_NAME = "LIBERO"
_INSTALL = "install it as its authors describe (hf-libero 0.1.4, robosuite 1.4.0 and mujoco<3.9 work together)"


@dataclass(frozen=True, slots=True, kw_only=True)
class LiberoRequest:
    """What to evaluate. The defaults are the protocol; deviations are recorded in the result."""

    suite: str
    out: Path
    replan_steps: int
    num_trials: int = NUM_TRIALS
    tasks: tuple[int, ...] = ()
    """Task numbers in the suite; empty: all."""
    assets: Path | None = None
    """Folder of the assets; None: inside the installed package."""

    resume: bool = False
    """Continue an interrupted evaluation."""

    def __post_init__(self) -> None:
        """Refuse invalid values; raises RequestError."""
        require(self, "suite", fits=self.suite in SUITES, wanted=f"one of {', '.join(SUITES)}")
        require_whole(self, "num_trials", most=NUM_TRIALS)
        require_whole(self, "replan_steps")

    @property
    def place(self) -> Place:
        """Where the result is written."""
        return Place(folder=self.out, name=f"libero-{self.suite}", resume=self.resume)


class LiberoTask:
    """One task; an episode's seed is the number of its stored initial state."""

    def __init__(self, environment: Any, states: Any, instruction: str, info: PolicyInfo) -> None:
        self._environment, self._states, self._info = environment, states, info
        self._instruction = instruction
        self._seen: Mapping[str, Any] = {}
        self._done = False

    def reset(self, seed: int) -> None:
        """Set the simulator to initial state `seed` and let the objects settle."""
        self._environment.seed(SEED)
        self._environment.reset()
        self._seen, self._done = self._environment.set_init_state(self._states[seed]), False
        for _ in range(NUM_NO_OPS):
            self._seen = self._environment.step(_NO_OP)[0]

    def observe(self) -> Observation:
        """Convert the last observation."""
        seen, constants = self._seen, self._info.constants
        return Observation(
            images={
                CameraRole.PRIMARY: oriented(seen["agentview_image"], constants),
                CameraRole.WRIST_RIGHT: oriented(seen["robot0_eye_in_hand_image"], constants),
            },
            instruction=self._instruction,
            state=libero_state(
                xyz_m=np.asarray(seen["robot0_eef_pos"]),
                quaternion_xyzw=np.asarray(seen["robot0_eef_quat"]),
                fingers_m=np.asarray(seen["robot0_gripper_qpos"]),
                joints_rad=np.asarray(seen["robot0_joint_pos"]) if "robot0_joint_pos" in seen else None,
            ),
        )

    def step(self, command: Float64) -> None:
        """Execute one command."""
        self._seen, _, done, _ = self._environment.step(command.tolist())
        self._done = bool(done)

    @property
    def is_success(self) -> bool:
        """LIBERO's `done`."""
        return self._done


def evaluate_libero(
    request: LiberoRequest, policy: Policy, report: Callable[[str], None], progress: Progress = SILENT
) -> dict[str, object]:
    """Run a suite and write `libero-<suite>.json`.

    Returns:
        The content of the file.

    Raises:
        RequestError: LIBERO or its assets are missing, the policy uses another convention, or an interrupted evaluation
            exists, but `resume` is False or the settings differ.
    """
    checked = InConvention(policy, CONVENTION)
    column, max_steps = SUITES[request.suite]
    loop = LoopConfig(max_steps=max_steps, replan_steps=request.replan_steps)
    tasks: dict[str, list[EpisodeResult]] = {}
    with quiet(_NAME):
        suite = _suite(request)
        settings = {
            "suite": request.suite,
            "max_steps": max_steps,
            "replan_steps": request.replan_steps,
            "renderer": os.environ.get("MUJOCO_GL", "default"),
        }
        numbers = _numbers(request, suite.n_tasks)
        progress.start(len(numbers) * request.num_trials)
        with Journal(request.place, {**settings, "policy": identity(policy.info)}, report, progress) as journal:
            for number in numbers:
                name = suite.get_task(number).name
                make = partial(_task, suite, number, policy.info)
                tasks[name] = journal.episodes(name, range(request.num_trials), make, checked, loop)
                report(f"{request.suite} task {number} {name}: {success_rate(tasks[name])}")
            everything = [episode for episodes in tasks.values() for episode in episodes]
            result = {
                "benchmark": "libero",
                "table": TABLE,
                "policy": policy.info.as_json(),
                **settings,
                "is_protocol": request.num_trials == NUM_TRIALS and not request.tasks,
                "num_trials": request.num_trials,
                "rates": {column: rate_json(success_rate(everything))},
                "tasks": {name: rate_json(success_rate(episodes)) for name, episodes in tasks.items()},
            }
            write_json(request.place.result, result)
    return result


def _task(suite: Any, number: int, info: PolicyInfo) -> tuple[LiberoTask, Callable[[], None]]:
    task = suite.get_task(number)
    environment = _environment(task)
    return LiberoTask(environment, suite.get_task_init_states(number), task.language, info), environment.close


def check_installation(assets: Path | None) -> None:
    """Check package, configuration and assets before importing LIBERO, whose first import prompts if they are missing.

    Raises:
        RequestError: one of them is missing; the message says where it was expected.
    """
    folder = require_package("libero", benchmark=_NAME, remedy=_INSTALL)
    home = Path(os.environ.get("LIBERO_CONFIG_PATH", Path.home() / ".libero"))
    require_path(
        home / "config.yaml",
        benchmark=_NAME,
        what="configuration",
        remedy="write it with the keys benchmark_root, bddl_files, init_states, datasets and assets, or import libero "
        "once by hand",
    )
    require_path(
        assets or folder / "libero" / "assets",
        benchmark=_NAME,
        what="assets",
        remedy="put them there, or set --assets to their folder; vita-eval downloads nothing",
    )


def _suite(request: LiberoRequest) -> Any:
    os.environ.setdefault("MUJOCO_GL", "egl")
    os.environ.setdefault("PYOPENGL_PLATFORM", os.environ["MUJOCO_GL"])
    check_installation(request.assets)
    root = load("libero.libero", benchmark=_NAME, remedy=_INSTALL)
    if request.assets is not None:
        root._assets_path_cache = str(request.assets.resolve())  # type: ignore[attr-defined]
    benchmark: Any = load("libero.libero.benchmark", benchmark=_NAME, remedy=_INSTALL)
    return benchmark.get_benchmark_dict()[request.suite]()


def _environment(task: Any) -> Any:
    root: Any = load("libero.libero", benchmark=_NAME, remedy=_INSTALL)
    environments: Any = load("libero.libero.envs", benchmark=_NAME, remedy=_INSTALL)
    description = Path(root.get_libero_path("bddl_files")) / task.problem_folder / task.bddl_file
    require_path(description, benchmark=_NAME, what="task description", remedy="fix bddl_files in the configuration")
    return environments.OffScreenRenderEnv(
        bddl_file_name=str(description), camera_heights=IMAGE_SIZE, camera_widths=IMAGE_SIZE
    )


def _numbers(request: LiberoRequest, num_tasks: int) -> tuple[int, ...]:
    wrong = [number for number in request.tasks if not 0 <= number < num_tasks]
    if wrong:
        raise RequestError(f"{request.suite}: expected tasks from 0 to {num_tasks - 1}, got {wrong[0]}")
    return request.tasks or tuple(range(num_tasks))
