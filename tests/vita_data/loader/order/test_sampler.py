"""Batch k is a pure function: the same for any world size, exact in its proportions, resumable anywhere."""

import copy
import json
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vita_data.errors import RequestError
from vita_data.loader import MixedModalitySampler, Plan, PlanChange, resume_plan
from vita_data.loader.order.request import PlanRequest
from vita_data.types import Manifest, Modality, Stage

GOLDEN = Path(__file__).parents[3] / "golden" / "batch_order.json"
WEIGHTS = {"arm": 1.0, "hand": 2.0, "human": 3.0}


@pytest.fixture(scope="session")
def plan(shards: Path, manifest: Callable[..., Manifest]) -> Plan:
    return Plan.from_manifest(
        manifest(**WEIGHTS), shards=shards, stage="warmup", batch_size={"video": 24, "action": 48}
    )  # fmt: skip


def test_batch_order_is_golden(shards: Path, manifest) -> None:
    order = {}
    for stage, names in {"warmup": WEIGHTS, "cotrain": WEIGHTS, "finetune": {"arm": 1.0, "hand": 2.0}}.items():
        plan = Plan.from_manifest(manifest(**names), shards=shards, stage=stage, batch_size=4, seed=0)
        parts = [MixedModalitySampler(plan).batch(k) for k in (0, 1, 2, 12_345)]
        order[stage] = {f"{part.step} {part.modality}": [f"{w.key} {w.step}" for w in part.windows] for part in parts}
    found = json.dumps(order, indent=1) + "\n"

    assert found == (GOLDEN.read_text() if GOLDEN.exists() else ""), (
        f"The batch order for seed 0 has changed. If that is meant, write the text below to {GOLDEN.name} and name the "
        f"change ORDER-BREAK in the commit:\n{found}"
    )


@given(k=st.integers(0, 10**9), world_size=st.sampled_from([1, 2, 4, 8, 16]))
@settings(max_examples=30, deadline=None)
def test_the_union_over_ranks_is_the_same_for_any_world_size(plan: Plan, k: int, world_size: int) -> None:
    sampler = MixedModalitySampler(plan)
    whole = sampler.batch(k)
    parts = [sampler.batch(k, rank=rank, world_size=world_size) for rank in range(world_size)]

    assert {part.modality for part in parts} == {whole.modality}
    assert tuple(window for part in parts for window in part.windows) == whole.windows


@given(k=st.integers(0, 10**9))
@settings(max_examples=20, deadline=None)
def test_resuming_is_the_tail_of_the_run(plan: Plan, k: int) -> None:
    running = MixedModalitySampler(plan)
    for step in range(max(k - 2, 0), k):
        running.batch(step)
    state = json.loads(json.dumps(running.state_dict(k)))
    resumed = MixedModalitySampler(resume_plan(plan, state))

    assert [resumed.batch(step) for step in range(state["step"], k + 3)] == [running.batch(k + i) for i in range(3)]


def test_modalities_and_sources_keep_their_shares(plan: Plan) -> None:
    sampler = MixedModalitySampler(plan)
    modalities, sources = Counter(), Counter()
    for k in range(2000):
        picks = sampler.picks(k)
        modalities[picks.modality] += 1
        if picks.modality is Modality.VIDEO:
            sources.update(picks.pool.tolist())
        if k == 999:
            assert modalities[Modality.VIDEO] == modalities[Modality.ACTION] == 500
    assert modalities[Modality.VIDEO] == 1000
    for number, share in enumerate((1 / 6, 2 / 6, 3 / 6)):
        assert abs(sources[number] - 24_000 * share) < 4096


def test_every_window_is_seen_once_before_any_is_seen_twice(plan: Plan) -> None:
    sampler = MixedModalitySampler(plan)
    seen: dict[str, list[object]] = {one.label: [] for one in plan.pools[Modality.VIDEO]}
    for k in range(200):
        part = sampler.batch(k)
        if part.modality is Modality.VIDEO:
            for window in part.windows:
                seen[window.source].append(window)
    for one in plan.pools[Modality.VIDEO]:
        size, windows = one.pool.num_windows, seen[one.label]
        passes = [windows[first : first + size] for first in range(0, len(windows) - size, size)]
        assert len(passes) > 2
        assert all(len(set(once)) == size for once in passes)
        assert passes[0] != passes[1]


def test_draws_in_the_state_count_what_was_drawn(plan: Plan) -> None:
    sampler, counted = MixedModalitySampler(plan), Counter()
    for k in range(137):
        picks = sampler.picks(k)
        pools = plan.pools[picks.modality]
        counted.update((str(picks.modality), pools[number].label) for number in picks.pool.tolist())
    sources = sampler.state_dict(137)["sources"]

    assert {(m, label): one["draws"] for m, part in sources.items() for label, one in part.items()} == dict(counted)


def test_another_seed_is_another_order(shards: Path, manifest) -> None:
    parts = [
        MixedModalitySampler(
            Plan.from_manifest(manifest(arm=1), shards=shards, stage="finetune", batch_size=16, seed=seed)
        ).batch(0)
        for seed in (0, 1)
    ]

    assert parts[0] != parts[1]


