"""Robots of which only joints are known become paired sources: joint targets and grippers, and no canonical motion."""

import json
import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

import vita_data
from tests.vita_data.declared.unitree_g1 import SOURCE as G1
from vita_data.builder import BuildRequest, build
from vita_data.cli.main import main
from vita_data.curation.quality import with_quality
from vita_data.curation.table import episode_table
from vita_data.declared import ArmColumns, Gripper, JointAction, Joints, LeRobotDeclaration, LeRobotSource, Motion
from vita_data.errors import ManifestError
from vita_data.formats.raw_tree.tree import FsspecTree
from vita_data.formats.toy import toy_arm
from vita_data.loader import Plan, make_loader
from vita_data.normalize import FrameSelection
from vita_data.probe import Probe, probe_tree
from vita_data.replay import compare_commands, find_built
from vita_data.shards.stats import load_stats
from vita_data.shards.verify import verify
from vita_data.types import Manifest, MixtureEntry, Modality, Split

STATE, ACTION = "observation.state", "action"
G1_FILE = Path(__file__).with_name("unitree_g1.py")
LEFT, RIGHT = range(7, 14), range(23, 30)


def arm(start: int, count: int, motion: Motion, *, gripper: bool = True, unit_rad: float = 1.0) -> ArmColumns:
    return ArmColumns(
        position=None,
        rotation=None,
        joints=Joints(STATE, start, count=count, unit_rad=unit_rad),
        gripper=Gripper(STATE, start + count, open=100.0, closed=0.0) if gripper else None,
        action=JointAction(
            motion=motion,
            joints=Joints(ACTION, start, count=count, unit_rad=unit_rad),
            gripper=Gripper(ACTION, start + count, open=100.0, closed=0.0) if gripper else None,
        ),
    )


SO101 = replace(
    G1.declaration,
    name="so101",
    embodiment="so101",
    columns={STATE: 6, ACTION: 6},
    left=None,
    right=arm(0, 5, Motion.ABSOLUTE, unit_rad=np.pi / 180),
)
ALOHA = replace(
    G1.declaration,
    name="aloha",
    embodiment="aloha",
    columns={STATE: 14, ACTION: 14},
    left=arm(0, 6, Motion.DELTA),
    right=arm(7, 6, Motion.DELTA),
)
NO_GRIPPER = replace(G1.declaration, name="no_gripper", left=None, right=arm(0, 7, Motion.ABSOLUTE, gripper=False))
NO_CAMERA = replace(ALOHA, name="no_camera", cameras=())


def built(declared: LeRobotDeclaration, root: Path, *, frames: FrameSelection = FrameSelection.KEYFRAMES) -> Path:
    """Write the toy of a declaration and build it through a source file, as a user would."""
    path = root / f"{declared.name}.py"
    path.write_text(
        f"from dataclasses import replace\nfrom {__name__} import {declared.name.upper()}, LeRobotSource\n"
        f"SOURCE = LeRobotSource(replace({declared.name.upper()}, hz={declared.hz}, "
        f"labelled_fps={declared.labelled_fps}))\n"
    )
    (root / "raw").mkdir()
    LeRobotSource(declared).write_toy(str(root / "raw"))
    result = build(
        BuildRequest(
            source=declared.name, source_file=str(path), raw=str(root / "raw"), out=root / "shards",
            settings=LeRobotSource.Settings(), frames=frames,
        )
    )  # fmt: skip
    assert result.card is not None
    assert result.card["outcomes"] == {"ok": 3}
    return root / "shards" / declared.name


def manifest(*sources: str) -> Manifest:
    return Manifest(name="m", entries=tuple(MixtureEntry(source=name, weight=1.0) for name in sources), path="m.toml")


