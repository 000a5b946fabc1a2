"""A robot's plain dict and openpi's request give one observation; what does not fit is refused in words."""

from collections.abc import Mapping

import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation

from vita_data.action_convention import right_arm_state
from vita_data.errors import RequestError
from vita_data.types import CameraRole
from vita_model.policy.observations import read_observation, require_known_keys

IMAGE = np.zeros((8, 8, 3), np.uint8)
GOOD: Mapping[str, object] = {"primary": IMAGE, "instruction": "lift the cube"}
TURN = Rotation.from_rotvec([0.1, -0.4, 0.3])
POSE: Mapping[str, object] = {
    "position_m": [0.4, 0.0, 0.2],
    "rotation_vector_rad": TURN.as_rotvec(),
    "gripper_open": 0.25,
}


def test_roles_and_openpi_s_keys_mean_the_same() -> None:
    plain = read_observation({**GOOD, "wrist_right": IMAGE + 1, "state": np.ones(64), "state_mask": np.ones(64, bool)})
    other = read_observation(
        {
            "observation/image": IMAGE,
            "observation/wrist_image": IMAGE + 1,
            "prompt": "lift the cube",
            "observation/state": np.ones(64),
            "observation/state_mask": np.ones(64, bool),
        }
    )
    assert list(plain.images) == list(other.images) == [CameraRole.PRIMARY, CameraRole.WRIST_RIGHT]
    assert plain.images[CameraRole.WRIST_RIGHT].max() == other.images[CameraRole.WRIST_RIGHT].max() == 1
    assert plain.instruction == other.instruction
    assert np.array_equal(plain.state, other.state)
    assert np.array_equal(plain.state_mask, other.state_mask)


def test_measurements_by_name_fill_the_right_arm_s_slots() -> None:
    expected, mask = right_arm_state(np.array([0.4, 0.0, 0.2]), TURN.as_matrix(), 0.25, np.arange(7) / 10)
    rotations = {
        "rotation_vector_rad": TURN.as_rotvec(), "rotation_matrix": TURN.as_matrix(), "quaternion_xyzw": TURN.as_quat(),
    }  # fmt: skip
    for name, value in rotations.items():
        given = {**GOOD, "position_m": (0.4, 0.0, 0.2), "gripper_open": 0.25, "joints_rad": np.arange(7) / 10}
        observation = read_observation({**given, name: value})
        assert np.allclose(observation.state, expected, atol=1e-6)
        assert np.array_equal(observation.state_mask, mask)
    assert read_observation(GOOD).state is None


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"primary": None}, "must have the image primary or observation/image; got instruction, primary"),
        ({"primary": IMAGE / 255}, r"primary must be uint8 .* found float64 \[8, 8, 3\]"),
        ({"instruction": None}, "must have an instruction .*; got instruction, primary"),
        ({"instruction": ""}, "instruction must be a string of 1 to 4096 characters; found "),
        ({**POSE, "state": np.zeros(64)}, "either state or measurements by name, got both: state, position_m"),
        ({**POSE, "gripper_open": 45.0}, r"gripper_open must lie between 0 \(closed\) and 1 \(open\); found 45"),
        ({**POSE, "gripper_open": None}, "gripper_open must be a finite number; found nothing"),
        ({**POSE, "position_m": [0.1, np.nan, 0]}, r"position_m must be \[3\] finite numbers"),
        ({**POSE, "position_m": [0.1, 1e308, 0]}, r"position_m must be \[3\] finite numbers up to 1,000,000"),
        ({**POSE, "joints_rad": [-1e7]}, r"joints_rad must be \[1\] finite numbers up to 1,000,000"),
        ({"state": np.full(64, -1e7, np.float32)}, "state must be finite numbers up to 1,000,000"),
        ({"state": np.full(8, 2**40)}, "state must be finite numbers up to 1,000,000"),
        ({**POSE, "joints_rad": np.zeros(9)}, "joints_rad must be 1 to 7 numbers; found 9"),
        ({**POSE, "quaternion_xyzw": [0, 0, 0, 1]}, "expected one of .*, got rotation_vector_rad, quaternion_xyzw"),
        ({"position_m": [0, 0, 0], "gripper_open": 1}, "expected one of .*, got none"),
        ({"position_m": [0, 0, 0]}, "together, got position_m without gripper_open$"),
        ({"joints_rad": [0.1]}, "together, got joints_rad without position_m and gripper_open$"),
        (
            {"position_m": [0, 0, 0], "gripper_open": 1, "quaternion_xyzw": [0, 0, 0, 5]},
            "quaternion_xyzw must have length 1; found 5",
        ),
        (
            {"position_m": [0, 0, 0], "gripper_open": 1, "rotation_matrix": np.diag([1, 1, -1])},
            "rotation_matrix must be a rotation",
        ),
    ],
)
def test_what_does_not_fit_is_refused(changed: Mapping[str, object], message: str) -> None:
    with pytest.raises(RequestError, match=message):
        read_observation({**GOOD, **changed})


def test_a_state_may_be_a_list_of_numbers() -> None:
    for numbers in ([0.1] * 8, tuple(range(8)), [0] * 64):
        read = read_observation({**GOOD, "state": numbers})
        same = read_observation({**GOOD, "state": np.array(numbers)})
        np.testing.assert_array_equal(read.state, same.state)
        np.testing.assert_array_equal(read.state_mask, same.state_mask)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        (
            {"primary": torch.zeros(8, 8, 3, dtype=torch.uint8)},
            r"found Tensor; give a numpy array: \.cpu\(\)\.numpy\(\)$",
        ),
        ({"primary": IMAGE.tolist()}, r"found list; give a numpy array: np\.asarray\(\.\.\.\)$"),
        ({"state": torch.zeros(8)}, r"found Tensor; give a numpy array: \.cpu\(\)\.numpy\(\)$"),
        ({"state": ["0"] * 8}, r"found list; give a numpy array"),
        ({"state": [True] * 8}, r"found list; give a numpy array"),
        ({"state": [10**400] * 8}, r"found list; give a numpy array"),
        ({"state": [0.0] * 7}, r"found float64 \[7\]$"),
        ({"state": np.zeros(64), "state_mask": [True] * 64}, r"found list; give a numpy array"),
        ({"instruction": ["push"]}, "found list$"),
    ],
)
def test_a_list_or_tensor_is_told_how_to_become_an_array(changed: Mapping[str, object], message: str) -> None:
    with pytest.raises(RequestError, match=message):
        read_observation({**GOOD, **changed})


def test_a_misspelt_key_is_named_with_the_nearest() -> None:
    require_known_keys({**GOOD, **POSE})
    with pytest.raises(RequestError, match="unknown key 'wrist_rigth'; did you mean 'wrist_right'"):
        require_known_keys({**GOOD, "wrist_rigth": IMAGE})


def test_a_picture_alone_is_no_observation() -> None:
    with pytest.raises(RequestError, match=r"must be a dict .*; found uint8 \[8, 8, 3\]"):
        require_known_keys(IMAGE)
