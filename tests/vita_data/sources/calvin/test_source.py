"""CALVIN: inclusive windows, reached poses, gripper polarity, splits, play, shared frames, depth and damaged files."""

import shutil
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from vita_data.action_convention import Convention
from vita_data.builder import BuildRequest, build
from vita_data.errors import RequestError, SourceError
from vita_data.formats import npz
from vita_data.formats.raw_tree.tree import FsspecTree
from vita_data.formats.toy import read_toy_frame
from vita_data.normalize import FrameSelection, normalize
from vita_data.normalize.vectors import action_track, state_track
from vita_data.sources.calvin import source as calvin
from vita_data.types import (
    ArmAction,
    CameraRole,
    Drop,
    Episode,
    Failure,
    Float64,
    Outcome,
    PoseTarget,
    Reason,
    ResizeMode,
    RgbFrame,
    SourceSettings,
    Split,
)

TRAINING, VALIDATION = "task_ABC_D/training", "task_ABC_D/validation"
PLAY = calvin.Settings(mode=calvin.Mode.PLAY)


@pytest.fixture(scope="session")
def toy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("calvin")
    calvin.write_toy(str(root))
    return root


@pytest.fixture
def root(toy: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(toy, tmp_path / "raw"))


def read(root: Path, settings: calvin.Settings | None = None, folder: str = TRAINING) -> list[Outcome]:
    raw, settings = FsspecTree(str(root)), settings or calvin.Settings()
    parts = [part for part in calvin.parts(raw, settings) if part.id.startswith(folder)]
    return [outcome for part in parts for outcome in calvin.episodes(raw, part, settings)]


def episode(root: Path, record: int, settings: calvin.Settings | None = None, folder: str = TRAINING) -> Episode:
    for found in read(root, settings, folder):
        if isinstance(found, Episode) and found.provenance["record"] == record:
            return found
    raise AssertionError(f"no episode of record {record}")


def action_of(found: Episode) -> tuple[ArmAction, PoseTarget]:
    assert found.right is not None
    assert found.right.action is not None
    assert isinstance(found.right.action.motion, PoseTarget)
    return found.right.action, found.right.action.motion


def frame_file(root: Path, frame: int, folder: str = TRAINING) -> Path:
    return root / folder / f"episode_{frame:07d}.npz"


def stored(root: Path, frame: int) -> dict[str, NDArray[Any]]:
    with np.load(frame_file(root, frame)) as opened:
        return dict(opened)


def edit(root: Path, frame: int, **members: NDArray[Any]) -> None:
    np.savez_compressed(frame_file(root, frame), allow_pickle=False, **{**stored(root, frame), **members})


def relabel(root: Path, windows: Sequence[tuple[int, int]], folder: str = TRAINING) -> None:
    labels = {
        "language": {
            "ann": [f"push the block number {n} to the left" for n in range(len(windows))],
            "task": [f"task_{n}" for n in range(len(windows))],
            "emb": np.zeros((len(windows), 1, 384), np.float32),
        },
        "info": {"episodes": [], "indx": list(windows)},
    }
    np.save(root / folder / "lang_annotations/auto_lang_ann.npy", np.array(labels, object), allow_pickle=True)


def joints(root: Path, frame: int) -> Float64:
    return np.asarray(stored(root, frame)["robot_obs"][7:14], np.float64)


def test_both_ends_of_a_window_are_frames_of_it(toy: Path) -> None:
    found = episode(toy, 0)
    primary = found.cameras[CameraRole.PRIMARY]

    assert (found.provenance["first_frame"], found.provenance["last_frame"]) == (300, 333)
    assert primary.num_frames == len(found.step_index) == 34
    last = next(iter(primary.read([33], ResizeMode.PLAIN)))
    assert isinstance(last, RgbFrame)
    assert np.array_equal(last.pixels, stored(toy, 333)["rgb_static"])


