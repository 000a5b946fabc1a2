"""Replays a demonstration by the product's own loop and by the raw commands, and compares the paths."""

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from typing import Protocol, Self

import numpy as np

from vita_data.action_convention import Convention
from vita_data.errors import VitaDataError
from vita_data.slots import ARM_DIM, RIGHT_ACTION
from vita_data.types import Clip, Demonstration, Float32, Float64, Json
from vita_model.policy.chunks import GRIPPER
from vita_model.policy.commands import InConvention
from vita_model.policy.interfaces import NO_STATE, Observation, PolicyInfo
from vita_model.sims.results.rollouts import Ending, LoopConfig, roll_out
from vita_model.sims.results.scores import SuccessRate, rate_json

LIMIT_MM = 0.1
"""Largest allowed distance of the hand between the two replays, unless contacts amplify the rounding of commands."""
_ROUNDING = 1e-7
"""What storing commands of up to 1 in float32 may change."""
_MARGIN = 10.0
"""How much farther than by such changes alone the hand may come off."""
_MOVED_MM = 1e-3
"""Distance from which such changes have moved the hand; they do not accumulate to it in free motion."""
_RIGHT = slice(RIGHT_ACTION, RIGHT_ACTION + ARM_DIM)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Recording:
    """The stored actions of a clip, and the demonstration that it came from."""

    name: str
    convention: str
    constants: Convention
    actions: Float32
    """[T, 7] canonical, as stored."""
    states: Float32 | None
    """[T, 64] as stored."""
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
            actions=clip.action.track.values[:, _RIGHT],
            states=None if clip.state is None else clip.state.values, demonstration=demonstration,
        )  # fmt: skip


class ReplayedWorld(Protocol):
    """A simulator at the recorded initial state of one demonstration."""

    def restore(self) -> None:
        """Return to the initial state."""
        ...

    def step(self, command: Float64) -> None:
        """Execute one command [7]."""
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
    """Distance of the hand between the replays: the largest, or where it exceeds most what is allowed."""
    limit_mm: float
    """What is allowed there."""
    raw_off_mm: float
    """Distance of the raw replay's hand from the recorded one at the end."""

    @property
    def passes(self) -> bool:
        """Whether the product replays as the raw commands do."""
        return self.product_success == self.raw_success and self.difference_mm <= self.limit_mm


def replay_json(benchmark: str, results: Sequence[ReplayResult]) -> Json:
    """Give the success rates of both replays and how each demonstration ended, as JSON values."""
    ended = {"raw": [one.raw_success for one in results], "stored": [one.product_success for one in results]}
    return {
        "benchmark": benchmark,
        "rates": {
            name: rate_json(SuccessRate(num_successes=sum(found), num_episodes=len(found)))
            for name, found in ended.items()
        },
        "demonstrations": [asdict(one) for one in results],
    }


class StoredActions:
    """A policy that gives a demonstration's stored actions, converted to commands as a trained policy's are.

    Differences of Euler angles start from the stored state: the replayed arm is never quite where the recorded one was,
    and such a difference means another rotation there.
    """

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
        """Give the commands of the next rows."""
        recording, rows = self._recording, slice(self._row, self._row + self._chunk_steps)
        state = None if recording.states is None else recording.states[self._row]
        self._row = rows.stop
        return np.asarray(recording.constants.commands(recording.actions[rows], state), np.float64)


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
        return Observation(images={}, instruction="", state=NO_STATE)

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
    """Replay by stored actions, in chunks of `chunk_steps`, and by raw commands, each from the initial state.

    If the hand comes farther off than `LIMIT_MM`, more replays tell whether the world is that sensitive: where
    bodies press on each other, a physics engine can turn the last digit of a command into millimetres.
    """
    traced, demonstration = _Traced(world, recording), recording.demonstration
    loop = LoopConfig(max_steps=len(recording.actions), replan_steps=chunk_steps, ending=Ending.LAST_STEP)
    policy = InConvention(StoredActions(recording, chunk_steps), recording.convention)
    product = roll_out(traced, policy, loop, seed=0)
    product_m = np.stack(traced.path_m)

    raw_m, raw_success = _run(traced, demonstration.commands), traced.is_success
    away_mm, limits_mm = _distances_mm(product_m, raw_m), np.full(len(raw_m), LIMIT_MM)
    if away_mm.max() > LIMIT_MM:
        limits_mm = _limits_mm(traced, raw_m)
    excess_mm = away_mm - limits_mm
    worst = int(np.argmax(excess_mm if excess_mm.max() > 0 else away_mm))
    return ReplayResult(
        name=recording.name,
        num_steps=len(raw_m),
        recorded_success=demonstration.success,
        raw_success=raw_success,
        product_success=product.success,
        difference_mm=float(away_mm[worst]),
        limit_mm=float(limits_mm[worst]),
        raw_off_mm=1e3 * float(np.linalg.norm(raw_m[-1] - demonstration.end_m)),
    )


def _run(traced: _Traced, commands: Float64) -> Float64:
    """Replay by the commands [N, 7] of all rows; gives the hand's path [N, 3]."""
    traced.reset(0)
    for command in commands[traced.recording.demonstration.rows]:
        traced.step(command)
    return np.stack(traced.path_m)


def _limits_mm(traced: _Traced, raw_m: Float64) -> Float64:
    """Measure how far [N] the hand may come off: more than `LIMIT_MM` only after rounding alone has moved it."""
    commands = traced.recording.demonstration.commands
    paths = [_run(traced, rounded) for rounded in _roundings(commands)]
    rounded_mm = np.max([_distances_mm(path, raw_m) for path in paths], axis=0)
    is_moved = np.maximum.accumulate(rounded_mm) > _MOVED_MM
    return np.where(is_moved, max(LIMIT_MM, _MARGIN * float(rounded_mm.max())), LIMIT_MM)


def _roundings(commands: Float64) -> Iterator[Float64]:
    """Change the motion as rounding does; zeros stay, since controllers know them from small commands."""
    rows, columns = np.indices(commands.shape)
    for odd in (rows + columns, rows, columns):
        signs = np.where(commands == 0.0, 0.0, np.where(odd % 2, 1.0, -1.0))
        signs[:, GRIPPER] = 0.0
        yield commands + _ROUNDING * signs


def _distances_mm(one_m: Float64, other_m: Float64) -> Float64:
    return np.asarray(1e3 * np.linalg.norm(one_m - other_m, axis=1), np.float64)
