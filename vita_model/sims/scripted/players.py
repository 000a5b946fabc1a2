"""Who acts in episodes of a scripted task, a policy, the expert or random commands, in one process or in several."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import asdict, dataclass
from functools import partial
from typing import Protocol

from vita_data.types import Float64, Json
from vita_model.policy.commands import InConvention, oriented
from vita_model.policy.interfaces import NO_STATE, Observation, Policy, PolicyInfo, libero_state
from vita_model.sims.results.episodes import Recorder, play
from vita_model.sims.results.journal import Journal, episode_results
from vita_model.sims.results.rollouts import LoopConfig, Simulation
from vita_model.sims.results.scores import EpisodeResult
from vita_model.sims.results.workers import RunEpisode, Workers
from vita_model.sims.scripted.task import ScriptedTask, TaskSpec

CONVENTION = "libero"
"""Controller, scales and signs are those of LIBERO."""


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


@dataclass(frozen=True, slots=True, kw_only=True)
class Player:
    """One who acts, and the limits of the episodes."""

    simulation: Simulation
    policy: Policy
    loop: LoopConfig
    recorder: Recorder | None = None
    """Takes the images of episodes."""

    def run(self, name: str, seed: int) -> Json:
        """Run an episode; gives its row of the journal."""
        return asdict(play(self.simulation, self.policy, self.loop, name, seed, self.recorder))


class PlayedRequest(Protocol):
    """Episodes of one task in which several act, one after the other; pickled for workers."""

    @property
    def spec(self) -> TaskSpec:
        """The task."""
        ...

    @property
    def seeds(self) -> Sequence[int]:
        """Seeds of everyone's episodes."""
        ...

    def players(self, policy: Policy, task: ScriptedTask) -> Mapping[str, Player]:
        """List by name who acts."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class ScriptedWorkers(Workers):
    """Processes that share the episodes, and how each of them builds its simulator."""

    build: Callable[[TaskSpec], ScriptedTask]


@dataclass(frozen=True, slots=True, kw_only=True)
class ScriptedEpisodes:
    """Opens simulator and policy in a worker."""

    request: PlayedRequest
    workers: ScriptedWorkers

    @contextmanager
    def __call__(self) -> Iterator[RunEpisode]:
        """Give the function that runs an episode."""
        policy = InConvention(self.workers.open_policy(), CONVENTION)
        with closing(self.workers.build(self.request.spec)) as task:
            players = self.request.players(policy, task)
            yield lambda name, seed: players[name].run(name, seed)


def run_players(
    names: Sequence[str],
    request: PlayedRequest,
    policy: Policy,
    task: ScriptedTask,
    journal: Journal,
    workers: ScriptedWorkers | None = None,
) -> Iterator[tuple[str, list[EpisodeResult]]]:
    """Run the episodes of some players that are not in the journal; yields each player's as they are complete.

    Args:
        names: the players.
        request: the episodes.
        policy: the policy, with the task's commands.
        task: the simulator of this process.
        journal: keeps the episodes.
        workers: processes that share the episodes; None: all run in this process.

    Raises:
        VitaDataError: the policy's answer is not a valid chunk, or a worker ended.
    """
    players = request.players(policy, task)
    if workers is not None:
        jobs = [(name, seed) for name in names for seed in request.seeds]
        journal.fill(jobs, ScriptedEpisodes(request=request, workers=workers), workers.number)
    for name in names:
        yield name, episode_results(journal.rows(name, request.seeds, partial(players[name].run, name)))