def test_steps_count_from_the_clip_s_first_frame_wherever_the_window_lies(root: Path) -> None:
    relabel(root, [(310, 343)])
    found = episode(root, 0)
    marks = [
        read_toy_frame(frame.pixels).step
        for frame in found.cameras[CameraRole.PRIMARY].read(range(34), ResizeMode.PLAIN)
        if isinstance(frame, RgbFrame)
    ]

    assert found.step_index.tolist() == list(range(34))
    assert marks == list(range(10, 44))
    assert found.provenance["first_frame"] == 310


def test_motion_is_the_pose_reached_next_of_the_frame_s_own_actions(toy: Path) -> None:
    found = episode(toy, 0)
    _, motion = action_of(found)
    assert found.right is not None
    assert found.right.xyz_m is not None
    assert found.right.rotation is not None
    assert found.action_origin == "reached"
    assert np.allclose(motion.xyz_m[:-1], found.right.xyz_m[1:])
    assert np.allclose(motion.rotation[:-1], found.right.rotation[1:])
    assert not np.allclose(motion.xyz_m[:-1], found.right.xyz_m[:-1])


def test_deltas_are_composed_where_euler_angles_wrap_and_are_not_clipped(root: Path) -> None:
    """A hand pointing down turns over the wrap, and by more than `rel_actions` can say (0.02 m, 0.05 rad)."""
    observed, reached = stored(root, 300)["robot_obs"].copy(), stored(root, 300)["actions"].copy()
    observed[3:6], reached[3:6] = [np.pi - 0.05, 0.1, -0.2], [-np.pi + 0.05, 0.1, -0.2]
    reached[:3] = observed[:3] + np.array([0.05, 0.0, 0.0])
    edit(root, 300, robot_obs=observed, actions=reached)
    track = action_track(episode(root, 0))

    assert track is not None
    turned = Rotation.from_euler("xyz", track.values[0, 19:22])
    before, after = (Rotation.from_euler("xyz", pose) for pose in (observed[3:6], reached[3:6]))
    assert (turned * before * after.inv()).magnitude() < 1e-6
    assert turned.magnitude() == pytest.approx(0.1, abs=1e-6)
    assert track.values[0, 16] == pytest.approx(0.05)


def test_plus_one_opens_and_minus_one_closes_and_the_width_is_a_share_of_eight_centimetres(root: Path) -> None:
    observed = stored(root, 301)["robot_obs"].copy()
    observed[6] = 0.04
    edit(root, 301, robot_obs=observed)
    found = episode(root, 0)
    action, _ = action_of(found)
    assert found.right is not None
    assert found.right.gripper_open is not None

    assert action.gripper_open[0] == 1.0
    assert action.gripper_open[-1] == 0.0
    assert found.right.gripper_open[:2].tolist() == [1.0, 0.5]
    assert found.right.gripper_open[-1] == 0.0, "a closed gripper's width is slightly negative"
    assert stored(root, 333)["robot_obs"][6] < 0


def test_the_gripper_action_is_the_command_in_force_at_the_next_frame(toy: Path) -> None:
    """At a switch `robot_obs[14]` is the old command and `actions[6]` the new one."""
    found = episode(toy, 0)
    action, _ = action_of(found)
    switch = int(np.argmin(action.gripper_open))

    assert stored(toy, 300 + switch)["robot_obs"][14] == 1
    assert action.gripper_open[switch] == 0.0


def test_the_last_joint_target_is_the_next_frame_s_where_the_recording_goes_on(root: Path) -> None:
    relabel(root, [(300, 333), (300, 348), (100, 134)])
    targets = {record: action_of(episode(root, record))[0].joint_target_rad for record in range(3)}

    assert all(target is not None for target in targets.values())
    assert np.array_equal(targets[0][0], joints(root, 301))  # type: ignore[index]
    assert np.array_equal(targets[0][-1], joints(root, 334))  # type: ignore[index]
    assert np.array_equal(targets[1][-1], joints(root, 348)), "the recording ends"  # type: ignore[index]
    frame_file(root, 135).unlink()
    target = action_of(episode(root, 2))[0].joint_target_rad
    assert target is not None
    assert np.array_equal(target[-1], joints(root, 134)), "the next frame is absent"


