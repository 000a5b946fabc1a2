"""Where windows start, and what is masked at clip ends, gaps, invalid rows and missing images."""

from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vita_data.loader.windows.clips import GatheredClips, ShardView
from vita_data.loader.windows.rules import ABSENT, Cut, count_windows, cut, start_steps
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
    same = GatheredClips([view] * count, [clip] * count)
    return start_steps(same, np.arange(count), spec, modality).tolist() if count else []


def cut_one(view: ShardView, clip: int, step: int, spec: WindowSpec, modality: Modality) -> Cut:
    """Cut one window in the middle of others, of which none may move it."""
    clips = [0, clip, len(view) - 1]
    first = [int(view.steps_of_rows(np.array([one]), np.array([0]))[0]) for one in clips]
    taken = cut(GatheredClips([view] * 3, clips), np.array([first[0], step, first[2]]), spec, modality)
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


def test_a_tie_is_one_whatever_way_numbers_are_rounded(view_of: Callable[..., ShardView], make_clip) -> None:
    spec = replace(SPEC, starts=Starts.ROWS, frame_interval_s=0.1)
    view = view_of(make_clip("arm", 0, steps=3, all_frames=True))

    # 0.1 s at 5 Hz are half a step: 1.5, 2, 2.5 come after step 1.
    assert [step_of(view, int(frame)) for frame in cut_one(view, 0, 1, spec, Modality.PAIRED).futures] == [1, 2, 2]


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


def ask_each_step(clip: Any, spec: WindowSpec, modality: Modality) -> dict[int, tuple[list[int], list[bool]]]:
    """The windows of a clip by the words of the contract, one step at a time: futures' steps (-1: none), real rows."""
    steps, stored = clip.steps, {clip.steps[row] for row in clip.stored}
    valid = {row for start, stop in clip.valid for row in range(start, stop)}
    found = {}
    for row, step in enumerate(steps):
        futures = []
        for number in range(1, spec.futures + 1):
            wanted = step + number * Fraction(str(spec.frame_interval_s)) * Fraction(str(clip.hz))
            near = [(abs(one - wanted), one) for one in sorted(stored) if abs(one - wanted) <= Fraction(1, 2)]
            futures.append(min(near)[1] if near else -1)
        real = []
        for ahead in range(row, min(row + spec.horizon, len(steps))):
            jumps = any(steps[at] - steps[at - 1] > 1 for at in range(row + 1, ahead + 1))
            real.append(ahead in valid and not (jumps and clip.gaps is Gaps.BREAK))
        real += [False] * (spec.horizon - len(real))
        starts = row in valid if modality is Modality.ACTION else step in stored
        if modality is not Modality.ACTION:
            needed = max(spec.min_futures, modality is Modality.VIDEO and spec.futures > 0)
            starts &= spec.starts is Starts.ROWS or row in clip.keyframes
            starts &= sum(one >= 0 for one in futures) >= needed
        if starts:
            found[step] = ([] if modality is Modality.ACTION else futures, [] if modality is Modality.VIDEO else real)
    return found


def regular(listed: Callable[..., Any], *, hz: float, first: int, count: int) -> Any:
    """A clip with `count` images, one second apart, that are its keyframes; it starts at a native step."""
    stride, rows = int(hz), tuple(range(0, count * int(hz), int(hz)))
    length = max(1, (count - 1) * stride + 1)
    steps = tuple(range(first, first + length))
    return listed(steps=steps, stored=rows, keyframes=rows, valid=(), hz=hz, gaps=Gaps.BREAK)


REGULAR = [(5.0, 0, 3), (5.0, 4, 2), (5.0, 0, 1), (3.0, 0, 4), (3.0, 2, 0), (5.0, 0, 2)]


@pytest.mark.parametrize("starts_at", Starts)
@pytest.mark.parametrize("modality", [Modality.PAIRED, Modality.VIDEO])
def test_regular_clips_are_counted_without_a_search(
    listed: Callable[..., Any], view_listed: Callable[..., ShardView], monkeypatch: pytest.MonkeyPatch,
    modality: Modality, starts_at: Starts,
) -> None:  # fmt: skip
    spec = replace(SPEC, starts=starts_at)
    clips = [regular(listed, hz=hz, first=first, count=count) for hz, first, count in REGULAR]
    wanted = [len(ask_each_step(clip, spec, modality)) for clip in clips]
    monkeypatch.setattr("vita_data.loader.windows.rules._image_starts", lambda *_: pytest.fail("searched"))
    counted = count_windows(view_listed([clip.row(f"arm-{n}") for n, clip in enumerate(clips)]), spec, modality)

    assert counted.counts.tolist() == wanted
    assert counted.counts.dtype == np.int64
    assert counted.is_plain.all()


