"""P4's statistic: it tells a shift of one row where the hand answers late, partly, or smoothly, and says when not."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from tests.vita_data.probe.made import answer
from vita_data.motion_lag import Response, Run, response
from vita_data.probe import Probe, Verdict, probe
from vita_data.sources.libero import source as libero
from vita_data.types import Float64

MOST = np.repeat([0.3, 1.0], 3)
STEP_S, KP = 0.05, 150.0
Policy = Callable[[int, Float64], Float64]
"""Row and pose [6] -> the command [6]."""


def told(runs: list[Run], expected: int = 0) -> Response:
    found = response(runs, most=MOST, expected=expected)
    assert found is not None
    return found


def operator(rng: np.random.Generator) -> Policy:
    """Commands as a person gives them: held for some rows, eased from one to the next."""
    rows = np.repeat(rng.uniform(-0.02, 0.02, (20, 6)), rng.integers(5, 25, 20), axis=0)
    eased = np.stack([np.convolve(rows[:, axis], np.full(4, 0.25), "same") for axis in range(6)], axis=1)
    return lambda row, pose: np.asarray(eased[row % len(eased)])


def feedback(rng: np.random.Generator) -> Policy:
    """Commands of a script that looks at the hand: a share of what is left of the way, cut off."""
    goals = rng.uniform(-0.3, 0.3, (10, 6))
    return lambda row, pose: np.asarray(np.clip(0.5 * (goals[row // 40 % 10] - pose), -0.03, 0.03))


def simulator(policy: Policy, num_rows: int, noise_m: float = 0.0, seed: int = 0) -> Run:
    """robosuite's OSC as LIBERO uses it: critically damped, reaching a quarter of a step within it."""
    rate = np.sqrt(KP) * STEP_S
    fades, rng = np.exp(-rate), np.random.default_rng(seed)
    pose, coasting = np.zeros(6), np.zeros(6)
    poses, commands = [pose], []
    for row in range(num_rows):
        command = policy(row, pose)
        pose = pose + (1 - (1 + rate) * fades) * command + fades * coasting
        coasting = fades * ((1 - rate) * coasting + rate**2 * command)
        commands.append(command)
        poses.append(pose)
    seen = np.stack(poses) + noise_m * rng.normal(size=(num_rows + 1, 6))
    return Run(action=np.stack(commands), target_step=None, motion=np.diff(seen, axis=0))


def lagged(policy: Policy, num_rows: int, keeps: float) -> Run:
    """A hand whose motion keeps a share of its last one."""
    commands = np.stack([policy(row, np.zeros(6)) for row in range(num_rows)])
    motion = np.zeros((num_rows + 1, 6))
    for row, command in enumerate(commands):
        motion[row + 1] = keeps * motion[row] + (1 - keeps) * command
    return Run(action=commands, target_step=None, motion=motion[1:])


def misread(runs: list[Run], rows: int) -> list[Run]:
    """Pair each motion with the action that stands `rows` rows after its own."""
    if rows == 0:
        return runs
    acts, moves = (slice(rows, None), slice(None, -rows)) if rows > 0 else (slice(None, rows), slice(-rows, None))
    return [Run(action=run.action[acts], target_step=None, motion=run.motion[moves]) for run in runs]


@pytest.mark.parametrize("rows", [-1, 0, 1])
@pytest.mark.parametrize("policy", [operator, feedback])
@pytest.mark.parametrize("noise_m", [0.0, 2e-4])
def test_a_simulator_that_reaches_a_quarter_of_each_step_tells_its_row(
    policy: Callable[[np.random.Generator], Policy], noise_m: float, rows: int
) -> None:
    runs = [simulator(policy(np.random.default_rng(seed)), 120, noise_m, seed) for seed in range(6)]
    reached = np.linalg.norm(sum(run.motion.sum(axis=0) for run in runs))
    assert reached < 0.35 * np.linalg.norm(sum(run.action.sum(axis=0) for run in runs))
    found = told(misread(runs, rows))
    assert (found.lag, found.is_sure) == (rows, True)
    assert found.margin > 0.5


@pytest.mark.parametrize("rows", [-1, 0, 1])
@pytest.mark.parametrize("keeps", [0.0, 0.5, 0.75, 0.9])
def test_a_hand_that_follows_slowly_tells_its_row(keeps: float, rows: int) -> None:
    runs = [lagged(operator(np.random.default_rng(seed)), 120, keeps) for seed in range(6)]
    found = told(misread(runs, rows))
    assert (found.lag, found.is_sure) == (rows, True)


def tracked(seed: int, *, rows: int, from_hand: bool) -> Run:
    """A disturbed hand that goes half the way to a target, which is made from the hand itself or the last target."""
    rng, commands = np.random.default_rng(seed), operator(np.random.default_rng(seed))
    pose, target, poses, targets = np.zeros(6), np.zeros(6), [], []
    for row in range(130):
        target = (pose if from_hand else target) + commands(row, pose)
        poses.append(pose)
        targets.append(target)
        pose = pose + 0.5 * (target - pose) + 1e-4 * rng.normal(size=6)
    seen, kept = np.stack(poses), np.stack(targets)[rows + 1 : 125 + rows]
    return Run(
        action=(kept - seen[1:125])[:-1], target_step=np.diff(kept, axis=0)[:-1], motion=np.diff(seen[1:125], axis=0)
    )


