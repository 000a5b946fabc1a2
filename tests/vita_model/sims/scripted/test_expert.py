"""The experts do the task on an arm without physics, from where an error may have taken it, too."""

import numpy as np
import pytest

from vita_model.sims.robosuite.tasks import TASKS
from vita_model.sims.scripted.expert import CLOSE, OPEN, Scene, lift_command, stack_command


def _scene(hand, *, width=0.08, held=False, cube=(0.0, 0.0, 0.82), target=None):
    return Scene(
        hand_xyz_m=np.array(hand, float),
        finger_width_m=width,
        finger_speed_m_s=0.0,
        cube_xyz_m=np.array(cube, float),
        cube_held=held,
        target_xyz_m=None if target is None else np.array(target, float),
    )


@pytest.mark.parametrize("seed", range(20))
def test_the_cube_is_lifted(seed, make_arm):
    arm = make_arm()
    arm.reset(seed)
    for _ in range(120):
        arm.step(lift_command(arm.scene()))
    assert arm.is_success


def test_the_way_back_leads_over_the_cube():
    """Beside the cube and low, the hand rises before it goes sideways, and does not close."""
    command = lift_command(_scene([0.05, 0.0, 0.82]))
    assert command[2] > 0.5
    assert command[6] == OPEN
    assert abs(command[0]) < 1e-9


def test_it_closes_at_the_cube_and_rises_with_it():
    assert lift_command(_scene([0.0, 0.0, 0.822]))[6] == CLOSE
    rising = lift_command(_scene([0.0, 0.0, 0.82], width=0.042, held=True))
    assert rising[6] == CLOSE
    assert rising[2] == 1.0


def test_commands_stay_within_the_controllers_range():
    generator = np.random.default_rng(0)
    for _ in range(200):
        scene = _scene(generator.uniform([-0.5, -0.5, 0.8], [0.5, 0.5, 1.3]), target=[0.1, 0.1, 0.825])
        for command in (lift_command(scene), stack_command(scene)):
            assert np.abs(command).max() <= 1
            assert command[6] in (OPEN, CLOSE)


def test_stacking_lets_go_only_on_top():
    target = (0.1, 0.1, 0.825)
    travelling = _scene([0.05, 0.05, 0.92], width=0.04, held=True, cube=(0.05, 0.05, 0.92), target=target)
    resting = _scene([0.1, 0.1, 0.87], width=0.04, held=True, cube=(0.1, 0.1, 0.87), target=target)
    done = _scene([0.1, 0.1, 0.87], width=0.08, cube=(0.1, 0.1, 0.87), target=target)

    assert stack_command(travelling)[6] == CLOSE
    assert (stack_command(travelling)[:2] > 0.5).all()
    assert stack_command(resting)[6] == OPEN
    assert stack_command(resting)[2] == 0
    assert stack_command(done)[2] > 0.5


def test_a_held_cube_is_raised_before_it_travels():
    low = _scene([0.0, 0.0, 0.82], width=0.04, held=True, target=(0.1, 0.1, 0.825))
    assert stack_command(low)[2] > 0.5
    assert np.abs(stack_command(low)[:2]).max() < 1e-9


def test_stacking_needs_something_to_stack_on():
    with pytest.raises(ValueError, match="target cube"):
        stack_command(_scene([0, 0, 1]))
    assert TASKS["stack"].cubes == ("cubeA", "cubeB")
