"""SimplerEnv: WidowX with ManiSkill 3 (24 episodes per task), Google Robot with the original `simpler_env`.

Source: simpler_env real2sim_eval_maniskill3.py (episode ids, 60 or 120 steps, success at the last step) and
maniskill2_evaluator.py. The Google Robot half needs a GPU. It was written from the interface's signatures and has never
been run; it uses the packaged variant of each task in `simpler_env.make`, not the full grid of visual matching.
"""

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from vita_data.action_convention import CANONICAL
from vita_data.command.progress import SILENT, Progress
from vita_data.config.checks import require, require_whole
from vita_data.installation import install_extra
from vita_data.types import CameraRole, Float64, Image
from vita_model.policy.commands import InConvention
from vita_model.policy.interfaces import NO_STATE, Observation, Policy
from vita_model.sims.benchmarks.guard import guarded
from vita_model.sims.benchmarks.offline_import import load, quiet, require_package, require_path
from vita_model.sims.benchmarks.simplerenv_tasks import TASKS, Robot, SimplerTask, StickyGripper
from vita_model.sims.benchmarks.versions import package_versions
from vita_model.sims.results.delays import NO_DELAY, Delay, idle_percent
from vita_model.sims.results.episodes import Made, TaskPlayer
from vita_model.sims.results.journal import Journal, Place, identity
from vita_model.sims.results.rollouts import Ending, LoopConfig
from vita_model.sims.results.scores import EpisodeResult, ends_of, rate_json, success_rate, write_json
from vita_model.sims.results.videos import Videos
from vita_model.sims.results.workers import RunEpisode, Workers

CONVENTION = CANONICAL
"""Bridge and Fractal already use metres and radians."""
NUM_EPISODES = 24
_NAME = "SimplerEnv"
_GOOGLE_REMEDY = "install SimplerEnv with ManiSkill2_real2sim and sapien 2.2.2; it needs a GPU"


_HZ = {Robot.WIDOWX: 5, Robot.GOOGLE: 3}
_TABLE = {Robot.WIDOWX: 4, Robot.GOOGLE: 3}


@dataclass(frozen=True, slots=True, kw_only=True)
class SimplerRequest:
    """What to evaluate. The defaults are the protocol; deviations are recorded in the result."""

    robot: Robot
    out: Path
    replan_steps: int
    num_episodes: int = NUM_EPISODES
    columns: tuple[str, ...] = ()
    """Tasks by their table column; empty: all tasks of the robot."""

    delay: Delay = NO_DELAY

    resume: bool = False
    """Continue an interrupted evaluation."""
    video: bool = False
    """Write a film of each episode."""

    def __post_init__(self) -> None:
        """Refuse invalid values; raises RequestError."""
        require_whole(self, "num_episodes", "replan_steps")
        known = [task.column for task in TASKS[self.robot]]
        require(self, "columns", fits=set(self.columns) <= set(known), wanted=f"some of {', '.join(known)}")

    @property
    def place(self) -> Place:
        """Where the result is written."""
        return Place(folder=self.out, name=f"simplerenv-{self.robot.value}", resume=self.resume)

    @property
    def videos(self) -> Videos | None:
        """Where films are written, if at all."""
        return Videos(folder=self.out / "videos", hz=_HZ[self.robot]) if self.video else None

    @property
    def is_protocol(self) -> bool:
        """Whether this is the benchmark as published evaluations run it; the packaged Google tasks are not."""
        is_complete = self.robot is Robot.WIDOWX and self.num_episodes == NUM_EPISODES
        return is_complete and self.delay == NO_DELAY

    @property
    def tasks(self) -> tuple[SimplerTask, ...]:
        """The selected tasks."""
        return tuple(task for task in TASKS[self.robot] if not self.columns or task.column in self.columns)


