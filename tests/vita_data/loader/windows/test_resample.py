"""Chunks over a span of time: the motion of their samples is that of the native steps, whatever the rate."""

from pathlib import Path

import numpy as np
import pytest

from vita_data.geometry import axis_angle_from_matrix, matrix_from_axis_angle, matrix_from_euler_xyz
from vita_data.loader import Plan, make_loader
from vita_data.loader.normalize import action_scaling
from vita_data.loader.windows.resample import TimedChunk, resampled
from vita_data.loader.windows.rules import cut
from vita_data.types import Gaps, Modality, Stage, Starts, WindowSpec

HORIZON = 12


def turned(euler_rad, share):
    return matrix_from_axis_angle(share * axis_angle_from_matrix(matrix_from_euler_xyz(euler_rad[None])))[0]


@pytest.mark.parametrize("hz", [3.0, 4.79, 5.0, 12.0, 15.0, 30.0])
def test_the_samples_of_a_second_integrate_to_its_native_steps(hz: float) -> None:
    generator = np.random.default_rng(0)
    num_native = int(np.ceil(hz))
    rows = np.zeros((2, num_native, 14), np.float32)
    rows[..., 7:10] = 0.02 * generator.normal(size=(2, num_native, 3))
    rows[..., 10:13] = 0.2 * generator.normal(size=(2, num_native, 3))
    rows[..., 13] = np.arange(num_native) % 2
    mask = np.zeros((2, 14), bool)
    mask[:, 7:] = True
    chunk = TimedChunk(
        offset=np.tile(np.arange(num_native), (2, 1)),
        moves=np.ones((2, num_native), bool),
        real=np.ones((2, HORIZON), bool),
        steps_per_sample=np.full(2, hz / HORIZON),
    )

    found = resampled(chunk, rows, mask)

    for native, samples in zip(rows, found, strict=True):
        place, turn = np.zeros(3), np.eye(3)
        for step, row in enumerate(native):
            share = min(1.0, hz - step)
            place, turn = place + share * row[7:10], turned(row[10:13], share) @ turn
        reached, faced = np.zeros(3), np.eye(3)
        for sample in samples:
            reached = reached + hz / HORIZON * sample[7:10]
            faced = turned(sample[10:13], hz / HORIZON) @ faced
        np.testing.assert_allclose(reached, place, atol=1e-5)
        np.testing.assert_allclose(faced, turn, atol=1e-4)
        last = np.ceil(hz / HORIZON * np.arange(1, HORIZON + 1) - 1e-9).astype(int) - 1
        np.testing.assert_array_equal(samples[:, 13], native[last, 13])
    assert not found[..., :7].any()


SECOND = WindowSpec(starts=Starts.ROWS, horizon=HORIZON, futures=1, min_futures=1, chunk_s=1.0)
"""At 5 Hz a sample covers 5/12 of a native step: seven of twelve lie within the first three."""


@pytest.mark.parametrize(
    ("steps", "gaps", "valid", "start", "num_real"),
    [
        (range(20), Gaps.BREAK, ((0, 20),), 3, 12),
        (range(10), Gaps.BREAK, ((0, 10),), 7, 7),
        ((0, 1, 2, 5, 6, 7, 8, 9), Gaps.BREAK, ((0, 8),), 0, 7),
        ((0, 1, 2, 5, 6, 7, 8, 9), Gaps.BRIDGE, ((0, 8),), 0, 12),
        (range(20), Gaps.BREAK, ((0, 4), (5, 20)), 1, 7),
    ],
)
def test_a_sample_is_real_where_all_native_steps_it_touches_are(
    listed, view_listed, steps, gaps, valid, start, num_real
) -> None:
    rows = tuple(range(len(steps)))
    clip = listed(steps=tuple(steps), stored=rows, keyframes=rows[::5], valid=valid, gaps=gaps)
    found = cut(view_listed([clip.row("a")]), np.array([start]), SECOND, Modality.PAIRED)

    assert found.timed is not None
    real = found.action_real[0]
    if valid[-1][0]:  # one row in between may not be learned from: what touches native step 3 of the span
        touched = np.arange(HORIZON) * 5 / 12
        assert real.tolist() == [not (at + 5 / 12 > 3 and at < 4) for at in touched]
    else:
        assert real.tolist() == [sample < num_real for sample in range(HORIZON)]


def test_a_removed_no_op_moves_nothing_and_keeps_the_gripper(listed, view_listed) -> None:
    steps = (0, 1, 2, 5, 6, 7, 8, 9)
    clip = listed(steps=steps, stored=tuple(range(8)), keyframes=(0,), valid=((0, 8),), gaps=Gaps.BRIDGE)
    found = cut(view_listed([clip.row("a")]), np.array([0]), SECOND, Modality.PAIRED).timed

    assert found is not None
    assert found.offset.tolist() == [[0, 1, 2, 2, 2]]
    assert found.moves.tolist() == [[True, True, True, False, False]]


def test_a_batch_holds_the_motion_of_the_second_after_its_image(shards: Path, manifest) -> None:
    plan = Plan.from_manifest(
        manifest(arm=1), shards=shards, stage=Stage.WARMUP, batch_size=8, windows=SECOND, modality_steps={"paired": 1.0}
    )
    loader = make_loader(plan)
    batch = next(loader)
    loader.close()

    assert batch.modality is Modality.PAIRED
    values = action_scaling(plan.statistics, "arm").unnormalize(batch.action.numpy())[..., 7]
    start = values[:, 0].round()
    touched = np.arange(HORIZON) * 5 / 12
    within_one = np.floor(touched) == np.ceil(touched + 5 / 12 - 1e-9) - 1
    expected = start[:, None] + np.floor(touched)[None]
    real = batch.action_mask.numpy()[..., 7] & within_one
    inside = real & (expected <= 40)  # statistics clip what lies far outside
    np.testing.assert_allclose(values[inside], expected[inside], atol=0.05)
    assert inside.sum() > 20


def test_the_span_is_part_of_the_plan(shards: Path, manifest) -> None:
    def plan(chunk_s: float | None) -> Plan:
        spec = WindowSpec(starts=Starts.ROWS, horizon=HORIZON, futures=1, chunk_s=chunk_s)
        return Plan.from_manifest(manifest(arm=1), shards=shards, stage=Stage.WARMUP, batch_size=8, windows=spec)

    assert plan(1.0).hash != plan(None).hash
    assert plan(None).hash == plan(None).hash
    assert Modality.PAIRED not in plan(None).pools
