"""Errors that people reported of LeRobot datasets, planted one by one: the reader or `probe` catches each.

Wrong time stamps, spans, file indices and rows are planted in `formats/lerobot/test_v3.py`.
"""

from collections.abc import Callable
from dataclasses import replace
from functools import cache
from pathlib import Path
from tempfile import mkdtemp

import numpy as np
import pytest

from tests.vita_data.declared.test_lerobot import declaration
from vita_data.action_convention import Flip
from vita_data.declared import Frame, Joints, LeRobotDeclaration, LeRobotSource, Motion, RotationForm
from vita_data.formats.lerobot.write import ToyLeRobotEpisode
from vita_data.formats.lerobot.write_v3 import write_lerobot_v3
from vita_data.formats.raw_tree.tree import FsspecTree
from vita_data.formats.toy import toy_arm, toy_frame
from vita_data.geometry import axis_angle_from_matrix
from vita_data.probe.result import Probe, Verdict
from vita_data.probe.run import Probed, probe_tree
from vita_data.types import SourceSettings

STATE, NUM_ROWS = "observation.state", 60


@cache
def recorded() -> Path:
    """Write six episodes as `TRUE` says, once."""
    root = Path(mkdtemp(prefix="planted-"))
    write_lerobot_v3(str(root), fps=20, info={}, episodes=[episode(number) for number in range(6)])
    return root


def episode(number: int) -> ToyLeRobotEpisode:
    arm = toy_arm(NUM_ROWS + 1, hz=10.0, seed=number)
    jitter = np.random.default_rng(number).normal(scale=2e-3, size=arm.xyz_m.shape).cumsum(axis=0)
    xyz, turn = arm.xyz_m + jitter, axis_angle_from_matrix(arm.rotation)
    state, action = np.zeros((NUM_ROWS, 20)), np.zeros((NUM_ROWS, 12))
    state[:, :7] = np.column_stack([xyz, turn, 0.085 * arm.gripper_open])[:NUM_ROWS]
    state[:, 7:13] = np.degrees(arm.joint_position_rad[:NUM_ROWS, :6])
    state[:, 13:19] = np.degrees(arm.joint_velocity_rad_s[:NUM_ROWS, :6])
    action[:, :7] = np.column_stack([xyz / 0.05, turn / 0.5, 1 - 2 * arm.gripper_open])[1:]
    return ToyLeRobotEpisode(
        text=f"put cup {number} on the shelf",
        meta={},
        columns={STATE: state, "action": action},
        videos={
            f"observation.images.{name}": [
                toy_frame(48, 48, step=step, camera=camera, episode=number)[::turned, ::turned]
                for step in range(NUM_ROWS)
            ]
            for camera, (name, turned) in enumerate({"front": 1, "wrist": -1}.items())
        },
    )


def right(declared: LeRobotDeclaration, **changes: object) -> LeRobotDeclaration:
    assert declared.right is not None
    return replace(declared, right=replace(declared.right, **changes))  # type: ignore[arg-type]


TRUE = right(declaration(), joint_speeds=Joints(STATE, 13, count=6, unit_rad=np.pi / 180))
"""Absolute poses at 10 Hz, labelled 20 fps; the wrist camera is turned."""


def probed(declared: LeRobotDeclaration) -> Probed:
    return probe_tree(LeRobotSource(declared), FsspecTree(str(recorded())), SourceSettings())


def verdicts(declared: LeRobotDeclaration) -> dict[Probe, Verdict]:
    return {result.probe: result.verdict for result in probed(declared).report.results}


def action(declared: LeRobotDeclaration, **changes: object) -> LeRobotDeclaration:
    assert declared.right is not None
    return right(declared, action=replace(declared.right.action, **changes))  # type: ignore[arg-type]


def delta_applied_twice(declared: LeRobotDeclaration) -> LeRobotDeclaration:
    """The poses to reach are read as displacements."""
    return action(declared, motion=Motion.DELTA)


