"""`mix` says what training will draw, for people, for machines and in a lock file."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from vita_data.errors import ManifestError, RequestError
from vita_data.loader import Plan, mix
from vita_data.types import Modality, Stage


def test_the_numbers_are_the_plans(shards: Path, manifest) -> None:
    mixed = manifest(arm=1, hand=1, human=2)
    report = mix(mixed, shards, batch_size=64)
    plan = Plan.from_manifest(mixed, shards=shards, stage="cotrain", batch_size=64)
    cotrain = {part.modality: part for part in report.stages[1].modalities}

    assert [stage.stage for stage in report.stages] == list(Stage)
    assert cotrain[Modality.PAIRED].step_share == plan.modality_steps[Modality.PAIRED] == 0.5
    arm = cotrain[Modality.PAIRED].sources[0]
    assert (arm.label, arm.num_windows, arm.share) == ("arm", 49, 0.5)
    assert arm.repeats_per_100k_steps == pytest.approx(100_000 * 0.5 * 64 * 0.5 / 49)


def test_a_stage_that_cannot_be_trained_says_why(shards: Path, manifest) -> None:
    report = mix(manifest(arm=1, human=1), shards)

    assert "source 'human' has no window" in report.stages[2].refused
    assert "finetune: not possible; manifest test.toml: source 'human'" in report.table()


def test_table_shows_clips_without_instruction(tmp_path: Path, make_clip, save, manifest) -> None:
    save(tmp_path, [make_clip("arm", n, text="" if n < 2 else "go") for n in range(5)])
    report = mix(manifest(arm=1), tmp_path)
    lines = report.table().splitlines()
    paired = lines[lines.index("cotrain: paired batches, 100.00% of the steps") + 2].split()

    assert paired[:5] == ["arm", "3", "18", "1", "100.00%"]
    assert paired[-1] == "2"


def test_lock_holds_digests_and_shares(tmp_path: Path, make_clip, save, manifest) -> None:
    save(tmp_path, [make_clip("arm", 0)])
    report = mix(manifest(arm=1), tmp_path)
    lock = report.write_lock(tmp_path)
    content = json.loads(lock.read_text())

    assert lock == tmp_path / "test.lock.json"
    assert content == json.loads(json.dumps(report.as_json()))
    assert len(content["digests"]["arm"]) == 64
    assert content["stages"][0]["modalities"][0]["sources"][0]["share"] == 1.0


def test_a_lock_that_cannot_be_written_is_one_line_and_the_table_stays(shards: Path, tmp_path: Path, manifest) -> None:
    report = mix(manifest(arm=1), shards)
    (tmp_path / "file").touch()

    with pytest.raises(RequestError, match=r"test\.lock\.json cannot be written \(Not a directory\)") as error:
        report.write_lock(tmp_path / "file")
    assert "\n" not in str(error.value)
    assert "arm" in report.table()


def test_a_stage_that_leaves_a_source_nothing_says_so(shards: Path, manifest) -> None:
    with pytest.raises(ManifestError, match="next to nothing"):
        mix(replace(manifest(arm=1, hand=2), temperature=0.001), shards)


def test_no_stage_at_all_is_refused(tmp_path: Path, make_clip, save, manifest) -> None:
    save(tmp_path, [make_clip("human", 0, steps=3, modality=Modality.VIDEO)])

    with pytest.raises(ManifestError, match="source 'human' has no window"):
        mix(manifest(human=1), tmp_path)
