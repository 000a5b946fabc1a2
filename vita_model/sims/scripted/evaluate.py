"""Closed-loop success on new initial states of a task, compared with the expert and random commands."""

import os
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import islice
from pathlib import Path

from vita_data.command.progress import SILENT, Progress
from vita_data.config.checks import MAX_SEED, require, require_whole
from vita_data.types import Float64
from vita_model.policy.commands import InConvention, oriented
from vita_model.policy.interfaces import NO_STATE, Observation, Policy, PolicyInfo, libero_state
from vita_model.policy.opener import RandomPolicy
from vita_model.sims.results.delays import NO_DELAY, Delay, idle_percent
from vita_model.sims.results.film import write_film
from vita_model.sims.results.rollouts import LoopConfig, Strip, roll_out_all
from vita_model.sims.results.scores import EpisodeResult, rate_json, success_rate, write_json
from vita_model.sims.scripted.contact_sheet import contact_sheet, write_jpeg
from vita_model.sims.scripted.seeds import EVALUATIONS, episode_seeds
from vita_model.sims.scripted.task import HZ, ScriptedTask, TaskSpec

CONVENTION = "libero"
"""Controller, scales and signs are those of LIBERO."""
_NUM_SHOWN = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class EvaluateRequest:
    """What to evaluate."""

    benchmark: str
    """Name of the simulator."""
    spec: TaskSpec
    out: Path
    num_episodes: int
    replan_steps: int
    seed: int = 0
    max_steps: int | None = None
    """None: the task's default."""
    delay: Delay = NO_DELAY

    def __post_init__(self) -> None:
        """Refuse invalid values; raises RequestError."""
        require_whole(self, "num_episodes", most=EVALUATIONS.most_episodes)
        require_whole(self, "replan_steps")
        require_whole(self, "seed", least=0, most=MAX_SEED)
        require(self, "seed", fits=self.seed < EVALUATIONS.most_runs, wanted=f"below {EVALUATIONS.most_runs}")

    @property
    def loop(self) -> LoopConfig:
        """Limits of an episode."""
        return LoopConfig(
            max_steps=self.max_steps or self.spec.max_steps,
            replan_steps=self.replan_steps,
            execution=self.delay.execution,
            latency_steps=self.delay.steps(HZ),
        )

    @property
    def seeds(self) -> list[int]:
        """Seeds of the episodes; demonstrations never use them."""
        return list(islice(episode_seeds(EVALUATIONS, self.seed), self.num_episodes))


class ScriptedSimulation:
    """A task for evaluation, with images turned like the policy's training images."""

    def __init__(self, task: ScriptedTask, info: PolicyInfo) -> None:
        self._task, self._info = task, info

    def reset(self, seed: int) -> None:
        """Start the episode of a seed."""
        self._task.reset(seed)

    def observe(self) -> Observation:
        """Render and read the arm."""
        arm = self._task.proprioception()
        return Observation(
            images={role: oriented(image, self._info.constants) for role, image in self._task.images().items()},
            instruction=self._task.spec.instruction,
            state=libero_state(
                xyz_m=arm.xyz_m,
                quaternion_xyzw=arm.quaternion_xyzw,
                fingers_m=arm.fingers_m,
                joints_rad=arm.joints_rad,
            ),
        )

    def step(self, command: Float64) -> None:
        """Execute one command."""
        self._task.step(command)

    @property
    def is_success(self) -> bool:
        """Whether the task is currently solved."""
        return self._task.is_success


class BlindSimulation(ScriptedSimulation):
    """The same without images, for policies that do not use them."""

    def observe(self) -> Observation:
        """Give only the instruction."""
        return Observation(images={}, instruction=self._task.spec.instruction, state=NO_STATE)


class ExpertPolicy:
    """The scripted expert as a policy; it reads the simulator instead of observations."""

    def __init__(self, task: ScriptedTask) -> None:
        self._task = task

    @property
    def info(self) -> PolicyInfo:
        """The expert uses the simulator's own commands."""
        return PolicyInfo(name="expert", convention=CONVENTION)

    def reset(self) -> None:
        """Do nothing: the expert has no memory."""

    def act(self, observation: Observation) -> Float64:
        """Give a chunk of one command."""
        return self._task.spec.expert(self._task.scene())[None]


def evaluate_scripted(
    request: EvaluateRequest,
    policy: Policy,
    task: ScriptedTask,
    report: Callable[[str], None],
    progress: Progress = SILENT,
) -> dict[str, object]:
    """Run the policy, the expert and random commands on the same new episodes; write result, contact sheet and film.

    Returns:
        The content of `result.json`.

    Raises:
        RequestError: the policy uses another convention.
        VitaDataError: the policy's answer is not a valid chunk.
    """
    checked, seeds = InConvention(policy, CONVENTION), request.seeds
    strips = {seed: Strip() for seed in seeds[:_NUM_SHOWN]}
    started = time.monotonic()
    report(f"{policy.info.name}: {len(seeds)} episodes of at most {request.loop.max_steps} steps, a line after each")
    progress.start(3 * len(seeds))
    episodes = run_episodes(ScriptedSimulation(task, policy.info), checked, request, report, "policy", progress, strips)
    took_s = time.monotonic() - started
    blind, prompt = BlindSimulation(task, policy.info), replace(request, delay=NO_DELAY)
    expert = run_episodes(blind, ExpertPolicy(task), prompt, _nothing, "expert", progress)
    random = run_episodes(blind, RandomPolicy(CONVENTION), prompt, _nothing, "random", progress)
    rates = {"policy": success_rate(episodes), "expert": success_rate(expert), "random": success_rate(random)}
    for name, rate in rates.items():
        report(f"{name:8s}{rate}")
    result = {
        "benchmark": request.benchmark,
        "task": request.spec.name,
        "instruction": request.spec.instruction,
        "policy": policy.info.as_json(),
        "max_steps": request.loop.max_steps,
        "replan_steps": request.replan_steps,
        **request.delay.settings(HZ),
        "idle_percent": idle_percent(episodes),
        "renderer": os.environ.get("MUJOCO_GL", "default"),
        "seconds": round(took_s, 1),
        "rates": {name: rate_json(rate) for name, rate in rates.items()},
        "episodes": [asdict(episode) for episode in episodes],
    }
    shown = [(episode.success, strips[episode.seed].images) for episode in episodes if episode.seed in strips]
    write_json(request.out / "result.json", result)
    write_jpeg(request.out / "rollouts.jpg", contact_sheet(shown))
    write_film(request.out / "rollouts.mp4", shown, hz=HZ)
    return result


def run_episodes(
    simulation: ScriptedSimulation,
    policy: Policy,
    request: EvaluateRequest,
    report: Callable[[str], None],
    name: str,
    progress: Progress,
    strips: dict[int, Strip] | None = None,
) -> Sequence[EpisodeResult]:
    """Run the episodes of a request; `report` gets a line of each, `strips` the images of some."""
    successes: list[bool] = []

    def tell(result: EpisodeResult) -> None:
        report(f"{name} seed {result.seed}: {'success' if result.success else 'failed'}, {result.num_steps} steps")
        successes.append(result.success)
        progress.update(note=f"{name}: {sum(successes)} of {len(successes)} succeeded")

    return roll_out_all(simulation, policy, request.loop, seeds=request.seeds, report=tell, strips=strips)


def _nothing(line: str) -> None:
    """Ignore the line: the baselines are not reported per episode."""
