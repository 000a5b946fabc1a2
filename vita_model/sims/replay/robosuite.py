"""Replays demonstrations that `vita-eval robosuite record` made, in robosuite."""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path

import h5py
import numpy as np

from vita_data.action_convention import Convention
from vita_data.command.progress import SILENT, Progress
from vita_data.errors import RequestError, VitaDataError
from vita_data.replay import BuiltFrom
from vita_data.slots import ARM_DIM, RIGHT_ACTION
from vita_data.types import Clip, Float64
from vita_model.policy.interfaces import RobotState, libero_state
from vita_model.sims.replay.loop import Recording, ReplayResult, replay_both
from vita_model.sims.robosuite.tasks import TASKS, RobosuiteTask
from vita_model.sims.scripted.task import TaskSpec

CONVENTION = "libero"
CHUNK_STEPS = 5
_RIGHT = slice(RIGHT_ACTION, RIGHT_ACTION + ARM_DIM)


class RobosuiteWorld:
    """robosuite at the state of a demonstration's first row.

    The seed restores what the flattened state lacks: the controller's rest posture and orientation goal, and the
    gripper's ramp, which has opened while the objects settled.
    """

    def __init__(self, task: RobosuiteTask, state: Float64, seed: int) -> None:
        self._task, self._state, self._seed = task, state, seed

    def restore(self) -> None:
        """Reset by the seed, then set positions and velocities."""
        self._task.reset(self._seed)
        self._task.restore(self._state)

    def step(self, command: Float64) -> None:
        """Execute one command."""
        self._task.step(command)

    def state(self) -> RobotState:
        """Read the arm."""
        arm = self._task.proprioception()
        return libero_state(
            xyz_m=arm.xyz_m, quaternion_xyzw=arm.quaternion_xyzw, fingers_m=arm.fingers_m, joints_rad=arm.joints_rad
        )

    def hand_m(self) -> Float64:
        """Read the grip site."""
        return self._task.proprioception().xyz_m

    @property
    def is_success(self) -> bool:
        """Whether robosuite currently reports success."""
        return self._task.is_success


def replay_robosuite(built: BuiltFrom, num_episodes: int, progress: Progress = SILENT) -> Sequence[ReplayResult]:
    """Replay the first demonstrations of a built source.

    Raises:
        RequestError: robosuite is missing, or the raw files were not recorded in it.
        VitaDataError: a raw file lacks what a replay needs.
    """
    progress.start(min(num_episodes, built.num_clips))
    results: list[ReplayResult] = []
    opened: dict[str, RobosuiteTask] = {}
    try:
        for clip in _first(built, num_episodes):
            results.append(_replay(clip, Path(built.raw), opened))
            progress.update(note=f"{results[-1].difference_mm:.4f} mm")
    finally:
        for task in opened.values():
            task.close()
    return results


def _first(built: BuiltFrom, num_episodes: int) -> Iterator[Clip]:
    for number, clip in enumerate(built.clips()):
        if number == num_episodes:
            return
        yield clip


def _replay(clip: Clip, raw: Path, opened: dict[str, RobosuiteTask]) -> ReplayResult:
    path, name = raw / str(clip.provenance["file"]), str(clip.provenance["record"])
    with h5py.File(path, "r", locking=False) as file:
        spec, demo = _spec(file["data"], path), file[f"data/{name}"]
        if "seed" not in demo.attrs or "executed_actions" not in demo:
            raise RequestError(f"{path}: expected a recording of `vita-eval robosuite record`, got another HDF5 file")
        recording, state, seed = _recording(clip, demo), _state(clip, demo), int(demo.attrs["seed"])
    if spec.name not in opened:
        opened[spec.name] = RobosuiteTask(spec)
    return replay_both(recording, RobosuiteWorld(opened[spec.name], state, seed), chunk_steps=CHUNK_STEPS)


def _spec(data: h5py.Group, path: Path) -> TaskSpec:
    found = json.loads(str(data.attrs.get("env_args", "{}"))).get("env_name")
    spec = next((spec for spec in TASKS.values() if spec.environment == found), None)
    if spec is None:
        known = ", ".join(spec.environment for spec in TASKS.values())
        raise RequestError(f"{path}: expected a robosuite task of {known}, got {found!r}")
    return spec


def _recording(clip: Clip, demo: h5py.Group) -> Recording:
    """Pair each row's observation t with the command t + 1, as the recorder does.

    Rows that the reader removed (no-ops) are executed in neither replay.
    """
    constants, rows = Convention.of(clip.extras), clip.step_index + 1
    if constants is None or clip.action is None:
        raise VitaDataError(f"clip {clip.key}: expected actions and the constants of the controller, got none")
    commands = np.asarray(demo["actions"])[rows]
    return Recording(
        name=clip.episode, convention=CONVENTION, constants=constants, actions=clip.action.track.values[:, _RIGHT],
        commands=commands, disturbance=np.asarray(demo["executed_actions"])[rows] - commands,
        hand_m=np.asarray(demo["obs/ee_pos"])[rows], success=bool(demo["dones"][int(rows[-1])]),
    )  # fmt: skip


def _state(clip: Clip, demo: h5py.Group) -> Float64:
    """Read the simulator's state before the first command."""
    return np.asarray(demo["states"][int(clip.step_index[0]) + 1], np.float64)
