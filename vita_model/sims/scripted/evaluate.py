"""Closed-loop success on new initial states of a task, compared with the expert and random commands."""

import os
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path

from vita_data.command.progress import SILENT, Progress
from vita_data.config.checks import MAX_SEED, require, require_whole
from vita_data.types import Json
from vita_model.policy.commands import InConvention
from vita_model.policy.interfaces import Policy
from vita_model.policy.opener import RandomPolicy
from vita_model.sims.benchmarks.versions import package_versions
from vita_model.sims.results.delays import NO_DELAY, Delay, idle_percent
from vita_model.sims.results.film import write_film
from vita_model.sims.results.journal import Journal, Note, Place, identity, success_counter
from vita_model.sims.results.rollouts import LoopConfig
from vita_model.sims.results.scores import EpisodeResult, ends_of, rate_json, success_rate, write_json
from vita_model.sims.results.videos import Videos
from vita_model.sims.results.workers import Job
from vita_model.sims.scripted.contact_sheet import contact_sheet, write_jpeg
from vita_model.sims.scripted.players import (
    CONVENTION,
    BlindSimulation,
    ExpertPolicy,
    Player,
    ScriptedSimulation,
    ScriptedWorkers,
    run_players,
)
from vita_model.sims.scripted.seeds import EVALUATIONS, episode_seeds
from vita_model.sims.scripted.shown import ShownEpisodes
from vita_model.sims.scripted.task import HZ, ScriptedTask, TaskSpec

PLAYERS = POLICY, EXPERT, RANDOM = "policy", "expert", "random"
"""Who acts; the names of a result's rates."""
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

    resume: bool = False
    """Continue an interrupted evaluation."""
    video: bool = False
    """Write a film of each of the policy's episodes; every step is then rendered."""

    def __post_init__(self) -> None:
        """Refuse invalid values; raises RequestError."""
        require_whole(self, "num_episodes", most=EVALUATIONS.most_episodes)
        require_whole(self, "replan_steps")
        require_whole(self, "seed", least=0, most=MAX_SEED)
        require(self, "seed", fits=self.seed < EVALUATIONS.most_runs, wanted=f"below {EVALUATIONS.most_runs}")

    @property
    def place(self) -> Place:
        """Where the result is written."""
        return Place(folder=self.out, name="result", resume=self.resume)

    @property
    def videos(self) -> Videos | None:
        """Where films are written, if at all."""
        return Videos(folder=self.out / "videos", hz=HZ) if self.video else None

    @property
    def shown(self) -> ShownEpisodes:
        """Where the images of the first episodes wait for the others."""
        seeds = tuple(self.seeds[:_NUM_SHOWN])
        return ShownEpisodes(folder=self.out / "result.images", seeds=seeds, videos=self.videos)

    @property
    def loop(self) -> LoopConfig:
        """Limits of the policy's episodes."""
        return self.limits(self.delay)

    @property
    def seeds(self) -> list[int]:
        """Seeds of the episodes; demonstrations never use them."""
        return list(islice(episode_seeds(EVALUATIONS, self.seed), self.num_episodes))

    def limits(self, delay: Delay) -> LoopConfig:
        """Give the limits of an episode with a delay."""
        return LoopConfig(
            max_steps=self.max_steps or self.spec.max_steps,
            replan_steps=self.replan_steps,
            execution=delay.execution,
            latency_steps=delay.steps(HZ),
        )

    def players(self, policy: Policy, task: ScriptedTask) -> Mapping[str, Player]:
        """List by name who acts: the policy, and for comparison the expert and random commands, without a delay."""
        seeing, blind = ScriptedSimulation(task, policy.info), BlindSimulation(task, policy.info)
        prompt = self.limits(NO_DELAY)
        return {
            POLICY: Player(simulation=seeing, policy=policy, loop=self.loop, recorder=self.shown),
            EXPERT: Player(simulation=blind, policy=ExpertPolicy(task), loop=prompt),
            RANDOM: Player(simulation=blind, policy=RandomPolicy(CONVENTION), loop=prompt),
        }


def evaluate_scripted(
    request: EvaluateRequest,
    policy: Policy,
    task: ScriptedTask,
    report: Callable[[str], None],
    progress: Progress = SILENT,
    workers: ScriptedWorkers | None = None,
) -> dict[str, object]:
    """Run the policy, the expert and random commands on the same new episodes; write result, contact sheet and film.

    `workers` share the episodes; None: they run in this process.

    Returns:
        The content of `result.json`.

    Raises:
        RequestError: the policy uses another convention, or an interrupted evaluation exists, but `resume` is False or
            the settings differ.
        VitaDataError: the policy's answer is not a valid chunk.
    """
    checked, settings = InConvention(policy, CONVENTION), _settings(request)
    num_episodes, max_steps = len(request.seeds), request.loop.max_steps
    report(f"{policy.info.name}: {num_episodes} episodes of at most {max_steps} steps, a line after each")
    progress.start(len(PLAYERS) * num_episodes)
    recorded = {**settings, "policy": identity(policy.info), "seed": request.seed}
    try:
        with Journal(request.place, recorded, report, progress, _note(report)) as journal:
            played = dict(run_players(PLAYERS, request, checked, task, journal, workers))
            rates = {name: success_rate(episodes) for name, episodes in played.items()}
            for name, rate in rates.items():
                report(f"{name:8s}{rate}")
            result = {
                **settings,
                "policy": policy.info.as_json(),
                "idle_percent": idle_percent(played[POLICY]),
                "rates": {name: rate_json(rate) for name, rate in rates.items()},
                "num_filmed": len(request.shown.seeds),
                "episodes": [asdict(episode) for episode in played[POLICY]],
            }
            _show(request, played[POLICY], report)
            write_json(request.place.result, result)
    finally:
        if not request.place.episodes.exists():  # otherwise `resume` needs them
            request.shown.remove()
    return result


def _settings(request: EvaluateRequest) -> Json:
    return {
        "benchmark": request.benchmark,
        "task": request.spec.name,
        "instruction": request.spec.instruction,
        "max_steps": request.loop.max_steps,
        "replan_steps": request.replan_steps,
        **request.delay.settings(HZ),
        "renderer": os.environ.get("MUJOCO_GL", "default"),
        "versions": package_versions(*request.spec.packages),
    }


def _note(report: Callable[[str], None]) -> Note:
    """Make a function that is told each episode, reports the policy's, and counts successes."""
    count = success_counter(by_group=True)

    def note(job: Job, row: Json) -> str:
        name, seed = job
        if name == POLICY:
            report(f"{name} seed {seed}: {'success' if row['success'] else 'failed'}, {row['num_steps']} steps")
        return count(job, row)

    return note


def _show(request: EvaluateRequest, episodes: list[EpisodeResult], report: Callable[[str], None]) -> None:
    """Write contact sheet and film of the first episodes, and the page of all films."""
    successes = {episode.seed: episode.success for episode in episodes}
    shown = [(successes[seed], request.shown.read(seed)) for seed in request.shown.seeds]
    write_jpeg(request.out / "rollouts.jpg", contact_sheet(shown))
    film = request.out / "rollouts.mp4"
    write_film(film, shown, hz=HZ)
    report(f"film of the first {len(shown)} episodes: {film}")
    if request.videos:
        title, ends = f"{request.benchmark} {request.spec.name}", ends_of({POLICY: episodes})
        report(f"films: {request.videos.write_page(title, ends)}")