def axis_angle_named_rpy(declared: LeRobotDeclaration) -> LeRobotDeclaration:
    assert declared.right is not None
    assert declared.right.rotation is not None
    state = replace(declared.right.rotation, form=RotationForm.EULER_XYZ)
    return right(declared, rotation=state)


def hand_frame(declared: LeRobotDeclaration) -> LeRobotDeclaration:
    """Displacements of the hand's frame, where there are poses."""
    return action(declared, motion=Motion.DELTA, frame=Frame.HAND)


def gripper_sign(declared: LeRobotDeclaration) -> LeRobotDeclaration:
    assert declared.right is not None
    gripper = declared.right.action.gripper
    return action(declared, gripper=replace(gripper, open=gripper.closed, closed=gripper.open))


def both_gripper_signs(declared: LeRobotDeclaration) -> LeRobotDeclaration:
    flipped = gripper_sign(declared)
    assert flipped.right is not None
    assert flipped.right.gripper is not None
    return right(flipped, gripper=replace(flipped.right.gripper, open=0.0, closed=0.085))


def wrong_lag(declared: LeRobotDeclaration) -> LeRobotDeclaration:
    return replace(declared, lag=1)


def wrong_row(declared: LeRobotDeclaration) -> LeRobotDeclaration:
    """The action of the next row is taken, though each row has its own."""
    return replace(declared, rows_to_action=1)


def wrong_rate(declared: LeRobotDeclaration) -> LeRobotDeclaration:
    """Twice the true one, as LIBERO at 10 fps is half of it; joint velocities tell."""
    return replace(declared, hz=20.0)


def wrong_rate_without_velocities(declared: LeRobotDeclaration) -> LeRobotDeclaration:
    """Only speeds that no robot reaches tell."""
    return right(replace(declared, hz=400.0), joint_speeds=None)


def test_the_true_declaration_holds() -> None:
    found = verdicts(TRUE)
    for probe in (Probe.SCHEMA, Probe.INTEGRATION, Probe.GRIPPER, Probe.LAG, Probe.RATE):
        assert found[probe] is Verdict.HELD, (probe, found)


@pytest.mark.parametrize(
    ("plant", "caught"),
    [
        (delta_applied_twice, Probe.INTEGRATION),
        (axis_angle_named_rpy, Probe.INTEGRATION),
        (hand_frame, Probe.INTEGRATION),
        (gripper_sign, Probe.GRIPPER),
        (both_gripper_signs, Probe.GRIPPER),
        (wrong_lag, Probe.LAG),
        (wrong_row, Probe.LAG),
        (wrong_rate, Probe.RATE),
        (wrong_rate_without_velocities, Probe.RATE),
    ],
)
def test_a_planted_error_fails_its_probe(
    plant: Callable[[LeRobotDeclaration], LeRobotDeclaration], caught: Probe
) -> None:
    assert verdicts(plant(TRUE))[caught] is Verdict.FAILED


def test_images_that_are_not_turned_are_shown_to_a_person() -> None:
    """No number tells up from down: the sheet shows them as they would be stored."""
    cameras = tuple(replace(camera, turned=Flip.NONE) for camera in TRUE.cameras)
    sheets = {}
    for name, declared in (("true", TRUE), ("planted", replace(TRUE, cameras=cameras))):
        found = probed(declared)
        result = next(one for one in found.report.results if one.probe is Probe.ORIENTATION)
        assert result.verdict is Verdict.LOOK
        sheets[name] = [frame.picture for one in found.sample.episodes for frame in one.frames]

    turned = [np.array_equal(a, b[::-1, ::-1]) for a, b in zip(sheets["true"], sheets["planted"], strict=True)]
    assert any(turned)
    assert not all(turned)


def test_another_label_of_the_rate_is_refused_before_anything_is_read() -> None:
    with pytest.raises(Exception, match=r"fps is 20, but the declaration of my_arm says labelled_fps=10"):
        probed(replace(TRUE, labelled_fps=10.0))