def test_a_neighbouring_recording_s_first_frame_is_no_joint_target(root: Path) -> None:
    np.save(root / TRAINING / "ep_start_end_ids.npy", np.array([[334, 348], [300, 333], [100, 135], [200, 233]]))
    target = action_of(episode(root, 0))[0].joint_target_rad

    assert target is not None
    assert np.array_equal(target[-1], joints(root, 333))


def test_float32_vectors_are_read_as_well(root: Path) -> None:
    before = episode(root, 3)
    for frame in range(200, 234):
        one = stored(root, frame)
        edit(root, frame, **{key: one[key].astype(np.float32) for key in ("robot_obs", "actions")})
    after = episode(root, 3)
    assert before.right is not None
    assert after.right is not None
    assert before.right.xyz_m is not None
    assert after.right.xyz_m is not None
    assert np.allclose(before.right.xyz_m, after.right.xyz_m, atol=1e-6)


def test_training_trains_and_the_validation_scene_never_does(toy: Path) -> None:
    splits = {
        folder: {found.split for found in read(toy, folder=folder) if isinstance(found, Episode)}
        for folder in (TRAINING, VALIDATION)
    }
    assert splits == {TRAINING: {Split.TRAIN}, VALIDATION: {Split.VAL}}


def test_task_scene_and_environment_constants_are_kept_but_no_copy_of_rel_actions(toy: Path) -> None:
    extras = episode(toy, 0).extras
    assert extras["task"] == "lift_red_block_table"
    assert extras["scene"] == "calvin_scene_A"
    assert episode(toy, 0, folder=VALIDATION).extras["scene"] == "calvin_scene_D"
    observed, reached = stored(toy, 310)["robot_obs"], stored(toy, 310)["actions"]
    scale = extras["rel_actions_position_scale_m"]
    assert isinstance(scale, float)
    assert np.allclose(np.clip((reached[:3] - observed[:3]) / scale, -1, 1), stored(toy, 310)["rel_actions"][:3])


def test_play_reads_whole_recordings_without_text(root: Path) -> None:
    found = [outcome for outcome in read(root, PLAY) if isinstance(outcome, Episode)]
    frames = [(outcome.provenance["first_frame"], outcome.provenance["last_frame"]) for outcome in found]

    assert frames == [(100, 135), (200, 233), (300, 348)]
    assert [outcome.provenance["record"] for outcome in found] == [1, 2, 0]
    assert all(outcome.instructions == () and "task" not in outcome.extras for outcome in found)


def test_a_recording_of_play_over_600_s_is_one_episode_of_several_clips(root: Path) -> None:
    """At a stated 0.05 Hz 30 rows last 600 s."""
    settings = calvin.Settings(mode=calvin.Mode.PLAY, hz=0.05)
    found = [outcome for outcome in read(root, settings) if isinstance(outcome, Episode)]
    clips = normalize(found[0], calvin.INFO, settings, FrameSelection.KEYFRAMES)

    assert len(found) == len({outcome.id for outcome in found}) == 3
    assert isinstance(clips, tuple)
    assert [clip.num_steps for clip in clips] == [30, 6]
    assert {clip.episode for clip in clips} == {found[0].id}
    assert [clip.key[-3:] for clip in clips] == ["-00", "-01"]


def test_play_needs_no_annotations_and_language_says_how_to_do_without(root: Path) -> None:
    shutil.rmtree(root / TRAINING / "lang_annotations")

    assert len(read(root, PLAY)) == 3
    with pytest.raises(RequestError, match=r"training/lang_annotations/auto_lang_ann\.npy.*mode=play"):
        read(root)


@pytest.fixture
def decoded(monkeypatch: pytest.MonkeyPatch) -> Counter[tuple[str, str]]:
    """How often each array of each file was decoded."""
    counts: Counter[tuple[str, str]] = Counter()
    whole = npz.read_members

    def counting(path: str, keys: Sequence[str], *, name: str) -> tuple[NDArray[np.generic], ...]:
        counts.update((name, key) for key in keys)
        return whole(path, keys, name=name)

    monkeypatch.setattr(npz, "read_members", counting)
    return counts