class WidowXTask:
    """A Bridge task of ManiSkill 3; an episode's seed is its episode id."""

    def __init__(self, environment: Any) -> None:
        self._environment = environment
        self._seen: Any = None
        self._success = False

    def reset(self, seed: int) -> None:
        """Start an episode."""
        torch: Any = load("torch", benchmark=_NAME, remedy=install_extra("train"))
        self._seen, _ = self._environment.reset(seed=seed, options={"episode_id": torch.tensor([seed])})
        self._success = False

    def observe(self) -> Observation:
        """Read the camera of the Bridge setup.

        Assumes: the state is masked, since this simulator does not report it in Bridge's frame.
        """
        rgb = np.asarray(self._seen["sensor_data"]["3rd_view_camera"]["rgb"])
        said = self._environment.unwrapped.get_language_instruction()
        return _seen(rgb[0] if rgb.ndim == 4 else rgb, said if isinstance(said, str) else said[0])

    def step(self, command: Float64) -> None:
        """Execute a canonical action; the simulator's gripper is 1 open, -1 closed."""
        gripper = 1.0 if command[6] > 0.5 else -1.0
        self._seen, _, _, _, info = self._environment.step(_motion(command, gripper))
        self._success = bool(np.asarray(info["success"]).any())

    @property
    def is_success(self) -> bool:
        """Whether the task succeeded in the last step."""
        return self._success


class GoogleTask:
    """A task of the original `simpler_env`; an episode's seed is used for its reset."""

    def __init__(self, environment: Any, picture: Callable[[Any, Any], Image]) -> None:
        self._environment, self._picture = environment, picture
        self._seen: Any = None
        self._success = False
        self._gripper = StickyGripper()

    def reset(self, seed: int) -> None:
        """Start an episode."""
        self._seen, _ = self._environment.reset(seed=seed)
        self._success, self._gripper = False, StickyGripper()

    def observe(self) -> Observation:
        """Read the overhead camera; the state is masked."""
        said = self._environment.get_language_instruction()
        return _seen(self._picture(self._environment, self._seen), said)

    def step(self, command: Float64) -> None:
        """Execute a canonical action."""
        motion = _motion(command, self._gripper.command(float(command[6])))
        self._seen, _, done, _, _ = self._environment.step(motion)
        self._success = bool(done)

    @property
    def is_success(self) -> bool:
        """Whether the task succeeded in the last step."""
        return self._success


@dataclass(frozen=True, slots=True, kw_only=True)
class SimplerEpisodes:
    """Opens the simulator and a policy in a worker."""

    request: SimplerRequest
    open_policy: Callable[[], Policy]

    @contextmanager
    def __call__(self) -> Iterator[RunEpisode]:
        """Give the function that runs an episode of a task."""
        request, tasks = self.request, {task.column: task for task in self.request.tasks}
        with quiet(_NAME):
            make, policy = _maker(request.robot), InConvention(self.open_policy(), CONVENTION)

            def loop(column: str) -> LoopConfig:
                return _loop(request, tasks[column])

            with TaskPlayer(lambda column: make(tasks[column]), loop, policy, request.videos) as player:
                yield player.run


def evaluate_simplerenv(
    request: SimplerRequest,
    policy: Policy,
    report: Callable[[str], None],
    progress: Progress = SILENT,
    workers: Workers | None = None,
) -> dict[str, object]:
    """Run a robot's tasks and write `simplerenv-<robot>.json`; `workers` share the episodes, None: in this process.

    Returns:
        The content of the file.

    Raises:
        RequestError: the simulator or its assets are missing, the policy's actions are not canonical, or an interrupted
            evaluation exists, but `resume` is False or the settings differ.
    """
    checked = InConvention(policy, CONVENTION)
    episodes: dict[str, list[EpisodeResult]] = {}
    settings = {
        "robot": request.robot.value,
        "replan_steps": request.replan_steps,
        **request.delay.settings(_HZ[request.robot]),
        "renderer": os.environ.get("VK_ICD_FILENAMES", "default"),
        "versions": package_versions("mani_skill", "simpler_env", "sapien", "numpy"),
    }
    with quiet(_NAME) as loud:
        report = loud(report)
        make = _maker(request.robot)
        progress.start(len(request.tasks) * request.num_episodes)
        with Journal(request.place, {**settings, "policy": identity(policy.info)}, report, progress) as journal:
            seeds = range(request.num_episodes)
            if workers is not None:
                jobs = [(task.column, seed) for task in request.tasks for seed in seeds]
                opener = SimplerEpisodes(request=request, open_policy=workers.open_policy)
                journal.fill(jobs, opener, workers.number)
            for task in request.tasks:
                episodes[task.column] = journal.episodes(
                    task.column, seeds, partial(make, task), checked, _loop(request, task), request.videos
                )
                report(f"{request.robot} {task.column}: {success_rate(episodes[task.column])}")
            result: dict[str, object] = {
                "benchmark": "simplerenv",
                "table": _TABLE[request.robot],
                "policy": policy.info.as_json(),
                **settings,
                "is_protocol": request.is_protocol,
                "num_episodes": request.num_episodes,
                "idle_percent": idle_percent([episode for found in episodes.values() for episode in found]),
                "rates": {column: rate_json(success_rate(found)) for column, found in episodes.items()},
            }
            write_json(request.place.result, result)
            if request.videos:
                report(f"films: {request.videos.write_page(f'SimplerEnv {request.robot}', ends_of(episodes))}")
    return result


