"""Control an arm with a policy: observe, predict, execute a chunk at 30 Hz, repeat (VITA 10.2, 10.4, 10.8).

The arm stands still during inference, or runs on with the chunk that it has (`execution`). Any fault stops the arm and
ends the run with a reason.
"""

import time
from collections.abc import Callable, Mapping
from contextlib import closing
from dataclasses import dataclass, replace
from enum import StrEnum
from functools import partial
from typing import NoReturn

import numpy as np

from vita_data.action_convention import CANONICAL
from vita_data.config.checks import require_positive, require_whole
from vita_data.errors import RequestError, VitaDataError
from vita_data.types import CameraRole, Float64
from vita_model.policy.chunks import GRIPPER, Act, Asker, BackgroundAsker, Execution, RunAhead
from vita_model.policy.commands import InConvention
from vita_model.policy.interfaces import Observation, Policy, single_arm_state
from vita_model.robot.guards import Limits, next_pose
from vita_model.robot.interfaces import Arm, ArmState, Camera, Clock, Pose

HZ = 30.0
"""Rate of commands (VITA 10.2)."""
_FAULTS = (OSError, RuntimeError, ValueError)
"""Exceptions of drivers and cameras."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Chunking:
    """How many actions of each prediction are executed."""

    num_segments: int = 1
    steps: int = 15

    def __post_init__(self) -> None:
        """Refuse numbers below 1; raises RequestError."""
        require_whole(self, "num_segments", "steps")

    @property
    def num_steps(self) -> int:
        """Actions per prediction."""
        return self.num_segments * self.steps


FINETUNED = Chunking(steps=15)
"""VITA 10.4: a chunk of 15."""
LATENCY = Chunking(num_segments=15, steps=12)
"""VITA 10.8: 15 chunks of 12 actions per inference."""


class Ending(StrEnum):
    """Why a run ended."""

    OPERATOR = "operator"
    TIME = "time"
    POLICY_TIMEOUT = "policy_timeout"
    POLICY_ERROR = "policy_error"
    STALE_IMAGE = "stale_image"
    SAFETY_STOP = "safety_stop"
    TRACKING = "tracking"
    OUT_OF_WORKSPACE = "out_of_workspace"
    LATE = "late"
    FAULT = "fault"


@dataclass(frozen=True, slots=True, kw_only=True)
class ControlConfig:
    """Settings of a run.

    Assumes: the timeouts; 10.8 reports 2 s per inference and 3 s in total.
    """

    limits: Limits
    chunking: Chunking = FINETUNED
    hz: float = HZ
    most_s: float = 120.0
    """Maximum duration of a run."""
    policy_timeout_s: float = 10.0
    execution: Execution = Execution.SYNCHRONOUS
    """Whether the arm stands still until the next chunk, or asks for it while the present one runs."""
    replan_steps: int = 5
    """Asynchronous only: commands executed after a request before the next one."""
    blend_steps: int = 4
    """Asynchronous only: steps over which a new chunk replaces an old one."""
    image_age_s: float = 0.5
    """Maximum age of an image. An image that far in the future also ends the run, since its clock must be wrong."""
    late_s: float = 0.2
    """Maximum delay of a command; a later one ends the run."""

    def __post_init__(self) -> None:
        """Refuse times and numbers of steps that are not positive; raises RequestError."""
        require_positive(self, "hz", "most_s", "policy_timeout_s", "image_age_s", "late_s")
        require_whole(self, "replan_steps", "blend_steps")


@dataclass(frozen=True, slots=True, kw_only=True)
class RunEnd:
    """How a run ended."""

    ending: Ending
    detail: str
    num_steps: int
    num_answers: int
    num_limited: int
    """Number of commands that the limits changed."""
    num_idle: int
    """Asynchronous only: number of periods without a command."""
    seconds: float


class SystemClock:
    """The machine's monotonic clock."""

    def now(self) -> float:
        """Give the current time."""
        return time.monotonic()

    def wait_until(self, time_s: float) -> None:
        """Sleep until a time."""
        time.sleep(max(0.0, time_s - time.monotonic()))


