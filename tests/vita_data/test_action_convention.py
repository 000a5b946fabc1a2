"""Canonical actions to a simulator's commands; the round trips from raw files are in the sources' own tests."""

import numpy as np
import pytest

from vita_data.action_convention import Convention, Flip, Turn
from vita_data.errors import RequestError
from vita_data.geometry import euler_xyz_from_matrix, matrix_from_euler_xyz, rot6d_from_matrix
from vita_data.slots import STATE_DIM

CALVIN = {
    "rel_actions_position_scale_m": 0.02, "rel_actions_euler_scale_rad": 0.05, "rel_actions_limit": 1.0,
    "gripper_open_command": 1, "gripper_closed_command": -1,
}  # fmt: skip
LIBERO = {
    "position_scale_m": 0.05, "rotation_scale_rad": 0.5, "rotation": "axis-angle", "gripper_open_command": -1,
    "gripper_closed_command": 1, "orientation": "rot180",
}  # fmt: skip


def made(extras: dict[str, object]) -> Convention:
    found = Convention.of(extras)
    assert found is not None
    return found


def state_of(euler_rad: list[float]) -> np.ndarray:
    state = np.zeros(STATE_DIM, np.float32)
    state[27:33] = rot6d_from_matrix(matrix_from_euler_xyz(np.array([euler_rad])))[0]
    return state


def test_clips_without_constants_have_no_convention() -> None:
    assert Convention.of({"scene": "x", "timestamp_s": [0.0]}) is None


@pytest.mark.parametrize("extras", [CALVIN, LIBERO])
def test_constants_survive_json(extras: dict[str, object]) -> None:
    found = made(extras)
    assert Convention.from_json(found.as_json()) == found


def test_grippers_have_opposite_signs_in_the_two_simulators() -> None:
    actions = np.zeros((2, 7), np.float32)
    actions[:, 6] = 1, 0
    assert made(LIBERO).commands(actions)[:, 6].tolist() == [-1, 1]
    assert made(CALVIN).commands(actions, state_of([0, 0, 0]))[:, 6].tolist() == [1, -1]


def test_commands_beyond_the_limit_are_clipped() -> None:
    actions = np.zeros((1, 7), np.float32)
    actions[0, 0], actions[0, 1] = 0.2, -0.2
    assert made(LIBERO).commands(actions)[0, :3].tolist() == [1, -1, 0]


def test_euler_differences_follow_the_hand_through_the_chunk_and_over_the_wrap() -> None:
    start = matrix_from_euler_xyz(np.array([[3.13, 0.1, -3.1]]))[0]
    turns = matrix_from_euler_xyz(np.array([[0.03, 0.0, -0.02], [0.01, 0.02, -0.03]]))
    reached = [start, turns[0] @ start, turns[1] @ turns[0] @ start]
    actions = np.zeros((2, 7), np.float32)
    actions[:, 3:6] = euler_xyz_from_matrix(turns)
    commands = made(CALVIN).commands(actions, state_of([3.13, 0.1, -3.1]))[:, 3:6] * 0.05
    angles = euler_xyz_from_matrix(np.stack(reached))
    expected = (np.diff(angles, axis=0) + np.pi) % (2 * np.pi) - np.pi
    assert np.abs(np.diff(angles, axis=0)).max() > 6
    assert np.allclose(commands, expected, atol=1e-5)


def test_euler_differences_need_the_state() -> None:
    with pytest.raises(RequestError, match="need the state"):
        made(CALVIN).commands(np.zeros((1, 7), np.float32))
    with pytest.raises(RequestError, match=r"need the state's orientation \(slots 27 to 32\)"):
        made(CALVIN).commands(np.zeros((1, 7), np.float32), np.zeros(64, np.float32))


@pytest.mark.parametrize(("flip", "corner"), [(Flip.NONE, (0, 0)), (Flip.ROT180, (-1, -1)), (Flip.VFLIP, (-1, 0))])
def test_images_are_turned_as_the_shards_were(flip: Flip, corner: tuple[int, int]) -> None:
    pixels = np.random.default_rng(0).integers(0, 255, (4, 5, 3), dtype=np.uint8)
    one = Convention(
        position_scale_m=1, rotation_scale_rad=1, turn=Turn.AXIS_ANGLE, gripper_open=1, gripper_closed=0, flip=flip
    )
    assert (one.image(pixels)[0, 0] == pixels[corner]).all()
