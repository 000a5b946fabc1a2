"""LIBERO's four suites, with the protocol of published evaluations. Users provide the installation and assets.

Source: openvla run_libero_eval.py and openpi examples/libero: seed 7, 10 no-op steps, the stored initial states, 50
trials per task, at most 220, 280, 300 and 520 steps; `done` means success.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import MappingProxyType

from vita_data.command.progress import SILENT, Progress
from vita_data.config.checks import require, require_whole
from vita_data.errors import RequestError
from vita_model.policy.commands import InConvention
from vita_model.policy.interfaces import Policy, PolicyInfo
from vita_model.sims.benchmarks.libero_installation import NAME, LiberoSuite, renderer, versions
from vita_model.sims.benchmarks.libero_task import SEEDING, LiberoTask
from vita_model.sims.benchmarks.offline_import import quiet
from vita_model.sims.results.delays import NO_DELAY, Delay, idle_percent
from vita_model.sims.results.episodes import Made, TaskPlayer
from vita_model.sims.results.journal import Journal, Place, identity
from vita_model.sims.results.rollouts import LoopConfig
from vita_model.sims.results.scores import EpisodeResult, ends_of, rate_json, success_rate, write_json
from vita_model.sims.results.videos import Videos
from vita_model.sims.results.workers import RunEpisode, Workers

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
NUM_TRIALS = 50
HZ = 20
IMAGE_SIZE = 128
"""Pixels of LIBERO's official demonstrations."""


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
    image_size: int = IMAGE_SIZE
    """Pixels of rendered images: those of the raw images that the policy was trained with."""

    delay: Delay = NO_DELAY

    resume: bool = False
    """Continue an interrupted evaluation."""
    video: bool = False
    """Write a film of each episode; every step is then rendered."""

    def __post_init__(self) -> None:
        """Refuse invalid values; raises RequestError."""
        require(self, "suite", fits=self.suite in SUITES, wanted=f"one of {', '.join(SUITES)}")
        require_whole(self, "num_trials", most=NUM_TRIALS)
        require_whole(self, "replan_steps", "image_size")

    @property
    def place(self) -> Place:
        """Where the result is written."""
        return Place(folder=self.out, name=f"libero-{self.suite}", resume=self.resume)

    @property
    def videos(self) -> Videos | None:
        """Where films are written, if at all."""
        return Videos(folder=self.out / "videos", hz=HZ) if self.video else None

    @property
    def loop(self) -> LoopConfig:
        """Limits of an episode."""
        return LoopConfig(
            max_steps=SUITES[self.suite][1],
            replan_steps=self.replan_steps,
            execution=self.delay.execution,
            latency_steps=self.delay.steps(HZ),
        )

    @property
    def is_protocol(self) -> bool:
        """Whether this is the whole suite as published evaluations run it."""
        return self.num_trials == NUM_TRIALS and not self.tasks and self.delay == NO_DELAY

    def open_suite(self) -> LiberoSuite:
        """Import LIBERO; raises RequestError."""
        return LiberoSuite(self.suite, self.assets, self.image_size)


@dataclass(frozen=True, slots=True, kw_only=True)
class LiberoEpisodes:
    """Opens LIBERO and a policy in a worker."""

    request: LiberoRequest
    open_policy: Callable[[], Policy]

    @contextmanager
    def __call__(self) -> Iterator[RunEpisode]:
        """Give the function that runs an episode of a task."""
        with quiet(NAME):
            suite, policy = self.request.open_suite(), InConvention(self.open_policy(), CONVENTION)
            numbers = {suite.task_name(number): number for number in range(suite.num_tasks)}

            def make(name: str) -> Made:
                return _task(suite, numbers[name], policy.info)

            with TaskPlayer(make, lambda name: self.request.loop, policy, self.request.videos) as player:
                yield player.run


def evaluate_libero(
    request: LiberoRequest,
    policy: Policy,
    report: Callable[[str], None],
    progress: Progress = SILENT,
    workers: Workers | None = None,
) -> dict[str, object]:
    """Run a suite and write `libero-<suite>.json`; `workers` share the episodes, None: they run in this process.

    Returns:
        The content of the file.

    Raises:
        RequestError: LIBERO or its assets are missing or fail, the policy uses another convention, or an interrupted
            evaluation exists, but `resume` is False or the settings differ.
    """
    checked = InConvention(policy, CONVENTION)
    column, max_steps = SUITES[request.suite]
    tasks: dict[str, list[EpisodeResult]] = {}
    with quiet(NAME) as loud:
        report = loud(report)
        suite = request.open_suite()
        settings = {
            "suite": request.suite,
            "max_steps": max_steps,
            "replan_steps": request.replan_steps,
            **request.delay.settings(HZ),
            "renderer": renderer(),
            "image_size": request.image_size,
            "seeding": SEEDING,
            "versions": versions(),
        }
        numbers = _numbers(request, suite.num_tasks)
        progress.start(len(numbers) * request.num_trials)
        with Journal(request.place, {**settings, "policy": identity(policy.info)}, report, progress) as journal:
            if workers is not None:
                jobs = [(suite.task_name(number), trial) for number in numbers for trial in range(request.num_trials)]
                opener = LiberoEpisodes(request=request, open_policy=workers.open_policy)
                journal.fill(jobs, opener, workers.number)
            for number in numbers:
                name = suite.task_name(number)
                make = partial(_task, suite, number, policy.info)
                tasks[name] = journal.episodes(
                    name, range(request.num_trials), make, checked, request.loop, request.videos
                )
                report(f"{request.suite} task {number} {name}: {success_rate(tasks[name])}")
            everything = [episode for episodes in tasks.values() for episode in episodes]
            result = {
                "benchmark": "libero",
                "table": TABLE,
                "policy": policy.info.as_json(),
                **settings,
                "is_protocol": request.is_protocol,
                "num_trials": request.num_trials,
                "idle_percent": idle_percent(everything),
                "rates": {column: rate_json(success_rate(everything))},
                "tasks": {name: rate_json(success_rate(episodes)) for name, episodes in tasks.items()},
            }
            write_json(request.place.result, result)
            if request.videos:
                report(f"films: {request.videos.write_page(f'LIBERO {request.suite}', ends_of(tasks))}")
    return result


def _task(suite: LiberoSuite, number: int, info: PolicyInfo) -> Made:
    states, environment = suite.initial_states(number), suite.environment(number)
    return LiberoTask(environment, states, suite.instruction(number), info), environment.close


def _numbers(request: LiberoRequest, num_tasks: int) -> tuple[int, ...]:
    wrong = [number for number in request.tasks if not 0 <= number < num_tasks]
    if wrong:
        raise RequestError(f"{request.suite}: expected tasks from 0 to {num_tasks - 1}, got {wrong[0]}")
    return request.tasks or tuple(range(num_tasks))
