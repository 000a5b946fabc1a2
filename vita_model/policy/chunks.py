"""Executes chunks of a policy whose answers take time: the robot stands still, or runs on with the chunk that it has.

Simulators (`sims`) and the robot (`robot`) share it. Time is counted in control steps, so that a simulator's result
does not depend on the machine's speed.

Synchronous: the robot stands still from a request until its answer, as in published evaluations, which count no time
for it. Asynchronous: the next chunk is requested while the present one runs. Its command i is meant for step i after
the request, so the commands of the steps that have passed are skipped, and the next ones are blended with what is left
of the old chunk. The robot stands still only where a chunk ends before the next one arrives.
"""

import math
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

import numpy as np

from vita_data.config.checks import require_whole
from vita_data.types import Float64
from vita_model.policy.interfaces import Observation, Policy

GRIPPER = 6


class Execution(StrEnum):
    """What the robot does while the policy computes."""

    SYNCHRONOUS = "synchronous"
    ASYNCHRONOUS = "asynchronous"


@dataclass(frozen=True, slots=True, kw_only=True)
class Timing:
    """When chunks are requested, and how long an answer takes.

    Assumes: 4 steps of blending; the paper gives only rates (10.8).
    """

    replan_steps: int
    """Commands executed from each chunk before the next request; a shorter chunk is executed completely."""
    execution: Execution = Execution.SYNCHRONOUS
    latency_steps: int = 0
    """Steps from a request to its answer."""
    blend_steps: int = 4
    """Steps over which a new chunk replaces an old one; 1: at once."""

    def __post_init__(self) -> None:
        """Refuse invalid numbers; raises RequestError."""
        require_whole(self, "replan_steps", "blend_steps")
        require_whole(self, "latency_steps", least=0)


def latency_steps(latency_ms: int, hz: float) -> int:
    """Convert a delay to control steps: the answer is there at the first step after it."""
    return math.ceil(latency_ms * hz / 1000.0)


class Plan:
    """The commands of the next steps, joined from chunks; used by one thread."""

    def __init__(self, blend_steps: int) -> None:
        self._blend_steps = blend_steps
        self._commands: dict[int, Float64] = {}

    def join(self, chunk: Float64, *, asked: int, now: int) -> None:
        """Add a chunk [H, 7] that was requested at step `asked` and arrived at step `now`.

        A step with both an old and a new command gets their mean, whose weight moves to the new one over
        `blend_steps`; the gripper, which has two positions, takes the new one at once.
        """
        old, self._commands = self._commands, {}
        for step, command in enumerate(chunk, start=asked):
            if step < now:
                continue
            share = min(1.0, (step - now + 1) / self._blend_steps)
            if step in old and share < 1.0:
                mixed = (1.0 - share) * old[step] + share * command
                command = np.append(mixed[:GRIPPER], command[GRIPPER:])  # noqa: PLW2901
            self._commands[step] = command

    def has(self, step: int) -> bool:
        """Tell whether a step has a command."""
        return step in self._commands

    def pop(self, now: int) -> Float64 | None:
        """Give the command of a step; None if there is none."""
        return self._commands.pop(now, None)


Act = Callable[[Observation], Float64]
"""Asks a policy and waits for its chunk [H, 7]."""


class Asker(Protocol):
    """Asks a policy without waiting for its answer, one request at a time."""

    def ask(self, observation: Observation, step: int) -> None:
        """Send a request at a step."""
        ...

    def answer(self, step: int) -> Float64 | None:
        """Give the chunk [H, 7] if it has arrived by this step, once; raises what the policy raised."""
        ...

    def close(self) -> None:
        """Forget a pending request."""
        ...


class DelayedAsker:
    """A simulated delay: the answer is computed at once and given after a number of steps."""

    def __init__(self, act: Act, latency_steps: int) -> None:
        self._act, self._latency_steps = act, latency_steps
        self._pending: tuple[int, Float64] | None = None

    def ask(self, observation: Observation, step: int) -> None:
        """Compute the answer."""
        self._pending = step + self._latency_steps, self._act(observation)

    def answer(self, step: int) -> Float64 | None:
        """Give the chunk once its time has come."""
        if self._pending is None or step < self._pending[0]:
            return None
        chunk, self._pending = self._pending[1], None
        return chunk

    def close(self) -> None:
        """Forget a pending request."""
        self._pending = None