def normalize_part(root: Path, frames: FrameSelection) -> None:
    raw, settings = FsspecTree(str(root)), calvin.Settings()
    for found in calvin.episodes(raw, calvin.parts(raw, settings)[0], settings):
        assert isinstance(found, Episode)
        assert not isinstance(normalize(found, calvin.INFO, settings, frames), Drop)


def test_frames_that_windows_share_are_decoded_once_and_depth_and_touch_never(
    root: Path, decoded: Counter[tuple[str, str]]
) -> None:
    relabel(root, [(312, 345), (300, 333), (305, 338)])
    normalize_part(root, FrameSelection.ALL)

    assert set(decoded.values()) == {1}
    assert {key for _, key in decoded} == {"robot_obs", "actions", "rgb_static", "rgb_gripper"}
    assert len({name for name, _ in decoded}) == 47, "the last one for its joints"


def test_only_images_that_are_stored_are_decoded(root: Path, decoded: Counter[tuple[str, str]]) -> None:
    relabel(root, [(300, 333)])
    normalize_part(root, FrameSelection.KEYFRAMES)
    images = sorted(name[-11:-4] for name, key in decoded if key == "rgb_static")

    assert images == ["0000300", "0000330"]


def test_windows_are_read_where_the_list_of_recordings_is_absent_and_play_is_refused(root: Path) -> None:
    for folder in (TRAINING, VALIDATION):
        (root / folder / "ep_start_end_ids.npy").unlink()
    target = action_of(episode(root, 0))[0].joint_target_rad

    assert target is not None
    assert np.array_equal(target[-1], joints(root, 334))
    with pytest.raises(RequestError, match=r"training/ep_start_end_ids\.npy not found; fetch it$"):
        read(root, PLAY)


