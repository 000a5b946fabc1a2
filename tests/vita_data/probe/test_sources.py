"""Every toy tree, and real Bridge episodes, hold the probes that apply."""

from pathlib import Path

import pytest

from tests.vita_data.probe.made import (
    answer,
    failed,
    probed,
)
from vita_data import sources
from vita_data.probe import Probe, Verdict, probe
from vita_data.types import (
    Modality,
)


@pytest.mark.parametrize("name", sources.names())
def test_every_toy_tree_holds_the_probes_that_apply(name: str, toy_raw: Path) -> None:
    source = sources.load(name)
    found = probe(source, str(toy_raw / name), source.Settings())

    assert failed(found) == []
    assert [result.probe for result in found.report.results] == list(Probe)
    if source.INFO.modality is Modality.PAIRED:
        assert answer(found, Probe.LAG).verdict in (Verdict.HELD, Verdict.NOT_APPLICABLE)
        assert answer(found, Probe.RATE).verdict is not Verdict.NOT_APPLICABLE
        assert answer(found, Probe.GRIPPER).verdict is not Verdict.NOT_APPLICABLE


def test_real_bridge_episodes_shorter_than_a_clip_hold_the_motion_probes(real_data: Path) -> None:
    source = sources.load("bridge")
    found = probe(source, str(real_data / "bridge_rlds"), source.Settings())

    for name in (Probe.SCHEMA, Probe.INTEGRATION, Probe.GRIPPER, Probe.LAG, Probe.RATE):
        assert answer(found, name).verdict is Verdict.HELD, answer(found, name).line


def test_made_episodes_hold_every_assumption() -> None:
    found = probed()

    assert {result.verdict for result in found.report.results} <= {
        Verdict.HELD, Verdict.LOOK, Verdict.NOT_APPLICABLE
    }  # fmt: skip
    assert answer(found, Probe.INTEGRATION).verdict is Verdict.HELD
    assert answer(found, Probe.LAG).verdict is Verdict.HELD
