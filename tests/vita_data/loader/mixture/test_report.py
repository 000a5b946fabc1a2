"""`mix` says what training will draw, for people, for machines and in a lock file."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from vita_data.errors import ManifestError, RequestError
from vita_data.loader import Plan, mix
from vita_data.loader.mixture.report import MixReport, SourceMix, sample_shares
from vita_data.loader.mixture.text import mix_text
from vita_data.types import Basis, Manifest, MixtureEntry, Modality, Stage


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

    assert report.stages[2].refused.startswith("source 'human' has no window"), "the same on every machine"
    assert "finetune: not possible: source 'human'" in mix_text(report)


def test_table_shows_clips_without_instruction(tmp_path: Path, make_clip, save, manifest) -> None:
    save(tmp_path, [make_clip("arm", n, text="" if n < 2 else "go") for n in range(5)])
    report = mix(manifest(arm=1), tmp_path)
    lines = mix_text(report).splitlines()
    paired = lines[lines.index("cotrain: paired batches, 100.00% of the steps") + 2].split()

    assert paired[:6] == ["arm", "3", "90", "18", "1", "100.00%"]
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
    assert "arm" in mix_text(report)


def test_a_stage_that_leaves_a_source_nothing_says_so(shards: Path, manifest) -> None:
    with pytest.raises(ManifestError, match="gets almost none"):
        mix(replace(manifest(arm=1, hand=2), temperature=0.001), shards)


def test_no_stage_at_all_is_refused(tmp_path: Path, make_clip, save, manifest) -> None:
    save(tmp_path, [make_clip("human", 0, steps=3, modality=Modality.VIDEO)])

    with pytest.raises(ManifestError, match=r"manifest test\.toml: source 'human' has no window"):
        mix(manifest(human=1), tmp_path)


PRINTED = {"arm": "Table 10: 20.00% printed; more", "human": "Table 10: 5.00% printed"}


def noted(mixed: Manifest) -> Manifest:
    entries = tuple(replace(entry, note=PRINTED.get(entry.source, "by hand")) for entry in mixed.entries)
    return replace(mixed, entries=entries)


def sources(report: MixReport, stage: Stage, modality: Modality) -> dict[str, SourceMix]:
    parts = {part.modality: part for part in report.stages[list(Stage).index(stage)].modalities}
    return {source.label: source for source in parts[modality].sources}


def test_shares_of_all_samples_stand_beside_the_printed_ones(shards: Path, manifest) -> None:
    report = mix(noted(manifest(arm=2, hand=1, human=1)), shards)
    arm, hand, human = report.realised

    assert (arm.printed, arm.scaled, hand.printed, hand.scaled, human.scaled) == (0.2, 0.8, None, None, 0.2)
    assert arm.shares == pytest.approx({"warmup": 0.5 * 2 / 4 + 0.5 * 2 / 3, "cotrain": 0.5})
    assert human.shares == pytest.approx({"warmup": 0.5 / 4, "cotrain": 0.25})
    assert arm.points == pytest.approx({"warmup": 100 * (7 / 12 - 0.8), "cotrain": -30})
    assert hand.points == {}
    assert sum(one.shares["warmup"] for one in report.realised) == pytest.approx(1)
    assert mix_text(report).splitlines()[-7:] == [
        "VITA Table 10 compared with the samples of each stage over all modalities (points: share - scaled)",
        "  source  printed   scaled   warmup  points  cotrain  points",
        "  arm      20.00%   80.00%   58.33%  -21.67   50.00%  -30.00",
        "  hand          -        -   29.17%       -   25.00%       -",
        "  human     5.00%   20.00%   12.50%   -7.50   25.00%   +5.00",
        "  sum      25.00%  100.00%  100.00%          100.00%",
        "  printed: the paper's proportion; scaled: that proportion among the sources of this manifest only",
    ]


def test_a_manifest_whose_notes_state_nothing_is_not_compared(shards: Path, manifest) -> None:
    report = mix(manifest(arm=1), shards)

    assert "Table 10" not in mix_text(report)
    assert list(report.as_json()["realised"]) == [
        {"label": "arm", "printed": None, "scaled": None, "points": {},
         "shares": {"warmup": 1.0, "cotrain": 1.0, "finetune": 1.0}}
    ]  # fmt: skip


def test_temperature_and_cap_are_named_with_the_shares_they_start_from(shards: Path, manifest) -> None:
    asked = replace(manifest(arm=9, hand=1), temperature=2.0, max_repeats_per_100k_steps=1e8)
    report = mix(asked, shards)
    arm = sources(report, Stage.COTRAIN, Modality.PAIRED)["arm"]
    lines = mix_text(report).splitlines()
    at = lines.index("cotrain: paired batches, 100.00% of the steps")

    assert (arm.share_before, arm.share) == pytest.approx((0.9, 0.75))
    assert lines[0] == "test: basis weight, batch size 1024, temperature 2, at most 100,000,000 repeats per 100k steps"
    assert lines[at + 1].split()[4:7] == ["weight", "before", "share"]
    assert lines[at + 2].split()[4:7] == ["9", "90.00%", "75.00%"]
    assert "before" not in mix_text(mix(manifest(arm=9, hand=1), shards))


def test_a_mixture_that_its_temperature_makes_possible_has_no_share_before(shards: Path, manifest) -> None:
    report = mix(replace(manifest(arm=1, hand=1e10), temperature=10.0), shards)

    assert sources(report, Stage.COTRAIN, Modality.PAIRED)["arm"].share_before is None
    assert report.stages[1].refused == ""


def test_a_cap_holds_a_small_source_at_its_repeats_and_the_others_take_the_rest(shards: Path, manifest) -> None:
    windows = {label: one.num_windows for label, one in sources(
        mix(manifest(arm=1, hand=1), shards), Stage.COTRAIN, Modality.PAIRED).items()}  # fmt: skip
    capped = 100_000 * 0.3 / windows["hand"]
    report = mix(replace(manifest(arm=1, hand=1), max_repeats_per_100k_steps=capped), shards, batch_size=1)
    found = sources(report, Stage.COTRAIN, Modality.PAIRED)

    assert (found["hand"].share, found["hand"].share_before) == pytest.approx((0.3, 0.5))
    assert found["hand"].repeats_per_100k_steps == pytest.approx(capped)
    assert found["arm"].share == pytest.approx(0.7)


def test_a_subset_says_what_it_leaves_of_the_source(shards: Path) -> None:
    entry = MixtureEntry(source="arm", weight=1, where={"task": "task0"}, fraction=0.5)
    report = mix(Manifest(name="few", entries=(entry,), path="few.toml"), shards)
    arm = sources(report, Stage.COTRAIN, Modality.PAIRED)["arm[task=task0]"]

    assert (arm.num_clips, arm.num_clips_whole) == (2, 7)
    assert arm.num_windows < arm.num_windows_whole == 49
    assert report.stages[1].notes[-1] == (
        f"arm: task = task0, fraction = 0.5 limits paired batches to 2 of 7 clips, {arm.num_windows} of 49 windows"
    )


@pytest.mark.parametrize("basis", list(Basis))
def test_a_basis_weighs_by_what_the_table_shows(shards: Path, manifest, basis: Basis) -> None:
    found = sources(mix(manifest(arm=2, hand=1), shards, basis=basis), Stage.COTRAIN, Modality.PAIRED)
    sizes = {label: {"weight": 1, "frames": one.num_steps, "windows": one.num_windows}[basis] * one.weight
             for label, one in found.items()}  # fmt: skip

    assert {label: one.share for label, one in found.items()} == pytest.approx(
        {label: size / sum(sizes.values()) for label, size in sizes.items()}
    )


def test_shares_over_all_modalities_add_to_one(shards: Path, manifest) -> None:
    for stage in mix(manifest(arm=1, hand=5, human=2), shards).stages[:2]:
        assert sum(sample_shares(stage).values()) == pytest.approx(1)
