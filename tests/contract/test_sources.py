"""Every file in vita_data/sources/ keeps the promises of a source; none is named here."""

import json
from collections import Counter
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import simplejpeg

from vita_data import sources
from vita_data.builder import BuildRequest, build
from vita_data.formats.raw_tree.tree import FsspecTree
from vita_data.formats.toy import read_toy_frame
from vita_data.geometry import integrate_deltas, matrix_from_rot6d
from vita_data.normalize import FrameSelection, normalize
from vita_data.shards.index import open_source, read_clip
from vita_data.shards.reader import ShardFiles
from vita_data.shards.schema import clip_from_members, clip_members
from vita_data.shards.verify import verify
from vita_data.slots import LEFT_ACTION, LEFT_STATE, RIGHT_ACTION, RIGHT_STATE
from vita_data.types import Clip, Drop, Episode, Failure, Gaps, Modality, Outcome, Reason, SourceSettings, Split

NAMES = sources.names()


def outcomes(name: str, raw: Path) -> Iterator[Outcome]:
    """A generator: an episode's cameras may be read only until the next one is asked for."""
    source, tree = sources.load(name), FsspecTree(str(raw / name))
    settings = source.Settings()
    for part in source.parts(tree, settings):
        yield from source.episodes(tree, part, settings)


def clips(folder: Path) -> list[Clip]:
    files, found = ShardFiles(), []
    for split in Split:
        index = open_source(folder, split)
        for shard, table in zip(index.shards, index.tables, strict=True):
            found += [read_clip(files, shard, row) for row in table.to_pylist()]
    files.close()
    return found


@pytest.mark.parametrize("name", NAMES)
def test_info_names_the_file_and_settings_extend_the_common_ones(name: str) -> None:
    source = sources.load(name)

    assert source.INFO.name == name
    assert issubclass(source.Settings, SourceSettings)
    assert source.INFO.licence
    assert source.INFO.access
    assert source.INFO.url
    assert (source.INFO.action_origin is None) == (source.INFO.modality is Modality.VIDEO)


@pytest.mark.parametrize("name", NAMES)
def test_parts_are_sorted_repeatable_and_unique(name: str, toy_raw: Path) -> None:
    source, tree = sources.load(name), FsspecTree(str(toy_raw / name))
    ids = [part.id for part in source.parts(tree, source.Settings())]

    assert ids
    assert len(set(ids)) == len(ids)
    assert ids == [part.id for part in source.parts(FsspecTree(str(toy_raw / name)), source.Settings())]


@pytest.mark.parametrize("name", NAMES)
def test_a_part_yields_as_many_outcomes_as_it_announces(name: str, toy_raw: Path) -> None:
    source, tree = sources.load(name), FsspecTree(str(toy_raw / name))
    settings = source.Settings()
    for part in source.parts(tree, settings):
        found = list(source.episodes(tree, part, settings))

        assert part.num_episodes is None or part.num_episodes == len(found)


@pytest.mark.parametrize("name", NAMES)
def test_episode_ids_are_unique_stable_and_free_of_the_tree_s_place(name: str, toy_raw: Path) -> None:
    def ids() -> list[str]:
        return [found.id if isinstance(found, Episode) else found.episode for found in outcomes(name, toy_raw)]

    assert len(set(ids())) == len(ids())
    assert ids() == ids()
    assert not any(str(toy_raw) in id_ for id_ in ids())


@pytest.mark.parametrize("name", NAMES)
def test_a_toy_tree_reads_without_failures_and_holds_good_and_dropped_episodes(name: str, toy_raw: Path) -> None:
    source = sources.load(name)
    good, dropped = 0, 0
    for found in outcomes(name, toy_raw):
        assert not isinstance(found, Failure)
        if isinstance(found, Drop):
            dropped += 1
            continue
        clips = normalize(found, source.INFO, source.Settings(), FrameSelection.KEYFRAMES)
        good, dropped = good + (not isinstance(clips, Drop)), dropped + isinstance(clips, Drop)

    assert good >= 2


@pytest.mark.parametrize("name", NAMES)
def test_cameras_and_actions_are_those_that_info_declares(name: str, toy_shards: Path) -> None:
    info = sources.load(name).INFO
    found = clips(toy_shards / name)

    assert found
    for clip in found:
        assert set(clip.frames) <= set(info.cameras)
        assert clip.modality is info.modality
        assert (clip.action is not None) == (info.modality is Modality.PAIRED)
        assert clip.action is None or clip.action.origin is info.action_origin
        assert info.hz is None or clip.hz == info.hz


@pytest.mark.parametrize("name", NAMES)
def test_stored_values_are_plausible_in_metres_radians_and_openings(name: str, toy_shards: Path) -> None:
    for clip in clips(toy_shards / name):
        if clip.action is None:
            continue
        values, mask = clip.action.track.values, clip.action.track.mask
        for start in (LEFT_ACTION, RIGHT_ACTION):
            assert np.abs(values[:, start : start + 3]).max() < 0.5
            assert np.abs(values[:, start + 3 : start + 6]).max() <= np.pi
            assert values[:, start + 6].min() >= 0
            assert values[:, start + 6].max() <= 1
        assert not values[:, ~mask].any()