class _RunOver(Exception):  # noqa: N818 - an end, not an error
    def __init__(self, ending: Ending, detail: str) -> None:
        super().__init__(detail)
        self.ending, self.detail = ending, detail


def drive(
    arm: Arm,
    cameras: Mapping[CameraRole, Camera],
    policy: Policy,
    config: ControlConfig,
    *,
    instruction: str,
    clock: Clock,
    is_wanted: Callable[[], bool],
    make_asker: Callable[[Act], Asker] = BackgroundAsker,
) -> RunEnd:
    """Control the arm until the operator ends the run, its time is over, or a limit is violated; then stop the arm.

    Args:
        arm: the robot.
        cameras: third-person camera as primary, the arm's own camera as wrist_right (VITA 10.4).
        policy: outputs canonical actions at `config.hz`.
        config: limits and times.
        instruction: the task.
        clock: clock of cameras and loop.
        is_wanted: the operator's switch, checked before each command.
        make_asker: how the policy is asked without waiting, in asynchronous execution.

    Raises:
        RequestError: the policy's actions are not canonical, or there is no primary camera.
    """
    if CameraRole.PRIMARY not in cameras:
        raise RequestError(f"the policy needs a {CameraRole.PRIMARY} camera; found {', '.join(cameras) or 'none'}")
    run = _Run(arm, cameras, InConvention(policy, CANONICAL), config, instruction, clock, is_wanted)
    try:
        if config.execution is Execution.ASYNCHRONOUS:
            with closing(make_asker(run.act)) as background:
                end = run.until_end(partial(run.loop_asynchronous, background))
        else:
            end = run.until_end(run.loop)
    except BaseException:
        arm.stop()
        raise
    try:
        arm.stop()
    except _FAULTS as fault:
        told = f"{end.detail}; stopping the arm failed ({fault}): use its emergency stop"
        return replace(end, ending=Ending.FAULT, detail=told)
    return end