@pytest.mark.parametrize("from_hand", [False, True])
@pytest.mark.parametrize("rows", [-1, 0, 1])
def test_a_hand_that_goes_to_recorded_targets_tells_its_row(rows: int, from_hand: bool) -> None:
    found = told([tracked(seed, rows=rows, from_hand=from_hand) for seed in range(8)])
    assert (found.lag, found.is_sure) == (rows, True)


def test_what_does_not_tell_is_not_sure() -> None:
    commands = operator(np.random.default_rng(0))
    steady = np.full((60, 6), 0.01)
    noise = np.random.default_rng(1).normal(size=(2, 300, 6)) * 0.01
    short = simulator(commands, 9)
    smooth = np.sin(np.arange(200)[:, None] * 0.05 + np.arange(6)) * 0.01
    late = np.sin((np.arange(200)[:, None] - 0.5) * 0.05 + np.arange(6)) * 0.01
    for action, motion in ((*noise,), (short.action, short.motion), (smooth, late), (steady, steady)):
        assert not told([Run(action=action, target_step=None, motion=motion)]).is_sure
    assert response([Run(action=steady, target_step=None, motion=0 * steady)], most=MOST, expected=0) is None


@pytest.mark.parametrize("rows", [-1, 0, 1])
def test_real_simulated_demonstrations_tell_their_row(real_data: Path, rows: int) -> None:
    runs = []
    with h5py.File(next((real_data / "robomimic_hdf5").glob("*.hdf5"))) as file:
        for demo in file["data"].values():
            turn = Rotation.from_quat(np.roll(demo["obs/eef_quat"][()], -1, axis=1))
            moved = [np.diff(demo["obs/eef_pos"][()], axis=0), (turn[1:] * turn[:-1].inv()).as_rotvec()]
            run = Run(action=demo["actions"][:-1, :6], target_step=None, motion=np.column_stack(moved))
            runs.append(replace(run, action=run.action * [*[0.1] * 3, *[0.1] * 3]))
    for few in (runs, runs[:2]):
        found = told(misread(few, rows))
        assert (found.lag, found.is_sure) == (rows, True)


def write_replay(root: Path, *, size: int, looks_official: bool) -> None:
    """Write LIBERO demonstrations recorded before each action, in a file that may look as if it were after it."""
    path = root / "libero_goal" / "open_the_middle_drawer_of_the_cabinet_demo.hdf5"
    path.parent.mkdir(parents=True)
    with h5py.File(path, "w") as file:
        data = file.create_group("data")
        data.attrs.update({"problem_info": "{}", "num_demos": 6} if looks_official else {})
        for number in range(6):
            run = simulator(operator(np.random.default_rng(number)), 120)
            demo = data.create_group(f"demo_{number}")
            demo.attrs.update({"num_samples": len(run.action)} if looks_official else {})
            pose = np.array([0.4, 0, 0.3, 0, 0, 0]) + np.cumsum(np.vstack([np.zeros(6), run.motion]), axis=0)[:-1]
            scaled = run.action / np.repeat([libero.POSITION_SCALE_M, libero.ROTATION_SCALE_RAD], 3)
            opens = np.where(np.arange(120) < 60, -1.0, 1.0)
            fingers = np.outer(np.arange(120) < 62, [0.04, -0.04])
            demo["actions"] = np.column_stack([scaled, opens])
            demo["obs/ee_pos"], demo["obs/ee_ori"], demo["obs/gripper_states"] = pose[:, :3], pose[:, 3:], fingers
            demo["obs/joint_states"] = np.zeros((120, 7))
            for camera in ("agentview_rgb", "eye_in_hand_rgb"):
                demo.create_dataset(f"obs/{camera}", (120, size, size, 3), np.uint8, fillvalue=90)


def test_the_probe_fails_on_demonstrations_that_are_read_as_the_other_release(tmp_path: Path) -> None:
    write_replay(tmp_path / "told", size=8, looks_official=False)
    write_replay(tmp_path / "disguised", size=128, looks_official=True)
    right, wrong = (
        answer(probe(libero, str(tmp_path / name), libero.Settings()), Probe.LAG) for name in ("told", "disguised")
    )
    assert (right.verdict, right.measures[0].value) == (Verdict.HELD, 0)
    assert (wrong.verdict, wrong.measures[0].value) == (Verdict.FAILED, 1)
    assert "1 row after its action, expected in its action's own row" in wrong.meaning
    assert "margin" in wrong.measures[1].name
    assert wrong.measures[1].value is not None
    assert wrong.measures[1].value > 0.5
