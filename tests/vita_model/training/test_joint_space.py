"""Robots of which only joints are known train in all three stages, and the policy commands their joints."""

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tests.vita_data.declared.test_joints import ALOHA, G1_FILE, NO_CAMERA, built, only_the_stored_episode
from vita_data.cli.main import main as vita_data
from vita_model.cli import main
from vita_model.policy.policy import VitaPolicy
from vita_model.serving.request_handler import PolicyRequestHandler

RECIPES = Path(__file__).parents[3] / "pipelines" / "recipes"
SLOW_ALOHA = replace(ALOHA, hz=10.0, labelled_fps=10.0)


def train(stage: str, shards: Path, out: Path, source: str, *more: str, joints: bool = True) -> int:
    manifest = out.parent / f"{source}.toml"
    manifest.write_text(f'name = "one"\nschema_version = 1\n[[sources]]\nsource = "{source}"\nweight = 1\n')
    settings = [f"manifest={manifest}", "batch_size=4", "eval_batches=1", f"model.joints={str(joints).lower()}", *more]
    asked = [part for setting in settings for part in ("--set", setting)]
    steps = {"warmup": "18", "cotrain": "2", "finetune": "2"}[stage]
    recipe = str(RECIPES / f"debug_{stage}.py")
    return main([recipe, "--shards", str(shards), "--out", str(out), "--steps", steps, "--quiet", *asked])


def train_all(shards: Path, root: Path, source: str) -> Path:
    """Train three stages, one after the other; returns the last run."""
    before: Sequence[str] = ()
    for stage in ("warmup", "cotrain", "finetune"):
        assert train(stage, shards, root / stage, source, *before) == 0
        before = (f"init={root / stage}",)
    return root / "finetune"


def assert_acts_by_joints(run: Path, num_commands: int, num_joints: int) -> None:
    (preview,) = (run / "previews").glob("*-actions.json")
    shown = json.loads(preview.read_text())
    mask, true = np.array(shown["mask"]), np.array(shown["true"])
    names = [name for name, known in zip(shown["dims"], mask.any(axis=(0, 1)), strict=True) if known]
    assert names[:2] == ["left_gripper", "right_gripper"]
    assert (len(names), names[2], names[-1]) == (2 + 2 * num_joints, "left_joint_1", f"right_joint_{num_joints}")
    assert np.ptp(true[..., 14 : 14 + num_joints]) > 0.1
    figures = json.loads((run / "evaluation.json").read_text())
    assert [name for name in figures if name.endswith("joint_rad")]
    assert not [name for name in figures if name.endswith("position_m")]
    policy = VitaPolicy.from_pretrained(run)
    commands = policy.act({"primary": np.zeros((256, 256, 3), np.uint8), "instruction": "put the cup on the shelf"})
    assert commands.shape == (12, num_commands)
    assert np.isfinite(commands).all()
    handler = PolicyRequestHandler(policy, "canonical")
    assert handler.metadata["action_dim"] == num_commands
    request = {"observation/image": np.zeros((256, 256, 3), np.uint8), "prompt": "put the cup on the shelf"}
    np.testing.assert_array_equal(np.shape(handler.act(request)["actions"]), (12, num_commands))


def test_both_arms_joints_through_three_stages(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shards = built(SLOW_ALOHA, tmp_path).parent
    assert train("warmup", shards, tmp_path / "refused", "aloha", joints=False) == 2
    told = capsys.readouterr().err
    assert "aloha has arms of which only joints are known" in told
    assert "--set model.joints=true" in told

    run = train_all(shards, tmp_path, "aloha")
    assert_acts_by_joints(run, num_commands=14, num_joints=6)
    picture = tmp_path / "preview.jpg"
    asked = ["--shards", str(shards), "--source", "aloha", "--out", str(picture)]
    assert main(["preview", str(tmp_path / "cotrain"), *asked]) == 0
    assert picture.stat().st_size > 0


def test_a_set_without_cameras_warms_up_on_actions(tmp_path: Path) -> None:
    shards = built(NO_CAMERA, tmp_path).parent
    assert train("warmup", shards, tmp_path / "warmup", "no_camera") == 0
    rows = [json.loads(line) for line in (tmp_path / "warmup" / "metrics.jsonl").read_text().splitlines()]
    assert any("action" in name for name in rows[-1])
    assert not any("visual" in name for name in rows[-1])


def test_the_real_g1_episode_through_three_stages(real_data: Path, tmp_path: Path) -> None:
    raw, shards = only_the_stored_episode(real_data, tmp_path), tmp_path / "shards"
    assert vita_data(["build", "--source-file", str(G1_FILE), "--raw", str(raw), "--out", str(shards)]) == 0
    run = train_all(shards, tmp_path, "unitree_g1")
    assert_acts_by_joints(run, num_commands=16, num_joints=7)
