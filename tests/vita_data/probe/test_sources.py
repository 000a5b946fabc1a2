"""Every toy tree, and real Bridge episodes, hold the probes that apply."""

from dataclasses import replace
from pathlib import Path

import pytest

from tests.vita_data.probe.made import (
    answer,
    failed,
    probed,
)
from vita_data import sources
from vita_data.normalize.vectors import arm_delta
from vita_data.probe import Probe, Verdict, probe
from vita_data.probe.lag import lag
from vita_data.probe.sample import Sample, SampledArm, SampledEpisode
from vita_data.types import Arm, ArmAction, Modality


@pytest.mark.parametrize("name", sources.names())
def test_every_toy_tree_holds_the_probes_that_apply(name: str, toy_raw: Path) -> None:
    source = sources.load(name)
    found = probe(source, str(toy_raw / name), source.Settings())

    assert failed(found) == []
    assert [result.probe for result in found.report.results] == list(Probe)
    if source.INFO.modality is Modality.PAIRED:
        assert answer(found, Probe.LAG).verdict in (Verdict.HELD, Verdict.NOT_APPLICABLE)
        for rows in (-1, 1):
            result = lag(misread(found.sample, rows), source.INFO, source.Settings())
            assert (result.verdict, result.measures[0].value) == (Verdict.FAILED, rows), result.line
        assert answer(found, Probe.RATE).verdict is not Verdict.NOT_APPLICABLE
        assert answer(found, Probe.GRIPPER).verdict is not Verdict.NOT_APPLICABLE


def misread(sample: Sample, rows: int) -> Sample:
    """Pair each row's hand with the action that stands `rows` rows after its own."""
    return replace(sample, episodes=tuple(_misread_episode(sampled, rows) for sampled in sample.episodes))


def _misread_episode(sampled: SampledEpisode, rows: int) -> SampledEpisode:
    size = len(sampled.episode.step_index) - abs(rows)
    seen, told = slice(max(0, -rows), max(0, -rows) + size), slice(max(0, rows), max(0, rows) + size)
    episode = replace(sampled.episode, step_index=sampled.episode.step_index[seen], right=None, left=None)
    return replace(sampled, episode=episode, arms=tuple(_misread_arm(arm, seen, told) for arm in sampled.arms))


def _misread_arm(sampled: SampledArm, seen: slice, told: slice) -> SampledArm:
    arm = sampled.arm
    if arm.action is None or arm.xyz_m is None or arm.rotation is None:
        return sampled
    motion = replace(arm.action.motion, xyz_m=arm.action.motion.xyz_m[told], rotation=arm.action.motion.rotation[told])
    action = ArmAction(motion=motion, gripper_open=arm.action.gripper_open[told])
    moved = Arm(xyz_m=arm.xyz_m[seen], rotation=arm.rotation[seen], action=action)
    return replace(sampled, arm=moved, delta=arm_delta(moved, action))


def test_real_bridge_episodes_shorter_than_a_clip_hold_the_motion_probes(real_data: Path) -> None:
    source = sources.load("bridge")
    found = probe(source, str(real_data / "bridge_rlds"), source.Settings())

    for name in (Probe.SCHEMA, Probe.INTEGRATION, Probe.GRIPPER, Probe.LAG, Probe.RATE):
        assert answer(found, name).verdict is Verdict.HELD, answer(found, name).line
    for rows in (-1, 1):
        assert lag(misread(found.sample, rows), source.INFO, source.Settings()).verdict is Verdict.FAILED


def test_made_episodes_hold_every_assumption() -> None:
    found = probed()

    assert {result.verdict for result in found.report.results} <= {
        Verdict.HELD, Verdict.LOOK, Verdict.NOT_APPLICABLE
    }  # fmt: skip
    assert answer(found, Probe.INTEGRATION).verdict is Verdict.HELD
    assert answer(found, Probe.LAG).verdict is Verdict.HELD