def test_more_ranks_than_slots_leave_some_without_any(plan: Plan) -> None:
    sampler = MixedModalitySampler(plan)
    parts = [sampler.batch(0, rank=rank, world_size=64) for rank in range(64)]

    assert {len(part.windows) for part in parts} == {0, 1}
    assert tuple(window for part in parts for window in part.windows) == sampler.batch(0).windows


def test_a_rank_that_does_not_exist_is_refused(plan: Plan) -> None:
    with pytest.raises(RequestError, match="rank 4 of 4"):
        MixedModalitySampler(plan).batch(0, rank=4, world_size=4)


@pytest.mark.parametrize(
    ("weights", "options", "message"),
    [
        ({**WEIGHTS, "arm": 1.5}, {}, r"video source arm: share 0\.16.* -> 0\.23"),
        ({"arm": 1.0, "human": 3.0}, {}, "video source hand was removed"),
        (WEIGHTS, {"seed": 5}, "seed 0 -> 5"),
        (WEIGHTS, {"batch_size": 24}, "batch_size"),
    ],
)
def test_another_plan_is_refused_naming_what_changed(
    plan: Plan, shards: Path, manifest, weights, options, message: str
) -> None:
    state = MixedModalitySampler(plan).state_dict(100)
    options = {"batch_size": {"video": 24, "action": 48}, **options}
    other = Plan.from_manifest(manifest(**weights), shards=shards, stage="warmup", **options)

    with pytest.raises(RequestError, match=message) as error:
        resume_plan(other, state)
    assert "--allow-plan-change" in str(error.value)


def test_an_allowed_change_keeps_every_unchanged_source_at_its_position(plan: Plan, shards: Path, manifest) -> None:
    state = json.loads(json.dumps(MixedModalitySampler(plan).state_dict(101)))
    smaller = manifest(hand=5.0, human=1.0)
    other = Plan.from_manifest(smaller, shards=shards, stage="warmup", batch_size={"video": 32, "action": 16})
    resumed = resume_plan(other, state, plan_change=PlanChange.ALLOW)
    sampler = MixedModalitySampler(resumed)
    old = state["sources"]["video"]["human"]

    assert sampler.draws_before(101)[Modality.VIDEO, "human"] == old["draws"]
    # The windows seen so far in this pass and the next ones make up a whole pass.
    size, draws = old["windows"], old["draws"]
    mine = [w for k in range(101) for w in MixedModalitySampler(plan).batch(k).windows if w.source == "human"]
    behind = mine[len(mine) - draws % size :]
    ahead = [w for k in range(101, 400) for w in sampler.batch(k).windows if w.source == "human"]
    ahead = ahead[: size - draws % size]
    assert len(set(behind + ahead)) == size
    # The new plan's own states resume it, offsets included.
    again = resume_plan(other, json.loads(json.dumps(sampler.state_dict(150))))
    assert MixedModalitySampler(again).batch(150) == sampler.batch(150)


def test_a_source_that_changed_starts_anew(tmp_path: Path, make_clip, save, manifest) -> None:
    save(tmp_path, [make_clip("arm", n) for n in range(3)])
    before = Plan.from_manifest(manifest(arm=1), shards=tmp_path, stage="finetune", batch_size=7)
    state = MixedModalitySampler(before).state_dict(10)
    save(tmp_path, [make_clip("arm", n) for n in range(4)])
    after = Plan.from_manifest(manifest(arm=1), shards=tmp_path, stage="finetune", batch_size=7)

    with pytest.raises(RequestError, match="source arm: digest"):
        resume_plan(after, state)
    resumed = MixedModalitySampler(resume_plan(after, state, plan_change=PlanChange.ALLOW))
    assert resumed.draws_before(10) == {(Modality.PAIRED, "arm"): 0}


def test_other_statistics_are_another_plan_for_batches_that_hold_vectors(
    tmp_path: Path, make_clip, save, manifest
) -> None:
    save(tmp_path, [make_clip("arm", n) for n in range(3)])
    before = Plan.from_manifest(manifest(arm=1), shards=tmp_path, stage="warmup", batch_size=7)
    state = json.loads(json.dumps(MixedModalitySampler(before).state_dict(10)))
    opened = before.pools[Modality.ACTION][0].pool.opened
    stats = copy.deepcopy(opened.stats)
    stats.source.action.q99[16] += 1.0
    request = PlanRequest(stage=Stage.WARMUP, batch_size=7)
    after = Plan.resolve(before.manifest, [replace(opened, stats=stats)], request)

    with pytest.raises(RequestError, match=r"changed: action source arm: statistics '\w+' -> '\w+'; restore"):
        resume_plan(after, state)
    resumed = MixedModalitySampler(resume_plan(after, state, plan_change=PlanChange.ALLOW))
    assert resumed.batch(10) == MixedModalitySampler(before).batch(10)


def test_a_state_that_is_none_is_refused(plan: Plan) -> None:
    with pytest.raises(RequestError, match="expected a state that a loader's `state_dict` gave"):
        resume_plan(plan, {"step": 3})


def test_plan_and_sampler_need_no_torch() -> None:
    code = "import sys; from vita_data.loader import Plan, MixedModalitySampler; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert done.stdout.strip() == "False"
