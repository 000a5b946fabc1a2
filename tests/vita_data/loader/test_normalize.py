"""Scaling by q01 and q99, its exceptions, and its inverse."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

import vita_data
from vita_data.errors import RequestError
from vita_data.loader.normalize import ACTION14, ACTION_RULES, STATE_RULES, Scaling, action_scaling, state_scaling


def stats(dim: int, low: float, high: float) -> dict[str, list[float | None] | list[bool]]:
    return {"q01": [low] * dim, "q99": [high] * dim, "mask": [True] * dim}


def test_quantiles_map_to_one_and_are_clipped_at_two() -> None:
    scaling = Scaling.of(stats(40, -1.0, 3.0), ACTION_RULES)
    values = np.zeros((4, 40), np.float32)
    values[:, 16] = [-1.0, 3.0, 1.0, 100.0]

    assert scaling.normalize(values, np.ones((4, 40), bool))[:, 16].tolist() == [-1.0, 1.0, 0.0, 2.0]


@pytest.mark.parametrize("column", [6, 22])
def test_grippers_map_from_unit_to_plus_minus_one_whatever_the_statistics(column: int) -> None:
    values = np.zeros((2, 40), np.float32)
    values[1, column] = 1.0
    scaling = Scaling.of(stats(40, 5.0, 5.0), ACTION_RULES)

    assert scaling.normalize(values, np.ones((2, 40), bool))[:, column].tolist() == [-1.0, 1.0]


def test_rot6d_is_unchanged_and_opening_is_not() -> None:
    values = np.full(64, 0.75, np.float32)
    scaled = Scaling.of(stats(64, 0.0, 1.0), STATE_RULES).normalize(values, np.ones(64, bool))

    assert np.all(scaled[np.r_[3:9, 27:33]] == 0.75)
    assert scaled[9] == scaled[33] == 0.5
    assert scaled[24] == 0.5


def test_a_column_that_never_moves_becomes_zero() -> None:
    values = np.full(40, 7.0, np.float32)

    assert Scaling.of(stats(40, 7.0, 7.0 + 5e-7), ACTION_RULES).normalize(values, np.ones(40, bool))[0] == 0


def test_masked_entries_are_zero_and_columns_without_statistics_count_as_masked() -> None:
    scaling = Scaling.of(None, ACTION_RULES)

    assert np.flatnonzero(scaling.known).tolist() == [6, 22]
    assert not scaling.normalize(np.ones(40, np.float32), np.zeros(40, bool)).any()
    assert np.flatnonzero(scaling.normalize(np.ones(40, np.float32), np.ones(40, bool))).tolist() == [6, 22]


def test_masked_entries_may_hold_anything() -> None:
    values = np.array([np.inf, -np.inf, np.nan, 3e38] * 10, np.float32)

    assert not Scaling.of(stats(40, 5.0, 5.0), ACTION_RULES).normalize(values, np.zeros(40, bool)).any()


def test_unnormalize_inverts_normalize() -> None:
    scaling = Scaling.of(stats(40, -0.5, 1.5), ACTION_RULES).take(ACTION14)
    values = np.random.default_rng(0).uniform(-0.5, 1.5, (5, 14)).astype(np.float32)

    scaled = scaling.normalize(values, np.ones((5, 14), bool))

    np.testing.assert_allclose(scaling.unnormalize(scaled), values, atol=1e-6)


def test_statistics_of_a_checkpoint_are_enough() -> None:
    action = {"q01": [None] * 16 + [-1.0] * 24, "q99": [None] * 16 + [1.0] * 24, "mask": [False] * 16 + [True] * 24}
    statistics = {"arm": {"source": {"arm": {"action": action}}, "embodiment": {}}}
    scaling = action_scaling(statistics, "arm")

    assert np.flatnonzero(scaling.known).tolist() == [6, *range(7, 14)]
    assert np.flatnonzero(state_scaling(statistics, "arm").known).tolist() == [*range(3, 10), *range(27, 34)]
    with pytest.raises(RequestError, match=r"source 'leg'; available: arm"):
        action_scaling(statistics, "leg")


def both_arms(low: float, high: float, *, left: bool = True) -> dict[str, object]:
    """Statistics of an arm with poses and joints, or of two; its hand's y never moves."""
    mask = [(column < 14 and left) or 16 <= column < 30 for column in range(40)]
    q01, q99 = ([value if real else None for real in mask] for value in (low, high))
    q01[17] = q99[17] = 0.25
    return {"source": {"arm": {"action": {"q01": q01, "q99": q99, "mask": mask}}}, "embodiment": {}}


