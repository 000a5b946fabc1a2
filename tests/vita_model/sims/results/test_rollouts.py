"""The closed loop asks when a chunk is used up, stops when it should, and refuses what is no command."""

import numpy as np
import pytest

from vita_data.errors import RequestError, VitaDataError
from vita_data.types import CameraRole
from vita_model.policy.commands import InConvention, binary_gripper, oriented
from vita_model.policy.opener import RandomPolicy, load_policy
from vita_model.sims.results.rollouts import Ending, LoopConfig, Strip, roll_out
from vita_model.sims.scripted.expert import OPEN


class Counter:
    """Succeeds after `good` steps, until step `bad`."""

    def __init__(self, observation, good, bad=10**9):
        self.observation, self.good, self.bad, self.commands, self.num_seen = observation, good, bad, [], 0

    def reset(self, seed):
        self.commands, self.seed = [], seed

    def observe(self):
        self.num_seen += 1
        return self.observation

    def step(self, command):
        self.commands.append(command)

    @property
    def is_success(self):
        return self.good <= len(self.commands) < self.bad


def _chunk(rows=6):
    chunk = np.zeros((rows, 7))
    chunk[:, 0] = np.arange(rows) / 10
    return chunk


def test_the_beginning_of_each_chunk_is_carried_out(observation, make_policy):
    simulation, policy = Counter(observation, good=100), make_policy(_chunk())

    result = roll_out(simulation, policy, LoopConfig(max_steps=7, replan_steps=3), seed=5)

    assert [command[0] for command in simulation.commands] == pytest.approx([0, 0.1, 0.2, 0, 0.1, 0.2, 0])
    assert simulation.num_seen == len(policy.asked) == 3
    assert policy.num_resets == 1
    assert (result.seed, result.success, result.num_steps) == (5, False, 7)


def test_no_command_is_left_over_for_the_next_episode(observation, make_policy):
    simulation, policy = Counter(observation, good=2), make_policy(_chunk())
    for seed in range(2):
        roll_out(simulation, policy, LoopConfig(max_steps=9, replan_steps=6), seed=seed)
        assert [command[0] for command in simulation.commands] == pytest.approx([0, 0.1])


def test_success_ends_an_episode_or_is_what_holds_at_its_end(observation, make_policy):
    ends = {}
    for ending in Ending:
        simulation = Counter(observation, good=2, bad=4)
        config = LoopConfig(max_steps=6, replan_steps=6, ending=ending)
        ends[ending] = roll_out(simulation, make_policy(_chunk()), config, seed=0)

    assert (ends[Ending.FIRST_SUCCESS].success, ends[Ending.FIRST_SUCCESS].num_steps) == (True, 2)
    assert (ends[Ending.LAST_STEP].success, ends[Ending.LAST_STEP].num_steps) == (False, 6)


def test_a_strip_gets_a_picture_of_every_step_and_of_the_end(observation, make_policy):
    strip = Strip()
    roll_out(
        Counter(observation, good=100),
        make_policy(_chunk()),
        LoopConfig(max_steps=6, replan_steps=3),
        seed=0,
        strip=strip,
    )
    assert len(strip.images) == 7


def test_another_convention_is_refused_with_what_to_do(make_policy):
    with pytest.raises(
        RequestError, match=r"expected actions in convention 'libero', but .* uses 'calvin'; .*--convention libero"
    ):
        InConvention(make_policy(_chunk(), convention="calvin"), "libero")


@pytest.mark.parametrize("answer", [np.zeros(7), np.zeros((2, 6)), np.zeros((0, 7)), np.full((1, 7), np.inf)])
def test_what_is_no_chunk_is_not_carried_out(answer, make_policy, observation):
    with pytest.raises(VitaDataError, match=r"constant: expected (finite )?actions"):
        InConvention(make_policy(answer), "libero").act(observation)


def test_grippers_are_exactly_two_values_but_for_canonical_actions(make_policy, observation):
    chunk = _chunk()
    chunk[:, 6] = [-2, -0.1, 0, 0.1, 0.4, 1]

    assert InConvention(make_policy(chunk), "libero").act(observation)[:, 6].tolist() == [-1, -1, -1, 1, 1, 1]
    assert InConvention(make_policy(chunk, convention="canonical"), "canonical").act(observation)[4, 6] == 0.4
    assert binary_gripper(chunk)[0, 6] == OPEN


def test_images_are_turned_by_the_policys_constants():
    image = np.arange(12, dtype=np.uint8).reshape(2, 2, 3)

    np.testing.assert_array_equal(oriented(image, {}), image[::-1, ::-1])
    np.testing.assert_array_equal(oriented(image, {"orientation": "vflip"}), image[::-1])
    np.testing.assert_array_equal(oriented(image, {"flip": "none", "orientation": "vflip"}), image)
    with pytest.raises(RequestError, match="'sideways'"):
        oriented(image, {"flip": "sideways"})


def test_random_commands_are_repeatable_and_within_bounds(observation):
    def draw():
        policy = RandomPolicy("libero", seed=3)
        return np.concatenate([policy.act(observation) for _ in range(50)])

    np.testing.assert_array_equal(draw(), draw())
    assert np.abs(draw()).max() <= 1
    assert set(draw()[:, 6]) == {-1.0, 1.0}


def test_a_policy_that_is_not_there_is_said(tmp_path):
    with pytest.raises(RequestError, match="absent: not found"):
        load_policy(str(tmp_path / "absent"), convention="libero")
    assert load_policy("random", convention="calvin").info.convention == "calvin"


def test_state_slots_are_those_of_the_shards(make_arm, tmp_path):
    """What evaluation tells the policy is what `vita-data` stored from a recording of the same arm."""
    from vita_model.policy.interfaces import libero_state

    arm = make_arm()
    arm.reset(0)
    seen = arm.proprioception()
    state = libero_state(
        xyz_m=seen.xyz_m, quaternion_xyzw=seen.quaternion_xyzw, fingers_m=seen.fingers_m, joints_rad=seen.joints_rad
    )

    assert state.mask.nonzero()[0].tolist() == list(range(24, 41))
    np.testing.assert_allclose(state.values[24:27], seen.xyz_m, rtol=1e-6)
    np.testing.assert_allclose(state.values[27:33], [1, 0, 0, 0, -1, 0], atol=1e-7)
    assert state.values[33] == pytest.approx(1.0)
    assert CameraRole.PRIMARY in arm.images()
