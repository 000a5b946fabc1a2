"""Where windows start, and what is masked at clip ends, gaps, invalid rows and missing images."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from vita_data.loader.view import ShardView, SomeClips
from vita_data.loader.windows import ABSENT, Cut, count_windows, cut, start_steps
from vita_data.shards.index import open_source
from vita_data.types import CameraRole, Clip, Gaps, Modality, Split, Starts, WindowSpec

SPEC = WindowSpec(starts=Starts.KEYFRAMES, horizon=4, futures=3)


@pytest.fixture
def view_of(tmp_path: Path, save: Callable[..., Path]) -> Callable[..., ShardView]:
    def view(*clips: Clip) -> ShardView:
        index = open_source(save(tmp_path, clips), Split.TRAIN)
        return ShardView(index.shards[0], index.tables[0])

    return view


def starts(view: ShardView, clip: int, spec: WindowSpec, modality: Modality) -> list[int]:
    count = int(count_windows(view, spec, modality).counts[clip])
    same = SomeClips([view] * count, [clip] * count)
    return start_steps(same, np.arange(count), spec, modality).tolist() if count else []


def cut_one(view: ShardView, clip: int, step: int, spec: WindowSpec, modality: Modality) -> Cut:
    """Cut one window in the middle of others, of which none may move it."""
    clips = [0, clip, len(view) - 1]
    first = [int(view.steps_of_rows(np.array([one]), np.array([0]))[0]) for one in clips]
    taken = cut(SomeClips([view] * 3, clips), np.array([first[0], step, first[2]]), spec, modality)
    return replace(
        taken, row=taken.row[1], views=taken.views[1], futures=taken.futures[1], action_real=taken.action_real[1]
    )


def step_of(view: ShardView, frame: int) -> int | None:
    return None if frame == ABSENT else int(view.frame_name(frame).split(".")[1])


def test_keyframe_windows_start_at_stored_keyframes(view_of: Callable[..., ShardView], make_clip) -> None:
    view = view_of(make_clip("arm", 0, steps=14), make_clip("arm", 1, steps=[3, 4, 5, 6, 7, 8, 9], all_frames=True))

    assert starts(view, 0, SPEC, Modality.PAIRED) == [0, 5, 10]
    assert starts(view, 1, SPEC, Modality.PAIRED) == [3, 8]


def test_row_windows_start_at_every_stored_image(view_of: Callable[..., ShardView], make_clip) -> None:
    spec = replace(SPEC, starts=Starts.ROWS)
    view = view_of(make_clip("arm", 0, steps=6, all_frames=True, missing=[2]), make_clip("arm", 1, steps=14))

    assert starts(view, 0, spec, Modality.PAIRED) == [0, 1, 3, 4, 5]
    assert starts(view, 1, spec, Modality.PAIRED) == [0, 5, 10]
    assert not view.keyframes_only


def test_a_keyframes_build_is_recognised(view_of: Callable[..., ShardView], make_clip) -> None:
    assert view_of(make_clip("arm", 0)).keyframes_only


def test_video_windows_have_a_future(view_of: Callable[..., ShardView], make_clip) -> None:
    view = view_of(make_clip("human", 0, steps=14, modality=Modality.VIDEO), make_clip("human", 1, steps=3))

    assert starts(view, 0, SPEC, Modality.VIDEO) == [0, 5]
    assert starts(view, 1, SPEC, Modality.VIDEO) == []
    assert starts(view, 0, replace(SPEC, min_futures=2), Modality.VIDEO) == [0]


def test_action_windows_start_at_every_valid_row(view_of: Callable[..., ShardView], make_clip) -> None:
    view = view_of(make_clip("arm", 0, steps=[0, 1, 2, 5, 6, 7], valid=((1, 3), (4, 6))), make_clip("arm", 1, steps=3))

    assert starts(view, 0, SPEC, Modality.ACTION) == [1, 2, 6, 7]
    assert starts(view, 1, SPEC, Modality.ACTION) == [0, 1, 2]


def test_chunk_is_masked_past_the_end_and_where_rows_are_invalid(view_of: Callable[..., ShardView], make_clip) -> None:
    view = view_of(make_clip("arm", 0, steps=10, valid=((0, 4), (5, 10))))

    assert cut_one(view, 0, 3, SPEC, Modality.ACTION).action_real.tolist() == [True, False, True, True]
    assert cut_one(view, 0, 8, SPEC, Modality.ACTION).action_real.tolist() == [True, True, False, False]


@pytest.mark.parametrize(("gaps", "expected"), [(Gaps.BREAK, [1, 1, 0, 0]), (Gaps.BRIDGE, [1, 1, 1, 1])])
def test_a_gap_breaks_a_chunk_or_is_bridged(
    view_of: Callable[..., ShardView], make_clip, gaps: Gaps, expected: list[int]
) -> None:
    view = view_of(make_clip("arm", 0, steps=[0, 1, 2, 3, 9, 10, 11], gaps=gaps))
    taken = cut_one(view, 0, 2, SPEC, Modality.ACTION)

    assert taken.row == 2
    assert taken.action_real.tolist() == [bool(real) for real in expected]


def test_futures_follow_time_and_are_masked_past_the_end(view_of: Callable[..., ShardView], make_clip) -> None:
    view = view_of(make_clip("arm", 0, steps=14))
    futures = cut_one(view, 0, 5, SPEC, Modality.PAIRED).futures

    assert [step_of(view, int(frame)) for frame in futures] == [10, None, None]


def test_a_future_is_nearest_within_half_a_step_the_earlier_at_a_tie(
    view_of: Callable[..., ShardView], make_clip
) -> None:
    spec = replace(SPEC, starts=Starts.ROWS, frame_interval_s=0.5)
    view = view_of(make_clip("arm", 0, steps=[0, 1, 2, 3, 6, 7], all_frames=True))
    futures = cut_one(view, 0, 0, spec, Modality.PAIRED).futures

    # 2.5 steps lie between 2 and 3; 5 was dropped; 7.5 has only 7.
    assert [step_of(view, int(frame)) for frame in futures] == [2, None, 7]


def test_an_absent_camera_is_absent(view_of: Callable[..., ShardView], make_clip) -> None:
    spec = replace(SPEC, views=(CameraRole.PRIMARY, CameraRole.WRIST_LEFT, CameraRole.WRIST_RIGHT))
    view = view_of(make_clip("arm", 0, cameras=(CameraRole.PRIMARY, CameraRole.WRIST_RIGHT)))
    views = cut_one(view, 0, 5, spec, Modality.PAIRED).views

    assert views[1] == ABSENT
    assert [view.frame_name(int(frame)) for frame in views[[0, 2]]] == [
        "primary.000005.jpg",
        "wrist_right.000005.jpg",
    ]


def test_counting_a_shard_and_cutting_a_clip_agree(view_of: Callable[..., ShardView], make_clip) -> None:
    kept = [[step for step in range(40) if step % (number + 3)] for number in range(4)]
    view = view_of(*(make_clip("arm", n, steps=steps, hz=4.7, all_frames=bool(n % 2)) for n, steps in enumerate(kept)))
    for spec in (replace(SPEC, min_futures=2), replace(SPEC, starts=Starts.ROWS, min_futures=1)):
        counts = count_windows(view, spec, Modality.PAIRED).counts
        for clip in range(len(view)):
            found = [
                np.count_nonzero(cut_one(view, clip, step, spec, Modality.PAIRED).futures != ABSENT)
                for step in starts(view, clip, replace(spec, min_futures=0), Modality.PAIRED)
            ]
            assert counts[clip] == sum(number >= spec.min_futures for number in found)