def test_actions_come_back_in_m_rad_and_0_to_1_and_a_missing_arm_is_zero() -> None:
    statistics = {"arm": both_arms(-0.5, 1.5, left=False)}
    scaled = np.full((2, 3, 14), 0.5, np.float32)
    scaled[..., 13] = [-1, 0, 1]

    moved = vita_data.unnormalize_actions(scaled, "arm", statistics)

    assert not moved[..., :7].any()  # the left gripper too, though grippers need no statistics
    np.testing.assert_allclose(moved[0, 0, 7:13], [1.0, 0.25, 1.0, 1.0, 1.0, 1.0])
    assert moved[1, :, 13].tolist() == [0, 0.5, 1]


def test_two_arms_with_joints_come_back() -> None:
    statistics = {"arm": both_arms(-0.5, 1.5)}
    values = np.random.default_rng(0).uniform(-0.5, 1.5, (5, 4, 28)).astype(np.float32)
    values[..., 8] = 0.25
    scaled = action_scaling(statistics, "arm", joints=True).normalize(values, np.ones_like(values, bool))

    np.testing.assert_allclose(vita_data.unnormalize_actions(scaled, "arm", statistics), values, atol=1e-6)


def test_each_sample_is_scaled_by_its_own_source_and_noise_where_masked_is_dropped() -> None:
    statistics = {"near": both_arms(-1.0, 1.0, left=False), "far": both_arms(-2.0, 2.0, left=False)}
    statistics = {name: {"source": {name: one["source"]["arm"]}} for name, one in statistics.items()}
    predicted = torch.ones(2, 1, 14, dtype=torch.bfloat16, requires_grad=True)
    with torch.no_grad():
        predicted[..., :7] = torch.nan
    moved = vita_data.unnormalize_actions(predicted, ["near", "far"], json.loads(json.dumps(statistics)))

    assert moved.dtype == np.float32
    assert moved[:, 0, 7].tolist() == [1.0, 2.0]
    assert not moved[..., :7].any()


def test_actions_that_do_not_fit_are_refused() -> None:
    statistics = {"arm": both_arms(-1.0, 1.0)}
    with pytest.raises(RequestError, match=r"expected actions \[..., 14\] or \[..., 28\], got shape \[2, 7\]"):
        vita_data.unnormalize_actions(np.zeros((2, 7)), "arm", statistics)
    with pytest.raises(RequestError, match="expected a source for each of 2 samples, got 1"):
        vita_data.unnormalize_actions(np.zeros((2, 14)), ["arm"], statistics)
    with pytest.raises(RequestError, match=r"^statistics: expected the mapping `loader\.plan\.statistics`, got str;"):
        vita_data.unnormalize_actions(np.zeros((2, 14)), "arm", "shards/statistics.json")
    with pytest.raises(RequestError, match="'leg'; available: arm"):
        vita_data.unnormalize_actions(np.zeros((2, 14)), "leg", statistics)


def test_a_batch_comes_back_as_the_clips_stored_it(toy_shards: Path) -> None:
    """Within q01 and q99, where nothing is clipped, of a source with one arm and of one with two."""
    sources = ["bridge", "robomind_agilex"]
    stored = {name: list(vita_data.open_source(toy_shards / name)) for name in sources}
    with vita_data.open_loader(sources, shards=toy_shards, stage="finetune", batch_size=16) as loader:
        batch, statistics = next(loader), loader.plan.statistics
    moved = vita_data.unnormalize_actions(batch.action, batch.source, statistics)

    assert set(batch.source) == set(sources)
    for row, (name, key) in enumerate(zip(batch.source, batch.key, strict=True)):
        clip = next(clip for clip in stored[name] if clip.key in key)
        inside = (batch.action_mask[row] & (batch.action[row].abs() < 2)).numpy()
        steps = clip.action[:, ACTION14]
        gaps = [np.abs(np.where(inside[0], steps[at] - moved[row, 0], 0)).max() for at in range(len(steps))]
        assert inside[0].any()
        assert min(gaps) < 1e-5