def test_a_part_ends_where_a_frame_that_no_window_shares_begins(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(calvin, "_PART_FRAMES", 30)
    relabel(root, [(300, 333), (310, 348), (100, 133), (120, 135), (200, 233)])
    raw, settings = FsspecTree(str(root)), calvin.Settings()
    parts = [part for part in calvin.parts(raw, settings) if part.id.startswith(TRAINING)]

    assert [(part.id.split("#")[1], part.num_episodes) for part in parts] == [
        ("0000100-0000135", 2),
        ("0000200-0000233", 1),
        ("0000300-0000348", 2),
    ]
    assert parts[2].num_bytes == 49 * frame_file(root, 300).stat().st_size
    assert [len(list(calvin.episodes(raw, part, settings))) for part in parts] == [2, 1, 2]


def test_depth_is_read_in_metres_only_where_it_is_asked_for(toy: Path) -> None:
    assert episode(toy, 0).depths == {}
    depths = episode(toy, 0, calvin.Settings(depth=True)).depths

    assert set(depths) == {CameraRole.PRIMARY, CameraRole.WRIST_RIGHT}
    metres = next(iter(depths[CameraRole.PRIMARY].read([5])))
    assert metres.shape == (200, 200)
    assert metres[0, 0] == pytest.approx(1.05)


def test_a_window_of_ten_million_frames_is_not_read_up_to_the_first_that_is_missing(root: Path) -> None:
    relabel(root, [(200, 9_999_999), (200, 233)])
    (failed,) = (one for one in read(root) if isinstance(one, Failure))
    assert "episode_9999999.npz: the file does not exist; fetch the missing part" in failed.detail


def test_a_window_with_a_missing_or_damaged_frame_fails_alone_and_names_the_file(root: Path) -> None:
    frame_file(root, 210).unlink()
    frame_file(root, 340).write_bytes(frame_file(root, 340).read_bytes()[:5000])
    found = read(root)

    failed: Mapping[str, str] = {one.episode: one.detail for one in found if isinstance(one, Failure)}
    assert len(found) == 5
    assert sorted(failed) == [
        f"{TRAINING}#language-000001-0000300-0000348",
        f"{TRAINING}#language-000003-0000200-0000233",
    ]
    assert "episode_0000340.npz" in failed[f"{TRAINING}#language-000001-0000300-0000348"]
    assert "episode_0000210.npz: the file does not exist" in failed[f"{TRAINING}#language-000003-0000200-0000233"]


@pytest.mark.parametrize("vectors", [{"robot_obs": np.zeros(14)}, {"actions": np.zeros(8)}])
def test_vectors_of_another_length_fail_the_window(root: Path, vectors: dict[str, NDArray[np.generic]]) -> None:
    edit(root, 205, **vectors)
    failed = [one for one in read(root) if isinstance(one, Failure)]

    assert len(failed) == 2
    assert "episode_0000205.npz" in failed[0].detail


def rewrite_labels(root: Path, folder: str = TRAINING, **changes: Mapping[str, object]) -> None:
    path = root / folder / "lang_annotations/auto_lang_ann.npy"
    labels = np.load(path, allow_pickle=True).item()
    labels = {key: {**value, **changes.get(key, {})} for key, value in labels.items()}
    np.save(path, np.array(labels, object), allow_pickle=True)


@pytest.mark.parametrize(
    ("key", "entries", "said"),
    [
        ("ann", ["a", "b", None, "d", "e"], "window 2 has language.ann None (NoneType), expected a text"),
        (
            "ann",
            ["a", "b", ["push", "it"], "d", "e"],
            "window 2 has language.ann ['push', 'it'] (list), expected a text",
        ),
        ("ann", ["a", "b", np.zeros(3), "d", "e"], "(ndarray), expected a text"),
        ("ann", ["a", "b", float("nan"), "d", "e"], "language.ann nan (float), expected a text"),
        ("ann", ["a", "b", b"\xff\xfe", "d", "e"], "(bytes), expected a text"),
        ("indx", [(300, 333), (300, 348), None, (200, 233), (200, 209)], "window 2 has info.indx None, expected"),
        ("indx", [(300, 333), (300, 348), (134, 100), (200, 233), (200, 209)], "info.indx (134, 100), expected"),
        ("indx", [(300, 333), (300, 348), (1.5, 40), (200, 233), (200, 209)], "info.indx (1.5, 40), expected"),
        (
            "indx",
            [(300, 333), (300, 348), (1, 10**12), (200, 233), (200, 209)],
            "info.indx (1, 1000000000000), expected",
        ),
        ("indx", [(300, 333), (300, 348), (np.nan, 1), (200, 233), (200, 209)], "info.indx (nan, 1), expected"),
    ],
)
def test_an_odd_entry_of_the_annotations_costs_its_own_window(
    root: Path, key: str, entries: list[object], said: str
) -> None:
    rewrite_labels(root, **{"info" if key == "indx" else "language": {key: entries}})
    found = read(root)

    assert [type(one) for one in found].count(Failure) == 1
    assert len(found) == 5
    (failed,) = (one for one in found if isinstance(one, Failure))
    assert failed.episode.startswith(f"{TRAINING}#language-000002-")
    assert said in failed.detail


def test_texts_of_every_kind_of_text_are_read_and_a_task_that_is_none_is_unknown(root: Path) -> None:
    texts = [np.str_("lift the block"), "öffne die Tür".encode(), "c", "d", "e"]
    rewrite_labels(root, language={"ann": texts, "task": [np.str_("lift"), None, "c", "d", "e"]})

    assert episode(root, 0).instructions[0].text == "lift the block"
    assert type(episode(root, 0).instructions[0].text) is str
    assert episode(root, 1).instructions[0].text == "öffne die Tür"
    assert "task" not in episode(root, 1).extras


@pytest.mark.parametrize("damage", ["absent", "odd"])
def test_unknown_windows_of_validation_fail_once_and_training_is_read(root: Path, damage: str) -> None:
    """mees/calvin, issue 121: downloads whose validation folder has no lang_annotations."""
    path = root / VALIDATION / "lang_annotations/auto_lang_ann.npy"
    if damage == "absent":
        shutil.rmtree(path.parent)
    else:
        rewrite_labels(root, VALIDATION, language={"ann": []})
    built = build(BuildRequest(source="calvin", raw=str(root), out=root.parent / "out", settings=calvin.Settings()))
    (failed,) = built.failed

    assert built.card["outcomes"] == {"dropped": 2, "failed": 1, "ok": 3}
    assert failed.id == failed.part == f"{VALIDATION}/lang_annotations/auto_lang_ann.npy"
    assert {"absent": "the file does not exist", "odd": "0 texts, 1 tasks and 1 windows"}[damage] in failed.detail
    assert f"move {VALIDATION} out of the raw tree to build without it" in failed.detail
    assert str(root) not in failed.detail
    shutil.move(root / VALIDATION, root.parent / "away")
    assert not [one for one in read(root, folder="task_ABC_D") if isinstance(one, Failure)]


def test_an_unreadable_list_of_recordings_of_validation_does_not_stop_play(root: Path) -> None:
    (root / VALIDATION / "ep_start_end_ids.npy").write_bytes(b"")
    found = read(root, PLAY)

    assert len(found) == 3
    with pytest.raises(SourceError, match=r"validation/ep_start_end_ids\.npy: the windows of .* are unknown"):
        read(root, PLAY, VALIDATION)


def test_annotations_that_do_not_fit_together_stop_the_build(root: Path) -> None:
    path = root / TRAINING / "lang_annotations/auto_lang_ann.npy"
    labels = np.load(path, allow_pickle=True).item()
    labels["language"]["task"].pop()
    np.save(path, np.array(labels, object), allow_pickle=True)
    with pytest.raises(SourceError, match="5 texts, 4 tasks and 5 windows"):
        read(root)


def test_toy_drops_have_their_reasons(toy: Path) -> None:
    settings = calvin.Settings()
    reasons = {}
    for found in read(toy):
        assert isinstance(found, Episode)
        clips = normalize(found, calvin.INFO, settings, FrameSelection.KEYFRAMES)
        reasons[found.provenance["record"]] = clips.reason if isinstance(clips, Drop) else None

    assert reasons == {0: None, 1: None, 2: None, 3: Reason.EMPTY, 4: Reason.SHORT}


def test_one_release_is_read_and_two_must_be_chosen_from(root: Path) -> None:
    (root / "task_ABC_D").rename(root / "task_D_D")
    assert {found.release for found in read(root, folder="task_D_D") if isinstance(found, Episode)} == {"task_D_D"}
    shutil.copytree(root / "task_D_D", root / "task_ABC_D")
    with pytest.raises(RequestError, match=r"task_ABC_D, task_D_D; choose one with --set release="):
        read(root)
    assert read(root, calvin.Settings(release="task_ABC_D"))
    with pytest.raises(RequestError, match=r"release=task_X: not in .*found task_ABC_D, task_D_D"):
        read(root, calvin.Settings(release="task_X"))


def test_another_layout_is_refused_with_the_expected_one(root: Path) -> None:
    with pytest.raises(RequestError, match="give the folder that contains task_ABC_D"):
        calvin.parts(FsspecTree(str(root / TRAINING)), calvin.Settings())


def test_settings_of_another_class_are_a_programming_fault(toy: Path) -> None:
    with pytest.raises(TypeError, match="SourceSettings"):
        calvin.parts(FsspecTree(str(toy)), SourceSettings())


def test_the_convention_turns_canonical_actions_into_rel_actions(toy: Path) -> None:
    """From each row's own state, a step at a time; the raw file holds what the environment's own code made of them."""
    found = episode(toy, 0)
    convention, track, states = Convention.of(found.extras), action_track(found), state_track(found)
    assert convention is not None
    assert track is not None
    assert states is not None
    first_frame = found.provenance["first_frame"]
    assert isinstance(first_frame, int)
    for row in range(len(found.step_index)):
        raw = stored(toy, first_frame + int(found.step_index[row]))["rel_actions"]
        made = convention.commands(np.float32(track.values[row : row + 1, 16:23]), np.float32(states.values[row]))
        assert np.allclose(made[0, :6], raw[:6], atol=1e-4), row
        assert made[0, 6] in {-1, 1}
        assert made[0, 6] == np.where(track.values[row, 22] > 0.5, 1, -1)
