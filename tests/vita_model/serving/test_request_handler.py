"""Requests by openpi's keys to observations, decisions to a convention's answers."""

import numpy as np
import pytest

from vita_data.action_convention import Convention, state_from_libero
from vita_data.errors import RequestError
from vita_data.geometry import matrix_from_axis_angle, rot6d_from_matrix
from vita_data.types import CameraRole
from vita_model.policy.openpi import pack, read_request
from vita_model.policy.policy import Decision, Signature
from vita_model.serving.request_handler import PolicyRequestHandler

LIBERO = Convention.of(
    {
        "position_scale_m": 0.05,
        "rotation_scale_rad": 0.5,
        "rotation": "axis-angle",
        "gripper_open_command": -1,
        "gripper_closed_command": 1,
        "orientation": "rot180",
    }
)
GOOD = {"observation/image": np.zeros((8, 8, 3), np.uint8), "prompt": "push"}


class Policy:
    signature = Signature(
        views=(CameraRole.PRIMARY,), horizon=2, futures=2, sources=("bridge", "libero"), step=7,
        conventions={"libero": LIBERO},
    )  # fmt: skip

    def decide(self, observations):
        self.seen = observations[0]
        actions = np.zeros((2, 14), np.float32)
        actions[:, 7], actions[:, 13] = 0.025, 1.0
        return [Decision(source="libero", actions=actions, action_mask=np.arange(14) > 6, subtasks=())]

    def commands(self, decision, convention, *, state=None):
        return decision.right if convention == "canonical" else LIBERO.commands(decision.right, state)


@pytest.fixture
def policy():
    return Policy()


def test_answers_are_in_the_convention_that_was_asked_for(policy) -> None:
    canonical, libero = (
        PolicyRequestHandler(policy, name).act({**GOOD, "source": "libero"}) for name in ("canonical", "libero")
    )
    assert canonical["actions"][0].tolist() == pytest.approx([0.025, 0, 0, 0, 0, 0, 1])
    assert libero["actions"][0].tolist() == pytest.approx([0.5, 0, 0, 0, 0, 0, -1])


def test_metadata_names_convention_and_constants(policy) -> None:
    metadata = PolicyRequestHandler(policy, "libero").metadata
    assert metadata["convention"] == "libero"
    assert metadata["constants"]["flip"] == "rot180"
    assert metadata["action_horizon"] == 2
    assert PolicyRequestHandler(policy, "canonical").metadata["constants"] == {}


def test_a_convention_scales_by_its_own_source(policy) -> None:
    PolicyRequestHandler(policy, "libero").act(GOOD)
    assert policy.seen.source == "libero"
    PolicyRequestHandler(policy, "canonical").act(GOOD)
    assert policy.seen.source is None


def test_libero_s_eight_numbers_become_the_state_s_slots(policy) -> None:
    values = np.array([0.1, 0.2, 0.3, 0.0, 0.5, 0.0, 0.02, -0.02])
    state, mask = state_from_libero(values)
    assert state[24:27].tolist() == pytest.approx([0.1, 0.2, 0.3])
    assert np.allclose(state[27:33], rot6d_from_matrix(matrix_from_axis_angle(np.array([[0, 0.5, 0]])))[0])
    assert state[33] == pytest.approx(0.5)
    assert np.flatnonzero(mask).tolist() == list(range(24, 34))
    PolicyRequestHandler(policy, "canonical").act({**GOOD, "observation/state": values})
    assert np.array_equal(policy.seen.state, state)


@pytest.mark.parametrize("kind", [np.float32, np.float64])
def test_a_state_is_taken_as_a_message_brings_it(policy, kind: type) -> None:
    received = read_request(pack({**GOOD, "observation/state": np.full(8, 0.1, kind)}))
    PolicyRequestHandler(policy, "canonical").act(received)
    assert policy.seen.state[24:27].tolist() == pytest.approx([0.1] * 3)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"observation/image": np.zeros((8, 8), np.uint8)}, r"observation/image must be uint8 .* found uint8 \[8, 8\]"),
        ({"observation/image": np.zeros((8, 8, 3))}, "found float64"),
        ({"observation/image": "x"}, "found str"),
        ({"observation/image": None}, "must have the image primary or observation/image; got"),
        ({"observation/image": np.zeros((0, 8, 3), np.uint8)}, "found uint8"),
        ({"observation/wrist_image": np.zeros((8, 8, 4), np.uint8)}, "observation/wrist_image must be"),
        ({"prompt": ""}, "prompt must be a string"),
        ({"prompt": 3}, "found int"),
        ({"prompt": "x" * 5000}, "prompt must be a string"),
        ({"observation/state": np.zeros(7)}, "LIBERO's 8"),
        ({"observation/state": np.full(64, np.nan)}, "must be finite numbers"),
        ({"observation/state": np.zeros(64), "observation/state_mask": np.zeros(3, bool)}, "state_mask must be bool"),
        ({"source": 5}, "source must be a string"),
    ],
)
def test_what_does_not_fit_is_refused_before_the_policy_sees_it(policy, changed, message: str) -> None:
    with pytest.raises(RequestError, match=message):
        PolicyRequestHandler(policy, "canonical").act({**GOOD, **changed})
    assert not hasattr(policy, "seen")


def test_an_unknown_convention_is_refused(policy) -> None:
    with pytest.raises(RequestError, match="--convention calvin: not in this checkpoint, which has: canonical, libero"):
        PolicyRequestHandler(policy, "calvin")
