"""Clips are cut where time is missing, and masks say what is real."""

from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import numpy as np

import vita_data
from vita_data.export.lerobot.episodes import episodes_of
from vita_data.export.lerobot.features import Layout
from vita_data.export.lerobot.stats import ColumnStats, PixelStats
from vita_data.slots import RIGHT_ACTION
from vita_data.types import CameraRole, Clip, Gaps, UnifiedAction


def clip(every_row: Path) -> Clip:
    return vita_data.open_source(every_row / "bridge")[0].clip


def layout(*cameras: CameraRole) -> Layout:
    return Layout(
        rate=Fraction(5),
        action_columns=(0, RIGHT_ACTION),
        state_columns=(24,),
        cameras=cameras,
        embodiments=("widowx",),
        codec="h264",
    )


def with_gap(every_row: Path, gaps: Gaps) -> Clip:
    whole = clip(every_row)
    return replace(whole, step_index=whole.step_index + 7 * (np.arange(whole.num_steps) >= 20), gaps=gaps)


def test_a_gap_ends_an_episode_unless_no_ops_were_removed(every_row: Path) -> None:
    broken = list(episodes_of(with_gap(every_row, Gaps.BREAK)))
    assert [(one.start, one.stop) for one in broken] == [(0, 20), (20, 38)]
    assert [one.columns(layout())["step_index"][0] for one in broken] == [1, 28]  # toy clips begin at step 1
    assert [(one.start, one.stop) for one in episodes_of(with_gap(every_row, Gaps.BRIDGE))] == [(0, 38)]


def test_masks_tell_which_values_are_real(every_row: Path) -> None:
    whole = clip(every_row)
    assert whole.action is not None
    action = UnifiedAction(track=whole.action.track, valid=((0, 5), (6, 38)), origin=whole.action.origin)
    (one,) = episodes_of(replace(whole, action=action))
    columns = one.columns(layout(CameraRole.PRIMARY, CameraRole.SECONDARY))

    assert not columns["mask.action"][:, 0].any()
    assert np.flatnonzero(~columns["mask.action"][:, 1]).tolist() == [5]
    assert columns["mask.state"].all()
    assert columns["mask.camera.primary"].all()
    assert not columns["mask.camera.secondary"].any()
    assert list(one.frames(CameraRole.SECONDARY)) == [None] * 38


def test_a_clip_without_vectors_has_masked_zeros(every_row: Path) -> None:
    (one,) = episodes_of(replace(clip(every_row), action=None, state=None))
    columns = one.columns(layout())

    assert columns["action"].shape == (38, 2)
    assert not any(columns[key].any() for key in ("action", "mask.action", "observation.state", "mask.state"))


def test_masked_values_do_not_count(every_row: Path) -> None:
    stats = ColumnStats(2)
    values = np.array([[1.0, 0.0], [3.0, 0.0], [99.0, 0.0]])
    stats.add(values, np.array([[True, False], [True, False], [False, False]]))
    found = stats.figures()

    assert found["mean"].tolist() == [2.0, 0.0]
    assert found["max"].tolist() == [3.0, 0.0]
    assert found["std"].tolist() == [1.0, 0.0]
    assert found["q50"].tolist() == [2.0, 0.0]
    assert found["count"].tolist() == [3]


def test_quantiles_of_many_rows_are_close() -> None:
    stats, every = ColumnStats(1), np.random.default_rng(0).normal(size=(1_300_000, 1))
    for rows in np.array_split(every, 999):
        stats.add(rows)
    found = stats.figures()

    assert abs(found["q99"][0] - np.quantile(every, 0.99)) < 0.02
    assert found["count"].tolist() == [len(every)]


def test_no_image_gives_figures_of_black() -> None:
    found = PixelStats().figures()
    assert found["count"].tolist() == [0]
    assert found["max"].shape == (3, 1, 1)
    assert not found["max"].any()