@pytest.mark.parametrize("place", [0, 2, len(REGULAR)])
@pytest.mark.parametrize("odd", ["keyframe", "image", "distance", "jump"])
def test_one_irregular_clip_among_regular_ones_is_counted_by_its_own_images(
    listed: Callable[..., Any], view_listed: Callable[..., ShardView], odd: str, place: int
) -> None:
    rows = {"keyframe": (0, 5), "image": (0, 5, 10), "distance": (0, 5, 9), "jump": (0, 5, 10)}[odd]
    stored = {"image": (0, 10)}.get(odd, rows if odd != "keyframe" else (0, 5, 10))
    steps = (*range(7), *range(8, 12)) if odd == "jump" else tuple(range(11))
    clip = listed(steps=steps, stored=stored, keyframes=rows, valid=(), hz=5.0, gaps=Gaps.BREAK)
    clips = [regular(listed, hz=hz, first=first, count=count) for hz, first, count in REGULAR]
    clips.insert(place, clip)
    view = view_listed([one.row(f"arm-{number}") for number, one in enumerate(clips)])

    wanted = [len(ask_each_step(one, SPEC, Modality.VIDEO)) for one in clips]
    assert count_windows(view, SPEC, Modality.VIDEO).counts.tolist() == wanted


@given(data=st.data(), modality=st.sampled_from(Modality))
@settings(max_examples=150, deadline=None)
def test_windows_are_those_of_the_contract_asked_step_by_step(
    view_listed, listed, data: st.DataObject, modality: Modality
) -> None:
    futures = data.draw(st.integers(0, 3))
    spec = WindowSpec(
        starts=data.draw(st.sampled_from(Starts)), horizon=data.draw(st.integers(1, 5)), futures=futures,
        frame_interval_s=data.draw(st.sampled_from([0.1, 0.5, 1.0, 1.5])),
        min_futures=data.draw(st.integers(0, futures)),
    )  # fmt: skip
    clips = []
    for _ in range(data.draw(st.integers(1, 5))):
        length = data.draw(st.integers(1, 12))
        rows = st.sets(st.integers(0, length - 1)).map(sorted).map(tuple)
        cuts = sorted(data.draw(st.sets(st.integers(0, length), max_size=4)))
        clips.append(
            listed(
                steps=tuple(sorted(data.draw(st.sets(st.integers(0, 16), min_size=length, max_size=length)))),
                stored=data.draw(rows), keyframes=data.draw(rows),
                valid=tuple(zip(cuts[::2], cuts[1::2], strict=False)),
                hz=data.draw(st.sampled_from([1.0, 3.0, 5.0, 2.37])),
                gaps=data.draw(st.sampled_from(Gaps)),
            )
        )  # fmt: skip
    view = view_listed([clip.row(f"arm-{number}") for number, clip in enumerate(clips)])
    counted = count_windows(view, spec, modality)
    counts = counted.counts
    wanted = [ask_each_step(clip, spec, modality) for clip in clips]

    assert counts.tolist() == [len(one) for one in wanted]
    owners = np.repeat(np.arange(len(clips)), counts).tolist()
    some = GatheredClips([view] * len(owners), owners)
    if owners:
        numbers = np.concatenate([np.arange(count) for count in counts])
        found = start_steps(some, numbers, spec, modality)
        assert found.tolist() == [step for one in wanted for step in one]
        # Clips that were counted as plain may be asked the short way.
        plain = counted.is_plain[owners]
        few = GatheredClips(
            [view] * int(plain.sum()), [owner for owner, is_plain in zip(owners, plain, strict=True) if is_plain]
        )
        if plain.any():
            short = start_steps(few, numbers[plain], spec, modality, is_plain=plain[plain])
            assert short.tolist() == found[plain].tolist()
        taken = cut(some, found, spec, modality)
        for slot, (futures_wanted, real) in enumerate(windows for one in wanted for windows in one.values()):
            future_steps = [step_of(view, int(frame)) for frame in taken.futures[slot]]
            assert [-1 if step is None else step for step in future_steps] == futures_wanted
            assert taken.action_real[slot].tolist() == real