@pytest.mark.parametrize(
    ("declared", "left", "right"),
    [
        (SO101, [], [22, *RIGHT[:5]]),
        (ALOHA, [6, *LEFT[:6]], [22, *RIGHT[:6]]),
        (NO_GRIPPER, [], [*RIGHT]),
        (NO_CAMERA, [6, *LEFT[:6]], [22, *RIGHT[:6]]),
    ],
    ids=lambda value: value.name if isinstance(value, LeRobotDeclaration) else "",
)
def test_joint_targets_are_stored_and_the_motion_is_masked(
    tmp_path: Path, declared: LeRobotDeclaration, left: Sequence[int], right: Sequence[int]
) -> None:
    folder = built(declared, tmp_path)
    assert verify(folder).problems == ()
    clip = vita_data.open_source(folder)[0].clip
    assert clip.action is not None
    assert clip.state is not None
    assert np.flatnonzero(clip.action.track.mask).tolist() == [*left, *right]
    assert not clip.action.track.values[:, ~clip.action.track.mask].any()
    made = toy_arm(31, hz=30.0, seed=1).joint_position_rad
    count = len([column for column in right if column in RIGHT])
    assert clip.state.values[:, 34 : 34 + count] == pytest.approx(made[:30, :count], abs=1e-5)
    assert clip.action.track.values[:, 23 : 23 + count] == pytest.approx(made[1:, :count], abs=1e-5)
    assert np.flatnonzero(load_stats(folder).source.action.mask).tolist() == [*left, *right]


@pytest.mark.parametrize("motion", [Motion.ABSOLUTE, Motion.DELTA])
def test_a_shifted_action_of_joints_is_found(tmp_path: Path, motion: Motion) -> None:
    declared = replace(ALOHA, hz=10.0, labelled_fps=10.0, left=None, right=arm(7, 6, motion))
    LeRobotSource(declared).write_toy(str(tmp_path))
    for rows_to_action, expected in ((0, ("held", 0)), (1, ("failed", 1))):
        source = LeRobotSource(replace(declared, rows_to_action=rows_to_action))
        results = probe_tree(source, FsspecTree(str(tmp_path)), source.Settings(), limit=3).report.results
        (lag,) = [one for one in results if one.probe is Probe.LAG]
        assert (lag.verdict, lag.measures[0].value) == expected
        assert "the arm" in lag.meaning


