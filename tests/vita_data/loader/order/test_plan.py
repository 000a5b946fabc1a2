"""Pools, shares and refusals: what a manifest comes to with the shards at hand."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from vita_data.errors import ManifestError, RequestError
from vita_data.loader import Plan
from vita_data.types import Basis, CameraRole, Manifest, MixtureEntry, Modality, Stage, Starts, WindowSpec

ALL = {"arm": 1.0, "hand": 1.0, "human": 2.0}


def plan_of(manifest: Manifest, shards: Path, stage: str = "warmup", **options) -> Plan:
    return Plan.from_manifest(manifest, shards=shards, stage=stage, **{"batch_size": 8, **options})


def shares(plan: Plan, modality: Modality) -> dict[str, float]:
    return {one.label: round(one.share, 9) for one in plan.pools[modality]}


def test_warmup_pools_are_all_clips_with_two_images_and_all_actions(shards: Path, manifest) -> None:
    plan = plan_of(manifest(**ALL), shards)

    assert plan.windows == WindowSpec(starts=Starts.KEYFRAMES, horizon=12, futures=1)
    assert plan.modality_steps == {Modality.VIDEO: 0.5, Modality.ACTION: 0.5}
    assert shares(plan, Modality.VIDEO) == {"arm": 0.25, "hand": 0.25, "human": 0.5}
    assert shares(plan, Modality.ACTION) == {"arm": 0.5, "hand": 0.5}
    # 7 clips of 20, 25, .. 50 steps at 5 Hz: 4 .. 10 keyframes; the last of each has no future.
    assert plan.pools[Modality.VIDEO][0].pool.num_windows == sum(range(3, 10))
    assert plan.pools[Modality.ACTION][0].pool.num_windows == sum(range(20, 51, 5))


def test_warmup_draws_pairs_where_they_are_asked_for_and_there_are_any(shards: Path, manifest) -> None:
    plan = plan_of(manifest(**ALL), shards, also=(Modality.PAIRED,))
    assert plan.modality_steps == {Modality.VIDEO: 0.25, Modality.ACTION: 0.25, Modality.PAIRED: 0.5}
    assert shares(plan, Modality.PAIRED) == {"arm": 0.5, "hand": 0.5}
    assert plan_of(manifest(human=1), shards, also=(Modality.PAIRED,)).modality_steps == {Modality.VIDEO: 1.0}
    given = plan_of(manifest(**ALL), shards, also=(Modality.PAIRED,), modality_steps={"video": 1, "action": 1})
    assert Modality.PAIRED not in given.modality_steps, "modality_steps says all"


def test_cotrain_shares_steps_so_that_samples_follow_the_weights(shards: Path, manifest) -> None:
    plan = plan_of(manifest(**ALL), shards, "cotrain", batch_size={"video": 4, "paired": 16})
    steps, sizes = plan.modality_steps, plan.batch_size
    samples = {modality: steps[modality] * sizes[modality] for modality in steps}

    assert plan.windows.futures == 12
    assert samples[Modality.VIDEO] == pytest.approx(samples[Modality.PAIRED])
    assert shares(plan, Modality.VIDEO) == {"human": 1.0}


def test_finetune_takes_rows_and_the_wrist_and_says_where_it_cannot(shards: Path, manifest) -> None:
    plan = plan_of(manifest(arm=1, hand=1), shards, "finetune")

    assert plan.windows == WindowSpec(
        starts=Starts.ROWS, horizon=12, futures=0, views=(CameraRole.PRIMARY, CameraRole.WRIST_RIGHT)
    )
    assert plan.pools[Modality.PAIRED][1].pool.num_windows == 3 * 24
    assert [note for note in plan.notes if "keyframes only" in note] == [plan.notes[0]]
    assert plan.notes[0].startswith("arm:")


def test_sources_with_the_same_note_share_one_line(tmp_path: Path, make_clip, save, manifest) -> None:
    for name in ("left", "right"):
        save(tmp_path, [make_clip(name, 0, steps=40)])
    told = [note for note in plan_of(manifest(left=1, right=1), tmp_path, "finetune").notes if "keyframes only" in note]
    assert told == ["left, right: built with keyframes only, so windows start at keyframes instead of at every row"]


def test_two_armed_robots_get_both_wrists(tmp_path: Path, make_clip, save, manifest) -> None:
    save(tmp_path, [make_clip("pair", 0, cameras=(CameraRole.PRIMARY, CameraRole.WRIST_LEFT, CameraRole.WRIST_RIGHT))])
    plan = plan_of(manifest(pair=1), tmp_path, "finetune")

    assert plan.windows.views == (CameraRole.PRIMARY, CameraRole.WRIST_LEFT, CameraRole.WRIST_RIGHT)


def test_a_source_without_a_window_in_the_stage_is_refused_by_name(shards: Path, manifest) -> None:
    with pytest.raises(ManifestError, match=r"source 'human' has no window for stage finetune"):
        plan_of(manifest(**ALL), shards, "finetune")
    with pytest.raises(ManifestError, match=r"source 'human' has no window"):
        plan_of(manifest(**ALL), shards, modality_steps={"action": 1.0})


def test_clips_without_instruction_are_counted_and_left_out_after_warmup(
    tmp_path: Path, make_clip, save, manifest
) -> None:
    save(tmp_path, [make_clip("arm", n, text="" if n < 2 else "go") for n in range(5)])

    assert len(plan_of(manifest(arm=1), tmp_path).pools[Modality.ACTION][0].pool.rows) == 5
    plan = plan_of(manifest(arm=1), tmp_path, "cotrain")
    assert plan.pools[Modality.PAIRED][0].pool.rows.tolist() == [2, 3, 4]
    assert plan.pools[Modality.PAIRED][0].pool.num_without_instruction == 2
    assert any("2 clips without instruction" in note for note in plan.notes)


def test_basis_frames_and_windows_weigh_by_size(shards: Path, manifest) -> None:
    frames = shares(plan_of(manifest(arm=1, hand=2), shards, "finetune", basis=Basis.FRAMES), Modality.PAIRED)
    windows = shares(plan_of(manifest(arm=1, hand=2), shards, "finetune", basis=Basis.WINDOWS), Modality.PAIRED)

    assert frames["arm"] == pytest.approx(245 / (245 + 2 * 72))
    assert windows["arm"] == pytest.approx(49 / (49 + 2 * 72))


def test_temperature_evens_out(shards: Path, manifest) -> None:
    warm = replace(manifest(arm=1, hand=4), temperature=2.0)

    assert shares(plan_of(warm, shards, "finetune"), Modality.PAIRED)["arm"] == pytest.approx(1 / 3)


@pytest.mark.parametrize("basis", list(Basis))
@pytest.mark.parametrize("temperature", [0.001, 1e-9, 5e-324])
def test_a_temperature_that_leaves_a_source_nothing_is_refused_by_name(
    shards: Path, manifest, basis: Basis, temperature: float
) -> None:
    cold = replace(manifest(arm=1, hand=20), temperature=temperature)
    with pytest.raises(ManifestError, match=r"source 'arm'.*gets almost none.*raise the temperature"):
        plan_of(cold, shards, "finetune", basis=basis)


def test_even_weights_stay_even_however_cold_or_large(shards: Path, manifest) -> None:
    for temperature in (1e-9, 1.0, 1e300):
        for weight in (1e308, 1e-300):
            mixed = replace(manifest(arm=weight, hand=weight), temperature=temperature)
            plan = plan_of(mixed, shards, "cotrain")
            assert shares(plan, Modality.PAIRED) == {"arm": 0.5, "hand": 0.5}


def test_large_weights_share_by_size(shards: Path, manifest) -> None:
    large = shares(plan_of(manifest(arm=1e308, hand=1e308), shards, "finetune", basis=Basis.FRAMES), Modality.PAIRED)

    assert large["arm"] == pytest.approx(245 / (245 + 72))


def test_large_modality_steps_are_shared_out(shards: Path, manifest) -> None:
    plan = plan_of(manifest(**ALL), shards, modality_steps={"video": 1e308, "action": 1e308})

    assert plan.modality_steps == {Modality.VIDEO: 0.5, Modality.ACTION: 0.5}


def test_max_repeats_moves_the_rest_to_the_others(shards: Path, manifest) -> None:
    free = plan_of(manifest(arm=1, hand=1), shards, "finetune")
    repeats = free.pools[Modality.PAIRED][0].repeats_per_100k_steps
    capped = plan_of(replace(manifest(arm=1, hand=1), max_repeats_per_100k_steps=repeats / 1.1), shards, "finetune")

    assert repeats == pytest.approx(100_000 * 8 * 0.5 / 49)
    assert capped.pools[Modality.PAIRED][0].share == pytest.approx(0.5 / 1.1)
    assert capped.pools[Modality.PAIRED][1].share == pytest.approx(1 - 0.5 / 1.1)
    with pytest.raises(ManifestError, match="max_repeats_per_100k_steps"):
        plan_of(replace(manifest(arm=1, hand=1), max_repeats_per_100k_steps=0.01), shards, "finetune")


def test_where_takes_a_part_of_a_source(shards: Path) -> None:
    def of(task: str) -> Manifest:
        entry = MixtureEntry(source="arm", weight=1, where={"task": task})
        return Manifest(name="t", entries=(entry,), path="t.toml")

    planned = plan_of(of("task1"), shards, "finetune").pools[Modality.PAIRED][0]
    assert planned.label == "arm[task=task1]"
    assert planned.pool.rows.tolist() == [1, 3, 5]
    with pytest.raises(ManifestError, match=r"task = 'task9' selects no clip; its shards have task: task0, task1"):
        plan_of(of("task9"), shards, "finetune")


def test_fraction_keeps_some_episodes_of_every_task_and_smaller_ones_lie_inside(
    tmp_path: Path, make_clip, save
) -> None:
    save(tmp_path, [make_clip("arm", n, steps=6, task=f"task{n % 2}") for n in range(40)], per_shard=7)

    def rows(fraction: float) -> set[int]:
        entry = MixtureEntry(source="arm", weight=1, fraction=fraction)
        plan = plan_of(Manifest(name="t", entries=(entry,), path="t.toml"), tmp_path, "finetune")
        return set(plan.pools[Modality.PAIRED][0].pool.rows.tolist())

    quarter, half = rows(0.25), rows(0.5)
    assert [sum(row % 2 == task for row in quarter) for task in (0, 1)] == [5, 5]
    assert quarter < half
    assert len(rows(0.001)) == 2


def test_absent_shards_are_refused_with_the_command_that_builds_them(shards: Path, manifest) -> None:
    with pytest.raises(ManifestError, match=r"source 'humam' is not built in .*; did you mean 'human'\?$"):
        plan_of(manifest(humam=1), shards)
    with pytest.raises(ManifestError, match=r"the folder of shards .* does not exist"):
        plan_of(manifest(arm=1), shards / "nowhere")


def test_a_source_without_statistics_is_refused(tmp_path: Path, make_clip, save, manifest) -> None:
    (save(tmp_path, [make_clip("arm", 0)]) / "stats.json").unlink()

    with pytest.raises(ManifestError, match=r"source 'arm': no statistics"):
        plan_of(manifest(arm=1), tmp_path)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"stage": "warm"}, "unknown stage 'warm'"),
        ({"batch_size": 0}, "from 1 to 1048576"),
        ({"batch_size": {"video": 8}}, "for action batches"),
        ({"batch_size": {"paired": 8}}, "for video batches"),
        ({"stage": "finetune", "batch_size": {"video": 8}}, "has no 'video' batches"),
        ({"modality_steps": {"video": -1.0}}, "0 or more"),
        ({"modality_steps": {"video": 0.0}}, "above 0"),
        ({"modality_steps": {"video": "a"}}, "video must be a finite number"),
        ({"batch_size": {"video": "x", "action": 8}}, "must be a finite number"),
        ({"batch_size": True}, "whole number"),
        ({"batch_size": 10**400}, "from 1 to 1048576"),
        ({"windows": WindowSpec(starts=Starts.ROWS, horizon=1, futures=1, frame_interval_s=np.inf)}, "frame_interval"),
        ({"windows": WindowSpec(starts=Starts.ROWS, horizon=0, futures=0)}, "horizon"),
        ({"windows": WindowSpec(starts=Starts.ROWS, horizon=1, futures=0, views=(CameraRole.WRIST_LEFT,))}, "primary"),
    ],
)
def test_requests_that_make_no_sense_are_refused(shards: Path, manifest, options, message: str) -> None:
    with pytest.raises(RequestError, match=message):
        plan_of(manifest(**ALL), shards, **{"stage": "warmup", **options})


def test_a_modality_nobody_has_is_left_out_with_a_note_or_refused_if_asked_for(shards: Path, manifest) -> None:
    plan = plan_of(manifest(human=1), shards)

    assert plan.modality_steps == {Modality.VIDEO: 1.0}
    assert any("no action batches" in note for note in plan.notes)
    with pytest.raises(ManifestError, match="action batches"):
        plan_of(manifest(human=1), shards, modality_steps={"video": 0.5, "action": 0.5})


def test_the_hash_follows_what_the_order_depends_on(shards: Path, manifest) -> None:
    base = plan_of(manifest(**ALL), shards)

    assert plan_of(manifest(**ALL), shards).hash == base.hash
    others = [
        plan_of(manifest(**ALL), shards, seed=1), plan_of(manifest(**ALL), shards, batch_size=4),
        plan_of(manifest(**ALL), shards, Stage.COTRAIN), plan_of(manifest(**{**ALL, "arm": 1.5}), shards),
        plan_of(manifest(**ALL), shards, modality_steps={"video": 0.6, "action": 0.4}),
        plan_of(manifest(**ALL), shards, windows=replace(base.windows, horizon=4)),
        base.with_offsets({(Modality.VIDEO, "arm"): 3}),
    ]  # fmt: skip
    assert len({base.hash, *(other.hash for other in others)}) == 8


def test_a_plan_prints_what_matters_on_one_line(shards: Path, manifest) -> None:
    plan = plan_of(manifest(**ALL), shards, "cotrain", seed=7)
    told = repr(plan)
    assert told.startswith(f"Plan({plan.manifest.name}, stage cotrain, seed 7; ")
    assert len(told) < 500
    for modality, planned in plan.pools.items():
        assert f"{modality} {plan.modality_steps[modality]:.0%} of batches, {plan.batch_size[modality]} each" in told
        for one in planned:
            assert f"{one.label} {one.share:.1%} ({one.pool.num_windows:,} windows)" in told
            assert len(repr(one)) < 300


def test_statistics_of_every_source_are_at_hand(shards: Path, manifest) -> None:
    statistics = plan_of(manifest(**ALL), shards).statistics

    assert sorted(statistics) == ["arm", "hand", "human"]
    assert "q01" in statistics["arm"]["source"]["arm"]["action"]


def test_shares_add_to_one_whatever_the_weights(shards: Path, manifest) -> None:
    plan = plan_of(manifest(arm=20.47, hand=27.68, human=51.84), shards)

    assert np.isclose(sum(one.share for one in plan.pools[Modality.VIDEO]), 1.0)
