"""The two replays of a demonstration agree if, and only if, the stored actions mean the raw commands."""

from dataclasses import replace

import numpy as np
import pytest

from vita_data.action_convention import Convention, Turn, right_arm_state
from vita_data.geometry import euler_xyz_from_matrix, matrix_from_axis_angle, matrix_from_euler_xyz
from vita_data.types import Demonstration, Float64
from vita_model.policy.interfaces import NO_STATE, Observation
from vita_model.sims.cli.main import main
from vita_model.sims.replay.loop import LIMIT_MM, Recording, StoredActions, replay_both, replay_json

CONSTANTS = Convention(
    position_scale_m=0.05, rotation_scale_rad=0.5, turn=Turn.AXIS_ANGLE, gripper_open=-1, gripper_closed=1
)


class Hand:
    """Goes where it is told, one twentieth of a metre for a command of 1; solved where it ends high and closed."""

    def __init__(self) -> None:
        self.restore()

    def restore(self) -> None:
        self.xyz, self.closed = np.array([0.1, 0.2, 0.3]), False

    def step(self, command: Float64) -> None:
        self.xyz, self.closed = self.xyz + 0.05 * command[:3], bool(command[6] > 0)

    def hand_m(self) -> Float64:
        return self.xyz.copy()

    @property
    def is_success(self) -> bool:
        return bool(self.closed and self.xyz[2] > 0.4)


def recorded(num_steps: int = 13) -> Recording:
    generator = np.random.default_rng(0)
    commands = generator.uniform(-1, 1, (num_steps, 7))
    commands[:, 2], commands[:, 6] = 0.3, np.where(np.arange(num_steps) < 6, -1, 1)
    turns = euler_xyz_from_matrix(matrix_from_axis_angle(0.5 * commands[:, 3:6]))
    canonical = np.column_stack([0.05 * commands[:, :3], turns, commands[:, 6] < 0]).astype(np.float32)
    noise = np.zeros((num_steps, 7))
    noise[:, :3] = generator.normal(scale=0.1, size=(num_steps, 3))
    path = np.array([0.1, 0.2, 0.3]) + 0.05 * np.cumsum(commands[:, :3] + noise[:, :3], axis=0)
    demonstration = Demonstration(
        rows=np.arange(num_steps), commands=commands, executed=commands + noise, end_m=path[-1], success=True,
        state=np.zeros(3), world={},
    )  # fmt: skip
    return Recording(
        name="one", convention="libero", constants=CONSTANTS, actions=canonical, states=None,
        demonstration=demonstration,
    )  # fmt: skip


@pytest.mark.parametrize("chunk_steps", [1, 5, 100])
def test_both_replays_end_as_the_recording_did(chunk_steps: int) -> None:
    result = replay_both(recorded(), Hand(), chunk_steps=chunk_steps)

    assert result.passes
    assert (result.recorded_success, result.raw_success, result.product_success) == (True, True, True)
    assert (result.num_steps, result.raw_off_mm) == (13, pytest.approx(0, abs=1e-9))
    assert result.difference_mm < 1e-4


def test_another_scale_another_sign_and_another_row_are_found() -> None:
    good = recorded()
    scaled = replace(good, constants=replace(CONSTANTS, position_scale_m=0.051))
    signed = replace(good, constants=replace(CONSTANTS, gripper_open=1, gripper_closed=-1))
    shifted = replace(good, actions=np.roll(good.actions, 1, axis=0))

    for wrong in (scaled, signed, shifted):
        assert not replay_both(wrong, Hand(), chunk_steps=5).passes
    far = replay_both(scaled, Hand(), chunk_steps=5)
    assert far.raw_success
    assert far.difference_mm > 1
    assert not replay_both(signed, Hand(), chunk_steps=5).product_success


def test_rows_that_the_clip_does_not_have_are_executed_in_both_replays() -> None:
    whole = recorded()
    rows = np.array([0, 1, 2, 5, 6, 9, 10])
    part = replace(whole, actions=whole.actions[rows], demonstration=replace(whole.demonstration, rows=rows))

    result = replay_both(part, Hand(), chunk_steps=3)
    assert result.num_steps == 13
    assert result.passes
    assert result.raw_off_mm == pytest.approx(0, abs=1e-9)
    assert not replay_both(replace(part, actions=np.roll(part.actions, 1, axis=0)), Hand(), chunk_steps=3).passes


class Contact(Hand):
    """From the moment it closes, the last digits of a command move it by millimetres."""

    def step(self, command: Float64) -> None:
        super().step(command)
        if self.closed:
            self.xyz[0] += 1e4 * (command[0] - round(command[0], 5))


def test_a_world_that_amplifies_rounding_is_allowed_what_rounding_does_to_it() -> None:
    good = recorded()
    result = replay_both(good, Contact(), chunk_steps=5)
    assert result.limit_mm > LIMIT_MM
    assert result.passes

    for wrong in (replace(CONSTANTS, position_scale_m=0.0501), replace(CONSTANTS, gripper_open=1, gripper_closed=-1)):
        assert not replay_both(replace(good, constants=wrong), Contact(), chunk_steps=5).passes


def test_differences_of_euler_angles_start_from_the_stored_state() -> None:
    constants = replace(CONSTANTS, turn=Turn.EULER_DIFFERENCE)
    path = np.linspace([3.0, 0.4, -3.1], [3.3, 0.1, -3.5], 8)
    turns = matrix_from_euler_xyz(path)
    commands = np.zeros((7, 7))
    commands[:, 3:6], commands[:, 6] = np.diff(path, axis=0) / 0.5, 1.0
    actions = np.zeros((7, 7), np.float32)
    actions[:, 3:6] = euler_xyz_from_matrix(turns[1:] @ turns[:-1].transpose(0, 2, 1))
    states = np.stack([right_arm_state(np.zeros(3), turn, 1.0)[0] for turn in turns[:-1]])
    demonstration = Demonstration(
        rows=np.arange(7), commands=commands, executed=commands, end_m=np.zeros(3), success=True, state=np.zeros(3),
        world={},
    )  # fmt: skip
    recording = Recording(
        name="one", convention="calvin", constants=constants, actions=actions, states=states,
        demonstration=demonstration,
    )  # fmt: skip

    policy = StoredActions(recording, 3)
    given = np.concatenate([policy.act(Observation(images={}, instruction="", state=NO_STATE)) for _ in range(3)])
    np.testing.assert_allclose(given, commands, atol=1e-6)


def test_the_rates_of_both_replays_are_written(capsys: pytest.CaptureFixture[str]) -> None:
    good = replay_both(recorded(), Hand(), chunk_steps=5)
    bad = replace(good, product_success=not good.product_success)
    found = replay_json("robosuite", [good, good, bad])
    rates = found["rates"]
    assert isinstance(rates, dict)
    assert {name: rate["num_successes"] for name, rate in rates.items()} == {
        "raw": 3 * good.raw_success, "stored": 2 * good.product_success + bad.product_success,
    }  # fmt: skip
    assert {rate["num_episodes"] for rate in rates.values()} == {3}

    assert main(["replay", "--shards", "/tmp", "--raw", "/tmp", "--out", "/tmp/none"]) == 2
    assert "--out needs --simulator" in capsys.readouterr().err