class _Run:
    def __init__(
        self,
        arm: Arm,
        cameras: Mapping[CameraRole, Camera],
        policy: InConvention,
        config: ControlConfig,
        instruction: str,
        clock: Clock,
        is_wanted: Callable[[], bool],
    ) -> None:
        self._arm, self._cameras, self._policy, self._config = arm, cameras, policy, config
        self._instruction, self._clock, self._is_wanted = instruction, clock, is_wanted
        self._began_s = self._asked_s = clock.now()
        self._num_steps = self._num_answers = self._num_limited = self._num_idle = 0

    def until_end(self, loop: Callable[[], NoReturn]) -> RunEnd:
        """Run a loop until something ends it; returns the reason."""
        try:
            loop()
        except _RunOver as over:
            return self._end(over.ending, over.detail)
        except VitaDataError as fault:
            return self._end(Ending.POLICY_ERROR, str(fault))
        except _FAULTS as fault:
            return self._end(Ending.FAULT, f"{type(fault).__name__}: {fault}")

    def loop(self) -> NoReturn:
        """Ask, wait for the answer, execute it."""
        self._policy.reset()
        while True:
            self._check()
            self._arm.hold()
            state = self._arm.state()
            self._carry_out(self._ask(state), state.pose)

    def loop_asynchronous(self, asker: Asker) -> NoReturn:
        """Execute, and ask meanwhile; the arm stands still where a chunk ends before the next one arrives."""
        self._policy.reset()
        config = self._config
        ahead = RunAhead(asker, replan_steps=config.replan_steps, blend_steps=config.blend_steps)
        pose, due_s = None, self._clock.now()
        while True:
            self._check(pose)
            self._refuse_late(due_s)
            action = ahead.next(self._observe_now)
            if ahead.is_waiting:
                self._check_time(self._clock.now() - self._asked_s)
            pose = self._execute_or_hold(action, pose)
            due_s += 1.0 / config.hz
            self._clock.wait_until(due_s)

    def _execute_or_hold(self, action: Float64 | None, pose: Pose | None) -> Pose | None:
        """Execute one action from the last commanded pose, or from the measured one after a pause."""
        if action is None:
            self._num_idle += 1
            self._arm.hold()
            return None
        return self._execute(action, self._arm.state().pose if pose is None else pose)

    def _end(self, ending: Ending, detail: str) -> RunEnd:
        return RunEnd(
            ending=ending,
            detail=detail,
            num_steps=self._num_steps,
            num_answers=self._num_answers,
            num_limited=self._num_limited,
            num_idle=self._num_idle,
            seconds=self._clock.now() - self._began_s,
        )

    def _ask(self, state: ArmState) -> Float64:
        asked_s = self._clock.now()
        actions = self.act(self._observe(state))
        self._check_time(self._clock.now() - asked_s)
        return actions

    def act(self, observation: Observation) -> Float64:
        """Ask the policy, count its answer, and cut it to the actions that are executed."""
        actions, wanted = self._policy.act(observation), self._config.chunking.num_steps
        if len(actions) < wanted:
            raise _RunOver(Ending.POLICY_ERROR, f"expected a chunk of at least {wanted} actions, got {len(actions)}")
        self._num_answers += 1
        return actions[:wanted]

    def _check_time(self, took_s: float) -> None:
        if took_s > self._config.policy_timeout_s:
            raise _RunOver(
                Ending.POLICY_TIMEOUT,
                f"the policy took {took_s:.2f} s to answer, the limit is {self._config.policy_timeout_s:g} s",
            )

    def _observe_now(self) -> Observation:
        self._asked_s = self._clock.now()
        return self._observe(self._arm.state())

    def _observe(self, state: ArmState) -> Observation:
        frames = {role: camera.read() for role, camera in self._cameras.items()}
        for role, frame in frames.items():
            age_s = self._clock.now() - frame.time_s
            if not abs(age_s) <= self._config.image_age_s:  # also true for NaN and for images of the future
                raise _RunOver(Ending.STALE_IMAGE, f"the {role} image is {age_s:.2f} s old by the loop's clock")
        return Observation(
            images={role: frame.image for role, frame in frames.items()},
            instruction=self._instruction,
            state=single_arm_state(
                xyz_m=state.pose.xyz_m,
                rotation=state.pose.rotation,
                gripper_open=state.gripper_open,
                joints_rad=state.joints_rad,
            ),
        )

    def _carry_out(self, actions: Float64, start: Pose) -> None:
        period_s, pose, due_s = 1.0 / self._config.hz, start, self._clock.now()
        for action in actions:
            self._check(pose)
            self._refuse_late(due_s)
            pose = self._execute(action, pose)
            due_s += period_s
            self._clock.wait_until(due_s)

    def _refuse_late(self, due_s: float) -> None:
        late_s = self._clock.now() - due_s
        if late_s > self._config.late_s:
            raise _RunOver(Ending.LATE, f"a command was {late_s:.3f} s late")

    def _execute(self, action: Float64, before: Pose) -> Pose:
        """Send one action within the limits; returns the pose that was commanded."""
        period_s = 1.0 / self._config.hz
        limited = next_pose(before, action, self._config.limits, period_s)
        self._arm.servo(limited.pose, float(np.clip(action[GRIPPER], 0.0, 1.0)), period_s)
        self._num_steps += 1
        self._num_limited += limited.was_changed
        return limited.pose

    def _check(self, sent: Pose | None = None) -> None:
        """Check whether the run may continue; `sent` is the last commanded pose."""
        if not self._is_wanted():
            raise _RunOver(Ending.OPERATOR, "the operator ended the run")
        if self._clock.now() - self._began_s >= self._config.most_s:
            raise _RunOver(Ending.TIME, f"the time limit of {self._config.most_s:g} s was reached")
        state, limits = self._arm.state(), self._config.limits
        if state.is_stopped:
            raise _RunOver(Ending.SAFETY_STOP, "the robot's own safety system stopped it")
        if not limits.workspace.contains(state.pose.xyz_m, slack_m=limits.tracking_m):
            raise _RunOver(
                Ending.OUT_OF_WORKSPACE,
                f"the tool is outside the workspace, at {np.round(state.pose.xyz_m, 3).tolist()} m",
            )
        if sent is not None:
            off_m = float(np.linalg.norm(state.pose.xyz_m - sent.xyz_m))
            if off_m > limits.tracking_m:
                raise _RunOver(Ending.TRACKING, f"the tool is {off_m:.3f} m from its commanded position")