class BackgroundAsker:
    """A real delay: a thread of its own waits for the policy."""

    def __init__(self, act: Act) -> None:
        self._act = act
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="vita-policy")
        self._future: Future[Float64] | None = None

    def ask(self, observation: Observation, step: int) -> None:
        """Send a request."""
        self._future = self._thread.submit(self._act, observation)

    def answer(self, step: int) -> Float64 | None:
        """Give the chunk if it has arrived, once; raises what the policy raised."""
        if self._future is None or not self._future.done():
            return None
        done, self._future = self._future, None
        return done.result()

    def close(self) -> None:
        """Forget a pending request; the thread ends with it."""
        self._thread.shutdown(wait=False, cancel_futures=True)


class RunAhead:
    """Asynchronous execution, one call of `next` per control step."""

    def __init__(self, asker: Asker, *, replan_steps: int, blend_steps: int) -> None:
        self._asker, self._replan_steps, self._plan = asker, replan_steps, Plan(blend_steps)
        self._step, self._asked = 0, -replan_steps
        self.is_waiting = False
        """Whether a request has not been answered yet."""

    def next(self, observe: Callable[[], Observation]) -> Float64 | None:
        """Give the command [7] of the next step; None: stand still. `observe` is called only for a request."""
        self._receive()
        is_due = self._step - self._asked >= self._replan_steps or not self._plan.has(self._step)
        if is_due and not self.is_waiting:
            self._asker.ask(observe(), self._step)
            self._asked, self.is_waiting = self._step, True
            self._receive()
        self._step += 1
        return self._plan.pop(self._step - 1)

    def _receive(self) -> None:
        chunk = self._asker.answer(self._step) if self.is_waiting else None
        if chunk is not None:
            self._plan.join(chunk, asked=self._asked, now=self._step)
            self.is_waiting = False


class WaitFirst:
    """Synchronous execution: the robot stands still for the steps of the latency, then executes a chunk's start."""

    def __init__(self, act: Act, timing: Timing) -> None:
        self._act, self._timing = act, timing
        self._left: list[Float64] = []
        self._num_to_wait = 0

    def next(self, observe: Callable[[], Observation]) -> Float64 | None:
        """Give the command [7] of the next step; None: stand still. `observe` is called only for a request."""
        if not self._left:
            self._left = list(self._act(observe())[: self._timing.replan_steps])
            self._num_to_wait = self._timing.latency_steps
        if self._num_to_wait:
            self._num_to_wait -= 1
            return None
        return self._left.pop(0)


class Chunked:
    """A policy that gives one command per step, with the delays of `Timing`; made for simulators.

    To stand still is to command no motion and the last gripper position; before the first command, the first one's.
    """

    def __init__(self, policy: Policy, timing: Timing) -> None:
        self._policy, self._timing = policy, timing
        self._runner = self._new_runner()
        self._gripper: Float64 | None = None
        self.num_idle = 0
        """Steps of this episode in which the robot stood still because there was no command."""

    def reset(self) -> None:
        """Start an episode and discard remaining commands."""
        self._runner, self._gripper, self.num_idle = self._new_runner(), None, 0
        self._policy.reset()

    def next(self, observe: Callable[[], Observation]) -> Float64:
        """Give the command [7] of the next step; `observe` is called only for a request."""
        command = self._runner.next(observe)
        if command is None:
            self.num_idle += 1
            held = np.zeros(1) if self._gripper is None else self._gripper
            return np.concatenate([np.zeros(GRIPPER), held])
        self._gripper = command[GRIPPER:]
        return command

    def _new_runner(self) -> RunAhead | WaitFirst:
        timing = self._timing
        if timing.execution is Execution.SYNCHRONOUS:
            return WaitFirst(self._act, timing)
        asker = DelayedAsker(self._act, timing.latency_steps)
        return RunAhead(asker, replan_steps=timing.replan_steps, blend_steps=timing.blend_steps)

    def _act(self, observation: Observation) -> Float64:
        chunk = self._policy.act(observation)
        if self._gripper is None:
            self._gripper = chunk[0, GRIPPER:]
        return chunk