@pytest.mark.parametrize("name", NAMES)
def test_canonical_deltas_integrate_back_to_the_recorded_poses(name: str, toy_shards: Path) -> None:
    """Within 1e-4 m and 1e-3 rad for every arm, the hand pointing down (roll near pi), from gap to gap.

    Rows around an outlier that the toy puts in on purpose are left out.
    """
    info, num_arms = sources.load(name).INFO, 0
    for clip in clips(toy_shards / name):
        if clip.action is None or clip.state is None:
            continue
        for action_at, state_at in ((LEFT_ACTION, LEFT_STATE), (RIGHT_ACTION, RIGHT_STATE)):
            if not (clip.action.track.mask[action_at] and clip.state.mask[state_at]):
                continue
            pose = clip.state.values[:, state_at : state_at + 9].astype(np.float64)
            deltas = clip.action.track.values[:, action_at : action_at + 6].astype(np.float64)
            num_rows = 0
            for start, stop in unbroken_runs(clip):
                turn = matrix_from_rot6d(pose[start:stop, 3:])
                xyz, rotation = integrate_deltas(pose[start, :3], turn[0], deltas[start:stop])
                traces = np.einsum("tij,tij->t", rotation[:-1], turn)
                angle = np.arccos(np.clip((traces - 1) / 2, -1, 1))
                np.testing.assert_allclose(xyz[:-1], pose[start:stop, :3], atol=1e-4)
                assert angle.max() < 1e-3
                num_rows = max(num_rows, stop - start)
            num_arms += num_rows > 10

    assert num_arms > 0 or info.modality is Modality.VIDEO


def unbroken_runs(clip: Clip) -> list[tuple[int, int]]:
    """Row ranges without a gap that breaks a chunk and without rows that may not be learned from."""
    assert clip.action is not None
    broken = np.diff(clip.step_index, prepend=clip.step_index[0] - 1) != 1 if clip.gaps is Gaps.BREAK else []
    edges = {int(row) for row in np.flatnonzero(broken)}
    return [
        (low, high)
        for start, stop in clip.action.valid
        for low, high in pairwise(sorted({start, stop, *(row for row in edges if start < row < stop)}))
    ]


@pytest.mark.parametrize("name", NAMES)
def test_every_stored_frame_is_the_step_and_way_up_that_it_claims(name: str, toy_shards: Path) -> None:
    seen = 0
    for clip in clips(toy_shards / name):
        for frames in clip.frames.values():
            for frame in frames:
                mark = read_toy_frame(np.asarray(simplejpeg.decode_jpeg(frame.jpeg, "RGB")))

                assert mark.step == clip.step_index[frame.row]
                assert mark.upright
                assert mark.rgb
                seen += 1
        cameras = {
            role: read_toy_frame(np.asarray(simplejpeg.decode_jpeg(frames[0].jpeg, "RGB"))).camera
            for role, frames in clip.frames.items()
        }
        assert len(set(cameras.values())) == len(cameras)
    assert seen


@pytest.mark.parametrize("name", NAMES)
def test_a_clip_survives_writing_and_reading(name: str, toy_raw: Path) -> None:
    source = sources.load(name)
    for found in outcomes(name, toy_raw):
        if not isinstance(found, Episode):
            continue
        normalized = normalize(found, source.INFO, source.Settings(), FrameSelection.ALL)
        for clip in normalized if isinstance(normalized, tuple) else ():
            again = clip_from_members(clip.key, dict(clip_members(clip)))

            assert dict(clip_members(again)) == dict(clip_members(clip))
            assert all(len(frames) == clip.num_steps for frames in again.frames.values())


@pytest.mark.parametrize("name", NAMES)
def test_no_raw_episode_is_lost_and_drops_have_known_reasons(name: str, toy_raw: Path, toy_shards: Path) -> None:
    rows = pq.read_table(toy_shards / name / "episodes.parquet").to_pylist()
    card = json.loads((toy_shards / name / "dataset.json").read_text())

    assert len(rows) == len(list(outcomes(name, toy_raw))) == sum(card["outcomes"].values())
    assert {row["reason"] for row in rows if row["outcome"] == "dropped"} <= set(Reason)
    assert dict(Counter(row["reason"] for row in rows if row["reason"])) == card["drops"]
    assert all(row["clip"] and row["shard"] for row in rows if row["outcome"] == "ok")


@pytest.mark.parametrize("name", NAMES)
def test_built_shards_verify(name: str, toy_shards: Path) -> None:
    assert verify(toy_shards / name).problems == ()


@pytest.mark.parametrize("name", NAMES)
def test_building_again_gives_the_same_bytes(name: str, toy_raw: Path, toy_shards: Path, tmp_path: Path) -> None:
    build(BuildRequest(source=name, raw=str(toy_raw / name), out=tmp_path, settings=sources.load(name).Settings()))

    def contents(root: Path) -> dict[str, bytes]:
        return {str(path.relative_to(root)): path.read_bytes() for path in sorted(root.rglob("*")) if path.is_file()}

    assert contents(tmp_path / name) == contents(toy_shards / name)


@pytest.mark.parametrize("name", NAMES)
def test_nothing_written_names_the_place_it_was_read_from(name: str, toy_raw: Path, toy_shards: Path) -> None:
    for path in (toy_shards / name).rglob("*"):
        if path.is_file():
            data = path.read_bytes()
            assert str(toy_raw).encode() not in data
            assert str(toy_shards).encode() not in data
