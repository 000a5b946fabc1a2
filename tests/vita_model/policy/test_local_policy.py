"""A checkpoint as a policy of evaluation: its commands are those of its source's convention."""

from dataclasses import replace

import numpy as np
import pytest

from vita_data.action_convention import Convention, Flip, Turn
from vita_data.errors import RequestError
from vita_model.policy.opener import LocalPolicy
from vita_model.policy.policy import Decision, Signature

LIBERO = Convention(
    position_scale_m=0.05,
    rotation_scale_rad=0.5,
    turn=Turn.AXIS_ANGLE,
    gripper_open=-1,
    gripper_closed=1,
    flip=Flip.ROT180,
)


class Checkpoint:
    """`VitaPolicy` without a network; `commands` is the real one's rule."""

    signature = Signature(views=(), horizon=3, futures=0, sources=("libero",), step=1, conventions={"libero": LIBERO})

    def __init__(self):
        self.asked = []

    def decide(self, observations):
        self.asked += observations
        actions = np.zeros((3, 14), np.float32)
        actions[:, 7], actions[:, 13] = 0.025, [0, 0.4, 1]
        return [Decision(source="libero", actions=actions, action_mask=np.ones(14, bool), subtasks=())]

    def commands(self, decision, convention, *, state=None):
        return decision.right if convention == "canonical" else LIBERO.commands(decision.right)


def test_commands_and_constants_are_the_checkpoints(observation):
    inner = Checkpoint()
    policy = LocalPolicy(inner, "runs/finetune", "libero")
    commands = policy.act(observation)

    np.testing.assert_allclose(commands[:, 0], 0.5)
    assert commands[:, 6].tolist() == [1, 1, -1]
    assert policy.info.constants["flip"] == "rot180"
    assert inner.asked[0].source == "libero"
    np.testing.assert_array_equal(inner.asked[0].state, observation.state.values)
    assert inner.asked[0].instruction == "lift it"


def test_canonical_actions_need_no_constants(observation):
    policy = LocalPolicy(Checkpoint(), "run", "canonical")
    assert policy.act(observation)[2, 6] == 1.0
    assert policy.info.constants == {}


def test_a_convention_that_the_checkpoint_has_not_is_refused():
    with pytest.raises(RequestError, match="run has no constants for calvin; it has libero"):
        LocalPolicy(Checkpoint(), "run", "calvin")


def test_a_source_is_asked_for_by_name(observation):
    inner = Checkpoint()
    inner.signature = replace(Checkpoint.signature, sources=("bridge", "fractal"))
    LocalPolicy(inner, "run", "canonical", source="bridge").act(observation)
    assert inner.asked[0].source == "bridge"
    with pytest.raises(RequestError, match="--source libero: run has statistics only for bridge, fractal"):
        LocalPolicy(inner, "run", "canonical", source="libero")
    with pytest.raises(RequestError, match="--source NAME is required: run has statistics for bridge, fractal"):
        LocalPolicy(inner, "run", "canonical")
