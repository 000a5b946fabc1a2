"""Replays one demonstration twice, by the product's own loop and by the raw commands, and compares the paths."""

from dataclasses import dataclass, field
from typing import Protocol, Self

import numpy as np

from vita_data.action_convention import Convention
from vita_data.errors import VitaDataError
from vita_data.slots import ARM_DIM, RIGHT_ACTION
from vita_data.types import Clip, Demonstration, Float32, Float64
from vita_model.policy.commands import InConvention
from vita_model.policy.interfaces import Observation, PolicyInfo, RobotState
from vita_model.sims.results.rollouts import Ending, LoopConfig, roll_out

LIMIT_MM = 0.1
"""Largest allowed distance of the hand between the two replays."""
_RIGHT = slice(RIGHT_ACTION, RIGHT_ACTION + ARM_DIM)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Recording:
    """The stored actions of a clip, and the demonstration that it came from."""

    name: str
    convention: str
    constants: Convention
    actions: Float32
    """[T, 7] canonical, as stored."""
    demonstration: Demonstration

    @property
    def disturbance(self) -> Float64:
        """[N, 7] what the recorder added to a command; part of the world, not of the policy."""
        return self.demonstration.executed - self.demonstration.commands

    @classmethod
    def of(cls, clip: Clip, demonstration: Demonstration) -> Self:
        """Take the right arm's actions of a clip.

        Raises:
            VitaDataError: the clip has no actions, or no constants.
        """
        constants = Convention.of(clip.extras)
        if constants is None or clip.action is None:
            raise VitaDataError(f"clip {clip.key}: expected actions and the constants of the controller, got none")
        return cls(
            name=clip.episode, convention=clip.source, constants=constants,
            actions=clip.action.track.values[:, _RIGHT], demonstration=demonstration,
        )  # fmt: skip


class ReplayedWorld(Protocol):
    """A simulator at the recorded initial state of one demonstration."""

    def restore(self) -> None:
        """Return to the initial state."""
        ...

    def step(self, command: Float64) -> None:
        """Execute one command [7]."""
        ...

    def state(self) -> RobotState:
        """Read the arm."""
        ...

    def hand_m(self) -> Float64:
        """Read the position [3] of the hand."""
        ...

    @property
    def is_success(self) -> bool:
        """Whether the task is currently solved."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplayResult:
    """How the two replays of a demonstration ended."""

    name: str
    num_steps: int
    recorded_success: bool
    raw_success: bool
    product_success: bool
    difference_mm: float
    """Largest distance of the hand between the replays."""
    raw_off_mm: float
    """Distance of the raw replay's hand from the recorded one at the end."""

    @property
    def passes(self) -> bool:
        """Whether the product replays as the raw commands do."""
        return self.product_success == self.raw_success and self.difference_mm <= LIMIT_MM


class StoredActions:
    """A policy that gives a demonstration's stored actions, converted to commands as a trained policy's are."""

    def __init__(self, recording: Recording, chunk_steps: int) -> None:
        self._recording, self._chunk_steps, self._row = recording, chunk_steps, 0

    @property
    def info(self) -> PolicyInfo:
        """The convention of the recording."""
        return PolicyInfo(
            name="stored actions", convention=self._recording.convention, constants=self._recording.constants.as_json()
        )

    def reset(self) -> None:
        """Begin with the first row."""
        self._row = 0

    def act(self, observation: Observation) -> Float64:
        """Give the commands of the next rows; the observation's state is the start of Euler differences."""
        rows = slice(self._row, self._row + self._chunk_steps)
        self._row = rows.stop
        state = observation.state.values if observation.state.mask.any() else None
        return np.asarray(self._recording.constants.commands(self._recording.actions[rows], state), np.float64)


@dataclass(slots=True)
class _Traced:
    """A world as a simulation of the loop; keeps the hand's path.

    It executes the rows that the clip does not have, such as no-ops, by itself: they are time that passes.
    """

    world: ReplayedWorld
    recording: Recording
    path_m: list[Float64] = field(default_factory=list)

    def reset(self, seed: int) -> None:
        self.world.restore()
        self.path_m = []

    def observe(self) -> Observation:
        return Observation(images={}, instruction="", state=self.world.state())

    def step(self, command: Float64) -> None:
        self._execute(command)
        demonstration = self.recording.demonstration
        while (row := len(self.path_m)) < len(demonstration.commands) and row not in demonstration.rows:
            self._execute(demonstration.commands[row])

    def _execute(self, command: Float64) -> None:
        self.world.step(command + self.recording.disturbance[len(self.path_m)])
        self.path_m.append(self.world.hand_m())

    @property
    def is_success(self) -> bool:
        return self.world.is_success


def replay_both(recording: Recording, world: ReplayedWorld, *, chunk_steps: int) -> ReplayResult:
    """Replay by stored actions, in chunks of `chunk_steps`, and by raw commands, each from the initial state."""
    traced, demonstration = _Traced(world, recording), recording.demonstration
    loop = LoopConfig(max_steps=len(recording.actions), replan_steps=chunk_steps, ending=Ending.LAST_STEP)
    policy = InConvention(StoredActions(recording, chunk_steps), recording.convention)
    product = roll_out(traced, policy, loop, seed=0)
    product_m = np.stack(traced.path_m)

    traced.reset(0)
    for command in demonstration.commands[demonstration.rows]:
        traced.step(command)
    raw_m = np.stack(traced.path_m)
    return ReplayResult(
        name=recording.name,
        num_steps=len(raw_m),
        recorded_success=demonstration.success,
        raw_success=traced.is_success,
        product_success=product.success,
        difference_mm=1e3 * float(np.linalg.norm(product_m - raw_m, axis=1).max()),
        raw_off_mm=1e3 * float(np.linalg.norm(raw_m[-1] - demonstration.end_m)),
    )