def check_installation(robot: Robot) -> None:
    """Check packages and assets before importing ManiSkill, which prompts or downloads if they are missing.

    Raises:
        RequestError: one of them is missing; the message says where it was expected.
    """
    if robot is Robot.WIDOWX:
        _check_widowx()
    else:
        require_package("simpler_env", benchmark=_NAME, remedy=_GOOGLE_REMEDY)


def _check_widowx() -> None:
    remedy = "pip install mani_skill, and put its bridge_v2_real2sim and widowx250s assets there by hand"
    require_package("mani_skill", benchmark=_NAME, remedy=remedy)
    data = Path(os.environ.get("MS_ASSET_DIR", Path.home() / ".maniskill")) / "data"
    for folder in ("tasks/bridge_v2_real2sim_dataset", "robots/widowx"):
        require_path(data / folder, benchmark=_NAME, what="assets", remedy=f"{remedy} (MS_ASSET_DIR sets the folder)")


_Maker = Callable[[SimplerTask], Made]


def _maker(robot: Robot) -> _Maker:
    return _widowx_maker() if robot is Robot.WIDOWX else _google_maker()


def _loop(request: SimplerRequest, task: SimplerTask) -> LoopConfig:
    return LoopConfig(
        max_steps=task.max_steps,
        replan_steps=request.replan_steps,
        ending=Ending.LAST_STEP,
        execution=request.delay.execution,
        latency_steps=request.delay.steps(_HZ[request.robot]),
    )


def _widowx_maker() -> _Maker:
    check_installation(Robot.WIDOWX)
    # if set, ManiSkill downloads missing assets without asking
    os.environ.pop("MS_SKIP_ASSET_DOWNLOAD_PROMPT", None)
    remedy = "install ManiSkill 3 with a Vulkan device"
    with guarded(_NAME, what=f"importing mani_skill of {sys.prefix}", remedy=remedy):
        gymnasium: Any = load("gymnasium", benchmark=_NAME, remedy=remedy)
        load("mani_skill.envs", benchmark=_NAME, remedy=remedy)

    def make(task: SimplerTask) -> Made:
        with guarded(_NAME, what=f"building {task.environment}", remedy=remedy):
            environment = gymnasium.make(task.environment, obs_mode="rgb+segmentation", num_envs=1)
        return WidowXTask(environment), environment.close

    return make


def _google_maker() -> _Maker:
    check_installation(Robot.GOOGLE)
    with guarded(_NAME, what=f"importing simpler_env of {sys.prefix}", remedy=_GOOGLE_REMEDY):
        simpler: Any = load("simpler_env", benchmark=_NAME, remedy=_GOOGLE_REMEDY)
        tools: Any = load("simpler_env.utils.env.observation_utils", benchmark=_NAME, remedy=_GOOGLE_REMEDY)

    def make(task: SimplerTask) -> Made:
        with guarded(_NAME, what=f"building {task.environment}", remedy=_GOOGLE_REMEDY):
            environment = simpler.make(task.environment)
        return GoogleTask(environment, tools.get_image_from_maniskill2_obs_dict), environment.close

    return make


def _motion(action: Float64, gripper: float) -> Float64:
    """Convert an action to position, rotation vector and gripper."""
    from scipy.spatial.transform import Rotation  # imported late, because it is slow

    return np.array([*action[:3], *Rotation.from_euler("xyz", action[3:6]).as_rotvec(), gripper])


def _seen(image: Image, instruction: str) -> Observation:
    images = {CameraRole.PRIMARY: np.ascontiguousarray(image, np.uint8)}
    return Observation(images=images, instruction=instruction, state=NO_STATE)
