"""The world at several rates: one motion at each, a second says nothing of the next, chunks cover what they say."""

import numpy as np
import pytest
import torch

from pipelines.latent_rates import FIGURES, RATES, Chunk, Recording, figures, least_error, table

_SIZE = 1000
_MOVED, _GRIPPER = slice(7, 9), 13


def drawn(hz, chunk, size=_SIZE):
    scenes = Recording(hz=hz, chunk=chunk).draw(size, 5)
    return scenes, scenes.batch.action


def alike(first, second):
    return float(np.corrcoef(first.flatten(), second.flatten())[0, 1])


def test_frames_and_motion_are_the_same_at_each_rate():
    recordings = [drawn(hz, chunk, 8)[0] for hz in RATES for chunk in Chunk]
    for other in recordings[1:]:
        assert torch.equal(other.batch.images, recordings[0].batch.images)
        assert torch.equal(other.batch.future, recordings[0].batch.future)
        assert torch.equal(other.motion, recordings[0].motion)


@pytest.mark.parametrize("hz", RATES)
def test_a_chunk_of_the_second_is_its_motion_at_each_rate(hz):
    scenes, action = drawn(hz, Chunk.SECOND, 100)
    torch.testing.assert_close(action[..., _MOVED].mean(dim=1), scenes.motion[:, :2], atol=1e-5, rtol=0)
    change = (action[:, -1, _GRIPPER] - action[:, 0, _GRIPPER]) / 2
    assert bool(((change == scenes.motion[:, 2]) | (change == 0)).all())
    assert bool(change.any())


def test_native_steps_cover_four_seconds_at_3_hz_and_less_than_one_at_30():
    scenes, slow = drawn(3, Chunk.NATIVE)
    torch.testing.assert_close(slow[:, :3, _MOVED].mean(dim=1), scenes.motion[:, :2], atol=1e-5, rtol=0)
    later = slow[:, 3:, _MOVED].mean(dim=1)
    assert abs(alike(later, scenes.motion[:, :2])) < 0.1
    _, fast = drawn(30, Chunk.NATIVE)
    assert 0.8 < alike(fast[..., _MOVED].mean(dim=1), scenes.motion[:, :2]) < 0.97
    _, second = drawn(30, Chunk.SECOND)
    assert alike(fast[:, 0, _MOVED], second[:, 0, _MOVED]) > 0.95


def test_the_speed_varies_within_a_second():
    _, action = drawn(30, Chunk.SECOND)
    assert 0.2 < float(action[..., _MOVED].std(dim=1).mean()) < 0.6


def test_the_motion_of_the_frames_settles_the_chunk_of_their_second_only():
    left = {(hz, chunk): least_error(Recording(hz=hz, chunk=chunk), size=1000) for hz in (3, 30) for chunk in Chunk}
    assert left[3, Chunk.SECOND] < 0.25 < 0.65 < left[3, Chunk.NATIVE] < 1
    assert left[30, Chunk.SECOND] < 0.25


def test_the_table_gives_means_over_seeds():
    rows = [{"hz": 3, "chunk": Chunk.NATIVE, "seed": seed, **dict.fromkeys(FIGURES, float(seed))} for seed in (0, 1)]
    assert "| 3 Hz, native | 2 | 0.500 |" in table(rows)


@pytest.mark.slow
def test_video_and_actions_share_more_codes_where_the_chunk_covers_the_second():
    native, second = (figures(Recording(hz=3, chunk=chunk), seed=0) for chunk in (Chunk.NATIVE, Chunk.SECOND))
    assert second["codes/agreement"] > 1.5 * native["codes/agreement"]
    assert second["cross/over_mean"] < 0.5 < native["cross/over_mean"]