def test_probes_and_pages_know_joints(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = built(ALOHA, tmp_path)
    source, raw = LeRobotSource(ALOHA), FsspecTree(str(tmp_path / "raw"))
    found = {one.probe: one for one in probe_tree(source, raw, source.Settings(), limit=3).report.results}

    assert found[Probe.SCHEMA].verdict == "held"
    assert (found[Probe.LAG].verdict, found[Probe.LAG].meaning) == ("held", "an action moves the arm in its own row")
    assert found[Probe.INTEGRATION].verdict == "not applicable"
    assert found[Probe.GRIPPER].verdict == "held"
    assert found[Probe.RATE].verdict == "held"
    row = with_quality(episode_table(folder), folder).row(0, named=True)
    assert row["speed_m_s"] is None
    assert row["joint_speed_rad_s"] > 0.02
    assert row["idle_share"] < 0.5
    for verb in (["inspect", str(folder)], ["report", str(tmp_path / "shards")]):
        page = tmp_path / "page.html"
        assert main([*verb, "--html", str(page)]) == 0
        assert "joint" in page.read_text()
    assert main(["view", str(tmp_path / "shards"), "--html", str(tmp_path / "view")]) == 0
    capsys.readouterr()


def test_clips_without_images_give_action_batches_in_warmup_alone(tmp_path: Path) -> None:
    folder = built(NO_CAMERA, tmp_path)
    shards = str(folder.parent)
    plan = Plan.from_manifest(manifest("no_camera"), shards=shards, stage="warmup", batch_size=4)
    assert plan.modality_steps == {Modality.ACTION: 1.0}
    assert not [note for note in plan.notes if "keyframes" in note]
    with make_loader(plan) as loader:
        batch = next(loader)
    assert batch.images is None
    assert batch.action_mask is not None
    assert batch.action_mask.any(dim=(0, 1)).nonzero().flatten().tolist() == [6, 13]
    with pytest.raises(ManifestError, match="'no_camera' has no window for stage cotrain"):
        Plan.from_manifest(manifest("no_camera"), shards=shards, stage="cotrain", batch_size=4)
    assert main(["inspect", str(folder), "--html", str(tmp_path / "page.html")]) == 0
    assert main(["report", shards, "--html", str(tmp_path / "report.html")]) == 0
    assert main(["view", shards, "--html", str(tmp_path / "view")]) == 0
    row = with_quality(episode_table(folder), folder).row(0, named=True)
    assert (row["black_share"], row["image_hash"]) == (None, "")


def test_joints_without_images_are_exported(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder, out = built(NO_CAMERA, tmp_path, frames=FrameSelection.ALL), tmp_path / "out"
    assert main(["export", str(folder), "--format", "lerobot", "--out", str(out), "--quiet"]) == 0
    capsys.readouterr()
    info = json.loads((out / "meta" / "info.json").read_text())
    names = info["features"]["action"]["names"]
    assert [name for name in names if "joint" not in name] == ["left_gripper", "right_gripper"]
    assert len(names) == 14
    assert not [key for key, feature in info["features"].items() if feature["dtype"] == "video"]
    tables = [pq.read_table(path) for path in sorted((out / "data").rglob("*.parquet"))]
    clip = vita_data.open_source(folder)[0].clip
    assert clip.action is not None
    exported = np.array(tables[0]["action"].to_pylist())[: clip.num_steps]
    np.testing.assert_array_equal(exported, clip.action.track.values[:, clip.action.track.mask])


def test_an_action_of_joints_that_contradicts_itself_is_refused() -> None:
    with pytest.raises(ValueError, match="a joint action is ABSOLUTE or DELTA"):
        arm(0, 6, Motion.EULER_DIFFERENCE)
    with pytest.raises(ValueError, match="needs joints=6 measured ones"):
        replace(arm(0, 6, Motion.DELTA), joints=None)
    with pytest.raises(ValueError, match="neither a camera nor an arm"):
        replace(NO_CAMERA, left=None, right=None, action_origin=None)


def only_the_stored_episode(real_data: Path, root: Path) -> Path:
    """Copy the real sample; its list of episodes keeps the one whose files are in it."""
    raw = root / "g1"
    shutil.copytree(real_data / "lerobot_g1", raw)
    path = raw / "meta" / "episodes.jsonl"
    rows = [line for line in path.read_text().splitlines() if json.loads(line)["episode_index"] == 29]
    path.write_text("\n".join(rows) + "\n")
    info = json.loads((raw / "meta" / "info.json").read_text())
    info |= {"total_episodes": 1, "total_frames": json.loads(rows[0])["length"], "total_videos": 1}
    (raw / "meta" / "info.json").write_text(json.dumps(info))
    return raw


def test_the_real_g1_episode_is_a_paired_source_with_the_joints_of_both_arms(
    real_data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert len(G1_FILE.read_text().splitlines()) <= 30
    raw, out = only_the_stored_episode(real_data, tmp_path), tmp_path / "shards"
    assert main(["build", "--source-file", str(G1_FILE), "--raw", str(raw), "--out", str(out)]) == 0
    capsys.readouterr()
    source = vita_data.open_source(out / "unitree_g1")
    clip = source[0].clip
    assert clip.action is not None
    assert (len(clip.step_index), clip.hz, clip.arms, clip.modality) == (221, 30.0, "both", "paired")
    assert clip.split is Split.TRAIN
    assert np.flatnonzero(clip.action.track.mask).tolist() == [6, *LEFT, 22, *RIGHT]
    assert clip.instruction.text == "Pick up the yellow bottle on the table."
    assert len(clip.frames["primary"]) == 8


@pytest.mark.parametrize("declared", [SO101, ALOHA, NO_GRIPPER], ids=["absolute", "differences", "without gripper"])
def test_stored_joint_targets_give_back_the_commands(tmp_path: Path, declared: LeRobotDeclaration) -> None:
    (found,) = find_built(built(declared, tmp_path), str(tmp_path / "raw"))
    report = compare_commands(found, source_file=str(tmp_path / f"{declared.name}.py"))
    sides = [side for side, arm in (("left", declared.left), ("right", declared.right)) if arm is not None]

    assert report.passes
    assert {f"{side} joints (rad)" for side in sides} <= report.worst.keys()
    assert not [name for name in report.worst if "position" in name or "rotation" in name]
